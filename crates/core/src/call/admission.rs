//! The way to an attempt: steps 1 to 4 of the fixed order, and the waits between them.

#![expect(
    clippy::inline_always,
    reason = "what every call passes is one function, however often its parts are used elsewhere"
)]

use crate::breaker::{Change, Scope};
use crate::call::{Call, Phase, Step, Turn};
use crate::decision::{Admission, Progress, Refusal, Ticket};
use crate::event::Kind;
use crate::permits::{Edge, wake};
use crate::policy::Policy;

/// The stages a call may have to wait for, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    Slot,
    Requests,
    Tokens,
}

impl Call {
    /// Step 1: look at the breaker; with one for the whole operation, take its permit.
    #[inline(never)] // so that `next` stays small enough to be part of the door
    pub(super) fn prepare<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Step<'p> {
        if turn.now >= self.deadline {
            return self.timed_out(turn);
        }
        let Policy { breaker, bulkhead, rate, tokens, .. } = turn.policy;
        if self.attempts == 0 {
            self.scope = turn.policy.scope();
        }
        let may_wait = bulkhead.is_some() || rate.is_some() || tokens.is_some();
        let passed = match (breaker, self.scope) {
            (Some(_), Scope::Operation) if self.attempts == 0 => self.take_permit_for_all(turn),
            (Some(breaker), Scope::Attempt) if may_wait => breaker.look(turn.now),
            _ => Ok(()),
        };
        match passed {
            Ok(()) => self.take(turn, Queue::Slot),
            Err(refusal) => self.refused(turn, refusal),
        }
    }

    /// Steps 2 and 3, from `queue` on: a slot, requests, tokens.
    #[inline(always)]
    fn take<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, queue: Queue) -> Step<'p> {
        if queue == Queue::Slot
            && let Some(bulkhead) = &turn.policy.bulkhead
        {
            match bulkhead.acquire(turn.now) {
                Admission::Granted(slot) => self.first.permits.slot = Some(slot),
                Admission::Queued(ticket) => return self.poll(turn, Queue::Slot, ticket),
                Admission::Refused(refusal) => return self.refused(turn, refusal),
            }
        }
        if queue != Queue::Tokens
            && let Some(limiter) = &turn.policy.rate
        {
            match limiter.acquire(turn.now, 1, self.deadline) {
                Admission::Granted(requests) => self.first.permits.rate = Some(requests),
                Admission::Queued(ticket) => return self.poll(turn, Queue::Requests, ticket),
                Admission::Refused(refusal) => return self.refused(turn, refusal),
            }
        }
        if let Some(limiter) = &turn.policy.tokens {
            match limiter.acquire(turn.now, self.cost, self.deadline) {
                Admission::Granted(tokens) => self.first.permits.tokens = Some(tokens),
                Admission::Queued(ticket) => return self.poll(turn, Queue::Tokens, ticket),
                Admission::Refused(refusal) => return self.refused(turn, refusal),
            }
        }
        self.start(turn)
    }

    /// Asks whether the turn of `ticket` has come, and goes on behind its queue if so.
    #[cold]
    pub(super) fn poll<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, queue: Queue, ticket: Ticket) -> Step<'p> {
        self.phase = Phase::Queued(queue, ticket);
        let (policy, now) = (turn.policy, turn.now);
        let stages = (queue, &policy.bulkhead, &policy.rate, &policy.tokens);
        match stages {
            (Queue::Slot, Some(bulkhead), ..) => match self.granted(turn, ticket, bulkhead.poll(now, ticket)) {
                Ok(slot) => {
                    self.first.permits.slot = Some(slot);
                    self.take_after_wait(turn, Queue::Requests)
                }
                Err(step) => step,
            },
            (Queue::Requests, _, Some(limiter), _) => match self.granted(turn, ticket, limiter.poll(now, ticket)) {
                Ok(requests) => {
                    self.first.permits.rate = Some(requests);
                    self.take_after_wait(turn, Queue::Tokens)
                }
                Err(step) => step,
            },
            (Queue::Tokens, _, _, Some(limiter)) => match self.granted(turn, ticket, limiter.poll(now, ticket)) {
                Ok(tokens) => {
                    self.first.permits.tokens = Some(tokens);
                    self.start_after_wait(turn)
                }
                Err(step) => step,
            },
            // Not reached: who waits does so in a stage that the policy has.
            _ => self.start_after_wait(turn),
        }
    }

    /// What a queue has granted, or else what to do: stay in it until the deadline at the latest, or end.
    fn granted<'p, T>(
        &mut self,
        turn: &mut Turn<'p, '_, impl Edge>,
        ticket: Ticket,
        (progress, woken): (Progress<'p, T>, Vec<Ticket>),
    ) -> Result<T, Step<'p>> {
        wake(turn.edge, woken);
        match progress {
            Progress::Granted(token) => Ok(token),
            Progress::Waiting { until } if turn.now < self.deadline => {
                Err(Step::Queued { ticket, until: until.min(self.deadline) })
            }
            Progress::Refused(refusal) if turn.now < self.deadline => Err(self.refused(turn, refusal)),
            Progress::Waiting { .. } | Progress::Refused(_) => {
                self.leave_queue(turn.policy, turn.edge);
                Err(self.timed_out(turn))
            }
        }
    }

    /// [`take`](Self::take) where it is rare.
    #[cold]
    fn take_after_wait<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, queue: Queue) -> Step<'p> {
        self.take(turn, queue)
    }

    /// [`start`](Self::start) where it is rare.
    #[cold]
    fn start_after_wait<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Step<'p> {
        self.start(turn)
    }

    pub(super) fn leave_queue(&mut self, policy: &Policy, edge: &mut impl Edge) {
        let Phase::Queued(queue, ticket) = self.phase else { return };
        let woken = match queue {
            Queue::Slot => policy.bulkhead.as_ref().map(|bulkhead| bulkhead.cancel(ticket)),
            Queue::Requests => policy.rate.as_ref().map(|limiter| limiter.cancel(ticket)),
            Queue::Tokens => policy.tokens.as_ref().map(|limiter| limiter.cancel(ticket)),
        };
        wake(edge, woken.unwrap_or_default());
    }

    /// Steps 4 and 5: take the permit and begin.
    #[inline(always)]
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
        self.begin_round(turn)
    }

    /// With the operation's scope: before the first attempt, for all of them.
    #[cold]
    fn take_permit_for_all<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Result<(), Refusal<'p>> {
        self.take_permit(turn)
    }

    #[inline(always)]
    fn take_permit<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Result<(), Refusal<'p>> {
        if let Some(breaker) = &turn.policy.breaker {
            let permit = self.first.permits.breaker.insert(breaker.admit(turn.now)?);
            if let Some(transition) = breaker.transition(permit) {
                turn.emit(|| Kind::of_change(breaker.name(), Change::Moved(transition)));
            }
        }
        Ok(())
    }
}
