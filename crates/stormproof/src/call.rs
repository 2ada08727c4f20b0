//! The async door: performs the steps of [`core::Call`] and feeds back what happened. It decides nothing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use stormproof_core as core;
use stormproof_core::retry::Stop;
use stormproof_core::{End, Input, Instant, Name, Outcome, Step, Ticket, Verdict};

use crate::classify::{ByFn, Classify, ErrIsFailure, Noted};
use crate::clock::Sleep;
use crate::error::Error;
use crate::held::Held;
use crate::policy::{AsyncEdge, Policy};
use crate::{inherited, waiters};

/// What an attempt may know about itself.
#[derive(Clone, Copy, Debug)]
pub struct Cx<'p> {
    policy: &'p Policy,
    attempt: u32,
    until: Instant,
}

impl<'p> Cx<'p> {
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
        run: Run<'p, Fut>,
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    deadline: Option<Duration>,
    tokens: Option<u32>,
}

impl<'p, F, Fut: Future> Calling<'p, F, Fut, ErrIsFailure> {
    pub(crate) fn new(policy: &'p Policy, op: F) -> Self {
        Self { op, classifier: ErrIsFailure, options: Options::default(), run: Run::new(policy) }
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
    /// wait. A `note` that panics is passed over.
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
        this.run.poll(*this.options, this.op, this.classifier, false, cx)
    }
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
        let result = ready!(this.run.as_mut().poll(*this.options, this.op, this.classifier, true, cx));
        Poll::Ready(result.map(|value| (value, this.run.take_held())))
    }
}

pin_project! {
    /// The state of a call under way.
    struct Run<'p, Fut: Future> {
        policy: &'p Policy,
        call: Option<core::Call>,
        last: Option<Fut::Output>,
        parked: Option<Ticket>,
        // The number of the newest attempt, and when to give it up.
        number: u32,
        until: Instant,
        #[pin]
        attempt: Option<Fut>,
        #[pin]
        timer: Timer,
    }

    impl<Fut: Future> PinnedDrop for Run<'_, Fut> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // The attempt goes first: what protects it is given back when it is over.
            this.attempt.set(None);
            if let Some(call) = this.call {
                let policy = &this.policy.0;
                call.abandon(&policy.core, &mut AsyncEdge(policy));
            }
            unpark(this.parked);
        }
    }
}

impl<'p, Fut: Future> Run<'p, Fut> {
    fn new(policy: &'p Policy) -> Self {
        Self {
            policy,
            call: None,
            last: None,
            parked: None,
            number: 0,
            until: Instant::FAR_FUTURE,
            attempt: None,
            timer: Timer { armed: None, until: Instant::FAR_FUTURE },
        }
    }

    /// What the call still holds: everything, if [`poll`](Self::poll) was told to hold; else nothing.
    fn take_held(self: Pin<&mut Self>) -> Held {
        let this = self.project();
        Held::new(this.policy.clone(), this.call.as_mut().map(core::Call::hold).unwrap_or_default())
    }

    /// With `hold` the call is left as it is when its last attempt ends with a value.
    #[inline]
    fn poll<F, C, T, E>(
        self: Pin<&mut Self>,
        options: Options,
        op: &mut F,
        classifier: &C,
        hold: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, Error<E>>>
    where
        F: FnMut(Cx<'p>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        let mut this = self.project();
        let policy: &'p Policy = this.policy;
        let (core, clock) = (&policy.0.core, &policy.0.clock);
        let mut edge = AsyncEdge(&policy.0);
        let mut parked_now = None;

        let call = this.call.get_or_insert_with(|| {
            let now = clock.now();
            let deadline = policy.deadline_at(now, options.deadline).min(inherited::deadline(clock));
            let mut call = core::Call::new(now, deadline);
            if let Some(tokens) = options.tokens {
                call.cost(tokens);
            }
            if hold {
                call.keep();
            }
            call
        });
        let mut now = call.started();
        let mut step = if this.attempt.is_some() {
            Step::Attempt { number: *this.number, until: *this.until }
        } else {
            if *this.number > 0 || this.parked.is_some() {
                now = clock.now();
            }
            call.next(core, now, Input::Resume, &mut edge)
        };
        loop {
            let until = match step {
                Step::Attempt { number, until } => {
                    if *this.number != number {
                        (*this.number, *this.until) = (number, until);
                        unpark(this.parked);
                        this.attempt.set(Some(op(Cx { policy, attempt: number, until })));
                    }
                    if let Poll::Ready(result) = inherited::scope(clock, until, || poll_some(this.attempt.as_mut(), cx))
                    {
                        this.attempt.set(None);
                        let verdict = classifier.classify(result.as_ref());
                        if core.success_needs_time() || verdict.outcome != Outcome::Success || result.is_err() {
                            now = clock.now();
                        }
                        // Without a value there is nobody to hand the permits to.
                        if hold && result.is_ok() && verdict.outcome != Outcome::Failure {
                            return Poll::Ready(finish(call, now, result, None));
                        }
                        step = call.next(core, now, Input::Finished(verdict), &mut edge);
                        if let Step::Done(End::Finished(stop)) = step {
                            if result.is_err() {
                                call.abandon(core, &mut edge);
                            }
                            return Poll::Ready(finish(call, now, result, stop));
                        }
                        if let Step::BackOff { until } = step {
                            classifier.retrying(number, result.as_ref(), until.since(now));
                        }
                        // Only an error is told of later. An answer is let go before the wait, with all that it holds.
                        *this.last = result.is_err().then_some(result);
                        continue;
                    }
                    until
                }
                Step::Queued { ticket, until } => {
                    // Park first, then ask again: the ticket may have been granted in between.
                    if parked_now != Some(ticket) {
                        unpark(this.parked);
                        waiters::park(ticket, cx.waker());
                        *this.parked = Some(ticket);
                        parked_now = Some(ticket);
                        step = call.next(core, now, Input::Resume, &mut edge);
                        continue;
                    }
                    until
                }
                Step::BackOff { until } => until,
                Step::Done(end) => {
                    unpark(this.parked);
                    return Poll::Ready(conclude(policy, call, now, end, this.last.take()));
                }
            };
            // A timer's grain is a millisecond; what is due needs none.
            if until > now {
                ready!(this.timer.as_mut().poll(policy, until, cx));
            }
            // A timed-out attempt ends before what protects it is given back.
            this.attempt.set(None);
            now = clock.now().max(until);
            step = call.next(core, now, Input::Resume, &mut edge);
        }
    }
}

#[inline]
fn poll_some<Fut: Future>(attempt: Pin<&mut Option<Fut>>, cx: &mut Context<'_>) -> Poll<Fut::Output> {
    attempt.as_pin_mut().map_or(Poll::Pending, |attempt| attempt.poll(cx))
}

#[inline]
fn unpark(parked: &mut Option<Ticket>) {
    if let Some(ticket) = parked.take() {
        waiters::forget(ticket);
    }
}

/// The end of a call with the result of its last attempt.
#[inline]
fn finish<T, E>(call: &core::Call, now: Instant, result: Result<T, E>, stop: Option<Stop>) -> Result<T, Error<E>> {
    match result {
        Ok(value) => Ok(value),
        Err(error) => Err(Error::Failed {
            error,
            stop: stop.unwrap_or(Stop::NotRetryable),
            attempts: call.attempts(),
            elapsed: now.since(call.started()),
        }),
    }
}

/// The end of a call without such a result.
#[cold]
fn conclude<T, E>(
    policy: &Policy,
    call: &core::Call,
    now: Instant,
    end: End<'_>,
    last: Option<Result<T, E>>,
) -> Result<T, Error<E>> {
    let (last, attempts) = (last.and_then(Result::err), call.attempts());
    let (limit, stop) = match end {
        End::Refused(refusal) => return Err(Error::Refused { refused: refusal.to_refused(), last, attempts }),
        End::TimedOut(limit, stop) => (limit, stop),
        // Not reached: a call that finished was over when its last attempt was.
        End::Finished(_) => (core::Limit::Call, Stop::Deadline),
    };
    let (policy, elapsed) = (policy.name().to_string(), now.since(call.started()));
    Err(Error::TimedOut { policy, limit, stop, last, attempts, elapsed })
}

pin_project! {
    /// One timer for whatever the present step waits for; registered only when something is pending.
    struct Timer {
        #[pin]
        armed: Option<Sleep>,
        until: Instant,
    }
}

impl Timer {
    fn poll(self: Pin<&mut Self>, policy: &Policy, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if until == Instant::FAR_FUTURE {
            return Poll::Pending;
        }
        let mut this = self.project();
        if this.armed.is_none() || *this.until != until {
            this.armed.set(Some(policy.clock().sleep_until(until)));
            *this.until = until;
        }
        ready!(poll_some(this.armed.as_mut(), cx));
        this.armed.set(None);
        Poll::Ready(())
    }
}
