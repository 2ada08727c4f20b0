//! Effects: intent first, and a probe that decides.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stormproof::Policy;

use crate::failed::Failed;
use crate::op::Op;

/// What is known of an effect of which it is not recorded whether it happened.
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
    parts: Option<(P, F)>,
    result: PhantomData<(&'a (), fn() -> T)>,
}

impl<T, P, F> EffectCall<'_, T, P, F> {
    /// What the effect is called with; see [`StepCall::input`](crate::StepCall::input).
    pub fn input(self, input: &(impl Serialize + ?Sized)) -> Self {
        todo!()
    }

    /// Calls the operation through a policy. Before each retry the probe is asked. A policy that hedges is refused: it would
    /// run the effect twice at the same time.
    pub fn policy(self, policy: &Policy) -> Self {
        todo!()
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

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}

/// The operation is moved, never pinned.
impl<T, P, F> Unpin for EffectCall<'_, T, P, F> {}
