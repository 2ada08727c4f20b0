//! The async door: performs the steps of [`core::Call`] and feeds back what happened. It decides nothing. Plain calls,
//! which borrow their policy, and requests through tower, which own it, are the same future.

use std::borrow::Borrow;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use stormproof_core as core;
use stormproof_core::retry::Stop;
use stormproof_core::{End, Input, Instant, Outcome, Step, Ticket, Verdict};

mod attempts;

use attempts::Attempts;

use crate::call::classify::Classify;
use crate::call::error::Error;
use crate::call::held::Held;
use crate::call::nested::{self, Inner};
use crate::call::{Begin, CallEdge, Hear, Nth, Said};
use crate::clock::Sleep;
use crate::clock::waiters;
use crate::policy::{DoorEdge, Policy, Shared};

pin_project! {
    /// The state of a call under way.
    pub(crate) struct Run<P, Fut>
    where
        P: Borrow<Policy>,
        Fut: Future,
    {
        policy: P,
        call: Option<core::Call>,
        last: Option<Fut::Output>,
        parked: Option<Ticket>,
        // The newest attempt, and when to ask the core about those that run, or about what becomes ready.
        nth: Nth,
        until: Instant,
        readying: bool,
        // Refusals of policies inside the attempts of this round.
        refusals: Vec<Inner>,
        #[pin]
        attempts: Attempts<Fut>,
        #[pin]
        timer: Timer,
    }

    impl<P, Fut> PinnedDrop for Run<P, Fut>
    where
        P: Borrow<Policy>,
        Fut: Future,
    {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // In the end, even if an attempt panics when it is dropped.
            let policy = &(*this.policy).borrow().0;
            let _give_back = GiveBack { policy, call: this.call, parked: this.parked };
            // The attempts go first: what protects them is given back when they are over.
            this.attempts.as_mut().clear();
        }
    }
}

/// Dropped, gives back what a call has taken.
struct GiveBack<'a> {
    policy: &'a Shared,
    call: &'a mut Option<core::Call>,
    parked: &'a mut Option<Ticket>,
}

impl Drop for GiveBack<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(call) = self.call {
            call.abandon(&self.policy.core, &mut DoorEdge(self.policy));
        }
        unpark(self.parked);
    }
}

impl<P: Borrow<Policy>, Fut: Future> Run<P, Fut> {
    pub(crate) fn new(policy: P) -> Self {
        Self {
            policy,
            call: None,
            last: None,
            parked: None,
            nth: Nth::default(),
            until: Instant::FAR_FUTURE,
            readying: false,
            refusals: Vec::new(),
            attempts: Attempts::new(),
            timer: Timer { armed: None, until: Instant::FAR_FUTURE },
        }
    }

    /// The policy the call goes through.
    #[inline]
    pub(crate) fn policy(&self) -> &Policy {
        self.policy.borrow()
    }

    /// Waits, before the call begins, until this time or until it is woken.
    pub(crate) fn poll_wait(self: Pin<&mut Self>, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.timer.poll((*this.policy).borrow(), until, cx)
    }

    /// What the call still holds: everything, if [`poll`](Self::poll) was told to hold; else nothing.
    pub(crate) fn take_held(self: Pin<&mut Self>) -> Held {
        let this = self.project();
        Held::new((*this.policy).borrow().clone(), this.call.as_mut().map(core::Call::hold).unwrap_or_default())
    }

    /// Begins each attempt by `op`. With `hold` the call is left as it is when its last attempt ends with a value.
    #[inline]
    #[expect(clippy::too_many_lines, reason = "one arm for each step of the core")]
    pub(crate) fn poll<Op, C, N, T, E>(
        self: Pin<&mut Self>,
        op: &mut Op,
        said: &mut Said<C, N>,
        hold: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, Error<E>>>
    where
        Op: Begin<P, Value = T, Error = E, Attempt = Fut>,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
        N: Hear<T, E>,
    {
        let Said { classifier, note, options } = said;
        let mut this = self.project();
        let policy: &Policy = (*this.policy).borrow();
        let (core, clock) = (&policy.0.core, &policy.0.clock);
        let mut edge = CallEdge(DoorEdge(&policy.0), options);
        let mut parked_now = None;

        let begun = this.call.is_some();
        let call = this.call.get_or_insert_with(|| options.begin(policy, hold));
        if Op::READIES && !begun {
            call.readies();
        }
        if Op::ALONE && !begun {
            call.alone();
        }
        let mut now = if begun && this.attempts.is_empty() { clock.now() } else { call.started() };
        let mut step = if *this.readying {
            Step::Ready { number: this.nth.number.saturating_add(1), until: *this.until }
        } else if this.attempts.is_empty() {
            call.next(core, now, Input::Resume, &mut edge)
        } else {
            Step::Attempt { number: this.nth.number, limit: *this.until, until: *this.until }
        };
        loop {
            let until = match step {
                Step::Attempt { number, limit, until } => {
                    *this.until = until;
                    if this.nth.number != number {
                        *this.nth = this.nth.next(number, call.retries());
                        unpark(this.parked);
                        // An answer is let go before there can be another, with all that it holds.
                        if matches!(this.last, Some(Ok(_))) {
                            *this.last = None;
                        }
                        this.refusals.clear();
                        this.attempts.as_mut().start(number, limit, op.begin(this.policy, *this.nth, limit));
                    }
                    let refusals = nested::number();
                    let attempts = this.attempts.as_mut();
                    // Most calls have no class, and leave that of the call around them as it is.
                    let polled = if options.priority.or(core.priority).is_none() {
                        attempts.poll(clock, cx)
                    } else {
                        attempts.poll_in_class(options.priority, core.priority, clock, cx)
                    };
                    if nested::number() != refusals {
                        nested::collect(refusals, this.refusals);
                    }
                    if let Poll::Ready((number, result)) = polled {
                        let verdict = judge(classifier, &result, this.refusals);
                        if core.success_needs_time() || verdict.outcome != Outcome::Success || result.is_err() {
                            now = clock.now();
                        }
                        // Without a value there is nobody to hand the permits to.
                        let input = if result.is_err() && op.is_unready(number) {
                            Input::Unready(number)
                        } else if hold && result.is_ok() && verdict.outcome != Outcome::Failure {
                            Input::Answered(number, verdict.outcome)
                        } else {
                            Input::Finished(number, verdict)
                        };
                        step = call.next(core, now, input, &mut edge);
                        if let Step::Done(End::Finished(stop)) = step {
                            if result.is_err() {
                                call.abandon(core, &mut edge);
                            }
                            return Poll::Ready(finish(call, now, result, stop));
                        }
                        if let Step::BackOff { until } = step {
                            note.retrying(call.retries(), Some(result.as_ref()), until.since(now));
                        }
                        *this.last = Some(result);
                        continue;
                    }
                    until
                }
                Step::Cancel { number } => {
                    this.attempts.as_mut().cancel(number);
                    step = resume(call, core, now, &mut edge);
                    // An attempt that ran out of time.
                    if let Step::BackOff { until } = step {
                        note.retrying(call.retries(), None, until.since(now));
                    }
                    continue;
                }
                Step::Ready { number, until } => {
                    (*this.readying, *this.until) = (true, until);
                    match op.poll_ready(cx) {
                        Poll::Pending => until,
                        Poll::Ready(ready) => {
                            *this.readying = false;
                            step = match ready {
                                Ok(()) => resume(call, core, now, &mut edge),
                                Err(error) => {
                                    (now, *this.last) = (clock.now(), Some(Err(error)));
                                    call.next(core, now, Input::Unready(number), &mut edge)
                                }
                            };
                            continue;
                        }
                    }
                }
                Step::Queued { ticket, until } => {
                    // Park first, then ask again: the ticket may have been granted in between.
                    if parked_now != Some(ticket) {
                        unpark(this.parked);
                        waiters::park(ticket, cx.waker());
                        *this.parked = Some(ticket);
                        parked_now = Some(ticket);
                        step = resume(call, core, now, &mut edge);
                        continue;
                    }
                    until
                }
                Step::BackOff { until } => {
                    op.give_back();
                    // A wait of no length lets others run, too.
                    if until <= now {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    until
                }
                Step::Done(end) => {
                    op.give_back();
                    unpark(this.parked);
                    let result = conclude(policy, call, now, end, this.last.take());
                    if result.is_err() {
                        call.abandon(core, &mut edge);
                    }
                    return Poll::Ready(result);
                }
            };
            // A timer's grain is a millisecond; what is due needs none.
            if until > now {
                ready!(this.timer.as_mut().poll(policy, until, cx));
            }
            now = clock.now().max(until);
            *this.readying = false;
            step = resume(call, core, now, &mut edge);
        }
    }
}

/// The judgement of a result, where these refusals were made inside the attempt.
#[inline]
pub(crate) fn judge<'a, T, E>(
    classifier: &'a impl Classify<T, E>,
    result: &'a Result<T, E>,
    refusals: &[Inner],
) -> Verdict<'a> {
    let result = result.as_ref();
    let reason = if result.is_err() && !refusals.is_empty() { nested::refused(refusals) } else { None };
    match reason {
        Some(reason) => classifier.classify_refused(result, reason),
        None => classifier.classify(result),
    }
}

/// Goes on after a wait. Apart from how a call begins, so that there only what a beginning needs is in the way.
#[cold]
fn resume<'p>(call: &mut core::Call, policy: &'p core::Policy, now: Instant, edge: &mut CallEdge<'_>) -> Step<'p> {
    call.next(policy, now, Input::Resume, edge)
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
pub(crate) fn finish<T, E>(
    call: &core::Call,
    now: Instant,
    result: Result<T, E>,
    stop: Option<Stop>,
) -> Result<T, Error<E>> {
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

/// The end of a call that did not come with the result of an attempt.
#[cold]
pub(crate) fn conclude<T, E>(
    policy: &Policy,
    call: &core::Call,
    now: Instant,
    end: End<'_>,
    last: Option<Result<T, E>>,
) -> Result<T, Error<E>> {
    let attempts = call.attempts();
    let last = match last {
        Some(Ok(value)) => return Ok(value),
        Some(Err(error)) => Some(error),
        None => None,
    };
    let (limit, stop) = match (end, last) {
        (End::Finished(stop), Some(error)) => return finish(call, now, Err(error), stop),
        (End::Refused(refusal), last) => {
            let (mut refused, timed_out) = (refusal.to_refused(), call.timed_out());
            nested::made(&mut refused);
            return Err(Error::Refused { refused, last, timed_out, attempts });
        }
        (End::TimedOut(limit, stop), last) => {
            let (policy, elapsed) = (policy.name().to_string(), now.since(call.started()));
            return Err(Error::TimedOut { policy, limit, stop, last, attempts, elapsed });
        }
        // Not reached: a call that finished did so with a result.
        (End::Finished(_), None) => (core::Limit::Call, Stop::Deadline),
    };
    let (policy, elapsed) = (policy.name().to_string(), now.since(call.started()));
    Err(Error::TimedOut { policy, limit, stop, last: None, attempts, elapsed })
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
