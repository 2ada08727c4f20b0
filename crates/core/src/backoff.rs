//! How long to wait before the next attempt.
//!
//! Owns the schedules and their jitter. A server's hint, the number of retries and the deadline are the business of
//! [`retry`](crate::retry).

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

pub use self::jitter::Jitter;

use crate::invalid::{Check, Invalid};
use crate::rng::Rng;

#[cfg(feature = "serde")]
mod document;
mod jitter;

/// The waits between attempts: a schedule, where it starts, what it never passes, and how far it is spread.
///
/// The default is exponential: 1 s, 2 s, 4 s and so on up to 60 s, each spread by ±20 %. A wait is always within
/// `[0, max_delay]`, after jitter too, for every number of retries and for values that [`Backoff::validate`] objects to.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{Backoff, Jitter};
///
/// let ms = Duration::from_millis;
/// let backoff = Backoff::exponential(ms(1)).max_delay(ms(10)).jitter(Jitter::None);
/// let waits: Vec<_> = backoff.iter(0).take(6).collect();
/// assert_eq!(waits, [1, 2, 4, 8, 10, 10].map(ms));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    /// How the waits grow.
    pub schedule: Schedule,
    /// The wait before the first retry. Default 1 s.
    pub base_delay: Duration,
    /// The longest wait, jitter included. Default 60 s, or the base if that is longer.
    pub max_delay: Duration,
    /// How the waits are spread. Default ±20 %; none for [`Schedule::Decorrelated`], which is random by itself.
    pub jitter: Jitter,
}

/// How waits grow from retry to retry.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Schedule {
    /// base · factorⁿ: 1, 2, 4, 8 for a factor of 2.
    Exponential {
        /// What each wait is multiplied by, 1 or more. Default 2.
        factor: f64,
    },
    /// base + n · increment: 1, 2, 3, 4.
    Linear {
        /// What is added to each wait. Default: the base.
        increment: Duration,
    },
    /// Always the base.
    Constant,
    /// The base times the Fibonacci numbers: 1, 1, 2, 3, 5.
    Fibonacci,
    /// Random between the base and three times the wait before (M. Brooker, "Exponential Backoff And Jitter", AWS
    /// Architecture Blog, 2015). The wait before the first is the base.
    Decorrelated,
    /// A function, see [`Backoff::custom`].
    Custom(Function),
}

/// A function that says how long to wait, see [`Backoff::custom`].
///
/// Clones are the same function, and equal; two functions never are, though they do the same. In a debug format it is an
/// address, so that a comparison of settings as text tells two of them apart.
#[derive(Clone)]
pub struct Function(Arc<dyn Fn(u32, Duration) -> Duration + Send + Sync>);

/// Policies stand in whatever may panic and be caught, as without it: nothing of a policy is changed while it runs.
impl RefUnwindSafe for Function {}
impl UnwindSafe for Function {}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:p}", self.0)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::exponential(Self::DEFAULT_BASE)
    }
}

impl Backoff {
    const DEFAULT_BASE: Duration = Duration::from_secs(1);
    const DEFAULT_MAX: Duration = Duration::from_secs(60);
    const DEFAULT_FACTOR: f64 = 2.0;

    fn new(schedule: Schedule, base_delay: Duration) -> Self {
        let jitter = if matches!(schedule, Schedule::Decorrelated) { Jitter::None } else { Jitter::default() };
        Self { schedule, base_delay, max_delay: Self::DEFAULT_MAX.max(base_delay), jitter }
    }

    /// `base`, doubling; see [`Backoff::factor`].
    #[must_use]
    pub fn exponential(base: Duration) -> Self {
        Self::new(Schedule::Exponential { factor: Self::DEFAULT_FACTOR }, base)
    }

    /// `base`, growing by as much each time; see [`Backoff::increment`].
    #[must_use]
    pub fn linear(base: Duration) -> Self {
        Self::new(Schedule::Linear { increment: base }, base)
    }

    /// Always `delay`.
    #[must_use]
    pub fn constant(delay: Duration) -> Self {
        Self::new(Schedule::Constant, delay)
    }

    /// `base` times the Fibonacci numbers.
    #[must_use]
    pub fn fibonacci(base: Duration) -> Self {
        Self::new(Schedule::Fibonacci, base)
    }

    /// Random between `base` and three times the wait before.
    #[must_use]
    pub fn decorrelated(base: Duration) -> Self {
        Self::new(Schedule::Decorrelated, base)
    }

    /// What a function says: of the number of retries made so far, and of the wait before the last of them (zero for the
    /// first). The base means nothing to it. Longest wait (60 s unless set) and jitter (±20 % unless set) hold as for any
    /// other schedule.
    ///
    /// It is no data, so it cannot be written to a file, and serializing it is an error. A file that is reloaded over it
    /// takes its place. It is called after a failure, under no lock; if it panics, the call panics. What a policy means in
    /// numbers ([`Config::explain`](crate::policy::Config::explain)) takes the longest wait for it, and does not call it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use stormproof_core::{Backoff, Jitter};
    ///
    /// let table = vec![1, 5, 30].into_iter().map(Duration::from_secs).collect::<Vec<_>>();
    /// let backoff = Backoff::custom(move |retry, previous| table.get(retry as usize).copied().unwrap_or(previous * 2));
    /// let waits: Vec<_> = backoff.jitter(Jitter::None).iter(0).take(5).collect();
    /// assert_eq!(waits, [1, 5, 30, 60, 60].map(Duration::from_secs));
    /// ```
    #[must_use]
    pub fn custom(delay: impl Fn(u32, Duration) -> Duration + Send + Sync + 'static) -> Self {
        Self::new(Schedule::Custom(Function(Arc::new(delay))), Duration::ZERO)
    }

    /// Sets what each wait of an exponential schedule is multiplied by. Makes the schedule exponential.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        self.schedule = Schedule::Exponential { factor };
        self
    }

    /// Sets what is added to each wait of a linear schedule. Makes the schedule linear.
    #[must_use]
    pub fn increment(mut self, increment: Duration) -> Self {
        self.schedule = Schedule::Linear { increment };
        self
    }

    /// Sets the longest wait, jitter included.
    #[must_use]
    pub fn max_delay(mut self, max: Duration) -> Self {
        self.max_delay = max;
        self
    }

    /// Sets how waits are spread.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// What is wrong with the values; empty if nothing is.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        if let Schedule::Exponential { factor } = self.schedule {
            check.that(factor.is_finite() && factor >= 1.0, "factor", factor, "a finite number, 1 or more");
        }
        check.that(self.base_delay <= self.max_delay, "base_delay", self.base_delay, "at most max_delay");
        check.part("jitter", self.jitter.validate());
        check.done()
    }

    /// The wait before a retry.
    ///
    /// `retry` is how many retries were made before (0 for the first), `previous` how long the one before waited (zero
    /// for the first; only [`Schedule::Decorrelated`] and [`Schedule::Custom`] look at it).
    pub fn delay(&self, retry: u32, previous: Duration, rng: &Rng) -> Duration {
        let delay = self.scheduled(retry, previous, || rng.unit());
        if self.jitter == Jitter::None { delay } else { self.spread(delay, rng.unit()) }
    }

    /// What the schedule says, at most `max_delay`.
    fn scheduled(&self, retry: u32, previous: Duration, unit: impl FnOnce() -> f64) -> Duration {
        let (base, max) = (self.base_delay, self.max_delay);
        let delay = match &self.schedule {
            Schedule::Exponential { factor } => scale(base, factor.powi(retry.try_into().unwrap_or(i32::MAX)), max),
            Schedule::Linear { increment } => base.saturating_add(increment.saturating_mul(retry)),
            Schedule::Constant => base,
            Schedule::Fibonacci => fibonacci(base, retry, max),
            Schedule::Decorrelated => {
                let spread = previous.max(base).saturating_mul(3).saturating_sub(base);
                base.saturating_add(scale(spread, unit(), Duration::MAX))
            }
            Schedule::Custom(delay) => (delay.0)(retry, previous),
        };
        delay.min(max)
    }

    /// A wait with its jitter, evenly within that part of the jitter's range that does not pass `max_delay`: what is only
    /// cut to it makes all callers meet there. If no part is left the range is scaled, so that it ends there.
    fn spread(&self, delay: Duration, unit: f64) -> Duration {
        let (low, high) = (self.jitter.multiplier(0.0), self.jitter.multiplier(1.0));
        let room = self.max_delay.as_secs_f64() / delay.as_secs_f64();
        let by = if high <= room {
            self.jitter.multiplier(unit)
        } else if low < room {
            self.jitter.multiplier(unit * (room - low) / (high - low))
        } else {
            self.jitter.multiplier(unit) * room / high
        };
        scale(delay, by, self.max_delay)
    }

    /// The bounds of [`delay`](Self::delay): what it is at least and at most, `previous` being at least and at most that.
    /// What a function says is not known before it is called.
    pub(crate) fn bounds(&self, retry: u32, previous: (Duration, Duration)) -> (Duration, Duration) {
        if matches!(self.schedule, Schedule::Custom(_)) {
            return (Duration::ZERO, self.max_delay);
        }
        let least = self.scheduled(retry, previous.0, || 0.0);
        let most = self.scheduled(retry, previous.1, || 1.0);
        if self.jitter == Jitter::None {
            return (least, most);
        }
        (self.spread(least, 0.0).min(self.spread(most, 0.0)), self.spread(most, 1.0))
    }

    /// The longest that [`upward`](Self::upward) makes of a wait.
    pub(crate) fn longest_upward(&self, least: Duration) -> Duration {
        least.saturating_add(scale(least, self.jitter.upward(), Duration::MAX))
    }

    /// The waits one after another, without end; the same for the same seed.
    pub fn iter(&self, seed: u64) -> Delays {
        Delays { backoff: self.clone(), rng: Rng::new(seed), retry: 0, previous: Duration::ZERO }
    }

    /// A wait of at least `least`, which is a server's word and may pass `max_delay`: spread upward only, by no more
    /// than the fraction that the jitter adds to a wait, or for jitters that only shorten, by what they take from it.
    pub(crate) fn upward(&self, least: Duration, rng: &Rng) -> Duration {
        if self.jitter == Jitter::None {
            return least;
        }
        least.saturating_add(scale(least, self.jitter.upward() * rng.unit(), Duration::MAX))
    }
}

/// The waits of a [`Backoff`], one after another, without end.
#[derive(Debug)]
#[must_use = "an iterator does nothing unless asked"]
pub struct Delays {
    backoff: Backoff,
    rng: Rng,
    retry: u32,
    previous: Duration,
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.previous = self.backoff.delay(self.retry, self.previous, &self.rng);
        self.retry = self.retry.saturating_add(1);
        Some(self.previous)
    }
}

/// `delay · by`, at most `max`; a negative product is zero, and one that is no number is `max`.
fn scale(delay: Duration, by: f64, max: Duration) -> Duration {
    if delay.is_zero() {
        return delay;
    }
    let seconds = delay.as_secs_f64() * by;
    if seconds < max.as_secs_f64() { Duration::try_from_secs_f64(seconds).unwrap_or_default().min(max) } else { max }
}

/// `base` times the Fibonacci number of `retry`, or anything from `max` on. Passes the largest duration within 140
/// steps.
fn fibonacci(base: Duration, retry: u32, max: Duration) -> Duration {
    let (mut delay, mut next) = (base, base);
    for _ in 0..retry {
        if delay >= max || delay.is_zero() {
            break;
        }
        (delay, next) = (next, delay.saturating_add(next));
    }
    delay
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
