//! The attempts of a call that are under way, as one small list.

use crate::permits::{Edge, Permits, Turn};
use crate::time::Instant;

/// One attempt, and what was taken for it.
#[derive(Debug)]
pub(super) struct Lane {
    /// The attempt's number; 0 while none runs here.
    pub(super) number: u32,
    pub(super) started: Instant,
    /// When it is given up.
    pub(super) limit: Instant,
    pub(super) permits: Permits,
}

impl Default for Lane {
    fn default() -> Self {
        Self { number: 0, started: Instant::ZERO, limit: Instant::FAR_FUTURE, permits: Permits::default() }
    }
}

impl Lane {
    /// An attempt begins here, with the permits that are here.
    #[inline]
    pub(super) fn begin(&mut self, turn: &Turn<'_, '_, impl Edge>, number: u32, limit: Instant) {
        (self.number, self.started, self.limit) = (number, turn.now, limit);
        self.permits.begin(turn.policy, turn.now);
    }
}

/// Attempts under way. The first place is there always, further ones only beside an attempt in it: a call without hedges
/// needs no memory of its own.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    pub(super) first: Lane,
    beside: Vec<Lane>,
}

impl Lanes {
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Lane> {
        std::iter::once(&self.first).filter(|lane| lane.number != 0).chain(&self.beside)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        std::iter::once(&mut self.first).chain(&mut self.beside)
    }

    /// Those beside the first.
    #[inline]
    pub(super) fn beside(&self) -> &[Lane] {
        &self.beside
    }

    /// One of those beside the first.
    #[inline]
    pub(super) fn last(&self) -> Option<&Lane> {
        self.beside.last()
    }

    #[inline]
    pub(super) fn push(&mut self, lane: Lane) {
        if self.first.number == 0 { self.first = lane } else { self.beside.push(lane) }
    }

    /// Puts attempt `number` in the first place; whether it runs.
    #[inline]
    pub(super) fn lead(&mut self, number: u32) -> bool {
        let beside = self.beside.iter_mut().find(|lane| lane.number == number);
        if let Some(lane) = beside {
            std::mem::swap(lane, &mut self.first);
        }
        self.first.number == number && number != 0
    }

    /// Takes out the first attempt; the last one moves to its place.
    pub(super) fn take_first(&mut self) -> Lane {
        std::mem::replace(&mut self.first, self.beside.pop().unwrap_or_default())
    }

    /// Takes out the one that is [last](Self::last).
    pub(super) fn pop(&mut self) -> Option<Lane> {
        self.beside.pop()
    }
}
