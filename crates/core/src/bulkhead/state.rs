//! Slots and the queue, one caller at a time, and how they stand in the word.

use std::time::Duration;

use super::config::Config;
use super::queue::{Queue, Waiter};
use super::slot::Slot;
use crate::caller::Caller;
use crate::decision::{Progress, Reason, Ticket};
use crate::time::Instant;

/// Slots there are stand above the slots in use, which are the lower 32 bits.
const LIMIT_SHIFT: u32 = 32;

pub(super) const fn active(word: u64) -> u64 {
    word & (u32::MAX as u64)
}

pub(super) const fn limit(word: u64) -> u64 {
    word >> LIMIT_SHIFT
}

/// Time after which a slot that nobody collects goes to the next in the queue.
const GRACE: Duration = Duration::from_millis(10);

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
    pub(super) queue: Queue,
    granted: Vec<Grant>,
    /// Those who made room in the queue for others and have not asked since.
    shed: Vec<Ticket>,
    /// Those of them who are to be woken still.
    unheard: Vec<Ticket>,
    /// Calls whose time in the queue ended before they got a slot.
    pub(super) timed_out: u64,
    /// Calls that made room in the queue for others.
    pub(super) displaced: u64,
}

impl State {
    pub(super) fn new(limit: u32, config: Config) -> Self {
        Self {
            active: 0,
            limit,
            config,
            queue: Queue::new(),
            granted: Vec::new(),
            shed: Vec::new(),
            unheard: Vec::new(),
            timed_out: 0,
            displaced: 0,
        }
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

    /// Queues a caller, if there is a place or somebody in the queue makes room. Who did hears of it by the next
    /// [`poll`](Self::poll) or [`leave`](Self::leave), which is that of the newcomer at the latest.
    pub(super) fn enqueue(&mut self, now: Instant, caller: Caller) -> Option<Ticket> {
        self.expire(now, None);
        if self.queue.len() >= self.config.max_queue as usize {
            let displaced = self.queue.displace(caller)?;
            self.displaced = self.displaced.saturating_add(1);
            self.shed.push(displaced);
            self.unheard.push(displaced);
        }
        let ticket = Ticket::next();
        self.queue.insert(Waiter::new(ticket, now + self.config.queue_timeout, caller));
        Some(ticket)
    }

    /// Gives the free slots to the callers that wait, each in its turn. Whoever frees slots calls this, so that no slot is free
    /// while somebody waits who asks. Returns whom to poll: those who got a slot, and the next behind them, who gets
    /// it if they do not collect it.
    pub(super) fn hand_over(&mut self) -> Vec<Ticket> {
        let mut woken = Vec::new();
        while let Some(next) = self.queue.next() {
            if self.active < self.limit() {
                let waiter = self.queue.serve(next);
                self.active += 1;
                self.granted.push(Grant { waiter, noticed: None });
                woken.push(waiter.ticket);
                continue;
            }
            if !woken.is_empty() {
                woken.push(self.queue.get(next).ticket);
            }
            break;
        }
        woken
    }

    pub(super) fn release(&mut self) -> Vec<Ticket> {
        self.active = self.active.saturating_sub(1);
        self.hand_over()
    }

    /// Answers a caller that waits, and takes back the slots that others let lapse.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        ticket: Ticket,
    ) -> (Result<Progress<'static, Slot>, Reason>, Vec<Ticket>) {
        let mut woken = std::mem::take(&mut self.unheard);
        if let Some(at) = self.queue.find(ticket) {
            self.queue.get_mut(at).asleep = false;
            self.expire(now, Some(ticket));
            self.lapse(now);
            woken.extend(self.hand_over());
        }
        woken.retain(|&other| other != ticket);
        if self.collect(ticket) {
            return (Ok(Progress::Granted(Slot::new())), woken);
        }
        self.expire(now, None);
        let Some(at) = self.queue.find(ticket) else {
            let reason = if self.forget_shed(ticket) { Reason::Shed } else { Reason::QueueTimeout };
            return (Err(reason), woken);
        };
        let noticed = self.granted.iter().filter_map(|grant| grant.noticed).min();
        let lapse = noticed.map_or(Instant::FAR_FUTURE, |noticed| noticed + GRACE);
        (Ok(Progress::Waiting { until: self.queue.get(at).end.min(lapse) }), woken)
    }

    /// Takes back the slots that were not collected for the time of [`GRACE`]. Whoever let one lapse keeps its place in
    /// the queue.
    fn lapse(&mut self, now: Instant) {
        self.granted.retain_mut(|Grant { waiter, noticed }| {
            let stays = now.since(*noticed.get_or_insert(now)) < GRACE;
            if !stays {
                self.active = self.active.saturating_sub(1);
                waiter.asleep = true;
                self.queue.insert(*waiter);
            }
            stays
        });
    }

    /// Ends the waits whose time is over, but for that of `spared`.
    fn expire(&mut self, now: Instant, spared: Option<Ticket>) {
        let expired = self.queue.expire(now, spared);
        self.timed_out = self.timed_out.saturating_add(expired as u64);
    }

    /// Whether `ticket` had a slot, which is then its holder's.
    fn collect(&mut self, ticket: Ticket) -> bool {
        let grant = self.granted.iter().position(|grant| grant.waiter.ticket == ticket);
        grant.map(|grant| self.granted.remove(grant)).is_some()
    }

    /// Whether `ticket` made room for another and has not been told.
    fn forget_shed(&mut self, ticket: Ticket) -> bool {
        let shed = self.shed.iter().position(|&shed| shed == ticket);
        shed.map(|shed| self.shed.swap_remove(shed)).is_some()
    }

    /// Forgets `ticket`, and returns whom to poll because of that.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Vec<Ticket> {
        let mut woken = std::mem::take(&mut self.unheard);
        if let Some(at) = self.queue.find(ticket) {
            self.queue.remove(at);
        } else if self.collect(ticket) {
            woken.extend(self.release());
        } else {
            self.forget_shed(ticket);
        }
        woken.retain(|&other| other != ticket);
        woken
    }
}
