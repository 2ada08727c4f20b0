//! What a policy means in numbers, computed from its configuration alone.
//!
//! Owns the arithmetic of the worst case and the combinations that are dangerous. How a call goes in fact is decided in
//! [`call`](crate::call); a property test holds the two together.

mod circuit;
mod text;
mod time;
mod warning;

use std::time::Duration;

use crate::caller::Priority;
use crate::policy::{Config, Policy};

pub use circuit::{Circuit, Opening};
pub use time::{Bound, Unbounded};
pub use warning::Warning;

/// A policy in numbers. Its `Display` is a few lines of plain English.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::explain::Bound;
/// use stormproof_core::{Backoff, Jitter, policy, retry};
///
/// let backoff = Backoff::exponential(Duration::from_secs(1)).jitter(Jitter::None);
/// let config = policy::Config {
///     attempt_timeout: Some(Duration::from_secs(10)),
///     retry: Some(retry::Config { backoff, ..Default::default() }),
///     ..Default::default()
/// };
/// let explained = config.explain();
/// assert_eq!(explained.attempts, 4);
/// assert_eq!(explained.without_hints, Bound::Within(Duration::from_secs(4 * 10 + 1 + 2 + 4)));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// The longest a call can take: waits in queues, attempts, waits between them, all at their longest.
    ///
    /// The wait for rate is what was computed when a call began to wait: calls before it that turn out dearer than they
    /// had reserved make it longer, up to the deadline.
    pub worst_case: Bound,
    /// The same as long as no server asks by a Retry-After to wait longer than the backoff.
    pub without_hints: Bound,
    /// The most attempts that one call can cause. Nested policies multiply, see [`attempts_nested`].
    pub attempts: u64,
    /// The circuit breaker.
    pub circuit: Option<Circuit>,
    /// Amplification of a load by retries.
    pub amplification: Option<Amplification>,
    /// The adaptive throttle.
    pub throttle: Option<Throttled>,
    /// The limit of requests.
    pub requests: Option<Pace>,
    /// The limit of tokens.
    pub tokens: Option<Pace>,
    /// Calls at a time.
    pub slots: Option<Slots>,
    /// The class of its calls, for the queues that they wait in.
    pub priority: Option<Priority>,
    /// Combinations that are allowed, but seldom meant.
    pub warnings: Vec<Warning>,
}

/// Amplification of a load of which everything fails, by retries under a budget.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Amplification {
    /// Attempts for each call, at most: one and the budget's ratio.
    pub factor: f64,
    /// Number of further retries in each window begun.
    pub floor: u32,
    /// The window.
    pub window: Duration,
}

/// When a throttle refuses, and how much.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Throttled {
    /// Share of accepted requests below which it refuses.
    pub below: f64,
    /// Number of requests in the window below which it refuses nothing.
    pub min_requests: u32,
    /// The window.
    pub window: Duration,
    /// Maximum share of requests that it refuses.
    pub at_most: f64,
}

/// Number of calls that may be under way at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Slots {
    /// The number, for as long as it does not move by itself.
    pub first: u32,
    /// The least and the most that it moves to, if it does.
    pub adaptive: Option<(u32, u32)>,
}

/// A rate limit: what passes in the long run, and at once.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Pace {
    /// Permits a second in the long run.
    pub per_second: f64,
    /// Permits at once after a rest; also the highest cost of one call.
    pub burst: u32,
}

impl Config {
    /// What the policy means in numbers. Values that [`validate`](Self::validate) objects to give numbers, too.
    pub fn explain(&self) -> Explanation {
        let pace = |limit: &crate::rate::Config| Pace {
            per_second: f64::from(limit.rate) / limit.per.as_secs_f64(),
            burst: limit.burst.unwrap_or(limit.rate),
        };
        let worst_case = time::worst_case(self, time::Hints::Longest);
        let without_hints = time::worst_case(self, time::Hints::None);
        Explanation {
            circuit: self.breaker.as_ref().map(|breaker| Circuit::of(self, breaker)),
            warnings: warning::of(self),
            attempts: time::attempts(self),
            amplification: self.budget.as_ref().map(|budget| Amplification {
                factor: 1.0 + budget.ratio,
                floor: budget.floor,
                window: budget.window,
            }),
            throttle: self.throttle.as_ref().map(|throttle| Throttled {
                below: throttle.multiplier.recip(),
                min_requests: throttle.min_requests,
                window: throttle.window,
                at_most: throttle.max_refused,
            }),
            requests: self.rate.as_ref().map(pace),
            tokens: self.tokens.as_ref().map(pace),
            slots: self.bulkhead.as_ref().map(|bulkhead| Slots {
                first: bulkhead.max_concurrent,
                adaptive: bulkhead.adaptive.as_ref().map(|adaptive| (adaptive.min, adaptive.max)),
            }),
            priority: self.priority,
            worst_case,
            without_hints,
        }
    }
}

impl Policy {
    /// What the policy means in numbers, as it is configured now.
    pub fn explain(&self) -> Explanation {
        self.config().explain()
    }
}

/// The most attempts that one call can cause through policies that are nested: each attempt of an outer one is a call of
/// the next.
///
/// ```
/// use stormproof_core::{explain, policy, retry};
///
/// let thrice = policy::Config { retry: Some(retry::Config { max_retries: 2, ..Default::default() }), ..Default::default() };
/// assert_eq!(explain::attempts_nested([&thrice, &thrice, &thrice]), 27);
/// ```
pub fn attempts_nested<'c>(policies: impl IntoIterator<Item = &'c Config>) -> u64 {
    policies.into_iter().map(time::attempts).fold(1, u64::saturating_mul)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
