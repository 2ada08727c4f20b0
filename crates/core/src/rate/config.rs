//! What a rate limiter can be set to.

use std::time::Duration;

use crate::invalid::{Check, Invalid};
use crate::time::nanos;

/// The shortest interval between permits. Intervals are whole nanoseconds, so this bounds the rounding to 1 %.
const SHORTEST_INTERVAL: u64 = 100;
/// The longest an empty bucket may take to fill: ten years. Keeps every sum far from the end of the range.
const LONGEST_REFILL: u64 = 10 * 365 * 86_400_000_000_000;

/// How many permits per time, and how long callers may wait for them.
///
/// The interval between permits is `per / rate`, rounded up to whole nanoseconds: the rate is never exceeded, and falls
/// short by less than one nanosecond a permit (nothing if `rate` divides `per`, at most 1 % at the highest rate).
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::rate;
///
/// let tokens = rate::Config { rate: 90_000, per: Duration::from_secs(60), ..Default::default() };
/// assert!(tokens.validate().is_empty());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Config {
    /// Permits per [`per`](Self::per): 1 up to 10 a microsecond. Default 10.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub rate: u32,
    /// The time in which `rate` permits come: 1 ms to 1 day. Default 1 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub per: Duration,
    /// Permits that an idle limiter has saved up, at least 1; also the highest cost of one call. Default: the same
    /// number as `rate`.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub burst: Option<u32>,
    /// The longest that a caller may wait; one who would have to wait longer is refused at once. Zero: nobody waits.
    /// Default 60 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub max_wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { rate: 10, per: Duration::from_secs(1), burst: None, max_wait: Duration::from_secs(60) }
    }
}

impl Config {
    /// Time between permits, in nanoseconds.
    pub(super) fn interval(&self) -> u64 {
        nanos(self.per).div_ceil(u64::from(self.rate.max(1))).max(1)
    }

    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        let (shortest, longest) = (Duration::from_millis(1), Duration::from_secs(86_400));
        check.that((shortest..=longest).contains(&self.per), "per", self.per, "1 ms to 1 day");
        let most = nanos(self.per.clamp(shortest, longest)) / SHORTEST_INTERVAL;
        check.that(
            (1..=most).contains(&self.rate.into()),
            "rate",
            self.rate,
            "1 up to 10 for each microsecond of `per`",
        );
        if let Some(burst) = self.burst {
            let fits = burst >= 1 && u64::from(burst).saturating_mul(self.interval()) <= LONGEST_REFILL;
            check.that(fits, "burst", burst, "1 up to what ten years at this rate bring");
        }
        check.done()
    }
}
