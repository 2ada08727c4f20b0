//! The breaker's state machine, as it is under the lock.

use std::collections::VecDeque;
use std::time::Duration;

use super::probes::Probes;
use super::saved::{Loss, MOST_SAVED, Saved};
use super::trip::Rules;
use super::{ADMIT, Cause, Change, Config, Count, FORCED, HISTORY, Mode, Permit, QUIET, REFUSE, State, Transition};
use crate::decision::Reason;
use crate::outcome::{Outcome, Verdict};
use crate::rng::Rng;
use crate::text;
use crate::time::Instant;

#[derive(Debug)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen(Probes),
}

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) config: Config,
    pub(super) mode: Mode,
    pub(super) generation: u64,
    pub(super) rules: Rules,
    pub(super) consecutive_failures: u32,
    pub(super) opened: u64,
    pub(super) stale: u64,
    /// How many successes there had been at the last failure.
    pub(super) successes_at_failure: u64,
    pub(super) last_failure: Option<Instant>,
    pub(super) history: VecDeque<Transition>,
    phase: Phase,
    /// Number of openings since it was last closed.
    opened_in_a_row: u32,
    /// When it was last closed and counted.
    counted_until: Instant,
    said_would_open: bool,
    /// Keeps its capacity, so that noting a failure does not allocate.
    cause: String,
}

/// A failure's kind is kept up to so many bytes.
const CAUSE_BYTES: usize = 128;

impl Machine {
    pub(super) fn new(config: Config) -> Self {
        let mode = config.mode;
        let mut machine = Self {
            rules: Rules::new(&config.trip),
            config,
            mode: Mode::Normal,
            generation: 0,
            consecutive_failures: 0,
            opened: 0,
            stale: 0,
            successes_at_failure: 0,
            last_failure: None,
            history: VecDeque::new(),
            phase: Phase::Closed,
            opened_in_a_row: 0,
            counted_until: Instant::ZERO,
            said_would_open: false,
            cause: String::with_capacity(CAUSE_BYTES),
        };
        machine.set_mode(Instant::ZERO, mode);
        machine
    }

    pub(super) fn reconfigure(&mut self, config: Config) {
        if config.trip != self.config.trip {
            self.rules.reconfigure(&config.trip);
        }
        self.config = config;
    }

    /// The flags for the published word, and the end of the wait.
    pub(super) fn published(&self) -> (u64, Instant) {
        match (self.mode, &self.phase) {
            (Mode::ForcedOpen, _) => (REFUSE | FORCED, Instant::FAR_FUTURE),
            (Mode::Disabled, _) => (ADMIT, Instant::ZERO),
            (_, Phase::Closed) if self.consecutive_failures == 0 && self.rules.quiet() => {
                (ADMIT | QUIET, Instant::ZERO)
            }
            (_, Phase::Closed) => (ADMIT, Instant::ZERO),
            (_, &Phase::Open { until }) => (REFUSE, until),
            (_, Phase::HalfOpen(_)) => (0, Instant::ZERO),
        }
    }

    /// The state as it looks at `now`: half-open when the wait is over.
    pub(super) fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Open { until } if now >= until => State::HalfOpen,
            _ => self.entered(),
        }
    }

    /// The state that the last transition led to.
    fn entered(&self) -> State {
        match (self.mode, &self.phase) {
            (Mode::ForcedOpen, _) | (_, Phase::Open { .. }) => State::Open,
            (_, Phase::HalfOpen(_)) => State::HalfOpen,
            (_, Phase::Closed) => State::Closed,
        }
    }

    pub(super) fn remaining(&self, now: Instant) -> Duration {
        match self.phase {
            Phase::Open { until } if self.mode == Mode::Normal => until.since(now),
            _ => Duration::ZERO,
        }
    }

    pub(super) fn half_open_successes(&self) -> u32 {
        if let Phase::HalfOpen(probes) = &self.phase { probes.successes } else { 0 }
    }

    pub(super) fn half_open_calls(&self) -> u32 {
        if let Phase::HalfOpen(probes) = &self.phase { u32::try_from(probes.out()).unwrap_or(u32::MAX) } else { 0 }
    }

    /// See [`CircuitBreaker::health_score`](super::CircuitBreaker::health_score).
    pub(super) fn health_score(&mut self, now: Instant) -> f64 {
        match self.state(now) {
            State::Open => 0.0,
            State::Closed => 1.0 - self.count(now).nearness(),
            State::HalfOpen => {
                0.5 * (f64::from(self.half_open_successes()) / f64::from(self.config.success_threshold)).min(1.0)
            }
        }
    }

    /// What counts against the callee. A window over time does not empty while the circuit is open: what opened it stays
    /// until it closes, and a failed probe adds to it.
    pub(super) fn count(&mut self, now: Instant) -> Count {
        let mut count = self.rules.nearest(self.counting(now));
        if !matches!(self.phase, Phase::Closed) {
            count.failures = count.failures.saturating_add(self.opened_in_a_row.saturating_sub(1));
        }
        count
    }

    /// The time as of which the rules count.
    fn counting(&self, now: Instant) -> Instant {
        if matches!(self.phase, Phase::Closed) { now } else { self.counted_until }
    }

    pub(super) fn last_cause(&self) -> Option<Box<str>> {
        (!self.cause.is_empty()).then(|| self.cause.as_str().into())
    }

    /// Why a call would be refused now, and for how long.
    pub(super) fn refusal(&self, now: Instant) -> Option<(Reason, Duration)> {
        match &self.phase {
            _ if self.mode == Mode::ForcedOpen => Some((Reason::ForcedOpen, Duration::ZERO)),
            &Phase::Open { until } if now < until => Some((Reason::Open, until.since(now))),
            Phase::HalfOpen(probes) => {
                let full = probes.present(now, self.config.probe_timeout()) >= self.probe_limit();
                full.then_some((Reason::HalfOpenLimit, Duration::ZERO))
            }
            Phase::Closed | Phase::Open { .. } => None,
        }
    }

    fn probe_limit(&self) -> usize {
        usize::try_from(self.config.half_open_max_calls).unwrap_or(usize::MAX)
    }

    pub(super) fn admit(&mut self, now: Instant) -> Result<Permit, (Reason, Duration)> {
        if let Some(refusal) = self.refusal(now) {
            return Err(refusal);
        }
        let wait_over = matches!(self.phase, Phase::Open { .. });
        if wait_over {
            self.move_to(Phase::HalfOpen(Probes::default()));
            self.note(now, State::Open, Cause::WaitOver, Duration::ZERO);
        }
        let timeout = self.config.probe_timeout();
        let probe = match &mut self.phase {
            Phase::HalfOpen(probes) => {
                probes.drop_lapsed(now, timeout);
                Some(probes.take(now))
            }
            Phase::Closed | Phase::Open { .. } => None,
        };
        Ok(Permit { began_half_open: wait_over, ..Permit::new(self.generation, now, probe) })
    }

    /// Frees a probe's place, if it has one, and says since when it had it.
    pub(super) fn return_probe(&mut self, generation: u64, probe: u64) -> Option<Instant> {
        match &mut self.phase {
            Phase::HalfOpen(probes) if generation == self.generation => probes.give_back(probe),
            _ => None,
        }
    }

    pub(super) fn settle(&mut self, permit: &Permit, now: Instant, verdict: &Verdict<'_>, rng: &Rng) -> Option<Change> {
        if self.mode == Mode::Disabled {
            return None;
        }
        // A probe that comes back too late is not heard, whether or not another has taken its place.
        let timeout = self.config.probe_timeout();
        let held_its_place = permit.probe.is_none_or(|probe| {
            self.return_probe(permit.generation, probe).is_some_and(|since| now.since(since) < timeout)
        });
        if verdict.outcome == Outcome::Ignored {
            return None;
        }
        let failed = verdict.outcome == Outcome::Failure;
        if failed {
            self.last_failure = Some(now);
        }
        if permit.generation != self.generation || !held_its_place {
            self.stale = self.stale.saturating_add(1);
            return None;
        }
        self.consecutive_failures = if failed { self.consecutive_failures.saturating_add(1) } else { 0 };
        if failed {
            self.set_cause(verdict.kind);
        }
        let elapsed = now.since(permit.admitted_at);
        let ban = verdict.open_for.filter(|_| failed);
        if let Phase::HalfOpen(probes) = &mut self.phase {
            if failed || self.rules.slow(elapsed) {
                let cause = if ban.is_some() { Cause::Banned } else { Cause::ProbeFailed };
                return Some(self.open(now, cause, ban, rng));
            }
            probes.successes = probes.successes.saturating_add(1);
            return (probes.successes >= self.config.success_threshold).then(|| self.close(now, Cause::Recovered));
        }
        self.settle_closed(now, failed, elapsed, ban, rng)
    }

    fn settle_closed(
        &mut self,
        now: Instant,
        failed: bool,
        elapsed: Duration,
        ban: Option<Duration>,
        rng: &Rng,
    ) -> Option<Change> {
        let tripped = self.rules.record(now, failed, elapsed);
        if self.mode == Mode::MetricsOnly {
            let (_, count) = tripped?;
            let said = std::mem::replace(&mut self.said_would_open, true);
            return (!said).then_some(Change::WouldOpen(count));
        }
        if ban.is_some() {
            return Some(self.open(now, Cause::Banned, ban, rng));
        }
        tripped.map(|(trip, _)| self.open(now, Cause::Tripped(trip), None, rng))
    }

    /// Keeps one cause, cut at a character boundary: however often is refused, it neither grows nor chains.
    fn set_cause(&mut self, kind: &str) {
        self.cause.clear();
        self.cause.push_str(text::start(kind, CAUSE_BYTES));
    }

    fn open(&mut self, now: Instant, cause: Cause, open_for: Option<Duration>, rng: &Rng) -> Change {
        let computed = self.config.open_wait().delay(self.opened_in_a_row, Duration::ZERO, rng);
        let wait = open_for.unwrap_or(computed);
        self.opened_in_a_row = self.opened_in_a_row.saturating_add(1);
        let from = self.entered();
        self.counted_until = self.counting(now);
        self.move_to(Phase::Open { until: now + wait });
        Change::Moved(self.note(now, from, cause, wait))
    }

    fn close(&mut self, now: Instant, cause: Cause) -> Change {
        let from = self.entered();
        self.move_to(Phase::Closed);
        self.forget();
        Change::Moved(self.note(now, from, cause, Duration::ZERO))
    }

    /// What a closed circuit starts without.
    fn forget(&mut self) {
        self.rules.clear();
        self.consecutive_failures = 0;
        self.opened_in_a_row = 0;
        self.said_would_open = false;
        self.cause.clear();
    }

    pub(super) fn set_mode(&mut self, now: Instant, mode: Mode) -> Option<Transition> {
        let from = self.entered();
        self.mode = mode;
        self.forget();
        self.move_to(Phase::Closed);
        let to = self.entered();
        let open_for = if to == State::Open { Duration::MAX } else { Duration::ZERO };
        (from != to).then(|| self.note(now, from, Cause::Operator, open_for))
    }

    /// What outlives the process, but for the totals that are not kept here.
    pub(super) fn save(&mut self, now: Instant) -> Saved {
        let (state, remaining) = match self.phase {
            Phase::Closed => (State::Closed, Duration::ZERO),
            Phase::Open { until } if now < until => (State::Open, until.since(now)),
            Phase::Open { .. } | Phase::HalfOpen(_) => (State::HalfOpen, Duration::ZERO),
        };
        Saved {
            state,
            remaining,
            opened_in_a_row: self.opened_in_a_row,
            mode: (self.mode != self.config.mode).then_some(self.mode),
            generation: self.generation,
            consecutive_failures: self.consecutive_failures,
            rules: self.rules.save(self.counting(now)),
            opened: self.opened,
            stale: self.stale,
            last_cause: self.last_cause(),
            ..Saved::default()
        }
    }

    /// Takes over what was saved. A half-open circuit starts its probing anew: those that were out are lost.
    pub(super) fn restore(&mut self, now: Instant, saved: &Saved) -> Option<Transition> {
        let from = self.entered();
        let opened = self.opened.saturating_add(saved.opened.min(MOST_SAVED));
        self.forget();
        self.mode = saved.mode.unwrap_or(self.mode);
        self.generation = self.generation.max(saved.generation.min(MOST_SAVED));
        self.move_to(match (self.mode, saved.state) {
            (Mode::Normal, State::Open) => Phase::Open { until: now + saved.remaining },
            (Mode::Normal, State::HalfOpen) => Phase::Open { until: now },
            _ => Phase::Closed,
        });
        self.opened_in_a_row = saved.opened_in_a_row;
        self.consecutive_failures = saved.consecutive_failures;
        self.rules.restore(now, &saved.rules);
        self.counted_until = now;
        self.stale = self.stale.saturating_add(saved.stale.min(MOST_SAVED));
        self.set_cause(saved.last_cause.as_deref().unwrap_or_default());
        let to = self.entered();
        let open_for = if self.mode == Mode::ForcedOpen { Duration::MAX } else { self.remaining(now) };
        let transition = (from != to).then(|| self.note(now, from, Cause::Restored, open_for));
        self.opened = opened;
        transition
    }

    /// What would be lost if it were forgotten.
    pub(super) fn loss(&mut self, now: Instant) -> Loss {
        let timeout = self.config.probe_timeout();
        match &self.phase {
            _ if self.mode != self.config.mode || self.mode == Mode::ForcedOpen => Loss::State,
            &Phase::Open { until } if now < until => Loss::State,
            Phase::HalfOpen(probes) if probes.present(now, timeout) > 0 => Loss::State,
            Phase::Closed if self.consecutive_failures == 0 && self.rules.spotless(now) => Loss::Nothing,
            Phase::Closed | Phase::Open { .. } | Phase::HalfOpen(_) => Loss::Counts,
        }
    }

    /// Every move begins a generation, which fences off all permits given before.
    fn move_to(&mut self, phase: Phase) {
        self.generation += 1;
        self.phase = phase;
    }

    /// Remembers the move that was just made from `from`.
    fn note(&mut self, now: Instant, from: State, cause: Cause, open_for: Duration) -> Transition {
        let to = self.entered();
        if to == State::Open {
            self.opened = self.opened.saturating_add(1);
        }
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        let (count, last_failure) = (self.count(now), self.last_failure);
        let transition = Transition { seq: self.generation, at: now, from, to, cause, count, last_failure, open_for };
        self.history.push_back(transition);
        transition
    }
}
