//! The attempts of a call that are under way: one in place, those beside it in boxes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use stormproof_core::{Instant, Priority};

use crate::call::inherited::{self, Class};
use crate::clock::Clock;

pin_project! {
    /// Attempts under way. Without hedges nothing is boxed.
    pub(super) struct Attempts<Fut> {
        number: u32,
        limit: Instant,
        #[pin]
        first: Option<Fut>,
        // One pointer: every call carries it, few calls use it.
        beside: Option<Box<Beside<Fut>>>,
    }
}

/// The attempts beside the first, in the order they started.
struct Beside<Fut>(Vec<Boxed<Fut>>);

struct Boxed<Fut> {
    number: u32,
    limit: Instant,
    attempt: Pin<Box<Fut>>,
}

impl<Fut: Future> Attempts<Fut> {
    pub(super) fn new() -> Self {
        Self { number: 0, limit: Instant::FAR_FUTURE, first: None, beside: None }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.beside.is_none()
    }

    /// Adds an attempt that is given up at `limit`.
    #[inline]
    pub(super) fn start(self: Pin<&mut Self>, number: u32, limit: Instant, attempt: Fut) {
        let mut this = self.project();
        if this.first.is_none() && this.beside.is_none() {
            (*this.number, *this.limit) = (number, limit);
            this.first.set(Some(attempt));
        } else {
            start_beside(this.beside, number, limit, attempt);
        }
    }

    /// Polls all, in the order they started. What is over is dropped before its result is returned.
    #[inline]
    pub(super) fn poll(self: Pin<&mut Self>, clock: &Clock, cx: &mut Context<'_>) -> Poll<(u32, Fut::Output)> {
        let mut this = self.project();
        if let Some(first) = this.first.as_mut().as_pin_mut()
            && let Poll::Ready(output) = inherited::scope(clock, *this.limit, || first.poll(cx))
        {
            this.first.set(None);
            return Poll::Ready((*this.number, output));
        }
        if this.beside.is_none() { Poll::Pending } else { poll_beside(this.beside, clock, cx) }
    }

    /// The same within a call of a class, see [`Class::enter`].
    #[cold]
    #[inline(never)]
    pub(super) fn poll_in_class(
        self: Pin<&mut Self>,
        own: Option<Priority>,
        default: Option<Priority>,
        clock: &Clock,
        cx: &mut Context<'_>,
    ) -> Poll<(u32, Fut::Output)> {
        let _class = Class::enter(own, default);
        self.poll(clock, cx)
    }

    /// Drops one attempt.
    #[cold]
    pub(super) fn cancel(self: Pin<&mut Self>, number: u32) {
        let mut this = self.project();
        if *this.number == number {
            this.first.set(None);
        }
        remove(this.beside, number);
    }

    /// Drops all attempts.
    #[inline]
    pub(super) fn clear(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.first.set(None);
        *this.beside = None;
    }
}

#[cold]
fn start_beside<Fut>(beside: &mut Option<Box<Beside<Fut>>>, number: u32, limit: Instant, attempt: Fut) {
    let beside = beside.get_or_insert_with(|| Box::new(Beside(Vec::new())));
    beside.0.push(Boxed { number, limit, attempt: Box::pin(attempt) });
}

#[cold]
fn poll_beside<Fut: Future>(
    beside: &mut Option<Box<Beside<Fut>>>,
    clock: &Clock,
    cx: &mut Context<'_>,
) -> Poll<(u32, Fut::Output)> {
    let ready = beside.iter_mut().flat_map(|beside| &mut beside.0).find_map(|boxed| {
        match inherited::scope(clock, boxed.limit, || boxed.attempt.as_mut().poll(cx)) {
            Poll::Ready(output) => Some((boxed.number, output)),
            Poll::Pending => None,
        }
    });
    let Some((number, output)) = ready else { return Poll::Pending };
    remove(beside, number);
    Poll::Ready((number, output))
}

fn remove<Fut>(beside: &mut Option<Box<Beside<Fut>>>, number: u32) {
    if let Some(Beside(attempts)) = beside.as_deref_mut() {
        attempts.retain(|boxed| boxed.number != number);
        if attempts.is_empty() {
            *beside = None;
        }
    }
}
