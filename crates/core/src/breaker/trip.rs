//! When a closed circuit opens: the trip rules.
//!
//! Owns [`Trip`], its limits, and what each rule remembers. A rule is what it looks at and a threshold on that. A new rule
//! is a variant of [`Trip`] with a row in [`Trip::parts`], and an arm wherever the compiler then asks for one: no match
//! here has a wildcard, and nothing outside this file tells the rules apart. Several rules together are in `rules.rs`.

use std::fmt;
use std::time::Duration;

use crate::invalid::{Check, Invalid};
use crate::time::Instant;
use crate::window::{CountWindow, RecentTimes, Tally, TimeWindow};

/// A rule that opens a circuit. Where a breaker has several, each counts by itself and the first to trip opens it.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{breaker, Trip};
///
/// let config = breaker::Config {
///     trip: vec![Trip::consecutive(5), Trip::ratio(0.5, 20, breaker::Window::Time(Duration::from_secs(60)))],
///     ..Default::default()
/// };
/// assert!(config.validate().is_empty());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Trip {
    /// Number of failures in a row; a success starts again from zero.
    Consecutive(#[cfg_attr(feature = "schema", schemars(range(min = 1)))] u32),
    /// Number of failures since the circuit was last closed, whatever succeeded in between.
    Cumulative(#[cfg_attr(feature = "schema", schemars(range(min = 1)))] u32),
    /// Number of failures within a stretch of time, exact.
    Within {
        /// Number of failures that opens.
        #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 65_536)))]
        failures: u32,
        /// Length of the stretch of time.
        #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
        #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
        window: Duration,
    },
    /// Share of failures among the calls in a window, once it holds enough of them.
    Ratio {
        /// Share that opens, above 0 and at most 1; reaching it opens.
        #[cfg_attr(feature = "schema", schemars(range(max = 1.0), extend("exclusiveMinimum" = 0)))]
        ratio: f64,
        /// Smallest number of calls in the window that has a ratio.
        #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
        minimum_calls: u32,
        /// Calls that count.
        window: Window,
    },
    /// Share of slow calls, whatever their outcome. A slow probe counts as failed.
    Slow {
        /// Share that opens, above 0 and at most 1; reaching it opens.
        #[cfg_attr(feature = "schema", schemars(range(max = 1.0), extend("exclusiveMinimum" = 0)))]
        ratio: f64,
        /// A call that takes this long or longer is slow.
        #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
        #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
        slower_than: Duration,
        /// Smallest number of calls in the window that has a ratio.
        #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
        minimum_calls: u32,
        /// Calls that count.
        window: Window,
    },
}

/// Calls of which a ratio is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Window {
    /// Number of last calls, exact.
    Calls(#[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))] u32),
    /// Stretch of time up to now, in ten buckets: a sample counts for at least this long and at most a tenth more.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    Time(Duration),
}

impl Trip {
    /// Opens after `failures` in a row.
    pub const fn consecutive(failures: u32) -> Self {
        Self::Consecutive(failures)
    }

    /// Opens after `failures` in all since the circuit was closed.
    pub const fn cumulative(failures: u32) -> Self {
        Self::Cumulative(failures)
    }

    /// Opens after `failures` within `window`.
    pub const fn within(failures: u32, window: Duration) -> Self {
        Self::Within { failures, window }
    }

    /// Opens at a share of `ratio` failures among at least `minimum_calls` in `window`.
    pub const fn ratio(ratio: f64, minimum_calls: u32, window: Window) -> Self {
        Self::Ratio { ratio, minimum_calls, window }
    }

    /// Opens at a share of `ratio` calls slower than `slower_than` among at least `minimum_calls` in `window`.
    pub const fn slow(ratio: f64, slower_than: Duration, minimum_calls: u32, window: Window) -> Self {
        Self::Slow { ratio, slower_than, minimum_calls, window }
    }

    /// The rule in snake case, as events and the configuration write it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Consecutive(_) => "consecutive",
            Self::Cumulative(_) => "cumulative",
            Self::Within { .. } => "within",
            Self::Ratio { .. } => "ratio",
            Self::Slow { .. } => "slow",
        }
    }

    /// The two parts of the rule.
    const fn parts(&self) -> (Looks, Threshold) {
        match *self {
            Self::Consecutive(failures) => (Looks::InARow, Threshold::Failures(failures)),
            Self::Cumulative(failures) => (Looks::SinceClosed, Threshold::Failures(failures)),
            Self::Within { failures, window } => (Looks::Within(window), Threshold::Failures(failures)),
            Self::Ratio { ratio, minimum_calls, window } => {
                (Looks::Calls { window, slower_than: None }, Threshold::Share { ratio, minimum_calls })
            }
            Self::Slow { ratio, slower_than, minimum_calls, window } => {
                (Looks::Calls { window, slower_than: Some(slower_than) }, Threshold::Share { ratio, minimum_calls })
            }
        }
    }

    /// Number of failures that opens the circuit at the least: of a share, the failures among the fewest calls it is taken
    /// of.
    pub fn failures_needed(&self) -> u32 {
        self.failures_among(0)
    }

    /// Returns the number of failures that opens the circuit when the window holds `calls`; of slow calls, if the rule counts
    /// those.
    pub fn failures_among(&self, calls: u32) -> u32 {
        match self.parts().1 {
            Threshold::Failures(failures) => failures,
            Threshold::Share { ratio, minimum_calls } => {
                let calls = calls.max(minimum_calls).max(1);
                let enough = |failures: u32| f64::from(failures) / f64::from(calls) >= ratio;
                let (mut too_few, mut needed) = (0, calls);
                while needed - too_few > 1 {
                    let between = too_few + (needed - too_few) / 2;
                    if enough(between) { needed = between } else { too_few = between }
                }
                needed
            }
        }
    }

    /// Whether the rule counts failures, and not their share among calls.
    pub(crate) const fn counts_failures(&self) -> bool {
        match self.parts().1 {
            Threshold::Failures(_) => true,
            Threshold::Share { .. } => false,
        }
    }

    /// Smallest number of calls after which the rule can open the circuit.
    pub(crate) fn calls_needed(&self) -> u32 {
        match self.parts().1 {
            Threshold::Failures(failures) => failures,
            Threshold::Share { minimum_calls, .. } => minimum_calls.max(1),
        }
    }

    /// Time for which a call counts, if the rule forgets calls by time.
    pub(crate) const fn time_window(&self) -> Option<Duration> {
        match self.parts().0 {
            Looks::Within(window) | Looks::Calls { window: Window::Time(window), .. } => Some(window),
            Looks::InARow | Looks::SinceClosed | Looks::Calls { window: Window::Calls(_), .. } => None,
        }
    }

    /// Time from which on a call is slow, if the rule tells slow calls from others.
    pub(crate) const fn slower_than(&self) -> Option<Duration> {
        match self.parts().0 {
            Looks::Calls { slower_than, .. } => slower_than,
            Looks::InARow | Looks::SinceClosed | Looks::Within(_) => None,
        }
    }

    /// Whether the contents of its window open the circuit.
    pub(super) fn is_reached(&self, tally: Tally) -> bool {
        match self.parts().1 {
            Threshold::Failures(failures) => tally.failures >= failures,
            // Divided, not multiplied: 55 of 100 is the same number as 0.55, but 0.55 * 100 is more than 55.
            Threshold::Share { ratio, minimum_calls } => {
                let share = if self.slower_than().is_some() { tally.slow_ratio() } else { tally.failure_ratio() };
                tally.calls >= minimum_calls && share >= ratio
            }
        }
    }

    /// Whether both count the same, so that only their thresholds may differ.
    pub(super) fn counts_like(&self, other: &Self) -> bool {
        self.parts().0 == other.parts().0
    }

    pub(super) fn check(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        match *self {
            Self::Consecutive(n) => check.that(n >= 1, "consecutive", n, "1 or more"),
            Self::Cumulative(n) => check.that(n >= 1, "cumulative", n, "1 or more"),
            Self::Within { failures, window } => {
                check.that((1..=65_536).contains(&failures), "within.failures", failures, "1 to 65536");
                check.that(!window.is_zero(), "within.window", window, "more than zero");
            }
            Self::Ratio { ratio, minimum_calls, window } => check_ratio(&mut check, self, ratio, minimum_calls, window),
            Self::Slow { ratio, slower_than, minimum_calls, window } => {
                check.that(!slower_than.is_zero(), "slow.slower_than", slower_than, "more than zero");
                check_ratio(&mut check, self, ratio, minimum_calls, window);
            }
        }
        check.done()
    }
}

fn check_ratio(check: &mut Check, trip: &Trip, ratio: f64, minimum_calls: u32, window: Window) {
    let field = |name| format!("{}.{name}", trip.as_str());
    check.that(ratio > 0.0 && ratio <= 1.0, &field("ratio"), ratio, "above 0 and at most 1");
    check.that(minimum_calls >= 1, &field("minimum_calls"), minimum_calls, "1 or more");
    match window {
        Window::Calls(n) => {
            check.that((1..=1_000_000).contains(&n), &field("window.calls"), n, "1 to 1000000");
            check.that(minimum_calls <= n, &field("minimum_calls"), minimum_calls, "at most window.calls");
        }
        Window::Time(d) => {
            check.that(d >= Duration::from_millis(1), &field("window.time"), d, "1 ms or more");
        }
    }
}

/// The condition under which the rule opens the circuit, in plain English.
impl fmt::Display for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needed = self.failures_needed();
        let failures = format_args!("{needed} failure{}", if needed == 1 { "" } else { "s" }).to_string();
        match *self {
            Self::Consecutive(_) => write!(f, "after {failures} in a row"),
            Self::Cumulative(_) => write!(f, "after {failures} since it was closed"),
            Self::Within { window, .. } => write!(f, "after {failures} within {window:?}"),
            Self::Ratio { ratio, minimum_calls, window } => {
                let percent = percent(ratio);
                write!(f, "when {percent} % of {window} fail, {failures} of {minimum_calls} at the least")
            }
            Self::Slow { ratio, slower_than, minimum_calls, window } => {
                write!(f, "when {} % of {window} take {slower_than:?} or longer, ", percent(ratio))?;
                write!(f, "{needed} of {minimum_calls} at the least")
            }
        }
    }
}

/// The calls of the window, in plain English.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calls(n) => write!(f, "the last {n} calls"),
            Self::Time(time) => write!(f, "the calls of {time:?}"),
        }
    }
}

/// A share in percent, with at most three digits behind the point.
fn percent(ratio: f64) -> f64 {
    let rounded = (ratio * 100_000.0).round() / 1000.0;
    if rounded > 0.0 { rounded } else { ratio * 100.0 }
}

/// The calls a rule looks at. Rules that look at the same differ in their threshold alone.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Looks {
    /// Failures since the last success.
    InARow,
    /// Failures since the circuit was closed.
    SinceClosed,
    /// Failures of the last stretch of time.
    Within(Duration),
    /// Calls of a window, and which of them were slow.
    Calls { window: Window, slower_than: Option<Duration> },
}

/// The part of them that opens the circuit.
#[derive(Clone, Copy, Debug)]
enum Threshold {
    Failures(u32),
    /// A share of the calls: of those that failed or, if the rule tells slow calls from others, of the slow ones.
    Share {
        ratio: f64,
        minimum_calls: u32,
    },
}

/// A rule's memory of the present closed state.
#[derive(Debug)]
pub(super) enum Memory {
    Failures { count: u32, until_success: bool },
    Times(RecentTimes),
    Calls(CountWindow),
    Buckets(TimeWindow),
}

impl Memory {
    pub(super) fn new(trip: &Trip) -> Self {
        match trip.parts().0 {
            Looks::InARow => Self::Failures { count: 0, until_success: true },
            Looks::SinceClosed => Self::Failures { count: 0, until_success: false },
            Looks::Within(window) => Self::Times(RecentTimes::new(trip.failures_needed() as usize, window)),
            Looks::Calls { window: Window::Calls(n), .. } => Self::Calls(CountWindow::new(n as usize)),
            Looks::Calls { window: Window::Time(time), .. } => {
                Self::Buckets(TimeWindow::new(time, TimeWindow::DEFAULT_BUCKETS))
            }
        }
    }

    /// Makes room for `failures`, which trip now.
    pub(super) fn resize(&mut self, failures: u32) {
        match self {
            Self::Times(times) => times.resize(failures as usize),
            Self::Failures { .. } | Self::Calls(_) | Self::Buckets(_) => {}
        }
    }

    pub(super) fn record(&mut self, now: Instant, failed: bool, slow: bool) {
        match self {
            Self::Failures { count, .. } if failed => *count = count.saturating_add(1),
            Self::Failures { count, until_success: true } => *count = 0,
            Self::Times(times) if failed => times.record(now),
            Self::Failures { until_success: false, .. } | Self::Times(_) => {}
            Self::Calls(window) => window.record(failed, slow),
            Self::Buckets(window) => window.record(now, failed, slow),
        }
    }

    pub(super) fn tally(&mut self, now: Instant) -> Tally {
        let only_failures = |n: u32| Tally { calls: n, failures: n, slow: 0 };
        match self {
            Self::Failures { count, .. } => only_failures(*count),
            Self::Times(times) => only_failures(u32::try_from(times.count(now)).unwrap_or(u32::MAX)),
            Self::Calls(window) => window.tally(),
            Self::Buckets(window) => window.tally(now),
        }
    }

    /// Counts as if all of it had happened now, failures first, and no more of them than can trip.
    pub(super) fn restore(&mut self, now: Instant, saved: Tally, most: u32) {
        self.clear();
        match self {
            Self::Failures { count, .. } => *count = saved.failures,
            Self::Times(times) => (0..saved.failures.min(most)).for_each(|_| times.record(now)),
            Self::Calls(window) => window.restore(saved),
            Self::Buckets(window) => window.restore(now, saved),
        }
    }

    /// Whether a success would change nothing, so that it need not be recorded.
    pub(super) fn quiet(&self) -> bool {
        match self {
            Self::Failures { count, until_success } => *count == 0 || !until_success,
            Self::Times(_) => true,
            Self::Calls(_) | Self::Buckets(_) => false,
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::Failures { count, .. } => *count = 0,
            Self::Times(times) => times.clear(),
            Self::Calls(window) => window.clear(),
            Self::Buckets(window) => window.clear(),
        }
    }
}
