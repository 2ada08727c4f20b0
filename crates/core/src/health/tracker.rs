//! The health of one component, from the outcomes of its calls.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Status, Transition};
use crate::decision::{Name, Stage};
use crate::invalid::{Check, Invalid, Mistakes};
use crate::snapshot::{Sample, Snapshot};
use crate::sync::Mutex;
use crate::text;
use crate::time::{Instant, nanos};
use crate::window::CountWindow;

/// Number of last calls that rates and averages are of, unless the strategy has a window of its own.
pub const CALLS: u32 = 100;

/// Longest error text kept, in bytes.
pub const ERROR_BYTES: usize = 200;

/// When a component is unhealthy.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Strategy {
    /// Unhealthy from one share of failures on, healthy again below a smaller one. In between nothing changes.
    Ratio {
        /// Number of last calls whose failures are counted: 1 to 65,536.
        window: u32,
        /// Share of failures from which it is unhealthy, above 0 and at most 1; reaching it is enough.
        unhealthy_threshold: f64,
        /// Share of failures below which it is healthy again, above 0 and at most `unhealthy_threshold`. Default: half of
        /// `unhealthy_threshold`.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        healthy_threshold: Option<f64>,
        /// Number of calls in the window before it can become unhealthy, 1 or more; a full window is always enough.
        /// Default: 10.
        #[cfg_attr(feature = "serde", serde(default = "minimum_calls"))]
        minimum_calls: u32,
    },
    /// Unhealthy after failures in a row, healthy again after successes in a row. In between nothing changes.
    Consecutive {
        /// Number of failures in a row that make it unhealthy.
        failure_threshold: u32,
        /// Number of successes in a row that make it healthy again.
        recovery_threshold: u32,
    },
}

const fn minimum_calls() -> u32 {
    10
}

impl Strategy {
    /// Unhealthy when half of the last 100 calls failed, healthy again when less than a quarter did.
    pub const fn ratio() -> Self {
        Self::ratio_of(CALLS, 0.5)
    }

    /// Unhealthy when this share of the last `window` calls failed, with the other defaults of [`Ratio`](Self::Ratio).
    pub const fn ratio_of(window: u32, unhealthy_threshold: f64) -> Self {
        Self::Ratio { window, unhealthy_threshold, healthy_threshold: None, minimum_calls: minimum_calls() }
    }

    /// Unhealthy after three failures in a row, healthy again after two successes in a row.
    pub const fn consecutive() -> Self {
        Self::Consecutive { failure_threshold: 3, recovery_threshold: 2 }
    }

    const fn window(&self) -> u32 {
        if let Self::Ratio { window, .. } = self { *window } else { CALLS }
    }
}

/// How the health of a component is judged.
///
/// ```
/// use stormproof_core::health::{Config, Strategy};
///
/// let config = Config { strategy: Strategy::ratio_of(0, 2.0), ..Default::default() };
/// assert_eq!(config.validate().len(), 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Config {
    /// When it is unhealthy and when healthy again. Default: when half of its last 100 calls failed, and below a quarter.
    pub strategy: Strategy,
    /// Number of last errors kept, at most 1,000. Default: 10.
    pub recent_errors: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { strategy: Strategy::ratio(), recent_errors: 10 }
    }
}

impl Config {
    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        match self.strategy {
            Strategy::Ratio { window, unhealthy_threshold: share, healthy_threshold: back, minimum_calls } => {
                check.that((1..=65_536).contains(&window), "strategy.ratio.window", window, "1 to 65536");
                let valid = share > 0.0 && share <= 1.0;
                check.that(valid, "strategy.ratio.unhealthy_threshold", share, "above 0 and at most 1");
                let back = back.unwrap_or(share);
                let below = "above 0 and at most unhealthy_threshold";
                check.that(!valid || back > 0.0 && back <= share, "strategy.ratio.healthy_threshold", back, below);
                check.that(minimum_calls >= 1, "strategy.ratio.minimum_calls", minimum_calls, "1 or more");
            }
            Strategy::Consecutive { failure_threshold: down, recovery_threshold: up } => {
                check.that(down >= 1, "strategy.consecutive.failure_threshold", down, "1 or more");
                check.that(up >= 1, "strategy.consecutive.recovery_threshold", up, "1 or more");
            }
        }
        check.that(self.recent_errors <= 1_000, "recent_errors", self.recent_errors, "at most 1000");
        check.done()
    }
}

/// An error that a component had.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecentError {
    /// When.
    pub at: Instant,
    /// What, cut to [`ERROR_BYTES`].
    pub error: Box<str>,
}

/// A component's health at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Whether it is healthy. A component that was never called is.
    pub healthy: bool,
    /// The same as a status.
    pub status: Status,
    /// Successes among the last calls, 0 to 1; 1 when there were none.
    pub success_rate: f64,
    /// How long the last successful calls took, on average; `None` when none said so.
    pub average_latency: Option<Duration>,
    /// The last errors, oldest first.
    pub recent_errors: Vec<RecentError>,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Successes since the last failure.
    pub consecutive_successes: u32,
    /// Calls recorded so far.
    pub calls: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// When a call was last recorded.
    pub last_check: Option<Instant>,
    /// How long ago that was.
    pub age: Option<Duration>,
}

/// Watches one component: is told what became of its calls, and says how well it is.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{HealthTracker, Instant, health::Status};
///
/// let tracker = HealthTracker::new("openai"); // unhealthy when half of the last 100 calls, at least 10, failed
/// let now = Instant::ZERO;
/// for _ in 0..5 {
///     assert!(tracker.record_success(now, Duration::from_millis(150)).is_none());
/// }
/// let changes: Vec<_> = (0..5).filter_map(|_| tracker.record_failure(now, "timeout")).collect();
/// assert_eq!((changes[0].to, changes[0].as_str()), (Status::Unhealthy, "degraded"));
/// let report = tracker.status(now);
/// assert_eq!((report.healthy, report.success_rate), (false, 0.5));
/// ```
#[derive(Debug)]
pub struct HealthTracker {
    name: Name,
    record: Mutex<Record>,
}

impl HealthTracker {
    /// A tracker with the default [`Config`].
    pub fn new(name: impl Into<Name>) -> Self {
        Self { name: name.into(), record: Mutex::new(Record::new(Config::default())) }
    }

    /// A tracker with `config`, or all that is wrong with it.
    pub fn with_config(name: impl Into<Name>, config: Config) -> Result<Self, Mistakes> {
        Mistakes::none(config.validate())?;
        Ok(Self { name: name.into(), record: Mutex::new(Record::new(config)) })
    }

    /// The component's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The configuration.
    pub fn config(&self) -> Config {
        self.record.lock().config
    }

    /// Notes a call that succeeded, and how long it took if that is known. Returns what changed by it.
    pub fn record_success(&self, now: Instant, latency: impl Into<Option<Duration>>) -> Option<Transition> {
        self.record.lock().success(now, latency.into())
    }

    /// Notes a call that failed. Returns what changed by it.
    pub fn record_failure(&self, now: Instant, error: &str) -> Option<Transition> {
        self.record.lock().failure(now, error)
    }

    /// Whether it is healthy.
    pub fn is_healthy(&self) -> bool {
        !self.record.lock().unhealthy
    }

    /// How well it is.
    pub fn status(&self, now: Instant) -> Report {
        self.record.lock().report(now)
    }

    /// Forgets all calls; totals stay. Returns what changed by it.
    pub fn reset(&self, now: Instant) -> Option<Transition> {
        self.record.lock().reset(now)
    }

    /// The same as data, for metrics and pages.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        const CALLS: &str = "Calls by outcome.";
        let report = self.status(now);
        let latency = report.average_latency.unwrap_or_default().as_secs_f64();
        let samples = vec![
            Sample::gauge("status", "How bad it is, 0 (healthy) to 5 (critical).", report.status.severity().into()),
            Sample::gauge("success_ratio", "Successes among the last calls.", report.success_rate),
            Sample::gauge("latency_seconds", "Average time of the last successful calls.", latency),
            Sample::gauge(
                "consecutive_failures",
                "Failures since the last success.",
                report.consecutive_failures.into(),
            ),
            Sample::counter("calls", CALLS, report.calls - report.failures).label("outcome", "success"),
            Sample::counter("calls", CALLS, report.failures).label("outcome", "failure"),
        ];
        Snapshot { stage: Stage::Health, name: self.name.clone(), samples }
    }
}

#[derive(Debug)]
struct Record {
    config: Config,
    unhealthy: bool,
    seq: u64,
    window: CountWindow,
    latencies: Latencies,
    errors: VecDeque<RecentError>,
    consecutive_failures: u32,
    consecutive_successes: u32,
    calls: u64,
    failures: u64,
    last_check: Option<Instant>,
}

impl Record {
    fn new(config: Config) -> Self {
        let window = config.strategy.window();
        Self {
            config,
            unhealthy: false,
            seq: 0,
            window: CountWindow::new(window as usize),
            latencies: Latencies { size: window as usize, last: VecDeque::new(), sum: 0 },
            errors: VecDeque::new(),
            consecutive_failures: 0,
            consecutive_successes: 0,
            calls: 0,
            failures: 0,
            last_check: None,
        }
    }

    fn success(&mut self, now: Instant, latency: Option<Duration>) -> Option<Transition> {
        self.consecutive_failures = 0;
        self.consecutive_successes = self.consecutive_successes.saturating_add(1);
        if let Some(latency) = latency {
            self.latencies.add(latency);
        }
        self.note(now, false)
    }

    fn failure(&mut self, now: Instant, error: &str) -> Option<Transition> {
        self.consecutive_successes = 0;
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        self.failures = self.failures.saturating_add(1);
        if self.config.recent_errors > 0 {
            if self.errors.len() >= self.config.recent_errors as usize {
                self.errors.pop_front();
            }
            self.errors.push_back(RecentError { at: now, error: text::start(error, ERROR_BYTES).into() });
        }
        let transition = self.note(now, true)?;
        Some(transition.failed(self.consecutive_failures, Some(error)))
    }

    fn note(&mut self, now: Instant, failed: bool) -> Option<Transition> {
        self.calls = self.calls.saturating_add(1);
        // Threads that read a clock and then wait for the lock may come out of order.
        self.last_check = self.last_check.max(Some(now));
        self.window.record(failed, false);
        let unhealthy = match self.config.strategy {
            Strategy::Ratio { unhealthy_threshold, healthy_threshold, .. } if self.unhealthy => {
                self.window.tally().failure_ratio() >= healthy_threshold.unwrap_or(unhealthy_threshold / 2.0)
            }
            Strategy::Ratio { window, unhealthy_threshold, minimum_calls, .. } => {
                let tally = self.window.tally();
                tally.calls >= minimum_calls.min(window) && tally.failure_ratio() >= unhealthy_threshold
            }
            Strategy::Consecutive { recovery_threshold, .. } if self.unhealthy => {
                self.consecutive_successes < recovery_threshold
            }
            Strategy::Consecutive { failure_threshold, .. } => self.consecutive_failures >= failure_threshold,
        };
        self.move_to(now, unhealthy)
    }

    fn move_to(&mut self, now: Instant, unhealthy: bool) -> Option<Transition> {
        let from = self.status();
        if std::mem::replace(&mut self.unhealthy, unhealthy) == unhealthy {
            return None;
        }
        self.seq += 1;
        Some(Transition::new(self.seq, now, from, self.status()))
    }

    fn reset(&mut self, now: Instant) -> Option<Transition> {
        self.window.clear();
        self.latencies.clear();
        self.errors.clear();
        (self.consecutive_failures, self.consecutive_successes) = (0, 0);
        self.move_to(now, false)
    }

    const fn status(&self) -> Status {
        if self.unhealthy { Status::Unhealthy } else { Status::Healthy }
    }

    fn report(&self, now: Instant) -> Report {
        let tally = self.window.tally();
        Report {
            healthy: !self.unhealthy,
            status: self.status(),
            success_rate: 1.0 - tally.failure_ratio(),
            average_latency: self.latencies.average(),
            recent_errors: self.errors.iter().cloned().collect(),
            consecutive_failures: self.consecutive_failures,
            consecutive_successes: self.consecutive_successes,
            calls: self.calls,
            failures: self.failures,
            last_check: self.last_check,
            age: self.last_check.map(|last| now.since(last)),
        }
    }
}

/// The latencies of the last calls, with their exact sum in nanoseconds: 65,536 of `u64::MAX` fit.
#[derive(Debug)]
struct Latencies {
    size: usize,
    last: VecDeque<u64>,
    sum: u128,
}

impl Latencies {
    fn add(&mut self, latency: Duration) {
        if self.last.len() >= self.size {
            self.sum -= u128::from(self.last.pop_front().unwrap_or(0));
        }
        let latency = nanos(latency);
        self.last.push_back(latency);
        self.sum += u128::from(latency);
    }

    fn average(&self) -> Option<Duration> {
        let average = self.sum.checked_div(self.last.len() as u128)?;
        Some(Duration::from_nanos(u64::try_from(average).unwrap_or(u64::MAX)))
    }

    fn clear(&mut self) {
        self.last.clear();
        self.sum = 0;
    }
}
