//! The fallbacks of one call, as a value.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use stormproof_core::fallback::Kind;

use super::{Fallback, SharedStep};
use crate::call::error::Error;

/// What a fallback gives.
pub(crate) enum Given<'p, T, E> {
    /// It did not wait.
    Now(Result<T, Cause<E>>),
    /// It is under way.
    Later(Running<'p, T, E>),
}

/// A fallback under way.
pub(crate) type Running<'p, T, E> = Pin<Box<dyn Future<Output = Result<T, Cause<E>>> + Send + 'p>>;

/// Why a fallback did not answer.
pub(crate) enum Cause<E> {
    /// An error of its own.
    Own(E),
    /// The error of a call through another policy.
    OfCall(Error<E>),
}

impl<'p, T, E> Given<'p, T, E> {
    pub(crate) fn now(result: Result<T, E>) -> Self {
        Self::Now(result.map_err(Cause::Own))
    }

    pub(crate) fn later(other: impl Future<Output = Result<T, E>> + Send + 'p) -> Self {
        Self::Later(Box::pin(async { other.await.map_err(Cause::Own) }))
    }

    pub(crate) fn call<Call>(call: Call) -> Self
    where
        Call: IntoFuture<Output = Result<T, Error<E>>>,
        Call::IntoFuture: Send + 'p,
    {
        let call = call.into_future();
        Self::Later(Box::pin(async { call.await.map_err(Cause::OfCall) }))
    }
}

type Make<'p, T, E> = dyn FnOnce(&Error<E>) -> Given<'p, T, E> + Send + 'p;

/// Whether a failure is one for the fallbacks.
pub(crate) type Wants<'p, E> = dyn Fn(&Error<E>) -> bool + Send + 'p;

/// One fallback, or a condition for all of them.
pub(crate) enum Step<'p, T, E> {
    Value(T),
    Function(Box<Make<'p, T, E>>),
    Shared(SharedStep<T, E>),
    /// What the call's cache has kept.
    #[cfg_attr(not(feature = "cache"), expect(dead_code, reason = "it is a cache that makes it"))]
    Kept,
    /// The chain is for these failures only.
    Only(Box<Wants<'p, E>>),
}

impl<T, E> Step<'_, T, E> {
    /// The kind that is told of it.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Value(_) => Kind::Value,
            Self::Function(_) | Self::Only(_) => Kind::Function,
            Self::Shared(step) => step.kind,
            Self::Kept => Kind::Cache,
        }
    }
}

/// The fallbacks of one call, in their order. To attach one that other calls use too allocates nothing.
#[derive(Default)]
pub(crate) enum Chain<'p, T, E> {
    #[default]
    Empty,
    Shared(Fallback<T, E>),
    Own(Vec<Step<'p, T, E>>),
}

impl<'p, T, E> Chain<'p, T, E> {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(crate) fn value(&mut self, value: T) {
        self.push(Step::Value(value));
    }

    pub(crate) fn function(&mut self, make: impl FnOnce(&Error<E>) -> Given<'p, T, E> + Send + 'p) {
        self.push(Step::Function(Box::new(make)));
    }

    pub(crate) fn only(&mut self, wants: impl Fn(&Error<E>) -> bool + Send + 'p) {
        self.push(Step::Only(Box::new(wants)));
    }

    #[cfg(feature = "cache")]
    pub(crate) fn kept(&mut self) {
        self.push(Step::Kept);
    }

    pub(crate) fn shared(&mut self, fallback: &Fallback<T, E>) {
        if self.is_empty() {
            *self = Self::Shared(fallback.clone());
        } else {
            fallback.steps.iter().for_each(|step| self.push(Step::Shared(step.clone())));
        }
    }

    /// The chain as steps, if it is meant for this failure.
    pub(super) fn steps_for(self, cause: &Error<E>) -> Option<Vec<Step<'p, T, E>>> {
        let steps = self.into_steps();
        let wanted = steps.iter().all(|step| if let Step::Only(wants) = step { wants(cause) } else { true });
        wanted.then_some(steps).filter(|steps| !steps.is_empty())
    }

    fn push(&mut self, step: Step<'p, T, E>) {
        let mut steps = std::mem::take(self).into_steps();
        steps.push(step);
        *self = Self::Own(steps);
    }

    fn into_steps(self) -> Vec<Step<'p, T, E>> {
        match self {
            Self::Empty => Vec::new(),
            Self::Shared(fallback) => fallback.steps.iter().cloned().map(Step::Shared).collect(),
            Self::Own(steps) => steps,
        }
    }
}
