//! A chain of fallbacks as a value, for several calls.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use stormproof_core::fallback::Kind as Told;

use super::failure::IntoCause;
use crate::error::Error;

/// A fallback under way.
pub(super) type Running<T, E> = Pin<Box<dyn Future<Output = Result<T, Cause<E>>> + Send>>;

/// Why it did not answer.
pub(super) enum Cause<E> {
    Own(E),
    OfCall(Error<E>),
}

impl<E> IntoCause<E> for Cause<E> {
    fn into_cause(self, elapsed: Duration) -> Error<E> {
        match self {
            Self::Own(error) => error.into_cause(elapsed),
            Self::OfCall(error) => error,
        }
    }
}

type Make<T, E> = dyn Fn(&Error<E>) -> Running<T, E> + Send + Sync;
type Wants<E> = dyn Fn(&Error<E>) -> bool + Send + Sync;

/// What takes the place of failed answers, for any number of calls. Cheap to clone; allocates only when it is used.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stormproof::{Fallback, Policy};
///
/// let secondary = Fallback::with(|_cause| async { Err("down, too") });
/// let fallback = Fallback::chain([secondary, Fallback::value("Sorry, not now.")]);
///
/// let policy = Policy::builder("chat").build()?;
/// let answer = policy.call(|_| async { Err("down") }).fallback_shared(&fallback).await;
/// assert_eq!(answer, Ok("Sorry, not now."));
/// # Ok(())
/// # }
/// ```
pub struct Fallback<T, E> {
    steps: Arc<[Step<T, E>]>,
}

/// One fallback of a chain.
pub(super) struct Step<T, E> {
    source: Told,
    make: Arc<Make<T, E>>,
    wants: Option<Arc<Wants<E>>>,
}

impl<T: 'static, E: 'static> Fallback<T, E> {
    /// A value.
    pub fn value(value: T) -> Self
    where
        T: Clone + Send + Sync,
        E: Send,
    {
        Self::of(Told::Value, move |_| Box::pin(ready(Ok(value.clone()))))
    }

    /// A function of the call's failure.
    pub fn with<F, Fut>(other: F) -> Self
    where
        F: Fn(&Error<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        Self::of(Told::Function, move |cause| {
            let other = other(cause);
            Box::pin(async move { other.await.map_err(Cause::Own) })
        })
    }

    /// A call through another policy.
    pub fn to<F, Fut>(other: F) -> Self
    where
        F: Fn(&Error<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Error<E>>> + Send + 'static,
    {
        Self::of(Told::Function, move |cause| {
            let other = other(cause);
            Box::pin(async move { other.await.map_err(Cause::OfCall) })
        })
    }

    fn of(source: Told, make: impl Fn(&Error<E>) -> Running<T, E> + Send + Sync + 'static) -> Self {
        Self { steps: Arc::new([Step { source, make: Arc::new(make), wants: None }]) }
    }
}

impl<T, E> Fallback<T, E> {
    /// Several, tried in this order until one answers.
    pub fn chain(fallbacks: impl IntoIterator<Item = Self>) -> Self {
        let steps = fallbacks.into_iter().flat_map(|fallback| fallback.steps.to_vec());
        Self { steps: steps.collect() }
    }

    /// This one, then `next`.
    #[must_use]
    pub fn or(self, next: Self) -> Self {
        Self::chain([self, next])
    }

    /// Used only for failures of the call for which `wants` is true; for others it is passed over. Default: all. Holds
    /// for those of a chain that have no condition of their own.
    #[must_use]
    pub fn when(self, wants: impl Fn(&Error<E>) -> bool + Send + Sync + 'static) -> Self {
        let wants: Arc<Wants<E>> = Arc::new(wants);
        let limit = |step: &Step<T, E>| Step { wants: step.wants.clone().or(Some(wants.clone())), ..step.clone() };
        Self { steps: self.steps.iter().map(limit).collect() }
    }

    pub(super) fn step(&self, at: usize) -> Option<&Step<T, E>> {
        self.steps.get(at)
    }
}

impl<T, E> Step<T, E> {
    pub(super) fn source(&self) -> Told {
        self.source
    }

    pub(super) fn wants(&self, cause: &Error<E>) -> bool {
        self.wants.as_ref().is_none_or(|wants| wants(cause))
    }

    pub(super) fn start(&self, cause: &Error<E>) -> Running<T, E> {
        (self.make)(cause)
    }
}

impl<T, E> Clone for Fallback<T, E> {
    fn clone(&self) -> Self {
        Self { steps: self.steps.clone() }
    }
}

impl<T, E> Clone for Step<T, E> {
    fn clone(&self) -> Self {
        Self { source: self.source, make: self.make.clone(), wants: self.wants.clone() }
    }
}

impl<T, E> fmt::Debug for Fallback<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|step| step.source)).finish()
    }
}
