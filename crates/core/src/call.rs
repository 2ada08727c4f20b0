//! One call through a policy: the fixed order, stated once.
//!
//! ```text
//! deadline of the whole call
//! └ retry, under a budget
//!   ├ 1 breaker: look, refuse at once if open        takes nothing
//!   ├ 2 bulkhead: a slot, or a bounded FIFO queue     may wait
//!   ├ 3 rate limit: requests, then tokens             may wait, refused early if the wait passes the deadline
//!   ├ 4 breaker: take the permit                      re-checked after the waits
//!   └ 5 attempt → settle 4, 3, 2 in reverse
//! ```
//!
//! With [`Scope::Operation`] the breaker's permit is taken once, before the first attempt, and settled at the end.
//!
//! [`Call::next`] is asked again and again: it answers with a [`Step`], whoever drives it performs the step and comes
//! back with an [`Input`]. Dropping the driver is [`Call::abandon`].

use std::time::Duration;

use crate::breaker::Scope;
use crate::decision::{Admission, Progress, Refusal, Ticket};
use crate::event::Kind;
use crate::outcome::{Outcome, Verdict};
use crate::permits::{Edge, Permits, emit, emit_admission, wake};
use crate::policy::Policy;
use crate::rate::RateLimiter;
use crate::retry::{Decision, Stop};
use crate::time::Instant;
use crate::timeout::Limit;

/// What to do next.
#[derive(Debug)]
#[must_use]
pub enum Step<'p> {
    /// Start attempt `number` (from 1), or let it go on if it runs. Come back with [`Input::Finished`] when it ends, or
    /// drop it at `until` and come back with [`Input::Resume`].
    Attempt {
        /// The attempt's number, from 1.
        number: u32,
        /// When to give it up; [`Instant::FAR_FUTURE`] for never.
        until: Instant,
    },
    /// Come back with [`Input::Resume`] when `ticket` is woken, or at `until`.
    Queued {
        /// The place in the queue.
        ticket: Ticket,
        /// When to come back anyway; [`Instant::FAR_FUTURE`] for never.
        until: Instant,
    },
    /// Come back with [`Input::Resume`] at `until`.
    BackOff {
        /// When the next attempt is due.
        until: Instant,
    },
    /// It is over.
    Done(End<'p>),
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub enum End<'p> {
    /// With the result of its last attempt; if that is a failure, why there was no further attempt.
    Finished(Option<Stop>),
    /// A stage did not let it through.
    Refused(Refusal<'p>),
    /// Time ran out: of its last attempt, or of the call.
    TimedOut(Limit, Stop),
}

/// What happened since the last step.
#[derive(Clone, Copy, Debug)]
pub enum Input<'v> {
    /// Time passed or a ticket was woken; also how a call begins.
    Resume,
    /// The attempt ended.
    Finished(Verdict<'v>),
}

/// A call under way: plain data, driven by [`next`](Self::next).
///
/// ```
/// use stormproof_core::{Call, End, Input, Instant, NoEdge, Policy, Step, Verdict};
///
/// let policy = Policy::new("tool");
/// let mut call = Call::new(Instant::ZERO, policy.deadline_at(Instant::ZERO));
/// let Step::Attempt { number: 1, .. } = call.next(&policy, Instant::ZERO, Input::Resume, &mut NoEdge) else { panic!() };
/// // … the operation runs …
/// let done = call.next(&policy, Instant::ZERO, Input::Finished(Verdict::success()), &mut NoEdge);
/// assert!(matches!(done, Step::Done(End::Finished(None))));
/// ```
#[derive(Debug)]
pub struct Call {
    started: Instant,
    deadline: Instant,
    /// When the present step ends by itself.
    until: Instant,
    previous_delay: Duration,
    cost: u32,
    attempts: u32,
    phase: Phase,
    permits: Permits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before an attempt, nothing taken.
    Ready,
    /// In the bulkhead's queue, at most until.
    Bulkhead(Ticket, Instant),
    /// In the queue of the requests' or the tokens' limiter.
    Rate(Ticket, Quota),
    Attempting,
    BackingOff,
    Ended,
}

/// The two limiters of stage 3, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quota {
    Requests,
    Tokens,
}

impl Quota {
    fn limiter(self, policy: &Policy) -> Option<&RateLimiter> {
        match self {
            Self::Requests => policy.rate.as_deref(),
            Self::Tokens => policy.tokens.as_deref(),
        }
    }
}

/// The kind of failure that running out of time is.
const TIMED_OUT: &str = "TimeoutError";

impl Call {
    /// A call that begins at `now` and must be over at `deadline`: the sooner of [`Policy::deadline_at`] and the one
    /// inherited from an outer call.
    #[inline]
    pub fn new(now: Instant, deadline: Instant) -> Self {
        Self {
            started: now,
            deadline,
            until: Instant::FAR_FUTURE,
            previous_delay: Duration::ZERO,
            cost: 0,
            attempts: 0,
            phase: Phase::Ready,
            permits: Permits::default(),
        }
    }

    /// Reserves so many tokens for each attempt.
    pub fn cost(&mut self, tokens: u32) {
        self.cost = tokens;
    }

    /// When the call began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// When it must be over; [`Instant::FAR_FUTURE`] for never.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Attempts started so far.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Decides what to do next.
    #[inline]
    pub fn next<'p>(&mut self, policy: &'p Policy, now: Instant, input: Input<'_>, edge: &mut impl Edge) -> Step<'p> {
        match (self.phase, &input) {
            (Phase::Ready, _) => self.prepare(policy, now, edge),
            (Phase::Attempting, Input::Finished(verdict)) => self.attempt_ended(policy, now, verdict, None, edge),
            (Phase::Attempting, Input::Resume) if now >= self.until => self.attempt_timed_out(policy, now, edge),
            (Phase::Attempting, Input::Resume) => Step::Attempt { number: self.attempts, until: self.until },
            (Phase::Bulkhead(ticket, until), _) => self.wait_for_slot(policy, now, ticket, until, edge),
            (Phase::Rate(ticket, quota), _) => self.wait_for_rate(policy, now, ticket, quota, edge),
            (Phase::BackingOff, _) if now >= self.until => self.prepare(policy, now, edge),
            (Phase::BackingOff, _) => Step::BackOff { until: self.until },
            (Phase::Ended, _) => Step::Done(End::Finished(None)),
        }
    }

    /// Steps 1 and 2: look at the breaker, ask for a slot.
    #[inline]
    fn prepare<'p>(&mut self, policy: &'p Policy, now: Instant, edge: &mut impl Edge) -> Step<'p> {
        if now >= self.deadline {
            return self.timed_out(policy, now, edge);
        }
        if let Some(breaker) = &policy.breaker {
            if policy.scope == Scope::Operation {
                if self.attempts == 0
                    && let Err(refusal) = self.take_permit(policy, now, edge)
                {
                    return self.refused(policy, now, refusal, edge);
                }
            } else if (policy.bulkhead.is_some() || policy.rate.is_some() || policy.tokens.is_some())
                && let Err(refusal) = breaker.look(now)
            {
                return self.refused(policy, now, refusal, edge);
            }
        }
        let Some(bulkhead) = &policy.bulkhead else { return self.take_rate(policy, now, Quota::Requests, edge) };
        match bulkhead.acquire() {
            Admission::Granted(slot) => {
                self.permits.slot = Some(slot);
                self.take_rate(policy, now, Quota::Requests, edge)
            }
            Admission::Queued(ticket) => {
                let until = now + bulkhead.queue_timeout();
                self.phase = Phase::Bulkhead(ticket, until);
                Step::Queued { ticket, until: until.min(self.deadline) }
            }
            Admission::Refused(refusal) => self.refused(policy, now, refusal, edge),
        }
    }

    #[cold]
    fn wait_for_slot<'p>(
        &mut self,
        policy: &'p Policy,
        now: Instant,
        ticket: Ticket,
        until: Instant,
        edge: &mut impl Edge,
    ) -> Step<'p> {
        let Some(bulkhead) = &policy.bulkhead else { return self.take_rate(policy, now, Quota::Requests, edge) };
        match bulkhead.poll(ticket) {
            Progress::Granted { token, wake: next } => {
                wake(edge, next);
                self.permits.slot = Some(token);
                self.phase = Phase::Ready;
                if now >= self.deadline {
                    return self.timed_out(policy, now, edge);
                }
                self.take_rate(policy, now, Quota::Requests, edge)
            }
            Progress::Waiting { .. } if now >= self.deadline => {
                wake(edge, bulkhead.cancel(ticket));
                self.timed_out(policy, now, edge)
            }
            Progress::Waiting { .. } if now >= until => {
                let (next, refusal) = bulkhead.time_out(ticket);
                wake(edge, next);
                self.refused(policy, now, refusal, edge)
            }
            Progress::Waiting { .. } => Step::Queued { ticket, until: until.min(self.deadline) },
        }
    }

    /// Step 3: requests, then tokens.
    #[inline]
    fn take_rate<'p>(&mut self, policy: &'p Policy, now: Instant, quota: Quota, edge: &mut impl Edge) -> Step<'p> {
        let Some(limiter) = quota.limiter(policy) else { return self.after_rate(policy, now, quota, edge) };
        let cost = if quota == Quota::Requests { 1 } else { self.cost };
        match limiter.acquire(now, cost, self.deadline) {
            Admission::Granted(reservation) => {
                self.keep(quota, reservation);
                self.after_rate(policy, now, quota, edge)
            }
            Admission::Queued(ticket) => self.wait_for_rate(policy, now, ticket, quota, edge),
            Admission::Refused(refusal) => self.refused(policy, now, refusal, edge),
        }
    }

    #[inline]
    fn keep(&mut self, quota: Quota, reservation: crate::rate::Reservation) {
        match quota {
            Quota::Requests => self.permits.rate = Some(reservation),
            Quota::Tokens => self.permits.tokens = Some(reservation),
        }
    }

    #[inline]
    fn after_rate<'p>(&mut self, policy: &'p Policy, now: Instant, quota: Quota, edge: &mut impl Edge) -> Step<'p> {
        match quota {
            Quota::Requests => self.take_rate(policy, now, Quota::Tokens, edge),
            Quota::Tokens => self.start(policy, now, edge),
        }
    }

    #[cold]
    fn wait_for_rate<'p>(
        &mut self,
        policy: &'p Policy,
        now: Instant,
        ticket: Ticket,
        quota: Quota,
        edge: &mut impl Edge,
    ) -> Step<'p> {
        let Some(limiter) = quota.limiter(policy) else { return self.after_rate(policy, now, quota, edge) };
        match limiter.poll(now, ticket) {
            Progress::Granted { token, wake: next } => {
                wake(edge, next);
                self.phase = Phase::Ready;
                self.keep(quota, token);
                if now >= self.deadline {
                    return self.timed_out(policy, now, edge);
                }
                self.after_rate(policy, now, quota, edge)
            }
            Progress::Waiting { .. } if now >= self.deadline => {
                wake(edge, limiter.cancel(ticket));
                self.timed_out(policy, now, edge)
            }
            Progress::Waiting { until } => {
                self.phase = Phase::Rate(ticket, quota);
                Step::Queued { ticket, until: until.min(self.deadline) }
            }
        }
    }

    /// Steps 4 and 5: take the permit and begin.
    #[inline]
    fn start<'p>(&mut self, policy: &'p Policy, now: Instant, edge: &mut impl Edge) -> Step<'p> {
        // The waits may have used up all the time there was: what is left undone is no failure of the callee.
        if now >= self.deadline {
            return self.timed_out(policy, now, edge);
        }
        if policy.scope == Scope::Attempt
            && let Err(refusal) = self.take_permit(policy, now, edge)
        {
            return self.refused(policy, now, refusal, edge);
        }
        if self.attempts == 0
            && let Some(budget) = &policy.budget
        {
            budget.deposit(now);
        }
        self.attempts = self.attempts.saturating_add(1);
        self.phase = Phase::Attempting;
        let own = policy.attempt_timeout.map_or(Instant::FAR_FUTURE, |limit| now + limit);
        self.until = own.min(self.deadline);
        Step::Attempt { number: self.attempts, until: self.until }
    }

    #[inline]
    fn take_permit<'p>(&mut self, policy: &'p Policy, now: Instant, edge: &mut impl Edge) -> Result<(), Refusal<'p>> {
        if let Some(breaker) = &policy.breaker {
            let permit = self.permits.breaker.insert(breaker.admit(now)?);
            emit_admission(policy, now, permit, edge);
        }
        Ok(())
    }

    #[cold]
    fn attempt_timed_out<'p>(&mut self, policy: &'p Policy, now: Instant, edge: &mut impl Edge) -> Step<'p> {
        let limit = if now >= self.deadline { Limit::Call } else { Limit::Attempt };
        let after = now.since(self.started);
        emit(policy, now, edge, || Kind::TimedOut { limit, after });
        self.attempt_ended(policy, now, &Verdict::failure(TIMED_OUT), Some(limit), edge)
    }

    /// Gives back what the attempt held, and decides whether another follows.
    #[inline]
    fn attempt_ended<'p>(
        &mut self,
        policy: &'p Policy,
        now: Instant,
        verdict: &Verdict<'_>,
        limit: Option<Limit>,
        edge: &mut impl Edge,
    ) -> Step<'p> {
        if policy.scope == Scope::Attempt {
            self.permits.settle_breaker(policy, now, verdict, edge);
        }
        self.permits.settle_attempt(policy, now, verdict, edge);
        if verdict.outcome == Outcome::Success {
            return self.end(policy, now, verdict, End::Finished(None), edge);
        }
        self.retry(policy, now, verdict, limit, edge)
    }

    #[cold]
    fn retry<'p>(
        &mut self,
        policy: &'p Policy,
        now: Instant,
        verdict: &Verdict<'_>,
        limit: Option<Limit>,
        edge: &mut impl Edge,
    ) -> Step<'p> {
        let retries = self.attempts.saturating_sub(1);
        let decision = policy.retry.as_ref().map_or(Decision::Stop(Stop::NoRetry), |retry| {
            retry.decide(now, retries, self.previous_delay, verdict, self.deadline, policy.budget.as_deref())
        });
        match decision {
            Decision::Retry { delay, until } => {
                emit(policy, now, edge, || Kind::RetryAttempted {
                    retry: self.attempts,
                    delay,
                    error: verdict.kind.into(),
                });
                self.previous_delay = delay;
                self.phase = Phase::BackingOff;
                self.until = until;
                Step::BackOff { until }
            }
            Decision::Stop(stop) => {
                let attempts = self.attempts;
                emit(policy, now, edge, || Kind::GaveUp { stop, attempts, error: verdict.kind.into() });
                let end = limit.map_or(End::Finished(Some(stop)), |limit| End::TimedOut(limit, stop));
                self.end(policy, now, verdict, end, edge)
            }
        }
    }

    /// The deadline passed outside an attempt.
    #[cold]
    fn timed_out<'p>(&mut self, policy: &'p Policy, now: Instant, edge: &mut impl Edge) -> Step<'p> {
        let (limit, after) = (Limit::Call, now.since(self.started));
        emit(policy, now, edge, || Kind::TimedOut { limit, after });
        self.stopped_outside(policy, now, TIMED_OUT, End::TimedOut(limit, Stop::Deadline), edge)
    }

    #[cold]
    fn refused<'p>(
        &mut self,
        policy: &'p Policy,
        now: Instant,
        refusal: Refusal<'p>,
        edge: &mut impl Edge,
    ) -> Step<'p> {
        if refusal.stage != crate::Stage::Breaker {
            emit(policy, now, edge, || Kind::of_refusal(&refusal));
        }
        self.stopped_outside(policy, now, refusal.reason.as_str(), End::Refused(refusal), edge)
    }

    /// Ends between attempts. An operation whose attempts failed has failed; one without attempts says nothing.
    fn stopped_outside<'p>(
        &mut self,
        policy: &'p Policy,
        now: Instant,
        kind: &str,
        end: End<'p>,
        edge: &mut impl Edge,
    ) -> Step<'p> {
        self.permits.refund(policy, edge);
        let verdict = if self.attempts > 0 { Verdict::failure(kind) } else { Verdict::ignored(kind) };
        self.end(policy, now, &verdict, end, edge)
    }

    #[inline]
    fn end<'p>(
        &mut self,
        policy: &'p Policy,
        now: Instant,
        verdict: &Verdict<'_>,
        end: End<'p>,
        edge: &mut impl Edge,
    ) -> Step<'p> {
        self.phase = Phase::Ended;
        if policy.scope == Scope::Operation {
            self.permits.settle_breaker(policy, now, verdict, edge);
        }
        Step::Done(end)
    }

    /// Ends the call in the middle of an attempt and hands over what it holds, to be settled later: for a response whose
    /// body is still to come. Outside an attempt it does nothing and hands over nothing.
    pub fn hold(&mut self) -> Permits {
        if self.phase != Phase::Attempting {
            return Permits::default();
        }
        self.phase = Phase::Ended;
        std::mem::take(&mut self.permits)
    }

    /// Gives back everything: the call was dropped. Nothing counts for or against the callee.
    #[inline]
    pub fn abandon(&mut self, policy: &Policy, edge: &mut impl Edge) {
        if self.phase != Phase::Ended {
            self.abandon_midway(policy, edge);
        }
    }

    #[cold]
    fn abandon_midway(&mut self, policy: &Policy, edge: &mut impl Edge) {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Bulkhead(ticket, _) => {
                if let Some(bulkhead) = &policy.bulkhead {
                    wake(edge, bulkhead.cancel(ticket));
                }
            }
            Phase::Rate(ticket, quota) => {
                if let Some(limiter) = quota.limiter(policy) {
                    wake(edge, limiter.cancel(ticket));
                }
            }
            Phase::Attempting => return self.permits.abandon(policy, edge),
            Phase::Ended => return,
            Phase::Ready | Phase::BackingOff => {}
        }
        self.permits.release(policy, edge);
    }
}
