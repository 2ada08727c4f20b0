//! The behavioural cases T and the defects X that a port must pass, each under its number.
//!
//! Elsewhere: T27 in `stormproof-macros`, T42 also beside the presets and the environment, T43 and T44 in
//! `tests/persist.rs`, T45 beside the shapes of the statistics, T46 in the gateway's `tests/admin.rs`, T65, X18 and X23
//! in `stormproof-http`, T67's waiting in `tests/conformance/waiting.rs`, T75's `fallback=` and T76 in
//! `tests/fallback.rs`, T76's cache and X24's cached values in `tests/cache.rs`, T86 in the program's `tests/demo.rs`.
//!
//! These wait for later stages:
//! - T63, T64: what providers say by their quotas (what a verdict makes of it is here: X31).
//! - T80, X26: the journal.
//! - T81, T82, T84: streams, the HTTP client, A2A. T85: session pinning.
#![cfg(test)]
#![allow(clippy::float_cmp, reason = "what is compared are counts")]

mod acceptance;
mod acceptance_rest;
#[path = "../conformance/async_door.rs"]
mod async_door;
mod breaker;
mod defects;
#[allow(dead_code, reason = "shared with the conformance cases")]
#[path = "../conformance/given.rs"]
mod given;
mod health;
mod limits;
mod loop_guard;
mod names;
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
