//! When a closed circuit opens: the trip rules.
//!
//! Owns [`Trip`], its limits, and what each rule remembers. A new rule is a variant of [`Trip`], an arm in
//! [`Trip::check`], and an arm in each method of [`Rule`]; nothing outside this file knows the rules apart.

#[cfg(feature = "serde")]
pub(super) mod document;

use std::time::Duration;

use super::saved::Counted;
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
    /// So many failures in a row; a success starts again from zero.
    Consecutive(#[cfg_attr(feature = "schema", schemars(range(min = 1)))] u32),
    /// So many failures since the circuit was last closed, whatever succeeded in between.
    Cumulative(#[cfg_attr(feature = "schema", schemars(range(min = 1)))] u32),
    /// So many failures within a stretch of time, exactly.
    Within {
        /// How many.
        #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 65_536)))]
        failures: u32,
        /// Within how long.
        #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
        #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
        window: Duration,
    },
    /// A share of failures among the calls in a window, once it holds enough of them.
    Ratio {
        /// The share that opens, above 0 and at most 1; reaching it opens.
        #[cfg_attr(feature = "schema", schemars(range(max = 1.0), extend("exclusiveMinimum" = 0)))]
        ratio: f64,
        /// With fewer calls in the window there is no ratio yet.
        #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
        minimum_calls: u32,
        /// Which calls count.
        window: Window,
    },
    /// A share of slow calls, whatever their outcome. A slow probe counts as failed.
    Slow {
        /// The share that opens, above 0 and at most 1; reaching it opens.
        #[cfg_attr(feature = "schema", schemars(range(max = 1.0), extend("exclusiveMinimum" = 0)))]
        ratio: f64,
        /// A call that takes this long or longer is slow.
        #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
        #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
        slower_than: Duration,
        /// With fewer calls in the window there is no ratio yet.
        #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
        minimum_calls: u32,
        /// Which calls count.
        window: Window,
    },
}

/// Which calls a ratio is taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Window {
    /// The last so many calls, exactly.
    Calls(#[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))] u32),
    /// The calls of the last so long, in ten buckets: a sample counts for at least this long and at most a tenth more.
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

    /// Number of failures that opens the circuit at the least: of a share, the failures among the fewest calls it is taken
    /// of.
    pub fn failures_needed(&self) -> u32 {
        self.failures_among(0)
    }

    /// Number of failures that opens the circuit when the window holds so many calls; slow calls, if the rule counts those.
    pub fn failures_among(&self, calls: u32) -> u32 {
        match *self {
            Self::Consecutive(n) | Self::Cumulative(n) | Self::Within { failures: n, .. } => n,
            Self::Ratio { ratio, minimum_calls, .. } | Self::Slow { ratio, minimum_calls, .. } => {
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

    /// What the rule makes of the contents of its window.
    fn count(&self, tally: &Tally) -> Count {
        let failures = match self {
            Self::Consecutive(_) | Self::Cumulative(_) | Self::Within { .. } | Self::Ratio { .. } => tally.failures,
            Self::Slow { .. } => tally.slow,
        };
        let threshold = self.failures_among(tally.calls);
        Count { rule: self.as_str(), calls: tally.calls, failures, threshold }
    }

    /// Whether both count the same, so that only their thresholds may differ.
    fn counts_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Consecutive(_), Self::Consecutive(_)) | (Self::Cumulative(_), Self::Cumulative(_)) => true,
            (Self::Within { window: a, .. }, Self::Within { window: b, .. }) => a == b,
            (Self::Ratio { window: a, .. }, Self::Ratio { window: b, .. }) => a == b,
            (Self::Slow { slower_than: a, window: v, .. }, Self::Slow { slower_than: b, window: w, .. }) => {
                a == b && v == w
            }
            _ => false,
        }
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

/// What counts against a callee: by the rule that opened the circuit, or while it is closed by the one that is nearest to
/// opening it. Every page, log line and metric that names a number of failures has this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// The rule in snake case, as [`Trip::as_str`] writes it.
    pub rule: &'static str,
    /// Calls that the rule looked at.
    pub calls: u32,
    /// Failures among them, or slow calls if the rule counts those, and the failed probes since the circuit opened.
    pub failures: u32,
    /// Number of failures that opens the circuit, see [`Trip::failures_among`].
    pub threshold: u32,
}

impl Count {
    /// The share of what opens the circuit: 0 is far, 1 is there.
    pub fn nearness(&self) -> f64 {
        (f64::from(self.failures) / f64::from(self.threshold.max(1))).min(1.0)
    }
}

/// The rules of one breaker with what each remembers of the present closed state.
#[derive(Debug)]
pub(super) struct Rules(Vec<Rule>);

impl Rules {
    pub(super) fn new(trips: &[Trip]) -> Self {
        Self(trips.iter().map(Rule::new).collect())
    }

    /// Goes over to `trips`. What a rule has counted stays if there is a rule that counts the same.
    pub(super) fn reconfigure(&mut self, trips: &[Trip]) {
        let mut old = std::mem::take(&mut self.0);
        self.0.extend(trips.iter().map(|trip| {
            let alike = old.iter().position(|rule| rule.trip.counts_like(trip));
            alike.map_or_else(|| Rule::new(trip), |at| old.remove(at).with(trip))
        }));
    }

    /// Counts one outcome, and returns the rule it trips, with the counts that tripped it.
    pub(super) fn record(&mut self, now: Instant, failed: bool, elapsed: Duration) -> Option<(Trip, Count)> {
        let mut tripped = None;
        for rule in &mut self.0 {
            rule.record(now, failed, elapsed);
            if tripped.is_none() && rule.trips(now, failed) {
                tripped = Some((rule.trip, rule.count(now)));
            }
        }
        tripped
    }

    /// Whether a success would change nothing, so that it need not be recorded.
    pub(super) fn quiet(&self) -> bool {
        self.0.iter().all(Rule::quiet)
    }

    /// Whether a call that took `elapsed` is slow by any rule.
    pub(super) fn slow(&self, elapsed: Duration) -> bool {
        self.0.iter().any(|rule| matches!(rule.trip, Trip::Slow { slower_than, .. } if elapsed >= slower_than))
    }

    /// What the rule counts that trips, or that is nearest to it; the first of several.
    pub(super) fn nearest(&mut self, now: Instant) -> Count {
        let counts = self.0.iter_mut().map(|rule| (rule.trips(now, true), rule.count(now)));
        let nearer = |best: (bool, Count), next: (bool, Count)| {
            let key = |(trips, count): (bool, Count)| (trips, count.nearness());
            if key(next) > key(best) { next } else { best }
        };
        counts.reduce(nearer).map_or_else(Count::default, |(_, count)| count)
    }

    /// What each rule counts now.
    pub(super) fn save(&mut self, now: Instant) -> Vec<Counted> {
        self.0.iter_mut().map(|rule| Counted::new(rule.trip, rule.counts(now))).collect()
    }

    /// Takes over what rules that count the same had counted.
    pub(super) fn restore(&mut self, now: Instant, saved: &[Counted]) {
        for rule in &mut self.0 {
            if let Some(counted) = saved.iter().find(|counted| counted.rule.counts_like(&rule.trip)) {
                rule.restore(now, counted.tally());
            }
        }
    }

    /// Whether no rule counts anything against the callee.
    pub(super) fn spotless(&mut self, now: Instant) -> bool {
        self.0.iter_mut().all(|rule| {
            let counts = rule.counts(now);
            counts.failures == 0 && counts.slow == 0
        })
    }

    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(Rule::clear);
    }
}

#[derive(Debug)]
struct Rule {
    trip: Trip,
    memory: Memory,
}

#[derive(Debug)]
enum Memory {
    Count(u32),
    Times(RecentTimes),
    Calls(CountWindow),
    Buckets(TimeWindow),
}

impl Rule {
    fn new(trip: &Trip) -> Self {
        let memory = match *trip {
            Trip::Consecutive(_) | Trip::Cumulative(_) => Memory::Count(0),
            Trip::Within { failures, window } => Memory::Times(RecentTimes::new(failures as usize, window)),
            Trip::Ratio { window, .. } | Trip::Slow { window, .. } => match window {
                Window::Calls(n) => Memory::Calls(CountWindow::new(n as usize)),
                Window::Time(d) => Memory::Buckets(TimeWindow::new(d, TimeWindow::DEFAULT_BUCKETS)),
            },
        };
        Self { trip: *trip, memory }
    }

    /// The same counts under another threshold.
    fn with(mut self, trip: &Trip) -> Self {
        if let (Memory::Times(times), &Trip::Within { failures, .. }) = (&mut self.memory, trip) {
            times.resize(failures as usize);
        }
        Self { trip: *trip, ..self }
    }

    fn record(&mut self, now: Instant, failed: bool, elapsed: Duration) {
        let slow = matches!(self.trip, Trip::Slow { slower_than, .. } if elapsed >= slower_than);
        match &mut self.memory {
            Memory::Count(n) if failed => *n = n.saturating_add(1),
            Memory::Count(n) if matches!(self.trip, Trip::Consecutive(_)) => *n = 0,
            Memory::Times(times) if failed => times.record(now),
            Memory::Count(_) | Memory::Times(_) => {}
            Memory::Calls(window) => window.record(failed, slow),
            Memory::Buckets(window) => window.record(now, failed, slow),
        }
    }

    /// Whether the outcome just recorded trips it. A success does so only by making up a ratio.
    fn trips(&mut self, now: Instant, failed: bool) -> bool {
        let counts = self.counts(now);
        match self.trip {
            Trip::Consecutive(n) | Trip::Cumulative(n) | Trip::Within { failures: n, .. } => {
                failed && counts.failures >= n
            }
            // Divided, not multiplied: 55 of 100 is the same number as 0.55, but 0.55 * 100 is more than 55.
            Trip::Ratio { ratio, minimum_calls, .. } => {
                counts.calls >= minimum_calls && counts.failure_ratio() >= ratio
            }
            Trip::Slow { ratio, minimum_calls, .. } => counts.calls >= minimum_calls && counts.slow_ratio() >= ratio,
        }
    }

    fn count(&mut self, now: Instant) -> Count {
        let tally = self.counts(now);
        self.trip.count(&tally)
    }

    fn counts(&mut self, now: Instant) -> Tally {
        let only_failures = |n: u32| Tally { calls: n, failures: n, slow: 0 };
        match &mut self.memory {
            Memory::Count(n) => only_failures(*n),
            Memory::Times(times) => only_failures(u32::try_from(times.count(now)).unwrap_or(u32::MAX)),
            Memory::Calls(window) => window.tally(),
            Memory::Buckets(window) => window.tally(now),
        }
    }

    /// Counts as if all of it had happened now, failures first.
    fn restore(&mut self, now: Instant, saved: Tally) {
        self.clear();
        match &mut self.memory {
            Memory::Count(n) => *n = saved.failures,
            Memory::Times(times) => {
                for _ in 0..saved.failures.min(self.trip.failures_needed()) {
                    times.record(now);
                }
            }
            Memory::Calls(window) => window.restore(saved),
            Memory::Buckets(window) => window.restore(now, saved),
        }
    }

    fn quiet(&self) -> bool {
        match (&self.memory, self.trip) {
            (Memory::Count(n), Trip::Consecutive(_)) => *n == 0,
            (Memory::Count(_) | Memory::Times(_), _) => true,
            (Memory::Calls(_) | Memory::Buckets(_), _) => false,
        }
    }

    fn clear(&mut self) {
        match &mut self.memory {
            Memory::Count(n) => *n = 0,
            Memory::Times(times) => times.clear(),
            Memory::Calls(window) => window.clear(),
            Memory::Buckets(window) => window.clear(),
        }
    }
}
