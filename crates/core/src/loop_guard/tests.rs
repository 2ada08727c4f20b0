//! The loop guard alone: calls, results and words.

mod agents;
mod runs;

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
fn whoever_waits_for_a_poller_may_say_so_and_need_not_get_further() {
    let guard = with(Config::default().poller("status", Poll::default()));
    let _ = guard.progress(NOW, "3 tests fail");
    for _ in 0..100 {
        assert_eq!(say(&guard, "The job still runs, and I wait until it is done before I go on."), None);
        assert_eq!(call(&guard, "status", "job", "running"), None);
    }
}
