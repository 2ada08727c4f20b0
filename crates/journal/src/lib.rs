//! Idempotency and checkpoints for AI agents: what was done is remembered, so that a crash repeats nothing.
#![allow(dead_code, unused, reason = "being built")]

mod error;
mod run;
mod store;

pub use error::{OpenError, RunError, StoreError};
pub use run::{Epoch, Failure, Kind, Millis, Progress, Run, RunId, State, Step};
#[cfg(feature = "postgres")]
pub use store::postgres::PgTransaction;
pub use store::{Decision, Filter, Forgotten, Retention};
#[cfg(feature = "postgres")]
pub use tokio_postgres;
