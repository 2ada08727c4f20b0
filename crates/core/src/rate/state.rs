//! The queue before the bucket, one caller at a time.

use std::collections::VecDeque;

use super::bucket::{Bucket, Pace};
use super::{Bill, Config, Reservation};
use crate::decision::Ticket;
use crate::time::nanos;

#[derive(Clone, Copy, Debug)]
struct Waiter {
    ticket: Ticket,
    cost: u32,
    /// Sum of the costs of all who came before it and left the queue or stand ahead of it.
    ahead: u64,
    /// When its time in the queue is over.
    end: u64,
    /// When it will poll by itself.
    polls: u64,
}

/// What the mutex guards.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: Config,
    pub(super) bucket: Bucket,
    /// In the order of arrival, hence of tickets.
    queue: VecDeque<Waiter>,
    /// Sum of the costs of all who queued and of all who left, since the queue was last empty.
    queued: u64,
    left: u64,
    /// Permits of callers that have left the queue with them and have not asked since.
    granted: Vec<(Ticket, Reservation)>,
    /// Whom to poll.
    woken: Vec<Ticket>,
    pub(super) allowed: u64,
    pub(super) rate_exceeded: u64,
    pub(super) wait_too_long: u64,
    pub(super) above_burst: u64,
}

/// Why a caller cannot pass now.
#[derive(Debug)]
pub(super) enum Blocked {
    /// It costs more than the burst.
    AboveBurst,
    /// Its turn comes then.
    Until(u64),
}

/// What a queued caller is told.
pub(super) enum Answer {
    Granted(Reservation),
    /// Nothing happens before this.
    Waits(u64),
    /// Its time was over; its turn would have come then.
    Over(u64),
}

impl State {
    pub(super) fn new(config: Config) -> Self {
        Self {
            bucket: Bucket::new(&config),
            config,
            queue: VecDeque::new(),
            queued: 0,
            left: 0,
            granted: Vec::new(),
            woken: Vec::new(),
            allowed: 0,
            rate_exceeded: 0,
            wait_too_long: 0,
            above_burst: 0,
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whom to poll, besides whoever asks.
    pub(super) fn woken(&mut self, asking: Option<Ticket>) -> Vec<Ticket> {
        let mut woken = std::mem::take(&mut self.woken);
        woken.retain(|&ticket| Some(ticket) != asking);
        woken
    }

    /// When a newcomer would pass, behind all who wait.
    #[inline]
    pub(super) fn turn(&self, now: u64, cost: u32) -> u64 {
        if self.queue.is_empty() {
            return self.bucket.turn(now, 0, cost.into());
        }
        self.bucket.queued_turn(self.queued - self.left, cost.into()).max(now)
    }

    /// Takes `cost` for a newcomer.
    #[inline]
    pub(super) fn admit(&mut self, now: u64, cost: u32) -> Result<Reservation, Blocked> {
        if cost == 0 {
            self.allowed = self.allowed.saturating_add(1);
            return Ok(Reservation { cost, bill: Bill::Open, charge: 0 });
        }
        if u64::from(cost) > self.bucket.pace.burst {
            return Err(Blocked::AboveBurst);
        }
        if !self.queue.is_empty() {
            self.advance(now);
        }
        if !self.queue.is_empty() {
            return Err(Blocked::Until(self.turn(now, cost)));
        }
        let tat = self.bucket.tat(now);
        let turn = self.bucket.pace.turn(tat, cost.into());
        if turn > now {
            return Err(Blocked::Until(turn));
        }
        self.allowed = self.allowed.saturating_add(1);
        Ok(self.bucket.take(tat, now, cost))
    }

    /// Queues a caller that would pass at `turn`, unless that is too late for it.
    pub(super) fn enqueue(&mut self, now: u64, cost: u32, turn: u64, deadline: u64) -> Option<Ticket> {
        let end = now.saturating_add(nanos(self.config.max_wait));
        if turn >= deadline || turn > end {
            return None;
        }
        let (ticket, ahead) = (Ticket::next(), self.queued);
        self.queue.push_back(Waiter { ticket, cost, ahead, end: end.min(deadline), polls: turn });
        self.queued = self.queued.saturating_add(cost.into());
        Some(ticket)
    }

    /// Lets all pass whose turn has come, in order and whoever asks, and ends the waits at the head of the queue whose
    /// time was over before.
    pub(super) fn advance(&mut self, now: u64) {
        while let Some(&head) = self.queue.front() {
            let turn = self.turn_of(&head);
            let is_over = head.end <= now && head.end < turn;
            if !is_over && turn > now {
                // It may know of a later turn only.
                if turn < head.polls {
                    self.queue[0].polls = turn;
                    self.wake(head.ticket);
                }
                return;
            }
            self.remove(0);
            if is_over {
                self.wait_too_long = self.wait_too_long.saturating_add(1);
            } else {
                self.granted.push((head.ticket, self.bucket.take_late(now, head.cost)));
                self.wake(head.ticket);
            }
        }
    }

    fn wake(&mut self, ticket: Ticket) {
        if self.woken.last() != Some(&ticket) {
            self.woken.push(ticket);
        }
    }

    /// Answers a queued caller. `None`: it is not known (any more).
    pub(super) fn poll(&mut self, now: u64, ticket: Ticket) -> Option<Answer> {
        self.advance(now);
        if let Some(reservation) = self.collect(ticket) {
            self.allowed = self.allowed.saturating_add(1);
            return Some(Answer::Granted(reservation));
        }
        let place = self.place(ticket)?;
        let waiter = self.queue[place];
        let turn = self.turn_of(&waiter);
        if waiter.end <= now {
            self.remove(place);
            self.wait_too_long = self.wait_too_long.saturating_add(1);
            self.advance(now);
            return Some(Answer::Over(turn));
        }
        self.queue[place].polls = turn.min(waiter.end);
        Some(Answer::Waits(turn.min(waiter.end)))
    }

    /// Forgets a queued caller; what it had been granted goes to those behind it.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        if let Some(reservation) = self.collect(ticket) {
            self.give_back(reservation.charge, reservation.cost);
        } else if let Some(place) = self.place(ticket) {
            self.remove(place);
        }
        self.advance(self.bucket.taken());
    }

    pub(super) fn give_back(&mut self, charge: u64, permits: u32) {
        self.bucket.give_back(charge, permits, !self.queue.is_empty());
    }

    /// Goes over to `config`.
    pub(super) fn change(&mut self, now: u64, config: Config) {
        self.advance(now);
        self.bucket.change(now, Pace::of(&config), !self.queue.is_empty());
        self.config = config;
        self.advance(now);
    }

    fn turn_of(&self, waiter: &Waiter) -> u64 {
        self.bucket.queued_turn(waiter.ahead - self.left, waiter.cost.into())
    }

    fn collect(&mut self, ticket: Ticket) -> Option<Reservation> {
        let place = self.granted.iter().position(|(granted, _)| *granted == ticket)?;
        Some(self.granted.remove(place).1)
    }

    fn place(&self, ticket: Ticket) -> Option<usize> {
        self.queue.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok()
    }

    /// Takes a caller out of the queue; those behind it move up.
    fn remove(&mut self, place: usize) {
        let Some(Waiter { cost, .. }) = self.queue.remove(place) else { return };
        if place == 0 {
            self.left += u64::from(cost);
        } else {
            self.queued -= u64::from(cost);
            for behind in self.queue.iter_mut().skip(place) {
                behind.ahead -= u64::from(cost);
            }
        }
        if self.queue.is_empty() {
            (self.queued, self.left) = (0, 0);
        }
    }
}
