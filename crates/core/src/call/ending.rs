//! What follows from results and refusals: another round, or the end.

use std::time::Duration;

use crate::breaker::Scope;
use crate::call::{Call, End, Phase, Step, TIMED_OUT};
use crate::decision::{Reason, Refusal, Stage};
use crate::event::Kind;
use crate::outcome::{Outcome, Verdict};
use crate::permits::{Edge, Permits, Turn};
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
        let (mut error, mut refused) = (verdict.kind, None);
        let stop = match self.decide(turn, verdict) {
            Ok((delay, until)) => match self.refused_then(turn, until) {
                Err(refusal) => {
                    (error, refused) = (refusal.reason.as_str(), Some(refusal));
                    Stop::Refused
                }
                // Last, so that a retry is paid for only if it takes place.
                Ok(until) if turn.policy.budget.as_ref().is_none_or(|budget| budget.withdraw(turn.now)) => {
                    self.lanes.first.permits.settle_attempt(turn, counted);
                    let (retry, delay) = (self.retries.saturating_add(1), delay.max(until.since(turn.now)));
                    turn.emit(|| Kind::RetryAttempted { retry, delay, error: error.into() });
                    return self.back_off(turn, delay, until);
                }
                Ok(_) => Stop::BudgetDenied,
            },
            Err(stop) => stop,
        };
        if !self.keeps || limit.is_some() {
            self.lanes.first.permits.settle_attempt(turn, counted);
        }
        self.gave_up(turn, stop, error);
        // An operation that failed before has failed, however its last attempt counts.
        let whole = if self.attempts > 1 { verdict } else { counted };
        turn.policy.calls.count(Outcome::Failure);
        let end = match (refused, limit) {
            (Some(refusal), _) => End::Refused(refusal),
            (None, Some(limit)) => End::TimedOut(limit, stop),
            (None, None) => End::Finished(Some(stop)),
        };
        self.end(turn, whole, end)
    }

    fn decide(&self, turn: &Turn<'_, '_, impl Edge>, verdict: &Verdict<'_>) -> Result<(Duration, Instant), Stop> {
        let Some(retry) = &turn.policy.retry else { return Err(Stop::NoRetry) };
        let hint = Some(self.not_before.since(turn.now)).filter(|hint| !hint.is_zero());
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
        (self.phase, self.until, self.lanes.first.number) = (Phase::Idle, until, 0);
        Step::BackOff { until }
    }

    fn gave_up(&self, turn: &mut Turn<'_, '_, impl Edge>, stop: Stop, error: &str) {
        if let Some(retry) = &turn.policy.retry {
            retry.count_stop(stop);
        }
        let attempts = self.attempts;
        turn.emit(|| Kind::GaveUp { stop, attempts, error: error.into() });
    }

    /// Why an answer that is neither success nor failure is the last one. It is counted like a failure that is not retried,
    /// but nobody is told: it is not rare, and nothing failed.
    #[cold]
    pub(super) fn not_retryable(turn: &Turn<'_, '_, impl Edge>) -> Stop {
        let Some(retry) = &turn.policy.retry else { return Stop::NoRetry };
        retry.count_stop(Stop::NotRetryable);
        Stop::NotRetryable
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

    /// The limit that the deadline is.
    pub(super) fn limit(&self) -> Limit {
        if self.deadline < self.own_deadline { Limit::Inherited } else { Limit::Call }
    }

    /// Counts that the call ran out of this time, and says so.
    pub(super) fn count_time_out(&self, turn: &mut Turn<'_, '_, impl Edge>, limit: Limit) {
        let after = turn.now.since(self.started);
        turn.policy.timed_out.count(limit);
        turn.emit(|| Kind::TimedOut { limit, after });
    }

    /// The deadline passed outside an attempt.
    #[cold]
    pub(super) fn out_of_time<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Step<'p> {
        let limit = self.limit();
        self.count_time_out(turn, limit);
        self.stop_outside(turn, Stop::Deadline, TIMED_OUT, End::TimedOut(limit, Stop::Deadline))
    }

    /// What was to be called cannot be called.
    #[cold]
    pub(super) fn never_ready<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Step<'p> {
        let stop = Stop::Unready;
        self.stop_outside(turn, stop, stop.as_str(), End::Finished(Some(stop)))
    }

    #[cold]
    pub(super) fn refused<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, refusal: Refusal<'p>) -> Step<'p> {
        if refusal.stage == Stage::Breaker
            && let Some(step) = self.wait_for_half_open(turn, &refusal)
        {
            return step;
        }
        // Refusals of these are counted: they are not rare.
        if !matches!(refusal.stage, Stage::Breaker | Stage::Throttle) {
            turn.emit(|| Kind::of_refusal(&refusal));
        }
        self.stop_outside(turn, Stop::Refused, refusal.reason.as_str(), End::Refused(refusal))
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
        self.lanes.first.permits.release(turn.policy, turn.edge);
        let delay = until.since(turn.now);
        turn.emit(|| Kind::HalfOpenAwaited { breaker: breaker.name().clone(), delay });
        let step = self.back_off(turn, delay, until);
        retry.count_wait();
        Some(step)
    }

    /// Ends between attempts. An operation whose attempts failed has failed; one without attempts says nothing.
    fn stop_outside<'p>(
        &mut self,
        turn: &mut Turn<'p, '_, impl Edge>,
        stop: Stop,
        kind: &str,
        end: End<'p>,
    ) -> Step<'p> {
        self.lanes.first.permits.release(turn.policy, turn.edge);
        let mut verdict = Verdict::ignored(kind);
        match end {
            End::Refused(_) if self.attempts == 0 => turn.policy.calls.count_refused(),
            End::Refused(_) | End::TimedOut(..) | End::Finished(_) => turn.policy.calls.count(Outcome::Failure),
        }
        if self.attempts > 0 {
            self.gave_up(turn, stop, kind);
            verdict = Verdict::failure(kind);
        }
        self.end(turn, &verdict, end)
    }

    /// Ends. A permit that attempts shared and none has used is that of the whole operation, or in nobody's way.
    #[inline]
    pub(super) fn end<'p>(
        &mut self,
        turn: &mut Turn<'p, '_, impl Edge>,
        verdict: &Verdict<'_>,
        end: End<'p>,
    ) -> Step<'p> {
        self.phase = Phase::Ended;
        if self.shared.is_some() {
            let mut shared = Permits::of(self.shared.take());
            if self.scope == Scope::Operation {
                shared.settle_breaker(turn, verdict);
            }
            shared.abandon(turn.policy, turn.edge);
        }
        Step::Done(end)
    }
}
