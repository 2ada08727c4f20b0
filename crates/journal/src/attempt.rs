//! One attempt at a run.

/// One attempt at a run.
#[derive(Debug)]
pub(crate) struct Attempt {}
