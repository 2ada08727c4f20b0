//! Idempotency and checkpoints for AI agents: what was done is remembered, so that a crash repeats nothing.

// Runs and what they are made of.
mod attempt;
mod child;
mod commit;
mod context;
mod effect;
mod failed;
mod fingerprint;
mod op;
mod operation;
mod own_task;
mod replay;
mod step;
mod wait;

pub use child::{Child, ChildCall};
pub use commit::CommitCall;
pub use context::Ctx;
pub use effect::Probe;
pub use failed::Failed;
pub use fingerprint::fingerprint;
pub use op::Op;
pub use step::StepCall;
pub use wait::{SleepCall, WaitCall};

// Thin uses of them.
mod agents;
mod once;
mod tasks;

pub use agents::{AgentError, CheckpointedAgent, IdempotentAgent};
pub use once::Once;
pub use tasks::{TaskError, TaskGuard};

// Keeping them.
mod error;
mod handle;
#[cfg(test)]
mod interleavings;
mod journal;
mod lease;
mod operate;
mod patience;
mod run;
mod settings;
mod start;
mod store;
mod telling;
mod value;
mod watch;
mod worker;
mod workflows;

pub use error::{OpenError, RunError, StoreError};
pub use handle::{Busy, Handle};
pub use journal::Journal;
pub use operate::{Fork, History};
pub use run::{Epoch, Failure, Kind, Millis, Progress, Run, RunId, State, Step};
pub use settings::Builder;
pub use start::{RunCall, StartCall};
#[cfg(feature = "postgres")]
pub use store::postgres::PgTransaction;
pub use store::{Decision, Filter, Forgotten, Retention};

/// The library whose transactions [`Ctx::commit`] gets.
pub use rusqlite;
#[cfg(feature = "postgres")]
pub use tokio_postgres;

/// Compiles and runs what the pages show.
#[cfg(doctest)]
mod pages {
    macro_rules! page {
        ($($name:ident: $path:literal),* $(,)?) => { $(#[doc = include_str!(concat!("../../../", $path))] struct $name;)* };
    }

    page! {
        Journal: "docs/src/journal.md",
        Steps: "docs/src/journal/steps.md",
        Callees: "docs/src/journal/callees.md",
        Operations: "docs/src/journal/operations.md",
        LangGraph: "docs/src/migration/langgraph.md",
        Dbos: "docs/src/migration/dbos.md",
    }
}
