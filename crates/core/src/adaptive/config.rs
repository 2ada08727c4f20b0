//! What an adaptive limit can be set to.

use std::time::Duration;

use crate::invalid::{Check, Invalid};
use crate::outcome;

/// The bounds of the limit, and how it is measured.
///
/// ```
/// use stormproof_core::{adaptive, bulkhead};
///
/// let adaptive = adaptive::Config { min: 2, max: 100, ..Default::default() };
/// let config = bulkhead::Config { max_concurrent: 20, adaptive: Some(adaptive), ..Default::default() };
/// assert!(config.validate().is_empty());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Config {
    /// The limit never goes below: 1 to `max`. Default 1.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub min: u32,
    /// The limit never goes above: `min` to 2,147,483,647. Default 1000.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 2_147_483_647)))]
    pub max: u32,
    /// The shortest window of measurements; the limit moves at its end. A window lasts at least five times as long as
    /// a call. 1 ms to 1 hour. Default 1 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub window: Duration,
    /// Number of calls that must begin and end in a window before it is judged: 5 to 100,000. Default 20.
    #[cfg_attr(feature = "schema", schemars(range(min = 5, max = 100_000)))]
    pub min_samples: u32,
    /// Kinds of failure that say the callee has too much to do: a tenth of the calls ending so lowers the limit. A
    /// failure with a hint when to come back is one of them, whatever its kind. Default `TimeoutError`,
    /// `RateLimitError`, `ServerError.503`, `ServerError.529`.
    pub overload: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min: 1,
            max: 1000,
            window: Duration::from_secs(1),
            min_samples: 20,
            overload: outcome::OVERLOAD.map(String::from).to_vec(),
        }
    }
}

impl Config {
    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        let highest = i32::MAX.unsigned_abs();
        check.that((1..=highest).contains(&self.max), "max", self.max, "1 to 2147483647");
        check.that(self.min >= 1 && self.min <= self.max, "min", self.min, "1 to `max`");
        let windows = Duration::from_millis(1)..=Duration::from_secs(3600);
        check.that(windows.contains(&self.window), "window", self.window, "1 ms to 1 hour");
        check.that((5..=100_000).contains(&self.min_samples), "min_samples", self.min_samples, "5 to 100000");
        let kinds = !self.overload.iter().any(String::is_empty);
        check.that(kinds, "overload", format_args!("{:?}", self.overload), "kinds of failure, none of them empty");
        check.done()
    }
}
