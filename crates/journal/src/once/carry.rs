//! The call of [`Once`]: under a lease, through a policy, with the probe before each attempt that may repeat it.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stormproof::journal::Told;
use stormproof::{Classify, Verdict};

use super::{Once, begun, failed};
use crate::effect::Probe;
use crate::error::RunError;
use crate::failed::Failed;
use crate::lease::{Live, Lost};
use crate::op::Op;
use crate::patience::insist;
use crate::run::{Failure, Progress, RunId, Step};
use crate::step::Boxed;
use crate::store::{End, Keep as _, Written};
use crate::telling::count;

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

/// What an attempt of a call with errors `E` said.
enum Said<E> {
    /// The probe cannot tell.
    Refused(String),
    /// The probe failed.
    Unknown(Failed),
    /// The call failed, and so its classifier judges that; the verdict's kind stands beside it.
    Error { error: Failed, verdict: Verdict<'static>, kind: String, of: PhantomData<fn() -> E> },
    /// The policy refused it, or gave up on it.
    GaveUp(Failed),
}

impl<E: Into<Failed>> Said<E> {
    fn error<T>(classifier: &impl Classify<T, E>, error: E) -> Self {
        let Verdict { outcome, retry, retry_after, open_for, used, kind } = classifier.classify(Err(&error));
        let kind = kind.to_owned();
        let error = error.into();
        // What is final is not tried again.
        let retry = retry.or(error.is_kept().then_some(false));
        let verdict = Verdict { outcome, retry, retry_after, open_for, used, kind: "" };
        Self::Error { error, verdict, kind, of: PhantomData }
    }
}

/// What the policy is told of an attempt. What the probe says is no word of the callee, and ends the attempts.
struct Judge<'a, C>(&'a C);

impl<T, E, C: Classify<T, E>> Classify<T, Said<E>> for Judge<'_, C> {
    fn classify<'a>(&self, result: Result<&'a T, &'a Said<E>>) -> Verdict<'a> {
        match result {
            Ok(value) => self.0.classify(Ok(value)),
            Err(Said::Error { verdict, kind, .. }) => Verdict { kind, ..*verdict },
            Err(_) => Verdict::ignored("probe"),
        }
    }
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
        E: Into<Failed> + Send,
        T: Serialize + DeserializeOwned + Send,
        C: Classify<T, E> + Send + Sync,
    {
        let open = matches!(known, Known::Open);
        match known {
            Known::New | Known::Open => {}
            Known::Undone => self.begin().await?,
            Known::Done(value) => {
                let answer = serde_json::from_str(&value).map_err(|error| RunError::Value {
                    run: self.run().clone(),
                    what: "the result that an operator gave".into(),
                    why: error.to_string().into(),
                });
                self.end(None, &End::Ok(value)).await?;
                return answer;
            }
        }
        let said = tokio::select! {
            biased;
            lost = self.live.lost() => return Err(self.lost(lost).await),
            said = self.attempts(open, &probe, &call) => said,
        };
        self.record(said).await
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

    /// The attempts that the policy makes of it; one without a policy.
    async fn attempts<T, E, P, PFut, PE, F, Fut>(&self, open: bool, probe: &P, call: &F) -> Result<T, Said<E>>
    where
        P: Fn(Op) -> PFut + Send + Sync,
        PFut: Future<Output = Result<Probe<T>, PE>> + Send,
        PE: Into<Failed> + Send,
        F: Fn(Op) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        E: Into<Failed> + Send,
        T: Send,
        C: Classify<T, E> + Send + Sync,
    {
        let fence = self.live.fence();
        let op = Op::new(&fence.run, 1, &self.once.name, fence.epoch);
        let open = AtomicBool::new(open);
        let Some(policy) = &self.once.policy else { return self.attempt(&open, probe, call, op).await };
        let made = policy.call(|cx| {
            let op = op.attempt_of(cx.attempt(), cx.remaining(), policy.clock());
            self.attempt(&open, probe, call, op)
        });
        match made.classify(Judge(&self.once.classifier)).await {
            Ok(value) => Ok(value),
            Err(stormproof::Error::Failed { error, .. }) => Err(error),
            Err(other) => {
                let other = other.map(|said| match said {
                    Said::Error { error, .. } | Said::Unknown(error) | Said::GaveUp(error) => error,
                    Said::Refused(why) => Failed::new("refused", why),
                });
                Err(Said::GaveUp(Failed::of_policy(other)))
            }
        }
    }

    /// One attempt. What was tried once, here or before, may have happened: then the probe is asked first.
    fn attempt<'a, T, E, P, PFut, PE, F, Fut>(
        &'a self,
        open: &'a AtomicBool,
        probe: &'a P,
        call: &'a F,
        op: Op,
    ) -> Boxed<'a, Result<T, Said<E>>>
    where
        P: Fn(Op) -> PFut + Send + Sync,
        PFut: Future<Output = Result<Probe<T>, PE>> + Send,
        PE: Into<Failed> + Send,
        F: Fn(Op) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        E: Into<Failed> + Send,
        T: Send,
        C: Classify<T, E> + Send + Sync,
    {
        Box::pin(async move {
            if open.swap(true, Ordering::Relaxed) {
                self.tell_uncertain();
                match probe(op.clone()).await {
                    Ok(Probe::Done(value)) => return Ok(value),
                    Ok(Probe::Rerun) => {}
                    Ok(Probe::Refuse(why)) => return Err(Said::Refused(why)),
                    Err(error) => return Err(Said::Unknown(error.into())),
                }
            }
            if !self.live.member().is_good() {
                // A process that stood still must not call out as if nothing had happened: it is told that it lost the run.
                std::future::pending::<()>().await;
            }
            call(op).await.map_err(|error| Said::error(&self.once.classifier, error))
        })
    }

    /// Records what came of it, and makes it the answer.
    async fn record<T: Serialize, E>(self, said: Result<T, Said<E>>) -> Result<T, RunError> {
        let run = self.run().clone();
        match said {
            Ok(value) => {
                let text = match self.once.journal.0.encode(&value) {
                    Ok(text) => text,
                    // The call happened: it must not be made again for want of a record.
                    Err((kind, why)) => {
                        let message = format!("the result {why}");
                        return self.block(Failure { kind: kind.into(), message, keep: false, seq: Some(1) }).await;
                    }
                };
                let step = Step {
                    state: Progress::Done,
                    value: Some(text.clone()),
                    ..begun(&self.once.journal.0, &self.once.name)
                };
                self.end(Some(step), &End::Ok(text)).await?;
                Ok(value)
            }
            Err(Said::Error { error, .. }) => {
                let mut failure = error.of_step(1).into_failure();
                failure.keep |= self.once.keep_errors;
                self.fail(failure).await
            }
            Err(Said::GaveUp(error)) => {
                let mut failure = error.of_step(1).into_failure();
                // What is cut off may happen yet, so this cannot be the answer for ever.
                failure.keep = false;
                self.fail(failure).await
            }
            Err(Said::Refused(why)) => {
                let message = format!("its probe cannot tell whether it happened: {why}");
                self.block(Failure { kind: "refused".into(), message, keep: false, seq: Some(1) }).await
            }
            Err(Said::Unknown(error)) => {
                let mut failure = error.into_failure();
                failure.message = format!("its probe failed: {}", failure.message);
                failure.keep = false;
                self.end(None, &End::Queued { after: Duration::ZERO, parked: false }).await?;
                Err(failed(&run, failure))
            }
        }
    }

    async fn fail<T>(self, failure: Failure) -> Result<T, RunError> {
        let run = self.run().clone();
        let text = serde_json::to_string(&failure).unwrap_or_default();
        let failed_step = Step { state: Progress::Failed, value: Some(text.into()), ..self.step() };
        self.end(Some(failed_step), &End::Err(failure.clone())).await?;
        Err(failed(&run, failure))
    }

    async fn block<T>(self, failure: Failure) -> Result<T, RunError> {
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

    fn tell_uncertain(&self) {
        let shared = &self.once.journal.0;
        count(&shared.counters.probed);
        shared.tell(|| Told::EffectUncertain {
            run: self.run().as_str().into(),
            step: 1,
            name: self.once.name.as_str().into(),
        });
    }
}
