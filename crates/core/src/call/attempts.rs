//! Attempts side by side: how they begin, their hedges, and what ends them.

use std::time::Duration;

use crate::breaker::{CircuitBreaker, Scope};
use crate::call::lanes::Lane;
use crate::call::{Call, End, Phase, Step, TIMED_OUT};
use crate::event::Kind;
use crate::hedge::{Cause, Skipped};
use crate::outcome::{Outcome, Verdict};
use crate::permits::{Edge, Permits, Turn, admit, ask};
use crate::retry::Stop;
use crate::time::Instant;
use crate::timeout::Limit;

/// An answer to be held that is there sooner than this was not waited for: what latencies are measured in is coarser.
const AT_ONCE: Duration = Duration::from_micros(1);

impl Call {
    /// Counts an attempt that begins now and plans the next hedge. Returns when the attempt is given up.
    #[inline]
    pub(super) fn count(&mut self, turn: &Turn<'_, '_, impl Edge>) -> Instant {
        self.attempts = self.attempts.saturating_add(1);
        let limit = turn.policy.attempt_timeout.map_or(self.deadline, |limit| self.deadline.min(turn.now + limit));
        let hedge = turn.policy.hedge.as_ref().filter(|hedge| self.hedges && self.hedged < hedge.config().max_hedges);
        let due = hedge.map(|hedge| turn.now + hedge.delay(turn.now, turn.policy.latency.as_deref()));
        self.hedge_at = due.unwrap_or(Instant::FAR_FUTURE).max(self.not_before);
        limit
    }

    /// Waits for what comes first: the end of an attempt, its limit, or the next hedge.
    #[inline]
    pub(super) fn wait<'p>(&mut self) -> Step<'p> {
        self.phase = Phase::Attempting;
        let mut newest = &self.lanes.first;
        let mut until = self.hedge_at.min(newest.limit);
        for lane in self.lanes.beside() {
            newest = if lane.number > newest.number { lane } else { newest };
            until = until.min(lane.limit);
        }
        Step::Attempt { number: self.attempts, limit: newest.limit, until }
    }

    /// Lets the attempts go on, unless something is due.
    #[cold]
    pub(super) fn go_on<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>) -> Step<'p> {
        if let Some(lane) = self.lanes.iter().find(|lane| lane.limit <= turn.now) {
            self.phase = Phase::Expiring(lane.number);
            return Step::Cancel { number: lane.number };
        }
        if self.hedge_at <= turn.now {
            self.hedge(turn, None);
        }
        self.wait()
    }

    /// An attempt has an answer that is judged later.
    #[inline(never)]
    pub(super) fn answered<'p>(
        &mut self,
        turn: &mut Turn<'p, '_, impl Edge>,
        number: u32,
        outcome: Outcome,
    ) -> Step<'p> {
        self.finished(turn, number, outcome, None)
    }

    /// An attempt ended by itself. Without a verdict it has an answer that is judged later.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "asked in one hot place; the other one is an answer that is held")]
    pub(super) fn finished<'p>(
        &mut self,
        turn: &mut Turn<'p, '_, impl Edge>,
        number: u32,
        outcome: Outcome,
        verdict: Option<&Verdict<'_>>,
    ) -> Step<'p> {
        match verdict {
            _ if !self.lanes.lead(number) => self.go_on(turn),
            Some(failure) if outcome == Outcome::Failure => self.fail(turn, failure, failure, None),
            _ => self.win(turn, outcome, verdict),
        }
    }

    /// The first attempt of the list has the answer that counts: a success, or one that no other attempt could better. The
    /// others have lost.
    #[inline]
    fn win<'p>(
        &mut self,
        turn: &mut Turn<'p, '_, impl Edge>,
        outcome: Outcome,
        verdict: Option<&Verdict<'_>>,
    ) -> Step<'p> {
        let attempt = self.lanes.first.number;
        if attempt > self.attempts - self.hedged {
            turn.policy.hedge.iter().for_each(|hedge| hedge.count_win());
            turn.emit(|| Kind::HedgeWon { attempt });
        }
        turn.policy.calls.count(outcome);
        let stop = (outcome != Outcome::Success).then(|| Self::not_retryable(turn));
        // An answer that took no time is no answer yet: what it protects is work that follows.
        let at_once = verdict.is_none() && turn.now.since(self.lanes.first.started) < AT_ONCE;
        if stop.is_none() && !at_once {
            self.measure(turn);
        }
        self.claim_permit();
        if let Some(verdict) = verdict {
            self.lanes.first.permits.settle_all(turn, verdict);
        } else {
            if self.measures {
                self.lanes.first.permits.answer(turn, None);
            }
            self.keeps = true;
        }
        self.close(turn, stop)
    }

    /// Ends the call, once those that lost are dropped.
    #[inline]
    fn close<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, stop: Option<Stop>) -> Step<'p> {
        let Some(lane) = self.lanes.last() else {
            return self.end(turn, &Verdict::ignored(""), End::Finished(stop));
        };
        self.phase = Phase::Closing(stop);
        Step::Cancel { number: lane.number }
    }

    #[cold]
    pub(super) fn drop_loser<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, stop: Option<Stop>) -> Step<'p> {
        if let Some(mut lane) = self.lanes.pop() {
            lane.permits.abandon(turn.policy, turn.edge);
        }
        self.close(turn, stop)
    }

    /// Notes how long the attempt took that won, and those it has overtaken: they took so long at least. Without them only
    /// fast ones would be measured, and a delay that is a percentile would sink with each hedge. A younger attempt had no
    /// time to be slow.
    #[inline]
    fn measure(&self, turn: &Turn<'_, '_, impl Edge>) {
        let Some(latency) = turn.policy.latency.as_ref().filter(|_| self.measures) else { return };
        for lane in self.lanes.iter().filter(|lane| lane.number <= self.lanes.first.number) {
            latency.record(turn.now, turn.now.since(lane.started));
        }
    }

    /// Gives the first attempt of the list the breaker's permit that it shares with others.
    #[inline]
    fn claim_permit(&mut self) {
        let own = &mut self.lanes.first.permits.breaker;
        if own.is_none() {
            *own = self.shared.take();
        }
    }

    /// An attempt was dropped because its time was over.
    #[cold]
    pub(super) fn expired<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, number: u32) -> Step<'p> {
        if !self.lanes.lead(number) {
            return self.go_on(turn);
        }
        let of_attempt = self.lanes.first.limit < self.deadline;
        let limit = if of_attempt { Limit::Attempt } else { self.limit() };
        if of_attempt || self.lanes.last().is_none() {
            self.count_time_out(turn, limit);
        }
        let has_own = self.own_deadline != Instant::FAR_FUTURE || turn.policy.attempt_timeout.is_some();
        let counted = if limit == Limit::Inherited && has_own {
            Verdict::ignored(TIMED_OUT)
        } else {
            Verdict::failure(TIMED_OUT)
        };
        self.fail(turn, &Verdict::failure(TIMED_OUT), &counted, Some(limit))
    }

    /// What the attempt was to call could not be called: nothing was.
    #[cold]
    pub(super) fn unready<'p>(&mut self, turn: &mut Turn<'p, '_, impl Edge>, number: u32) -> Step<'p> {
        if !self.lanes.lead(number) {
            return self.go_on(turn);
        }
        if self.lanes.last().is_none() {
            return self.never_ready(turn);
        }
        self.lanes.take_first().permits.release(turn.policy, turn.edge);
        self.go_on(turn)
    }

    /// The first attempt of the list failed: for what is settled as `counted`, for what follows as `verdict`.
    #[cold]
    fn fail<'p>(
        &mut self,
        turn: &mut Turn<'p, '_, impl Edge>,
        verdict: &Verdict<'_>,
        counted: &Verdict<'_>,
        limit: Option<Limit>,
    ) -> Step<'p> {
        self.timed_out = limit;
        if let Some(hint) = verdict.retry_after {
            self.not_before = self.not_before.max(turn.now + hint);
        }
        if self.scope == Scope::Attempt {
            self.claim_permit();
            self.lanes.first.permits.settle_breaker(turn, counted);
        }
        self.lanes.first.permits.correct(turn, counted);
        let alone = self.lanes.last().is_none();
        let helps = match &turn.policy.retry {
            Some(retry) => retry.is_retryable(verdict),
            None => verdict.retry.unwrap_or(true),
        };
        let hedged = helps && self.not_before <= turn.now && self.hedge(turn, Some(counted));
        if alone && !hedged {
            return self.retry(turn, verdict, counted, limit);
        }
        self.lanes.take_first().permits.settle_attempt(turn, counted);
        if hedged {
            return self.wait();
        }
        if self.hedge_at != Instant::FAR_FUTURE {
            self.hedge_at = self.hedge_at.max(self.not_before);
        }
        self.go_on(turn)
    }

    /// Starts another attempt beside those that run, if everything it needs is free. With `failed` it is in place of the
    /// first one, of which that is said, and gets its slot: a call does not queue again for what it has.
    fn hedge(&mut self, turn: &mut Turn<'_, '_, impl Edge>, failed: Option<&Verdict<'_>>) -> bool {
        self.hedge_at = Instant::FAR_FUTURE;
        let Some(hedge) = &turn.policy.hedge else { return false };
        let may = self.hedges && self.hedged < hedge.config().max_hedges && turn.now < self.deadline;
        if !may || turn.now < self.not_before {
            return false;
        }
        let mut permits = Permits::default();
        if failed.is_some() {
            permits.slot = self.lanes.first.permits.slot.take();
        }
        if let Err(why) = self.take_at_once(turn, &mut permits) {
            if failed.is_some() {
                self.lanes.first.permits.slot = permits.slot.take();
            }
            permits.release(turn.policy, turn.edge);
            hedge.count_skipped(why);
            return false;
        }
        if let Some(failed) = failed {
            permits.observe(turn, failed);
        }
        self.hedged += 1;
        let (limit, mut lane) = (self.count(turn), Lane { permits, ..Lane::default() });
        lane.begin(turn, self.attempts, limit);
        self.lanes.push(lane);
        let (attempt, cause) = (self.attempts, if failed.is_some() { Cause::Failure } else { Cause::Delay });
        hedge.count_start(cause);
        turn.emit(|| Kind::HedgeStarted { attempt, cause });
        true
    }

    /// Takes what an attempt needs, in the order of every attempt, or in part: whoever calls gives it back.
    fn take_at_once(&mut self, turn: &mut Turn<'_, '_, impl Edge>, permits: &mut Permits) -> Result<(), Skipped> {
        ask(turn, permits).map_err(|_| Skipped::Busy)?;
        let policy = turn.policy;
        let breaker = policy.breaker.as_ref().filter(|_| self.scope == Scope::Attempt);
        breaker.map_or(Ok(()), |breaker| breaker.look(turn.now)).map_err(|_| Skipped::Busy)?;
        permits.take(turn, self.cost, turn.now).map_err(|_| Skipped::Busy)?;
        // Paid for as late as possible; a breaker's permit cannot be given back without a trace, so that comes after.
        if policy.budget.as_ref().is_some_and(|budget| !budget.withdraw(turn.now)) {
            return Err(Skipped::BudgetDenied);
        }
        match breaker {
            Some(breaker) if !self.shares_probe(breaker) => {
                admit(turn, &mut permits.breaker).map_err(|_| Skipped::Busy)
            }
            _ => Ok(()),
        }
    }

    /// Whether the call has a place among the probes of a half-open circuit, which its attempts then share: one call, one
    /// place.
    fn shares_probe(&mut self, breaker: &CircuitBreaker) -> bool {
        let probing = |permit: &Option<_>| permit.as_ref().is_some_and(|permit| breaker.is_probing(permit));
        if self.shared.is_none() {
            let probe = self.lanes.iter_mut().map(|lane| &mut lane.permits.breaker).find(|permit| probing(permit));
            self.shared = probe.and_then(Option::take);
        }
        probing(&self.shared)
    }
}
