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

// Calls and what protects them.
mod answer;
mod builder;
mod call;
mod classify;
mod error;
mod ext;
mod interrupted;
mod policy;
pub mod retry;
mod stages;
mod sync;
#[cfg(feature = "tower")]
pub mod tower;

pub use answer::{Give, Plain, Served, Source, WithHeld, WithSource};
pub use builder::{Builder, Part};
pub use call::{CallFuture, Calling, Cx, Hear, Lent};
pub use classify::{ByFn, Classify, ErrIsFailure, Judge, Nested};
pub use error::{Error, Unavailable};
pub use ext::Resilient;
pub use held::Held;
pub use interrupted::Interrupted;
pub use policy::Policy;
pub use retry::Retry;
pub use stages::{Bulkhead, CircuitBreaker, RateLimiter, RetryBudget, Throttle};
#[cfg(feature = "macros")]
pub use stormproof_macros::{circuit_breaker, policy, retry, with_fallback, with_timeout};

// What answers instead.
#[cfg(feature = "cache")]
pub mod cache;
pub mod degrade;
pub mod fallback;

#[cfg(feature = "cache")]
pub use cache::Cache;
pub use degrade::Degradation;
pub use fallback::Fallback;

// Beside calls: work, tasks and what they use.
pub mod executor;
pub mod loop_guard;
pub mod queue;
pub mod resource;

pub use executor::Executor;
pub use loop_guard::LoopGuard;
pub use queue::WorkQueue;
pub use resource::Resource;

// Many policies, their files and their names.
#[cfg(feature = "toml")]
pub mod document;
#[cfg(feature = "toml")]
pub mod environment;
#[cfg(feature = "persist")]
pub mod persist;
#[cfg(feature = "toml")]
pub mod preset;
pub mod registry;
#[cfg(feature = "toml")]
pub mod reload;
#[cfg(feature = "schema")]
pub mod schema;
#[cfg(feature = "toml")]
pub mod settings;

pub use registry::Registry;

// What is seen of them.
pub mod events;
pub mod health;
pub mod metrics;
#[cfg(all(feature = "compat", feature = "serde"))]
pub mod shapes;

pub use events::EventBus;
pub use health::{HealthAggregator, HealthChecker, HealthTracker};

// Time.
mod clock;

pub use clock::{Clock, Joined};

// The nouns of the core.
pub use stormproof_core::retry::Stop;
pub use stormproof_core::{
    Backoff, Caller, Event, Flow, Instant, Invalid, Jitter, Limit, Mistakes, Name, Outcome, Priority, Reason, Refused,
    Snapshot, Stage, Timeouts, Trip, Verdict, adaptive, backoff, breaker, budget, bulkhead, event, explain, hedge,
    journal, latency, outcome, policy as config, rate, snapshot, throttle,
};

// How calls are carried out.
#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod attribute;
mod caught;
mod held;
mod inherited;
mod inside;
mod kind;
mod nested;
mod run;
mod subject;
mod waiters;

/// Compiles and runs what the README and the pages show.
#[cfg(doctest)]
mod pages {
    macro_rules! page {
        ($($name:ident: $path:literal),* $(,)?) => { $(#[doc = include_str!(concat!("../../../", $path))] struct $name;)* };
    }

    page! {
        Readme: "README.md",
        Testing: "docs/src/testing.md",
        Doors: "docs/src/doors.md",
        FromBackon: "docs/src/migration/backon.md",
        FromGovernor: "docs/src/migration/governor.md",
        FromTowerResilience: "docs/src/migration/tower-resilience.md",
        Breaker: "docs/src/patterns/breaker.md",
        Retry: "docs/src/patterns/retry.md",
        Hedge: "docs/src/patterns/hedge.md",
        Budget: "docs/src/patterns/budget.md",
        ThrottlePage: "docs/src/patterns/throttle.md",
        Rate: "docs/src/patterns/rate.md",
        Bulkhead: "docs/src/patterns/bulkhead.md",
        Adaptive: "docs/src/patterns/adaptive.md",
        Timeout: "docs/src/patterns/timeout.md",
        Health: "docs/src/patterns/health.md",
        Degradation: "docs/src/patterns/degradation.md",
        WorkQueue: "docs/src/patterns/queue.md",
        LoopGuardPage: "docs/src/patterns/loop-guard.md",
    }

    #[cfg(feature = "macros")]
    page! {
        Macros: "docs/src/macros.md",
    }
    #[cfg(feature = "toml")]
    page! {
        Configuration: "docs/src/configuration.md",
    }
    #[cfg(all(feature = "macros", feature = "toml"))]
    page! {
        QuickStart: "docs/src/quick-start.md",
    }
    #[cfg(all(feature = "log", feature = "tracing"))]
    page! {
        Observability: "docs/src/observability.md",
    }

    #[cfg(feature = "cache")]
    page! {
        Fallback: "docs/src/patterns/fallback.md",
    }
}

/// The same for pages that need a feature.
#[cfg(all(doctest, feature = "persist"))]
#[doc = include_str!("../../../docs/src/registry.md")]
struct RegistryPage;

/// A seed that differs between processes and between calls.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(())
}
