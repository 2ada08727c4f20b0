use std::time::Duration;

use super::{Config, Detection, Limit, LoopGuard, LoopType, Poll, RestoreError, Rule, State, Step, Turn, Verdict};
use crate::time::Instant;

const NOW: Instant = Instant::ZERO;

fn at(seconds: u64) -> Instant {
    NOW + Duration::from_secs(seconds)
}

fn with(config: Config) -> LoopGuard {
    LoopGuard::with_config("run", config).unwrap()
}

/// A call with its result; what was found before or after.
fn call(guard: &LoopGuard, tool: &str, arguments: &str, result: &str) -> Option<Detection> {
    call_at(guard, NOW, tool, arguments, Ok(result))
}

fn call_at(
    guard: &LoopGuard,
    now: Instant,
    tool: &str,
    arguments: &str,
    result: Result<&str, &str>,
) -> Option<Detection> {
    let before = guard.before_call(now, tool, arguments);
    if before.detected.is_some() || matches!(before.verdict, Verdict::Block { .. } | Verdict::Stop { .. }) {
        return before.detected;
    }
    guard.after_call(now, tool, arguments, result).detected
}

fn say(guard: &LoopGuard, text: &str) -> Option<Rule> {
    guard.turn(NOW, Turn { text, ..Turn::default() }).detected.map(|found| found.rule)
}

fn rule(found: Option<Detection>) -> Option<Rule> {
    found.map(|found| found.rule)
}

/// The first call of `calls` at which something is found, from 1.
fn found_at(calls: impl IntoIterator<Item = Option<Detection>>) -> Option<(usize, Rule)> {
    calls.into_iter().enumerate().find_map(|(at, found)| found.map(|found| (at + 1, found.rule)))
}

#[test]
fn the_fourth_identical_call_is_found_and_strict_finds_the_third() {
    for (strict, expected) in [(false, 4), (true, 3)] {
        let guard = with(Config { strict, ..Config::book() });
        let calls = (0..10).map(|_| call(&guard, "search", "rust", "nothing"));
        assert_eq!(found_at(calls), Some((expected, Rule::Repetition(u32::try_from(expected).unwrap()))));
        let guard = with(Config { strict, ..Config::book() });
        let calls = (0..10).map(|_| guard.before_call(NOW, "search", "rust").detected);
        assert_eq!(found_at(calls).unwrap().0, expected, "though no results are reported");
    }
}

#[test]
fn a_repetition_counts_only_within_its_window() {
    let guard = with(Config::book());
    for round in 0..20 {
        assert_eq!(call_at(&guard, at(round * 61), "search", "rust", Ok("nothing")), None);
    }
}

#[test]
fn something_new_in_between_begins_the_count_anew() {
    let guard = LoopGuard::new("run");
    for round in 0..60 {
        assert_eq!(call(&guard, "edit", &format!("src/lib.rs {round}"), "ok"), None);
        assert_eq!(call(&guard, "build", "{}", "ok"), None);
    }
}

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
fn rounds_of_any_length_up_to_twelve_are_found_in_the_fourth() {
    for period in 2..=12_u32 {
        let guard = LoopGuard::new("run");
        let calls = (0..100).map(|at| call(&guard, "step", &format!("{}", at % period), "same"));
        let expected = (period as usize * 3 + 1, Rule::Cycle { period, rounds: 4 });
        assert_eq!(found_at(calls), Some(expected));
    }
}

#[test]
fn a_round_of_thirteen_shows_nothing_new_in_the_long_run() {
    let guard = LoopGuard::new("run");
    let calls = (0..200).map(|at| call(&guard, "step", &format!("{}", at % 13), "same"));
    assert!(found_at(calls).is_some_and(|(at, _)| at <= 65));
    let config = Config { max_action_repetitions: 100, ..Config::default() };
    let guard = with(config);
    let calls = (0..200).map(|at| call(&guard, "step", &format!("{}", at % 13), "same"));
    assert_eq!(found_at(calls), Some((50, Rule::Novelty { new: 3, calls: 40 })));
}

#[test]
fn rounds_with_fresh_ids_are_found_too() {
    let guard = LoopGuard::new("run");
    let mut calls = Vec::new();
    for round in 0..10 {
        let id = format!("550e8400-e29b-41d4-a716-44665544{round:04}");
        calls.push(call(&guard, "create_job", "{}", &format!("created {id}")));
        calls.push(call(&guard, "job_status", &id, "failed"));
    }
    assert_eq!(found_at(calls), Some((7, Rule::Cycle { period: 2, rounds: 4 })));
}

#[test]
fn ids_that_one_result_listed_name_different_things() {
    let guard = LoopGuard::new("run");
    let ids: Vec<_> = (0..100).map(|n| format!("550e8400-e29b-41d4-a716-44665544{n:04}")).collect();
    assert_eq!(call(&guard, "list", "{}", &ids.join("\n")), None);
    for id in &ids {
        assert_eq!(call(&guard, "delete", id, "deleted"), None);
    }
    let told = LoopGuard::new("run");
    told.context(&ids.join(" "));
    for id in &ids {
        assert_eq!(call(&told, "delete", id, "deleted"), None);
    }
    let untold = LoopGuard::new("run");
    let calls = ids.iter().map(|id| call(&untold, "delete", id, "deleted"));
    assert_eq!(found_at(calls).unwrap().0, 6, "each counts half");
}

#[test]
fn an_id_that_a_result_only_echoes_says_nothing() {
    let guard = LoopGuard::new("run");
    let calls = (0..10).map(|n| {
        let id = format!("550e8400-e29b-41d4-a716-44665544{n:04}");
        // Asked twice, as the second one would know the id by then.
        let ask = || call(&guard, "fetch", &id, &format!("{id}: not ready"));
        ask().or_else(ask)
    });
    assert_eq!(found_at(calls).unwrap().0, 2, "the fourth call: 2, 4, 5 and 7 halves of 6");
}

#[test]
fn the_same_error_in_a_row_and_too_often_in_a_window() {
    let fails = |guard: &LoopGuard, n: u32, error: &str| {
        call_at(guard, NOW, "build", &format!("{n}"), Err(error)).map(|found| found.rule)
    };
    let guard = LoopGuard::new("run");
    for n in 0..5 {
        assert_eq!(fails(&guard, n, &format!("timeout after {}ms", 30_000 + n)), None);
    }
    assert_eq!(fails(&guard, 5, "timeout after 7ms"), Some(Rule::Error(6)));

    let guard = LoopGuard::new("run");
    assert_eq!(call(&guard, "build", "other", "ok"), None);
    for n in 0..20 {
        assert_eq!(fails(&guard, n, "no such symbol"), None);
        assert_eq!(call(&guard, "build", "other", "ok"), None, "not in a row, and nothing new");
    }
    assert_eq!(fails(&guard, 20, "no such symbol"), Some(Rule::Error(21)));

    let guard = LoopGuard::new("run");
    for n in 0..60 {
        // Another error in between, so that none is in a row; 15 in the window.
        for error in ["no such symbol", "no such type"] {
            let found = call_at(&guard, at(n * 120), "build", &format!("{error} {n}"), Err(error));
            assert_eq!(found, None, "{n}");
        }
    }
}

#[test]
fn results_that_change_are_fine_until_nothing_else_is_done_for_long() {
    let guard = LoopGuard::new("run");
    let calls = (0..100).map(|n| call(&guard, "status", "job", &format!("{n} of 100")));
    assert_eq!(found_at(calls), Some((51, Rule::Changing(51))));

    let guard = LoopGuard::new("run");
    let calls = (0..400).map(|n| match n % 2 {
        0 => call(&guard, "sleep", "5", "slept"),
        _ => call(&guard, "status", "job", &format!("{n} of 400")),
    });
    assert_eq!(found_at(calls), Some((101, Rule::Changing(51))), "50 rounds are allowed");
}

#[test]
fn pollers_have_limits_of_their_own() {
    let poll = Poll { max_polls: 200, max_time: Duration::from_secs(5_000), min_interval: Duration::from_secs(5) };
    let guard = with(Config::default().poller("status", poll));
    let ask = |seconds| call_at(&guard, at(seconds), "status", "job", Ok("running"));
    for n in 0..100 {
        assert_eq!(ask(n * 10), None);
    }
    let Verdict::Block { earlier, retry_after, detection: None, .. } =
        guard.before_call(at(992), "status", "job").verdict
    else {
        panic!("too soon")
    };
    assert_eq!((earlier.as_deref(), retry_after), (Some("running"), Duration::from_secs(3)));
    for n in 100..200 {
        assert_eq!(ask(n * 10).is_some(), n == 199, "what came too soon counts");
    }
    assert_eq!(rule(ask(2_000)), Some(Rule::Poll(201)));
    let other = call_at(&guard, at(2_001), "status", "other", Ok("running"));
    assert_eq!(other, None);
    for n in 1..50 {
        assert_eq!(call_at(&guard, at(2_001 + n * 100), "status", "other", Ok("running")), None);
    }
    assert_eq!(rule(call_at(&guard, at(7_002), "status", "other", Ok("running"))), Some(Rule::Poll(51)));
}

#[test]
fn progress_that_stands_still_and_states_that_come_back() {
    let guard = LoopGuard::new("run");
    let turns = |guard: &LoopGuard, n: usize| (0..n).filter_map(|_| say(guard, "")).collect::<Vec<_>>();
    assert_eq!(turns(&guard, 100), [], "nobody reports progress");
    let _ = guard.progress(NOW, "3 tests fail");
    assert_eq!(turns(&guard, 20), []);
    assert_eq!(turns(&guard, 1), [Rule::NoProgress(21)]);
    let _ = guard.progress(NOW, "2 tests fail");
    assert_eq!(turns(&guard, 20), []);

    let guard = LoopGuard::new("run");
    let states = (0..20).map(|n| guard.progress(NOW, ["a", "b"][n % 2]).detected);
    assert_eq!(found_at(states), Some((9, Rule::Revisit(5))), "the fourth return");

    let guard = with(Config { max_time_without_progress: Some(Duration::from_secs(60)), ..Config::default() });
    let _ = guard.progress(at(0), "a");
    assert_eq!(guard.turn(at(60), Turn::default()).detected, None);
    assert_eq!(rule(guard.turn(at(61), Turn::default()).detected), Some(Rule::NoProgress(2)));
}

#[test]
fn the_same_said_again_while_nothing_is_learned() {
    let text = "I will now look at the configuration and find out why the server does not start.";
    let guard = LoopGuard::new("run");
    assert_eq!((0..3).filter_map(|_| say(&guard, text)).count(), 0);
    assert_eq!(say(&guard, &text.replace("now", "")), Some(Rule::Text(4)), "nearly the same");
    let guard = LoopGuard::new("run");
    for n in 0..20 {
        assert_eq!(say(&guard, text), None);
        assert_eq!(call(&guard, "read", &format!("{n}"), "text"), None);
    }
}

#[test]
fn agents_that_would_wait_in_a_circle_are_blocked_at_once() {
    let guard = LoopGuard::new("run");
    let ask = |from: &str, to: &str| guard.ask(NOW, from, to);
    assert!(ask("planner", "coder").verdict.is_allow() && ask("coder", "reviewer").verdict.is_allow());
    let report = ask("reviewer", "planner");
    assert!(matches!(report.verdict, Verdict::Block { .. }), "a nudge would let it wait for ever");
    assert_eq!(report.detected.unwrap().loop_type(), LoopType::CircularDependency);
    guard.answered("coder", "reviewer");
    guard.answered("planner", "coder");
    assert!(ask("reviewer", "planner").verdict.is_allow(), "nobody waits any more");
}

#[test]
fn chains_handoffs_and_agents_have_an_end() {
    let guard = LoopGuard::new("run");
    let deeper = (0..20).map(|n| guard.ask(NOW, &format!("{n}"), &format!("{}", n + 1)).detected);
    assert_eq!(found_at(deeper), Some((11, Rule::Limit(Limit::Depth))));
    assert_eq!(guard.snapshot().get("depth", ""), Some(10.0));

    let guard = LoopGuard::new("run");
    let hand = |n: usize| {
        let (from, to) = [("support", "lead"), ("lead", "support")][n % 2];
        guard.handoff(NOW, from, to, "not mine").detected
    };
    assert_eq!(found_at((0..20).map(hand)), Some((7, Rule::Handoff(4))));

    let guard = LoopGuard::new("run");
    for n in 0..40 {
        assert_eq!(guard.handoff(NOW, "coder", "reviewer", "please look").detected, None);
        assert_eq!(call(&guard, "read", &format!("{n}"), "text"), None);
        assert_eq!(guard.handoff(NOW, "reviewer", "coder", "please change").detected, None);
    }

    let guard = LoopGuard::new("run");
    let words = (0..200).map(|n| guard.handoff(NOW, "support", "lead", &format!("reason {n}")).detected);
    assert_eq!(found_at(words), Some((51, Rule::Handoff(51))), "the reason is another one each time");

    let guard = LoopGuard::new("run");
    for hour in 0..20 {
        assert_eq!(guard.handoff(at(3_600 * hour), "night", "day", "end of shift").detected, None);
    }
}

#[test]
fn agents_that_are_one_too_many_wait() {
    let guard = LoopGuard::new("run");
    for _ in 0..10 {
        assert!(guard.spawn(NOW, "worker").verdict.is_allow());
    }
    for _ in 0..100 {
        let Verdict::Block { detection: None, .. } = guard.spawn(NOW, "worker").verdict else { panic!("all at once") };
    }
    let again = (1..20).map(|n| guard.spawn(at(n), "worker").detected);
    assert_eq!(found_at(again), Some((3, Rule::Crowd(4))));
    assert_eq!(guard.snapshot().get("agents", ""), Some(10.0));
    assert_eq!(guard.snapshot().get("steps", "nudge"), Some(0.0), "a nudge would let it start");
    let more = (0..200).map(|_| {
        guard.ended();
        guard.spawn(NOW, "worker").detected
    });
    assert_eq!(found_at(more), Some((91, Rule::Limit(Limit::Spawns))));
}

#[test]
fn after_a_restart_nobody_is_at_work_and_nobody_waits() {
    let guard = LoopGuard::new("run");
    assert!(guard.ask(NOW, "planner", "coder").verdict.is_allow());
    for _ in 0..10 {
        assert!(guard.spawn(NOW, "worker").verdict.is_allow());
    }
    let again = LoopGuard::restore("run", Config::default(), guard.state(NOW)).unwrap();
    assert!(again.ask(NOW, "coder", "planner").verdict.is_allow() && again.spawn(NOW, "worker").verdict.is_allow());
    assert_eq!(again.snapshot().get("spawns", ""), Some(11.0));
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
fn whoever_waits_for_a_poller_may_say_so_and_need_not_get_further() {
    let guard = with(Config::default().poller("status", Poll::default()));
    let _ = guard.progress(NOW, "3 tests fail");
    for _ in 0..100 {
        assert_eq!(say(&guard, "The job still runs, and I wait until it is done before I go on."), None);
        assert_eq!(call(&guard, "status", "job", "running"), None);
    }
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
