//! What the rules of health say, one by one. Random histories are in `tests/model_health.rs`.
#![allow(clippy::float_cmp, reason = "the numbers are exact")]

use std::time::Duration;

use super::{Checks, Config, ERROR_BYTES, HealthTracker, Status, Strategy, check_policy};
use crate::breaker::{self, Mode, Trip, Window};
use crate::outcome::Verdict;
use crate::{CircuitBreaker, Instant};

const T: Instant = Instant::ZERO;

fn tracker(strategy: Strategy) -> HealthTracker {
    HealthTracker::with_config("t", Config { strategy, recent_errors: 2 }).unwrap()
}

#[test]
fn a_status_is_read_in_either_case_and_written_in_lower() {
    for status in Status::ALL {
        let text = status.to_string();
        assert_eq!(text, text.to_lowercase());
        assert_eq!([text.parse(), text.to_uppercase().parse()], [Ok(status), Ok(status)]);
    }
    assert!("fine".parse::<Status>().is_err());
    let severities = Status::ALL.map(Status::severity);
    assert_eq!(severities, [0, 1, 2, 3, 4, 5]);
    assert_eq!(Status::Unhealthy.worse(Status::Degraded), Status::Unhealthy);
}

#[test]
fn a_share_of_many_alike_has_a_status() {
    let of = |healthy| Status::of_share(healthy, 4);
    assert_eq!([4, 3, 2, 1, 0].map(of), {
        use Status::{Critical, Degraded, Healthy, Unhealthy};
        [Healthy, Degraded, Unhealthy, Critical, Critical]
    });
    assert_eq!(Status::of_share(0, 0), Status::Healthy);
    assert_eq!(Status::of_share(usize::MAX - 1, usize::MAX), Status::Degraded);
}

#[test]
fn a_tracker_that_heard_nothing_is_healthy() {
    let report = HealthTracker::new("new").status(T);
    assert_eq!((report.healthy, report.status, report.success_rate), (true, Status::Healthy, 1.0));
    assert_eq!((report.average_latency, report.last_check, report.age), (None, None, None));
}

#[test]
fn half_of_the_window_is_unhealthy_and_less_is_not() {
    let tracker = tracker(Strategy::ratio_of(4, 0.5));
    for _ in 0..3 {
        assert!(tracker.record_success(T, None).is_none());
    }
    assert!(tracker.record_failure(T, "a").is_none(), "one of four");
    let change = tracker.record_failure(T, "b").unwrap();
    assert_eq!((change.from, change.to, change.as_str()), (Status::Healthy, Status::Unhealthy, "degraded"));
    assert_eq!((change.consecutive_failures, change.error.as_deref()), (2, Some("b")));
    assert!(tracker.record_failure(T, "c").is_none(), "said once");
    for _ in 0..3 {
        assert!(tracker.record_success(T, None).is_none(), "a quarter failed, and less is needed");
    }
    let back = tracker.record_success(T, None).unwrap();
    assert_eq!((back.as_str(), back.seq), ("recovered", 2));
}

#[test]
fn a_ratio_waits_for_its_minimum_of_calls() {
    let tracker = tracker(Strategy::ratio());
    for n in 1..10 {
        assert!(tracker.record_failure(T, "e").is_none(), "{n} calls are too few");
    }
    assert_eq!(tracker.record_failure(T, "e").unwrap().to, Status::Unhealthy);
}

#[test]
fn a_ratio_does_not_flap_at_its_threshold() {
    let tracker = tracker(Strategy::ratio());
    let rng = crate::rng::Rng::new(7);
    let changes = |share: f64| {
        let call = |_: &_| {
            let failed = rng.unit() < share;
            if failed { tracker.record_failure(T, "e") } else { tracker.record_success(T, None) }.is_some()
        };
        (0..10_000).filter(call).count()
    };
    assert_eq!(changes(0.5), 1, "unhealthy, once");
    assert!(!tracker.is_healthy());
    assert_eq!(changes(0.05), 1, "and healthy again, once");
    assert!(tracker.is_healthy());
}

#[test]
fn in_a_row_there_is_hysteresis() {
    let tracker = tracker(Strategy::consecutive());
    let fail = || tracker.record_failure(T, "e");
    let succeed = || tracker.record_success(T, None);
    assert!(fail().is_none() && fail().is_none() && succeed().is_none() && fail().is_none() && fail().is_none());
    assert_eq!(fail().unwrap().to, Status::Unhealthy);
    assert!(succeed().is_none() && fail().is_none() && succeed().is_none());
    assert_eq!(succeed().unwrap().to, Status::Healthy);
}

#[test]
fn the_report_averages_latencies_and_keeps_the_last_errors_bounded() {
    let tracker = tracker(Strategy::ratio_of(2, 1.0));
    for millis in [900, 100, 200] {
        tracker.record_success(T, Duration::from_millis(millis));
    }
    tracker.record_success(T, None);
    for n in 0..3 {
        tracker.record_failure(T + Duration::from_secs(n), &format!("{n}{}", "ä".repeat(200)));
    }
    let report = tracker.status(T + Duration::from_secs(5));
    assert_eq!(report.average_latency, Some(Duration::from_millis(150)));
    let errors: Vec<_> = report.recent_errors.iter().map(|error| (&error.error[..1], error.error.len())).collect();
    assert_eq!(errors, [("1", ERROR_BYTES - 1), ("2", ERROR_BYTES - 1)], "cut between two characters");
    assert_eq!((report.success_rate, report.calls, report.failures), (0.0, 7, 3));
    assert_eq!((report.age, report.consecutive_failures), (Some(Duration::from_secs(3)), 3));
}

#[test]
fn a_reset_forgets_calls_and_says_that_it_recovered() {
    let tracker = tracker(Strategy::ratio());
    for _ in 0..10 {
        tracker.record_failure(T, "e");
    }
    assert_eq!(tracker.reset(T).unwrap().as_str(), "recovered");
    assert!(tracker.reset(T).is_none());
    let report = tracker.status(T);
    assert_eq!((report.success_rate, report.recent_errors.len(), report.calls), (1.0, 0, 10));
}

#[test]
fn mistakes_are_named_all_at_once() {
    let strategy = Strategy::Consecutive { failure_threshold: 0, recovery_threshold: 0 };
    assert_eq!(Config { strategy, recent_errors: 1_001 }.validate().len(), 3);
    let strategy = Strategy::ratio_of(1, f64::NAN);
    assert_eq!(Config { strategy, ..Default::default() }.validate().len(), 1);
    let (healthy_threshold, minimum_calls) = (Some(0.6), 0);
    let strategy = Strategy::Ratio { window: 1, unhealthy_threshold: 0.5, healthy_threshold, minimum_calls };
    assert_eq!(Config { strategy, ..Default::default() }.validate().len(), 2);
    assert_eq!(Checks { timeout: Duration::ZERO, cache_ttl: Duration::ZERO }.validate().len(), 1);
    assert!(check_policy().validate().is_empty());
}

#[test]
fn the_whole_follows_its_parts() {
    use Status::{CircuitOpen, Critical, Degraded, Healthy, Unhealthy, Unknown};
    let whole = |parts: &[(Status, bool)]| Status::of_parts(parts.iter().copied());
    assert_eq!(whole(&[]), Healthy);
    assert_eq!(whole(&[(Healthy, true), (Healthy, false)]), Healthy);
    assert_eq!(whole(&[(Healthy, true), (Unhealthy, false)]), Degraded);
    assert_eq!(whole(&[(Unhealthy, true), (Healthy, false)]), Unhealthy);
    assert_eq!(whole(&[(CircuitOpen, false), (Critical, false)]), Unhealthy, "all of them");
    assert_eq!(whole(&[(Degraded, true)]), Degraded);
    assert_eq!(whole(&[(Unknown, true), (Unknown, false)]), Unknown);
    assert_eq!(whole(&[(Unknown, true), (Healthy, false)]), Degraded);
}

#[test]
fn a_breakers_score_falls_with_its_failures() {
    let config = breaker::Config {
        trip: vec![Trip::consecutive(4), Trip::ratio(0.5, 10, Window::Calls(10))],
        success_threshold: 2,
        ..Default::default()
    };
    let breaker = CircuitBreaker::with_config("b", config).unwrap();
    let fail = |at| breaker.settle(&mut breaker.admit(at).unwrap(), at, &Verdict::failure("e"));
    let succeed = |at| breaker.settle(&mut breaker.admit(at).unwrap(), at, &Verdict::success());
    assert_eq!(breaker.health_score(T), 1.0);
    fail(T);
    assert_eq!(breaker.health_score(T), 0.75, "one of four in a row");
    succeed(T);
    assert_eq!(breaker.health_score(T), 0.8, "one of the five that trip the ratio");
    for _ in 0..4 {
        fail(T);
    }
    assert_eq!(breaker.health_score(T), 0.0, "open");
    let later = T + Duration::from_secs(60);
    assert_eq!(breaker.health_score(later), 0.0, "half-open by now, nothing proved");
    succeed(later);
    assert_eq!(breaker.health_score(later), 0.25);
    succeed(later);
    assert_eq!(breaker.health_score(later), 1.0);
    breaker.set_mode(later, Mode::ForcedOpen);
    assert_eq!(breaker.health_score(later), 0.0);
}
