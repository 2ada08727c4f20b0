//! Steps: at least once.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stormproof::{Classify, Policy};

use crate::attempt::{Attempt, UnderWay};
use crate::failed::Failed;
use crate::fingerprint::fingerprint;
use crate::op::Op;
use crate::operation::{Classifier, Operation};
use crate::replay::Call;

/// A future that may borrow what the workflow has.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What all kinds of steps are made of.
pub(crate) struct Parts {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) call: Call,
    pub(crate) policy: Option<Policy>,
    /// Held from the call of the step to its end.
    _under_way: UnderWay,
}

impl Parts {
    pub(crate) fn new(attempt: &Arc<Attempt>, call: Call) -> Self {
        Self { attempt: attempt.clone(), call, policy: None, _under_way: attempt.under_way.clone() }
    }

    /// Carries out a step for as long as its workflow is polled.
    ///
    /// A task that the workflow has spawned can outlive it. Nothing that it does then could be recorded, so its steps are
    /// dropped where they are, as those of the workflow itself. They end with an error: whoever waited for ever would keep
    /// the journal open for as long.
    pub(crate) async fn while_driven<T, Fut>(self, perform: impl FnOnce(Self) -> Fut) -> Result<T, Failed>
    where
        Fut: Future<Output = Result<T, Failed>>,
    {
        let (attempt, seq, title) = (self.attempt.clone(), self.call.seq, self.call.title());
        tokio::select! {
            biased;
            () = attempt.over() => {
                let message = format!("{title} belongs to a task that outlived its workflow, {}", attempt.run());
                Err(Failed::new("outlived", message).of_step(seq))
            }
            result = perform(self) => result,
        }
    }

    pub(crate) fn set_input(&mut self, input: &(impl Serialize + ?Sized)) {
        self.call.fp = fingerprint(input).map_err(|error| error.to_string());
    }
}

/// What is said of a step before it is awaited, shared with the future that carries it out.
pub(crate) struct Said<T, E>(Arc<Mutex<Option<Spoken<T, E>>>>);

type Spoken<T, E> = (Parts, Option<Arc<Classifier<'static, T, E>>>);

impl<T, E> Said<T, E> {
    pub(crate) fn new(parts: Parts) -> (Self, Self) {
        let parts = Arc::new(Mutex::new(Some((parts, None))));
        (Self(parts.clone()), Self(parts))
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Parts)) {
        if let Some((parts, _)) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            change(parts);
        }
    }

    pub(crate) fn classify(&self, by: impl Classify<T, E> + Send + Sync + 'static) {
        if let Some((_, classifier)) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            *classifier = Some(Arc::new(by));
        }
    }

    /// All that was said. The future that comes for it comes once.
    pub(crate) async fn take(self) -> Spoken<T, E> {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match said {
            Some(said) => said,
            None => std::future::pending().await,
        }
    }
}

/// A step or an effect, as a future. Made by [`Ctx::step`](crate::Ctx::step) and [`Ctx::effect`](crate::Ctx::effect).
#[must_use = "a step does nothing until it is awaited"]
pub struct StepCall<T, E, Fut> {
    said: Said<T, E>,
    // The operation may borrow what the workflow has: no lifetime here says so, for join! and its like could not hold it.
    under_way: Pin<Box<Fut>>,
}

impl<T, E, Fut> StepCall<T, E, Fut> {
    pub(crate) fn new(said: Said<T, E>, under_way: Fut) -> Self {
        Self { said, under_way: Box::pin(under_way) }
    }

    /// What the step is called with: its fingerprint is recorded, and if it differs in a replay, the run is blocked rather
    /// than given a value that belongs to something else.
    pub fn input(self, input: &(impl Serialize + ?Sized)) -> Self {
        self.said.change(|parts| parts.set_input(input));
        self
    }

    /// Calls the operation through a policy: its retries are attempts of this step. Of an effect, the probe is asked before
    /// each retry, and a policy that hedges blocks the run: it would run the effect twice at the same time.
    pub fn policy(self, policy: &Policy) -> Self {
        self.said.change(|parts| parts.policy = Some(policy.clone()));
        self
    }

    /// How the policy is to judge what the operation gave: what is retried, and when. Default: each error is a failure. An
    /// error that is [kept](Failed::keep) is not retried unless the classifier says so.
    pub fn classify(self, classifier: impl Classify<T, E> + Send + Sync + 'static) -> Self {
        self.said.classify(classifier);
        self
    }
}

impl<T, E, Fut: Future> Future for StepCall<T, E, Fut> {
    type Output = Fut::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.under_way.as_mut().poll(cx)
    }
}

/// A step that `run` carries out.
pub(crate) fn step<T, E, F, Fut>(
    parts: Parts,
    run: F,
) -> StepCall<T, E, impl Future<Output = Result<T, Failed>> + Send + use<T, E, F, Fut>>
where
    F: FnMut(Op) -> Fut + Send,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Serialize + DeserializeOwned + Send,
    E: Into<Failed> + Send + 'static,
{
    let (said, heard) = Said::new(parts);
    let under_way = async move {
        let (parts, classifier) = heard.take().await;
        parts.while_driven(|parts| perform(parts, classifier, run)).await
    };
    StepCall::new(said, under_way)
}

async fn perform<T, E, F, Fut>(
    parts: Parts,
    classifier: Option<Arc<Classifier<'static, T, E>>>,
    mut run: F,
) -> Result<T, Failed>
where
    F: FnMut(Op) -> Fut + Send,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Serialize + DeserializeOwned + Send,
    E: Into<Failed> + Send + 'static,
{
    let Parts { attempt, call, policy, .. } = parts;
    let _busy = attempt.busy();
    if let Some(recorded) = attempt.recall(&call).await
        && let Some(result) = attempt.replay(&call, &recorded).await
    {
        return result;
    }
    let operation = Operation::new(attempt.op(&call), &attempt.member, policy.as_ref(), classifier.as_ref());
    let run = |op| attempt.operating(call.seq, attempt.within(call.seq, || run(op)));
    let result = operation.run(run).await;
    attempt.settle(&call, result).await
}
