//! The breaker's state machine, as it is under the lock.

use std::collections::VecDeque;
use std::time::Duration;

use super::rules::Rules;
use super::{
    ADMIT, Cause, Change, Config, Count, FORCED, HISTORY, Mode, OUTSTANDING, Permit, QUIET, State, Transition,
    UNDECIDED,
};
use crate::decision::Reason;
use crate::outcome::{Outcome, Verdict};
use crate::rng::Rng;
use crate::text;
use crate::time::Instant;

#[derive(Debug)]
pub(super) enum Phase {
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
    pub(super) would_open: u64,
    pub(super) stale: u64,
    /// Number of successes at the last failure.
    pub(super) successes_at_failure: u64,
    pub(super) last_failure: Option<Instant>,
    /// Last failure in a former process: when its state was taken over, and how long before.
    pub(super) former_failure: Option<(Instant, Duration)>,
    pub(super) history: VecDeque<Transition>,
    /// Permits of the protocol without permits that have no result yet, oldest first. All are of this generation.
    pub(super) questions: VecDeque<Permit>,
    pub(super) phase: Phase,
    /// Number of openings since it was last closed.
    pub(super) opened_in_a_row: u32,
    /// Last time at which it was closed and counted.
    pub(super) counted_until: Instant,
    /// Keeps its capacity, so that noting a failure does not allocate.
    cause: String,
}

/// Length to which a failure's kind is cut, in bytes.
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
            would_open: 0,
            stale: 0,
            successes_at_failure: 0,
            last_failure: None,
            former_failure: None,
            history: VecDeque::new(),
            questions: VecDeque::new(),
            phase: Phase::Closed,
            opened_in_a_row: 0,
            counted_until: Instant::ZERO,
            cause: String::with_capacity(CAUSE_BYTES),
        };
        machine.set_mode(Instant::ZERO, mode);
        machine
    }

    /// Puts `config` in force. A mode that it changes is as new as the rest of it, and holds even if an operator had set
    /// another one; a mode that it does not change leaves an operator's word as it is.
    pub(super) fn reconfigure(&mut self, now: Instant, config: Config) -> Option<Transition> {
        if config.trip != self.config.trip {
            self.rules.reconfigure(&config.trip);
        }
        let former = std::mem::replace(&mut self.config, config);
        let mode = self.config.mode;
        if mode == former.mode || mode == self.mode { None } else { self.set_mode(now, mode) }
    }

    /// The mode that an operator set, if it is another one than that of the configuration.
    pub(super) fn operators_mode(&self) -> Option<Mode> {
        (self.mode != self.config.mode).then_some(self.mode)
    }

    /// The flags of the published word.
    pub(super) fn flags(&self) -> u64 {
        match (self.mode, &self.phase) {
            (Mode::ForcedOpen, _) | (_, Phase::Open { .. } | Phase::HalfOpen(_)) => 0,
            (Mode::Disabled, Phase::Closed) => ADMIT,
            (Mode::Normal | Mode::MetricsOnly, Phase::Closed) => {
                let quiet = self.consecutive_failures == 0 && self.rules.quiet();
                if quiet { ADMIT | QUIET } else { ADMIT }
            }
        }
    }

    /// The published end of the open wait.
    pub(super) fn published_until(&self) -> u64 {
        match (self.mode, &self.phase) {
            (Mode::ForcedOpen, _) => FORCED,
            // A wait without an end looks like `FORCED`.
            (_, Phase::Open { until }) if *until != Instant::FAR_FUTURE => until.as_nanos(),
            (_, Phase::Closed | Phase::Open { .. } | Phase::HalfOpen(_)) => UNDECIDED,
        }
    }

    /// The state as it looks at `now`: half-open when the wait is over.
    pub(super) fn state(&self, now: Instant) -> State {
        if matches!(self.phase, Phase::Open { until } if now >= until) { State::HalfOpen } else { self.entered() }
    }

    /// The state that the last transition led to.
    pub(super) fn entered(&self) -> State {
        match (self.mode, &self.phase) {
            (Mode::ForcedOpen, _) | (_, Phase::Open { .. }) => State::Open,
            (_, Phase::HalfOpen(_)) => State::HalfOpen,
            (_, Phase::Closed) => State::Closed,
        }
    }

    /// Time at which an open circuit lets probes through, [`Instant::FAR_FUTURE`] while an operator holds it open.
    pub(super) fn open_until(&self) -> Option<Instant> {
        match (self.mode, &self.phase) {
            (Mode::ForcedOpen, _) => Some(Instant::FAR_FUTURE),
            (_, &Phase::Open { until }) => Some(until),
            (_, Phase::Closed | Phase::HalfOpen(_)) => None,
        }
    }

    pub(super) fn remaining(&self, now: Instant) -> Duration {
        if let Phase::Open { until } = self.phase { until.since(now) } else { Duration::ZERO }
    }

    /// Successful probes, and the probes that are out.
    pub(super) fn probes(&self) -> (u32, u32) {
        match &self.phase {
            Phase::HalfOpen(probes) => (probes.successes, u32::try_from(probes.out.len()).unwrap_or(u32::MAX)),
            Phase::Closed | Phase::Open { .. } => (0, 0),
        }
    }

    /// Count against the callee. A window over time does not empty while the circuit is open: what opened it stays
    /// until it closes, and a failed probe adds to it.
    pub(super) fn count(&mut self, now: Instant) -> Count {
        let mut count = self.rules.nearest(self.counting(now));
        if !matches!(self.phase, Phase::Closed) {
            count.failures = count.failures.saturating_add(self.opened_in_a_row.saturating_sub(1));
        }
        count
    }

    /// The transition to half-open that began this generation; one that is no longer remembered is told with what counts
    /// now.
    pub(super) fn half_open(&mut self, seq: u64, at: Instant) -> Transition {
        let kept = self.history.iter().rev().find(|transition| transition.seq == seq).copied();
        kept.unwrap_or_else(|| Transition {
            seq,
            at,
            from: State::Open,
            to: State::HalfOpen,
            cause: Cause::WaitOver,
            count: self.count(at),
            last_failure: self.last_failure,
            last_failure_ago: self.last_failure_ago(at),
            open_for: Duration::ZERO,
        })
    }

    /// Time since the last failure, in a former process as well.
    pub(super) fn last_failure_ago(&self, now: Instant) -> Option<Duration> {
        let former = self.former_failure.map(|(at, before)| now.since(at).saturating_add(before));
        self.last_failure.map(|at| now.since(at)).or(former)
    }

    /// The time as of which the rules count.
    pub(super) fn counting(&self, now: Instant) -> Instant {
        if matches!(self.phase, Phase::Closed) { now } else { self.counted_until }
    }

    pub(super) fn last_cause(&self) -> Option<Box<str>> {
        (!self.cause.is_empty()).then(|| self.cause.as_str().into())
    }

    /// Why a call would be refused now, and for how long.
    pub(super) fn refusal(&self, now: Instant) -> Option<(Reason, Duration)> {
        if self.mode == Mode::ForcedOpen {
            return Some((Reason::ForcedOpen, Duration::ZERO));
        }
        match &self.phase {
            Phase::Closed => None,
            Phase::Open { until } => (now < *until).then(|| (Reason::Open, until.since(now))),
            Phase::HalfOpen(probes) => {
                let limit = usize::try_from(self.config.half_open_max_calls).unwrap_or(usize::MAX);
                let full = probes.present(now, self.config.probe_timeout()) >= limit;
                full.then_some((Reason::HalfOpenLimit, Duration::ZERO))
            }
        }
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
            Phase::HalfOpen(probes) => Some(probes.take(now, timeout)),
            Phase::Closed | Phase::Open { .. } => None,
        };
        Ok(Permit { began_half_open: wait_over, ..Permit::new(self.generation, now, probe) })
    }

    /// Keeps a permit until [`answered`](Self::answered). One of a former state is dropped: its result would move nothing.
    pub(super) fn asked(&mut self, permit: Permit) {
        if permit.generation == self.generation {
            if self.questions.len() == OUTSTANDING {
                self.questions.pop_front();
            }
            self.questions.push_back(permit);
        }
    }

    /// Frees a probe's place, if it still has one.
    pub(super) fn return_place(&mut self, permit: &Permit) {
        if let (Phase::HalfOpen(probes), Some(probe)) = (&mut self.phase, permit.probe)
            && permit.generation == self.generation
        {
            probes.give_back(probe);
        }
    }

    pub(super) fn settle(&mut self, permit: &Permit, now: Instant, verdict: &Verdict<'_>, rng: &Rng) -> Option<Change> {
        if self.mode == Mode::Disabled {
            return None;
        }
        self.return_place(permit);
        let failed = match verdict.outcome {
            Outcome::Success => false,
            Outcome::Failure => true,
            Outcome::Ignored => return None,
        };
        if failed {
            self.last_failure = Some(now);
        }
        // A probe that lost its place is heard all the same: good calls may take longer than the place is kept.
        if permit.generation != self.generation {
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
            return (probes.successes >= self.config.success_threshold).then(|| self.close(now));
        }
        if self.mode == Mode::MetricsOnly {
            let count = self.rules.watch(now, failed, elapsed)?;
            self.would_open = self.would_open.saturating_add(1);
            return Some(Change::WouldOpen(count));
        }
        let tripped = self.rules.record(now, failed, elapsed);
        if ban.is_some() {
            return Some(self.open(now, Cause::Banned, ban, rng));
        }
        tripped.map(|trip| self.open(now, Cause::Tripped(trip), None, rng))
    }

    /// Keeps one cause, cut at a character boundary: however many calls are refused, it neither grows nor chains.
    pub(super) fn set_cause(&mut self, kind: &str) {
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

    fn close(&mut self, now: Instant) -> Change {
        let from = self.entered();
        self.move_to(Phase::Closed);
        self.forget();
        Change::Moved(self.note(now, from, Cause::Recovered, Duration::ZERO))
    }

    /// Forgets what a closed circuit starts without.
    pub(super) fn forget(&mut self) {
        self.rules.clear();
        self.consecutive_failures = 0;
        self.opened_in_a_row = 0;
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

    /// Every move begins a generation, which fences off all permits given before.
    pub(super) fn move_to(&mut self, phase: Phase) {
        self.generation += 1;
        self.questions.clear();
        self.phase = phase;
    }

    /// Remembers the move that was just made from `from`.
    pub(super) fn note(&mut self, now: Instant, from: State, cause: Cause, open_for: Duration) -> Transition {
        let to = self.entered();
        if to == State::Open {
            self.opened = self.opened.saturating_add(1);
        }
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        let (count, last_failure, last_failure_ago) = (self.count(now), self.last_failure, self.last_failure_ago(now));
        let seq = self.generation;
        let transition = Transition { seq, at: now, from, to, cause, count, last_failure, last_failure_ago, open_for };
        self.history.push_back(transition);
        transition
    }
}

/// The probes of a half-open circuit that are out, oldest first. Numbers only grow and times never go back, so that both
/// can be searched.
#[derive(Debug, Default)]
pub(super) struct Probes {
    next: u64,
    out: VecDeque<(u64, Instant)>,
    successes: u32,
}

impl Probes {
    /// Takes a place at `now`; those whose time is over lose theirs.
    fn take(&mut self, now: Instant, timeout: Duration) -> u64 {
        let lost = self.out.len() - self.present(now, timeout);
        self.out.drain(..lost);
        // Threads that read a clock and then wait for the lock may come out of order.
        let since = self.out.back().map_or(now, |&(_, newest)| newest.max(now));
        self.next += 1;
        self.out.push_back((self.next, since));
        self.next
    }

    fn give_back(&mut self, probe: u64) {
        if let Ok(at) = self.out.binary_search_by_key(&probe, |&(number, _)| number) {
            self.out.remove(at);
        }
    }

    /// Number of probes out whose time is not over.
    pub(super) fn present(&self, now: Instant, timeout: Duration) -> usize {
        self.out.len() - self.out.partition_point(|&(_, since)| now.since(since) >= timeout)
    }
}
