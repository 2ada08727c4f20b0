//! When a circuit opens, for how long, and what closes it.

use std::time::Duration;

use super::time::{self, Bound, Hints, times};
use crate::breaker::{self, Mode, Scope, Trip};
use crate::policy::Config;

/// A circuit breaker in numbers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Circuit {
    /// Rules that open it, whichever is first.
    pub opens: Vec<Opening>,
    /// Scope of one outcome: an attempt, or an operation with all its retries.
    pub scope: Scope,
    /// The mode it starts in; it acts in [`Mode::Normal`] only.
    pub mode: Mode,
    /// Shortest and longest time for which it stays open the first time, jitter included.
    pub open_for: (Duration, Duration),
    /// Longest time, when it opens again and again without having closed.
    pub open_at_most: Duration,
    /// Number of successful probes that close it.
    pub successes: u32,
    /// Maximum number of probes at a time; `u32::MAX` for no limit.
    pub probes: u32,
}

/// One rule that opens the circuit.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Opening {
    /// The rule.
    pub rule: Trip,
    /// Smallest number of failures (for [`Trip::Slow`]: of slow calls) that opens.
    pub failures: u32,
    /// With calls that never answer, all begun at once: how long until it opens. `None`: a call that hangs does not
    /// fail, so it never does.
    pub hung_together: Option<Duration>,
    /// The same with one such call after the other, without a pause. `None` also where too few of them fall into the
    /// window of the rule.
    pub hung_in_turn: Option<Duration>,
}

impl Circuit {
    pub(super) fn of(config: &Config, breaker: &breaker::Config) -> Self {
        let hung = hung(config, breaker.scope);
        let (wait, zero) = (breaker.open_wait(), Duration::ZERO);
        let first = wait.bounds(0, (zero, zero));
        let growing = breaker.open_factor > 1.0;
        Self {
            opens: breaker.trip.iter().map(|rule| Opening::of(*rule, hung)).collect(),
            scope: breaker.scope,
            mode: breaker.mode,
            open_for: first,
            open_at_most: if growing { wait.max_delay } else { first.1 },
            successes: breaker.success_threshold,
            probes: breaker.half_open_max_calls,
        }
    }
}

/// Time after which something that never answers is counted as one failure.
pub(super) fn hung(config: &Config, scope: Scope) -> Option<Duration> {
    match scope {
        Scope::Attempt => [config.attempt_timeout, config.deadline].into_iter().flatten().min(),
        Scope::Operation => {
            let alone = Config { bulkhead: None, rate: None, tokens: None, ..config.clone() };
            match time::worst_case(&alone, Hints::None) {
                Bound::Within(limit) => Some(limit),
                Bound::Unbounded(_) => None,
            }
        }
    }
}

impl Opening {
    fn of(rule: Trip, hung: Option<Duration>) -> Self {
        let failures = rule.failures_needed();
        // If all hang, all fail, and all are slow after long enough.
        let calls = rule.calls_needed();
        let hung = hung.filter(|limit| *limit >= rule.slower_than().unwrap_or_default());
        let window = rule.time_window().unwrap_or(Duration::MAX);
        let in_turn = |limit: Duration| {
            // The first of them must still be in the window when the last one fails.
            let fits = times(limit, u64::from(calls).saturating_sub(1)) <= window;
            fits.then(|| times(limit, calls.into()))
        };
        Self { rule, failures, hung_together: hung, hung_in_turn: hung.and_then(in_turn) }
    }
}
