//! Which code runs in a task that the journal has spawned for it: such a task may take a thread of the runtime for as long
//! as a disk takes, since the runtime is told. Of other people's tasks that is not known.

use tokio::runtime::{Handle, RuntimeFlavor};

tokio::task_local! {
    static MAY_BLOCK: bool;
}

/// A task that is spawned, and polled by nobody but its runtime.
pub(crate) async fn own<F: Future>(task: F) -> F::Output {
    MAY_BLOCK.scope(true, task).await
}

/// A part of a task that goes on `beside` others: while it blocked, they would stand still.
pub(crate) async fn part<F: Future>(beside: bool, part: F) -> F::Output {
    if beside { MAY_BLOCK.scope(false, part).await } else { part.await }
}

/// Whether this code may block its thread, in [`block_in_place`](tokio::task::block_in_place).
pub(crate) fn may_block() -> bool {
    MAY_BLOCK.try_with(|may| *may).unwrap_or(false)
        && Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}
