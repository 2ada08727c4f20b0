//! Health and degradation at the edge: what is told and written of them, threads, and checks that block.
#![cfg(feature = "serde")]
#![cfg(test)]

use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime};

use stormproof::degrade::{self, Component, Level, Parts, Response};
use stormproof::events::Record;
use stormproof::health::{self, Checks, Status, Strategy};
use stormproof::{Clock, Degradation, Event, HealthChecker, HealthTracker, metrics, queue};

fn written(event: &Event) -> String {
    serde_json::to_string(&Record::new(event, SystemTime::UNIX_EPOCH)).unwrap()
}

#[test]
fn changes_are_told_as_data() {
    let clock = Clock::manual();
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = |told: &Arc<Mutex<Vec<String>>>| {
        let told = told.clone();
        move |event: &Event| told.lock().unwrap().push(written(event))
    };
    let tracker = HealthTracker::with_clock("db", health::Config::default(), &clock).unwrap();
    tracker.on_event(listener(&told));
    let shop = Degradation::with_clock("shop", degrade::Config::default(), &clock).unwrap();
    shop.on_event(listener(&told));
    let mut subscriber = shop.subscribe();
    (0..10).for_each(|_| tracker.record_failure("timeout"));
    shop.evaluate(Parts { total: 2, successful: 1, cached: 0, degraded: 0 });
    clock.advance(Duration::from_secs(30));
    (0..3).for_each(|_| _ = shop.evaluate(Parts::default()));
    let stamp = r#""timestamp":"1970-01-01T00:00:00.000Z""#;
    let expected = [
        format!(
            r#"{{{stamp},"event":"health_changed","policy":"db","component":"db","seq":1,"new_status":"degraded","from":"healthy","to":"unhealthy","consecutive_failures":10,"last_error":"timeout"}}"#
        ),
        format!(
            r#"{{{stamp},"event":"degraded","policy":"shop","system":"shop","seq":1,"from":"full","to":"minimal"}}"#
        ),
        format!(r#"{{{stamp},"event":"healed","policy":"shop","system":"shop","seq":2,"from":"minimal","to":"full"}}"#),
    ];
    assert_eq!(*told.lock().unwrap(), expected);
    assert_eq!(written(&subscriber.try_recv().unwrap()), expected[1]);
    let text = metrics::prometheus(&[tracker.snapshot(), shop.snapshot()]);
    assert!(text.contains("stormproof_health_status{name=\"db\"} 4\n"), "{text}");
    assert!(text.contains("stormproof_degradation_level{name=\"shop\"} 0\n"), "{text}");
}

#[tokio::test]
async fn a_tracker_and_a_check_of_one_name_are_both_in_the_metrics() {
    let (tracker, checker) = (HealthTracker::new("db"), HealthChecker::new());
    checker.register("db", || std::future::ready(Err::<(), _>("gone"))).unwrap();
    checker.check_all().await;
    let snapshots: Vec<_> = std::iter::once(tracker.snapshot()).chain(checker.snapshots()).collect();
    let text = metrics::prometheus(&snapshots);
    assert!(text.contains("stormproof_health_status{name=\"db\"} 0\n"), "{text}");
    assert!(text.contains("stormproof_health_check_status{name=\"db\"} 4\n"), "{text}");
}

#[test]
fn a_response_as_text() {
    let text = r#"{"degradation_level":"slight","components":{"a":{"success":true,"data":1,"cached":false,"degraded":true,"error":null}},"metadata":{"total_components":1,"successful_components":1,"cached_responses":0,"degraded_components":1}}"#;
    let response = Response::new([("a", Component::substitute(1))]);
    assert_eq!(serde_json::to_string(&response).unwrap(), text);
    assert_eq!(serde_json::from_str::<Response<i32>>(text).unwrap(), response);
}

#[test]
fn configurations_are_read_from_text() {
    let config: health::Config = serde_json::from_str(
        r#"{"strategy": {"consecutive": {"failure_threshold": 3, "recovery_threshold": 2}}, "recent_errors": 5}"#,
    )
    .unwrap();
    assert_eq!(config, health::Config { strategy: Strategy::consecutive(), recent_errors: 5 });
    assert!(serde_json::from_str::<health::Config>(r#"{"windows": 3}"#).is_err());
    let checks: Checks = serde_json::from_str(r#"{"timeout": "2s", "cache_ttl": 0}"#).unwrap();
    assert_eq!(checks, Checks { timeout: Duration::from_secs(2), cache_ttl: Duration::ZERO });
    let levels: degrade::Config = serde_json::from_str(r#"{"max_degradation": "minimal"}"#).unwrap();
    assert_eq!(levels.max_degradation, Level::Minimal);
    let queue: queue::Config = serde_json::from_str(r#"{"queue_capacity": 7, "put_timeout": "1s"}"#).unwrap();
    assert_eq!((queue.queue_capacity, queue.put_timeout), (7, Duration::from_secs(1)));
    let strategy = serde_json::to_string(&degrade::Strategy::ALL).unwrap();
    let names = r#"["cache_fallback","static_fallback","partial_response","alternate_source","fail_fast"]"#;
    assert_eq!(strategy, names);
    let status: Status = serde_json::from_str("\"CIRCUIT_OPEN\"").unwrap();
    assert_eq!(serde_json::to_string(&status).unwrap(), "\"circuit_open\"");
}

#[test]
fn threads_that_share_a_tracker_tell_of_each_change_once() {
    let config = health::Config {
        strategy: Strategy::Consecutive { failure_threshold: 2, recovery_threshold: 2 },
        ..Default::default()
    };
    let tracker = HealthTracker::with_config("shared", config).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = told.clone();
    tracker.on_change(move |change| listener.lock().unwrap().push((change.seq, change.to)));
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let tracker = &tracker;
            scope.spawn(move || {
                for n in 0..5_000_u32 {
                    match (n / 7 + thread) % 2 {
                        0 => tracker.record_success(Duration::from_millis(1)),
                        _ => tracker.record_failure("e"),
                    }
                }
            });
        }
    });
    let mut told = told.lock().unwrap().clone();
    told.sort_unstable_by_key(|(seq, _)| *seq);
    for (at, (seq, to)) in told.iter().enumerate() {
        assert_eq!(*seq, at as u64 + 1);
        assert_eq!(*to, if at % 2 == 0 { Status::Unhealthy } else { Status::Healthy });
    }
    assert_eq!(tracker.status().calls, 20_000);
}

#[test]
fn threads_that_share_a_level_tell_of_each_shift_once() {
    let config = degrade::Config { recovery_evaluations: 2, recovery_dwell: Duration::ZERO, ..Default::default() };
    let system = Degradation::with_config("shared", config).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = told.clone();
    system.on_shift(move |shift| listener.lock().unwrap().push(*shift));
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let system = &system;
            scope.spawn(move || {
                for n in 0..5_000_u32 {
                    let successful = (n / 5 + thread) % 11;
                    system.evaluate(Parts { total: 10, successful, ..Default::default() });
                }
            });
        }
    });
    let mut told = told.lock().unwrap().clone();
    told.sort_unstable_by_key(|shift| shift.seq);
    let mut level = Level::Full;
    for (at, shift) in told.iter().enumerate() {
        assert_eq!((shift.seq, shift.from), (at as u64 + 1, level));
        level = shift.to;
    }
    assert_eq!(system.level(), level);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_check_that_blocks_its_thread_is_timed_out_all_the_same() {
    let checks = Checks { timeout: Duration::from_millis(300), ..Default::default() };
    let checker = HealthChecker::with_clock("health", checks, &Clock::system()).unwrap();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let blocking = move || {
        let _ = released.lock().unwrap().recv();
        std::future::ready(Status::Healthy)
    };
    checker.register("blocking", blocking).unwrap();
    checker.register("well", || std::future::ready(Status::Healthy)).unwrap();
    let found = checker.check_all().await;
    assert_eq!(found["blocking"].message.as_deref(), Some("timed out"));
    assert_eq!(found["well"].status, Status::Healthy);
    drop(release);
}
