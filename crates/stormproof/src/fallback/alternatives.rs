//! The chain of fallbacks of one call, as types: attaching one allocates nothing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use stormproof_core::Instant;
use stormproof_core::fallback::Kind as Told;

use super::failure::{Failure, IntoCause};
use super::shared::{Fallback, Running};
use super::{Fallible, Served, Source};
use crate::error::Error;

/// What is tried in turn; `None` if nothing gave an answer.
pub trait Alternatives<Call: Fallible> {
    /// Goes on with whatever is tried at the moment.
    fn poll_next(
        self: Pin<&mut Self>,
        call: &Call,
        failure: &mut Failure<Call::Error>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Served<Call::Value>>>;
}

/// The chain before the first fallback.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl<Call: Fallible> Alternatives<Call> for Nothing {
    fn poll_next(
        self: Pin<&mut Self>,
        _: &Call,
        _: &mut Failure<Call::Error>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Served<Call::Value>>> {
        Poll::Ready(None)
    }
}

pin_project! {
    /// One fallback after others.
    pub struct Then<A, B> {
        #[pin]
        first: A,
        first_is_over: bool,
        #[pin]
        next: B,
    }
}

impl<A, B> Then<A, B> {
    pub(super) fn new(first: A, next: B) -> Self {
        Self { first, first_is_over: false, next }
    }
}

impl<Call: Fallible, A: Alternatives<Call>, B: Alternatives<Call>> Alternatives<Call> for Then<A, B> {
    fn poll_next(
        self: Pin<&mut Self>,
        call: &Call,
        failure: &mut Failure<Call::Error>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Served<Call::Value>>> {
        let this = self.project();
        if !*this.first_is_over {
            if let Some(served) = ready!(this.first.poll_next(call, failure, cx)) {
                return Poll::Ready(Some(served));
            }
            *this.first_is_over = true;
        }
        this.next.poll_next(call, failure, cx)
    }
}

pin_project! {
    /// A value as a fallback.
    pub struct Value<T> {
        value: Option<T>,
    }
}

impl<T> Value<T> {
    pub(super) fn new(value: T) -> Self {
        Self { value: Some(value) }
    }
}

impl<Call: Fallible> Alternatives<Call> for Value<Call::Value> {
    fn poll_next(
        self: Pin<&mut Self>,
        call: &Call,
        failure: &mut Failure<Call::Error>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Served<Call::Value>>> {
        if failure.begin(call.policy()).is_none() {
            return Poll::Ready(None);
        }
        failure.tell(call.policy(), Told::Value, None);
        Poll::Ready(self.project().value.take().map(|value| failure.served(value)))
    }
}

pin_project! {
    /// A function as a fallback.
    pub struct With<G, Fut> {
        make: Option<G>,
        started: Instant,
        #[pin]
        running: Option<Fut>,
    }
}

impl<G, Fut> With<G, Fut> {
    pub(super) fn new(make: G) -> Self {
        Self { make: Some(make), started: Instant::ZERO, running: None }
    }
}

impl<Call, G, Fut, X> Alternatives<Call> for With<G, Fut>
where
    Call: Fallible,
    G: FnOnce(&Error<Call::Error>) -> Fut,
    Fut: Future<Output = Result<Call::Value, X>>,
    X: IntoCause<Call::Error>,
{
    fn poll_next(
        self: Pin<&mut Self>,
        call: &Call,
        failure: &mut Failure<Call::Error>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Served<Call::Value>>> {
        let mut this = self.project();
        if let Some(make) = this.make.take() {
            if failure.begin(call.policy()).is_none() {
                return Poll::Ready(None);
            }
            failure.tell(call.policy(), Told::Function, None);
            *this.started = call.policy().clock().now();
            this.running.set(failure.cause().map(make));
        }
        let Some(running) = this.running.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let result = ready!(running.poll(cx));
        this.running.set(None);
        Poll::Ready(failure.or_served(result, call.policy(), *this.started))
    }
}

pin_project! {
    /// A function that does not wait, as a fallback.
    pub struct Now<G> {
        make: Option<G>,
    }
}

impl<G> Now<G> {
    pub(super) fn new(make: G) -> Self {
        Self { make: Some(make) }
    }
}

impl<Call, G> Alternatives<Call> for Now<G>
where
    Call: Fallible,
    G: FnOnce(&Error<Call::Error>) -> Result<Call::Value, Call::Error>,
{
    fn poll_next(
        self: Pin<&mut Self>,
        call: &Call,
        failure: &mut Failure<Call::Error>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Served<Call::Value>>> {
        if failure.begin(call.policy()).is_none() {
            return Poll::Ready(None);
        }
        failure.tell(call.policy(), Told::Function, None);
        let started = call.policy().clock().now();
        let Some(result) = self.project().make.take().zip(failure.cause()).map(|(make, cause)| make(cause)) else {
            return Poll::Ready(None);
        };
        Poll::Ready(failure.or_served(result, call.policy(), started))
    }
}

/// A [`Fallback`] that other calls use too.
pub struct Shared<'a, T, E> {
    fallback: &'a Fallback<T, E>,
    at: usize,
    running: Option<Running<T, E>>,
    started: Instant,
}

impl<'a, T, E> Shared<'a, T, E> {
    pub(super) fn new(fallback: &'a Fallback<T, E>) -> Self {
        Self { fallback, at: 0, running: None, started: Instant::ZERO }
    }
}

impl<Call: Fallible> Alternatives<Call> for Shared<'_, Call::Value, Call::Error> {
    fn poll_next(
        self: Pin<&mut Self>,
        call: &Call,
        failure: &mut Failure<Call::Error>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Served<Call::Value>>> {
        let this = self.get_mut();
        loop {
            if let Some(running) = &mut this.running {
                let result = ready!(running.as_mut().poll(cx));
                this.running = None;
                if let Some(served) = failure.or_served(result, call.policy(), this.started) {
                    return Poll::Ready(Some(served));
                }
            }
            let Some(step) = this.fallback.step(this.at) else { return Poll::Ready(None) };
            this.at += 1;
            if failure.begin(call.policy()).is_some_and(|cause| step.wants(cause)) {
                failure.tell(call.policy(), step.source(), None);
                this.started = call.policy().clock().now();
                this.running = failure.cause().map(|cause| step.start(cause));
            }
        }
    }
}

/// What the call's cache has kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept;

impl<Call: Fallible> Alternatives<Call> for Kept {
    fn poll_next(
        self: Pin<&mut Self>,
        call: &Call,
        failure: &mut Failure<Call::Error>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Served<Call::Value>>> {
        if failure.begin(call.policy()).is_none() {
            return Poll::Ready(None);
        }
        Poll::Ready(call.kept().map(|(value, age, stale)| {
            failure.tell(call.policy(), Told::Cache, Some(age));
            Served::new(value, Source::Cache { age, stale })
        }))
    }
}
