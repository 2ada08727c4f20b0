//! Commits: exactly once, because rows and record share one transaction.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use serde::Serialize;

use crate::failed::Failed;

/// A commit, as a future. Made by [`Ctx::commit`](crate::Ctx::commit).
#[must_use = "a commit does nothing until it is awaited"]
pub struct CommitCall<'a, T> {
    result: PhantomData<(&'a (), fn() -> T)>,
}

impl<T> CommitCall<'_, T> {
    /// What the commit is called with; see [`StepCall::input`](crate::StepCall::input).
    pub fn input(self, input: &(impl Serialize + ?Sized)) -> Self {
        todo!()
    }
}

impl<T> Future for CommitCall<'_, T> {
    type Output = Result<T, Failed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}
