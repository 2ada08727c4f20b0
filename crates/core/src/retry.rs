//! Whether to try again, and when.
//!
//! Owns the filter of failures, the number of retries, and the order in which a decision is made. The waits come from
//! [`backoff`](crate::backoff), the limit on all callers together from [`budget`](crate::budget).

use std::time::Duration;

use crate::backoff::Backoff;
use crate::budget::RetryBudget;
use crate::invalid::{Check, Invalid, Mistakes};
use crate::outcome::{Outcome, Verdict, is_one_of};
use crate::rng::Rng;
use crate::time::Instant;

/// What is retried, how often and how fast.
///
/// With the feature `serde`, `max_attempts` (which counts the first call) may stand in place of `max_retries`.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "Document"))]
pub struct Config {
    /// How many times a call is tried again, the first attempt not counted. Default 3; 0 never retries.
    pub max_retries: u32,
    /// The waits between attempts. Default: 1 s, doubling, up to 60 s, ±20 %.
    pub backoff: Backoff,
    /// The kinds of failure that are retried, see [`is_one_of`]; empty (the default): all.
    pub retry_on: Vec<String>,
    /// The kinds of failure that are never retried, whatever else says so. Default: none.
    pub never_on: Vec<String>,
    /// The longest hint of a server that is honoured; a longer one is cut to this. Default: none, only the deadline
    /// limits it.
    #[cfg_attr(
        feature = "serde",
        serde(with = "crate::time::duration::option", skip_serializing_if = "Option::is_none")
    )]
    pub retry_after_cap: Option<Duration>,
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
}

impl Stop {
    /// The reason in snake case, as events and metrics write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotRetryable => "not_retryable",
            Self::Exhausted => "exhausted",
            Self::Deadline => "deadline",
            Self::BudgetDenied => "budget_denied",
            Self::NoRetry => "no_retry",
        }
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
/// let decide = |retries, verdict| retry.decide(now, retries, Duration::ZERO, &verdict, no_deadline, None);
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
}

impl Retry {
    /// Retries as `config` says, the jitter from a fixed seed: see [`Retry::seed`].
    ///
    /// # Errors
    /// All mistakes in `config`.
    pub fn new(config: Config) -> Result<Self, Mistakes> {
        let mistakes = config.validate();
        if mistakes.is_empty() { Ok(Self { config, rng: Rng::new(0) }) } else { Err(mistakes.into()) }
    }

    /// Sets what determines the jitter. Processes that call the same callee need different seeds, or they come back
    /// together.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.rng = Rng::new(seed);
        self
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether another attempt may follow after so many retries. An attempt for which this is false is the last one,
    /// and nothing need be kept for another.
    #[inline]
    pub fn may_retry_after(&self, retries_done: u32) -> bool {
        retries_done < self.config.max_retries
    }

    /// What follows from `verdict`.
    ///
    /// `retries_done` is 0 after the first attempt, `previous_delay` the wait before the attempt that failed (zero for
    /// the first). A retry is taken out of `budget` only if nothing else speaks against it.
    pub fn decide(
        &self,
        now: Instant,
        retries_done: u32,
        previous_delay: Duration,
        verdict: &Verdict<'_>,
        deadline: Instant,
        budget: Option<&RetryBudget>,
    ) -> Decision {
        if !self.is_retryable(verdict) {
            return Decision::Stop(Stop::NotRetryable);
        }
        if !self.may_retry_after(retries_done) {
            return Decision::Stop(Stop::Exhausted);
        }
        let delay = self.delay(now, retries_done, previous_delay, verdict.retry_after, deadline);
        let until = now + delay;
        if until >= deadline {
            return Decision::Stop(Stop::Deadline);
        }
        if budget.is_some_and(|budget| !budget.withdraw(now)) {
            return Decision::Stop(Stop::BudgetDenied);
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
        let spread = self.config.backoff.upward(hint, &self.rng);
        // The server would take the attempt in time, so our own spreading shall not be what fails the call.
        if now + spread < deadline { spread } else { hint }
    }
}

/// A configuration as it is written: how often, in one of two ways.
#[cfg(feature = "serde")]
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename = "retry")]
struct Document {
    max_retries: Option<u32>,
    max_attempts: Option<u32>,
    backoff: Backoff,
    retry_on: Vec<String>,
    #[serde(alias = "dont_retry_on", alias = "exclude")]
    never_on: Vec<String>,
    #[serde(with = "crate::time::duration::option")]
    retry_after_cap: Option<Duration>,
}

#[cfg(feature = "serde")]
impl TryFrom<Document> for Config {
    type Error = &'static str;

    fn try_from(read: Document) -> Result<Self, Self::Error> {
        let max_retries = match (read.max_retries, read.max_attempts) {
            (Some(_), Some(_)) => return Err("`max_retries` and `max_attempts` say the same thing: set one of them"),
            (None, Some(0)) => return Err("max_attempts is 0, allowed is 1 or more (it counts the first call)"),
            (None, Some(attempts)) => attempts - 1,
            (Some(retries), None) => retries,
            (None, None) => Self::DEFAULT_RETRIES,
        };
        let Document { backoff, retry_on, never_on, retry_after_cap, .. } = read;
        Ok(Self { max_retries, backoff, retry_on, never_on, retry_after_cap })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::backoff::Jitter;
    use crate::budget;

    const NEVER: Instant = Instant::FAR_FUTURE;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + secs(seconds)
    }

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn after(seconds: u64) -> Decision {
        Decision::Retry { delay: secs(seconds), until: at(seconds) }
    }

    fn retry(change: impl FnOnce(&mut Config)) -> Retry {
        let mut config = Config { backoff: Backoff::default().jitter(Jitter::None), ..Config::default() };
        change(&mut config);
        Retry::new(config).unwrap_or_else(|_| unreachable!())
    }

    fn decide(retry: &Retry, retries: u32, verdict: Verdict<'_>, deadline: Instant) -> Decision {
        retry.decide(Instant::ZERO, retries, Duration::ZERO, &verdict, deadline, None)
    }

    #[test]
    fn three_retries_are_four_calls_and_three_waits() {
        let retry = retry(|_| ());
        let decisions = [0, 1, 2, 3].map(|done| decide(&retry, done, Verdict::failure("E"), NEVER));
        assert_eq!(decisions, [after(1), after(2), after(4), Decision::Stop(Stop::Exhausted)]);
        assert_eq!([2, 3, u32::MAX].map(|done| retry.may_retry_after(done)), [true, false, false]);
    }

    #[test]
    fn deny_list_before_classifier_before_allow_list() {
        let retry = retry(|config| {
            config.retry_on = vec!["ConnectionError".into(), "RateLimitError".into()];
            config.never_on = vec!["AuthenticationError".into(), "RateLimitError.Quota".into()];
        });
        let retried = |verdict: Verdict<'_>| retry.is_retryable(&verdict);
        assert!(retried(Verdict::failure("ConnectionError.ConnectionReset")));
        assert!(!retried(Verdict::failure("ValueError")));
        assert!(retried(Verdict::failure("ValueError").retry(true)));
        assert!(!retried(Verdict::failure("ConnectionError").retry(false)));
        assert!(!retried(Verdict::failure("AuthenticationError").retry(true)));
        assert!(!retried(Verdict::failure("RateLimitError.Quota")));
        assert!(!retried(Verdict::ignored("ConnectionError").retry(true)));
        assert!(!retried(Verdict::success().retry(true)));
    }

    #[test]
    fn a_wait_that_reaches_the_deadline_stops_before_waiting() {
        let retry = retry(|_| ());
        assert_eq!(decide(&retry, 1, Verdict::failure("E"), at(2)), Decision::Stop(Stop::Deadline));
        assert_eq!(decide(&retry, 1, Verdict::failure("E"), at(3)), after(2));
    }

    #[test]
    fn a_hint_is_a_minimum_that_jitter_only_lengthens() {
        let hint = |seconds| Verdict::failure("E").retry_after(secs(seconds));
        let exact = retry(|config| config.retry_after_cap = Some(secs(100)));
        assert_eq!(decide(&exact, 2, hint(3), NEVER), after(4));
        assert_eq!(decide(&exact, 2, hint(90), NEVER), after(90));
        assert_eq!(decide(&exact, 2, hint(90), at(90)), Decision::Stop(Stop::Deadline));
        assert_eq!(decide(&exact, 2, hint(u64::MAX), NEVER), after(100));

        let spread = retry(|config| config.backoff.jitter = Jitter::Symmetric(0.2));
        for _ in 0..1_000 {
            let Decision::Retry { delay, .. } = decide(&spread, 0, hint(10), NEVER) else { unreachable!() };
            assert!(secs(10) <= delay && delay <= secs(12), "{delay:?}");
            let tight = at(10) + Duration::from_nanos(1);
            assert_eq!(decide(&spread, 0, hint(10), tight), after(10));
        }
    }

    #[test]
    fn the_budget_is_asked_last_and_charged_only_for_a_retry() {
        let budget = RetryBudget::new("b", budget::Config { floor: 1, ..Default::default() });
        let budget = budget.unwrap_or_else(|_| unreachable!());
        let retry = retry(|_| ());
        let with_budget = |done, verdict: Verdict<'_>, deadline| {
            retry.decide(Instant::ZERO, done, Duration::ZERO, &verdict, deadline, Some(&budget))
        };
        assert_eq!(with_budget(0, Verdict::ignored("E"), NEVER), Decision::Stop(Stop::NotRetryable));
        assert_eq!(with_budget(3, Verdict::failure("E"), NEVER), Decision::Stop(Stop::Exhausted));
        assert_eq!(with_budget(0, Verdict::failure("E"), at(1)), Decision::Stop(Stop::Deadline));
        assert_eq!(with_budget(0, Verdict::failure("E"), NEVER), after(1));
        assert_eq!(with_budget(1, Verdict::failure("E"), NEVER), Decision::Stop(Stop::BudgetDenied));
        let stats = budget.stats(Instant::ZERO);
        assert_eq!((stats.withdrawn, stats.denied), (1, 1));
    }

    #[test]
    fn mistakes_are_named_by_their_path() {
        let wrong =
            Config { backoff: Backoff::default().factor(f64::NAN), never_on: vec![String::new()], ..Config::default() };
        let fields: Vec<_> = wrong.validate().into_iter().map(|mistake| mistake.field).collect();
        assert_eq!(fields, ["backoff.factor", "never_on"]);
        assert!(Retry::new(wrong).is_err());
    }
}
