//! What a call takes from the stages, waits for, and has to give back.
//!
//! Owns the order in which an attempt asks the stages, the queue that it may be in, and the two ways back: with a result
//! or without one. When a call asks, and what follows from a refusal, is in [`crate::call`].

use crate::Ticket;
use crate::breaker::{Change, Permit};
use crate::bulkhead::{Adjusted, Bulkhead, Slot};
use crate::caller::Caller;
use crate::decision::{Admission, Progress, Refusal};
use crate::event::{Event, Kind};
use crate::outcome::Verdict;
use crate::policy::Policy;
use crate::rate::Reservation;
use crate::throttle::Throttle;
use crate::time::Instant;

/// What the core asks of whoever carries out its steps.
pub trait Edge {
    /// Wakes the holder of a ticket: its turn may have come.
    fn wake(&mut self, ticket: Ticket);

    /// Whether anybody listens. If not, no event is made.
    fn listens(&self) -> bool {
        false
    }

    /// Passes on what happened.
    fn event(&mut self, _event: Event) {}

    /// Who makes the call. Asked only if it has to queue. Default: a call of the policy's class, and of no flow.
    fn caller(&self) -> Caller {
        Caller::default()
    }
}

/// An edge where nobody waits and nobody listens: for a caller that is alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEdge;

impl Edge for NoEdge {
    fn wake(&mut self, _ticket: Ticket) {}
}

/// One asking: about which policy, at what time, and who carries out the answer.
pub(crate) struct Turn<'p, 'e, E> {
    pub(crate) policy: &'p Policy,
    pub(crate) now: Instant,
    pub(crate) edge: &'e mut E,
}

impl<E: Edge> Turn<'_, '_, E> {
    #[inline]
    pub(crate) fn emit(&mut self, kind: impl FnOnce() -> Kind) {
        if self.edge.listens() {
            self.edge.event(Event::new(self.now, self.policy.name.clone(), kind()));
        }
    }

    /// Who makes the call, with the class of the policy if it has none.
    fn caller(&self) -> Caller {
        let caller = self.edge.caller();
        Caller { priority: caller.priority.or(self.policy.priority), ..caller }
    }
}

/// The queues that a call may be in, in the order of the stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    Slot,
    Requests,
    Tokens,
}

/// Why not everything could be taken.
pub(crate) enum Missing<'p> {
    Queued(Queue, Ticket),
    Refused(Refusal<'p>),
}

/// How a wait in a queue goes on.
pub(crate) enum Waiting<'p> {
    /// Ask again then.
    Until(Instant),
    /// The wait is over without a grant.
    Refused(Refusal<'p>),
}

impl Queue {
    /// What a stage has granted, or where the call waits for it.
    #[inline]
    fn granted<T>(self, admission: Admission<'_, T>) -> Result<T, Missing<'_>> {
        match admission {
            Admission::Granted(token) => Ok(token),
            Admission::Queued(ticket) => Err(Missing::Queued(self, ticket)),
            Admission::Refused(refusal) => Err(Missing::Refused(refusal)),
        }
    }

    /// Leaves the queue; those behind move up.
    pub(crate) fn leave(self, ticket: Ticket, policy: &Policy, edge: &mut impl Edge) {
        let woken = match self {
            Self::Slot => policy.bulkhead.as_ref().map(|bulkhead| bulkhead.cancel(ticket)),
            Self::Requests => policy.rate.as_ref().map(|limiter| limiter.cancel(ticket)),
            Self::Tokens => policy.tokens.as_ref().map(|limiter| limiter.cancel(ticket)),
        };
        wake(edge, woken.unwrap_or_default());
    }
}

/// What was taken for a call: a slot, requests and tokens, the breaker's permit. Given back by [`settle`](Self::settle)
/// with a result or by [`release`](Self::release) without one; a second time does nothing.
///
/// Plain data without a destructor: the edge wraps it in a guard.
#[derive(Debug, Default)]
pub struct Permits {
    /// Whether a throttle has let it pass and does not know its answer yet.
    pub(crate) asked: bool,
    pub(crate) breaker: Option<Permit>,
    pub(crate) slot: Option<Slot>,
    pub(crate) rate: Option<Reservation>,
    pub(crate) tokens: Option<Reservation>,
}

impl From<Reservation> for Permits {
    /// Tokens alone.
    fn from(tokens: Reservation) -> Self {
        Self { tokens: Some(tokens), ..Self::default() }
    }
}

impl Permits {
    /// Steps 2 and 3 of the fixed order: takes the slot, requests and tokens that are not there yet, or queues for them if
    /// there is time `until` later.
    #[inline]
    pub(crate) fn take<'p>(
        &mut self,
        turn: &Turn<'p, '_, impl Edge>,
        cost: u32,
        until: Instant,
    ) -> Result<(), Missing<'p>> {
        let Turn { policy, now, .. } = *turn;
        if let (Some(bulkhead), None) = (&policy.bulkhead, &self.slot) {
            let asked =
                if until > now { bulkhead.acquire_by(now, || turn.caller()) } else { bulkhead.try_acquire().into() };
            self.slot = Some(Queue::Slot.granted(asked)?);
        }
        if let (Some(limiter), None) = (&policy.rate, &self.rate) {
            self.rate = Some(Queue::Requests.granted(limiter.acquire(now, 1, until))?);
        }
        if let (Some(limiter), None) = (&policy.tokens, &self.tokens) {
            self.tokens = Some(Queue::Tokens.granted(limiter.acquire(now, cost, until))?);
        }
        Ok(())
    }

    /// Takes what `ticket` waits for, if its turn has come.
    pub(crate) fn poll<'p>(
        &mut self,
        turn: &mut Turn<'p, '_, impl Edge>,
        queue: Queue,
        ticket: Ticket,
    ) -> Result<(), Waiting<'p>> {
        let Turn { policy, now, .. } = *turn;
        let limiter = match queue {
            Queue::Slot => {
                let Some(bulkhead) = &policy.bulkhead else { return Ok(()) };
                self.slot = Some(granted(bulkhead.poll(now, ticket), turn.edge)?);
                return Ok(());
            }
            Queue::Requests => &policy.rate,
            Queue::Tokens => &policy.tokens,
        };
        let Some(limiter) = limiter else { return Ok(()) };
        self.park(policy);
        let reservation = granted(limiter.poll(now, ticket), turn.edge)?;
        *(if queue == Queue::Requests { &mut self.rate } else { &mut self.tokens }) = Some(reservation);
        Ok(())
    }

    /// A breaker's permit alone.
    pub(crate) fn of(breaker: Option<Permit>) -> Self {
        Self { breaker, ..Self::default() }
    }

    /// What they were taken for has to wait for something else than a slot.
    pub(crate) fn park(&mut self, policy: &Policy) {
        if let (Some(stage), Some(slot)) = (&policy.bulkhead, &mut self.slot) {
            stage.park(slot);
        }
    }

    /// What they were taken for begins.
    #[inline]
    pub(crate) fn begin(&mut self, policy: &Policy, now: Instant) {
        if let (Some(stage), Some(slot)) = (&policy.bulkhead, &mut self.slot) {
            stage.begin(now, slot);
        }
    }

    /// Gives everything back with the result of what was called. Requests that were made stay spent; tokens are
    /// corrected to what was really used.
    pub fn settle(&mut self, policy: &Policy, now: Instant, verdict: &Verdict<'_>, edge: &mut impl Edge) {
        self.settle_all(&mut Turn { policy, now, edge }, verdict);
    }

    #[inline]
    pub(crate) fn settle_all(&mut self, turn: &mut Turn<'_, '_, impl Edge>, verdict: &Verdict<'_>) {
        self.settle_breaker(turn, verdict);
        self.settle_attempt(turn, verdict);
    }

    #[inline]
    pub(crate) fn settle_breaker(&mut self, turn: &mut Turn<'_, '_, impl Edge>, verdict: &Verdict<'_>) {
        // Settled where it is: moved, it would be copied through memory that was written a moment ago.
        let (Some(stage), Some(permit)) = (&turn.policy.breaker, &mut self.breaker) else { return };
        let change = stage.settle(permit, turn.now, verdict);
        self.breaker = None;
        if let Some(change) = change {
            turn.emit(|| Kind::of_change(stage.name(), change));
        }
    }

    #[inline]
    pub(crate) fn settle_attempt(&mut self, turn: &mut Turn<'_, '_, impl Edge>, verdict: &Verdict<'_>) {
        self.correct(turn, verdict);
        self.observe(turn, verdict);
        self.spend(turn.policy, turn.edge);
    }

    /// Tells the throttle how the callee answered. `None`: with an answer that is judged later.
    #[inline]
    pub(crate) fn answer(&mut self, turn: &Turn<'_, '_, impl Edge>, verdict: Option<&Verdict<'_>>) {
        if std::mem::take(&mut self.asked)
            && let Some(throttle) = &turn.policy.throttle
        {
            match verdict {
                Some(verdict) => throttle.settle(turn.now, verdict),
                None => throttle.accept(turn.now),
            }
        }
    }

    /// Tells the throttle, and corrects the tokens to what was really used, if that is known.
    #[inline]
    pub(crate) fn correct(&mut self, turn: &mut Turn<'_, '_, impl Edge>, verdict: &Verdict<'_>) {
        self.answer(turn, Some(verdict));
        if let (Some(used), Some(stage), Some(tokens)) = (verdict.used, &turn.policy.tokens, &mut self.tokens) {
            wake(turn.edge, stage.settle(turn.now, tokens, used));
        }
    }

    /// Tells an adaptive bulkhead how the work in the slot ended.
    #[inline]
    pub(crate) fn observe(&self, turn: &mut Turn<'_, '_, impl Edge>, verdict: &Verdict<'_>) {
        if let (Some(stage), Some(slot)) = (&turn.policy.bulkhead, &self.slot)
            && stage.adapts()
        {
            measure(turn, stage, slot, verdict);
        }
    }

    /// Leaves requests and tokens spent as reserved, and frees the slot.
    #[inline]
    fn spend(&mut self, policy: &Policy, edge: &mut impl Edge) {
        (self.rate, self.tokens) = (None, None);
        if let (Some(stage), Some(slot)) = (&policy.bulkhead, &mut self.slot) {
            let woken = stage.release(slot);
            self.slot = None;
            wake(edge, woken);
        }
    }

    /// Gives everything back after something was called but has no result (cancelled, hung up): it counts neither way.
    pub fn abandon(&mut self, policy: &Policy, edge: &mut impl Edge) {
        self.asked = false;
        if let (Some(stage), Some(mut permit)) = (&policy.breaker, self.breaker.take()) {
            stage.release(&mut permit);
        }
        self.spend(policy, edge);
    }

    /// Gives everything back as if it had not been taken: nothing was called.
    pub fn release(&mut self, policy: &Policy, edge: &mut impl Edge) {
        for (stage, reservation) in [(&policy.tokens, &mut self.tokens), (&policy.rate, &mut self.rate)] {
            if let (Some(stage), Some(mut reservation)) = (stage, reservation.take()) {
                wake(edge, stage.release(&mut reservation));
            }
        }
        self.abandon(policy, edge);
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        !self.asked && self.breaker.is_none() && self.slot.is_none() && self.rate.is_none() && self.tokens.is_none()
    }
}

/// Stage 0 of the fixed order: asks the throttle.
#[inline]
pub(crate) fn ask<'p>(turn: &mut Turn<'p, '_, impl Edge>, permits: &mut Permits) -> Result<(), Refusal<'p>> {
    match &turn.policy.throttle {
        None => Ok(()),
        Some(throttle) => ask_throttle(turn, throttle, permits),
    }
}

#[inline(never)]
fn ask_throttle<'p>(
    turn: &mut Turn<'p, '_, impl Edge>,
    throttle: &'p Throttle,
    permits: &mut Permits,
) -> Result<(), Refusal<'p>> {
    let (answer, change) = throttle.ask(turn.now);
    if let Some(change) = change {
        turn.emit(|| Kind::Throttle { throttle: throttle.name().clone(), change });
    }
    permits.asked = answer.is_ok();
    answer
}

/// Step 4 of the fixed order: takes the breaker's permit.
#[inline]
pub(crate) fn admit<'p>(turn: &mut Turn<'p, '_, impl Edge>, permit: &mut Option<Permit>) -> Result<(), Refusal<'p>> {
    if let Some(breaker) = &turn.policy.breaker {
        let permit = permit.insert(breaker.admit(turn.now)?);
        if let Some(transition) = breaker.transition(permit) {
            turn.emit(|| Kind::of_change(breaker.name(), Change::Moved(transition)));
        }
    }
    Ok(())
}

/// Tells an adaptive bulkhead how the work in `slot` ended.
#[cold]
fn measure(turn: &mut Turn<'_, '_, impl Edge>, bulkhead: &Bulkhead, slot: &Slot, verdict: &Verdict<'_>) {
    let is_down = turn.policy.breaker.as_ref().is_some_and(|breaker| !breaker.is_closed());
    let adjusted = if is_down { bulkhead.interrupt(turn.now) } else { bulkhead.observe(turn.now, slot, verdict) };
    let Some(Adjusted { wake, told }) = adjusted else { return };
    self::wake(turn.edge, wake);
    if let Some((from, to)) = told {
        turn.emit(|| Kind::LimitChanged { bulkhead: bulkhead.name().clone(), from, to });
    }
}

/// What a queue has granted, or how the wait goes on. Wakes the callers whose turn has come.
fn granted<'p, T>((progress, woken): (Progress<'p, T>, Vec<Ticket>), edge: &mut impl Edge) -> Result<T, Waiting<'p>> {
    wake(edge, woken);
    match progress {
        Progress::Granted(token) => Ok(token),
        Progress::Waiting { until } => Err(Waiting::Until(until)),
        Progress::Refused(refusal) => Err(Waiting::Refused(refusal)),
    }
}

#[inline]
fn wake(edge: &mut impl Edge, tickets: impl IntoIterator<Item = Ticket>) {
    for ticket in tickets {
        edge.wake(ticket);
    }
}
