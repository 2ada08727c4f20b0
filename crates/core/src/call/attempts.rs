//! Attempts side by side: the first one of a round, its hedges, and what ends them.

#![expect(
    clippy::inline_always,
    reason = "what every call passes is one function, however often its parts are used elsewhere"
)]

use crate::breaker::{Change, Scope};
use crate::call::{Call, Phase, Step, TIMED_OUT, Turn, Whose};
use crate::event::Kind;
use crate::hedge::{Cause, Skipped};
use crate::outcome::{Outcome, Verdict};
use crate::permits::{Edge, Permits};
use crate::retry::Stop;
use crate::time::Instant;
use crate::timeout::Limit;

/// One attempt, and what was taken for it.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// The attempt's number; 0 while none runs here.
    pub(super) number: u32,
    started: Instant,
    /// When it is given up.
    limit: Instant,
    pub(super) permits: Permits,
}

impl Call {
    /// Step 5: the first attempt of a round begins.
    #[inline(always)]
    pub(super) fn begin_round<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Step<'p> {
        self.attempts = self.attempts.saturating_add(1);
        self.phase = Phase::Attempting;
        let limit = self.limit(turn);
        (self.first.number, self.first.started, self.first.limit) = (self.attempts, turn.now, limit);
        self.first.permits.begin(turn.now);
        self.until = limit;
        if turn.policy.hedge.is_some() {
            (self.hedged, self.not_before) = (0, Instant::ZERO);
            self.hedge_at = self.next_hedge(turn);
            self.until = limit.min(self.hedge_at);
        }
        Step::Attempt { number: self.attempts, limit, until: self.until }
    }

    #[inline]
    fn limit(&self, turn: &Turn<'_, '_, impl Edge>) -> Instant {
        turn.policy.attempt_timeout.map_or(self.deadline, |limit| self.deadline.min(turn.now + limit))
    }

    /// When a hedge is due beside an attempt that begins now.
    fn next_hedge(&self, turn: &Turn<'_, '_, impl Edge>) -> Instant {
        let hedge = turn.policy.hedge.as_ref().filter(|hedge| self.hedged < hedge.config().max_hedges);
        let due = hedge.map(|hedge| turn.now + hedge.delay(turn.now, turn.policy.latency.as_deref()));
        due.unwrap_or(Instant::FAR_FUTURE).max(self.not_before)
    }

    /// An attempt ended by itself.
    #[inline]
    pub(super) fn finished<'p>(
        &mut self,
        turn: &mut Turn<'p, '_, impl Edge>,
        number: u32,
        verdict: &Verdict<'_>,
    ) -> Step<'p> {
        if verdict.outcome == Outcome::Success && self.first.number == number && self.hedges.is_empty() {
            return self.succeed(turn, verdict);
        }
        self.finished_otherwise(turn, number, verdict)
    }

    #[inline(never)] // so that `finished` stays small enough to be part of the door
    fn succeed<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, verdict: &Verdict<'_>) -> Step<'p> {
        measure(turn, &self.first);
        self.first.permits.settle_all(turn.policy, turn.now, verdict, turn.edge);
        self.close(None)
    }

    #[cold]
    fn finished_otherwise<'p>(
        &mut self,
        turn: &mut Turn<'p, '_, impl Edge>,
        number: u32,
        verdict: &Verdict<'_>,
    ) -> Step<'p> {
        if !self.is_running(number) {
            return self.go_on(turn);
        }
        match verdict.outcome {
            Outcome::Success => {
                self.win(turn, number);
                self.succeed(turn, verdict)
            }
            // A definite answer: what another attempt says could be no better.
            Outcome::Ignored => {
                self.win(turn, number);
                self.first.permits.settle(turn.policy, turn.now, verdict, turn.edge);
                self.close(Some(turn.policy.retry.as_ref().map_or(Stop::NoRetry, |_| Stop::NotRetryable)))
            }
            Outcome::Failure => self.fail(turn, number, verdict, verdict, None),
        }
    }

    /// An attempt has an answer that is judged later.
    #[cold]
    pub(super) fn answered<'p>(
        &mut self,
        turn: &mut Turn<'p, '_, impl Edge>,
        number: u32,
        outcome: Outcome,
    ) -> Step<'p> {
        if !self.is_running(number) {
            return self.go_on(turn);
        }
        self.keeps = true;
        self.win(turn, number);
        // What comes after an answer's beginning is the pace of whoever reads it.
        if outcome == Outcome::Success {
            measure(turn, &self.first);
        }
        self.close(None)
    }

    /// This attempt is the one that counts; the others have lost.
    fn win(&mut self, turn: &mut Turn<'_, '_, impl Edge>, number: u32) {
        if self.first.number == number {
            return;
        }
        self.put_first(number);
        if let Some(hedge) = &turn.policy.hedge {
            hedge.count_win();
        }
        turn.emit(|| Kind::HedgeWon { attempt: number });
    }

    /// Changes a hedge's place with the first attempt's, and leaves it the operation's permit.
    fn put_first(&mut self, number: u32) {
        let Some(at) = self.hedges.iter().position(|lane| lane.number == number) else { return };
        let mut lane = self.hedges.swap_remove(at);
        if self.scope == Scope::Operation {
            lane.permits.breaker = self.first.permits.breaker.take();
        }
        let other = std::mem::replace(&mut self.first, lane);
        if other.number != 0 {
            self.hedges.push(other);
        }
    }

    /// Ends the call with the result of the first lane, once those that lost are dropped.
    #[inline(always)]
    fn close<'p>(&mut self, stop: Option<Stop>) -> Step<'p> {
        if self.hedges.is_empty() {
            return self.finish(stop);
        }
        self.phase = Phase::Closing(stop);
        self.cancel_loser(stop)
    }

    fn cancel_loser<'p>(&mut self, stop: Option<Stop>) -> Step<'p> {
        match self.hedges.last() {
            Some(lane) => Step::Cancel { number: lane.number },
            None => self.finish(stop),
        }
    }

    #[cold]
    pub(super) fn drop_loser<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, stop: Option<Stop>) -> Step<'p> {
        if let Some(mut lane) = self.hedges.pop() {
            // It took so long at least. Without those that a hedge overtakes only the fast ones would be measured, and a
            // delay that is a percentile of them would sink with each hedge. A younger one had no time to be slow.
            if stop.is_none() && lane.number < self.first.number {
                measure(turn, &lane);
            }
            lane.permits.abandon(turn.policy, turn.edge);
        }
        self.cancel_loser(stop)
    }

    /// Lets the attempts go on, unless something is due.
    #[cold]
    pub(super) fn go_on<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Step<'p> {
        let expired = self.running().find(|lane| lane.limit <= turn.now).map(|lane| lane.number);
        if let Some(number) = expired {
            self.phase = Phase::Expiring(number);
            return Step::Cancel { number };
        }
        if self.hedge_at <= turn.now {
            self.start_hedge(turn, Cause::Delay);
        }
        self.wait_for_attempts()
    }

    fn is_running(&self, number: u32) -> bool {
        self.running().any(|lane| lane.number == number)
    }

    fn running(&self) -> impl Iterator<Item = &Lane> {
        std::iter::once(&self.first).filter(|lane| lane.number != 0).chain(&self.hedges)
    }

    fn wait_for_attempts<'p>(&mut self) -> Step<'p> {
        self.phase = Phase::Attempting;
        let soonest = self.running().map(|lane| lane.limit).min();
        self.until = soonest.unwrap_or(Instant::FAR_FUTURE).min(self.hedge_at);
        let newest = self.running().max_by_key(|lane| lane.number);
        let limit = newest.map_or(self.until, |lane| lane.limit);
        Step::Attempt { number: self.attempts, limit, until: self.until }
    }

    /// An attempt was dropped because its time was over.
    #[cold]
    pub(super) fn attempt_timed_out<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, number: u32) -> Step<'p> {
        let Some(own) = self.running().find(|lane| lane.number == number).map(|lane| lane.limit) else {
            return self.go_on(turn);
        };
        let limit = match self.whose {
            _ if own < self.deadline => Limit::Attempt,
            Whose::Own => Limit::Call,
            Whose::Inherited | Whose::InheritedOnly => Limit::Inherited,
        };
        let last = self.running().count() == 1;
        if limit == Limit::Attempt || last {
            let after = turn.now.since(self.started);
            turn.timed_out(limit, after);
        }
        let has_own = self.whose == Whose::Inherited || turn.policy.attempt_timeout.is_some();
        let counted = if limit == Limit::Inherited && has_own {
            Verdict::ignored(TIMED_OUT)
        } else {
            Verdict::failure(TIMED_OUT)
        };
        self.fail(turn, number, &Verdict::failure(TIMED_OUT), &counted, Some(limit))
    }

    /// An attempt failed: for what is settled as `counted`, for what follows as `verdict`.
    fn fail<'p>(
        &mut self,
        turn: &mut Turn<'p, '_, impl Edge>,
        number: u32,
        verdict: &Verdict<'_>,
        counted: &Verdict<'_>,
        limit: Option<Limit>,
    ) -> Step<'p> {
        let mut hedges = turn.policy.hedge.is_some();
        if let Some(hint) = verdict.retry_after.filter(|hint| hedges && !hint.is_zero()) {
            self.not_before = self.not_before.max(turn.now + hint);
        }
        hedges &= match &turn.policy.retry {
            Some(retry) => retry.is_retryable(verdict),
            None => verdict.retry.unwrap_or(true),
        };
        if self.running().count() > 1 {
            // Its place among the lanes is that of a hedge, or it is the first one, which keeps the operation's permit.
            self.settle_failed(turn, number, counted);
            if hedges && self.not_before <= turn.now {
                // One step starts one attempt.
                if self.start_hedge(turn, Cause::Failure) {
                    return self.wait_for_attempts();
                }
            } else if self.hedge_at != Instant::FAR_FUTURE {
                self.hedge_at = self.hedge_at.max(self.not_before);
            }
            return self.go_on(turn);
        }
        self.put_first(number);
        if self.scope == Scope::Attempt {
            self.first.permits.settle_breaker(turn.policy, turn.now, counted, turn.edge);
        }
        if hedges && turn.now < self.deadline {
            // What is kept for a body is kept until it is known that the failure is not the last word.
            let keeps = self.keeps && limit.is_none();
            if !keeps {
                self.first.permits.settle_attempt(turn.policy, turn.now, counted, turn.edge);
            }
            if self.start_hedge(turn, Cause::Failure) {
                self.settle_failed(turn, number, counted);
                return self.wait_for_attempts();
            }
        }
        self.retry(turn, verdict, counted, limit)
    }

    /// Gives back what was taken for an attempt that failed while others run, and forgets it.
    fn settle_failed(&mut self, turn: &mut Turn<'_, '_, impl Edge>, number: u32, counted: &Verdict<'_>) {
        let at = self.hedges.iter().position(|lane| lane.number == number);
        let mut hedge = at.map(|at| self.hedges.swap_remove(at));
        let lane = hedge.as_mut().unwrap_or(&mut self.first);
        if self.scope == Scope::Attempt {
            lane.permits.settle_breaker(turn.policy, turn.now, counted, turn.edge);
        }
        lane.permits.settle_attempt(turn.policy, turn.now, counted, turn.edge);
        lane.number = 0;
    }

    /// Starts another attempt beside those that run, if everything it needs is free.
    fn start_hedge(&mut self, turn: &mut Turn<'_, '_, impl Edge>, cause: Cause) -> bool {
        self.hedge_at = Instant::FAR_FUTURE;
        let Some(hedge) = &turn.policy.hedge else { return false };
        if self.hedged >= hedge.config().max_hedges || turn.now >= self.deadline || turn.now < self.not_before {
            return false;
        }
        let mut permits = Permits::default();
        if let Err(why) = self.take_at_once(turn, &mut permits) {
            permits.refund(turn.policy, turn.edge);
            hedge.count_skipped(why);
            return false;
        }
        self.attempts = self.attempts.saturating_add(1);
        self.hedged += 1;
        let (attempt, limit) = (self.attempts, self.limit(turn));
        permits.begin(turn.now);
        self.hedges.push(Lane { number: attempt, started: turn.now, limit, permits });
        self.hedge_at = self.next_hedge(turn);
        hedge.count_start(cause);
        turn.emit(|| Kind::HedgeStarted { attempt, cause });
        true
    }

    /// What an attempt needs, in the order of every attempt, or nothing of use: whoever calls gives it back.
    fn take_at_once(&self, turn: &mut Turn<'_, '_, impl Edge>, permits: &mut Permits) -> Result<(), Skipped> {
        let policy = turn.policy;
        let breaker = policy.breaker.as_ref().filter(|_| self.scope == Scope::Attempt);
        if let Some(breaker) = breaker {
            breaker.look(turn.now).map_err(|_| Skipped::Busy)?;
        }
        if let Some(bulkhead) = &policy.bulkhead {
            permits.slot = Some(bulkhead.try_acquire().map_err(|_| Skipped::Busy)?);
        }
        if let Some(limiter) = &policy.rate {
            permits.rate = Some(limiter.try_acquire(turn.now, 1).map_err(|_| Skipped::Busy)?);
        }
        if let Some(limiter) = &policy.tokens {
            permits.tokens = Some(limiter.try_acquire(turn.now, self.cost).map_err(|_| Skipped::Busy)?);
        }
        // Paid for as late as possible; a breaker's permit cannot be given back without a trace, so that comes after.
        if policy.budget.as_ref().is_some_and(|budget| !budget.withdraw(turn.now)) {
            return Err(Skipped::BudgetDenied);
        }
        if let Some(breaker) = breaker {
            let permit = permits.breaker.insert(breaker.admit(turn.now).map_err(|_| Skipped::Busy)?);
            if let Some(transition) = breaker.transition(permit) {
                turn.emit(|| Kind::of_change(breaker.name(), Change::Moved(transition)));
            }
        }
        Ok(())
    }
}

/// Notes how long an attempt took until now.
#[inline]
fn measure(turn: &Turn<'_, '_, impl Edge>, lane: &Lane) {
    if let Some(latency) = &turn.policy.latency {
        latency.record(turn.now, turn.now.since(lane.started));
    }
}
