//! Whether to try again, and when.
//!
//! Owns the filter of failures, the number of retries, and the order in which a decision is made. The waits come from
//! [`backoff`](crate::backoff), the limit on all callers together from [`budget`](crate::budget).

#[cfg(feature = "serde")]
mod document;
mod stats;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "serde")]
use self::document::Document;
pub use self::stats::Stats;

use self::stats::Counters;

use crate::backoff::Backoff;
use crate::decision::Reason;
use crate::invalid::{Check, Invalid, Mistakes};
use crate::outcome::{Outcome, Verdict, is_one_of};
use crate::rng::Rng;
use crate::time::Instant;

/// What is retried, how often and how fast.
///
/// With the feature `serde`, `max_attempts` (which counts the first call) may stand in place of `max_retries`.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "Document"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(!try_from, default, deny_unknown_fields))]
pub struct Config {
    /// How many times a call is tried again, the first attempt not counted. Default 3; 0 never retries.
    pub max_retries: u32,
    /// The waits between attempts. Default: 1 s, doubling, up to 60 s, ±20 %.
    pub backoff: Backoff,
    /// The kinds of failure that are retried, each with its particular ones; all, if none is named. Default: none.
    pub retry_on: Vec<String>,
    /// The kinds of failure that are never retried, whatever else says so. Default: none.
    pub never_on: Vec<String>,
    /// The longest hint of a server that is honoured; a longer one is cut to this, so the retry comes before the server
    /// wants it. Default: none, only the deadline limits it.
    #[cfg_attr(
        feature = "serde",
        serde(with = "crate::time::duration::option", skip_serializing_if = "Option::is_none")
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::time::duration::Written>"))]
    pub retry_after_cap: Option<Duration>,
    /// The longest hint of a server that is waited for; a longer one ends the call at once, and its error says how long the
    /// hint is. Not together with `retry_after_cap`. Default: none, only the deadline limits it.
    #[cfg_attr(
        feature = "serde",
        serde(with = "crate::time::duration::option", skip_serializing_if = "Option::is_none")
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::time::duration::Written>"))]
    pub max_retry_after: Option<Duration>,
    /// Whether a call that an open circuit refuses waits until the circuit is half-open, instead of being refused: the
    /// first attempt as well as a retry, and only if that is before the deadline. Each wait uses up a retry. A circuit
    /// that is half-open with all probes out is asked again after the backoff. Default: false.
    pub wait_for_half_open: bool,
}

impl Config {
    const DEFAULT_RETRIES: u32 = 3;

    /// What is wrong with the values; empty if nothing is.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        check.part("backoff", self.backoff.validate());
        for (field, kinds) in [("retry_on", &self.retry_on), ("never_on", &self.never_on)] {
            check.that(!kinds.iter().any(String::is_empty), field, kinds, "kinds of failure, none of them empty");
        }
        if let (Some(longest), Some(_)) = (self.max_retry_after, self.retry_after_cap) {
            check.that(false, "max_retry_after", longest, "only without retry_after_cap: set one of them");
        }
        check.done()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_retries: Self::DEFAULT_RETRIES,
            backoff: Backoff::default(),
            retry_on: Vec::new(),
            never_on: Vec::new(),
            retry_after_cap: None,
            max_retry_after: None,
            wait_for_half_open: false,
        }
    }
}

/// What follows from an attempt that was no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// Try again.
    Retry {
        /// How long to wait first.
        delay: Duration,
        /// When that is over.
        until: Instant,
    },
    /// Hand the last result to the caller.
    Stop(Stop),
}

/// Why no further attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stop {
    /// This kind of failure is not retried.
    NotRetryable,
    /// All retries are used up.
    Exhausted,
    /// The deadline would have passed before the next attempt.
    Deadline,
    /// The retry budget is used up.
    BudgetDenied,
    /// The policy does not retry at all.
    NoRetry,
    /// A stage refused the next attempt.
    Refused,
    /// What is called could not be made ready for the next attempt.
    Unready,
    /// The server's hint is longer than [`Config::max_retry_after`]; this is how long, from the end of the call.
    RetryAfter(Duration),
}

impl Stop {
    /// Those that a policy with retries can have, in the order of their counters.
    const COUNTED: [Self; 7] = [
        Self::NotRetryable,
        Self::Exhausted,
        Self::Deadline,
        Self::BudgetDenied,
        Self::Refused,
        Self::Unready,
        Self::RetryAfter(Duration::ZERO),
    ];

    /// The reason in snake case, as events and metrics write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotRetryable => "not_retryable",
            Self::Exhausted => "exhausted",
            Self::Deadline => "deadline",
            Self::BudgetDenied => "budget_denied",
            Self::NoRetry => "no_retry",
            Self::Refused => "refused",
            Self::Unready => "unready",
            Self::RetryAfter(_) => "retry_after",
        }
    }
}

/// The reason in words, as messages to people have it.
impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRetryable => "a retry would not help",
            Self::Exhausted => "all retries used",
            Self::Deadline => "no time for a retry",
            Self::BudgetDenied => "retry budget used up",
            Self::NoRetry => "not retried",
            Self::Refused => "the next attempt was refused",
            Self::Unready => "not ready to be called",
            Self::RetryAfter(wait) => {
                return write!(f, "the server wants no retry before {:.3} s have passed", wait.as_secs_f64());
            }
        })
    }
}

/// Decides after each failed attempt; keeps nothing about a call, so all calls share one.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{retry, Backoff, Instant, Jitter, Retry, Verdict};
///
/// let backoff = Backoff::exponential(Duration::from_secs(1)).jitter(Jitter::None);
/// let retry = Retry::new(retry::Config { backoff, ..Default::default() })?.seed(7);
///
/// let (now, no_deadline) = (Instant::ZERO, Instant::FAR_FUTURE);
/// let decide = |retries, verdict| retry.decide(now, retries, Duration::ZERO, &verdict, no_deadline);
/// let after = |seconds| retry::Decision::Retry {
///     delay: Duration::from_secs(seconds),
///     until: now + Duration::from_secs(seconds),
/// };
/// assert_eq!(decide(1, Verdict::failure("TimeoutError")), after(2));
/// assert_eq!(decide(1, Verdict::failure("RateLimitError").retry_after(Duration::from_secs(10))), after(10));
/// assert_eq!(decide(3, Verdict::failure("TimeoutError")), retry::Decision::Stop(retry::Stop::Exhausted));
/// # Ok::<(), stormproof_core::Mistakes>(())
/// ```
#[derive(Debug)]
pub struct Retry {
    config: Config,
    rng: Rng,
    counters: Arc<Counters>,
}

impl Retry {
    /// Retries as `config` says, the jitter from a fixed seed: see [`Retry::seed`].
    ///
    /// # Errors
    /// All mistakes in `config`.
    pub fn new(config: Config) -> Result<Self, Mistakes> {
        let mistakes = config.validate();
        if mistakes.is_empty() {
            Ok(Self { config, rng: Rng::new(0), counters: Arc::new(Counters::new()) })
        } else {
            Err(mistakes.into())
        }
    }

    /// Sets what determines the jitter. Processes that call the same callee need different seeds, or they come back
    /// together.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.rng = Rng::new(seed);
        self
    }

    /// Retries as `config` says that count where these count, so that totals go on.
    ///
    /// # Errors
    /// All mistakes in `config`.
    pub fn renewed(&self, config: Config) -> Result<Self, Mistakes> {
        Ok(Self { counters: self.counters.clone(), ..Self::new(config)? })
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether another attempt may follow after this number of retries. An attempt for which this is false is the last one,
    /// and nothing need be kept for another.
    #[inline]
    pub fn may_retry_after(&self, retries_done: u32) -> bool {
        retries_done < self.config.max_retries
    }

    /// What follows from `verdict`.
    ///
    /// `retries_done` is 0 after the first attempt, `previous_delay` the wait before the attempt that failed (zero for
    /// the first). The budget is asked afterwards, by the [`Call`](crate::Call): it pays only for what will happen.
    pub fn decide(
        &self,
        now: Instant,
        retries_done: u32,
        previous_delay: Duration,
        verdict: &Verdict<'_>,
        deadline: Instant,
    ) -> Decision {
        if !self.is_retryable(verdict) {
            return Decision::Stop(Stop::NotRetryable);
        }
        // Before all others, since it says most: when to come back.
        if let (Some(hint), Some(longest)) = (verdict.retry_after, self.config.max_retry_after)
            && hint > longest
        {
            return Decision::Stop(Stop::RetryAfter(hint));
        }
        if !self.may_retry_after(retries_done) {
            return Decision::Stop(Stop::Exhausted);
        }
        let delay = self.delay(now, retries_done, previous_delay, verdict.retry_after, deadline);
        let until = now + delay;
        if until >= deadline {
            return Decision::Stop(Stop::Deadline);
        }
        Decision::Retry { delay, until }
    }

    /// Whether another attempt could change the outcome: only that of a failure, and then the first of these that has
    /// a say decides: the deny list, the classifier, the allow list.
    pub fn is_retryable(&self, verdict: &Verdict<'_>) -> bool {
        let Config { retry_on, never_on, .. } = &self.config;
        verdict.outcome == Outcome::Failure
            && !is_one_of(verdict.kind, never_on)
            && verdict.retry.unwrap_or_else(|| retry_on.is_empty() || is_one_of(verdict.kind, retry_on))
    }

    /// When a call that a breaker refuses for `reason`, and for at least `wait`, asks again; `None` if it does not.
    ///
    /// `retries_done` counts such waits, too, so that they come to an end.
    pub fn wait_for_half_open(
        &self,
        now: Instant,
        retries_done: u32,
        previous_delay: Duration,
        (reason, wait): (Reason, Duration),
        deadline: Instant,
    ) -> Option<Instant> {
        if !self.config.wait_for_half_open || !self.may_retry_after(retries_done) {
            return None;
        }
        let until = match reason {
            Reason::Open => self.spread(now, wait, deadline),
            // Nobody knows how long the probes take.
            Reason::HalfOpenLimit => now + self.config.backoff.delay(retries_done, previous_delay, &self.rng).max(wait),
            // An operator's word does not end by itself. The rest are the refusals of other stages.
            Reason::ForcedOpen
            | Reason::QueueFull
            | Reason::QueueTimeout
            | Reason::Shed
            | Reason::WaitTooLong
            | Reason::RateExceeded
            | Reason::AboveBurst
            | Reason::JoinedFailed
            | Reason::Throttled => return None,
        };
        (until < deadline).then_some(until)
    }

    /// The end of a wait that must not be shorter, spread so that not all who wait come back at once; but the spreading
    /// shall not be what fails the call.
    pub(crate) fn spread(&self, now: Instant, least: Duration, deadline: Instant) -> Instant {
        let spread = now + self.config.backoff.upward(least, &self.rng);
        if spread < deadline { spread } else { now + least }
    }

    /// The backoff, or the server's hint if that is longer.
    fn delay(
        &self,
        now: Instant,
        retries_done: u32,
        previous: Duration,
        hint: Option<Duration>,
        deadline: Instant,
    ) -> Duration {
        let backoff = self.config.backoff.delay(retries_done, previous, &self.rng);
        let hint = hint.unwrap_or_default().min(self.config.retry_after_cap.unwrap_or(Duration::MAX));
        if hint <= backoff {
            return backoff;
        }
        self.spread(now, hint, deadline).since(now)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
