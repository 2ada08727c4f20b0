//! Steps: at least once.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stormproof::Policy;

use crate::attempt::Attempt;
use crate::failed::Failed;
use crate::fingerprint::fingerprint;
use crate::op::Op;
use crate::replay::Call;

/// A future that may borrow what the workflow has.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What all kinds of steps are made of.
pub(crate) struct Parts {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) call: Call,
    pub(crate) policy: Option<Policy>,
}

impl Parts {
    pub(crate) fn new(attempt: &Arc<Attempt>, call: Call) -> Self {
        Self { attempt: attempt.clone(), call, policy: None }
    }

    pub(crate) fn set_input(&mut self, input: &(impl Serialize + ?Sized)) {
        self.call.fp = fingerprint(input).map_err(|error| error.to_string());
    }
}

/// A step, as a future. Made by [`Ctx::step`](crate::Ctx::step).
#[must_use = "a step does nothing until it is awaited"]
pub struct StepCall<'a, T, F> {
    parts: Option<(Parts, F)>,
    under_way: Option<Boxed<'a, Result<T, Failed>>>,
    result: PhantomData<fn() -> T>,
}

/// The operation is moved, never pinned.
impl<T, F> Unpin for StepCall<'_, T, F> {}

impl<T, F> StepCall<'_, T, F> {
    pub(crate) fn new(parts: Parts, run: F) -> Self {
        Self { parts: Some((parts, run)), under_way: None, result: PhantomData }
    }

    /// What the step is called with: its fingerprint is recorded, and if it differs in a replay, the run is blocked rather
    /// than given a value that belongs to something else.
    pub fn input(mut self, input: &(impl Serialize + ?Sized)) -> Self {
        if let Some((parts, _)) = &mut self.parts {
            parts.set_input(input);
        }
        self
    }

    /// Calls the operation through a policy: its retries are attempts of this step. What the policy counts as a failure is
    /// every error of the operation.
    pub fn policy(mut self, policy: &Policy) -> Self {
        if let Some((parts, _)) = &mut self.parts {
            parts.policy = Some(policy.clone());
        }
        self
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

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some((parts, run)) = self.parts.take() {
            self.under_way = Some(Box::pin(perform(parts, run)));
        }
        match &mut self.under_way {
            Some(under_way) => under_way.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

async fn perform<T, E, F, Fut>(parts: Parts, mut run: F) -> Result<T, Failed>
where
    F: FnMut(Op) -> Fut + Send,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Serialize + DeserializeOwned + Send,
    E: Into<Failed> + Send,
{
    let Parts { attempt, call, policy } = parts;
    let _busy = attempt.busy();
    if let Some(recorded) = attempt.recall(&call).await
        && let Some(result) = attempt.replay(&call, &recorded).await
    {
        return result;
    }
    attempt.rely().await;
    let op = attempt.op(&call);
    let result = match &policy {
        None => run(op).await.map_err(Into::into),
        Some(policy) => {
            let calling = policy.call(|cx| run(op.attempt_of(cx.attempt(), cx.remaining(), policy.clock())));
            calling.await.map_err(Failed::of_policy)
        }
    };
    attempt.settle(&call, result).await
}
