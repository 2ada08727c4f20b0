//! The book's two agents: [`IdempotentAgent`] and [`CheckpointedAgent`]. Both are thin: what they do is what
//! [`Journal::once`] and a workflow do, under names that follow from what they are given.

mod checkpointed;
mod idempotent;
#[cfg(test)]
mod tests;

pub use checkpointed::CheckpointedAgent;
pub use idempotent::IdempotentAgent;

use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::error::{OpenError, RunError};
use crate::journal::Journal;
use crate::run::RunId;

/// The environment variable with the address of the journal of agents that are given none.
const VARIABLE: &str = "STORMPROOF_JOURNAL";
/// Their journal if it is not set: a file in the current folder.
const DEFAULT: &str = "sqlite:stormproof.db";

/// An agent has no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// Its journal could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The run has no result.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// The run of an agent, whose caller knows its parts by these names.
fn run_id((field, workflow): (&'static str, &str), (key_field, key): (&'static str, &str)) -> Result<RunId, RunError> {
    RunId::checked(workflow, key).map_err(|error| match error {
        RunError::Key { field: "workflow", value, allowed } => RunError::Key { field, value, allowed },
        RunError::Key { field: "key", value, allowed } => RunError::Key { field: key_field, value, allowed },
        other => other,
    })
}

/// The journal of an agent: given, or opened at its first call.
#[derive(Clone, Debug, Default)]
struct Source(Arc<OnceCell<Journal>>);

impl Source {
    fn given(journal: &Journal) -> Self {
        Self(Arc::new(OnceCell::new_with(Some(journal.clone()))))
    }

    async fn journal(&self) -> Result<&Journal, OpenError> {
        let open =
            || Journal::open(std::env::var(VARIABLE).ok().filter(|url| !url.is_empty()).unwrap_or(DEFAULT.into()));
        self.0.get_or_try_init(open).await
    }
}
