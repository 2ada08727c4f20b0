//! Runs that go in circles: each is found within so many turns, and ended within so many more.

use std::time::Duration;

use stormproof::Clock;
use stormproof::loop_guard::{Config, LoopType, Step, Verdict};

use crate::agent::{Move, Run, call};

/// Drives a model that does not listen. It must be nudged by the turn `nudged`, and stopped by `stopped`.
#[track_caller]
fn caught(mut run: Run, kind: LoopType, nudged: usize, stopped: usize, model: impl FnMut(usize, &Run) -> Move) -> Run {
    assert!(run.drive(1_000, model), "never stopped: {:?}", run.found);
    let (first, detection) = &run.found[0];
    assert_eq!((detection.step, detection.loop_type()), (Step::Nudge, kind), "{detection}");
    assert!(*first <= nudged, "nudged in turn {first}: {detection}");
    assert!(run.turns <= stopped, "stopped in turn {}: {:?}", run.turns, run.steps());
    let steps: Vec<_> = run.found.iter().map(|(_, found)| found.step).collect();
    assert_eq!(steps, [Step::Nudge, Step::Block, Step::Block, Step::Stop]);
    run
}

#[test]
fn a_build_that_is_tried_again_and_again() {
    let mut run = Run::new();
    run.workspace.files.insert("lib.rs".to_owned(), "todo!()".to_owned());
    let run = caught(run, LoopType::InfiniteRetry, 4, 7, |_, _| call("build", "{}"));
    assert_eq!(run.carried_out, 4, "three, and the one with the nudge");
    assert!(run.told.contains("not yet implemented"), "the earlier result: {}", run.told);
}

#[test]
fn a_request_that_fails_with_another_id_and_time_each_time() {
    let arguments = |turn: usize| format!(r#"{{"url":"/a","request_id":"r{turn}"}}"#);
    caught(Run::new(), LoopType::InfiniteRetry, 4, 7, |turn, _| call("fetch", arguments(turn)));
    let stamped = |turn: usize| format!(r#"{{"url":"/a","sent":"2026-01-01T10:00:{:02}Z"}}"#, turn + 1);
    caught(Run::new(), LoopType::InfiniteRetry, 6, 9, |turn, _| call("fetch", stamped(turn)));
}

#[test]
fn the_same_error_whatever_is_asked() {
    caught(Run::new(), LoopType::InfiniteRetry, 21, 24, |turn, _| call("fetch", format!("/page/{turn}")));
}

#[test]
fn the_same_error_with_new_things_read_in_between() {
    let mut run = Run::new();
    for n in 0..200 {
        run.workspace.files.insert(format!("{n}"), format!("text {n}"));
    }
    caught(run, LoopType::InfiniteRetry, 41, 47, |turn, _| {
        if turn % 2 == 0 { call("fetch", format!("/page/{turn}")) } else { call("read", format!("{turn}")) }
    });
}

#[test]
fn a_file_that_is_written_back_and_forth() {
    caught(Run::new(), LoopType::InfiniteRetry, 10, 16, |turn, _| match turn % 4 {
        0 => call("write", "lib.rs\nfn a() {}"),
        2 => call("write", "lib.rs\nfn b() { todo!() }"),
        _ => call("build", "{}"),
    });
}

#[test]
fn rounds_of_two_to_twelve_calls() {
    for period in 2..=12 {
        let mut run = Run::new();
        for n in 0..period {
            run.workspace.files.insert(format!("{n}"), format!("text {n}"));
        }
        let (nudged, stopped) = (3 * period + 1, 6 * period + 1);
        caught(run, LoopType::State, nudged, stopped, |turn, _| call("read", format!("{}", turn % period)));
    }
}

#[test]
fn a_job_that_is_submitted_again_each_time_it_fails() {
    let mut job = String::new();
    caught(Run::new(), LoopType::State, 7, 13, |turn, run| {
        if turn % 2 == 0 {
            return call("submit", "{}");
        }
        if let Some(id) = run.told.split('"').nth(3) {
            id.clone_into(&mut job);
        }
        call("status", &job)
    });
}

#[test]
fn files_that_are_read_again_in_no_order() {
    let mut run = Run::new();
    for n in 0..8 {
        run.workspace.files.insert(format!("{n}"), format!("text {n}"));
    }
    let mut seed = 7_u64;
    assert!(run.drive(1_000, |_, _| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        call("read", format!("{}", (seed >> 33) % 8))
    }));
    assert!(run.found[0].0 <= 50 && run.turns <= 60, "{:?}", run.steps());
}

#[test]
fn many_files_that_are_read_again_and_again() {
    let mut run = Run::new();
    for n in 0..30 {
        run.workspace.files.insert(format!("{n}"), format!("text {n}"));
    }
    assert!(run.drive(1_000, |turn, _| call("read", format!("{}", turn % 30))));
    assert!(run.found[0].0 <= 67 && run.turns <= 130, "{:?}", run.steps());
}

#[test]
fn a_job_that_does_not_move() {
    let mut run = Run::new();
    run.workspace.steps_of_a_job = 0;
    caught(run, LoopType::InfiniteRetry, 4, 7, |_, _| call("status", "job-1"));
}

#[test]
fn a_model_that_says_the_same() {
    let text = "I have analysed the problem and will now continue with the next step of the plan.";
    caught(Run::new(), LoopType::State, 4, 7, |turn, _| Move::Say(format!("{text} (at 12:00:{:02})", turn % 60)));
    let degenerate = "Let me check this once more to be sure. ".repeat(30);
    caught(Run::new(), LoopType::State, 1, 4, |_, _| Move::Say(degenerate.clone()));
}

#[test]
fn a_loop_that_begins_again_in_each_new_process() {
    let clock = Clock::manual();
    let mut kept = serde_json::to_string(&stormproof::LoopGuard::new("task").state()).unwrap();
    let mut calls = 0;
    for process in 1..=10 {
        let state = serde_json::from_str(&kept).unwrap();
        let guard = stormproof::LoopGuard::restore("task", Config::default(), state, &clock).unwrap();
        let mut run = Run::of(guard, clock.clone());
        run.workspace.files.insert("plan".to_owned(), "todo!()".to_owned());
        let stopped = run.drive(2, |turn, _| if turn == 0 { call("read", "plan") } else { call("build", "{}") });
        calls += run.carried_out;
        kept = serde_json::to_string(&run.guard.state()).unwrap();
        if stopped {
            assert!(process <= 6 && calls <= 9, "process {process}, {calls} calls");
            return;
        }
    }
    panic!("never stopped");
}

#[test]
fn limits_of_turns_and_tokens() {
    for (config, turns) in [
        (Config::book(), 21),
        (Config { max_tokens: Some(10_000), ..Config::default() }, 11),
        (Config::default().max_calls("page", 5), 6),
    ] {
        let mut run = Run::with(config);
        assert!(run.drive(1_000, |turn, _| call("page", format!("{turn}"))));
        assert_eq!(run.steps(), [(turns, Step::Stop)]);
        assert_eq!(run.found[0].1.loop_type(), LoopType::TokenThreshold);
    }
}

#[test]
fn agents_that_wait_in_a_circle_hand_on_without_end_and_start_others() {
    let run = Run::new();
    let guard = &run.guard;
    assert!(guard.ask("a", "b").is_allow() && guard.ask("b", "c").is_allow());
    let Verdict::Block { detection: Some(found), .. } = guard.ask("c", "a") else { panic!("a circle") };
    assert_eq!(found.loop_type(), LoopType::CircularDependency);

    let run = Run::new();
    let found = (0..100).find_map(|n| {
        let (from, to) = [("first line", "second line"), ("second line", "first line")][n % 2];
        run.guard.handoff(from, to, "beyond my competence").detection().map(|found| (n + 1, found.loop_type()))
    });
    assert_eq!(found, Some((7, LoopType::Escalation)));

    let run = Run::with(Config { max_agents: None, ..Config::default() });
    let found = (0..1_000).find_map(|n| run.guard.spawn("worker").detection().map(|found| (n + 1, found.loop_type())));
    assert_eq!(found, Some((101, LoopType::Spawn)));

    // None of them ends.
    let run = Run::new();
    let found = (0..1_000).find_map(|n| {
        run.clock.advance(Duration::from_secs(5));
        run.guard.spawn("worker").detection().map(|found| (n + 1, found.loop_type()))
    });
    assert_eq!(found, Some((14, LoopType::Spawn)));

    // Each starts another and waits for it.
    let run = Run::new();
    let found = (0..1_000).find_map(|n| {
        let verdict = run.guard.ask(&format!("worker-{n}"), &format!("worker-{}", n + 1));
        verdict.detection().map(|found| (n + 1, found.loop_type()))
    });
    assert_eq!(found, Some((11, LoopType::CircularDependency)));
}

#[test]
fn a_model_that_listens_is_nudged_once_and_gets_on() {
    let mut run = Run::new();
    run.workspace.files.insert("lib.rs".to_owned(), "todo!()".to_owned());
    let stopped = run.drive(100, |_, run| match run.told.as_str() {
        told if told.contains("Loop guard") => call("write", "lib.rs\nfn a() {}"),
        told if told.starts_with("Finished") => Move::Done,
        _ => call("build", "{}"),
    });
    assert!(!stopped && run.told.starts_with("Finished"), "{}", run.told);
    assert_eq!(run.steps(), [(4, Step::Nudge)]);
}
