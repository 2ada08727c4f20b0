//! The call of [`Once`]: under a lease, through a policy, with the probe before each attempt that may repeat it.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stormproof::Classify;

use super::{Once, begun, failed};
use crate::effect::Probe;
use crate::error::RunError;
use crate::failed::Failed;
use crate::lease::{Live, Lost};
use crate::op::Op;
use crate::operation::{Operation, Why};
use crate::patience::insist;
use crate::run::{Failure, Progress, RunId, Step};
use crate::store::{End, Keep as _, Written};
use crate::value::{Unfit, type_name};

/// What is known of the effect of a run that this process has.
#[derive(Debug)]
pub(super) enum Known {
    /// It is new, and that it begins is recorded.
    New,
    /// It did not happen: an operator, or the call itself, said so.
    Undone,
    /// It began, and nobody knows what became of it.
    Open,
    /// It happened, with this value: an operator said so.
    Done(Box<str>),
}

/// A call under way.
pub(super) struct Carry<'a, C> {
    pub(super) once: &'a Once<'a, C>,
    pub(super) live: Live,
}

impl<C> Carry<'_, C> {
    /// Makes the call, or finds out what became of it, and records that.
    pub(super) async fn out<T, E, P, PFut, PE, F, Fut>(self, known: Known, probe: P, call: F) -> Result<T, RunError>
    where
        P: Fn(Op) -> PFut + Send + Sync,
        PFut: Future<Output = Result<Probe<T>, PE>> + Send,
        PE: Into<Failed> + Send,
        F: Fn(Op) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        E: Into<Failed> + Send + 'static,
        T: Serialize + DeserializeOwned + Send,
        C: Classify<T, E> + Send + Sync,
    {
        let open = matches!(known, Known::Open);
        match known {
            Known::New | Known::Open => {}
            Known::Undone => self.begin().await?,
            Known::Done(value) => match serde_json::from_str(&value) {
                Ok(answer) => return self.end(None, &End::Ok(value)).await.map(|()| answer),
                // Once it is the answer, it cannot be corrected.
                Err(error) => {
                    let message = format!("the result that an operator gave is no {}: {error}", type_name::<T>());
                    return self.block("undecodable", message).await;
                }
            },
        }
        let Once { journal, name, policy, classifier, .. } = self.once;
        let fence = self.live.fence();
        let op = Op::new(&fence.run, 1, name, fence.epoch);
        let operation = Operation { op, member: self.live.member(), policy: policy.as_ref(), classifier };
        let asked = || journal.0.tell_uncertain(&fence.run, 1, name);
        let result = tokio::select! {
            biased;
            lost = self.live.lost() => return Err(self.lost(lost).await),
            result = operation.run_as_effect(open, probe, call, asked) => result,
        };
        self.record(result).await
    }

    fn run(&self) -> &RunId {
        &self.live.fence().run
    }

    fn step(&self) -> Step {
        begun(&self.once.journal.0, &self.once.name)
    }

    /// Records that the call begins, in this epoch.
    async fn begin(&self) -> Result<(), RunError> {
        let shared = &self.once.journal.0;
        let step = self.step();
        let write = async { insist!(shared, shared.store.record(self.live.fence(), &step)) };
        let written = tokio::select! {
            biased;
            lost = self.live.lost() => return Err(self.lost(lost).await),
            written = write => written?,
        };
        if written == Written::Fenced { Err(self.lost(Lost::Fenced).await) } else { Ok(()) }
    }

    /// Records what came of it, and makes it the answer.
    async fn record<T>(self, result: Result<T, Why>) -> Result<T, RunError>
    where
        T: Serialize + DeserializeOwned,
    {
        let run = self.run().clone();
        match result {
            Ok(value) => {
                let text = match self.once.journal.0.keep(&value) {
                    Ok(text) => text,
                    // The call happened: it must not be made again for want of a record.
                    Err(Unfit { kind, why }) => return self.block(kind, format!("the result {why}")).await,
                };
                let step = Step { state: Progress::Done, value: Some(text.clone()), ..self.step() };
                self.end(Some(step), &End::Ok(text)).await?;
                Ok(value)
            }
            Err(Why::Failed(error)) => {
                let mut failure = error.of_step(1).into_failure();
                failure.keep |= self.once.keep_errors;
                self.fail(failure).await
            }
            // What is cut off may happen yet, so this cannot be the answer for ever.
            Err(Why::GaveUp(error)) => self.fail(Failure { keep: false, ..error.of_step(1).into_failure() }).await,
            Err(Why::Refused(why)) => {
                self.block("refused", format!("its probe cannot tell whether it happened: {why}")).await
            }
            Err(Why::Unprobed(error)) => {
                let message = format!("its probe failed: {}", error.message());
                let failure = Failure { message, keep: false, ..error.into_failure() };
                self.end(None, &End::Again { after: Duration::ZERO, why: failure.clone() }).await?;
                Err(failed(&run, failure))
            }
            Err(Why::Unsure) => Err(self.lost(Lost::Lease).await),
        }
    }

    async fn fail<T>(self, failure: Failure) -> Result<T, RunError> {
        let run = self.run().clone();
        let failed_step = Step { state: Progress::Failed, value: Some(failure.to_json()), ..self.step() };
        self.end(Some(failed_step), &End::Err(failure.clone())).await?;
        Err(failed(&run, failure))
    }

    async fn block<T>(self, kind: &str, message: String) -> Result<T, RunError> {
        let failure = Failure { kind: kind.into(), message, keep: false, seq: Some(1) };
        let (shared, run) = (self.once.journal.0.clone(), self.run().clone());
        self.end(None, &End::Blocked(failure.clone())).await?;
        shared.tell_blocked(&run, &failure);
        Err(RunError::Blocked { run, why: failure.message.into() })
    }

    /// Writes how the run is left.
    async fn end(self, last: Option<Step>, end: &End) -> Result<(), RunError> {
        let error = match self.live.finish_with(last.as_ref(), end).await {
            Ok(Written::Fenced) => Some(self.lost(Lost::Fenced).await),
            Ok(_) => None,
            Err(why) => return Err(self.lost(why).await),
        };
        self.live.ended();
        error.map_or(Ok(()), Err)
    }

    async fn lost(&self, why: Lost) -> RunError {
        let run = self.run().clone();
        if self.once.journal.0.why_lost(&run, why).await == Lost::Cancelled {
            RunError::Cancelled { run }
        } else {
            RunError::Fenced { run }
        }
    }
}
