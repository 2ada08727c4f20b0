//! The model: all that ever happened, and the answers that follow from it.

use std::collections::VecDeque;
use std::time::Duration;

use stormproof_core::breaker::{Cause, Config, Mode, State};
use stormproof_core::window::Tally;
use stormproof_core::{Instant, Jitter, Outcome, Reason};

use crate::operations::{Judged, KINDS};
use crate::rules;

/// A counted result in a closed circuit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) failed: bool,
    pub(crate) took: Duration,
}

/// A permit as the model knows it: in which state's life it was given, when, and its number if it is a probe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) life: u64,
    pub(crate) at: Instant,
    pub(crate) probe: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    Closed,
    Open(Instant),
    HalfOpen { out: Vec<(u64, Instant)>, successes: u32 },
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) config: Config,
    pub(crate) mode: Mode,
    pub(crate) phase: Phase,
    pub(crate) now: Instant,
    /// Grows with each change of phase, on purpose or not.
    pub(crate) life: u64,
    pub(crate) probes: u64,
    pub(crate) samples: Vec<Sample>,
    /// When it was last closed.
    pub(crate) closed_until: Instant,
    /// For each rule, the samples that it looks at.
    pub(crate) since: Vec<usize>,
    pub(crate) in_a_row: u32,
    pub(crate) opened_in_a_row: u32,
    pub(crate) opened: u64,
    pub(crate) would_open: u64,
    /// For each rule, whether it was said that it holds.
    pub(crate) told: Vec<bool>,
    pub(crate) successes: u64,
    pub(crate) failures: u64,
    pub(crate) ignored: u64,
    pub(crate) refused: u64,
    pub(crate) stale: u64,
    pub(crate) last_failure: Option<Instant>,
    pub(crate) last_success: Option<Instant>,
    pub(crate) cause: &'static str,
    pub(crate) questions: VecDeque<Given>,
}

/// A rule, the calls it looks at, their failures, and the failures that open the circuit.
pub(crate) type Counted = (&'static str, u32, u32, u32);

/// What the model expects of a call.
#[derive(Debug, PartialEq)]
pub(crate) enum Expected {
    Nothing,
    Would(Counted),
    Moved(Move),
}

/// A transition without its number, and with the bounds of the wait.
#[derive(Debug, PartialEq)]
pub(crate) struct Move {
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) cause: Cause,
    pub(crate) count: Counted,
    pub(crate) waits: (Duration, Duration),
}

impl Model {
    pub(crate) fn new(config: Config) -> Self {
        let mut model = Self {
            since: vec![0; config.trip.len()],
            mode: Mode::Normal,
            phase: Phase::Closed,
            now: Instant::ZERO,
            life: 0,
            probes: 0,
            samples: Vec::new(),
            closed_until: Instant::ZERO,
            in_a_row: 0,
            opened_in_a_row: 0,
            opened: 0,
            would_open: 0,
            told: vec![false; config.trip.len()],
            successes: 0,
            failures: 0,
            ignored: 0,
            refused: 0,
            stale: 0,
            last_failure: None,
            last_success: None,
            cause: "",
            questions: VecDeque::new(),
            config,
        };
        let _ = model.set_mode(model.config.mode);
        model
    }

    /// The state that was entered, which is not yet half-open when the wait is over.
    pub(crate) fn entered(&self) -> State {
        match (self.mode, &self.phase) {
            (Mode::ForcedOpen, _) => State::Open,
            (Mode::Disabled | Mode::MetricsOnly, _) | (_, Phase::Closed) => State::Closed,
            (_, Phase::Open(_)) => State::Open,
            (_, Phase::HalfOpen { .. }) => State::HalfOpen,
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::Open(until) if self.now >= until => State::HalfOpen,
            _ => self.entered(),
        }
    }

    pub(crate) fn remaining(&self) -> Duration {
        if let Phase::Open(until) = self.phase { until.since(self.now) } else { Duration::ZERO }
    }

    pub(crate) fn probe_timeout(&self) -> Duration {
        self.config.half_open_timeout.unwrap_or(self.config.open_duration)
    }

    pub(crate) fn refusal(&self) -> Option<(Reason, Duration)> {
        if self.mode == Mode::ForcedOpen {
            return Some((Reason::ForcedOpen, Duration::ZERO));
        }
        match &self.phase {
            Phase::Open(until) if self.now < *until => Some((Reason::Open, self.remaining())),
            Phase::HalfOpen { out, .. } => {
                let timeout = self.probe_timeout();
                let present = out.iter().filter(|(_, since)| self.now.since(*since) < timeout).count();
                (present >= self.config.half_open_max_calls as usize).then_some((Reason::HalfOpenLimit, Duration::ZERO))
            }
            _ => None,
        }
    }

    pub(crate) fn admit(&mut self) -> Result<(Given, bool), (Reason, Duration)> {
        if let Some(refusal) = self.refusal() {
            self.refused += 1;
            return Err(refusal);
        }
        let began = matches!(self.phase, Phase::Open(_));
        if began {
            self.enter(Phase::HalfOpen { out: Vec::new(), successes: 0 });
        }
        let (now, timeout) = (self.now, self.probe_timeout());
        let mut probe = None;
        if let Phase::HalfOpen { out, .. } = &mut self.phase {
            out.retain(|(_, since)| now.since(*since) < timeout);
            self.probes += 1;
            out.push((self.probes, now));
            probe = Some(self.probes);
        }
        Ok((Given { life: self.life, at: now, probe }, began))
    }

    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.questions.clear();
        self.life += 1;
    }

    /// Frees a probe's place, if it has one.
    pub(crate) fn take_back(&mut self, given: &Given) {
        if let (Phase::HalfOpen { out, .. }, Some(number)) = (&mut self.phase, given.probe)
            && given.life == self.life
        {
            out.retain(|&(other, _)| other != number);
        }
    }

    pub(crate) fn release(&mut self, given: &Given) {
        if self.mode != Mode::Disabled {
            self.ignored += 1;
        }
        self.take_back(given);
    }

    pub(crate) fn settle(&mut self, given: &Given, judged: &Judged) -> Expected {
        if self.mode == Mode::Disabled {
            return Expected::Nothing;
        }
        let kind = KINDS[judged.kind];
        let listed = kind.starts_with("Client") && !self.config.ignore.is_empty();
        self.take_back(given);
        let failed = match judged.outcome {
            Outcome::Failure if listed => None,
            Outcome::Failure => Some(true),
            Outcome::Success => Some(false),
            Outcome::Ignored => None,
        };
        let Some(failed) = failed else {
            self.ignored += 1;
            return Expected::Nothing;
        };
        if failed {
            self.failures += 1;
            self.last_failure = Some(self.now);
        } else {
            self.successes += 1;
            self.last_success = Some(self.now);
        }
        if given.life != self.life {
            self.stale += 1;
            return Expected::Nothing;
        }
        if failed {
            self.in_a_row += 1;
            self.cause = kind;
        } else {
            self.in_a_row = 0;
        }
        let sample = Sample { at: self.now, failed, took: self.now.since(given.at) };
        let ban = if failed { judged.open_for } else { None };
        if let Phase::HalfOpen { successes, .. } = &mut self.phase {
            if failed || self.config.trip.iter().any(|trip| rules::is_slow(trip, sample.took)) {
                let cause = if ban.is_some() { Cause::Banned } else { Cause::ProbeFailed };
                return self.open(cause, ban);
            }
            *successes += 1;
            return if *successes >= self.config.success_threshold { self.close() } else { Expected::Nothing };
        }
        let rules = 0..self.config.trip.len();
        for rule in rules.clone() {
            self.told[rule] &= self.holds(rule);
        }
        self.samples.push(sample);
        let tripping: Vec<_> = rules.clone().filter(|&rule| self.trips(rule, failed)).collect();
        if self.mode == Mode::MetricsOnly {
            let new = tripping.into_iter().find(|&rule| !self.told[rule]);
            for rule in rules {
                self.told[rule] = self.holds(rule) && (self.told[rule] || new == Some(rule));
            }
            self.would_open += u64::from(new.is_some());
            return new.map_or(Expected::Nothing, |rule| Expected::Would(self.counted(rule)));
        }
        match tripping.first() {
            _ if ban.is_some() => self.open(Cause::Banned, ban),
            Some(&rule) => self.open(Cause::Tripped(self.config.trip[rule]), None),
            None => Expected::Nothing,
        }
    }

    /// What counts against the callee: as it stood when the circuit was last closed, and the probes that failed since.
    pub(crate) fn count(&self) -> Counted {
        let rules = (0..self.config.trip.len()).map(|rule| (self.holds(rule), self.counted(rule)));
        let share = |(_, _, failures, threshold): Counted| (f64::from(failures) / f64::from(threshold)).min(1.0);
        let mut nearest = None;
        for (trips, counted) in rules {
            let key = (trips, share(counted));
            if nearest.is_none_or(|(best, _)| key > best) {
                nearest = Some((key, counted));
            }
        }
        let (_, (rule, calls, failures, threshold)) = nearest.unwrap();
        let probes = if self.phase == Phase::Closed { 0 } else { self.opened_in_a_row - 1 };
        (rule, calls, failures + probes, threshold)
    }

    fn counted(&self, rule: usize) -> Counted {
        rules::counted(&self.config.trip[rule], self.counts(rule))
    }

    /// The time as of which windows are looked at.
    fn counting(&self) -> Instant {
        if self.phase == Phase::Closed { self.now } else { self.closed_until }
    }

    /// What a rule counts now.
    pub(crate) fn counts(&self, rule: usize) -> Tally {
        rules::counts(&self.config.trip[rule], &self.samples[self.since[rule]..], self.counting())
    }

    fn holds(&self, rule: usize) -> bool {
        rules::holds(&self.config.trip[rule], self.counts(rule))
    }

    /// Whether an outcome opens by this rule. A success does so only by making up a ratio.
    fn trips(&self, rule: usize, failed: bool) -> bool {
        (failed || rules::counts_successes(&self.config.trip[rule])) && self.holds(rule)
    }

    pub(crate) fn health_score(&self) -> f64 {
        let (_, _, failures, threshold) = self.count();
        match (self.state(), &self.phase) {
            (State::Closed, _) => 1.0 - (f64::from(failures) / f64::from(threshold)).min(1.0),
            (State::HalfOpen, Phase::HalfOpen { successes, .. }) => {
                0.5 * (f64::from(*successes) / f64::from(self.config.success_threshold)).min(1.0)
            }
            (State::Open | State::HalfOpen, _) => 0.0,
        }
    }

    pub(crate) fn open(&mut self, cause: Cause, ban: Option<Duration>) -> Expected {
        let from = self.entered();
        self.closed_until = self.counting();
        let waits = ban.map_or_else(|| self.open_waits(), |ban| (ban, ban));
        self.opened += 1;
        self.opened_in_a_row += 1;
        // The end is filled in by `adopt`, as jitter decides it.
        self.enter(Phase::Open(Instant::ZERO));
        Expected::Moved(Move { from, to: State::Open, cause, count: self.count(), waits })
    }

    /// The shortest and the longest wait that the next opening may have.
    pub(crate) fn open_waits(&self) -> (Duration, Duration) {
        let Config { open_duration, open_factor, max_open_duration, open_jitter, .. } = &self.config;
        let longest = max_open_duration.unwrap_or(open_duration.saturating_mul(10));
        let seconds = open_duration.as_secs_f64() * open_factor.powi(self.opened_in_a_row.try_into().unwrap());
        let times = |by: f64| Duration::try_from_secs_f64(seconds * by).unwrap_or(Duration::MAX).min(longest);
        match open_jitter {
            Jitter::None => (times(1.0), times(1.0)),
            Jitter::Symmetric(f) => (times(1.0).mul_f64((1.0 - f).max(0.0)), times(1.0 + f)),
            Jitter::Full => (Duration::ZERO, times(1.0)),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn close(&mut self) -> Expected {
        let from = self.entered();
        self.forget();
        self.enter(Phase::Closed);
        let waits = (Duration::ZERO, Duration::ZERO);
        Expected::Moved(Move { from, to: State::Closed, cause: Cause::Recovered, count: self.count(), waits })
    }

    pub(crate) fn forget(&mut self) {
        self.samples.clear();
        self.since.fill(0);
        self.told.fill(false);
        (self.in_a_row, self.opened_in_a_row, self.cause) = (0, 0, "");
    }

    pub(crate) fn set_mode(&mut self, mode: Mode) -> Expected {
        let from = self.entered();
        self.mode = mode;
        self.forget();
        self.enter(Phase::Closed);
        let to = self.entered();
        if from == to {
            return Expected::Nothing;
        }
        let opens = to == State::Open;
        self.opened += u64::from(opens);
        let wait = if opens { Duration::MAX } else { Duration::ZERO };
        Expected::Moved(Move { from, to, cause: Cause::Operator, count: self.count(), waits: (wait, wait) })
    }

    pub(crate) fn update(&mut self, config: Config) -> Expected {
        let kept = self.since.iter().copied().zip(self.told.iter().copied());
        let mut old: Vec<_> = self.config.trip.iter().copied().zip(kept).collect();
        let samples = &self.samples;
        let kept = config.trip.iter().map(|new| {
            let Some(place) = old.iter().position(|(trip, _)| rules::alike(trip, new)) else {
                return (samples.len(), false);
            };
            let (trip, (since, told)) = old.remove(place);
            (rules::remembered_since(&trip, samples, since), told)
        });
        (self.since, self.told) = kept.unzip();
        let former = std::mem::replace(&mut self.config, config);
        let mode = self.config.mode;
        if mode == former.mode || mode == self.mode { Expected::Nothing } else { self.set_mode(mode) }
    }

    pub(crate) fn half_open(&self, began: bool) -> Expected {
        if !began {
            return Expected::Nothing;
        }
        let (from, to, cause) = (State::Open, State::HalfOpen, Cause::WaitOver);
        Expected::Moved(Move { from, to, cause, count: self.count(), waits: (Duration::ZERO, Duration::ZERO) })
    }
}
