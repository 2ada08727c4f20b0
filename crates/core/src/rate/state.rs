//! The arithmetic of the rate and the queue, one caller at a time.

use std::collections::VecDeque;

use super::{Config, Reservation};
use crate::decision::Ticket;
use crate::sync::{AtomicU64, Ordering};
use crate::time::{Instant, nanos};
use crate::word;

/// The latest arrival time there is, 292 years after the origin. From then on nothing is limited.
const LATEST: u64 = word::LARGEST;

/// `now` in the word's range.
#[inline]
pub(super) fn within_range(now: Instant) -> u64 {
    now.as_nanos().min(LATEST)
}

/// The arrival time after `need` was taken at `now`.
#[inline]
pub(super) fn charged(tat: u64, now: u64, need: u64) -> u64 {
    tat.max(now).saturating_add(need).min(LATEST)
}

/// A configuration in nanoseconds, as the arithmetic needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) burst: u64,
    /// Between permits.
    pub(super) interval: u64,
    /// How far the arrival time may be ahead: `burst` intervals.
    pub(super) window: u64,
}

impl Pace {
    pub(super) fn of(config: &Config) -> Self {
        let burst = u64::from(config.burst.unwrap_or(config.rate));
        let interval = nanos(config.per).div_ceil(u64::from(config.rate.max(1)));
        Self { burst, interval, window: burst.saturating_mul(interval) }
    }

    /// The time in which `permits` come.
    #[inline]
    pub(super) const fn need(self, permits: u64) -> u64 {
        permits.saturating_mul(self.interval)
    }

    /// The instant at which `need` may be taken from a bucket that is full at `tat`.
    #[inline]
    pub(super) const fn turn(self, tat: u64, need: u64) -> u64 {
        tat.saturating_add(need).saturating_sub(self.window)
    }
}

/// The [`Pace`] where the fast path reads it.
#[derive(Debug)]
pub(super) struct SharedPace {
    burst: AtomicU64,
    interval: AtomicU64,
    window: AtomicU64,
}

impl SharedPace {
    pub(super) fn new(pace: Pace) -> Self {
        let Pace { burst, interval, window } = pace;
        Self { burst: AtomicU64::new(burst), interval: AtomicU64::new(interval), window: AtomicU64::new(window) }
    }

    /// May mix an old value with a new one while an update runs. Who acts on it does so by exchanging the word, which
    /// then fails: the update locked the word before its first store (release here, acquire there) and changes it.
    #[inline]
    pub(super) fn load(&self) -> Pace {
        let get = |value: &AtomicU64| value.load(Ordering::Acquire);
        Pace { burst: get(&self.burst), interval: get(&self.interval), window: get(&self.window) }
    }

    pub(super) fn store(&self, pace: Pace) {
        self.burst.store(pace.burst, Ordering::Release);
        self.interval.store(pace.interval, Ordering::Release);
        self.window.store(pace.window, Ordering::Release);
    }
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    ticket: Ticket,
    cost: u32,
}

/// What the mutex guards.
#[derive(Debug)]
pub(super) struct State {
    /// The word without its flag; valid only within `exclusively` and `look`.
    pub(super) tat: u64,
    pub(super) config: Config,
    pub(super) pace: Pace,
    /// In the order of arrival, hence of tickets.
    queue: VecDeque<Waiter>,
    /// The permits that all in the queue want.
    queued: u64,
}

impl State {
    pub(super) fn new(config: Config) -> Self {
        Self { tat: 0, pace: Pace::of(&config), config, queue: VecDeque::new(), queued: 0 }
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn head(&self) -> Option<Ticket> {
        self.queue.front().map(|waiter| waiter.ticket)
    }

    /// When a newcomer would pass, behind all who wait.
    pub(super) fn turn_behind_all(&self, now: u64, cost: u32) -> u64 {
        self.pace.turn(self.tat.max(now), self.pace.need(self.queued.saturating_add(cost.into())))
    }

    /// Takes `cost` for a newcomer.
    pub(super) fn admit(&mut self, now: u64, cost: u32) -> Result<Reservation, Blocked> {
        if u64::from(cost) > self.pace.burst {
            return Err(Blocked::AboveBurst);
        }
        let turn = self.turn_behind_all(now, cost);
        if !self.queue.is_empty() || turn > now {
            return Err(Blocked::Until(turn));
        }
        Ok(self.take(now, cost))
    }

    /// The head's permits once its turn has come, or when that is. `None`: `ticket` is not the head.
    pub(super) fn grant(&mut self, now: u64, ticket: Ticket) -> Option<Result<Reservation, u64>> {
        let &Waiter { cost, .. } = self.queue.front().filter(|head| head.ticket == ticket)?;
        // Who queued before the burst shrank below its cost passes when the bucket is full, and owes the rest.
        let need = self.pace.need(cost.into()).min(self.pace.window);
        let turn = self.pace.turn(self.tat, need);
        if turn > now {
            return Some(Err(turn));
        }
        self.remove(0);
        Some(Ok(self.take(now, cost)))
    }

    fn take(&mut self, now: u64, cost: u32) -> Reservation {
        self.tat = charged(self.tat, now, self.pace.need(cost.into()));
        Reservation::new(cost)
    }

    /// Queues a caller that would pass at `turn`, unless that is too late for it.
    pub(super) fn enqueue(&mut self, now: u64, cost: u32, turn: u64, deadline: u64) -> Option<Ticket> {
        if turn >= deadline || turn.saturating_sub(now) > nanos(self.config.max_wait) {
            return None;
        }
        let ticket = Ticket::next();
        self.queue.push_back(Waiter { ticket, cost });
        self.queued = self.queued.saturating_add(cost.into());
        Some(ticket)
    }

    /// Takes a caller out of the queue and returns the new head, if there is one.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<Ticket> {
        let position = self.queue.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok()?;
        self.remove(position);
        if position == 0 { self.head() } else { None }
    }

    fn remove(&mut self, position: usize) {
        if let Some(waiter) = self.queue.remove(position) {
            self.queued = self.queued.saturating_sub(waiter.cost.into());
        }
    }

    /// Goes over to `config`. What is used up stays used up, as a number of permits.
    pub(super) fn change(&mut self, now: u64, config: Config) {
        let pace = Pace::of(&config);
        let used = u128::from(self.tat.saturating_sub(now)) * u128::from(pace.interval);
        let used = u64::try_from(used.div_ceil(u128::from(self.pace.interval.max(1)))).unwrap_or(LATEST);
        let tat = charged(0, now, used);
        // A caller that acts on the former pace must find the word changed: a nanosecond more is enough.
        self.tat = if tat == self.tat { charged(tat, now, 1) } else { tat };
        (self.config, self.pace) = (config, pace);
    }
}

/// Why a caller cannot pass now.
pub(super) enum Blocked {
    /// It costs more than the burst.
    AboveBurst,
    /// Its turn comes then.
    Until(u64),
}
