//! What a breaker shows of itself.

use std::time::Duration;

use super::{CircuitBreaker, Count, Mode, State, Transition};
use crate::decision::{LastCause, Stage};
use crate::snapshot::{Sample, Snapshot};
use crate::sync::{AtomicU64, Ordering};
use crate::time::Instant;

/// Numbers of a breaker at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// The state at that moment.
    pub state: State,
    /// The mode.
    pub mode: Mode,
    /// Successful calls since the breaker was made.
    pub successes: u64,
    /// Failed calls since the breaker was made.
    pub failures: u64,
    /// Calls that counted neither way (caller's fault, cancelled).
    pub ignored: u64,
    /// Calls that were not let through.
    pub refused: u64,
    /// Results that came back into a later state than they were admitted in, and so moved nothing.
    pub stale: u64,
    /// Failures since the last success, zero after a close.
    pub consecutive_failures: u32,
    /// Successes since the last failure.
    pub consecutive_successes: u64,
    /// Count against the callee.
    pub count: Count,
    /// Successful probes of the present half-open state.
    pub half_open_successes: u32,
    /// Probes that are out.
    pub half_open_calls: u32,
    /// Number of times the circuit opened.
    pub opened: u64,
    /// Number of times a trip rule began to hold in the mode [`MetricsOnly`](Mode::MetricsOnly).
    pub would_open: u64,
    /// Time until probes pass; zero unless open.
    pub remaining: Duration,
    /// Time of the last change of state.
    pub last_change: Option<Instant>,
    /// Time of the last failure in this process.
    pub last_failure: Option<Instant>,
    /// Time since the last failure, in a former process as well.
    pub last_failure_ago: Option<Duration>,
    /// Time of the last success.
    pub last_success: Option<Instant>,
    /// Kind of the last failure.
    pub last_cause: Option<Box<str>>,
}

impl Stats {
    /// Successful among counted calls, 1 when there were none.
    pub fn success_rate(&self) -> f64 {
        let counted = self.successes.saturating_add(self.failures);
        if counted == 0 { 1.0 } else { self.successes as f64 / counted as f64 }
    }
}

impl LastCause for CircuitBreaker {
    fn last_cause(&self) -> Option<Box<str>> {
        self.machine.lock().last_cause()
    }
}

impl CircuitBreaker {
    /// The state at `now`: half-open as soon as the wait is over, though only an admission makes it so.
    pub fn state(&self, now: Instant) -> State {
        self.machine.lock().state(now)
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        self.machine.lock().mode
    }

    /// Time until probes pass; zero unless open.
    pub fn remaining(&self, now: Instant) -> Duration {
        self.machine.lock().remaining(now)
    }

    /// Time at which probes will pass, if the circuit is open; [`Instant::FAR_FUTURE`] while an operator holds it open.
    pub fn open_until(&self, now: Instant) -> Option<Instant> {
        self.machine.lock().open_until().filter(|until| now < *until)
    }

    /// The kind of the last failure.
    pub fn last_cause(&self) -> Option<Box<str>> {
        LastCause::last_cause(self)
    }

    /// The last transitions, oldest first, at most [`HISTORY`](super::HISTORY).
    pub fn history(&self) -> Vec<Transition> {
        self.machine.lock().history.iter().copied().collect()
    }

    /// How well what stands behind the circuit is, as one number from 0 to 1. A measure of our own:
    ///
    /// - closed: 1 less what has failed as a share of what would open the circuit, by the rule that is nearest to it. A
    ///   ratio is that share of the calls in its window, or of `minimum_calls` while there are fewer;
    /// - half-open: half of the successful probes' share of `success_threshold`;
    /// - open: 0.
    pub fn health_score(&self, now: Instant) -> f64 {
        let mut machine = self.machine.lock();
        match machine.state(now) {
            State::Open => 0.0,
            State::Closed => 1.0 - machine.count(now).nearness(),
            State::HalfOpen => {
                let (successes, enough) = (machine.probes().0, machine.config.success_threshold);
                0.5 * (f64::from(successes) / f64::from(enough)).min(1.0)
            }
        }
    }

    /// The numbers now.
    pub fn stats(&self, now: Instant) -> Stats {
        let counter = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let mut machine = self.machine.lock();
        let successes = self.counters.0.successes.load(Ordering::Acquire);
        let (half_open_successes, half_open_calls) = machine.probes();
        Stats {
            state: machine.state(now),
            mode: machine.mode,
            successes,
            failures: counter(&self.counters.0.failures),
            ignored: counter(&self.counters.0.ignored),
            refused: counter(&self.counters.0.refused),
            stale: machine.stale,
            consecutive_failures: machine.consecutive_failures,
            consecutive_successes: successes.saturating_sub(machine.successes_at_failure),
            count: machine.count(now),
            half_open_successes,
            half_open_calls,
            opened: machine.opened,
            would_open: machine.would_open,
            remaining: machine.remaining(now),
            last_change: machine.history.back().map(|transition| transition.at),
            last_failure: machine.last_failure,
            last_failure_ago: machine.last_failure_ago(now),
            last_success: counter(&self.counters.0.last_success).checked_sub(1).map(Instant::from_nanos),
            last_cause: machine.last_cause(),
        }
    }

    /// The same as data, for metrics and pages.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        const CALLS: &str = "Calls by how they counted.";
        const STATE: &str = "1 for the present state, 0 for the others.";
        let stats = self.stats(now);
        let is = |state| f64::from(u8::from(stats.state == state));
        let code = |state| match state {
            State::Closed => 0.0,
            State::Open => 1.0,
            State::HalfOpen => 2.0,
        };
        let samples = vec![
            Sample::counter("calls", CALLS, stats.successes).label("outcome", "success"),
            Sample::counter("calls", CALLS, stats.failures).label("outcome", "failure"),
            Sample::counter("calls", CALLS, stats.ignored).label("outcome", "ignored"),
            Sample::counter("refused", "Calls that were not let through.", stats.refused),
            Sample::counter("stale", "Results of an earlier state, which moved nothing.", stats.stale),
            Sample::counter("opened", "How often the circuit opened.", stats.opened),
            Sample::counter(
                "would_open",
                "How often it would have opened, in the mode metrics_only.",
                stats.would_open,
            ),
            Sample::gauge("state", STATE, is(State::Closed)).label("state", "closed"),
            Sample::gauge("state", STATE, is(State::Open)).label("state", "open"),
            Sample::gauge("state", STATE, is(State::HalfOpen)).label("state", "half_open"),
            Sample::gauge("state_code", "The present state: 0 closed, 1 open, 2 half_open.", code(stats.state)),
            Sample::gauge("window_calls", "Calls that the nearest trip rule looks at.", stats.count.calls.into()),
            Sample::gauge("window_failures", "Failures that count towards opening.", stats.count.failures.into()),
            Sample::gauge(
                "window_threshold",
                "Number of failures that opens the circuit.",
                stats.count.threshold.into(),
            ),
            Sample::gauge("half_open_calls", "Probes that are out.", stats.half_open_calls.into()),
            Sample::gauge("open_remaining_seconds", "Time until probes pass.", stats.remaining.as_secs_f64()),
        ];
        Snapshot { stage: Stage::Breaker, name: self.name.clone(), samples }
    }
}
