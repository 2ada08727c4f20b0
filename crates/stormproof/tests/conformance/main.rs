//! The cases that define correct, one test each, under virtual time. Every scenario runs through every door, and the
//! doors have to agree; a scenario in which an operation is ended midway says so ([`Scenario::preempts`]), and the sync
//! door leaves it out.
//!
//! [`Scenario::preempts`]: stormproof_sim::Scenario::preempts
#![cfg(test)]
#![allow(clippy::float_cmp, reason = "what is compared are counts")]

mod adaptive;
mod anything;
mod async_door;
mod breaker_closed;
mod breaker_open;
mod complete;
mod composition;
mod dropping;
mod dropping_beside;
mod fallback;
mod given;
mod half_open;
mod hedge;
mod priority;
mod rate_and_bulkhead;
mod reload;
mod retry;
mod sync_door;
mod throttle;
mod timeout;
#[cfg(feature = "tower")]
mod tower_door;
mod waiting;
