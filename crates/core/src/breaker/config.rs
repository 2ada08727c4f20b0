//! The settings of a breaker and their limits.

use std::time::Duration;

use super::Trip;
use crate::backoff::{Backoff, Jitter};
use crate::invalid::{Check, Invalid};

/// Settings of a circuit breaker.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{breaker, CircuitBreaker, Trip};
///
/// let config = breaker::Config {
///     trip: vec![Trip::consecutive(3)],
///     open_duration: Duration::from_secs(30),
///     ..Default::default()
/// };
/// let breaker = CircuitBreaker::with_config("openai", config)?;
/// # Ok::<(), stormproof_core::Mistakes>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Config {
    /// Rules that open the circuit; any one of them does. In a file also a number: that many failures in a row.
    /// Default: 5 in a row.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "super::document::deserialize"))]
    #[cfg_attr(feature = "schema", schemars(with = "super::document::OneOrMany"))]
    pub trip: Vec<Trip>,
    /// Time for which the circuit stays open before it lets probes through. Default: 60 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub open_duration: Duration,
    /// Factor by which the wait grows each time the circuit opens again without having closed. Default: 1, no growth.
    #[cfg_attr(feature = "schema", schemars(range(min = 1.0)))]
    pub open_factor: f64,
    /// Longest time to which a growing wait grows. Default: ten times `open_duration`.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration::option"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::time::duration::Written>"))]
    pub max_open_duration: Option<Duration>,
    /// Spreads the waits of many breakers that opened together. Default: none.
    pub open_jitter: Jitter,
    /// Number of successful probes that close the circuit. Default: 2.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub success_threshold: u32,
    /// Maximum number of probes at the same time; 4294967295, the highest number, for no limit. Default: 3.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub half_open_max_calls: u32,
    /// Time after which a probe that has not come back gives its place to another; its result still counts. Default:
    /// `open_duration`.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration::option"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::time::duration::Written>"))]
    pub half_open_timeout: Option<Duration>,
    /// Kinds of failure that say nothing about the callee and are ignored, each with its particular ones. Default: none.
    pub ignore: Vec<String>,
    /// Scope of one outcome in a policy that retries. Default: each attempt.
    pub scope: Scope,
    /// The mode to start in. Default: normal.
    pub mode: Mode,
}

/// Scope of one outcome that a breaker counts, in a policy that retries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Scope {
    /// Every attempt: an outage opens the circuit after as many real failures as the rule says.
    #[default]
    Attempt,
    /// The operation with all its retries as one.
    Operation,
}

/// Whether the breaker acts, and who decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Mode {
    /// The breaker decides by its rules.
    #[default]
    Normal,
    /// An operator holds it open: everything is refused until another mode is set.
    ForcedOpen,
    /// Everything passes, nothing is recorded.
    Disabled,
    /// Everything passes and is recorded; the breaker says each time that it would have opened.
    MetricsOnly,
}

impl Mode {
    /// The mode in snake case, as the admin API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "metrics_only",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            trip: vec![Trip::consecutive(5)],
            open_duration: Duration::from_secs(60),
            open_factor: 1.0,
            max_open_duration: None,
            open_jitter: Jitter::None,
            success_threshold: 2,
            half_open_max_calls: 3,
            half_open_timeout: None,
            ignore: Vec::new(),
            scope: Scope::Attempt,
            mode: Mode::Normal,
        }
    }
}

impl Config {
    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        check.that(!self.trip.is_empty(), "trip", &self.trip, "at least one rule");
        for trip in &self.trip {
            check.part("trip", trip.check());
        }
        check.that(!self.open_duration.is_zero(), "open_duration", self.open_duration, "more than zero");
        check.that(
            self.open_factor >= 1.0 && self.open_factor.is_finite(),
            "open_factor",
            self.open_factor,
            "1 or more, finite",
        );
        if let Some(longest) = self.max_open_duration {
            check.that(longest >= self.open_duration, "max_open_duration", longest, "open_duration or more");
        }
        check.part("open_jitter", self.open_jitter.validate());
        check.that(self.success_threshold >= 1, "success_threshold", self.success_threshold, "1 or more");
        check.that(self.half_open_max_calls >= 1, "half_open_max_calls", self.half_open_max_calls, "1 or more");
        if let Some(timeout) = self.half_open_timeout {
            check.that(!timeout.is_zero(), "half_open_timeout", timeout, "more than zero");
        }
        let kinds = !self.ignore.iter().any(String::is_empty);
        check.that(kinds, "ignore", &self.ignore, "kinds of failure, none of them empty");
        check.done()
    }

    /// The wait of each opening in a row, as a backoff.
    pub(crate) fn open_wait(&self) -> Backoff {
        let longest = self.max_open_duration.unwrap_or_else(|| self.open_duration.saturating_mul(10));
        let backoff = if self.open_factor > 1.0 {
            Backoff::exponential(self.open_duration).factor(self.open_factor)
        } else {
            Backoff::constant(self.open_duration)
        };
        backoff.max_delay(longest).jitter(self.open_jitter)
    }

    pub(crate) fn probe_timeout(&self) -> Duration {
        self.half_open_timeout.unwrap_or(self.open_duration)
    }
}
