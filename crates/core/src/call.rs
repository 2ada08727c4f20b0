//! One call through a policy: the fixed order, stated once.
//!
//! ```text
//! deadline of the whole call
//! └ retry and hedge, under a budget
//!   ├ 1 breaker: look, refuse at once if open        takes nothing
//!   ├ 2 bulkhead: a slot, or a bounded FIFO queue     may wait
//!   ├ 3 rate limit: requests, then tokens             may wait, refused early if the wait passes the deadline
//!   ├ 4 breaker: take the permit                      re-checked after the waits
//!   └ 5 attempt → settle 4, 3, 2 in reverse
//! ```
//!
//! With [`Scope::Operation`](crate::breaker::Scope) the breaker's permit is taken once, before the first attempt, and
//! settled at the end.
//!
//! A first attempt or a retry and the hedges beside it are a round. A hedge passes the same stages, but never waits: if it
//! cannot have everything at once there is no hedge. The first result that is no failure ends the call; when all attempts
//! of a round have failed, the last failure is what retry decides about.
//!
//! [`Call::next`] is asked again and again: it answers with a [`Step`], whoever drives it performs the step and comes
//! back with an [`Input`]. Dropping the driver is [`Call::abandon`].
//!
//! Owns what a call is and what it can be asked. How it gets to an attempt is in `admission`, how attempts run side by
//! side in `attempts`, what follows from their results in `ending`.

use std::time::Duration;

use crate::breaker::Scope;
use crate::decision::{Refusal, Ticket};
use crate::event::Kind;
use crate::outcome::{Outcome, Verdict};
use crate::permits::{Edge, Permits, emit};
use crate::policy::Policy;
use crate::retry::Stop;
use crate::time::Instant;
use crate::timeout::Limit;

mod admission;
mod attempts;
mod ending;

use admission::Queue;
use attempts::Lane;

/// What to do next.
#[derive(Debug)]
#[must_use]
pub enum Step<'p> {
    /// Start attempt `number` if it is new, and let those that run go on. Come back with [`Input::Finished`] when one of
    /// them ends, or with [`Input::Resume`] at `until`.
    Attempt {
        /// The number of the newest attempt, from 1.
        number: u32,
        /// When that attempt will be given up; [`Instant::FAR_FUTURE`] for never.
        limit: Instant,
        /// When to come back; [`Instant::FAR_FUTURE`] for never.
        until: Instant,
    },
    /// Drop attempt `number`, then come back with [`Input::Resume`]: what protects it is given back when it is gone.
    Cancel {
        /// The attempt's number.
        number: u32,
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
    /// With the last result that was handed in; if that is a failure, why there was no further attempt.
    Finished(Option<Stop>),
    /// A stage did not let it through. If the last result is an answer that was judged a failure, and no attempt has
    /// started since, the caller gets that answer: it is more than a refusal.
    Refused(Refusal<'p>),
    /// Time ran out: of its last attempt, or of the call. The caller gets an answer that is there, as when refused.
    TimedOut(Limit, Stop),
}

/// What happened since the last step.
#[derive(Clone, Copy, Debug)]
pub enum Input<'v> {
    /// Time passed, a ticket was woken or an attempt was dropped; also how a call begins.
    Resume,
    /// The attempt with this number ended.
    Finished(u32, Verdict<'v>),
    /// The attempt with this number has an answer that looks like this and is judged later: the call ends with it, and
    /// [`hold`](Call::hold) hands over what was taken for it.
    Answered(u32, Outcome),
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
/// let done = call.next(&policy, Instant::ZERO, Input::Finished(1, Verdict::success()), &mut NoEdge);
/// assert!(matches!(done, Step::Done(End::Finished(None))));
/// ```
#[derive(Debug)]
pub struct Call {
    started: Instant,
    deadline: Instant,
    whose: Whose,
    /// When the present step ends by itself.
    until: Instant,
    previous_delay: Duration,
    cost: u32,
    attempts: u32,
    retries: u32,
    phase: Phase,
    /// What the breaker said when the call began: it holds to the end, whatever is reloaded meanwhile.
    scope: Scope,
    /// What was taken for the attempt to come, then the round's first attempt; with the operation's scope the breaker's
    /// permit, too.
    first: Lane,
    /// The other attempts of the round. Empty, hence without memory, unless there is a hedge.
    hedges: Vec<Lane>,
    /// Hedges of this round so far, and when the next one is due.
    hedged: u32,
    hedge_at: Instant,
    /// Servers have asked for so much patience in this round.
    not_before: Instant,
    /// Whether slot and tokens outlast an attempt that fails for good.
    keeps: bool,
}

/// Whose deadline the call's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// That of the call, if it has one.
    Own,
    /// That of the call around it, sooner than its own.
    Inherited,
    /// That of the call around it; it has none of its own.
    InheritedOnly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before an attempt, nothing taken.
    Ready,
    /// In a stage's queue.
    Queued(Queue, Ticket),
    /// At least one attempt runs.
    Attempting,
    /// This attempt has run out of time and is being dropped.
    Expiring(u32),
    /// There is a result, and the attempts that lost are being dropped.
    Closing(Option<Stop>),
    BackingOff,
    Ended,
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

    /// Counts and tells that the call has run out of this time, so long after it began.
    fn timed_out(&mut self, limit: Limit, after: Duration) {
        self.policy.timed_out.count(limit);
        self.emit(|| Kind::TimedOut { limit, after });
    }
}

/// The kind of failure that running out of time is.
const TIMED_OUT: &str = "TimeoutError";

impl Call {
    /// A call that begins at `now` and must be over at `deadline`, see [`Policy::deadline_at`].
    #[inline]
    pub fn new(now: Instant, deadline: Instant) -> Self {
        Self {
            started: now,
            deadline,
            whose: Whose::Own,
            until: Instant::FAR_FUTURE,
            previous_delay: Duration::ZERO,
            cost: 1,
            attempts: 0,
            retries: 0,
            phase: Phase::Ready,
            scope: Scope::Attempt,
            first: Lane::default(),
            hedges: Vec::new(),
            hedged: 0,
            hedge_at: Instant::FAR_FUTURE,
            not_before: Instant::ZERO,
            keeps: false,
        }
    }

    /// Cuts the call to what a call around it has left.
    ///
    /// An attempt that runs out of that time, and not of its policy's, says nothing about the callee: it had less than
    /// the policy means it to have, so for the breaker it counts neither way. Only where the policy sets no time at all
    /// what is inherited is the limit there is, and running out of it counts as a failure.
    #[inline]
    pub fn inherit(&mut self, deadline: Instant) {
        if deadline < self.deadline {
            let alone = self.deadline == Instant::FAR_FUTURE || self.whose == Whose::InheritedOnly;
            self.whose = if alone { Whose::InheritedOnly } else { Whose::Inherited };
            self.deadline = deadline;
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

    /// Attempts started so far, hedges among them.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Retries so far: waits after which there was, or will be, another try. Hedges are none.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// Decides what to do next.
    #[inline]
    pub fn next<'p>(&mut self, policy: &'p Policy, now: Instant, input: Input<'_>, edge: &mut impl Edge) -> Step<'p> {
        let turn = &mut Turn { policy, now, edge };
        match (self.phase, &input) {
            (Phase::Ready, Input::Resume) => self.prepare(turn),
            (Phase::Attempting, Input::Finished(number, verdict)) => self.finished(turn, *number, verdict),
            _ => self.next_otherwise(turn, &input),
        }
    }

    /// What a call that passes at once and succeeds does without.
    #[cold]
    fn next_otherwise<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, input: &Input<'_>) -> Step<'p> {
        match (self.phase, input) {
            (Phase::Ready, _) => self.prepare(turn),
            (Phase::Attempting, Input::Finished(number, verdict)) => self.finished(turn, *number, verdict),
            (Phase::Attempting, Input::Answered(number, outcome)) => self.answered(turn, *number, *outcome),
            (Phase::Attempting, Input::Resume) => self.go_on(turn),
            (Phase::Expiring(number), _) => self.attempt_timed_out(turn, number),
            (Phase::Closing(stop), _) => self.drop_loser(turn, stop),
            (Phase::Queued(queue, ticket), _) => self.poll(turn, queue, ticket),
            (Phase::BackingOff, _) if turn.now >= self.until => self.prepare(turn),
            (Phase::BackingOff, _) => Step::BackOff { until: self.until },
            (Phase::Ended, _) => Step::Done(End::Finished(None)),
        }
    }

    /// At the end of a call hands over what it holds, to be settled later: for an answer whose body is still to come, see
    /// [`Input::Answered`], or for what it [keeps](Self::keep). Before the end: nothing.
    pub fn hold(&mut self) -> Permits {
        if self.phase == Phase::Ended { std::mem::take(&mut self.first.permits) } else { Permits::default() }
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
        for mut lane in self.hedges.drain(..) {
            lane.permits.abandon(policy, edge);
        }
        if matches!(self.phase, Phase::Ready | Phase::Queued(..) | Phase::BackingOff) {
            self.first.permits.release(policy, edge);
        } else {
            self.first.permits.abandon(policy, edge);
        }
        self.phase = Phase::Ended;
    }
}
