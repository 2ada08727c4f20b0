//! A call that is awaited: its attempts, and around them what has kept earlier answers and what answers when it fails.
//! Plain calls, which borrow their policy, and requests through tower, which own it, are the same future.

use std::borrow::Borrow;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use stormproof_core::Instant;

use super::{After, Asked, Begin, Calling, Cx, Hear, Nth, Said};
use crate::call::answer::{Give, Served, Source};
use crate::call::classify::Classify;
use crate::call::error::Error;
use crate::call::fallback::Falling;
use crate::call::run::Run;
use crate::policy::Policy;

/// A closure of the context begins the attempts.
pub(crate) struct ByCx<F>(F);

impl<'p, F, R, T, E> Begin<&'p Policy> for ByCx<F>
where
    F: FnMut(Cx<'p>) -> R,
    R: IntoFuture<Output = Result<T, E>>,
{
    type Value = T;
    type Error = E;
    type Attempt = R::IntoFuture;

    #[inline]
    fn begin(&mut self, policy: &&'p Policy, nth: Nth, until: Instant) -> R::IntoFuture {
        (self.0)(Cx::new(policy, nth, until)).into_future()
    }
}

pin_project! {
    /// A call under way, and what stands around it.
    pub(crate) struct Called<'p, P, Op, Fut, T, E, C, N, G>
    where
        P: Borrow<Policy>,
        Fut: Future,
    {
        // Dropped first: an attempt is over before its place at the cache is another's.
        #[pin]
        run: Run<P, Fut>,
        op: Op,
        said: Said<C, N>,
        after: After<'p, T, E>,
        falling: Option<Box<Falling<'p, T, E>>>,
        give: PhantomData<fn() -> G>,
    }
}

impl<'p, P: Borrow<Policy>, Op, Fut: Future, T, E, C, N, G> Called<'p, P, Op, Fut, T, E, C, N, G> {
    #[inline]
    pub(crate) fn new(policy: P, op: Op, said: Said<C, N>, after: After<'p, T, E>) -> Self {
        Self { run: Run::new(policy), op, said, after, falling: None, give: PhantomData }
    }
}

impl<P, Op, T, E, C, N, G> Future for Called<'_, P, Op, Op::Attempt, T, E, C, N, G>
where
    P: Borrow<Policy>,
    Op: Begin<P, Value = T, Error = E>,
    C: Classify<T, E>,
    N: Hear<T, E>,
    G: Give<T>,
{
    type Output = Result<G::Output, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if this.falling.is_none() {
            let result = loop {
                match this.after.ask(this.run.policy(), &mut this.said.options, || cx.waker().clone()) {
                    Asked::Call => {
                        let result =
                            ready!(this.after.run(|| this.run.as_mut().poll(this.op, this.said, G::HOLDS, cx)));
                        break result.map(|value| Served::new(value, Source::Call));
                    }
                    Asked::Wait(until) => ready!(this.run.as_mut().poll_wait(until, cx)),
                    Asked::Ended(result) => break result,
                }
            };
            match this.after.ended(result, this.run.policy(), &this.said.classifier) {
                Ok(result) => {
                    return Poll::Ready(
                        result.map(|served| G::give(served, &this.said.classifier, || this.run.take_held())),
                    );
                }
                Err(falling) => *this.falling = Some(falling),
            }
        }
        let Some(falling) = this.falling else { return Poll::Pending };
        let result = ready!(falling.poll(this.run.policy(), || this.after.kept(), cx));
        *this.falling = None;
        Poll::Ready(result.map(|served| G::give(served, &this.said.classifier, || this.run.take_held())))
    }
}

pin_project! {
    /// The future of a [`Calling`].
    #[must_use = "a call does nothing until it is awaited"]
    pub struct CallFuture<'p, F, R: IntoFuture, T, E, C, N, G> {
        #[pin]
        called: Called<'p, &'p Policy, ByCx<F>, R::IntoFuture, T, E, C, N, G>,
    }
}

impl<'p, F, R, T, E, C, N, G> IntoFuture for Calling<'p, F, T, E, C, N, G>
where
    F: FnMut(Cx<'p>) -> R,
    R: IntoFuture<Output = Result<T, E>>,
    C: Classify<T, E>,
    N: Hear<T, E>,
    G: Give<T>,
{
    type Output = Result<G::Output, Error<E>>;
    type IntoFuture = CallFuture<'p, F, R, T, E, C, N, G>;

    #[inline]
    fn into_future(self) -> Self::IntoFuture {
        CallFuture { called: Called::new(self.policy, ByCx(self.op), self.said, self.after) }
    }
}

impl<'p, F, R, T, E, C, N, G> Future for CallFuture<'p, F, R, T, E, C, N, G>
where
    F: FnMut(Cx<'p>) -> R,
    R: IntoFuture<Output = Result<T, E>>,
    C: Classify<T, E>,
    N: Hear<T, E>,
    G: Give<T>,
{
    type Output = Result<G::Output, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().called.poll(cx)
    }
}
