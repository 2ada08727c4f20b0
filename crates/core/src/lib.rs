//! The decisions of stormproof, sans-IO.
//!
//! Nothing here sleeps, reads a clock, spawns, logs or does I/O. What depends on time takes `now`, what depends on
//! chance takes a seed, and the answer is a decision that the edge carries out.

// A new variant of one of our own enums is asked about in every match: a wildcard would answer for it, unseen.
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]

mod sync;

pub mod adaptive;
pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod bulkhead;
pub mod cache;
pub mod call;
mod caller;
pub mod decision;
pub mod degrade;
mod difference;
pub mod event;
pub mod explain;
pub mod fallback;
pub mod flight;
pub mod health;
pub mod hedge;
mod invalid;
pub mod journal;
pub mod latency;
pub mod loop_guard;
pub mod outcome;
mod permits;
pub mod policy;
pub mod rate;
pub mod retry;
mod rng;
pub mod snapshot;
#[doc(hidden)]
pub mod text;
pub mod throttle;
pub mod time;
mod timeout;
pub mod window;
mod word;

pub use backoff::{Backoff, Jitter};
pub use breaker::{CircuitBreaker, Trip};
pub use budget::RetryBudget;
pub use bulkhead::Bulkhead;
pub use call::{Call, End, Input, Step};
pub use caller::{Caller, Flow, Priority};
pub use decision::{Admission, Name, Progress, Reason, Refusal, Refused, Stage, Ticket};
pub use degrade::Degradation;
pub use event::Event;
pub use health::HealthTracker;
pub use hedge::Hedge;
pub use invalid::{Invalid, Mistakes};
pub use latency::Latency;
pub use loop_guard::LoopGuard;
pub use outcome::{Outcome, Verdict};
pub use permits::{Edge, NoEdge, Permits};
pub use policy::Policy;
pub use rate::RateLimiter;
pub use retry::Retry;
pub use rng::Rng;
pub use snapshot::Snapshot;
pub use throttle::Throttle;
pub use time::Instant;
pub use timeout::{Limit, Timeouts};
