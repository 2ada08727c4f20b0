//! Effects: intent first, and a probe that decides.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stormproof::Policy;

use crate::failed::Failed;
use crate::op::Op;
use crate::operation::{Classifier, Operation};
use crate::run::Progress;
use crate::step::{Parts, Said, StepCall};

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
    E: Into<Failed> + Send + 'static,
{
    let (said, heard) = Said::new(parts);
    let under_way = async move {
        let (parts, classifier) = heard.take().await;
        parts.while_driven(|parts| perform(parts, classifier, probe, run)).await
    };
    StepCall::new(said, under_way)
}

async fn perform<T, E, P, PFut, PE, F, Fut>(
    parts: Parts,
    classifier: Option<Arc<Classifier<'static, T, E>>>,
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
    E: Into<Failed> + Send + 'static,
{
    let Parts { attempt, call, policy, .. } = parts;
    let _busy = attempt.busy();
    if let Some(name) = policy.as_ref().filter(|policy| policy.stages().hedge.is_some()).map(Policy::name) {
        let message = format!(
            "the policy `{name}` of {} hedges, which would run the effect twice at once: give it one without a hedge",
            call.title()
        );
        match attempt.block(call.seq, "hedged_effect", message).await {}
    }
    let recorded = attempt.recall(&call).await;
    if let Some(recorded) = &recorded {
        if let Some(result) = attempt.replay(&call, recorded).await {
            return result;
        }
    } else {
        attempt.write(&attempt.step(&call, Progress::Begun, None)).await;
    }
    let operation = Operation::new(attempt.op(&call), &attempt.member, policy.as_ref(), classifier.as_ref());
    let run = |op| attempt.operating(call.seq, attempt.within(call.seq, || run(op)));
    let probe = |op| attempt.operating(call.seq, attempt.within(call.seq, || probe(op)));
    let asked = || attempt.shared.tell_uncertain(attempt.run(), call.seq, &call.name);
    let result = operation.run_as_effect(recorded.is_some(), probe, run, asked).await;
    attempt.settle(&call, result).await
}
