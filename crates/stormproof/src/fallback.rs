//! What a caller gets when a call fails: another value, another function, an earlier answer.
//!
//! Owns how fallbacks are attached to a call and run. When one is due is decided in [`stormproof_core::fallback`].

mod alternatives;
mod failure;
mod fallible;
mod served;
mod shared;
mod sync;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::call::{Calling, Cx};
use crate::classify::Classify;
use crate::error::Error;

use alternatives::Alternatives;
pub use alternatives::{Kept, Nothing, Now, Shared, Then, Value, With};
use failure::Failure;
pub use fallible::{Awaited, Fallible};
pub use served::{Served, Source};
pub use shared::Fallback;
pub use stormproof_core::fallback::{Kind, Used};

/// What a call with fallbacks gives.
pub type Answer<Call> = Result<Served<<Call as Fallible>::Value>, Error<<Call as Fallible>::Error>>;

/// A chain with one fallback more.
pub type Next<Call, Chain, A, W> = WithFallback<Call, Then<Chain, A>, W, <Call as Fallible>::Error>;

/// Any failure is followed by the fallbacks: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Always;

/// Failures that a closure picks, see [`WithFallback::fallback_when`].
#[derive(Clone, Copy, Debug)]
pub struct ByCause<P>(P);

/// Which failures are followed by the fallbacks.
pub trait When<E> {
    /// Whether this one is.
    fn wants(&self, cause: &Error<E>) -> bool;
}

impl<E> When<E> for Always {
    fn wants(&self, _: &Error<E>) -> bool {
        true
    }
}

impl<E, P: Fn(&Error<E>) -> bool> When<E> for ByCause<P> {
    fn wants(&self, cause: &Error<E>) -> bool {
        (self.0)(cause)
    }
}

pin_project! {
    /// A call with fallbacks, as a future of the plain answer. Made by [`Calling::fallback`] and its like.
    ///
    /// Fallbacks stand outside everything else: a deadline of the policy that runs out leads to them, too. Once the
    /// deadline of a call *around* this one is over they are skipped. Dropping the future calls nothing.
    ///
    /// If fallbacks were tried and all failed the error is [`Error::AllFailed`]; if there was none to try, it is that of
    /// the call.
    #[must_use = "a call does nothing until it is awaited"]
    pub struct WithFallback<Call, Chain, W, E> {
        #[pin]
        call: Call,
        #[pin]
        chain: Chain,
        when: W,
        failure: Option<Failure<E>>,
    }
}

impl<'p, F, Fut, T, E, C> Calling<'p, F, Fut, C>
where
    F: FnMut(Cx<'p>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    /// Answers with `value` if the call fails.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let policy = stormproof::Policy::builder("chat").build()?;
    /// let answer = policy.call(|_| async { Err::<&str, _>("down") }).fallback("Sorry, not now.").await;
    /// assert_eq!(answer, Ok("Sorry, not now."));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fallback(self, value: T) -> Next<Self, Nothing, Value<T>, Always> {
        WithFallback::new(self, Nothing).fallback(value)
    }

    /// Answers with the result of a function of the failure, if the call fails.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let policy = stormproof::Policy::builder("chat").build()?;
    /// let answer = policy
    ///     .call(|_| async { Err("down") })
    ///     .fallback_with(|cause| {
    ///         let text = format!("no answer: {cause}");
    ///         async move { Ok(text) }
    ///     });
    /// assert_eq!(answer.await.unwrap(), "no answer: down (no_retry, attempts: 1)");
    /// # Ok(())
    /// # }
    /// ```
    pub fn fallback_with<G, Other>(self, other: G) -> Next<Self, Nothing, With<G, Other>, Always>
    where
        G: FnOnce(&Error<E>) -> Other,
        Other: Future<Output = Result<T, E>>,
    {
        WithFallback::new(self, Nothing).fallback_with(other)
    }

    /// Answers with the result of a function of the failure that does not wait, if the call fails.
    pub fn fallback_sync<G>(self, other: G) -> Next<Self, Nothing, Now<G>, Always>
    where
        G: FnOnce(&Error<E>) -> Result<T, E>,
    {
        WithFallback::new(self, Nothing).fallback_sync(other)
    }

    /// Answers with the result of a call through another policy, if this one fails.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use stormproof::Policy;
    /// let (openai, local) = (Policy::builder("openai").build()?, Policy::builder("local").build()?);
    /// let answer = openai
    ///     .call(|_| async { Err("down") })
    ///     .fallback_to(|_| local.call(|_| async { Ok("from the local model") }));
    /// assert_eq!(answer.await, Ok("from the local model"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fallback_to<G, Other>(self, other: G) -> Next<Self, Nothing, With<G, Other>, Always>
    where
        G: FnOnce(&Error<E>) -> Other,
        Other: Future<Output = Result<T, Error<E>>>,
    {
        WithFallback::new(self, Nothing).fallback_to(other)
    }

    /// Answers as a [`Fallback`] says that other calls use too, if the call fails.
    pub fn fallback_shared(self, fallback: &Fallback<T, E>) -> Next<Self, Nothing, Shared<'_, T, E>, Always> {
        WithFallback::new(self, Nothing).fallback_shared(fallback)
    }
}

impl<Call: Fallible, Chain> WithFallback<Call, Chain, Always, Call::Error> {
    pub(crate) fn new(call: Call, chain: Chain) -> Self {
        Self { call, chain, when: Always, failure: None }
    }

    /// Only failures for which `wants` is true are followed by the fallbacks. Default: all.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let policy = stormproof::Policy::builder("chat").build()?;
    /// let call = policy.call(|_| async { Err("bad request") }).fallback("a cached answer");
    /// // Only if a stage refused, such as a circuit that is open.
    /// let answer = call.fallback_when(|cause| cause.refused().is_some()).await;
    /// assert_eq!(answer.unwrap_err().into_last(), Some("bad request"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fallback_when<P>(self, wants: P) -> WithFallback<Call, Chain, ByCause<P>, Call::Error>
    where
        P: Fn(&Error<Call::Error>) -> bool,
    {
        WithFallback { call: self.call, chain: self.chain, when: ByCause(wants), failure: None }
    }
}

impl<Call: Fallible, Chain, W> WithFallback<Call, Chain, W, Call::Error> {
    /// Next in the chain: a value.
    pub fn fallback(self, value: Call::Value) -> Next<Call, Chain, Value<Call::Value>, W> {
        self.then(Value::new(value))
    }

    /// Next in the chain: a function of the call's failure.
    pub fn fallback_with<G, Other>(self, other: G) -> Next<Call, Chain, With<G, Other>, W>
    where
        G: FnOnce(&Error<Call::Error>) -> Other,
        Other: Future<Output = Result<Call::Value, Call::Error>>,
    {
        self.then(With::new(other))
    }

    /// Next in the chain: a function of the call's failure that does not wait.
    pub fn fallback_sync<G>(self, other: G) -> Next<Call, Chain, Now<G>, W>
    where
        G: FnOnce(&Error<Call::Error>) -> Result<Call::Value, Call::Error>,
    {
        self.then(Now::new(other))
    }

    /// Next in the chain: a call through another policy.
    pub fn fallback_to<G, Other>(self, other: G) -> Next<Call, Chain, With<G, Other>, W>
    where
        G: FnOnce(&Error<Call::Error>) -> Other,
        Other: Future<Output = Result<Call::Value, Error<Call::Error>>>,
    {
        self.then(With::new(other))
    }

    /// Next in the chain: what other calls use too.
    pub fn fallback_shared(
        self,
        fallback: &Fallback<Call::Value, Call::Error>,
    ) -> Next<Call, Chain, Shared<'_, Call::Value, Call::Error>, W> {
        self.then(Shared::new(fallback))
    }

    /// The answer together with where it came from.
    pub fn served(self) -> Serving<Call, Chain, W, Call::Error> {
        Serving { call: self }
    }

    fn then<A>(self, next: A) -> Next<Call, Chain, A, W> {
        WithFallback { call: self.call, chain: Then::new(self.chain, next), when: self.when, failure: None }
    }

    #[cfg(feature = "cache")]
    pub(crate) fn map_call<Other>(self, change: impl FnOnce(Call) -> Other) -> Next<Other, Chain, Kept, W>
    where
        Other: Fallible<Value = Call::Value, Error = Call::Error>,
    {
        WithFallback { call: change(self.call), chain: Then::new(self.chain, Kept), when: self.when, failure: None }
    }
}

impl<Call, Chain, W> WithFallback<Call, Chain, W, Call::Error>
where
    Call: Fallible,
    Chain: Alternatives<Call>,
    W: When<Call::Error>,
{
    #[inline]
    fn poll_served(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer<Call>> {
        let mut this = self.project();
        if this.failure.is_none() {
            let error = match ready!(this.call.as_mut().poll_served(cx)) {
                Ok(served) => return Poll::Ready(Ok(served)),
                Err(error) => error,
            };
            if !this.when.wants(&error) {
                return Poll::Ready(Err(error));
            }
            *this.failure = Some(Failure::of(&*this.call, error));
        }
        let found = match this.failure {
            Some(failure) => ready!(this.chain.poll_next(&this.call, failure, cx)),
            None => return Poll::Pending,
        };
        match (found, this.failure.take()) {
            (Some(served), _) => Poll::Ready(Ok(served)),
            (None, Some(failure)) => Poll::Ready(Err(failure.into_error())),
            (None, None) => Poll::Pending,
        }
    }
}

impl<Call, Chain, W> Future for WithFallback<Call, Chain, W, Call::Error>
where
    Call: Awaited,
    Chain: Alternatives<Call>,
    W: When<Call::Error>,
{
    type Output = Result<Call::Value, Error<Call::Error>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_served(cx).map(|result| result.map(|served| served.value))
    }
}

pin_project! {
    /// A call with fallbacks, as a future of the answer and its source. Made by [`WithFallback::served`].
    #[must_use = "a call does nothing until it is awaited"]
    pub struct Serving<Call, Chain, W, E> {
        #[pin]
        call: WithFallback<Call, Chain, W, E>,
    }
}

impl<Call, Chain, W> Future for Serving<Call, Chain, W, Call::Error>
where
    Call: Awaited,
    Chain: Alternatives<Call>,
    W: When<Call::Error>,
{
    type Output = Answer<Call>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().call.poll_served(cx)
    }
}
