//! What answers in place of a call that failed: another value, another function, an earlier answer.
//!
//! Owns the chain of fallbacks as a value. [`Calling`](crate::Calling) attaches one to a call; when one is due is decided
//! in [`stormproof_core::fallback`].

mod chain;
mod falling;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::sync::Arc;

pub use stormproof_core::fallback::{Kind, Used};

use crate::call::error::Error;

pub(crate) use chain::{Chain, Given};
pub(crate) use falling::Falling;
#[cfg(feature = "cache")]
pub(crate) use falling::kind;

type Make<T, E> = dyn Fn(&Error<E>) -> Given<'static, T, E> + Send + Sync;
type Wants<E> = dyn Fn(&Error<E>) -> bool + Send + Sync;

/// A chain of fallbacks for any number of calls. Cheap to clone; allocates only when it is used.
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
    steps: Arc<[SharedStep<T, E>]>,
}

/// One fallback of a chain that calls share.
pub(crate) struct SharedStep<T, E> {
    kind: Kind,
    make: Arc<Make<T, E>>,
    wants: Option<Arc<Wants<E>>>,
}

impl<T: 'static, E: 'static> Fallback<T, E> {
    /// A value.
    pub fn value(value: T) -> Self
    where
        T: Clone + Send + Sync,
    {
        Self::of(Kind::Value, move |_| Given::now(Ok(value.clone())))
    }

    /// A function of the call's failure.
    pub fn with<F, Fut>(other: F) -> Self
    where
        F: Fn(&Error<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        Self::of(Kind::Function, move |cause| Given::later(other(cause)))
    }

    /// A function of the call's failure that does not wait.
    pub fn with_sync<F>(other: F) -> Self
    where
        F: Fn(&Error<E>) -> Result<T, E> + Send + Sync + 'static,
    {
        Self::of(Kind::Function, move |cause| Given::now(other(cause)))
    }

    /// A call through another policy.
    pub fn to<F, Call>(other: F) -> Self
    where
        F: Fn(&Error<E>) -> Call + Send + Sync + 'static,
        Call: IntoFuture<Output = Result<T, Error<E>>>,
        Call::IntoFuture: Send + 'static,
    {
        Self::of(Kind::Function, move |cause| Given::call(other(cause)))
    }

    fn of(kind: Kind, make: impl Fn(&Error<E>) -> Given<'static, T, E> + Send + Sync + 'static) -> Self {
        Self { steps: Arc::new([SharedStep { kind, make: Arc::new(make), wants: None }]) }
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

    /// Used only for failures of the call for which `wants` is true; for others it is skipped. Default: all. Holds for
    /// those of a chain that have no condition of their own.
    #[must_use]
    pub fn when(self, wants: impl Fn(&Error<E>) -> bool + Send + Sync + 'static) -> Self {
        let wants: Arc<Wants<E>> = Arc::new(wants);
        let limit =
            |step: &SharedStep<T, E>| SharedStep { wants: step.wants.clone().or(Some(wants.clone())), ..step.clone() };
        Self { steps: self.steps.iter().map(limit).collect() }
    }
}

impl<T, E> Clone for Fallback<T, E> {
    fn clone(&self) -> Self {
        Self { steps: self.steps.clone() }
    }
}

impl<T, E> Clone for SharedStep<T, E> {
    fn clone(&self) -> Self {
        Self { kind: self.kind, make: self.make.clone(), wants: self.wants.clone() }
    }
}

impl<T, E> fmt::Debug for Fallback<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|step| step.kind)).finish()
    }
}
