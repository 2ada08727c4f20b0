//! Fallbacks of the sync door: the same chain, run on the thread of the call.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use stormproof_core::{Instant, Outcome};

use super::alternatives::{Alternatives, Now};
use super::fallible::kind;
use super::{Always, Answer, Fallback, Fallible, Next, Nothing, Served, Shared, Source, Value, When, WithFallback};
use crate::call::Cx;
use crate::classify::Classify;
use crate::error::Error;
use crate::policy::Policy;
use crate::sync::SyncCall;

impl<'p, F, T, E, C> SyncCall<'p, F, C>
where
    F: FnMut(Cx<'p>) -> Result<T, E>,
    C: Classify<T, E>,
{
    /// Answers with `value` if the call fails. See [`Calling::fallback`](crate::Calling::fallback).
    ///
    /// ```
    /// # let policy = stormproof::Policy::builder("disk").build()?;
    /// let answer = policy.call_sync(|_| Err("gone")).fallback_sync(|_| Err("gone, too")).fallback(0).run();
    /// assert_eq!(answer, Ok(0));
    /// # Ok::<(), stormproof::Mistakes>(())
    /// ```
    pub fn fallback(self, value: T) -> Next<Self, Nothing, Value<T>, Always> {
        WithFallback::new(self, Nothing).fallback(value)
    }

    /// Answers with the result of a function of the failure, if the call fails.
    pub fn fallback_sync<G>(self, other: G) -> Next<Self, Nothing, Now<G>, Always>
    where
        G: FnOnce(&Error<E>) -> Result<T, E>,
    {
        WithFallback::new(self, Nothing).fallback_sync(other)
    }

    /// Answers as a [`Fallback`] says that other calls use too, if the call fails. What of it waits blocks the thread.
    pub fn fallback_shared(self, fallback: &Fallback<T, E>) -> Next<Self, Nothing, Shared<'_, T, E>, Always> {
        WithFallback::new(self, Nothing).fallback_shared(fallback)
    }
}

impl<'p, F, T, E, C, Chain, W> WithFallback<SyncCall<'p, F, C>, Chain, W, E>
where
    F: FnMut(Cx<'p>) -> Result<T, E>,
    C: Classify<T, E>,
    Chain: Alternatives<SyncCall<'p, F, C>>,
    W: When<E>,
{
    /// Makes the call, on this thread.
    pub fn run(self) -> Result<T, Error<E>> {
        self.run_served().map(|served| served.value)
    }

    /// Makes the call, on this thread, and tells where the answer came from.
    pub fn run_served(self) -> Result<Served<T>, Error<E>> {
        let mut call = pin!(self);
        let unpark = Arc::new(Unpark { woken: AtomicBool::new(false), thread: thread::current() });
        let waker = Waker::from(unpark.clone());
        loop {
            if let Poll::Ready(answer) = call.as_mut().poll_served(&mut Context::from_waker(&waker)) {
                return answer;
            }
            while !unpark.woken.swap(false, Ordering::Acquire) {
                thread::park();
            }
        }
    }
}

/// Keeps its own note of having been woken: a fallback may park this thread, too, and use up what unparks it.
struct Unpark {
    woken: AtomicBool,
    thread: Thread,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl<'p, F, T, E, C> Fallible for SyncCall<'p, F, C>
where
    F: FnMut(Cx<'p>) -> Result<T, E>,
    C: Classify<T, E>,
{
    type Value = T;
    type Error = E;

    fn poll_served(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Answer<Self>> {
        Poll::Ready(self.get_mut().make().map(|value| Served::new(value, Source::Call)))
    }

    fn policy(&self) -> &Policy {
        self.policy_of()
    }

    fn kind(&self, error: &Error<E>) -> Box<str> {
        kind(self.classifier(), error)
    }

    fn is_success(&self, value: &T) -> bool {
        self.classifier().classify(Ok(value)).outcome == Outcome::Success
    }

    fn limit(&self, now: Instant) -> Instant {
        self.policy_of().deadline_at(now, self.own_deadline())
    }

    fn shorten(self: Pin<&mut Self>, limit: Duration) {
        self.get_mut().set_deadline(limit);
    }
}
