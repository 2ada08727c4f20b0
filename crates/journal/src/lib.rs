//! Idempotency and checkpoints for AI agents: what was done is remembered, so that a crash repeats nothing.
#![allow(dead_code, unused, reason = "being built")]

mod error;
mod run;
mod store;

pub use error::{OpenError, RunError, StoreError};
pub use run::{Epoch, Failure, Kind, Millis, Progress, Run, RunId, State, Step};
pub use store::{Decision, Filter, Forgotten, Retention};
