//! Effects: intent first, and a probe that decides.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stormproof::Policy;
use stormproof::journal::Told;

use crate::attempt::{Attempt, Interruption};
use crate::failed::Failed;
use crate::op::Op;
use crate::replay::Call;
use crate::run::{Failure, Progress};
use crate::step::{Boxed, Parts};
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

/// An effect, as a future. Made by [`Ctx::effect`](crate::Ctx::effect).
#[must_use = "an effect does nothing until it is awaited"]
pub struct EffectCall<'a, T, P, F> {
    parts: Option<(Parts, P, F)>,
    under_way: Option<Boxed<'a, Result<T, Failed>>>,
    result: PhantomData<fn() -> T>,
}

/// The operation is moved, never pinned.
impl<T, P, F> Unpin for EffectCall<'_, T, P, F> {}

impl<T, P, F> EffectCall<'_, T, P, F> {
    pub(crate) fn new(parts: Parts, probe: P, run: F) -> Self {
        Self { parts: Some((parts, probe, run)), under_way: None, result: PhantomData }
    }

    /// What the effect is called with; see [`StepCall::input`](crate::StepCall::input).
    pub fn input(mut self, input: &(impl Serialize + ?Sized)) -> Self {
        if let Some((parts, ..)) = &mut self.parts {
            parts.set_input(input);
        }
        self
    }

    /// Calls the operation through a policy. Before each retry the probe is asked. A policy that hedges blocks the run: it
    /// would run the effect twice at the same time.
    pub fn policy(mut self, policy: &Policy) -> Self {
        if let Some((parts, ..)) = &mut self.parts {
            parts.policy = Some(policy.clone());
        }
        self
    }
}

impl<'a, T, E, P, PFut, PE, F, Fut> Future for EffectCall<'a, T, P, F>
where
    P: Fn(Op) -> PFut + Send + Sync + 'a,
    PFut: Future<Output = Result<Probe<T>, PE>> + Send + 'a,
    PE: Into<Failed> + Send + 'a,
    F: Fn(Op) -> Fut + Send + Sync + 'a,
    Fut: Future<Output = Result<T, E>> + Send + 'a,
    T: Serialize + DeserializeOwned + Send + 'a,
    E: Into<Failed> + Send + 'a,
{
    type Output = Result<T, Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some((parts, probe, run)) = self.parts.take() {
            self.under_way = Some(Box::pin(perform(parts, probe, run)));
        }
        match &mut self.under_way {
            Some(under_way) => under_way.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

async fn perform<T, E, P, PFut, PE, F, Fut>(parts: Parts, probe: P, run: F) -> Result<T, Failed>
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
    let one = async |op: Op| -> Result<T, Failed> {
        if uncertain.swap(true, Ordering::Relaxed)
            && let Some(value) = ask(&attempt, &call, &probe, op.clone()).await
        {
            return Ok(value);
        }
        attempt.rely().await;
        run(op).await.map_err(Into::into)
    };
    let result = match &policy {
        None => one(op).await,
        Some(policy) => {
            let calling = policy.call(|cx| one(op.attempt_of(cx.attempt(), cx.remaining(), policy.clock())));
            calling.await.map_err(Failed::of_policy)
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
