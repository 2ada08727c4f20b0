//! What an attempt knows of its steps, and what it writes of them.

use std::convert::Infallible;
use std::sync::atomic::Ordering;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Attempt, Interruption};
use crate::error::StoreError;
use crate::failed::Failed;
use crate::operation::Why;
use crate::own_task;
use crate::patience::insist;
use crate::replay::{self, Call};
use crate::run::{Failure, Kind, Progress, Step};
use crate::store::{Keep as _, Written};
use crate::telling::count;
use crate::value::{Unfit, type_name};

impl Attempt {
    /// What is recorded of a step, if anything is.
    pub(crate) async fn recall(&self, call: &Call) -> Option<Step> {
        if let Err(why) = &call.fp {
            let message = format!("the input of {} cannot be written as JSON: {why}", call.title());
            match self.block(call.seq, "unencodable", message).await {}
        }
        if let Err(message) = call.check_name() {
            match self.block(call.seq, "invalid_name", message).await {}
        }
        let most = self.shared.settings.max_steps;
        if call.seq > most {
            let message = format!(
                "{} is one too many: a run has at most {most} (max_steps); put parts of it into runs of their own",
                call.title()
            );
            match self.block(call.seq, "too_many_steps", message).await {}
        }
        if let Some(outer) = call.within {
            let message = format!(
                "{} is called by the operation of step {outer}, which does not run when it is replayed: call it beside that",
                call.title()
            );
            match self.block(call.seq, "nested_step", message).await {}
        }
        let (recorded, again) = {
            let mut state = self.lock();
            (state.recorded.remove(&call.seq)?, state.again.filter(|again| *again < call.seq))
        };
        if let Err(message) = replay::compare(&recorded, call, again) {
            match self.block(call.seq, "diverged", message).await {}
        }
        self.note(&recorded);
        Some(recorded)
    }

    /// The result of a step that is recorded as done or failed; `None` if it has only begun.
    pub(crate) async fn replay<T: DeserializeOwned>(&self, call: &Call, recorded: &Step) -> Option<Result<T, Failed>> {
        let value = recorded.value.as_deref().unwrap_or("null");
        match recorded.state {
            Progress::Begun => None,
            Progress::Done => {
                count(&self.shared.counters.replayed);
                match serde_json::from_str(value) {
                    Ok(value) => Some(Ok(value)),
                    Err(error) => match self.undecodable::<T>(call, &error).await {},
                }
            }
            Progress::Failed => {
                count(&self.shared.counters.replayed);
                match serde_json::from_str::<Failure>(value) {
                    Ok(failure) => Some(Err(Failed::from_failure(failure).of_step(call.seq))),
                    Err(error) => match self.undecodable::<Failure>(call, &error).await {},
                }
            }
        }
    }

    async fn undecodable<T>(&self, call: &Call, error: &serde_json::Error) -> Infallible {
        let message = format!("the recorded value of {} is no {}: {error}", call.title(), type_name::<T>());
        self.block(call.seq, "undecodable", message).await
    }

    /// Blocks the run for a value of a step that cannot be kept.
    pub(crate) async fn unfit(&self, call: &Call, Unfit { kind, why }: Unfit) -> Infallible {
        self.block(call.seq, kind, format!("the value of {} {why}", call.title())).await
    }

    /// Writes how a step ended, and gives it.
    pub(crate) async fn settle<T>(&self, call: &Call, result: Result<T, Why>) -> Result<T, Failed>
    where
        T: Serialize + DeserializeOwned,
    {
        match result {
            Ok(value) => {
                let kept = self.shared.keep(&value);
                let json = match kept {
                    Ok(json) => json,
                    Err(unfit) => match self.unfit(call, unfit).await {},
                };
                self.write(&self.step(call, Progress::Done, Some(json))).await;
                Ok(value)
            }
            Err(Why::Failed(failed) | Why::GaveUp(failed)) => Err(self.settle_failed(call, failed).await),
            Err(Why::Refused(why)) => {
                let title = call.title();
                let message = format!("whether {title} happened is not known, and its probe refuses to guess: {why}");
                match self.block(call.seq, "refused", message).await {}
            }
            Err(Why::Unprobed(failed)) => {
                let message = format!("the probe of {} failed: {}", call.title(), failed.message());
                let failure = Failure { kind: "probe_failed".into(), message, keep: false, seq: Some(call.seq) };
                match self.stop(Interruption::Again(failure)).await {}
            }
            Err(Why::Unsure) => match self.stop(Interruption::Fenced).await {},
        }
    }

    /// Writes that a step failed, and gives its error.
    pub(crate) async fn settle_failed(&self, call: &Call, failed: Failed) -> Failed {
        let failed = failed.of_step(call.seq);
        self.write(&self.step(call, Progress::Failed, Some(failed.as_failure().to_json()))).await;
        failed
    }

    /// Writes a step, asking until the store answers.
    pub(crate) async fn write(&self, step: &Step) {
        let others = self.has_others();
        let written = insist!(&self.shared, own_task::part(others, self.shared.store.record(&self.fence, step)));
        self.written(written).await;
        self.note(step);
        if step.state == Progress::Done {
            self.progress();
        }
    }

    /// Keeps in mind which effects have begun and have no result.
    fn note(&self, step: &Step) {
        if step.kind == Kind::Effect {
            let mut state = self.lock();
            match step.state {
                Progress::Begun => state.open.insert(step.seq),
                Progress::Done | Progress::Failed => state.open.remove(&step.seq),
            };
        }
    }

    /// A step is done: the attempts before this one count no more.
    pub(crate) fn progress(&self) {
        self.progressed.store(true, Ordering::Relaxed);
    }

    /// Goes on if a write stands.
    pub(crate) async fn written(&self, written: Result<Written, StoreError>) {
        match written {
            Ok(Written::Done | Written::Already) => {
                count(&self.shared.counters.written);
            }
            Ok(Written::Fenced) => match self.stop(Interruption::Fenced).await {},
            Err(error) => match self.store_failed(&error).await {},
        }
    }

    /// The store refuses for good: another attempt may have more luck.
    pub(crate) async fn store_failed(&self, error: &StoreError) -> Infallible {
        self.stop(Interruption::Again(Failure {
            kind: "store".into(),
            message: error.to_string(),
            ..Failure::default()
        }))
        .await
    }

    /// A step as it is written now.
    pub(crate) fn step(&self, call: &Call, state: Progress, value: Option<Box<str>>) -> Step {
        Step {
            seq: call.seq,
            name: call.name.as_ref().into(),
            fp: call.fp.clone().unwrap_or_default(),
            kind: call.kind,
            state,
            value,
            epoch: self.fence.epoch,
            attempt_id: format!("{:016x}", self.shared.rng.next_u64()),
        }
    }
}
