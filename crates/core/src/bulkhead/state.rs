//! Slots and the queue, one caller at a time, and how they stand in the word.

use std::collections::VecDeque;

use super::{Config, Slot};
use crate::decision::Ticket;

/// What fits above the slots in use, which are the lower 32 bits.
pub(super) const MOST_SLOTS: u64 = (1 << 31) - 1;
const LIMIT_SHIFT: u32 = 32;

pub(super) const fn active(word: u64) -> u64 {
    word & (u32::MAX as u64)
}

pub(super) const fn limit(word: u64) -> u64 {
    word >> LIMIT_SHIFT
}

/// What the mutex guards.
#[derive(Debug)]
pub(super) struct State {
    /// Slots in use; valid only within `exclusively`.
    pub(super) active: u64,
    /// Slots there are; stands in the word, too, for the fast path.
    pub(super) limit: u32,
    pub(super) config: Config,
    /// In the order of arrival, hence of tickets.
    pub(super) queue: VecDeque<Ticket>,
    /// Left the queue with a slot and have not asked since; in the order of arrival, too.
    granted: VecDeque<Ticket>,
}

impl State {
    pub(super) fn new(limit: u32, config: Config) -> Self {
        Self { active: 0, limit, config, queue: VecDeque::new(), granted: VecDeque::new() }
    }

    /// What stands in the word.
    pub(super) fn word(&self) -> u64 {
        self.active | (self.limit() << LIMIT_SHIFT)
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit.into()
    }

    pub(super) fn admit(&mut self) -> Option<Slot> {
        (self.active < self.limit()).then(|| {
            self.active += 1;
            Slot::new()
        })
    }

    pub(super) fn enqueue(&mut self) -> Option<Ticket> {
        (self.queue.len() < self.config.max_queue as usize).then(|| {
            let ticket = Ticket::next();
            self.queue.push_back(ticket);
            ticket
        })
    }

    /// Gives a free slot to the head of the queue. Whoever frees slots calls this until it returns `None`, so that
    /// there are no free slots while somebody waits.
    pub(super) fn hand_over(&mut self) -> Option<Ticket> {
        if self.active >= self.limit() {
            return None;
        }
        let ticket = self.queue.pop_front()?;
        self.active += 1;
        self.granted.push_back(ticket);
        Some(ticket)
    }

    pub(super) fn release(&mut self) -> Option<Ticket> {
        self.active = self.active.saturating_sub(1);
        self.hand_over()
    }

    /// Whether `ticket` had a slot, which is then its holder's.
    pub(super) fn collect(&mut self, ticket: Ticket) -> bool {
        remove(&mut self.granted, ticket)
    }

    /// Whether `ticket` was here, and who got the slot that it had been granted.
    pub(super) fn leave(&mut self, ticket: Ticket) -> (bool, Option<Ticket>) {
        if remove(&mut self.queue, ticket) {
            return (true, None);
        }
        if self.collect(ticket) { (true, self.release()) } else { (false, None) }
    }
}

fn remove(tickets: &mut VecDeque<Ticket>, ticket: Ticket) -> bool {
    let found = tickets.binary_search(&ticket);
    found.is_ok_and(|position| tickets.remove(position).is_some())
}
