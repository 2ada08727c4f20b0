//! The rate limiter: so many permits per time, a burst, and a fair queue whose waits are computed.
//!
//! Owns the arithmetic of the rate and the order in which callers pass. Does not own waiting: a queued caller holds a
//! [`Ticket`], and the edge polls it when it is woken or when the instant that `poll` named has come.
//!
//! The algorithm is GCRA, the generic cell rate algorithm (ITU-T I.371, ATM Forum Traffic Management 4.0), in its
//! virtual scheduling form. Its whole state is one number, the theoretical arrival time: the instant at which the bucket
//! will be full again. A permit moves it one interval ahead, and a caller passes if it is then no more than
//! `burst × interval` ahead of now.

mod config;
mod state;

use std::convert::Infallible;
use std::time::Duration;

pub use self::config::Config;

use self::state::{Blocked, Pace, SharedPace, State, charged, within_range};

use crate::decision::{Admission, Name, Progress, Reason, Refusal, Stage, Ticket};
use crate::invalid::Mistakes;
use crate::snapshot::{Sample, Snapshot};
use crate::sync::{AtomicU64, Mutex, Ordering, Padded};
use crate::time::Instant;
use crate::word::Word;

/// Permits taken; [`settle`](RateLimiter::settle) corrects their number, [`release`](RateLimiter::release) gives all
/// back. Dropping it leaves them taken, which is right for a call that was made at its estimated cost.
#[derive(Debug)]
#[must_use = "a call that is not made should give its permits back by `release`"]
pub struct Reservation {
    cost: u32,
    settled: bool,
}

impl Reservation {
    const fn new(cost: u32) -> Self {
        Self { cost, settled: false }
    }

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

/// What every admission writes.
#[derive(Debug)]
struct Hot {
    /// The theoretical arrival time in nanoseconds.
    word: Word,
    allowed: AtomicU64,
}

#[derive(Debug)]
struct Cold {
    state: Mutex<State>,
    rate_exceeded: AtomicU64,
    wait_too_long: AtomicU64,
    above_burst: AtomicU64,
}

/// Lets through so many permits per time, in the order of arrival.
///
/// With nobody waiting, admitting and settling are one atomic exchange. With somebody waiting they take a short mutex,
/// and nobody passes before those who wait. Only the head of the queue needs a timer.
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
    pace: SharedPace,
    hot: Padded<Hot>,
    cold: Padded<Cold>,
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
        let zero = || AtomicU64::new(0);
        let state = State::new(config);
        Self {
            name,
            pace: SharedPace::new(state.pace),
            hot: Padded(Hot { word: Word::new(0), allowed: zero() }),
            cold: Padded(Cold {
                state: Mutex::new(state),
                rate_exceeded: zero(),
                wait_too_long: zero(),
                above_burst: zero(),
            }),
        }
    }

    /// The name given to `new`.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The present configuration.
    pub fn config(&self) -> Config {
        self.cold.0.state.lock().config.clone()
    }

    /// Changes the configuration and keeps the state: permits used up stay used up, debts stay debts, and who waits
    /// keeps its place. Returns the head of the queue, whose turn may have moved, or all mistakes in `config`.
    ///
    /// One who waits for more than the new burst passes when the bucket is full, and owes the rest.
    pub fn update(&self, now: Instant, config: Config) -> Result<Option<Ticket>, Mistakes> {
        let mistakes = config.validate();
        if !mistakes.is_empty() {
            return Err(mistakes.into());
        }
        Ok(self.exclusively(|state| {
            state.change(within_range(now), config);
            self.pace.store(state.pace);
            state.head()
        }))
    }

    /// Takes `cost` permits now or not at all; never passes those who wait. A cost of 0 always passes.
    #[inline]
    pub fn try_acquire(&self, now: Instant, cost: u32) -> Result<Reservation, Refusal<'_>> {
        self.take(now, cost).or_else(|known| self.try_again(within_range(now), cost, known))
    }

    /// Takes `cost` permits now, or queues for them in the order of arrival. A cost of 0 always passes.
    ///
    /// Who would have to wait to `deadline` or past it, or longer than [`Config::max_wait`], is refused at once and takes
    /// nothing: a smaller call may still fit. Waits are computed from what is known now; a debit or a slower rate
    /// prolongs them, so the edge cancels a ticket whose deadline has come. A queued ticket should be polled once
    /// right away, to learn when its turn comes.
    #[inline]
    pub fn acquire(&self, now: Instant, cost: u32, deadline: Instant) -> Admission<'_, Reservation> {
        match self.take(now, cost) {
            Ok(reservation) => Admission::Granted(reservation),
            Err(_) => self.enqueue(within_range(now), cost, deadline.as_nanos()),
        }
    }

    /// Asks for a queued caller: the head of the queue is granted once its turn has come. One who is not in the queue
    /// (any more) waits for ever. Returns whom to poll besides.
    pub fn poll(&self, now: Instant, ticket: Ticket) -> (Progress<'_, Reservation>, Vec<Ticket>) {
        self.exclusively(|state| match state.grant(within_range(now), ticket) {
            None => (Progress::Waiting { until: Instant::FAR_FUTURE }, Vec::new()),
            Some(Err(turn)) => (Progress::Waiting { until: Instant::from_nanos(turn) }, Vec::new()),
            Some(Ok(token)) => (Progress::Granted(self.counted(token)), state.head().into_iter().collect()),
        })
    }

    /// Leaves the queue without a trace; those behind move up. Returns whom to poll: the new head, if the head left.
    /// Does nothing for a ticket that is not in the queue (any more).
    pub fn cancel(&self, ticket: Ticket) -> Vec<Ticket> {
        self.exclusively(|state| state.leave(ticket)).into_iter().collect()
    }

    /// Corrects a reservation to what was `used`: the rest is given back, what is missing is charged, if need be as a
    /// debt that passes the burst. Only the first `settle` or `release` of a reservation has an effect. Returns whom
    /// to poll: the head of the queue, whose turn has moved.
    #[inline]
    pub fn settle(&self, now: Instant, reservation: &mut Reservation, used: u32) -> Option<Ticket> {
        if std::mem::replace(&mut reservation.settled, true) || used == reservation.cost {
            return None;
        }
        if used < reservation.cost {
            return self.refund(reservation.cost - used);
        }
        let (now, missing) = (within_range(now), u64::from(used - reservation.cost));
        self.shift(|pace, tat| charged(tat, now, pace.need(missing)))
    }

    /// Gives all permits of a reservation back, exactly: the call was not made. Only the first `settle` or `release`
    /// of a reservation has an effect. Returns whom to poll: the head of the queue, whose turn has come nearer.
    #[inline]
    pub fn release(&self, reservation: &mut Reservation) -> Option<Ticket> {
        if std::mem::replace(&mut reservation.settled, true) {
            return None;
        }
        self.refund(reservation.cost)
    }

    /// How long a caller would have to wait for `cost` permits, behind all who wait now; [`Duration::MAX`] if they are
    /// more than the burst. Takes nothing.
    pub fn peek(&self, now: Instant, cost: u32) -> Duration {
        let now = within_range(now);
        self.look(|state| match u64::from(cost) {
            0 => Duration::ZERO,
            permits if permits > state.pace.burst => Duration::MAX,
            _ => Duration::from_nanos(state.turn_behind_all(now, cost).saturating_sub(now)),
        })
    }

    /// The numbers at `now`.
    pub fn stats(&self, now: Instant) -> Stats {
        let now = within_range(now);
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Cold { rate_exceeded, wait_too_long, above_burst, .. } = &self.cold.0;
        let refused = [rate_exceeded, wait_too_long, above_burst].into_iter().map(get).fold(0, u64::saturating_add);
        let allowed = get(&self.hot.0.allowed);
        self.look(|state| {
            let Pace { burst, interval, window } = state.pace;
            let ahead = state.tat.saturating_sub(now);
            let whole = |burst: u64| u32::try_from(burst).unwrap_or(u32::MAX);
            Stats {
                allowed,
                refused,
                waiting: state.waiting(),
                available: whole(window.saturating_sub(ahead) / interval.max(1)),
                owed: ahead.saturating_sub(window).div_ceil(interval.max(1)),
                burst: whole(burst),
            }
        })
    }

    /// The same as data for metrics, the admin API and the dashboard.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        const REFUSED: &str = "Calls refused, by reason.";
        let stats = self.stats(now);
        let refused = |counter: &AtomicU64, reason: Reason| {
            Sample::counter("refused", REFUSED, counter.load(Ordering::Relaxed)).label("reason", reason.as_str())
        };
        Snapshot {
            stage: Stage::Rate,
            name: self.name.clone(),
            samples: vec![
                Sample::gauge("available", "Permits that could be taken now.", stats.available.into()),
                Sample::gauge("owed", "Permits used beyond the burst, to be paid back first.", stats.owed as f64),
                Sample::gauge("burst", "The most permits that are saved up.", stats.burst.into()),
                Sample::gauge("waiting", "Calls waiting for permits.", stats.waiting as f64),
                Sample::counter("allowed", "Calls that passed.", stats.allowed),
                refused(&self.cold.0.rate_exceeded, Reason::RateExceeded),
                refused(&self.cold.0.wait_too_long, Reason::WaitTooLong),
                refused(&self.cold.0.above_burst, Reason::AboveBurst),
            ],
        }
    }

    /// The fast path: one exchange of the word. Knows no answer (`None`) if the word is locked.
    #[inline]
    fn take(&self, now: Instant, cost: u32) -> Result<Reservation, Option<Blocked>> {
        if cost > 0 {
            let now = within_range(now);
            self.hot.0.word.update(|tat| {
                let pace = self.pace.load();
                if u64::from(cost) > pace.burst {
                    return Err(Blocked::AboveBurst);
                }
                let need = pace.need(cost.into());
                let turn = pace.turn(tat, need);
                if turn > now { Err(Blocked::Until(turn)) } else { Ok(charged(tat, now, need)) }
            })?;
        }
        Ok(self.counted(Reservation::new(cost)))
    }

    #[inline]
    fn counted(&self, reservation: Reservation) -> Reservation {
        self.hot.0.allowed.fetch_add(1, Ordering::Relaxed);
        reservation
    }

    /// The rest of `try_acquire`; needs the mutex only if the word was locked.
    #[cold]
    fn try_again(&self, now: u64, cost: u32, known: Option<Blocked>) -> Result<Reservation, Refusal<'_>> {
        match known.map_or_else(|| self.exclusively(|state| state.admit(now, cost)), Err) {
            Ok(reservation) => Ok(self.counted(reservation)),
            Err(blocked) => Err(self.refuse(Reason::RateExceeded, now, &blocked)),
        }
    }

    /// The rest of `acquire`.
    #[cold]
    fn enqueue(&self, now: u64, cost: u32, deadline: u64) -> Admission<'_, Reservation> {
        let answer = self.exclusively(|state| match state.admit(now, cost) {
            Ok(reservation) => Ok(Admission::Granted(self.counted(reservation))),
            Err(Blocked::Until(turn)) => {
                state.enqueue(now, cost, turn, deadline).map(Admission::Queued).ok_or(Blocked::Until(turn))
            }
            Err(blocked) => Err(blocked),
        });
        answer.unwrap_or_else(|blocked| Admission::Refused(self.refuse(Reason::WaitTooLong, now, &blocked)))
    }

    /// Refuses for `reason`, or because the cost is above the burst.
    fn refuse(&self, reason: Reason, now: u64, blocked: &Blocked) -> Refusal<'_> {
        let Cold { rate_exceeded, wait_too_long, above_burst, .. } = &self.cold.0;
        let (reason, retry_after) = match *blocked {
            Blocked::Until(turn) => (reason, Duration::from_nanos(turn.saturating_sub(now))),
            // Waiting does not help, so there is no time to name.
            Blocked::AboveBurst => (Reason::AboveBurst, Duration::ZERO),
        };
        let counter = match *blocked {
            Blocked::AboveBurst => above_burst,
            Blocked::Until(_) if reason == Reason::WaitTooLong => wait_too_long,
            Blocked::Until(_) => rate_exceeded,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Refusal { stage: Stage::Rate, name: &self.name, reason, retry_after, breaker: None }
    }

    /// Gives back `permits`. Needs no time: an arrival time in the past is a full bucket, however far in the past.
    #[inline]
    fn refund(&self, permits: u32) -> Option<Ticket> {
        if permits == 0 {
            return None;
        }
        self.shift(|pace, tat| tat.saturating_sub(pace.need(permits.into())))
    }

    /// Moves the arrival time; returns the head of the queue, whose turn moves with it.
    #[inline]
    fn shift(&self, moved: impl Fn(Pace, u64) -> u64) -> Option<Ticket> {
        if self.hot.0.word.update(|tat| Ok::<_, Infallible>(moved(self.pace.load(), tat))).is_ok() {
            return None;
        }
        self.exclusively(|state| {
            state.tat = moved(state.pace, state.tat);
            state.head()
        })
    }

    /// Runs `change` as the only one who may change the word, and leaves it locked if somebody waits then.
    fn exclusively<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.cold.0.state.lock();
        state.tat = self.hot.0.word.lock();
        let answer = change(&mut state);
        self.hot.0.word.unlock(state.tat, state.waiting() > 0);
        answer
    }

    /// Runs `read` on the present state without getting in the way of the fast path.
    fn look<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        let mut state = self.cold.0.state.lock();
        state.tat = self.hot.0.word.value();
        read(&state)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
