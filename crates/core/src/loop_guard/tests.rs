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
fn a_tool_that_only_fails_whatever_it_says_and_whatever_it_is_asked() {
    let fails = |guard: &LoopGuard, seconds, n: u64, error: &str| {
        rule(call_at(guard, at(seconds), "build", &format!("{n}"), Err(error)))
    };
    let guard = LoopGuard::new("run");
    for n in 0..20 {
        assert_eq!(fails(&guard, 0, n, &format!("no such symbol: s{n}")), None);
        assert_eq!(call(&guard, "read", &format!("{n}"), "text"), None, "another tool");
    }
    assert_eq!(fails(&guard, 0, 20, "no such symbol"), Some(Rule::Failing(21)));

    let guard = LoopGuard::new("run");
    for n in 0..60 {
        assert_eq!(fails(&guard, 0, n, "no such symbol"), None);
        if n % 10 == 0 {
            assert_eq!(call(&guard, "build", &format!("other {n}"), "ok"), None, "something new");
        }
        assert_eq!(fails(&guard, 0, 100 + n, "Exit code 1"), None, "does not say what went wrong");
    }
    let guard = LoopGuard::new("run");
    for n in 0..40 {
        assert_eq!(fails(&guard, 1_801 * n, n, "no such symbol"), None, "hardly ever");
    }
}

#[test]
fn one_turn_is_one_count_and_one_step() {
    for reported in [true, false] {
        let guard = LoopGuard::new("run");
        let mut steps = Vec::new();
        for turn in 0..40 {
            if reported {
                let _ = guard.turn(NOW, Turn::default());
            }
            let paths: Vec<_> = (0..10).map(|n| format!("/root/{turn}/{n}")).collect();
            for path in &paths {
                let _ = guard.before_call(NOW, "read", path);
            }
            for path in &paths {
                let report = guard.after_call(NOW, "read", path, Err("Permission denied"));
                steps.extend(report.detected.map(|found| (turn, found.step)));
            }
        }
        assert_eq!(steps, [(20, Step::Nudge), (21, Step::Block), (22, Step::Block), (23, Step::Stop)]);
    }
}

#[test]
fn whether_a_call_failed_in_the_same_way_is_judged_by_progress() {
    const FAILURE: &str = "test result: FAILED. 3 passed; 1 failed";
    let rounds = |test: &dyn Fn(usize) -> Result<&'static str, &'static str>, fixes: usize| {
        let guard = LoopGuard::new("run");
        found_at((0..40).map(|n| {
            let _ = guard.progress(NOW, &format!("{} fixed", n / fixes));
            call(&guard, "edit", &format!("change {n}"), "The file has been updated.");
            call_at(&guard, NOW, "test", "{}", test(n))
        }))
    };
    let found = Some((6, Rule::Error(6)));
    assert_eq!(rounds(&|_| Err(FAILURE), 100), found);
    assert_eq!(rounds(&|_| Ok(FAILURE), 100), found, "the same, said in another way");
    assert_eq!(rounds(&|_| Err("Exit code 101"), 100), found);
    assert_eq!(rounds(&|_| Ok("test result: ok. 4 passed; 0 failed"), 100), None, "it is well");
    assert_eq!(rounds(&|n| Ok(["1 failed: a", "1 failed: b"][n % 2]), 100), None, "something else");
    assert_eq!(rounds(&|_| Ok(FAILURE), 5), None, "the caller says that it gets on");
}

#[test]
fn results_that_never_change_while_arguments_do() {
    let calls = |tool: &'static str, arguments: &dyn Fn(usize) -> String, result: &'static str| {
        let guard = LoopGuard::new("run");
        found_at((0..300).map(|n| call(&guard, tool, &arguments(n), result)))
    };
    let offset = |n| format!(r#"{{"path":"a.log","offset":{},"limit":100}}"#, n * 100);
    assert_eq!(calls("read", &offset, ""), Some((31, Rule::Unchanged(31))));
    assert_eq!(calls("read", &offset, r#"{"lines":[]}"#), Some((31, Rule::Unchanged(31))));
    assert_eq!(calls("read", &|n| format!("path=a.log offset={n}"), ""), Some((31, Rule::Unchanged(31))));
    let late = Some((241, Rule::Unchanged(241)));
    assert_eq!(calls("read", &|n| format!(r#"{{"path":"{n}.rs","offset":0}}"#), ""), late, "other files");
    assert_eq!(calls("delete", &|n| format!(r#"{{"id":{n}}}"#), ""), late, "other things");
    assert_eq!(calls("search", &|n| format!("word {n}"), "nothing found"), late);

    let guard = LoopGuard::new("run");
    let others = (0..1_000).map(|n| match n % 40 {
        0 => call(&guard, "look", &format!("{n}"), &format!("{n}")),
        _ => call(&guard, "mv", &format!("{n}"), ""),
    });
    assert_eq!(found_at(others), None, "another tool finds something");
}

#[test]
fn a_verdict_says_what_was_carried_out() {
    let text = |verdict: Verdict| match verdict {
        Verdict::Block { text, .. } => text,
        other => panic!("{other:?}"),
    };
    let blocked_before = "It was not carried out.";
    let guard = LoopGuard::new("run");
    for _ in 0..4 {
        let _ = guard.before_call(NOW, "build", "{}");
    }
    assert!(text(guard.before_call(NOW, "build", "{}").verdict).contains(blocked_before));

    let guard = with(Config { max_failures: 1, ..Config::default() });
    let mut fails = (0..3).map(|n| {
        let arguments = format!("{n}");
        let _ = guard.before_call(NOW, "build", &arguments);
        guard.after_call(NOW, "build", &arguments, Err("no such symbol")).verdict
    });
    assert!(fails.next().unwrap().is_allow() && matches!(fails.next(), Some(Verdict::Nudge { .. })));
    let after = text(fails.next().unwrap());
    assert!(!after.contains("carried out") && after.contains("Going on like this ends the task."), "{after}");
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
