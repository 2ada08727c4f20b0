//! Steps: at least once.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stormproof::Policy;

use crate::failed::Failed;
use crate::op::Op;

/// A step, as a future. Made by [`Ctx::step`](crate::Ctx::step).
#[must_use = "a step does nothing until it is awaited"]
pub struct StepCall<'a, T, F> {
    run: Option<F>,
    result: PhantomData<(&'a (), fn() -> T)>,
}

impl<T, F> StepCall<'_, T, F> {
    /// What the step is called with: its fingerprint is recorded, and if it differs in a replay, the run is blocked rather
    /// than given a value that belongs to something else.
    pub fn input(self, input: &(impl Serialize + ?Sized)) -> Self {
        todo!()
    }

    /// Calls the operation through a policy: its retries are attempts of this step.
    pub fn policy(self, policy: &Policy) -> Self {
        todo!()
    }
}

impl<'a, T, E, F, Fut> Future for StepCall<'a, T, F>
where
    F: FnMut(Op) -> Fut + Send + 'a,
    Fut: Future<Output = Result<T, E>> + Send + 'a,
    T: Serialize + DeserializeOwned + Send + 'a,
    E: Into<Failed> + Send + 'a,
{
    type Output = Result<T, Failed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}

/// The operation is moved, never pinned.
impl<T, F> Unpin for StepCall<'_, T, F> {}
