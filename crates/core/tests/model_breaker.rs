//! The breaker against the obvious: lists of everything that happened, searched anew for every question.
#![cfg(not(loom))]
#![cfg(test)]
#![allow(clippy::cast_possible_truncation, reason = "the numbers are small")]

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use stormproof_core::breaker::{Cause, Change, Config, HISTORY, Mode, Permit, State, Transition, Window};
use stormproof_core::window::Tally;
use stormproof_core::{CircuitBreaker, Instant, Jitter, Outcome, Reason, Trip, Verdict};

const KINDS: [&str; 3] = ["TimeoutError", "Client.BadRequest", ""];

#[derive(Clone, Copy, Debug)]
struct Judged {
    outcome: Outcome,
    kind: usize,
    open_for: Option<Duration>,
}

impl Judged {
    fn verdict(&self) -> Verdict<'static> {
        let base = match self.outcome {
            Outcome::Success => Verdict::success(),
            Outcome::Failure => Verdict::failure(""),
            Outcome::Ignored => Verdict::ignored(""),
        };
        Verdict { kind: KINDS[self.kind], open_for: self.open_for, ..base }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Advance(Duration),
    /// To the end of the open wait, or just before it.
    AdvanceToEnd(bool),
    Admit,
    Look,
    Settle(usize, Judged),
    Release(usize),
    Leak(usize),
    /// Gives back a permit that has been given back.
    Again(usize, Judged),
    Allow,
    Record(Judged),
    SetMode(Mode),
    Reset,
    Update(Box<Config>),
}

fn ms(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

fn judged() -> impl Strategy<Value = Judged> {
    let outcome = prop_oneof![4 => Just(Outcome::Failure), 3 => Just(Outcome::Success), 1 => Just(Outcome::Ignored)];
    let wait = prop_oneof![3 => ms(0..300), 1 => Just(Duration::MAX)];
    let open_for = prop_oneof![15 => Just(None), 1 => wait.prop_map(Some)];
    (outcome, prop_oneof![6 => Just(0), 1 => Just(1), 1 => Just(2)], open_for)
        .prop_map(|(outcome, kind, open_for)| Judged { outcome, kind, open_for })
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![(4u32..12).prop_map(Window::Calls), ms(1..500).prop_map(Window::Time)]
}

fn trip() -> impl Strategy<Value = Trip> {
    let ratio = || prop_oneof![Just(0.25), Just(0.5), Just(0.55), Just(1.0)];
    prop_oneof![
        (1u32..5).prop_map(Trip::consecutive),
        (1u32..7).prop_map(Trip::cumulative),
        (1u32..5, ms(1..300)).prop_map(|(n, window)| Trip::within(n, window)),
        (ratio(), 1u32..5, window()).prop_map(|(ratio, minimum, window)| Trip::ratio(ratio, minimum, window)),
        (ratio(), ms(1..60), 1u32..5, window())
            .prop_map(|(ratio, than, min, window)| Trip::slow(ratio, than, min, window)),
    ]
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![6 => Just(Mode::Normal), 1 => Just(Mode::ForcedOpen), 1 => Just(Mode::Disabled), 2 => Just(Mode::MetricsOnly)]
}

fn config() -> impl Strategy<Value = Config> {
    let waits = (
        prop_oneof![9 => ms(1..200), 1 => Just(Duration::MAX)],
        prop_oneof![Just(1.0), Just(1.5), Just(2.0), Just(f64::MAX)],
        prop::option::of(ms(0..400)),
        prop_oneof![2 => Just(Jitter::None), 1 => Just(Jitter::Symmetric(0.2)), 1 => Just(Jitter::Full)],
    );
    let probes = (1u32..4, prop_oneof![4 => 1u32..4, 1 => Just(u32::MAX)], prop::option::of(ms(1..200)));
    let start = prop_oneof![9 => Just(Mode::Normal), 1 => mode()];
    (prop::collection::vec(trip(), 1..4), waits, probes, any::<bool>(), start).prop_map(
        |(trip, (open_duration, open_factor, extra, open_jitter), probes, ignore, mode)| Config {
            trip,
            open_duration,
            open_factor,
            max_open_duration: extra.map(|extra| open_duration.saturating_add(extra)),
            open_jitter,
            success_threshold: probes.0,
            half_open_max_calls: probes.1,
            half_open_timeout: probes.2,
            ignore: if ignore { vec!["Client".into()] } else { Vec::new() },
            mode,
            ..Config::default()
        },
    )
}

fn history() -> impl Strategy<Value = Vec<Op>> {
    let any_permit = || any::<prop::sample::Index>().prop_map(|index| index.index(1 << 16));
    let op = prop_oneof![
        24 => prop_oneof![6 => ms(0..20), 2 => ms(0..300), 1 => ms(0..3_000)].prop_map(Op::Advance),
        1 => prop_oneof![40 => Just(Duration::from_secs(100_000_000)), 1 => Just(Duration::MAX)].prop_map(Op::Advance),
        6 => any::<bool>().prop_map(Op::AdvanceToEnd),
        40 => Just(Op::Admit),
        6 => Just(Op::Look),
        36 => (any_permit(), judged()).prop_map(|(at, judged)| Op::Settle(at, judged)),
        4 => any_permit().prop_map(Op::Release),
        2 => any_permit().prop_map(Op::Leak),
        2 => (any_permit(), judged()).prop_map(|(at, judged)| Op::Again(at, judged)),
        8 => Just(Op::Allow),
        8 => judged().prop_map(Op::Record),
        1 => mode().prop_map(Op::SetMode),
        1 => Just(Op::Reset),
        2 => config().prop_map(|config| Op::Update(Box::new(config))),
    ];
    prop::collection::vec(op, 0..200)
}

/// A counted result in a closed circuit.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    failed: bool,
    took: Duration,
}

/// A permit as the model knows it: in which state's life it was given, when, and its number if it is a probe.
#[derive(Clone, Copy, Debug)]
struct Given {
    life: u64,
    at: Instant,
    probe: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Closed,
    Open(Instant),
    HalfOpen { out: Vec<(u64, Instant)>, successes: u32 },
}

#[derive(Debug)]
struct Model {
    config: Config,
    mode: Mode,
    phase: Phase,
    now: Instant,
    /// Grows with each change of phase, on purpose or not.
    life: u64,
    probes: u64,
    samples: Vec<Sample>,
    /// For each rule, the samples that it looks at.
    since: Vec<usize>,
    in_a_row: u32,
    opened_in_a_row: u32,
    opened: u64,
    said: bool,
    successes: u64,
    failures: u64,
    ignored: u64,
    refused: u64,
    stale: u64,
    last_failure: Option<Instant>,
    last_success: Option<Instant>,
    cause: &'static str,
    questions: VecDeque<Given>,
}

/// What the model expects of a call.
#[derive(Debug, PartialEq)]
enum Expected {
    Nothing,
    Would(Trip, Tally),
    Moved(Move),
}

/// A transition without its number, and with the bounds of the wait.
#[derive(Debug, PartialEq)]
struct Move {
    from: State,
    to: State,
    cause: Cause,
    counts: Tally,
    waits: (Duration, Duration),
}

impl Model {
    fn new(config: Config) -> Self {
        let mut model = Self {
            since: vec![0; config.trip.len()],
            mode: Mode::Normal,
            phase: Phase::Closed,
            now: Instant::ZERO,
            life: 0,
            probes: 0,
            samples: Vec::new(),
            in_a_row: 0,
            opened_in_a_row: 0,
            opened: 0,
            said: false,
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
    fn entered(&self) -> State {
        match (self.mode, &self.phase) {
            (Mode::ForcedOpen, _) => State::Open,
            (Mode::Disabled | Mode::MetricsOnly, _) | (_, Phase::Closed) => State::Closed,
            (_, Phase::Open(_)) => State::Open,
            (_, Phase::HalfOpen { .. }) => State::HalfOpen,
        }
    }

    fn state(&self) -> State {
        match self.phase {
            Phase::Open(until) if self.now >= until => State::HalfOpen,
            _ => self.entered(),
        }
    }

    fn remaining(&self) -> Duration {
        if let Phase::Open(until) = self.phase { until.since(self.now) } else { Duration::ZERO }
    }

    fn probe_timeout(&self) -> Duration {
        self.config.half_open_timeout.unwrap_or(self.config.open_duration)
    }

    fn refusal(&self) -> Option<(Reason, Duration)> {
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

    fn admit(&mut self) -> Result<(Given, bool), (Reason, Duration)> {
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

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.life += 1;
    }

    /// Whether a permit may still say something. A probe's place is free afterwards.
    fn take_back(&mut self, given: &Given) -> bool {
        let (now, timeout) = (self.now, self.probe_timeout());
        match (&mut self.phase, given.probe) {
            (Phase::HalfOpen { out, .. }, Some(number)) if given.life == self.life => {
                let in_time = out.iter().any(|&(other, since)| other == number && now.since(since) < timeout);
                out.retain(|&(other, _)| other != number);
                in_time
            }
            _ => given.life == self.life,
        }
    }

    fn release(&mut self, given: &Given) {
        if self.mode != Mode::Disabled {
            self.ignored += 1;
        }
        self.take_back(given);
    }

    fn settle(&mut self, given: &Given, judged: &Judged) -> Expected {
        if self.mode == Mode::Disabled {
            return Expected::Nothing;
        }
        let kind = KINDS[judged.kind];
        let listed = kind.starts_with("Client") && !self.config.ignore.is_empty();
        let present = self.take_back(given);
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
        if !present {
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
            let slow = |trip: &Trip| matches!(trip, Trip::Slow { slower_than, .. } if sample.took >= *slower_than);
            if failed || self.config.trip.iter().any(slow) {
                let cause = if ban.is_some() { Cause::Banned } else { Cause::ProbeFailed };
                return self.open(cause, Tally::default(), ban);
            }
            *successes += 1;
            return if *successes >= self.config.success_threshold { self.close() } else { Expected::Nothing };
        }
        self.samples.push(sample);
        let tripped = (0..self.config.trip.len()).find(|&rule| self.trips(rule, failed));
        let tripped = tripped.map(|rule| (self.config.trip[rule], self.counts(rule)));
        match tripped {
            Some((trip, counts)) if self.mode == Mode::MetricsOnly => {
                if std::mem::replace(&mut self.said, true) {
                    Expected::Nothing
                } else {
                    Expected::Would(trip, counts)
                }
            }
            _ if self.mode == Mode::MetricsOnly => Expected::Nothing,
            _ if ban.is_some() => self.open(Cause::Banned, self.counts(0), ban),
            Some((trip, counts)) => self.open(Cause::Tripped(trip), counts, None),
            None => Expected::Nothing,
        }
    }

    /// What a rule counts now.
    fn counts(&self, rule: usize) -> Tally {
        let seen = &self.samples[self.since[rule]..];
        let failures = |n: usize| Tally { calls: n as u32, failures: n as u32, slow: 0 };
        let all = |samples: Vec<&Sample>, than: Option<Duration>| Tally {
            calls: samples.len() as u32,
            failures: samples.iter().filter(|sample| sample.failed).count() as u32,
            slow: samples.iter().filter(|sample| than.is_some_and(|than| sample.took >= than)).count() as u32,
        };
        let within = |window: Window| match window {
            Window::Calls(n) => seen.iter().rev().take(n as usize).collect(),
            Window::Time(d) => {
                let width = (d.as_nanos() as u64).div_ceil(10);
                let bucket = |at: Instant| at.as_nanos() / width;
                seen.iter().filter(|sample| bucket(self.now) - bucket(sample.at) <= 10).collect()
            }
        };
        match self.config.trip[rule] {
            Trip::Consecutive(_) => failures(seen.iter().rev().take_while(|sample| sample.failed).count()),
            Trip::Cumulative(_) => failures(seen.iter().filter(|sample| sample.failed).count()),
            Trip::Within { failures: k, window } => {
                let young = |sample: &&Sample| sample.failed && self.now.since(sample.at) < window;
                failures(seen.iter().filter(young).count().min(k as usize))
            }
            Trip::Ratio { window, .. } => all(within(window), None),
            Trip::Slow { slower_than, window, .. } => all(within(window), Some(slower_than)),
            other => panic!("{other:?}"),
        }
    }

    fn trips(&self, rule: usize, failed: bool) -> bool {
        let counts = self.counts(rule);
        match self.config.trip[rule] {
            Trip::Consecutive(n) | Trip::Cumulative(n) | Trip::Within { failures: n, .. } => {
                failed && counts.failures >= n
            }
            Trip::Ratio { ratio, minimum_calls, .. } => {
                counts.calls >= minimum_calls && counts.failure_ratio() >= ratio
            }
            Trip::Slow { ratio, minimum_calls, .. } => counts.calls >= minimum_calls && counts.slow_ratio() >= ratio,
            other => panic!("{other:?}"),
        }
    }

    fn open(&mut self, cause: Cause, counts: Tally, ban: Option<Duration>) -> Expected {
        let from = self.entered();
        let waits = ban.map_or_else(|| self.open_waits(), |ban| (ban, ban));
        self.opened += 1;
        self.opened_in_a_row += 1;
        // The end is filled in by `adopt`, as jitter decides it.
        self.enter(Phase::Open(Instant::ZERO));
        Expected::Moved(Move { from, to: State::Open, cause, counts, waits })
    }

    /// The shortest and the longest wait that the next opening may have.
    fn open_waits(&self) -> (Duration, Duration) {
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

    fn close(&mut self) -> Expected {
        let from = self.entered();
        self.forget();
        self.enter(Phase::Closed);
        let waits = (Duration::ZERO, Duration::ZERO);
        Expected::Moved(Move { from, to: State::Closed, cause: Cause::Recovered, counts: Tally::default(), waits })
    }

    fn forget(&mut self) {
        self.samples.clear();
        self.since.fill(0);
        (self.in_a_row, self.opened_in_a_row, self.said, self.cause) = (0, 0, false, "");
    }

    fn set_mode(&mut self, mode: Mode) -> Expected {
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
        Expected::Moved(Move { from, to, cause: Cause::Operator, counts: Tally::default(), waits: (wait, wait) })
    }

    fn update(&mut self, config: Config) {
        let mut old: Vec<_> = self.config.trip.iter().copied().zip(self.since.iter().copied()).collect();
        let alike = |a: &Trip, b: &Trip| match (*a, *b) {
            (Trip::Consecutive(_), Trip::Consecutive(_)) | (Trip::Cumulative(_), Trip::Cumulative(_)) => true,
            (Trip::Within { window: v, .. }, Trip::Within { window: w, .. }) => v == w,
            (Trip::Ratio { window: v, .. }, Trip::Ratio { window: w, .. }) => v == w,
            (Trip::Slow { window: v, slower_than: a, .. }, Trip::Slow { window: w, slower_than: b, .. }) => {
                v == w && a == b
            }
            _ => false,
        };
        let samples = &self.samples;
        let since = config.trip.iter().map(|new| {
            let Some(place) = old.iter().position(|(trip, _)| alike(trip, new)) else { return samples.len() };
            let (trip, since) = old.remove(place);
            // Only so many failures were remembered as the rule needed.
            let Trip::Within { failures, .. } = trip else { return since };
            let failed: Vec<_> = (since..samples.len()).filter(|&at| samples[at].failed).collect();
            failed.len().checked_sub(failures as usize).map_or(since, |at| failed.get(at).copied().unwrap_or(since))
        });
        self.since = since.collect();
        self.config = config;
    }

    fn forget_questions(&mut self) {
        let timeout = self.probe_timeout();
        while let Some(given) = self.questions.front() {
            let lapsed = given.probe.is_some() && self.now.since(given.at) >= timeout;
            if given.life == self.life && !lapsed {
                break;
            }
            self.questions.pop_front();
        }
    }
}

/// The breaker and the model side by side.
#[derive(Debug)]
struct Pair {
    breaker: CircuitBreaker,
    model: Model,
    out: Vec<(Permit, Given)>,
    spent: Vec<Permit>,
    history: Vec<Transition>,
}

impl Pair {
    fn new(config: Config, seed: u64) -> Self {
        let breaker = CircuitBreaker::with_config("model", config.clone()).unwrap().seed(seed);
        let history = breaker.history();
        Self { breaker, model: Model::new(config), out: Vec::new(), spent: Vec::new(), history }
    }

    fn take(&mut self, at: usize) -> Option<(Permit, Given)> {
        (!self.out.is_empty()).then(|| self.out.swap_remove(at % self.out.len()))
    }

    fn run(&mut self, op: Op) {
        let now = self.model.now;
        match op {
            Op::Advance(by) => self.model.now = now + by,
            Op::AdvanceToEnd(before) => {
                if let Phase::Open(until) = self.model.phase {
                    let to = Instant::from_nanos(until.as_nanos().saturating_sub(u64::from(before)));
                    self.model.now = now.max(to);
                }
            }
            Op::Admit => self.admit(),
            Op::Look => {
                let expected = self.model.refusal();
                let looked = self.breaker.look(now).map_err(|refusal| (refusal.reason, refusal.retry_after));
                self.model.refused += u64::from(expected.is_some());
                assert_eq!(looked.err(), expected);
            }
            Op::Settle(at, judged) => {
                if let Some((mut permit, given)) = self.take(at) {
                    let change = self.breaker.settle(&mut permit, now, &judged.verdict());
                    let expected = self.model.settle(&given, &judged);
                    self.adopt(change, expected);
                    self.spent.push(permit);
                }
            }
            Op::Release(at) => {
                if let Some((mut permit, given)) = self.take(at) {
                    self.breaker.release(&mut permit);
                    self.model.release(&given);
                    self.spent.push(permit);
                }
            }
            Op::Leak(at) => _ = self.take(at),
            Op::Again(at, judged) => {
                if !self.spent.is_empty() {
                    let at = at % self.spent.len();
                    assert_eq!(self.breaker.settle(&mut self.spent[at], now, &judged.verdict()), None);
                    self.breaker.release(&mut self.spent[at]);
                }
            }
            Op::Allow => self.allow(),
            Op::Record(judged) => {
                self.model.forget_questions();
                let change = self.breaker.record(now, &judged.verdict());
                let given = self.model.questions.pop_front();
                let expected = given.map_or(Expected::Nothing, |given| self.model.settle(&given, &judged));
                self.adopt(change, expected);
            }
            Op::SetMode(mode) => {
                let (transition, expected) = (self.breaker.set_mode(now, mode), self.model.set_mode(mode));
                self.adopt(transition.map(Change::Moved), expected);
            }
            Op::Reset => {
                let (transition, expected) = (self.breaker.reset(now), self.model.set_mode(Mode::Normal));
                self.adopt(transition.map(Change::Moved), expected);
            }
            Op::Update(config) => {
                self.breaker.update((*config).clone()).unwrap();
                self.model.update(*config);
            }
        }
    }

    fn admit(&mut self) {
        let admitted = self.breaker.admit(self.model.now).map_err(|refusal| (refusal.reason, refusal.retry_after));
        match (admitted, self.model.admit()) {
            (Ok(permit), Ok((given, began))) => {
                assert_eq!(permit.is_probe(), given.probe.is_some());
                let transition = permit.transition().map(Change::Moved);
                self.out.push((permit, given));
                self.adopt(transition, half_open(began));
            }
            (Err(refusal), Err(expected)) => assert_eq!(refusal, expected),
            (admitted, expected) => panic!("{admitted:?}, expected {expected:?}"),
        }
    }

    fn allow(&mut self) {
        let asked = self.breaker.allow_request(self.model.now).map_err(|refusal| (refusal.reason, refusal.retry_after));
        match (asked, self.model.admit()) {
            (Ok(change), Ok((given, began))) => {
                self.adopt(change, half_open(began));
                self.model.forget_questions();
                self.model.questions.push_back(given);
            }
            (Err(refusal), Err(expected)) => assert_eq!(refusal, expected),
            (asked, expected) => panic!("{asked:?}, expected {expected:?}"),
        }
    }

    /// Compares a change with what was expected, and takes over the wait that chance decided.
    fn adopt(&mut self, change: Option<Change>, expected: Expected) {
        match (change, expected) {
            (None, Expected::Nothing) => {}
            (Some(Change::WouldOpen(trip, counts)), Expected::Would(rule, tally)) => {
                assert_eq!((trip, counts), (rule, tally));
            }
            (Some(Change::Moved(transition)), Expected::Moved(expected)) => {
                let Transition { seq, at, from, to, cause, counts, open_for, .. } = transition;
                let waits = expected.waits;
                assert_eq!(at, self.model.now);
                assert_eq!(Move { from, to, cause, counts, waits }, expected);
                // Seconds as floating point: a relative error, and rounding to nanoseconds.
                let slack = Duration::from_nanos(2) + waits.1.min(Duration::from_secs(u64::MAX / 2)).mul_f64(1e-12);
                assert!(waits.0 <= open_for.saturating_add(slack), "{open_for:?} {waits:?}");
                assert!(open_for <= waits.1.saturating_add(slack), "{open_for:?} {waits:?}");
                if let Phase::Open(until) = &mut self.model.phase {
                    *until = at + open_for;
                }
                if let Some(last) = self.history.last() {
                    assert!(last.seq < seq && last.to == from, "{last:?} {transition:?}");
                }
                self.history.push(transition);
            }
            (change, expected) => panic!("{change:?}, expected {expected:?}"),
        }
    }

    fn compare(&self) {
        let (breaker, model) = (&self.breaker, &self.model);
        let stats = breaker.stats(model.now);
        assert_eq!((breaker.state(model.now), breaker.mode()), (model.state(), model.mode));
        assert_eq!((stats.state, stats.mode), (model.state(), model.mode));
        assert_eq!((breaker.remaining(model.now), stats.remaining), (model.remaining(), model.remaining()));
        assert_eq!(breaker.is_available(model.now), model.refusal().is_none());
        assert_eq!(stats.window, model.counts(0));
        let totals = [stats.successes, stats.failures, stats.ignored, stats.refused, stats.stale, stats.opened];
        let expected = [model.successes, model.failures, model.ignored, model.refused, model.stale, model.opened];
        assert_eq!(totals, expected, "successes, failures, ignored, refused, stale, opened");
        assert_eq!(stats.consecutive_failures, model.in_a_row);
        let (out, successes) = match &model.phase {
            Phase::HalfOpen { out, successes } => (out.len() as u32, *successes),
            _ => (0, 0),
        };
        assert_eq!((stats.half_open_calls, stats.half_open_successes), (out, successes));
        // Kept as one more than its nanoseconds, zero for never.
        let last_success = model.last_success.map(|at| at.min(Instant::from_nanos(u64::MAX - 1)));
        assert_eq!((stats.last_failure, stats.last_success), (model.last_failure, last_success));
        assert_eq!(breaker.last_cause().as_deref().unwrap_or(""), model.cause);
        let kept = self.history.len().saturating_sub(HISTORY);
        assert_eq!(breaker.history(), self.history[kept..]);
    }
}

fn half_open(began: bool) -> Expected {
    if !began {
        return Expected::Nothing;
    }
    let (from, to, cause) = (State::Open, State::HalfOpen, Cause::WaitOver);
    Expected::Moved(Move { from, to, cause, counts: Tally::default(), waits: (Duration::ZERO, Duration::ZERO) })
}

proptest! {
    #[test]
    fn the_breaker_does_what_the_model_does(config in config(), seed in any::<u64>(), history in history()) {
        let mut pair = Pair::new(config, seed);
        pair.compare();
        for op in history {
            pair.run(op);
            pair.compare();
        }
    }
}
