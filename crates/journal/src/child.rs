//! Children: runs that a run starts, and whose results it may wait for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::de::DeserializeOwned;

use crate::attempt::Attempt;
use crate::error::RunError;
use crate::failed::Failed;
use crate::operation::Why;
use crate::patience::Patience;
use crate::run::{Kind, RunId};
use crate::start::Begin;
use crate::step::{Boxed, Parts};
use crate::wait::WaitCall;

/// Starts a child. Made by [`Ctx::start`](crate::Ctx::start).
#[must_use = "a child is started when this is awaited"]
pub struct ChildCall {
    parts: Option<(Parts, Start)>,
    under_way: Option<Boxed<'static, Result<Child, Failed>>>,
}

/// The child to be started.
pub(crate) struct Start {
    pub(crate) workflow: String,
    pub(crate) key: String,
    pub(crate) version: Option<String>,
    /// The input and its fingerprint.
    pub(crate) input: Result<(Box<str>, String), String>,
}

impl ChildCall {
    pub(crate) fn new(parts: Parts, start: Start) -> Self {
        Self { parts: Some((parts, start)), under_way: None }
    }

    /// What the step is called that starts this run.
    pub(crate) fn step_name(run: &str) -> String {
        format!("start {run}")
    }

    /// The version of the workflow, for those that are not registered in this process. Default: what was registered last.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        if let Some((_, start)) = &mut self.parts {
            start.version = Some(version.into());
        }
        self
    }
}

impl Future for ChildCall {
    type Output = Result<Child, Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some((parts, start)) = self.parts.take() {
            self.under_way = Some(Box::pin(parts.while_driven(move |parts| start_child(parts, start))));
        }
        match &mut self.under_way {
            Some(under_way) => under_way.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

async fn start_child(Parts { attempt, call, .. }: Parts, start: Start) -> Result<Child, Failed> {
    let _busy = attempt.busy();
    let child = |id| Child { attempt: attempt.clone(), id };
    if let Some(recorded) = attempt.recall(&call).await
        && let Some(result) = attempt.replay::<RunId>(&call, &recorded).await
    {
        return result.map(child);
    }
    attempt.rely().await;
    let parent = Some(attempt.run().clone());
    let started = insist_on_start(&attempt, start, parent).await;
    let id = attempt.settle(&call, started.map_err(Why::Failed)).await?;
    Ok(child(id))
}

async fn insist_on_start(attempt: &Attempt, start: Start, parent: Option<RunId>) -> Result<RunId, Failed> {
    let begin = Begin { parent, ..Begin::new(&start.workflow, &start.key, start.version, start.input) };
    let shared = &attempt.shared;
    let mut patience = Patience::new(shared);
    loop {
        match shared.begin(&begin).await {
            Ok((run, _)) => return Ok(run),
            Err(RunError::Store(error)) => {
                if !patience.again(&error).await {
                    match attempt.store_failed(&error).await {}
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A run that another run started.
#[derive(Clone, Debug)]
pub struct Child {
    attempt: Arc<Attempt>,
    id: RunId,
}

impl Child {
    /// The child's id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// Waits for the child's result. Meanwhile the parent is put away, and its slot is free for others. This is a step of the
    /// parent, with the number it gets when this is called.
    ///
    /// A child that fails or is cancelled is an error of this step; one that is blocked is waited for.
    pub fn result<T: DeserializeOwned + Send + 'static>(&self) -> WaitCall<T> {
        let call = self.attempt.call(Kind::Wait, self.id.as_str());
        WaitCall::run(Parts::new(&self.attempt, call), &self.id)
    }
}
