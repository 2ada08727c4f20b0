//! What the engine promises, on every store: a file a topic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at the first surprise")]

mod bench;
mod cancel;
mod commits;
mod crash;
mod effects;
mod errors;
mod leases;
mod limits;
mod outliving;
mod parallel;
mod shutdown;
mod steps;
mod telling;
mod values;
mod versions;
mod virtual_time;
mod waits;
