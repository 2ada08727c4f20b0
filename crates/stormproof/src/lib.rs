//! Resilience for AI agents.
//!
//! A [`Policy`] decides for every call whether to let it through, wait, retry or refuse:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use stormproof::{CircuitBreaker, Policy, Retry};
//!
//! let policy = Policy::builder("openai")
//!     .deadline(Duration::from_secs(30))
//!     .retry(Retry::exponential(Duration::from_millis(200)).max_retries(3))
//!     .breaker(&CircuitBreaker::new("openai"))
//!     .attempt_timeout(Duration::from_secs(10))
//!     .build()?;
//!
//! let answer = policy.call(|cx| async move { Ok::<_, std::io::Error>(cx.attempt()) }).await?;
//! assert_eq!(answer, 1);
//! # Ok(())
//! # }
//! ```
//!
//! The decisions are made in [`stormproof_core`], whose nouns are re-exported here; this crate waits, wakes and tells.

mod builder;
mod call;
mod classify;
mod clock;
#[cfg(feature = "toml")]
pub mod document;
mod error;
pub mod events;
mod held;
mod inherited;
pub mod metrics;
mod policy;
mod retry;
mod run;
mod stages;
mod waiters;

pub use builder::{Builder, Part};
pub use call::{Calling, Cx, Holding};
pub use classify::{ByFn, Classify, ErrIsFailure, Noted};
pub use clock::Clock;
pub use error::Error;
pub use held::Held;
pub use policy::Policy;
pub use retry::Retry;
pub use stages::{Bulkhead, CircuitBreaker, RateLimiter};
pub use stormproof_core::retry::Stop;
pub use stormproof_core::{
    Backoff, Event, Instant, Invalid, Jitter, Limit, Mistakes, Name, Outcome, Reason, Refused, RetryBudget, Snapshot,
    Stage, Timeouts, Trip, Verdict, breaker, budget, bulkhead, event, hedge, latency, outcome, policy as config, rate,
    snapshot,
};

/// Compiles and runs what the README and the pages show.
#[cfg(doctest)]
mod pages {
    macro_rules! page {
        ($($name:ident: $path:literal),* $(,)?) => { $(#[doc = include_str!(concat!("../../../", $path))] struct $name;)* };
    }

    page! {
        Readme: "README.md",
        Breaker: "docs/src/patterns/breaker.md",
        Retry: "docs/src/patterns/retry.md",
        Hedge: "docs/src/patterns/hedge.md",
        Budget: "docs/src/patterns/budget.md",
        Rate: "docs/src/patterns/rate.md",
        Bulkhead: "docs/src/patterns/bulkhead.md",
        Timeout: "docs/src/patterns/timeout.md",
    }
}

/// A seed that differs between processes and between calls.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(())
}
