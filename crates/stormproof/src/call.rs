//! A call as its caller sees it: what can be said of it before it is awaited, and what it returns.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use stormproof_core as core;
use stormproof_core::{Instant, Name, Verdict};

use crate::classify::{ByFn, Classify, ErrIsFailure, Noted};
use crate::error::Error;
use crate::held::Held;
use crate::inherited;
use crate::policy::Policy;
use crate::run::Run;

/// What an attempt may know about itself.
#[derive(Clone, Copy, Debug)]
pub struct Cx<'p> {
    policy: &'p Policy,
    attempt: u32,
    until: Instant,
}

impl<'p> Cx<'p> {
    pub(crate) fn new(policy: &'p Policy, attempt: u32, until: Instant) -> Self {
        Self { policy, attempt, until }
    }

    /// The attempt's number, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The time left until this attempt is given up; `None` for no limit.
    pub fn remaining(&self) -> Option<Duration> {
        (self.until != Instant::FAR_FUTURE).then(|| self.until.since(self.policy.clock().now()))
    }

    /// The policy's name.
    pub fn name(&self) -> &'p Name {
        self.policy.name()
    }
}

pin_project! {
    /// A call through a policy, as a future. Made by [`Policy::call`].
    #[must_use = "a call does nothing until it is awaited"]
    pub struct Calling<'p, F, Fut: Future, C> {
        op: F,
        classifier: C,
        options: Options,
        #[pin]
        run: Run<&'p Policy, Fut>,
    }
}

/// What was said of one call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) deadline: Option<Duration>,
    pub(crate) tokens: Option<u32>,
}

impl Options {
    /// A call that begins now.
    #[inline]
    pub(crate) fn begin(self, policy: &Policy, hold: bool) -> core::Call {
        let clock = policy.clock();
        let now = clock.now();
        let own = policy.deadline_at(now, self.deadline).min(inherited::own_deadline(clock));
        let mut call = core::Call::new(now, own);
        call.inherit(inherited::deadline(clock));
        if let Some(tokens) = self.tokens {
            call.cost(tokens);
        }
        if hold {
            call.keep();
        }
        call
    }
}

impl<'p, F, Fut: Future> Calling<'p, F, Fut, ErrIsFailure> {
    pub(crate) fn new(policy: &'p Policy, op: F) -> Self {
        Self { op, classifier: ErrIsFailure, options: Options::default(), run: Run::new(policy) }
    }
}

impl<F, Fut: Future, C> Calling<'_, F, Fut, C> {
    pub(crate) fn policy_of(&self) -> &Policy {
        self.run.policy
    }

    pub(crate) fn classifier(&self) -> &C {
        &self.classifier
    }

    pub(crate) fn own_deadline(&self) -> Option<Duration> {
        self.options.deadline
    }

    pub(crate) fn set_deadline(self: Pin<&mut Self>, limit: Duration) {
        self.project().options.deadline = Some(limit);
    }
}

impl<'p, F, Fut, T, E, C> Calling<'p, F, Fut, C>
where
    F: FnMut(Cx<'p>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    /// Judges results by `classifier`. Default: every `Err` is a failure.
    pub fn classify<D: Classify<T, E>>(self, classifier: D) -> Calling<'p, F, Fut, D> {
        Calling { op: self.op, classifier, options: self.options, run: self.run }
    }

    /// Judges results by a closure.
    pub fn classify_with<D>(self, judge: D) -> Calling<'p, F, Fut, ByFn<D>>
    where
        D: for<'a> Fn(Result<&'a T, &'a E>) -> Verdict<'a>,
    {
        self.classify(ByFn(judge))
    }

    /// Calls `note` before each wait for another attempt: the retry's number from 1, the result that is retried, and the
    /// wait. A `note` that panics is passed over. The retry of an attempt that ran out of time has no result and is told as
    /// an event alone.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use stormproof::Retry;
    /// let policy = Retry::constant(Duration::from_millis(1)).build("flaky")?;
    /// let answer = policy
    ///     .call(|cx| async move { if cx.attempt() == 1 { Err("no") } else { Ok(42) } })
    ///     .on_retry(|retry, result, delay| println!("retry {retry} of {result:?} in {delay:?}"));
    /// assert_eq!(answer.await, Ok(42));
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_retry<N>(self, note: N) -> Calling<'p, F, Fut, Noted<C, N>>
    where
        N: Fn(u32, Result<&T, &E>, Duration),
    {
        let classifier = Noted { classifier: self.classifier, note };
        Calling { op: self.op, classifier, options: self.options, run: self.run }
    }

    /// Gives this call so long in all, instead of what the policy says. The deadline of a call around it still holds.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.options.deadline = Some(limit);
        self
    }

    /// Reserves so many tokens for each attempt; default: 1. [`Verdict::used`] corrects it afterwards.
    pub fn cost(mut self, tokens: u32) -> Self {
        self.options.tokens = Some(tokens);
        self
    }

    /// Keeps what was taken for the last attempt: for a response whose body is still coming. If the value is judged a
    /// failure, that is counted at once, and slot and tokens are kept all the same.
    pub fn hold(self) -> Holding<'p, F, Fut, C> {
        Holding { calling: self }
    }
}

impl<'p, F, Fut, T, E, C> Future for Calling<'p, F, Fut, C>
where
    F: FnMut(Cx<'p>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    type Output = Result<T, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.run.poll(*this.options, attempts(this.op), this.classifier, false, cx)
    }
}

/// How an operation begins its attempts.
#[inline]
fn attempts<'p, F, Fut>(op: &mut F) -> impl FnMut(&&'p Policy, u32, Instant) -> Fut
where
    F: FnMut(Cx<'p>) -> Fut,
{
    |policy, number, until| op(Cx::new(policy, number, until))
}

pin_project! {
    /// A call that keeps what it took. Made by [`Calling::hold`].
    #[must_use = "a call does nothing until it is awaited"]
    pub struct Holding<'p, F, Fut: Future, C> {
        #[pin]
        calling: Calling<'p, F, Fut, C>,
    }
}

impl<'p, F, Fut, T, E, C> Future for Holding<'p, F, Fut, C>
where
    F: FnMut(Cx<'p>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    type Output = Result<(T, Held), Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project().calling.project();
        let result = ready!(this.run.as_mut().poll(*this.options, attempts(this.op), this.classifier, true, cx));
        Poll::Ready(result.map(|value| (value, this.run.take_held())))
    }
}
