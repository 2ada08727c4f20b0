//! The loop guard in a real agent loop: a model that chooses calls, tools that are carried out, and a driver that does what
//! the guard says. Runs that go in circles are found in so many calls; long runs that get somewhere are left alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at the first surprise")]
#![allow(missing_docs)]

mod agent;
mod bad;
mod good;
mod random;
mod state;
mod transcripts;
