//! What ends a run, what lets it go on, and what outlives its process.

use super::*;

#[test]
fn nudge_then_block_then_stop_and_never_back() {
    let guard = LoopGuard::new("run");
    let ask = |query: &str| {
        let verdict = guard.before_call(NOW, "search", query).verdict;
        if verdict.is_allow() {
            let _ = guard.after_call(NOW, "search", query, Ok("nothing"));
        }
        verdict
    };
    for _ in 0..3 {
        assert!(ask("a").is_allow());
    }
    assert!(matches!(ask("a"), Verdict::Nudge { .. }));
    for other in 0..20 {
        assert!(ask(&format!("other {other}")).is_allow(), "things look fine");
    }
    for _ in 0..3 {
        assert!(ask("b").is_allow());
    }
    for _ in 0..2 {
        let Verdict::Block { earlier, text, .. } = ask("b") else { panic!("blocked") };
        assert_eq!(earlier.as_deref(), Some("nothing"));
        assert!(text.contains("4th"), "{text}");
    }
    assert!(matches!(ask("b"), Verdict::Stop { resumable: true, .. }));
    assert!(matches!(ask("quite another"), Verdict::Stop { .. }));
    assert!(guard.before_call(NOW, "x", "").detected.is_none(), "found once");

    guard.resume().unwrap();
    for _ in 0..3 {
        assert!(ask("b").is_allow(), "the evidence is forgotten");
    }
    assert!(matches!(ask("b"), Verdict::Block { .. }), "the step is not");
}

#[test]
fn blocks_are_forgiven_after_much_that_is_new() {
    let guard = with(Config { forgive_after: 10, ..Config::default() });
    let mut steps = Vec::new();
    for loops in 0..6 {
        for _ in 0..4 {
            steps.extend(call(&guard, "search", &format!("loop {loops}"), "nothing").map(|found| found.step));
        }
        for other in 0..10 {
            assert_eq!(call(&guard, "read", &format!("{loops} {other}"), "text"), None);
        }
    }
    assert_eq!(steps, [Step::Nudge, Step::Block, Step::Block, Step::Block, Step::Block, Step::Block]);
}

#[test]
fn what_a_person_says_makes_a_repetition_none_and_never_leads_back_to_a_nudge() {
    let guard = LoopGuard::new("run");
    let ask = || call(&guard, "weather", "Berlin", "21 degrees").map(|found| found.step);
    for _ in 0..20 {
        guard.user_turn("How warm is it?");
        assert_eq!([ask(), ask(), ask()], [None; 3]);
    }
    assert_eq!(ask(), Some(Step::Nudge));
    guard.user_turn("Stop that.");
    assert_eq!([ask(), ask(), ask()], [None; 3]);
    assert_eq!([ask(), ask(), ask()], [Some(Step::Block), Some(Step::Block), Some(Step::Stop)]);
    guard.user_turn("Go on!");
    assert!(guard.stopped().is_some(), "that takes `resume`");
    guard.resume().unwrap();
    assert_eq!([ask(), ask(), ask(), ask()], [None, None, None, Some(Step::Block)]);
}

#[test]
fn limits_stop_at_once_and_come_near_once() {
    let turn = Turn { tokens: 20_000, cost: 0.5, ..Turn::default() };
    let near = |guard: &LoopGuard, turns: u64| {
        let mut said = Vec::new();
        for n in 0..turns {
            let report = guard.turn(at(n), turn);
            said.extend(report.near.iter().map(|near| (n + 1, near.limit)));
            if let Some(found) = report.detected {
                assert!(matches!(report.verdict, Verdict::Stop { resumable: false, .. }));
                said.push((n + 1, if let Rule::Limit(limit) = found.rule { limit } else { panic!("{found}") }));
            }
        }
        said
    };
    assert_eq!(near(&with(Config::book()), 30), [(8, Limit::Tokens), (11, Limit::Tokens)]);
    let turns = Config { max_tokens: None, ..Config::book() };
    assert_eq!(near(&with(turns), 30), [(16, Limit::Turns), (21, Limit::Turns)]);
    let cost = Config { max_cost: Some(4.0), ..Config::default() };
    assert_eq!(near(&with(cost), 30), [(7, Limit::Cost), (9, Limit::Cost)]);
    let time = Config { max_time: Some(Duration::from_secs(10)), ..Config::default() };
    let guard = with(time);
    assert_eq!(near(&guard, 30), [(9, Limit::Time), (12, Limit::Time)]);
    assert_eq!(guard.resume().unwrap_err().rule, Rule::Limit(Limit::Time));

    let guard = with(Config::default().max_calls("search", 10));
    let calls = (0..20).map(|n| call(&guard, "search", &format!("{n}"), &format!("{n}")));
    assert_eq!(found_at(calls), Some((11, Rule::Limit(Limit::Calls))));
}

#[test]
fn a_run_that_restarts_has_forgotten_nothing() {
    let mut guard = with(Config::default());
    let mut calls = Vec::new();
    for restart in 0..5 {
        calls.push(call_at(&guard, at(100 * restart), "read", "README", Ok("text")));
        let state = guard.state(at(100 * restart + 1));
        guard = LoopGuard::restore("run", Config::default(), state).unwrap();
    }
    assert_eq!(found_at(calls).unwrap().0, 4);
    let few = Config { max_restarts: Some(4), ..Config::default() };
    let guard = LoopGuard::restore("run", few, guard.state(NOW)).unwrap();
    assert_eq!(rule(call(&guard, "x", "", "")), Some(Rule::Limit(Limit::Restarts)));
}

#[test]
fn restarts_that_get_on_are_no_loop() {
    let run = |new: u64| {
        let mut guard = LoopGuard::new("run");
        (0..100_u64).find(|restart| {
            guard = LoopGuard::restore("run", Config::default(), guard.state(NOW)).unwrap();
            (0..new).any(|n| call(&guard, "read", &format!("{restart} {n}"), "text").is_some())
        })
    };
    assert_eq!((run(6), run(2)), (None, Some(10)));
}

#[test]
fn a_limit_that_is_larger_lets_the_run_go_on_and_a_loop_does_not() {
    let small = Config { max_turns: Some(2), ..Config::default() };
    let guard = with(small.clone());
    assert_eq!((0..3).filter_map(|_| say(&guard, "")).collect::<Vec<_>>(), [Rule::Limit(Limit::Turns)]);
    let again = LoopGuard::restore("run", small, guard.state(NOW)).unwrap();
    assert_eq!(say(&again, ""), Some(Rule::Limit(Limit::Turns)));
    let larger = LoopGuard::restore("run", Config::default(), guard.state(NOW)).unwrap();
    assert_eq!(say(&larger, ""), None);

    let guard = LoopGuard::new("run");
    while guard.stopped().is_none() {
        call(&guard, "search", "rust", "nothing");
    }
    let again = LoopGuard::restore("run", Config::default(), guard.state(NOW)).unwrap();
    assert!(matches!(again.before_call(NOW, "other", "").verdict, Verdict::Stop { resumable: true, .. }));
    again.resume().unwrap();
    assert!(again.before_call(NOW, "other", "").verdict.is_allow());
}

#[test]
fn results_are_kept_within_bounds() {
    let guard = with(Config { result_bytes: 10_000, ..Config::default() });
    let long = "ä".repeat(100_000);
    for n in 0..100 {
        call(&guard, "read", &format!("{n}"), &format!("{n}{long}"));
    }
    let kept = guard.watch.lock().memory.calls.kept();
    assert!((4_000..=10_000).contains(&kept), "{kept}");
}

#[test]
fn mistakes_in_a_configuration_are_all_named() {
    let config = Config {
        max_action_repetitions: 0,
        novelty_window: 65,
        min_novelty: f64::NAN,
        warn_at: 0.0,
        max_cost: Some(-1.0),
        history: 1,
        ..Config::default()
    };
    let config = config.max_calls("search", 0).poller("status", Poll { max_polls: 0, ..Poll::default() });
    let fields: Vec<_> = config.validate().into_iter().map(|mistake| mistake.field).collect();
    let expected = [
        "max_action_repetitions",
        "max_cost",
        "novelty_window",
        "min_novelty",
        "warn_at",
        "history",
        "tools.search.max_calls",
        "tools.status.poll.max_polls",
    ];
    assert_eq!(fields, expected);
    assert_eq!(Config::default().validate(), []);
    assert_eq!(Config::book().validate(), []);
    assert!(LoopGuard::with_config("run", config.clone()).is_err());
    let state: State = LoopGuard::new("run").state(NOW);
    assert!(matches!(LoopGuard::restore("run", config, state), Err(RestoreError::Invalid(_))));
}
