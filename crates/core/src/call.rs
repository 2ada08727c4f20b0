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

use crate::breaker::{Change, Scope};
use crate::decision::{Admission, Progress, Refusal, Stage, Ticket};
use crate::event::Kind;
use crate::outcome::{Outcome, Verdict};
use crate::permits::{Edge, Permits, emit, wake};
use crate::policy::Policy;
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
    /// What the breaker said when the call began: it holds to the end, whatever is reloaded meanwhile.
    scope: Scope,
    permits: Permits,
    /// Whether slot and tokens outlast an attempt that fails for good.
    keeps: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before an attempt, nothing taken.
    Ready,
    /// In a stage's queue.
    Queued(Queue, Ticket),
    Attempting,
    BackingOff,
    Ended,
}

/// The stages a call may have to wait for, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    Slot,
    Requests,
    Tokens,
}

/// One asking: about which policy, at what time, and who carries out the answer.
struct Turn<'p, 'e, E> {
    policy: &'p Policy,
    now: Instant,
    edge: &'e mut E,
}

impl<E: Edge> Turn<'_, '_, E> {
    #[inline]
    fn emit(&mut self, kind: impl FnOnce() -> Kind) {
        emit(self.policy, self.now, self.edge, kind);
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
            cost: 1,
            attempts: 0,
            phase: Phase::Ready,
            scope: Scope::Attempt,
            permits: Permits::default(),
            keeps: false,
        }
    }

    /// Reserves so many tokens for each attempt. Default: 1, so that a limiter of tokens limits in any case.
    pub fn cost(&mut self, tokens: u32) {
        self.cost = tokens;
    }

    /// Keeps slot and tokens when the last attempt ends with a failure, for [`hold`](Self::hold) to hand over: a response
    /// that says so has a body, too.
    pub fn keep(&mut self) {
        self.keeps = true;
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
        let turn = &mut Turn { policy, now, edge };
        match (self.phase, &input) {
            (Phase::Ready, _) => self.prepare(turn),
            (Phase::Attempting, Input::Finished(verdict)) => self.attempt_ended(turn, verdict, None),
            (Phase::Attempting, Input::Resume) if now >= self.until => self.attempt_timed_out(turn),
            (Phase::Attempting, Input::Resume) => Step::Attempt { number: self.attempts, until: self.until },
            (Phase::Queued(queue, ticket), _) => self.poll(turn, queue, ticket),
            (Phase::BackingOff, _) if now >= self.until => self.prepare(turn),
            (Phase::BackingOff, _) => Step::BackOff { until: self.until },
            (Phase::Ended, _) => Step::Done(End::Finished(None)),
        }
    }

    /// Step 1: look at the breaker; with one for the whole operation, take its permit.
    #[inline]
    fn prepare<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Step<'p> {
        if turn.now >= self.deadline {
            return self.timed_out(turn);
        }
        let Policy { breaker, bulkhead, rate, tokens, .. } = turn.policy;
        if self.attempts == 0 {
            self.scope = turn.policy.scope();
        }
        let may_wait = bulkhead.is_some() || rate.is_some() || tokens.is_some();
        let passed = match (breaker, self.scope) {
            (Some(_), Scope::Operation) if self.attempts == 0 => self.take_permit(turn),
            (Some(breaker), Scope::Attempt) if may_wait => breaker.look(turn.now),
            _ => Ok(()),
        };
        match passed {
            Ok(()) => self.take(turn, Queue::Slot),
            Err(refusal) => self.refused(turn, refusal),
        }
    }

    /// Steps 2 and 3, from `queue` on: a slot, requests, tokens.
    #[inline]
    fn take<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, queue: Queue) -> Step<'p> {
        if queue == Queue::Slot
            && let Some(bulkhead) = &turn.policy.bulkhead
        {
            match bulkhead.acquire() {
                Admission::Granted(slot) => self.permits.slot = Some(slot),
                Admission::Queued(ticket) => {
                    self.until = turn.now + bulkhead.queue_timeout();
                    return self.poll(turn, Queue::Slot, ticket);
                }
                Admission::Refused(refusal) => return self.refused(turn, refusal),
            }
        }
        if queue != Queue::Tokens
            && let Some(limiter) = &turn.policy.rate
        {
            match limiter.acquire(turn.now, 1, self.deadline) {
                Admission::Granted(requests) => self.permits.rate = Some(requests),
                Admission::Queued(ticket) => return self.poll(turn, Queue::Requests, ticket),
                Admission::Refused(refusal) => return self.refused(turn, refusal),
            }
        }
        if let Some(limiter) = &turn.policy.tokens {
            match limiter.acquire(turn.now, self.cost, self.deadline) {
                Admission::Granted(tokens) => self.permits.tokens = Some(tokens),
                Admission::Queued(ticket) => return self.poll(turn, Queue::Tokens, ticket),
                Admission::Refused(refusal) => return self.refused(turn, refusal),
            }
        }
        self.start(turn)
    }

    /// Asks whether the turn of `ticket` has come, and goes on behind its queue if so.
    #[cold]
    fn poll<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, queue: Queue, ticket: Ticket) -> Step<'p> {
        self.phase = Phase::Queued(queue, ticket);
        let Policy { bulkhead, rate, tokens, .. } = turn.policy;
        match (queue, bulkhead, rate, tokens) {
            (Queue::Slot, Some(bulkhead), ..) => match bulkhead.poll(ticket) {
                Progress::Granted { token, wake: next } => {
                    wake(turn.edge, next);
                    self.permits.slot = Some(token);
                    self.take(turn, Queue::Requests)
                }
                Progress::Waiting { .. } if turn.now >= self.until && turn.now < self.deadline => {
                    let (next, refusal) = bulkhead.time_out(ticket);
                    wake(turn.edge, next);
                    self.refused(turn, refusal)
                }
                Progress::Waiting { .. } => self.wait(turn, ticket, self.until),
            },
            (Queue::Requests, _, Some(limiter), _) => match limiter.poll(turn.now, ticket) {
                Progress::Granted { token, wake: next } => {
                    wake(turn.edge, next);
                    self.permits.rate = Some(token);
                    self.take(turn, Queue::Tokens)
                }
                Progress::Waiting { until } => self.wait(turn, ticket, until),
            },
            (Queue::Tokens, _, _, Some(limiter)) => match limiter.poll(turn.now, ticket) {
                Progress::Granted { token, wake: next } => {
                    wake(turn.edge, next);
                    self.permits.tokens = Some(token);
                    self.start(turn)
                }
                Progress::Waiting { until } => self.wait(turn, ticket, until),
            },
            // Not reached: who waits does so in a stage that the policy has.
            _ => self.start(turn),
        }
    }

    /// Stays in the queue, until the deadline at the latest.
    fn wait<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, ticket: Ticket, until: Instant) -> Step<'p> {
        if turn.now >= self.deadline {
            self.leave_queue(turn.policy, turn.edge);
            return self.timed_out(turn);
        }
        Step::Queued { ticket, until: until.min(self.deadline) }
    }

    fn leave_queue(&mut self, policy: &Policy, edge: &mut impl Edge) {
        let Phase::Queued(queue, ticket) = self.phase else { return };
        let next = match queue {
            Queue::Slot => policy.bulkhead.as_ref().and_then(|bulkhead| bulkhead.cancel(ticket)),
            Queue::Requests => policy.rate.as_ref().and_then(|limiter| limiter.cancel(ticket)),
            Queue::Tokens => policy.tokens.as_ref().and_then(|limiter| limiter.cancel(ticket)),
        };
        wake(edge, next);
    }

    /// Steps 4 and 5: take the permit and begin.
    #[inline]
    fn start<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Step<'p> {
        // The waits may have used up all the time there was: what is left undone is no failure of the callee.
        if turn.now >= self.deadline {
            return self.timed_out(turn);
        }
        if self.scope == Scope::Attempt
            && let Err(refusal) = self.take_permit(turn)
        {
            return self.refused(turn, refusal);
        }
        if self.attempts == 0
            && let Some(budget) = &turn.policy.budget
        {
            budget.deposit(turn.now);
        }
        self.attempts = self.attempts.saturating_add(1);
        self.phase = Phase::Attempting;
        if let Some(slot) = &mut self.permits.slot {
            slot.begin(turn.now);
        }
        let own = turn.policy.attempt_timeout.map_or(Instant::FAR_FUTURE, |limit| turn.now + limit);
        self.until = own.min(self.deadline);
        Step::Attempt { number: self.attempts, until: self.until }
    }

    #[inline]
    fn take_permit<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Result<(), Refusal<'p>> {
        if let Some(breaker) = &turn.policy.breaker {
            let permit = self.permits.breaker.insert(breaker.admit(turn.now)?);
            if let Some(transition) = permit.transition() {
                turn.emit(|| Kind::of_change(breaker.name(), Change::Moved(transition)));
            }
        }
        Ok(())
    }

    #[cold]
    fn attempt_timed_out<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Step<'p> {
        let limit = if turn.now >= self.deadline { Limit::Call } else { Limit::Attempt };
        let after = turn.now.since(self.started);
        turn.emit(|| Kind::TimedOut { limit, after });
        self.attempt_ended(turn, &Verdict::failure(TIMED_OUT), Some(limit))
    }

    /// Gives back what the attempt held, and decides whether another follows.
    #[inline]
    fn attempt_ended<'p>(
        &mut self,
        turn: &mut Turn<'p, '_, impl Edge>,
        verdict: &Verdict<'_>,
        limit: Option<Limit>,
    ) -> Step<'p> {
        if self.scope == Scope::Attempt {
            self.permits.settle_breaker(turn.policy, turn.now, verdict, turn.edge);
        }
        if verdict.outcome == Outcome::Success {
            self.permits.settle_attempt(turn.policy, turn.now, verdict, turn.edge);
            return self.end(turn, verdict, End::Finished(None));
        }
        self.retry(turn, verdict, limit)
    }

    #[cold]
    fn retry<'p>(
        &mut self,
        turn: &mut Turn<'p, '_, impl Edge>,
        verdict: &Verdict<'_>,
        limit: Option<Limit>,
    ) -> Step<'p> {
        let (attempts, error) = (self.attempts, verdict.kind);
        let decision = turn.policy.retry.as_ref().map_or(Decision::Stop(Stop::NoRetry), |retry| {
            let retries = attempts.saturating_sub(1);
            retry.decide(turn.now, retries, self.previous_delay, verdict, self.deadline)
        });
        let stop = match decision {
            Decision::Retry { delay, until } => {
                if let Some(refusal) = self.refused_then(turn, until) {
                    self.permits.settle_attempt(turn.policy, turn.now, verdict, turn.edge);
                    return self.refused(turn, refusal);
                }
                // Last, so that a retry is paid for only if it takes place.
                if turn.policy.budget.as_ref().is_none_or(|budget| budget.withdraw(turn.now)) {
                    self.permits.settle_attempt(turn.policy, turn.now, verdict, turn.edge);
                    turn.emit(|| Kind::RetryAttempted { retry: attempts, delay, error: error.into() });
                    self.previous_delay = delay;
                    self.phase = Phase::BackingOff;
                    self.until = until;
                    return Step::BackOff { until };
                }
                Stop::BudgetDenied
            }
            Decision::Stop(stop) => stop,
        };
        if !self.keeps || limit.is_some() {
            self.permits.settle_attempt(turn.policy, turn.now, verdict, turn.edge);
        }
        // What was ignored is the caller's own affair.
        if verdict.outcome == Outcome::Failure {
            turn.emit(|| Kind::GaveUp { stop, attempts, error: error.into() });
        }
        let end = limit.map_or(End::Finished(Some(stop)), |limit| End::TimedOut(limit, stop));
        self.end(turn, verdict, end)
    }

    /// The refusal that a retry at `until` would meet for certain: nobody waits for that.
    fn refused_then<'p>(&self, turn: &Turn<'p, '_, impl Edge>, until: Instant) -> Option<Refusal<'p>> {
        let breaker = turn.policy.breaker.as_ref().filter(|_| self.scope == Scope::Attempt)?;
        if breaker.open_until(turn.now)? <= until {
            return None;
        }
        breaker.look(turn.now).err()
    }

    /// The deadline passed outside an attempt.
    #[cold]
    fn timed_out<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Step<'p> {
        let (limit, after) = (Limit::Call, turn.now.since(self.started));
        turn.emit(|| Kind::TimedOut { limit, after });
        self.stopped_outside(turn, TIMED_OUT, End::TimedOut(limit, Stop::Deadline))
    }

    #[cold]
    fn refused<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, refusal: Refusal<'p>) -> Step<'p> {
        // A breaker's refusals are counted: they are not rare.
        if refusal.stage != Stage::Breaker {
            turn.emit(|| Kind::of_refusal(&refusal));
        }
        if self.attempts > 0 {
            let (stop, attempts, error) = (Stop::Refused, self.attempts, refusal.reason.as_str());
            turn.emit(|| Kind::GaveUp { stop, attempts, error: error.into() });
        }
        self.stopped_outside(turn, refusal.reason.as_str(), End::Refused(refusal))
    }

    /// Ends between attempts. An operation whose attempts failed has failed; one without attempts says nothing.
    fn stopped_outside<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, kind: &str, end: End<'p>) -> Step<'p> {
        self.permits.refund(turn.policy, turn.edge);
        let verdict = if self.attempts > 0 { Verdict::failure(kind) } else { Verdict::ignored(kind) };
        self.end(turn, &verdict, end)
    }

    #[inline]
    fn end<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, verdict: &Verdict<'_>, end: End<'p>) -> Step<'p> {
        self.phase = Phase::Ended;
        if self.scope == Scope::Operation {
            self.permits.settle_breaker(turn.policy, turn.now, verdict, turn.edge);
        }
        Step::Done(end)
    }

    /// Ends the call in the middle of an attempt and hands over what it holds, to be settled later: for a response whose
    /// body is still to come. At the end of a call hands over what it [keeps](Self::keep), else nothing.
    pub fn hold(&mut self) -> Permits {
        if !matches!(self.phase, Phase::Attempting | Phase::Ended) {
            return Permits::default();
        }
        self.phase = Phase::Ended;
        std::mem::take(&mut self.permits)
    }

    /// Gives back everything: the call was dropped. Nothing counts for or against the callee.
    #[inline]
    pub fn abandon(&mut self, policy: &Policy, edge: &mut impl Edge) {
        if self.phase != Phase::Ended || self.keeps {
            self.abandon_midway(policy, edge);
        }
    }

    #[cold]
    fn abandon_midway(&mut self, policy: &Policy, edge: &mut impl Edge) {
        self.leave_queue(policy, edge);
        if matches!(self.phase, Phase::Attempting | Phase::Ended) {
            self.permits.abandon(policy, edge);
        } else {
            self.permits.release(policy, edge);
        }
        self.phase = Phase::Ended;
    }
}
