//! The behavioural cases T and the defects X that a port must pass, each under its number.
//!
//! T75's `fallback=` and T76 are in `tests/fallback.rs`; T76's cache and X24's cached values in `tests/cache.rs`.
//!
//! These wait for later stages:
//! - T27, T28's syntax: macros and the Python package (T28's substance is here).
//! - T46: the admin API.
//! - T63, T64, T65: the classification of HTTP errors (what a verdict makes of it is here: X31).
//! - T67's option to wait for half-open: not there yet; its default is here.
//! - T79: the loop guard. T80: the journal. T81, T82, T84: streams, the HTTP client, A2A. T85: session pinning.
//! - T86: the demo.
//! - X18, X23: reading an HTTP status. X25: the loop guard. X26: checkpoints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at the first surprise")]
#![allow(clippy::float_cmp, reason = "what is compared are counts")]

#[path = "../conformance/async_door.rs"]
mod async_door;
mod breaker;
mod defects;
#[allow(dead_code, reason = "shared with the conformance cases")]
#[path = "../conformance/given.rs"]
mod given;
mod health;
mod limits;
mod observability;
mod queue;
mod registry;
mod resources;
mod retry;
#[path = "../conformance/sync_door.rs"]
mod sync_door;
#[cfg(feature = "tower")]
#[path = "../conformance/tower_door.rs"]
mod tower_door;
