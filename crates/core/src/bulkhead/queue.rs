//! Who waits for a slot, who of them is served next, and who goes when the queue is full.
//!
//! Calls of one class and one flow wait in a line, first come first served. The highest class is served first, and within
//! it one caller of each line in turn: deficit round robin where each call costs one. Calls that name neither class nor
//! flow are all in one line.

use std::cmp::Reverse;
use std::collections::VecDeque;

use crate::caller::{Caller, Flow, Priority};
use crate::decision::Ticket;
use crate::time::Instant;

/// The line that a caller belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    priority: Priority,
    flow: Option<Flow>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    /// When its time in the queue is over.
    pub(super) end: Instant,
    /// Whether it has let a slot lapse and has not asked since: others go first.
    pub(super) asleep: bool,
    place: Place,
}

impl Waiter {
    pub(super) fn new(ticket: Ticket, end: Instant, caller: Caller) -> Self {
        Self { ticket, end, asleep: false, place: Place::of(caller) }
    }
}

impl Place {
    fn of(caller: Caller) -> Self {
        Self { priority: caller.priority.unwrap_or_default(), flow: caller.flow }
    }
}

#[derive(Debug)]
struct Line {
    place: Place,
    /// In the order of arrival, hence of tickets.
    waiting: VecDeque<Waiter>,
}

/// Where a waiter is: its line, and its place there.
#[derive(Clone, Copy, Debug)]
pub(super) struct At(usize, usize);

#[derive(Debug)]
pub(super) struct Queue {
    /// In the order of their turns, all classes mixed. None is empty unless it is alone: then it keeps its memory.
    lines: Vec<Line>,
    len: usize,
    /// No wait ends before.
    soonest: Instant,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self { lines: Vec::new(), len: 0, soonest: Instant::FAR_FUTURE }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of callers of a class.
    pub(super) fn waiting(&self, priority: Priority) -> usize {
        self.lines.iter().filter(|line| line.place.priority == priority).map(|line| line.waiting.len()).sum()
    }

    /// Adds a caller to its line, in the order of arrival. A line that was empty has its turn after all others.
    pub(super) fn insert(&mut self, waiter: Waiter) {
        let place = waiter.place;
        let known = self.lines.iter().position(|line| line.place == place || line.waiting.is_empty());
        let line = known.unwrap_or_else(|| {
            self.lines.push(Line { place, waiting: VecDeque::new() });
            self.lines.len() - 1
        });
        let line = &mut self.lines[line];
        line.place = place;
        let at = line.waiting.partition_point(|other| other.ticket < waiter.ticket);
        line.waiting.insert(at, waiter);
        self.len += 1;
        self.soonest = self.soonest.min(waiter.end);
    }

    /// Whose turn it is: the first who asks, in the line of the highest class that has waited longest for its turn.
    pub(super) fn next(&self) -> Option<At> {
        let awake = |line: &Line| line.waiting.iter().position(|waiter| !waiter.asleep);
        if let [only] = &self.lines[..] {
            return awake(only).map(|place| At(0, place));
        }
        let turns = self.lines.iter().enumerate().filter_map(|(at, line)| Some(At(at, awake(line)?)));
        turns.min_by_key(|at| Reverse(self.lines[at.0].place.priority))
    }

    /// Takes out a caller whose turn it is; the next turn of its line is after all others.
    pub(super) fn serve(&mut self, At(line, place): At) -> Waiter {
        self.lines[line..].rotate_left(1);
        self.remove(At(self.lines.len() - 1, place))
    }

    /// Takes out whoever makes room for a newcomer: the last in the longest line of the lowest class, if the newcomer is of
    /// a higher class, or its line is shorter even with the newcomer in it.
    pub(super) fn displace(&mut self, newcomer: Caller) -> Option<Ticket> {
        let place = Place::of(newcomer);
        let last = |line: &(usize, &Line)| (Reverse(line.1.place.priority), line.1.waiting.len());
        let (at, longest) = self.lines.iter().enumerate().max_by_key(last)?;
        let own = self.lines.iter().find(|line| line.place == place).map_or(0, |line| line.waiting.len());
        let lower = longest.place.priority < place.priority;
        let longer = longest.place.priority == place.priority && longest.waiting.len() > own + 1;
        let end = longest.waiting.len().checked_sub(1).filter(|_| lower || longer)?;
        Some(self.remove(At(at, end)).ticket)
    }

    pub(super) fn find(&self, ticket: Ticket) -> Option<At> {
        let place = |line: &Line| line.waiting.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok();
        self.lines.iter().enumerate().find_map(|(at, line)| Some(At(at, place(line)?)))
    }

    pub(super) fn get(&self, At(line, place): At) -> &Waiter {
        &self.lines[line].waiting[place]
    }

    pub(super) fn get_mut(&mut self, At(line, place): At) -> &mut Waiter {
        &mut self.lines[line].waiting[place]
    }

    pub(super) fn remove(&mut self, at: At) -> Waiter {
        let waiter = *self.get(at);
        self.lines[at.0].waiting.remove(at.1);
        self.len -= 1;
        if self.lines.len() > 1 && self.lines[at.0].waiting.is_empty() {
            self.lines.remove(at.0);
        }
        waiter
    }

    /// Takes out all whose time is over, but for `spared`. Returns their number.
    pub(super) fn expire(&mut self, now: Instant, spared: Option<Ticket>) -> usize {
        if now < self.soonest {
            return 0;
        }
        let before = self.len;
        for line in &mut self.lines {
            line.waiting.retain(|waiter| now < waiter.end || Some(waiter.ticket) == spared);
        }
        let all = || self.lines.iter().flat_map(|line| &line.waiting);
        (self.len, self.soonest) = (all().count(), all().map(|waiter| waiter.end).min().unwrap_or(Instant::FAR_FUTURE));
        self.lines.retain(|line| !line.waiting.is_empty());
        before - self.len
    }
}
