//! The rate limiter: a number of permits per time, a burst, and a fair queue whose waits are computed.
//!
//! Owns the arithmetic of the rate and the order in which callers pass. Does not own waiting: a queued caller holds a
//! [`Ticket`], and the edge polls it when it is woken or when the instant that `poll` named has come.
//!
//! The algorithm is GCRA, the generic cell rate algorithm (ITU-T I.371, ATM Forum Traffic Management 4.0), in its
//! virtual scheduling form. Its state is one number, the theoretical arrival time: the instant at which the bucket will be
//! full again. A permit moves it one interval ahead, and a caller passes if it is then no more than `burst × interval`
//! ahead of now.
//!
//! All of it is behind one short mutex: taking a permit costs as much as an atomic counter beside an atomic state, and
//! no change of the settings can come between reading and writing.

mod bucket;
mod config;
mod state;

use std::time::Duration;

pub use self::config::Config;

use self::state::{Answer, Blocked, State};

use crate::decision::{Admission, Name, Progress, Reason, Refusal, Stage, Ticket};
use crate::invalid::Mistakes;
use crate::snapshot::{Sample, Snapshot};
use crate::sync::{Mutex, Padded};
use crate::time::Instant;

/// Permits taken; [`settle`](RateLimiter::settle) corrects their number, [`release`](RateLimiter::release) gives all
/// back. Dropping it leaves them taken, which is right for a call that was made at its estimated cost.
#[derive(Debug)]
#[must_use = "a call that is not made should give its permits back by `release`"]
pub struct Reservation {
    cost: u32,
    bill: Bill,
    /// Number of the charge that took them.
    charge: u64,
}

/// Whether the number of permits may still be corrected. As wide as what stands beside it, so that a reservation is copied
/// in whole words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Bill {
    Open,
    Settled,
}

impl Reservation {
    /// The number of permits that were taken.
    pub const fn cost(&self) -> u32 {
        self.cost
    }
}

/// The numbers of a limiter at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that passed.
    pub allowed: u64,
    /// Calls that were refused, for whatever reason.
    pub refused: u64,
    /// Calls in the queue.
    pub waiting: usize,
    /// Whole permits that could be taken now if nobody waited.
    pub available: u32,
    /// Permits used beyond what there was, by calls that turned out dearer than reserved: paid back before anybody
    /// passes.
    pub owed: u64,
    /// The most permits that are saved up.
    pub burst: u32,
}

/// Lets through a number of permits per time, in the order of arrival.
///
/// Nobody passes before those who wait. Each of them is told when its own turn comes, and whoever polls lets all pass whose
/// turn has come, so a caller that does not poll holds up nobody.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{Admission, Instant, Progress, RateLimiter, rate};
///
/// let limiter = RateLimiter::with_config("anthropic", rate::Config { burst: Some(2), ..Default::default() }).unwrap();
/// let now = Instant::ZERO;
/// assert!(limiter.try_acquire(now, 2).is_ok());
/// assert!(limiter.try_acquire(now, 1).is_err());
///
/// let Admission::Queued(ticket) = limiter.acquire(now, 1, Instant::FAR_FUTURE) else { panic!() };
/// let (Progress::Waiting { until }, _) = limiter.poll(now, ticket) else { panic!() };
/// assert_eq!(until.since(now), Duration::from_millis(100));
/// assert!(matches!(limiter.poll(until, ticket), (Progress::Granted(_), _)));
/// ```
#[derive(Debug)]
pub struct RateLimiter {
    name: Name,
    state: Padded<Mutex<State>>,
}

impl RateLimiter {
    /// A limiter with the default configuration and a full burst.
    pub fn new(name: impl Into<Name>) -> Self {
        Self::valid(name.into(), Config::default())
    }

    /// A limiter with a full burst, or all mistakes in `config`.
    pub fn with_config(name: impl Into<Name>, config: Config) -> Result<Self, Mistakes> {
        Mistakes::none(config.validate())?;
        Ok(Self::valid(name.into(), config))
    }

    fn valid(name: Name, config: Config) -> Self {
        Self { name, state: Padded(Mutex::new(State::new(config))) }
    }

    /// The name given to `new`.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The present configuration.
    pub fn config(&self) -> Config {
        self.state.0.lock().config.clone()
    }

    /// Changes the configuration and keeps the state: permits used up stay used up, debts stay debts, and who waits
    /// keeps its place and the end of its wait. So a larger burst is there at once. Returns whom to poll, or all mistakes
    /// in `config`.
    ///
    /// One who waits for more than the new burst passes when the bucket is full, and owes the rest.
    pub fn update(&self, now: Instant, config: Config) -> Result<Vec<Ticket>, Mistakes> {
        Mistakes::none(config.validate())?;
        let mut state = self.state.0.lock();
        state.change(now.as_nanos(), config);
        Ok(state.woken(None))
    }

    /// Takes `cost` permits now or not at all; never passes those who wait. A cost of 0 always passes.
    #[inline]
    pub fn try_acquire(&self, now: Instant, cost: u32) -> Result<Reservation, Refusal<'_>> {
        let mut state = self.state.0.lock();
        match state.admit(now.as_nanos(), cost) {
            Ok(reservation) => Ok(reservation),
            Err(blocked) => Err(self.refuse(&mut state, Reason::RateExceeded, now, &blocked)),
        }
    }

    /// Takes `cost` permits now, or queues for them in the order of arrival. A cost of 0 always passes.
    ///
    /// Who would have to wait to `deadline` or past it, or longer than [`Config::max_wait`], is refused at once and takes
    /// nothing: a smaller call may still fit. Waits are computed from what is known now. A debit or a slower rate
    /// prolongs them, and a wait ends when its time is over. A queued ticket should be polled once right away, to learn
    /// when its turn comes.
    #[inline]
    pub fn acquire(&self, now: Instant, cost: u32, deadline: Instant) -> Admission<'_, Reservation> {
        let mut state = self.state.0.lock();
        match state.admit(now.as_nanos(), cost) {
            Ok(reservation) => Admission::Granted(reservation),
            Err(blocked) => self.enqueue(&mut state, now, cost, &blocked, deadline),
        }
    }

    /// Asks for a queued caller: granted once its turn has come, refused as [`Reason::WaitTooLong`] once its time is over,
    /// and so is a ticket that is not known (any more). Returns whom to poll besides: others have passed by this.
    pub fn poll(&self, now: Instant, ticket: Ticket) -> (Progress<'_, Reservation>, Vec<Ticket>) {
        let mut state = self.state.0.lock();
        let progress = match state.poll(now.as_nanos(), ticket) {
            Some(Answer::Granted(reservation)) => Progress::Granted(reservation),
            Some(Answer::Waits(until)) => Progress::Waiting { until: Instant::from_nanos(until) },
            Some(Answer::Over(turn)) => Progress::Refused(self.refusal(Reason::WaitTooLong, now, turn)),
            None => Progress::Refused(self.refusal(Reason::WaitTooLong, now, state.turn(now.as_nanos(), 1))),
        };
        (progress, state.woken(Some(ticket)))
    }

    /// Leaves the queue without a trace; those behind move up. Returns whom to poll. Does nothing for a ticket that is not
    /// in the queue (any more).
    pub fn cancel(&self, ticket: Ticket) -> Vec<Ticket> {
        let mut state = self.state.0.lock();
        state.leave(ticket);
        state.woken(Some(ticket))
    }

    /// Corrects a reservation to what was `used`: the rest is given back, what is missing is charged, if need be as a
    /// debt that passes the burst. Only the first `settle` or `release` of a reservation has an effect. Returns whom
    /// to poll.
    #[inline]
    pub fn settle(&self, now: Instant, reservation: &mut Reservation, used: u32) -> Vec<Ticket> {
        let Reservation { cost, bill, charge } = reservation;
        if std::mem::replace(bill, Bill::Settled) == Bill::Settled || used == *cost {
            return Vec::new();
        }
        self.correct(now, *cost, *charge, used)
    }

    /// Gives all permits of a reservation back: the call was not made, and the limiter is as if they had never been
    /// taken. So a bucket that has been full since has nothing to get back. Only the first `settle` or `release` of a
    /// reservation has an effect. Returns whom to poll.
    #[inline]
    pub fn release(&self, reservation: &mut Reservation) -> Vec<Ticket> {
        // Time that has passed since permits were last taken needs no notice: whoever waits for it has a timer.
        self.settle(Instant::ZERO, reservation, 0)
    }

    #[cold]
    fn correct(&self, now: Instant, cost: u32, charge: u64, used: u32) -> Vec<Ticket> {
        let mut state = self.state.0.lock();
        let now = now.as_nanos().max(state.bucket.taken());
        state.advance(now);
        if used < cost {
            state.give_back(charge, cost - used);
        } else {
            state.bucket.owe(now, used - cost);
        }
        state.advance(now);
        state.woken(None)
    }

    /// How long a caller would have to wait for `cost` permits, behind all who wait now; [`Duration::MAX`] if they are
    /// more than the burst. Takes nothing.
    pub fn peek(&self, now: Instant, cost: u32) -> Duration {
        let mut state = self.state.0.lock();
        state.advance(now.as_nanos());
        match u64::from(cost) {
            0 => Duration::ZERO,
            permits if permits > state.bucket.pace.burst => Duration::MAX,
            _ => Instant::from_nanos(state.turn(now.as_nanos(), cost)).since(now),
        }
    }

    /// The numbers at `now`.
    pub fn stats(&self, now: Instant) -> Stats {
        let mut state = self.state.0.lock();
        state.advance(now.as_nanos());
        let (available, owed) = state.bucket.level(now.as_nanos());
        let whole = |permits: u64| u32::try_from(permits).unwrap_or(u32::MAX);
        let refused = [state.rate_exceeded, state.wait_too_long, state.above_burst];
        Stats {
            allowed: state.allowed,
            refused: refused.into_iter().fold(0, u64::saturating_add),
            waiting: state.waiting(),
            available: whole(available),
            owed,
            burst: whole(state.bucket.pace.burst),
        }
    }

    /// The same as data for metrics, the admin API and the dashboard.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        const REFUSED: &str = "Calls refused, by reason.";
        let stats = self.stats(now);
        let refused =
            |count: u64, reason: Reason| Sample::counter("refused", REFUSED, count).label("reason", reason.as_str());
        let locked = self.state.0.lock();
        Snapshot {
            stage: Stage::Rate,
            name: self.name.clone(),
            samples: vec![
                Sample::gauge("available", "Permits that could be taken now.", stats.available.into()),
                Sample::gauge("owed", "Permits used beyond the burst, to be paid back first.", stats.owed as f64),
                Sample::gauge("burst", "The most permits that are saved up.", stats.burst.into()),
                Sample::gauge("waiting", "Calls waiting for permits.", stats.waiting as f64),
                Sample::counter("allowed", "Calls that passed.", stats.allowed),
                refused(locked.rate_exceeded, Reason::RateExceeded),
                refused(locked.wait_too_long, Reason::WaitTooLong),
                refused(locked.above_burst, Reason::AboveBurst),
            ],
        }
    }

    /// The rest of `acquire`.
    #[cold]
    fn enqueue(
        &self,
        state: &mut State,
        now: Instant,
        cost: u32,
        blocked: &Blocked,
        deadline: Instant,
    ) -> Admission<'_, Reservation> {
        if let Blocked::Until(turn) = *blocked
            && let Some(ticket) = state.enqueue(now.as_nanos(), cost, turn, deadline.as_nanos())
        {
            return Admission::Queued(ticket);
        }
        Admission::Refused(self.refuse(state, Reason::WaitTooLong, now, blocked))
    }

    /// Counts and refuses: for `reason`, or because the cost is above the burst.
    #[cold]
    fn refuse(&self, state: &mut State, reason: Reason, now: Instant, blocked: &Blocked) -> Refusal<'_> {
        let (reason, turn) = match *blocked {
            Blocked::Until(turn) => (reason, turn),
            // Waiting does not help, so there is no time to name.
            Blocked::AboveBurst => (Reason::AboveBurst, 0),
        };
        let counter = match *blocked {
            Blocked::AboveBurst => &mut state.above_burst,
            Blocked::Until(_) if reason == Reason::WaitTooLong => &mut state.wait_too_long,
            Blocked::Until(_) => &mut state.rate_exceeded,
        };
        *counter = counter.saturating_add(1);
        self.refusal(reason, now, turn)
    }

    fn refusal(&self, reason: Reason, now: Instant, turn: u64) -> Refusal<'_> {
        let retry_after = Instant::from_nanos(turn).since(now);
        Refusal { stage: Stage::Rate, name: &self.name, reason, retry_after, cause: None }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
