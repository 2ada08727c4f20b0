//! Slots and the queue, one caller at a time, and how they stand in the word.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Config, Slot};
use crate::decision::{Progress, Ticket};
use crate::time::Instant;

/// What fits above the slots in use, which are the lower 32 bits.
pub(super) const MOST_SLOTS: u64 = (1 << 31) - 1;
const LIMIT_SHIFT: u32 = 32;

pub(super) const fn active(word: u64) -> u64 {
    word & (u32::MAX as u64)
}

pub(super) const fn limit(word: u64) -> u64 {
    word >> LIMIT_SHIFT
}

/// Time after which a slot that nobody collects goes to the next in the queue.
const GRACE: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    ticket: Ticket,
    /// When its time in the queue is over.
    end: Instant,
    /// Whether it has let a slot lapse and has not asked since: others go first.
    asleep: bool,
}

/// A slot that was handed to a caller which has not asked since.
#[derive(Clone, Copy, Debug)]
struct Grant {
    waiter: Waiter,
    /// When another caller first found it uncollected.
    noticed: Option<Instant>,
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
    pub(super) queue: VecDeque<Waiter>,
    granted: Vec<Grant>,
    /// Calls whose time in the queue ended before they got a slot.
    pub(super) timed_out: u64,
}

impl State {
    pub(super) fn new(limit: u32, config: Config) -> Self {
        Self { active: 0, limit, config, queue: VecDeque::new(), granted: Vec::new(), timed_out: 0 }
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

    pub(super) fn enqueue(&mut self, now: Instant) -> Option<Ticket> {
        self.expire(now, None);
        (self.queue.len() < self.config.max_queue as usize).then(|| {
            let (ticket, end) = (Ticket::next(), now + self.config.queue_timeout);
            self.queue.push_back(Waiter { ticket, end, asleep: false });
            ticket
        })
    }

    /// Gives the free slots to the callers that wait, in order. Whoever frees slots calls this, so that no slot is free
    /// while somebody waits who asks. Returns whom to poll: those who got a slot, and the next behind them, who gets
    /// it if they do not collect it.
    pub(super) fn hand_over(&mut self) -> Vec<Ticket> {
        let mut woken = Vec::new();
        while let Some(next) = self.queue.iter().position(|waiter| !waiter.asleep) {
            let free = self.active < self.limit();
            if free && let Some(waiter) = self.queue.remove(next) {
                self.active += 1;
                self.granted.push(Grant { waiter, noticed: None });
                woken.push(waiter.ticket);
                continue;
            }
            if !woken.is_empty() {
                woken.push(self.queue[next].ticket);
            }
            break;
        }
        woken
    }

    pub(super) fn release(&mut self) -> Vec<Ticket> {
        self.active = self.active.saturating_sub(1);
        self.hand_over()
    }

    /// Answers a caller that waits, and takes back the slots that others let lapse. `None`: its time is over.
    pub(super) fn poll(&mut self, now: Instant, ticket: Ticket) -> (Option<Progress<'static, Slot>>, Vec<Ticket>) {
        let mut woken = Vec::new();
        if let Ok(place) = self.place(ticket) {
            self.queue[place].asleep = false;
            self.expire(now, Some(ticket));
            self.lapse(now);
            woken = self.hand_over();
            woken.retain(|&other| other != ticket);
        }
        if self.collect(ticket) {
            return (Some(Progress::Granted(Slot::new())), woken);
        }
        self.expire(now, None);
        let waiter = self.place(ticket).ok().map(|place| self.queue[place]);
        let progress = waiter.map(|waiter| {
            let noticed = self.granted.iter().filter_map(|grant| grant.noticed).min();
            let lapse = noticed.map_or(Instant::FAR_FUTURE, |noticed| noticed + GRACE);
            Progress::Waiting { until: waiter.end.min(lapse) }
        });
        (progress, woken)
    }

    /// Takes back the slots that were not collected for the time of [`GRACE`]. Whoever let one lapse keeps its place in
    /// the queue.
    fn lapse(&mut self, now: Instant) {
        self.granted.retain_mut(|grant| {
            let stays = now.since(*grant.noticed.get_or_insert(now)) < GRACE;
            if !stays {
                self.active = self.active.saturating_sub(1);
                let place = self.queue.partition_point(|waiter| waiter.ticket < grant.waiter.ticket);
                self.queue.insert(place, Waiter { asleep: true, ..grant.waiter });
            }
            stays
        });
    }

    /// Ends the waits whose time is over, but for that of `spared`. They are at the head of the queue.
    fn expire(&mut self, now: Instant, spared: Option<Ticket>) {
        if self.queue.front().is_some_and(|head| head.end <= now) {
            let before = self.queue.len();
            self.queue.retain(|waiter| now < waiter.end || Some(waiter.ticket) == spared);
            self.timed_out = self.timed_out.saturating_add((before - self.queue.len()) as u64);
        }
    }

    /// Whether `ticket` had a slot, which is then its holder's.
    fn collect(&mut self, ticket: Ticket) -> bool {
        let grant = self.granted.iter().position(|grant| grant.waiter.ticket == ticket);
        grant.map(|grant| self.granted.remove(grant)).is_some()
    }

    /// Forgets `ticket`, and returns whom to poll because of the slot that it had been granted.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Vec<Ticket> {
        if let Ok(place) = self.place(ticket) {
            self.queue.remove(place);
        } else if self.collect(ticket) {
            return self.release();
        }
        Vec::new()
    }

    fn place(&self, ticket: Ticket) -> Result<usize, usize> {
        self.queue.binary_search_by_key(&ticket, |waiter| waiter.ticket)
    }
}
