//! When a second attempt starts beside the first.
//!
//! Owns the delay and what has become of hedges. That a hedge passes the stages, which result wins and what happens to
//! the losers is in [`crate::call`].

use std::sync::Arc;
use std::time::Duration;

use crate::decision::{Name, Stage};
use crate::invalid::{Check, Invalid, Mistakes};
use crate::latency::Latency;
use crate::snapshot::{Sample, Snapshot};
use crate::sync::{AtomicU64, Ordering};
use crate::time::{Instant, nanos};

#[cfg(feature = "serde")]
mod document;

/// How soon and how often an attempt is doubled.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields, default))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Config {
    /// How long the newest attempt runs before a hedge starts beside it. Default: the 95th percentile of
    /// the latencies measured.
    pub delay: Delay,
    /// How many hedges a first attempt, and each retry, may have. Default 1, at most 8.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 8)))]
    pub max_hedges: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { delay: Delay::default(), max_hedges: 1 }
    }
}

impl From<Duration> for Config {
    fn from(delay: Duration) -> Self {
        Self { delay: Delay::After(delay), ..Self::default() }
    }
}

impl From<Delay> for Config {
    fn from(delay: Delay) -> Self {
        Self { delay, ..Self::default() }
    }
}

/// When a hedge starts. An attempt that fails starts one at once, whatever this says.
///
/// In a configuration file a duration, or a table with the fields of [`Delay::Percentile`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Delay {
    /// After a fixed time. [`Duration::MAX`]: only when an attempt fails.
    After(Duration),
    /// When the attempt takes longer than most successful ones did of late.
    Percentile {
        /// The share of attempts that are over by then, above 0 and below 1. Default 0.95: at most one call in twenty
        /// is hedged.
        percentile: f64,
        /// With fewer successes in the window than this, the delay is `otherwise`. Default 100.
        minimum_samples: u32,
        /// Never sooner than this. Default 10 ms.
        at_least: Duration,
        /// The delay while there are too few samples. Default 2 s.
        otherwise: Duration,
    },
}

impl Delay {
    /// The default with another percentile.
    pub const fn percentile(percentile: f64) -> Self {
        Self::Percentile {
            percentile,
            minimum_samples: 100,
            at_least: Duration::from_millis(10),
            otherwise: Duration::from_secs(2),
        }
    }
}

impl Default for Delay {
    /// The 95th percentile.
    fn default() -> Self {
        Self::percentile(0.95)
    }
}

impl Config {
    /// What is wrong with the values; empty if nothing is.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        if let Delay::Percentile { percentile, minimum_samples, .. } = self.delay {
            check.that(
                percentile > 0.0 && percentile < 1.0,
                "delay.percentile",
                percentile,
                "above 0 and below 1 (0.95 is the 95th percentile)",
            );
            check.that(minimum_samples > 0, "delay.minimum_samples", minimum_samples, "1 or more");
        }
        check.that((1..=8).contains(&self.max_hedges), "max_hedges", self.max_hedges, "1 to 8");
        check.done()
    }

    /// Whether the delay is taken from measured latencies.
    pub fn needs_latency(&self) -> bool {
        matches!(self.delay, Delay::Percentile { .. })
    }
}

/// A percentile is not older, or one of a long window would be that of its first samples for hours.
const LONGEST_FRESH: Duration = Duration::from_secs(1);

/// Why a hedge started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The delay was over and no attempt was.
    Delay,
    /// An attempt failed.
    Failure,
}

impl Cause {
    /// The cause in snake case, as events and metrics write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Failure => "failure",
        }
    }
}

/// Why a hedge that was due did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Skipped {
    /// A stage would have refused it or made it wait.
    Busy,
    /// The retry budget is used up.
    BudgetDenied,
}

/// What has become of hedges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Started because the delay was over.
    pub after_delay: u64,
    /// Started because an attempt failed.
    pub after_failure: u64,
    /// Hedges whose result the caller got.
    pub won: u64,
    /// Not started because a stage would have refused them or made them wait.
    pub busy: u64,
    /// Not started because the budget was used up.
    pub budget_denied: u64,
}

/// Decides when hedges start, and counts them; all calls of a policy share one.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{hedge, latency, Hedge, Instant, Latency};
///
/// let latency = Latency::new("model", latency::Config::default())?;
/// let hedge = Hedge::new(hedge::Delay::percentile(0.9).into())?;
/// let now = Instant::ZERO;
/// for n in 1..=200 {
///     latency.record(now, Duration::from_millis(n));
/// }
/// let delay = hedge.delay(now, Some(&latency));
/// assert!((174..=186).contains(&delay.as_millis()));
/// # Ok::<(), stormproof_core::Mistakes>(())
/// ```
#[derive(Debug)]
pub struct Hedge {
    config: Config,
    /// The delay in nanoseconds, and until when it is taken as it is: reading the percentile costs a microsecond.
    delay: AtomicU64,
    fresh_until: AtomicU64,
    counters: Arc<Counters>,
}

/// Written only when a hedge starts, wins, or is skipped.
#[derive(Debug)]
struct Counters {
    after_delay: AtomicU64,
    after_failure: AtomicU64,
    won: AtomicU64,
    busy: AtomicU64,
    budget_denied: AtomicU64,
}

impl Hedge {
    /// Hedges as `config` says, or all mistakes in it.
    pub fn new(config: Config) -> Result<Self, Mistakes> {
        Mistakes::none(config.validate())?;
        let zero = || AtomicU64::new(0);
        let counters =
            Counters { after_delay: zero(), after_failure: zero(), won: zero(), busy: zero(), budget_denied: zero() };
        Ok(Self { config, delay: zero(), fresh_until: zero(), counters: Arc::new(counters) })
    }

    /// Hedges as `config` says that count where these count, so that totals go on; or all mistakes in `config`.
    pub fn renewed(&self, config: Config) -> Result<Self, Mistakes> {
        Ok(Self { counters: self.counters.clone(), ..Self::new(config)? })
    }

    /// The configuration in force.
    pub fn config(&self) -> Config {
        self.config
    }

    /// How long an attempt that starts at `now` runs alone. A percentile is read anew each 64th of the window, at the
    /// latest after a second.
    #[inline]
    pub fn delay(&self, now: Instant, latency: Option<&Latency>) -> Duration {
        match self.config.delay {
            Delay::After(delay) => delay,
            Delay::Percentile { .. } if now.as_nanos() < self.fresh_until.load(Ordering::Acquire) => {
                Duration::from_nanos(self.delay.load(Ordering::Relaxed))
            }
            Delay::Percentile { .. } => self.read(now, latency),
        }
    }

    #[cold]
    fn read(&self, now: Instant, latency: Option<&Latency>) -> Duration {
        let Delay::Percentile { percentile, minimum_samples, at_least, otherwise } = self.config.delay else {
            return Duration::MAX;
        };
        let Some(latency) = latency else { return otherwise };
        let recent = latency.recent(now);
        let enough = recent.samples() >= u64::from(minimum_samples);
        let measured = recent.quantile(percentile).filter(|_| enough);
        let delay = measured.map_or(otherwise, |delay| delay.max(at_least));
        self.delay.store(nanos(delay), Ordering::Relaxed);
        let fresh = (latency.window() / 64).min(LONGEST_FRESH);
        self.fresh_until.store((now + fresh).as_nanos(), Ordering::Release);
        delay
    }

    pub(crate) fn count_start(&self, cause: Cause) {
        let counter = match cause {
            Cause::Delay => &self.counters.after_delay,
            Cause::Failure => &self.counters.after_failure,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_win(&self) {
        // A hedge that won has started: it is counted after that, and read before it.
        self.counters.won.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn count_skipped(&self, why: Skipped) {
        let counter = match why {
            Skipped::Busy => &self.counters.busy,
            Skipped::BudgetDenied => &self.counters.budget_denied,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// What has become of hedges so far.
    pub fn stats(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let won = self.counters.won.load(Ordering::Acquire);
        Stats {
            after_delay: get(&self.counters.after_delay),
            after_failure: get(&self.counters.after_failure),
            won,
            busy: get(&self.counters.busy),
            budget_denied: get(&self.counters.budget_denied),
        }
    }

    /// The same as data, under the name of the policy.
    pub fn snapshot(&self, name: &Name) -> Snapshot {
        const STARTED: &str = "Hedges started, by cause.";
        const SKIPPED: &str = "Hedges that were due and did not start, by reason.";
        let stats = self.stats();
        let samples = vec![
            Sample::counter("started", STARTED, stats.after_delay).label("cause", Cause::Delay.as_str()),
            Sample::counter("started", STARTED, stats.after_failure).label("cause", Cause::Failure.as_str()),
            Sample::counter("won", "Hedges whose result the caller got.", stats.won),
            Sample::counter("skipped", SKIPPED, stats.busy).label("reason", "busy"),
            Sample::counter("skipped", SKIPPED, stats.budget_denied).label("reason", "budget_denied"),
        ];
        Snapshot { stage: Stage::Hedge, name: name.clone(), samples }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
