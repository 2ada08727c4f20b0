//! Effects: intent first, and a probe that decides.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stormproof::Policy;
use stormproof::journal::Told;

use crate::attempt::{Attempt, Interruption};
use crate::failed::Failed;
use crate::judged::{Classifier, Judge, Judged};
use crate::op::Op;
use crate::replay::Call;
use crate::run::{Failure, Progress};
use crate::step::{Parts, Said, StepCall};
use crate::telling::count;

/// What is known of an effect of which it is not recorded whether it happened.
///
/// An effect that cannot be looked up has a probe that always refuses:
///
/// ```
/// use stormproof_journal::{Ctx, Failed, Op, Probe};
///
/// async fn unknowable<T>(_: Op) -> Result<Probe<T>, Failed> {
///     Ok(Probe::Refuse("the bank cannot be asked for single payments".into()))
/// }
///
/// async fn pay(cx: Ctx) -> Result<u32, Failed> {
///     cx.effect("pay", unknowable, |_| async { Ok::<_, Failed>(1) }).await
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe<T> {
    /// It happened, with this value: recorded, and not run again.
    Done(T),
    /// It did not happen and will not happen any more: it runs again.
    Rerun,
    /// That cannot be known: the run is blocked until an operator decides. The text says why.
    Refuse(String),
}

impl<T> From<Option<T>> for Probe<T> {
    /// What was looked up: there, hence done; not there, hence to be run.
    fn from(found: Option<T>) -> Self {
        found.map_or(Self::Rerun, Self::Done)
    }
}

/// An effect that `run` carries out and `probe` looks up.
pub(crate) fn effect<T, E, P, PFut, PE, F, Fut>(
    parts: Parts,
    probe: P,
    run: F,
) -> StepCall<T, E, impl Future<Output = Result<T, Failed>> + Send + use<T, E, P, PFut, PE, F, Fut>>
where
    P: Fn(Op) -> PFut + Send + Sync,
    PFut: Future<Output = Result<Probe<T>, PE>> + Send,
    PE: Into<Failed> + Send,
    F: Fn(Op) -> Fut + Send + Sync,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Serialize + DeserializeOwned + Send,
    E: Into<Failed> + Send,
{
    let (said, heard) = Said::new(parts);
    let under_way = async move {
        let (parts, classifier) = heard.take().await;
        perform(parts, classifier, probe, run).await
    };
    StepCall::new(said, under_way)
}

async fn perform<T, E, P, PFut, PE, F, Fut>(
    parts: Parts,
    classifier: Option<Classifier<T, E>>,
    probe: P,
    run: F,
) -> Result<T, Failed>
where
    P: Fn(Op) -> PFut + Send + Sync,
    PFut: Future<Output = Result<Probe<T>, PE>> + Send,
    PE: Into<Failed> + Send,
    F: Fn(Op) -> Fut + Send + Sync,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Serialize + DeserializeOwned + Send,
    E: Into<Failed> + Send,
{
    let Parts { attempt, call, policy } = parts;
    let _busy = attempt.busy();
    if let Some(name) = policy.as_ref().filter(|policy| policy.stages().hedge.is_some()).map(Policy::name) {
        let message = format!(
            "the policy `{name}` of {} hedges, which would run the effect twice at once: give it one without a hedge",
            call.title()
        );
        match attempt.block(call.seq, "hedged_effect", message).await {}
    }
    // Set: whether it happened is not known.
    let uncertain = AtomicBool::new(false);
    match attempt.recall(&call).await {
        Some(recorded) => match attempt.replay(&call, &recorded).await {
            Some(result) => return result,
            None => uncertain.store(true, Ordering::Relaxed),
        },
        None => attempt.write(&attempt.step(&call, Progress::Begun, None)).await,
    }
    let op = attempt.op(&call);
    // One attempt: the probe first if there was one before.
    let one = async |op: Op| -> Result<T, E> {
        if uncertain.swap(true, Ordering::Relaxed)
            && let Some(value) = ask(&attempt, &call, &probe, op.clone()).await
        {
            return Ok(value);
        }
        attempt.rely().await;
        run(op).await
    };
    let result = match &policy {
        None => one(op).await.map_err(Into::into),
        Some(policy) => {
            let judged = |error| Judged::new(classifier.as_ref(), error);
            let calling = policy.call(async |cx| {
                let op = op.attempt_of(cx.attempt(), cx.remaining(), policy.clock());
                one(op).await.map_err(judged)
            });
            calling.classify(Judge(classifier.as_ref())).await.map_err(Failed::of_policy)
        }
    };
    attempt.settle(&call, result).await
}

/// The value of an effect that happened; `None` if it may run again.
async fn ask<T, P, PFut, PE>(attempt: &Attempt, call: &Call, probe: &P, op: Op) -> Option<T>
where
    P: Fn(Op) -> PFut,
    PFut: Future<Output = Result<Probe<T>, PE>>,
    PE: Into<Failed>,
{
    count(&attempt.shared.counters.probed);
    attempt.shared.tell(|| Told::EffectUncertain {
        run: attempt.run().as_str().into(),
        step: call.seq,
        name: call.name.clone(),
    });
    match probe(op).await {
        Ok(Probe::Done(value)) => Some(value),
        Ok(Probe::Rerun) => None,
        Ok(Probe::Refuse(why)) => {
            let message =
                format!("whether {} happened is not known, and its probe refuses to guess: {why}", call.title());
            match attempt.block(call.seq, "refused", message).await {}
        }
        Err(error) => {
            let failed: Failed = error.into();
            let message = format!("the probe of {} failed: {}", call.title(), failed.message());
            let failure = Failure { kind: "probe_failed".into(), message, keep: false, seq: Some(call.seq) };
            match attempt.stop(Interruption::Again(failure)).await {}
        }
    }
}
