//! What a throttle can be set to, and its formula.

use std::time::Duration;

use super::ledger;
use crate::invalid::{Check, Invalid};
use crate::outcome;

/// When a throttle refuses, and how much.
///
/// ```
/// use stormproof_core::throttle;
///
/// let config = throttle::Config { multiplier: 0.5, ..Default::default() };
/// assert_eq!(config.validate()[0].to_string(), "multiplier is 0.5, allowed is 1 to 1000");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Config {
    /// K: requests allowed for each request that the callee accepts. 2 refuses nothing until more than half is not
    /// accepted; a lower number refuses sooner. 1 to 1000. Default 2.
    #[cfg_attr(feature = "schema", schemars(range(min = 1.0, max = 1000.0)))]
    pub multiplier: f64,
    /// Nothing is refused with fewer requests in the window. Default 10.
    pub min_requests: u32,
    /// Maximum share of requests that is refused: the rest finds out when the callee is well again. 0 to 0.99. Default
    /// 0.9.
    #[cfg_attr(feature = "schema", schemars(range(min = 0.0, max = 0.99)))]
    pub max_refused: f64,
    /// Time for which a request counts, in ten parts: up to a tenth longer. 10 ms to 1 day. Default 30 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub window: Duration,
    /// Kinds of failure by which the callee does not accept a request; every other answer is one that it accepted. A
    /// failure with a hint when to come back is one of them, whatever its kind. Default `TimeoutError`,
    /// `RateLimitError`, `ServerError.503`, `ServerError.529`.
    pub overload: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            multiplier: 2.0,
            min_requests: 10,
            max_refused: 0.9,
            window: Duration::from_secs(30),
            overload: outcome::OVERLOAD.map(String::from).to_vec(),
        }
    }
}

impl Config {
    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        check.that((1.0..=1000.0).contains(&self.multiplier), "multiplier", self.multiplier, "1 to 1000");
        check.that((0.0..=0.99).contains(&self.max_refused), "max_refused", self.max_refused, "0 to 0.99");
        let windows = Duration::from_millis(10)..=Duration::from_secs(86_400);
        check.that(windows.contains(&self.window), "window", self.window, "10 ms to 1 day");
        let kinds = !self.overload.iter().any(String::is_empty);
        check.that(kinds, "overload", format_args!("{:?}", self.overload), "kinds of failure, none of them empty");
        check.done()
    }

    /// The probability by which a request is refused after the requests and accepts in `counts`.
    pub(super) fn probability(&self, counts: u64) -> f64 {
        let (requests, accepts) = ledger::parts(counts);
        if requests < self.min_requests {
            return 0.0;
        }
        let requests = f64::from(requests);
        ((requests - self.multiplier * f64::from(accepts)) / (requests + 1.0)).clamp(0.0, self.max_refused)
    }
}
