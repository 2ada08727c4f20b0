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

#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod attribute;
mod beside;
mod call;
mod clock;
mod configuration;
#[cfg(feature = "persist")]
pub mod persist;
mod policy;
pub mod registry;
mod telemetry;

// Calls, and what answers instead.
pub use call::answer::{Give, Plain, Served, Source, WithHeld, WithSource};
#[cfg(feature = "cache")]
pub use call::cache::{self, Cache};
pub use call::classify::{ByFn, Classify, ErrIsFailure, Judge, Nested};
pub use call::error::{Error, Unavailable};
pub use call::fallback::{self, Fallback};
pub use call::held::Held;
pub use call::interrupted::Interrupted;
#[cfg(feature = "tower")]
pub use call::service;
pub use call::{CallFuture, Calling, Cx, Hear, Lent};
#[cfg(feature = "macros")]
pub use stormproof_macros::{circuit_breaker, policy, retry, with_fallback, with_timeout};

// Policies and their stages.
pub use policy::Policy;
pub use policy::builder::{Builder, Part};
pub use policy::ext::Resilient;
pub use policy::retry::{self, Retry};
pub use policy::stages::{Bulkhead, CircuitBreaker, RateLimiter, RetryBudget, Throttle};

// Many policies, their files and their names.
#[cfg(feature = "schema")]
pub use configuration::schema;
#[cfg(feature = "toml")]
pub use configuration::{document, environment, preset, reload, settings};
pub use registry::Registry;

// What is seen of them.
pub use telemetry::events::{self, EventBus};
pub use telemetry::metrics;
#[cfg(all(feature = "compat", feature = "serde"))]
pub use telemetry::shapes;

// Beside calls: health, degradation, work, tasks and what they use.
pub use beside::degrade::{self, Degradation};
pub use beside::executor::{self, Executor};
pub use beside::health::{self, HealthAggregator, HealthChecker, HealthTracker};
pub use beside::loop_guard::{self, LoopGuard};
pub use beside::queue::{self, WorkQueue};
pub use beside::resource::{self, Resource};

// Time.
pub use clock::{Clock, Joined};

// The nouns of the core.
pub use stormproof_core::retry::Stop;
pub use stormproof_core::{
    Backoff, Caller, Event, Flow, Instant, Invalid, Jitter, Limit, Mistakes, Name, Outcome, Priority, Reason, Refused,
    Snapshot, Stage, Timeouts, Trip, Verdict, adaptive, backoff, breaker, budget, bulkhead, event, explain, hedge,
    journal, latency, outcome, policy as config, rate, snapshot, throttle,
};

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
