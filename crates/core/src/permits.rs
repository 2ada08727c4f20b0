//! What a call has taken from the stages and has to give back.

#![expect(
    clippy::inline_always,
    reason = "what every call passes is one function, however often its parts are used elsewhere"
)]

use crate::Ticket;
use crate::breaker::Permit;
use crate::bulkhead::{Adjusted, Slot};
use crate::event::{Event, Kind};
use crate::outcome::Verdict;
use crate::policy::Policy;
use crate::rate::Reservation;
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
}

/// An edge where nobody waits and nobody listens: for a caller that is alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEdge;

impl Edge for NoEdge {
    fn wake(&mut self, _ticket: Ticket) {}
}

/// What was taken for a call: a slot, requests and tokens, the breaker's permit. Given back by [`settle`](Self::settle)
/// with a result or by [`release`](Self::release) without one; a second time does nothing.
///
/// Plain data without a destructor: the edge wraps it in a guard.
#[derive(Debug, Default)]
pub struct Permits {
    pub(crate) breaker: Option<Permit>,
    pub(crate) slot: Option<Slot>,
    pub(crate) rate: Option<Reservation>,
    pub(crate) tokens: Option<Reservation>,
}

impl Permits {
    /// What they were taken for begins.
    #[inline]
    pub(crate) fn begin(&mut self, now: Instant) {
        if let Some(slot) = &mut self.slot {
            slot.begin(now);
        }
    }

    /// Gives everything back with the result of what was called. Requests that were made stay spent; tokens are
    /// corrected to what was really used.
    pub fn settle(&mut self, policy: &Policy, now: Instant, verdict: &Verdict<'_>, edge: &mut impl Edge) {
        self.settle_breaker(policy, now, verdict, edge);
        self.settle_attempt(policy, now, verdict, edge);
    }

    /// The same, where it is part of every call.
    #[inline(always)]
    pub(crate) fn settle_all(&mut self, policy: &Policy, now: Instant, verdict: &Verdict<'_>, edge: &mut impl Edge) {
        self.settle_breaker(policy, now, verdict, edge);
        self.settle_attempt(policy, now, verdict, edge);
    }

    #[inline(always)]
    pub(crate) fn settle_breaker(
        &mut self,
        policy: &Policy,
        now: Instant,
        verdict: &Verdict<'_>,
        edge: &mut impl Edge,
    ) {
        let (Some(stage), Some(permit)) = (&policy.breaker, &mut self.breaker) else { return };
        if let Some(change) = stage.settle(permit, now, verdict) {
            emit(policy, now, edge, || Kind::of_change(stage.name(), change));
        }
        self.breaker = None;
    }

    #[inline(always)]
    pub(crate) fn settle_attempt(
        &mut self,
        policy: &Policy,
        now: Instant,
        verdict: &Verdict<'_>,
        edge: &mut impl Edge,
    ) {
        if let (Some(used), Some(stage), Some(tokens)) = (verdict.used, &policy.tokens, &mut self.tokens) {
            wake(edge, stage.settle(now, tokens, used));
        }
        self.observe(policy, now, verdict, edge);
        self.spend(policy, edge);
    }

    /// Tells an adaptive bulkhead how long it took.
    #[inline(always)]
    fn observe(&self, policy: &Policy, now: Instant, verdict: &Verdict<'_>, edge: &mut impl Edge) {
        if policy.bulkhead.as_ref().is_some_and(|stage| stage.adapts()) {
            self.measure(policy, now, verdict, edge);
        }
    }

    #[cold]
    fn measure(&self, policy: &Policy, now: Instant, verdict: &Verdict<'_>, edge: &mut impl Edge) {
        let (Some(stage), Some(slot)) = (&policy.bulkhead, &self.slot) else { return };
        let Some(Adjusted { wake, told }) = stage.observe(now, slot, verdict) else { return };
        self::wake(edge, wake);
        if let Some((from, to)) = told {
            emit(policy, now, edge, || Kind::LimitChanged { bulkhead: stage.name().clone(), from, to });
        }
    }

    /// Leaves requests and tokens spent as reserved, and frees the slot.
    #[inline]
    fn spend(&mut self, policy: &Policy, edge: &mut impl Edge) {
        (self.rate, self.tokens) = (None, None);
        self.release_slot(policy, edge);
    }

    /// Gives everything back after something was called but has no result (cancelled, hung up): it counts neither way.
    pub fn abandon(&mut self, policy: &Policy, edge: &mut impl Edge) {
        self.release_breaker(policy);
        self.spend(policy, edge);
    }

    /// Gives everything back as if it had not been taken: nothing was called.
    pub fn release(&mut self, policy: &Policy, edge: &mut impl Edge) {
        self.release_breaker(policy);
        self.refund(policy, edge);
    }

    fn release_breaker(&mut self, policy: &Policy) {
        if let (Some(stage), Some(mut permit)) = (&policy.breaker, self.breaker.take()) {
            stage.release(&mut permit);
        }
    }

    /// Gives back slot, requests and tokens of an attempt that does not take place.
    pub(crate) fn refund(&mut self, policy: &Policy, edge: &mut impl Edge) {
        if let (Some(stage), Some(mut tokens)) = (&policy.tokens, self.tokens.take()) {
            wake(edge, stage.release(&mut tokens));
        }
        if let (Some(stage), Some(mut requests)) = (&policy.rate, self.rate.take()) {
            wake(edge, stage.release(&mut requests));
        }
        self.release_slot(policy, edge);
    }

    #[inline]
    fn release_slot(&mut self, policy: &Policy, edge: &mut impl Edge) {
        if let (Some(stage), Some(mut slot)) = (&policy.bulkhead, self.slot.take()) {
            wake(edge, stage.release(&mut slot));
        }
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.breaker.is_none() && self.slot.is_none() && self.rate.is_none() && self.tokens.is_none()
    }
}

#[inline]
pub(crate) fn wake(edge: &mut impl Edge, tickets: impl IntoIterator<Item = Ticket>) {
    for ticket in tickets {
        edge.wake(ticket);
    }
}

#[inline]
pub(crate) fn emit(policy: &Policy, at: Instant, edge: &mut impl Edge, kind: impl FnOnce() -> Kind) {
    if edge.listens() {
        edge.event(Event::new(at, policy.name.clone(), kind()));
    }
}
