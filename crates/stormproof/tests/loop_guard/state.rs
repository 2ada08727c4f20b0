//! What is kept between processes, events, and metrics.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use stormproof::event::Category;
use stormproof::loop_guard::{Config, RestoreError, State, Turn};
use stormproof::{Clock, LoopGuard};

fn written(guard: &LoopGuard) -> Value {
    serde_json::to_value(guard.state()).unwrap()
}

fn restored(value: Value) -> Result<LoopGuard, String> {
    let state: State = serde_json::from_value(value).map_err(|wrong| wrong.to_string())?;
    LoopGuard::restore("task", Config::default(), state, &Clock::manual()).map_err(|wrong| wrong.to_string())
}

#[test]
fn states_that_cannot_be_understood_say_why() {
    let guard = LoopGuard::new("task");
    assert!(guard.before_call("read", "a").is_allow());
    let good = written(&guard);
    assert_eq!(good["version"], 1);
    assert!(restored(good.clone()).is_ok());
    let wrong = |value| restored(value).unwrap_err();
    assert_eq!(wrong(json!({"version": 2, "v2": {"anything": 1}})), "the loop guard's state has version 2, known is 1");
    assert_eq!(wrong(json!({"version": 1})), "the loop guard's state is corrupt: it is empty");
    assert!(wrong(json!({})).contains("version"));
    assert!(wrong(json!([1, 2])).contains("u32") || !wrong(json!("x")).is_empty());
    let mut negative = good.clone();
    negative["v1"]["cost"] = json!(-1.0);
    assert_eq!(wrong(negative), "the loop guard's state is corrupt: its cost is no amount of money");
    let mut missing = good.clone();
    missing["v1"].as_object_mut().unwrap().remove("errors");
    assert!(wrong(missing).contains("errors"));
    let mut broken = good;
    broken["v1"]["turns"] = json!("many");
    assert!(wrong(broken).contains("many"));
    let invalid = Config { history: 0, ..Config::default() };
    let refused = LoopGuard::restore("task", invalid, guard.state(), &Clock::manual()).unwrap_err();
    assert!(matches!(&refused, RestoreError::Invalid(mistakes) if mistakes.len() == 1), "{refused}");
}

#[test]
fn a_state_of_another_size_is_cut_to_the_bounds_of_this_one() {
    let large = Config { history: 4_096, ..Config::default() };
    let guard = LoopGuard::with_config("task", large).unwrap();
    for n in 0..3_000 {
        let arguments = format!("file {n}");
        assert!(guard.before_call("read", &arguments).is_allow());
        assert!(guard.after_call("read", &arguments, Ok(&arguments)).is_allow());
    }
    let small = Config { history: 16, ..Config::default() };
    let again = LoopGuard::restore("task", small, guard.state(), &Clock::manual()).unwrap();
    let size = |guard: &LoopGuard| written(guard).to_string().len();
    assert!(size(&guard) > 200_000 && size(&again) < 10_000, "{} {}", size(&guard), size(&again));
}

#[test]
fn events_say_what_was_found_and_what_is_near() {
    let clock = Clock::manual();
    let config = Config { max_turns: Some(5), ..Config::default() };
    let guard = LoopGuard::with_clock("task", config, &clock).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = told.clone();
    guard.on_event(move |event| {
        let data = event.data();
        let field = |name| data.get(name).map(ToString::to_string).unwrap_or_default();
        let what = format!("{} {} {} {}", event.event_type(), field("rule"), field("limit"), field("step"));
        listener.lock().unwrap().push((event.category(), what));
    });
    let seen = Arc::new(Mutex::new(0));
    let counter = seen.clone();
    guard.on_detection(move |_| *counter.lock().unwrap() += 1);
    for _ in 0..4 {
        let _ = guard.before_call("build", "{}");
    }
    for _ in 0..8 {
        clock.advance(Duration::from_secs(1));
        let _ = guard.turn(Turn::default());
    }
    let told = told.lock().unwrap();
    let expected = [
        (Category::Warning, "loop_detected repetition  nudge".to_owned()),
        (Category::Warning, "loop_limit_near  limit_turns ".to_owned()),
        (Category::Error, "loop_detected limit_turns  stop".to_owned()),
    ];
    assert_eq!(*told, expected);
    assert_eq!(*seen.lock().unwrap(), 2);
    let snapshot = guard.snapshot();
    let get = |metric, label| snapshot.get(metric, label).unwrap();
    assert_eq!((get("turns", ""), get("calls", ""), get("stopped", "")), (6.0, 4.0, 1.0));
    assert_eq!((get("detections", "infinite_retry"), get("detections", "token_threshold")), (1.0, 1.0));
    assert_eq!((get("steps", "nudge"), get("steps", "block"), get("steps", "stop")), (1.0, 0.0, 1.0));
}

#[test]
fn clones_are_the_same_run_on_many_threads() {
    let guard = LoopGuard::new("task");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let guard = guard.clone();
            scope.spawn(move || {
                for n in 0..200 {
                    let arguments = format!("{thread} {n}");
                    assert!(guard.before_call("read", &arguments).is_allow());
                    assert!(guard.after_call("read", &arguments, Ok(&arguments)).is_allow());
                }
            });
        }
    });
    assert_eq!(guard.snapshot().get("calls", ""), Some(800.0));
}
