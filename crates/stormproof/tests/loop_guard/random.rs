//! Whatever is reported: no panic, the same answers each time, bounded memory, and a ladder that only goes up.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;
use stormproof::Instant;
use stormproof::loop_guard::{Config, Poll, State, Step, Turn, Verdict};
use stormproof_core::LoopGuard;
use stormproof_core::loop_guard::Report;

#[derive(Clone, Debug)]
enum Act {
    Before(String, String),
    After(String, String, bool, String),
    Turn(String, u64, f64),
    Progress(String),
    Ask(String, String),
    Answered(String, String),
    Handoff(String, String, String),
    Spawn,
    Ended,
    Context(String),
    User(String),
    Resume,
    Later(u64),
}

/// Few, so that they repeat; and some that are anything.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => prop::sample::select(vec!["", "a", "b", "c", "status"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec![
            "550e8400-e29b-41d4-a716-446655440000", "2026-01-01T00:00:00Z", "1718000000", "nonce=\"", "\"ts\":\"\\",
            "0xffffff", "12:30:", "2026-01-0", "attempt ", "ünïcödé 1.", "🙂🙂🙂", "took 5 ", "```\n```",
            "{\"a\":[1,{\"b\":0.30000000000000004}],\"request_id\":{}}", "{\"\\", "tmp.", "/tmp/tmpa1b2c3d4", "Error: x",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "[0-9a-fA-F:.TZ +-]{0,40}",
        1 => "([a-z]{1,6} ){0,30}[.!]",
    ]
}

/// Such as survive being written as text.
fn cost() -> impl Strategy<Value = f64> {
    prop_oneof![(0_u32..100).prop_map(|n| f64::from(n) / 4.0), Just(f64::NAN), Just(f64::INFINITY), Just(-1.0)]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (text(), text()).prop_map(|(tool, arguments)| Act::Before(tool, arguments)),
        6 => (text(), text(), any::<bool>(), text()).prop_map(|(t, a, ok, r)| Act::After(t, a, ok, r)),
        3 => (text(), prop_oneof![0_u64..1_000, any::<u64>()], cost())
            .prop_map(|(text, tokens, cost)| Act::Turn(text, tokens, cost)),
        2 => text().prop_map(Act::Progress),
        2 => (text(), text()).prop_map(|(from, to)| Act::Ask(from, to)),
        1 => (text(), text()).prop_map(|(from, to)| Act::Answered(from, to)),
        2 => (text(), text(), text()).prop_map(|(from, to, why)| Act::Handoff(from, to, why)),
        1 => Just(Act::Spawn),
        1 => Just(Act::Ended),
        1 => text().prop_map(Act::Context),
        1 => text().prop_map(Act::User),
        1 => Just(Act::Resume),
        2 => prop_oneof![0_u64..10_000_000_000, any::<u64>()].prop_map(Act::Later),
    ]
}

fn carry_out(guard: &LoopGuard, now: &mut Instant, act: &Act) -> Option<Report> {
    let at = *now;
    Some(match act {
        Act::Before(tool, arguments) => guard.before_call(at, tool, arguments),
        Act::After(tool, arguments, true, result) => guard.after_call(at, tool, arguments, Ok(result)),
        Act::After(tool, arguments, false, result) => guard.after_call(at, tool, arguments, Err(result)),
        Act::Turn(text, tokens, cost) => guard.turn(at, Turn { text, tokens: *tokens, cost: *cost }),
        Act::Progress(fingerprint) => guard.progress(at, fingerprint),
        Act::Ask(from, to) => guard.ask(at, from, to),
        Act::Handoff(from, to, why) => guard.handoff(at, from, to, why),
        Act::Spawn => guard.spawn(at, "worker"),
        other => {
            match other {
                Act::Answered(from, to) => guard.answered(from, to),
                Act::Ended => guard.ended(),
                Act::Context(text) => guard.context(text),
                Act::User(text) => guard.user_turn(text),
                Act::Resume => drop(guard.resume()),
                Act::Later(nanos) => *now = *now + Duration::from_nanos(*nanos),
                _ => {}
            }
            return None;
        }
    })
}

fn config() -> impl Strategy<Value = Config> {
    (1..5_u32, 1..5_u32, 16..40_u32, 0..3_u32, any::<bool>()).prop_map(
        |(repetitions, cycles, history, blocks, open)| {
            let config = Config {
                max_action_repetitions: repetitions,
                max_cycle_repetitions: cycles,
                history,
                max_blocks: blocks,
                result_bytes: 1_000,
                max_tokens: (!open).then_some(100_000),
                max_turns: (!open).then_some(100),
                max_time: None,
                ..Config::default()
            };
            config.poller("status", Poll::every(Duration::from_secs(1)))
        },
    )
}

fn numbers_in<'a>(value: &'a mut Value, numbers: &mut Vec<&'a mut Value>) {
    match value {
        Value::Number(_) => numbers.push(value),
        Value::Array(values) => values.iter_mut().for_each(|value| numbers_in(value, numbers)),
        Value::Object(fields) => fields.values_mut().for_each(|value| numbers_in(value, numbers)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_same_reports_give_the_same_answers_also_after_a_restart(
        config in config(),
        acts in prop::collection::vec(act(), 1..200),
        cut in 0_usize..200,
    ) {
        // Whoever waits or is at work is gone with the process.
        let agents = |act: &Act| matches!(act, Act::Ask(..) | Act::Answered(..) | Act::Spawn | Act::Ended);
        let acts: Vec<_> = acts.into_iter().filter(|act| !agents(act)).collect();
        let (one, other) = (LoopGuard::with_config("r", config.clone()).unwrap(), LoopGuard::with_config("r", config.clone()).unwrap());
        let (mut now, mut then) = (Instant::ZERO, Instant::ZERO);
        let cut = cut.min(acts.len());
        for act in &acts[..cut] {
            prop_assert_eq!(carry_out(&one, &mut now, act), carry_out(&other, &mut then, act));
        }
        let written = serde_json::to_string(&one.state(now)).unwrap();
        let state: State = serde_json::from_str(&written).unwrap();
        prop_assert_eq!(&serde_json::to_string(&state).unwrap(), &written, "read back as it was written");
        let again = LoopGuard::restore("r", config, state).unwrap();
        let stopped_by_limit = one.stopped().is_some_and(|why| why.rule.as_str().starts_with("limit"));
        // The new process has a clock of its own.
        let mut later = Instant::ZERO + Duration::from_secs(1_000_000);
        for act in acts[cut..].iter().filter(|_| !stopped_by_limit) {
            // Results of calls that were not repeated are not kept, and nothing else may differ but the clock.
            let verdict = |report: Option<Report>| report.map(|report| (report.detected, report.near));
            let (mine, its) = (carry_out(&one, &mut now, act), carry_out(&again, &mut later, act));
            if one.stopped().is_some() || now == Instant::FAR_FUTURE || later == Instant::FAR_FUTURE {
                break;
            }
            prop_assert_eq!(verdict(mine), verdict(its));
        }
    }

    #[test]
    fn after_a_detection_there_is_no_nudge_and_after_a_stop_nothing_else(
        config in config(),
        acts in prop::collection::vec(act(), 1..300),
    ) {
        let guard = LoopGuard::with_config("r", config).unwrap();
        let (mut now, mut found, mut stopped) = (Instant::ZERO, 0, false);
        for act in &acts {
            let report = carry_out(&guard, &mut now, act);
            if matches!(act, Act::Resume) {
                stopped = guard.stopped().is_some();
            }
            let Some(report) = report else { continue };
            if stopped {
                let silent = matches!(report.verdict, Verdict::Stop { .. }) && report.detected.is_none();
                prop_assert!(silent, "after a stop");
                continue;
            }
            if let Some(detection) = &report.detected {
                found += 1;
                prop_assert_eq!(detection.seq, found);
                prop_assert!(detection.step != Step::Nudge || found == 1);
                prop_assert_eq!(report.verdict.detection(), Some(detection));
                prop_assert!(!detection.to_string().is_empty());
            }
            stopped = matches!(report.verdict, Verdict::Stop { .. });
        }
    }

    #[test]
    fn whatever_stands_in_a_state_it_is_refused_or_goes_on(
        config in config(),
        acts in prop::collection::vec(act(), 1..100),
        changes in prop::collection::vec((any::<u16>(), prop_oneof![Just(u64::MAX), Just(0), any::<u64>()]), 1..20),
        then in prop::collection::vec(act(), 1..100),
    ) {
        let guard = LoopGuard::with_config("r", config.clone()).unwrap();
        let mut now = Instant::ZERO;
        for act in &acts {
            carry_out(&guard, &mut now, act);
        }
        let mut written = serde_json::to_value(guard.state(now)).unwrap();
        for (at, number) in changes {
            let mut numbers = Vec::new();
            numbers_in(&mut written["v1"], &mut numbers);
            let at = usize::from(at) % numbers.len();
            *numbers[at] = number.into();
        }
        let Ok(state) = serde_json::from_value::<State>(written) else { return Ok(()) };
        let Ok(again) = LoopGuard::restore("r", config, state) else { return Ok(()) };
        let mut now = Instant::ZERO;
        for act in &then {
            carry_out(&again, &mut now, act);
        }
        prop_assert!(serde_json::to_string(&again.state(now)).unwrap().len() < 100_000);
    }

    #[test]
    fn new_things_are_never_a_loop(work in prop::collection::vec((0_u32..5, any::<bool>()), 1..300)) {
        let guard = LoopGuard::with_config("r", Config { max_turns: None, ..Config::default() }).unwrap();
        let now = Instant::ZERO;
        for (step, (kind, again)) in work.into_iter().enumerate() {
            // Something new, and then perhaps something old.
            let new = format!("src/module_{step}.rs");
            let result = format!("mod module_{step};");
            let old = format!("old {kind}");
            prop_assert_eq!(guard.before_call(now, "read", &new).detected, None);
            prop_assert_eq!(guard.after_call(now, "read", &new, Ok(&result)).detected, None);
            if again {
                prop_assert_eq!(guard.before_call(now, "build", &old).detected, None);
                prop_assert_eq!(guard.after_call(now, "build", &old, Ok("ok")).detected, None);
            }
        }
    }
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let config = Config { max_turns: None, max_tokens: None, max_time: None, max_spawns: None, ..Config::default() };
    let guard = LoopGuard::with_config("r", config).unwrap();
    let mut size = Vec::new();
    let mut now = Instant::ZERO;
    for n in 0..12_000_u64 {
        now = now + Duration::from_secs(3);
        let (tool, arguments) = (format!("tool {n}"), format!("arguments {n}"));
        let id = format!("{n:08x}-1b2c-4d3e-8f90-{n:012x}");
        let _ = guard.before_call(now, &tool, &arguments);
        let _ = guard.after_call(now, &tool, &arguments, if n % 2 == 0 { Ok(&id) } else { Err(&arguments) });
        let _ = guard.turn(
            now,
            Turn { text: &format!("This is what I say in turn {n} of all of them, {tool}."), tokens: n, cost: 0.1 },
        );
        let _ = guard.progress(now, &tool);
        let _ = guard.ask(now, &tool, &arguments);
        let _ = guard.handoff(now, &tool, &arguments, "because");
        assert!(guard.stopped().is_none(), "{:?}", guard.stopped());
        if n % 4_000 == 3_999 {
            size.push(serde_json::to_string(&guard.state(now)).unwrap().len());
        }
    }
    assert!(size[2] < 400_000 && size[2] < size[0] + 30_000, "{size:?}");
}
