//! Health: how well a component is, judged from what became of its calls.
//!
//! Owns the six states and what each stands for, and the change from one to another. The tracker that watches one
//! component is in `tracker.rs`. Does not own checking: who calls what,
//! how often and how long that may take is the edge's.

mod tracker;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use tracker::{CALLS, Config, ERROR_BYTES, HealthTracker, RecentError, Report, Strategy};

use crate::breaker::{self, State, Trip};
use crate::invalid::{Check, Invalid};
use crate::policy;
use crate::text;
use crate::time::Instant;

/// How well something is.
///
/// ```
/// use stormproof_core::health::Status;
///
/// assert_eq!(Status::CircuitOpen.to_string(), "circuit_open");
/// assert_eq!("CIRCUIT_OPEN".parse(), Ok(Status::CircuitOpen));
/// assert!(Status::Critical.severity() > Status::Degraded.severity());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// All is well.
    Healthy,
    /// Not looked at yet.
    #[default]
    Unknown,
    /// It works, though not as it should.
    Degraded,
    /// Calls to it are refused, because it has been failing.
    CircuitOpen,
    /// It does not work.
    Unhealthy,
    /// It does not work, and neither does most of what stands beside it.
    Critical,
}

impl Status {
    /// All of them, from the best to the worst.
    pub const ALL: [Self; 6] =
        [Self::Healthy, Self::Unknown, Self::Degraded, Self::CircuitOpen, Self::Unhealthy, Self::Critical];

    /// How bad it is: 0 for healthy, then 1 for unknown, up to 5 for critical.
    pub const fn severity(self) -> u8 {
        self as u8
    }

    /// The status in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unknown => "unknown",
            Self::Degraded => "degraded",
            Self::CircuitOpen => "circuit_open",
            Self::Unhealthy => "unhealthy",
            Self::Critical => "critical",
        }
    }

    /// Whether it does not work: circuit open, unhealthy or critical.
    pub const fn is_down(self) -> bool {
        self.severity() >= Self::CircuitOpen.severity()
    }

    /// Whether it can be given work: healthy or degraded.
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Healthy | Self::Degraded)
    }

    /// The worse of two.
    #[must_use]
    pub const fn worse(self, other: Self) -> Self {
        if other.severity() > self.severity() { other } else { self }
    }

    /// The health of what stands behind a circuit: closed is healthy, half-open degraded.
    pub const fn of_circuit(state: State) -> Self {
        match state {
            State::Closed => Self::Healthy,
            State::HalfOpen => Self::Degraded,
            State::Open => Self::CircuitOpen,
        }
    }

    /// The health of many alike of which `healthy` out of `total` are: all of them is healthy, three quarters or more
    /// degraded, half or more unhealthy, fewer critical. None of none is healthy.
    pub const fn of_share(healthy: usize, total: usize) -> Self {
        let (healthy, total) = (healthy as u128, total as u128);
        if healthy >= total {
            Self::Healthy
        } else if healthy * 4 >= total * 3 {
            Self::Degraded
        } else if healthy * 2 >= total {
            Self::Unhealthy
        } else {
            Self::Critical
        }
    }
}

impl Status {
    /// The health of a whole from that of its parts, each with whether nothing works without it.
    ///
    /// - All healthy: healthy. So is a whole without parts.
    /// - A critical part down, or all parts down: unhealthy. Down is unhealthy, circuit open or critical.
    /// - No part looked at yet: unknown.
    /// - Otherwise: degraded.
    ///
    /// ```
    /// use stormproof_core::health::Status;
    ///
    /// let (database, search) = ((Status::Healthy, true), (Status::Unhealthy, false));
    /// assert_eq!(Status::of_parts([database, search]), Status::Degraded);
    /// assert_eq!(Status::of_parts([(Status::CircuitOpen, true), search]), Status::Unhealthy);
    /// ```
    pub fn of_parts(parts: impl IntoIterator<Item = (Self, bool)>) -> Self {
        let (mut well, mut down, mut unknown, mut critical_down) = (true, true, true, false);
        for (status, critical) in parts {
            well &= status == Self::Healthy;
            down &= status.is_down();
            unknown &= status == Self::Unknown;
            critical_down |= critical && status.is_down();
        }
        match (well, critical_down || down, unknown) {
            (true, _, _) => Self::Healthy,
            (false, true, _) => Self::Unhealthy,
            (false, false, true) => Self::Unknown,
            (false, false, false) => Self::Degraded,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = Invalid;

    /// Reads lower or upper case.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
            let allowed = "healthy, unknown, degraded, circuit_open, unhealthy or critical";
            Invalid::new("status", text::start(text, ERROR_BYTES), allowed)
        })
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Status {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Status {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A change of health.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Transition {
    /// Grows with each transition of this component, so that listeners on several threads can put them in order.
    pub seq: u64,
    /// When.
    pub at: Instant,
    /// What it was.
    pub from: Status,
    /// What it is.
    pub to: Status,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// The last error, cut to [`ERROR_BYTES`], if it got worse by one.
    pub error: Option<Box<str>>,
}

impl Transition {
    /// A change from one status to another.
    pub fn new(seq: u64, at: Instant, from: Status, to: Status) -> Self {
        Self { seq, at, from, to, consecutive_failures: 0, error: None }
    }

    /// Says how often and by what it failed.
    #[must_use]
    pub fn failed(mut self, consecutive_failures: u32, error: Option<&str>) -> Self {
        self.consecutive_failures = consecutive_failures;
        self.error = error.map(|text| text::start(text, ERROR_BYTES).into());
        self
    }

    /// `degraded` if it got worse, `recovered` if it got better.
    pub const fn as_str(&self) -> &'static str {
        if self.to.severity() > self.from.severity() { "degraded" } else { "recovered" }
    }
}

/// How health checks are made.
///
/// ```
/// use stormproof_core::health::Checks;
///
/// assert!(Checks::default().validate().is_empty());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Checks {
    /// A check that takes longer is unhealthy. Default: 5 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub timeout: Duration,
    /// Time for which a result is returned again instead of checking again; zero to check each time. Default: 5 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub cache_ttl: Duration,
}

impl Default for Checks {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), cache_ttl: Duration::from_secs(5) }
    }
}

impl Checks {
    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        check.that(!self.timeout.is_zero(), "timeout", self.timeout, "more than zero");
        check.done()
    }
}

/// A policy for calls that only ask whether somebody is well: 10 s a call, and a breaker that opens after three failures
/// in a row for 30 s and closes after two successful probes.
///
/// ```
/// let policy = stormproof_core::health::check_policy().build("agent-health", 7)?;
/// assert_eq!(policy.attempt_timeout, Some(std::time::Duration::from_secs(10)));
/// # Ok::<(), stormproof_core::Mistakes>(())
/// ```
pub fn check_policy() -> policy::Config {
    let breaker = breaker::Config {
        trip: vec![Trip::consecutive(3)],
        open_duration: Duration::from_secs(30),
        success_threshold: 2,
        half_open_max_calls: 2,
        ..Default::default()
    };
    let limit = crate::Timeouts::default().get("health_check", None);
    policy::Config { attempt_timeout: Some(limit), breaker: Some(breaker), ..Default::default() }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
