//! What follows from results and refusals: another round, or the end.

use std::time::Duration;

use crate::breaker::Scope;
use crate::call::{Call, End, Phase, Step, TIMED_OUT, Turn, Whose};
use crate::decision::{Reason, Refusal, Stage};
use crate::event::Kind;
use crate::outcome::Verdict;
use crate::permits::Edge;
use crate::retry::{Decision, Stop};
use crate::time::Instant;
use crate::timeout::Limit;

impl Call {
    /// All attempts of the round have failed, the last one like this.
    #[cold]
    pub(super) fn retry<'p>(
        &mut self,
        turn: &mut Turn<'p, '_, impl Edge>,
        verdict: &Verdict<'_>,
        counted: &Verdict<'_>,
        limit: Option<Limit>,
    ) -> Step<'p> {
        self.first.number = 0;
        let (mut error, mut refused) = (verdict.kind, None);
        let stop = match self.decide(turn, verdict) {
            Ok((delay, until)) => match self.refused_then(turn, until) {
                Err(refusal) => {
                    (error, refused) = (refusal.reason.as_str(), Some(refusal));
                    Stop::Refused
                }
                // Last, so that a retry is paid for only if it takes place.
                Ok(until) if turn.policy.budget.as_ref().is_none_or(|budget| budget.withdraw(turn.now)) => {
                    self.first.permits.settle_attempt(turn.policy, turn.now, counted, turn.edge);
                    let (retry, delay) = (self.retries.saturating_add(1), delay.max(until.since(turn.now)));
                    turn.emit(|| Kind::RetryAttempted { retry, delay, error: error.into() });
                    return self.back_off(turn, delay, until);
                }
                Ok(_) => Stop::BudgetDenied,
            },
            Err(stop) => stop,
        };
        if !self.keeps || limit.is_some() {
            self.first.permits.settle_attempt(turn.policy, turn.now, counted, turn.edge);
        }
        self.gave_up(turn, stop, error);
        // An operation that failed before has failed, however its last attempt counts.
        let whole = if self.attempts > 1 { verdict } else { counted };
        let end = match (refused, limit) {
            (Some(refusal), _) => End::Refused(refusal),
            (None, Some(limit)) => End::TimedOut(limit, stop),
            (None, None) => End::Finished(Some(stop)),
        };
        self.end(turn, whole, end)
    }

    fn decide(&self, turn: &Turn<'_, '_, impl Edge>, verdict: &Verdict<'_>) -> Result<(Duration, Instant), Stop> {
        let Some(retry) = &turn.policy.retry else { return Err(Stop::NoRetry) };
        // The longest patience that a server has asked for in this round.
        let hint = verdict.retry_after.map(|hint| hint.max(self.not_before.since(turn.now)));
        let hint = hint.or_else(|| Some(self.not_before.since(turn.now)).filter(|hint| !hint.is_zero()));
        let verdict = &Verdict { retry_after: hint, ..*verdict };
        match retry.decide(turn.now, self.retries, self.previous_delay, verdict, self.deadline) {
            Decision::Retry { delay, until } => Ok((delay, until)),
            Decision::Stop(stop) => Err(stop),
        }
    }

    fn back_off<'p>(&mut self, turn: &Turn<'p, '_, impl Edge>, delay: Duration, until: Instant) -> Step<'p> {
        if let Some(retry) = &turn.policy.retry {
            retry.count_retry(self.retries == 0);
        }
        self.retries = self.retries.saturating_add(1);
        self.previous_delay = delay;
        self.phase = Phase::BackingOff;
        self.until = until;
        Step::BackOff { until }
    }

    fn gave_up(&self, turn: &mut Turn<'_, '_, impl Edge>, stop: Stop, error: &str) {
        if let Some(retry) = &turn.policy.retry {
            retry.count_stop(stop);
        }
        let attempts = self.attempts;
        turn.emit(|| Kind::GaveUp { stop, attempts, error: error.into() });
    }

    /// When a retry that is due at `until` can be, or the refusal that it would meet for certain: nobody waits for that.
    fn refused_then<'p>(&self, turn: &Turn<'p, '_, impl Edge>, until: Instant) -> Result<Instant, Refusal<'p>> {
        let breaker = turn.policy.breaker.as_ref().filter(|_| self.scope == Scope::Attempt);
        let opens = breaker.and_then(|breaker| breaker.open_until(turn.now)).filter(|opens| *opens > until);
        let (Some(breaker), Some(opens)) = (breaker, opens) else { return Ok(until) };
        if let Some(retry) = &turn.policy.retry
            && retry.config().wait_for_half_open
            && opens < self.deadline
            && opens != Instant::FAR_FUTURE
        {
            return Ok(retry.spread(turn.now, opens.since(turn.now), self.deadline));
        }
        match breaker.look(turn.now) {
            // Somebody probes meanwhile, and may be done by then.
            Err(refusal) if refusal.reason != Reason::HalfOpenLimit => Err(refusal),
            _ => Ok(until),
        }
    }

    /// The deadline passed outside an attempt.
    #[cold]
    pub(super) fn timed_out<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Step<'p> {
        let limit = if self.whose == Whose::Own { Limit::Call } else { Limit::Inherited };
        let after = turn.now.since(self.started);
        turn.timed_out(limit, after);
        if self.attempts > 0 {
            self.gave_up(turn, Stop::Deadline, TIMED_OUT);
        }
        self.stopped_outside(turn, TIMED_OUT, End::TimedOut(limit, Stop::Deadline))
    }

    #[cold]
    pub(super) fn refused<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, refusal: Refusal<'p>) -> Step<'p> {
        if refusal.stage == Stage::Breaker
            && let Some(step) = self.wait_for_half_open(turn, &refusal)
        {
            return step;
        }
        // A breaker's refusals are counted: they are not rare.
        if refusal.stage != Stage::Breaker {
            turn.emit(|| Kind::of_refusal(&refusal));
        }
        if self.attempts > 0 {
            self.gave_up(turn, Stop::Refused, refusal.reason.as_str());
        }
        self.stopped_outside(turn, refusal.reason.as_str(), End::Refused(refusal))
    }

    /// In place of a refusal the wait for a half-open circuit, if the policy says so: at the price of a retry.
    fn wait_for_half_open<'p>(
        &mut self,
        turn: &mut Turn<'p, '_, impl Edge>,
        refusal: &Refusal<'p>,
    ) -> Option<Step<'p>> {
        let (retry, breaker) = (turn.policy.retry.as_ref()?, turn.policy.breaker.as_ref()?);
        let wait = (refusal.reason, refusal.retry_after);
        let until = retry.wait_for_half_open(turn.now, self.retries, self.previous_delay, wait, self.deadline)?;
        if turn.policy.budget.as_ref().is_some_and(|budget| !budget.withdraw(turn.now)) {
            return None;
        }
        self.first.permits.refund(turn.policy, turn.edge);
        let delay = until.since(turn.now);
        turn.emit(|| Kind::HalfOpenAwaited { breaker: breaker.name().clone(), delay });
        retry.count_wait();
        Some(self.back_off(turn, delay, until))
    }

    /// Ends between attempts. An operation whose attempts failed has failed; one without attempts says nothing.
    fn stopped_outside<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, kind: &str, end: End<'p>) -> Step<'p> {
        self.first.permits.refund(turn.policy, turn.edge);
        let verdict = if self.attempts > 0 { Verdict::failure(kind) } else { Verdict::ignored(kind) };
        self.end(turn, &verdict, end)
    }

    fn end<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, verdict: &Verdict<'_>, end: End<'p>) -> Step<'p> {
        self.phase = Phase::Ended;
        if self.scope == Scope::Operation {
            self.first.permits.settle_breaker(turn.policy, turn.now, verdict, turn.edge);
        }
        Step::Done(end)
    }

    /// Ends with the result of the first lane, for which all is settled that is to be.
    #[inline]
    pub(super) fn finish<'p>(&mut self, stop: Option<Stop>) -> Step<'p> {
        self.phase = Phase::Ended;
        Step::Done(End::Finished(stop))
    }
}
