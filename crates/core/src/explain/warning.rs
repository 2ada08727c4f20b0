//! Combinations that are allowed, but seldom meant.

use std::time::Duration;

use super::circuit::hung;
use super::time::attempts;
use crate::breaker::Scope;
use crate::policy::Config;

/// Something that is allowed, but seldom meant. Its `Display` says what, and what to do.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// Neither `deadline` nor `attempt_timeout`: a call that hangs is held for ever and is no failure.
    NoTimeLimit,
    /// Retries or hedges without a budget: a load of which everything fails is multiplied by this number of attempts.
    NoBudget {
        /// Attempts a call.
        attempts: u64,
    },
    /// An attempt may use up the deadline, so that one that hangs is never retried.
    NoTimeForRetry {
        /// The deadline.
        deadline: Duration,
    },
    /// The shortest wait before a retry is as long as the deadline: nothing is ever retried.
    DelayPastDeadline {
        /// The shortest wait before the first retry.
        delay: Duration,
        /// The deadline.
        deadline: Duration,
    },
    /// A caller may wait for a slot as long as the whole call may take.
    QueuePastDeadline {
        /// The longest time in the queue.
        queue_timeout: Duration,
        /// The deadline.
        deadline: Duration,
    },
    /// A probe that still runs gives its place to another, so that more probes may run than `half_open_max_calls`.
    ProbeGivenUpEarly {
        /// Time after which a probe gives its place away.
        half_open_timeout: Duration,
        /// Longest time that it may take; `None` if nothing limits it.
        takes: Option<Duration>,
    },
    /// More successes close the circuit than there may be probes at a time: closing takes several rounds.
    SeveralRounds {
        /// Successes that close.
        successes: u32,
        /// Probes at a time.
        probes: u32,
    },
    /// One call with its retries opens the circuit by itself.
    OneCallOpens {
        /// Attempts of the call.
        attempts: u64,
        /// Failures that open.
        failures: u32,
    },
    /// The rate limit lets fewer calls into the rule's window than the rule needs: it never opens the circuit.
    TooFewCalls {
        /// Calls that the rule needs.
        minimum_calls: u32,
        /// Calls that can be in its window.
        possible: u64,
    },
    /// An attempt's limit is at least that of the whole call and never runs out.
    AttemptPastDeadline {
        /// The limit of an attempt.
        attempt_timeout: Duration,
        /// The deadline.
        deadline: Duration,
    },
}

pub(super) fn of(config: &Config) -> Vec<Warning> {
    let mut found = Vec::new();
    times(config, &mut found);
    if config.budget.is_none() && attempts(config) > 1 {
        found.push(Warning::NoBudget { attempts: attempts(config) });
    }
    if let Some(retry) = config.retry.as_ref().filter(|retry| retry.max_retries > 0)
        && let Some(deadline) = config.deadline
    {
        let zero = Duration::ZERO;
        let delay = retry.backoff.bounds(0, (zero, zero)).0;
        let takes = config.attempt_timeout.unwrap_or(Duration::MAX);
        if delay >= deadline {
            found.push(Warning::DelayPastDeadline { delay, deadline });
        } else if takes >= deadline.saturating_sub(delay) {
            found.push(Warning::NoTimeForRetry { deadline });
        }
    }
    circuit(config, &mut found);
    found
}

fn times(config: &Config, found: &mut Vec<Warning>) {
    let Some(deadline) = config.deadline else {
        if config.attempt_timeout.is_none() {
            found.push(Warning::NoTimeLimit);
        }
        return;
    };
    if let Some(attempt_timeout) = config.attempt_timeout.filter(|limit| *limit > deadline) {
        found.push(Warning::AttemptPastDeadline { attempt_timeout, deadline });
    }
    if let Some(bulkhead) = config.bulkhead.as_ref().filter(|bulkhead| bulkhead.max_queue > 0)
        && bulkhead.queue_timeout >= deadline
    {
        found.push(Warning::QueuePastDeadline { queue_timeout: bulkhead.queue_timeout, deadline });
    }
}

fn circuit(config: &Config, found: &mut Vec<Warning>) {
    let Some(breaker) = &config.breaker else { return };
    let half_open_timeout = breaker.probe_timeout();
    let takes = hung(config, breaker.scope);
    if takes.unwrap_or(Duration::MAX) > half_open_timeout && breaker.half_open_max_calls != u32::MAX {
        found.push(Warning::ProbeGivenUpEarly { half_open_timeout, takes });
    }
    let (successes, probes) = (breaker.success_threshold, breaker.half_open_max_calls);
    if successes > probes {
        found.push(Warning::SeveralRounds { successes, probes });
    }
    let attempts = attempts(config);
    for rule in &breaker.trip {
        let failures = rule.failures_needed();
        let each = rule.counts_failures() && breaker.scope == Scope::Attempt;
        if each && attempts > 1 && attempts >= u64::from(failures) {
            found.push(Warning::OneCallOpens { attempts, failures });
        }
        let calls = rule.calls_needed();
        let possible = rule.time_window().and_then(|window| possible_in(config, window));
        if let Some(possible) = possible.filter(|possible| *possible < u64::from(calls)) {
            found.push(Warning::TooFewCalls { minimum_calls: calls, possible });
        }
    }
}

/// Maximum number of calls that the limit of requests lets into a window. The window is kept in ten buckets, so it may reach
/// back for a tenth longer.
fn possible_in(config: &Config, window: Duration) -> Option<u64> {
    let limit = config.rate.as_ref()?;
    let longest = window.saturating_add(window / 10);
    let steady = longest.as_secs_f64() / limit.per.as_secs_f64() * f64::from(limit.rate);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates; rounded up")]
    let steady = steady.ceil() as u64;
    Some(steady.saturating_add(limit.burst.unwrap_or(limit.rate).into()))
}
