//! One call through a policy: the fixed order, stated once.
//!
//! ```text
//! deadline of the whole call
//! └ retry and hedge, under a budget
//!   ├ 0 throttle: would the callee refuse anyway?     takes nothing
//!   ├ 1 breaker: look, refuse at once if open        takes nothing
//!   ├ 2 bulkhead: a slot, or a bounded queue          may wait
//!   ├ 3 rate limit: requests, then tokens             may wait, refused early if the wait passes the deadline
//!   ├ 4 breaker: take the permit                      re-checked after the waits
//!   └ 5 attempt → settle 4, 3, 2 in reverse
//! ```
//!
//! With [`Scope::Operation`](crate::breaker::Scope) the breaker's permit is taken once, before the first attempt, and
//! settled at the end.
//!
//! A first attempt or a retry and the hedges beside it are a round. A hedge passes the same stages, but never waits: if it
//! cannot have everything at once there is no hedge. One that follows a failed attempt gets that attempt's slot. While
//! the circuit is half-open the attempts of a round share one place among the probes. The first result that is no failure
//! ends the call; when all attempts of a round have failed, the last failure is what retry decides about.
//!
//! [`Call::next`] is asked again and again: it answers with a [`Step`], whoever drives it performs the step and comes
//! back with an [`Input`]. Dropping the driver is [`Call::abandon`].
//!
//! Owns what a call is, what it can be asked, and the way to an attempt. How attempts run side by side is in `attempts`,
//! what follows from their results in `ending`; what is taken from the stages is in `permits.rs`.

use std::time::Duration;

use crate::breaker::{Permit, Scope};
use crate::decision::{Refusal, Ticket};
use crate::outcome::{Outcome, Verdict};
use crate::permits::{Edge, Missing, Permits, Queue, Turn, Waiting, admit, ask};
use crate::policy::Policy;
use crate::retry::Stop;
use crate::time::Instant;
use crate::timeout::Limit;

mod attempts;
mod ending;
mod lanes;

use lanes::Lanes;

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
    /// Make ready what attempt `number` will call, without calling it: only after [`Call::readies`]. Come back with
    /// [`Input::Resume`] when it is ready or at `until`, or with [`Input::Unready`] if it cannot be called. The attempt has
    /// not begun: it is not counted, and neither the breaker nor the budget knows of it.
    Ready {
        /// The number that the attempt will have.
        number: u32,
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
    /// With the last result that was handed in; if that is no success, why there was no further attempt.
    Finished(Option<Stop>),
    /// A stage did not let it through. If the last result is an answer that was judged a failure, and no attempt has
    /// started since, the caller gets that answer: it is more than a refusal. Whether the last attempt ran out of time is
    /// [`Call::timed_out`].
    Refused(Refusal<'p>),
    /// Time ran out: of its last attempt, or of the call. The caller gets an answer that is there, as when refused.
    TimedOut(Limit, Stop),
}

/// What happened since the last step.
#[derive(Clone, Copy, Debug)]
pub enum Input<'v> {
    /// Time passed, a ticket was woken, an attempt was dropped or can be made; also how a call begins.
    Resume,
    /// The attempt with this number ended.
    Finished(u32, Verdict<'v>),
    /// The attempt with this number has an answer that looks like this and is judged later: the call ends with it, and
    /// [`hold`](Call::hold) hands over what was taken for it.
    Answered(u32, Outcome),
    /// What the attempt with this number was to call cannot be called. Nothing was: everything is given back, and if no
    /// other attempt runs the call ends as [`Stop::Unready`].
    Unready(u32),
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
#[expect(clippy::struct_excessive_bools, reason = "each is a wish of its driver, independent of the others")]
pub struct Call {
    started: Instant,
    /// The call's own deadline, and the one that holds: a call around it may leave less.
    own_deadline: Instant,
    deadline: Instant,
    phase: Phase,
    /// What the breaker said when the call began: it holds to the end, whatever is reloaded meanwhile.
    scope: Scope,
    /// Whether slot and tokens outlast an attempt that fails for good.
    keeps: bool,
    /// Whether an attempt waits until what it calls is ready.
    readies: bool,
    /// Whether it may wait for slot, requests and tokens.
    waits: bool,
    /// Whether attempts are measured.
    measures: bool,
    /// Whether hedges may run beside an attempt.
    hedges: bool,
    /// The limit that ended the last attempt, if it ran out of time.
    timed_out: Option<Limit>,
    cost: u32,
    attempts: u32,
    retries: u32,
    /// When the next round is due.
    until: Instant,
    previous_delay: Duration,
    /// Hedges of this round so far, and when the next one is due.
    hedged: u32,
    hedge_at: Instant,
    /// The longest patience that a server has asked for in this round.
    not_before: Instant,
    /// The attempts under way. Between attempts the permits of the first place are those for the attempt to come, and at
    /// the end those to be held.
    lanes: Lanes,
    /// The breaker's permit that several attempts share: the operation's, or a probe with hedges beside it.
    shared: Option<Permit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before a round, nothing taken.
    Idle,
    /// In a stage's queue.
    Queued(Queue, Ticket),
    /// All is taken but the breaker's permit; what is to be called is not ready yet.
    Readying,
    /// At least one attempt runs.
    Attempting,
    /// This attempt has run out of time and is being dropped.
    Expiring(u32),
    /// There is a result, and the attempts that lost are being dropped.
    Closing(Option<Stop>),
    Ended,
}

/// The kind of failure that running out of time is.
const TIMED_OUT: &str = "TimeoutError";

impl Call {
    /// A call that begins at `now` and must be over at `deadline`, see [`Policy::deadline_at`].
    #[inline]
    pub fn new(now: Instant, deadline: Instant) -> Self {
        Self {
            started: now,
            own_deadline: deadline,
            deadline,
            phase: Phase::Idle,
            scope: Scope::Attempt,
            keeps: false,
            readies: false,
            waits: true,
            measures: true,
            hedges: true,
            timed_out: None,
            cost: 1,
            attempts: 0,
            retries: 0,
            until: Instant::ZERO,
            previous_delay: Duration::ZERO,
            hedged: 0,
            hedge_at: Instant::FAR_FUTURE,
            not_before: Instant::ZERO,
            lanes: Lanes::default(),
            shared: None,
        }
    }

    /// Cuts the call to what a call around it has left.
    ///
    /// An attempt that runs out of that time, and not of its policy's, says nothing about the callee: it had less than
    /// the policy means it to have, so for the breaker it counts neither way. Only where the policy sets no time at all
    /// what is inherited is the limit there is, and running out of it counts as a failure.
    #[inline]
    pub fn inherit(&mut self, deadline: Instant) {
        self.deadline = self.deadline.min(deadline);
    }

    /// Reserves `tokens` for each attempt. Default: 1, so that a limiter of tokens limits in any case.
    pub fn cost(&mut self, tokens: u32) {
        self.cost = tokens;
    }

    /// Keeps slot and tokens when the last attempt ends with a failure, for [`hold`](Self::hold) to hand over: a response
    /// that reports a failure has a body, too.
    pub fn keep(&mut self) {
        self.keeps = true;
    }

    /// Asks by [`Step::Ready`] before each first attempt and each retry whether what it calls is ready. A hedge never
    /// waits, so it is not preceded by that step: its driver makes it ready within the attempt.
    pub fn readies(&mut self) {
        self.readies = true;
    }

    /// Waits for nothing: what is not there at once is refused.
    pub fn at_once(&mut self) {
        self.waits = false;
    }

    /// Makes one attempt at a time: no hedge, whatever the policy says.
    pub fn alone(&mut self) {
        self.hedges = false;
    }

    /// Measures no latency: nothing is called, the call is there for what it takes.
    pub fn unmeasured(&mut self) {
        self.measures = false;
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

    /// The limit that the last attempt to end ran out of; `None` if it ended by itself.
    pub fn timed_out(&self) -> Option<Limit> {
        self.timed_out
    }

    /// Decides what to do next.
    #[inline]
    pub fn next<'p>(&mut self, policy: &'p Policy, now: Instant, input: Input<'_>, edge: &mut impl Edge) -> Step<'p> {
        let turn = &mut Turn { policy, now, edge };
        match (self.phase, &input) {
            (Phase::Idle, _) if now >= self.until => self.begin(turn),
            (Phase::Attempting, Input::Finished(number, verdict)) => {
                self.finished(turn, *number, verdict.outcome, Some(verdict))
            }
            (Phase::Attempting, Input::Answered(number, outcome)) => self.answered(turn, *number, *outcome),
            (Phase::Attempting, Input::Unready(number)) => self.unready(turn, *number),
            (Phase::Attempting, Input::Resume) => self.go_on(turn),
            (Phase::Idle, _) => Step::BackOff { until: self.until },
            (Phase::Queued(queue, ticket), _) => self.poll(turn, queue, ticket),
            (Phase::Readying, Input::Unready(_)) => self.never_ready(turn),
            (Phase::Readying, _) => self.ready(turn),
            (Phase::Expiring(number), _) => self.expired(turn, number),
            (Phase::Closing(stop), _) => self.drop_loser(turn, stop),
            (Phase::Ended, _) => Step::Done(End::Finished(None)),
        }
    }

    /// Begins a round with steps 0 and 1: ask the throttle and look at the breaker; with one for the whole operation, take its permit.
    #[inline]
    fn begin<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Step<'p> {
        if turn.now >= self.deadline {
            return self.out_of_time(turn);
        }
        let first = self.attempts == 0;
        if first {
            self.scope = turn.policy.scope();
        }
        let Policy { breaker, bulkhead, rate, tokens, .. } = turn.policy;
        let may_wait = bulkhead.is_some() || rate.is_some() || tokens.is_some();
        if let Err(refusal) = ask(turn, &mut self.lanes.first.permits) {
            return self.refused(turn, refusal);
        }
        let passed = match (breaker, self.scope) {
            (Some(breaker), Scope::Attempt) if may_wait => breaker.look(turn.now),
            (Some(_), Scope::Operation) if first => admit(turn, &mut self.shared),
            (_, Scope::Attempt | Scope::Operation) => Ok(()),
        };
        match passed {
            Ok(()) => self.admit(turn),
            Err(refusal) => self.refused(turn, refusal),
        }
    }

    /// Steps 2 and 3: takes what is still missing of slot, requests and tokens.
    #[inline]
    fn admit<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Step<'p> {
        let until = if self.waits { self.deadline } else { turn.now };
        match self.lanes.first.permits.take(turn, self.cost, until) {
            Ok(()) if self.readies => {
                self.lanes.first.permits.park(turn.policy);
                self.phase = Phase::Readying;
                Step::Ready { number: self.attempts.saturating_add(1), until: self.deadline }
            }
            Ok(()) => self.start(turn),
            Err(Missing::Refused(refusal)) => self.refused(turn, refusal),
            Err(Missing::Queued(queue, ticket)) => self.poll(turn, queue, ticket),
        }
    }

    /// Asks whether the turn of `ticket` has come, and goes on behind its queue if so.
    #[cold]
    fn poll<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, queue: Queue, ticket: Ticket) -> Step<'p> {
        self.phase = Phase::Queued(queue, ticket);
        match self.lanes.first.permits.poll(turn, queue, ticket) {
            // The wait may have used up all the time there was: what is left undone is no failure of the callee.
            Ok(()) if turn.now >= self.deadline => self.out_of_time(turn),
            Ok(()) => self.admit(turn),
            Err(_) if turn.now >= self.deadline => {
                queue.leave(ticket, turn.policy, turn.edge);
                self.out_of_time(turn)
            }
            Err(Waiting::Refused(refusal)) => self.refused(turn, refusal),
            Err(Waiting::Until(until)) => Step::Queued { ticket, until: until.min(self.deadline) },
        }
    }

    /// What is to be called is ready.
    #[cold]
    fn ready<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Step<'p> {
        if turn.now >= self.deadline { self.out_of_time(turn) } else { self.start(turn) }
    }

    /// Steps 4 and 5: takes the permit and begins.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "asked in one hot place; the other one is cold")]
    fn start<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Step<'p> {
        if self.scope == Scope::Attempt
            && let Err(refusal) = admit(turn, &mut self.lanes.first.permits.breaker)
        {
            return self.refused(turn, refusal);
        }
        if self.attempts == 0
            && let Some(budget) = &turn.policy.budget
        {
            budget.deposit(turn.now);
        }
        (self.hedged, self.not_before) = (0, Instant::ZERO);
        let limit = self.count(turn);
        self.lanes.first.begin(turn, self.attempts, limit);
        self.wait()
    }

    /// At the end of a call hands over what it holds, to be settled later: for an answer whose body is still to come, see
    /// [`Input::Answered`], or for what it [keeps](Self::keep). Before the end: nothing.
    pub fn hold(&mut self) -> Permits {
        if self.phase == Phase::Ended { std::mem::take(&mut self.lanes.first.permits) } else { Permits::default() }
    }

    /// Gives back everything: the call was dropped. Nothing counts for or against the callee.
    #[inline]
    pub fn abandon(&mut self, policy: &Policy, edge: &mut impl Edge) {
        if self.phase != Phase::Ended || self.keeps {
            self.give_back(policy, edge);
        }
    }

    #[cold]
    fn give_back(&mut self, policy: &Policy, edge: &mut impl Edge) {
        if let Phase::Queued(queue, ticket) = self.phase {
            queue.leave(ticket, policy, edge);
        }
        while let Some(mut lane) = self.lanes.pop() {
            lane.permits.abandon(policy, edge);
        }
        let first = &mut self.lanes.first;
        if first.number == 0 {
            first.permits.release(policy, edge);
        } else {
            first.permits.abandon(policy, edge);
        }
        Permits::of(self.shared.take()).abandon(policy, edge);
        self.phase = Phase::Ended;
    }
}
