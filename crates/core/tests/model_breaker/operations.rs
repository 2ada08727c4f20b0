//! What is done to a breaker, at random.

use std::time::Duration;

use proptest::prelude::*;
use stormproof_core::breaker::{Config, Mode};
use stormproof_core::{Jitter, Outcome, Verdict};

use crate::rules::trip;

pub(crate) const KINDS: [&str; 3] = ["TimeoutError", "Client.BadRequest", ""];

#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged {
    pub(crate) outcome: Outcome,
    pub(crate) kind: usize,
    pub(crate) open_for: Option<Duration>,
}

impl Judged {
    pub(crate) fn verdict(&self) -> Verdict<'static> {
        let base = match self.outcome {
            Outcome::Success => Verdict::success(),
            Outcome::Failure => Verdict::failure(""),
            Outcome::Ignored => Verdict::ignored(""),
        };
        Verdict { kind: KINDS[self.kind], open_for: self.open_for, ..base }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
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

pub(crate) fn ms(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

pub(crate) fn judged() -> impl Strategy<Value = Judged> {
    let outcome = prop_oneof![4 => Just(Outcome::Failure), 3 => Just(Outcome::Success), 1 => Just(Outcome::Ignored)];
    let wait = prop_oneof![3 => ms(0..300), 1 => Just(Duration::MAX)];
    let open_for = prop_oneof![15 => Just(None), 1 => wait.prop_map(Some)];
    (outcome, prop_oneof![6 => Just(0), 1 => Just(1), 1 => Just(2)], open_for)
        .prop_map(|(outcome, kind, open_for)| Judged { outcome, kind, open_for })
}

pub(crate) fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![6 => Just(Mode::Normal), 1 => Just(Mode::ForcedOpen), 1 => Just(Mode::Disabled), 2 => Just(Mode::MetricsOnly)]
}

pub(crate) fn config() -> impl Strategy<Value = Config> {
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

pub(crate) fn history() -> impl Strategy<Value = Vec<Op>> {
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
