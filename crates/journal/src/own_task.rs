//! Which code runs in a task that the journal has spawned for it: such a task may take a thread of the runtime for as long
//! as a disk takes, since the runtime is told. Of other people's tasks that is not known.

use tokio::runtime::{Handle, RuntimeFlavor};

tokio::task_local! {
    static OWN: ();
}

/// A task that is spawned, and polled by nobody but its runtime.
pub(crate) async fn own<F: Future>(task: F) -> F::Output {
    OWN.scope((), task).await
}

/// Whether this code may block its thread, in [`block_in_place`](tokio::task::block_in_place).
pub(crate) fn may_block() -> bool {
    OWN.try_with(|()| ()).is_ok()
        && Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}
