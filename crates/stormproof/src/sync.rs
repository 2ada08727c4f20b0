//! The sync door: performs the steps of [`core::Call`] by blocking the thread. It decides nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use pin_project_lite::pin_project;
use stormproof_core as core;
use stormproof_core::{End, Input, Outcome, Step, Ticket, Verdict};

use crate::call::{Cx, Options};
use crate::classify::{ByFn, Classify, ErrIsFailure, Noted};
use crate::clock::Parked;
use crate::error::Error;
use crate::held::Held;
use crate::policy::{DoorEdge, Policy};
use crate::run::{conclude, finish};
use crate::{inherited, waiters};

impl Policy {
    /// Calls the synchronous `op` through the stages, on this thread: backoffs sleep, and whoever waits for a slot or for
    /// a rate is parked. It needs no runtime. Within one it blocks the thread like any other blocking call, so it belongs
    /// on a thread that may block (`tokio::task::spawn_blocking`).
    ///
    /// ```
    /// use std::time::Duration;
    /// use stormproof::{Policy, Retry};
    ///
    /// let policy = Policy::builder("disk").retry(Retry::constant(Duration::from_millis(1))).build().expect("valid");
    /// let answer = policy.call_sync(|cx| if cx.attempt() < 3 { Err("not yet") } else { Ok(42) }).run();
    /// assert_eq!(answer, Ok(42));
    /// ```
    ///
    /// Nobody can end a function from outside, so the limits of an attempt are for `op` to keep: by
    /// [`cx.remaining()`](Cx::remaining), for instance as the timeout of a socket. What ends late is judged by its result
    /// as if it had been in time. The deadline of the call bounds its waits, and no attempt begins after it. There is one
    /// attempt at a time: a hedge follows one that has failed, and never runs beside one that is slow.
    ///
    /// Nested calls on the same thread inherit the deadline, whichever door either of them goes through. If `op` panics,
    /// whatever was taken is given back.
    pub fn call_sync<'p, F, T, E>(&'p self, op: F) -> SyncCall<'p, F, ErrIsFailure>
    where
        F: FnMut(Cx<'p>) -> Result<T, E>,
    {
        SyncCall { policy: self, op, classifier: ErrIsFailure, options: Options::default() }
    }

    /// [`admit`](Self::admit) for a thread that may block.
    pub fn admit_sync(&self) -> Result<Held, Error<Infallible>> {
        self.admit_cost_sync(1)
    }

    /// [`admit_cost`](Self::admit_cost) for a thread that may block.
    pub fn admit_cost_sync(&self, tokens: u32) -> Result<Held, Error<Infallible>> {
        self.call_sync(|_| Ok(())).cost(tokens).hold().map(|((), held)| held)
    }
}

pin_project! {
    /// A synchronous call through a policy. Made by [`Policy::call_sync`]; [`run`](Self::run) makes it.
    #[derive(Debug)]
    #[must_use = "a call does nothing until it is run"]
    pub struct SyncCall<'p, F, C> {
        policy: &'p Policy,
        op: F,
        classifier: C,
        options: Options,
    }
}

impl<'p, F, C> SyncCall<'p, F, C> {
    pub(crate) fn policy_of(&self) -> &'p Policy {
        self.policy
    }

    pub(crate) fn classifier(&self) -> &C {
        &self.classifier
    }

    pub(crate) fn own_deadline(&self) -> Option<Duration> {
        self.options.deadline
    }

    pub(crate) fn set_deadline(&mut self, limit: Duration) {
        self.options.deadline = Some(limit);
    }

    /// Makes the call, and leaves what it was made from.
    pub(crate) fn make<T, E>(&mut self) -> Result<T, Error<E>>
    where
        F: FnMut(Cx<'p>) -> Result<T, E>,
        C: Classify<T, E>,
    {
        Running::new(self.policy, self.options, false).run(&mut self.op, &self.classifier, false)
    }
}

impl<'p, F, T, E, C> SyncCall<'p, F, C>
where
    F: FnMut(Cx<'p>) -> Result<T, E>,
{
    /// Judges results by `classifier`. Default: every `Err` is a failure.
    pub fn classify<D: Classify<T, E>>(self, classifier: D) -> SyncCall<'p, F, D> {
        SyncCall { policy: self.policy, op: self.op, classifier, options: self.options }
    }

    /// Judges results by a closure.
    pub fn classify_with<D>(self, judge: D) -> SyncCall<'p, F, ByFn<D>>
    where
        D: for<'a> Fn(Result<&'a T, &'a E>) -> Verdict<'a>,
    {
        self.classify(ByFn(judge))
    }

    /// Calls `note` before each wait for another attempt: the retry's number from 1, the result that is retried, and the
    /// wait. A `note` that panics is passed over.
    pub fn on_retry<N>(self, note: N) -> SyncCall<'p, F, Noted<C, N>>
    where
        N: Fn(u32, Result<&T, &E>, Duration),
    {
        let classifier = Noted { classifier: self.classifier, note };
        SyncCall { policy: self.policy, op: self.op, classifier, options: self.options }
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

    /// Makes the call.
    pub fn run(mut self) -> Result<T, Error<E>>
    where
        C: Classify<T, E>,
    {
        self.make()
    }

    /// Makes the call and keeps what was taken for the last attempt: for a value that is still to be read. If it is judged
    /// a failure, that is counted at once, and slot and tokens are kept all the same.
    pub fn hold(mut self) -> Result<(T, Held), Error<E>>
    where
        C: Classify<T, E>,
    {
        let mut running = Running::new(self.policy, self.options, true);
        let value = running.run(&mut self.op, &self.classifier, true)?;
        Ok((value, Held::new(self.policy.clone(), running.call.hold())))
    }
}

/// A call under way. Dropped, by a panic as well, it gives back what it has.
struct Running<'p> {
    policy: &'p Policy,
    call: core::Call,
    ticket: Option<Ticket>,
    thread: Option<Arc<Parked>>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.call.abandon(&self.policy.0.core, &mut DoorEdge(&self.policy.0));
        self.leave();
    }
}

impl<'p> Running<'p> {
    fn new(policy: &'p Policy, options: Options, hold: bool) -> Self {
        Self { policy, call: options.begin(policy, hold), ticket: None, thread: None }
    }

    fn run<F, T, E, C>(&mut self, op: &mut F, classifier: &C, hold: bool) -> Result<T, Error<E>>
    where
        F: FnMut(Cx<'p>) -> Result<T, E>,
        C: Classify<T, E>,
    {
        let policy = self.policy;
        let (core, clock) = (&policy.0.core, &policy.0.clock);
        let mut edge = DoorEdge(&policy.0);
        let mut last = None;
        let mut now = self.call.started();
        let mut step = self.call.next(core, now, Input::Resume, &mut edge);
        loop {
            let until = match step {
                // One at a time: a hedge begins when the attempt before it has failed.
                Step::Attempt { number, limit, .. } => {
                    self.leave();
                    drop(last.take());
                    let result = inherited::scope(clock, limit, || op(Cx::new(policy, number, limit)));
                    let verdict = classifier.classify(result.as_ref());
                    if core.success_needs_time() || verdict.outcome != Outcome::Success || result.is_err() {
                        now = clock.now();
                    }
                    // Without a value there is nobody to hand the permits to.
                    let input = if hold && result.is_ok() && verdict.outcome != Outcome::Failure {
                        Input::Answered(number, verdict.outcome)
                    } else {
                        Input::Finished(number, verdict)
                    };
                    step = self.call.next(core, now, input, &mut edge);
                    if let Step::Done(End::Finished(stop)) = step {
                        if result.is_err() {
                            self.call.abandon(core, &mut edge);
                        }
                        return finish(&self.call, now, result, stop);
                    }
                    if let Step::BackOff { until } = step {
                        classifier.retrying(self.call.retries(), result.as_ref(), until.since(now));
                    }
                    last = Some(result);
                    continue;
                }
                // Not reached: what runs here has ended when the core hears of anything.
                Step::Cancel { .. } => {
                    step = self.call.next(core, now, Input::Resume, &mut edge);
                    continue;
                }
                Step::Queued { ticket, .. } if self.ticket != Some(ticket) => {
                    // Park first, then ask again: the ticket may have been granted in between.
                    self.leave();
                    waiters::park(ticket, &Waker::from(self.thread().clone()));
                    self.ticket = Some(ticket);
                    step = self.call.next(core, now, Input::Resume, &mut edge);
                    continue;
                }
                Step::Queued { until, .. } | Step::BackOff { until } => until,
                Step::Done(end) => return conclude(policy, &self.call, now, end, last),
            };
            now = if until > now { clock.block_until(until, self.thread()) } else { clock.now().max(until) };
            // Whoever was woken is in the table no more.
            self.leave();
            step = self.call.next(core, now, Input::Resume, &mut edge);
        }
    }

    fn thread(&mut self) -> &Arc<Parked> {
        self.thread.get_or_insert_with(|| self.policy.clock().parked())
    }

    fn leave(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            waiters::forget(ticket);
        }
    }
}
