//! Breaker: half-open (cases 19 to 24).

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stormproof::breaker::{self, State, Window};
use stormproof::{Instant, Reason, Stage, Trip, Verdict};
use stormproof_core as core;
use stormproof_sim::{Action, Call, End, Reply, Scenario};

use crate::given::{F, I, S, ms, run, s, trips, with_breaker};

/// A circuit that opened at 0 and lets probes through from second 60.
fn half_open(change: impl FnOnce(&mut breaker::Config)) -> Scenario {
    with_breaker(Trip::consecutive(1), change).at(s(0), F)
}

fn state(trace: &stormproof_sim::Trace) -> &'static str {
    let is = |state| trace.stat(Stage::Breaker, "state", state) == 1.0;
    ["closed", "open", "half_open"].into_iter().find(|state| is(state)).unwrap()
}

#[test]
fn case_19_the_fourth_of_three_probes_is_refused() {
    let trace = run(&half_open(|_| ()).all_at(s(60), [S.after(s(1)); 4]));
    assert_eq!(trace.reasons()[1..], [None, None, None, Some(Reason::HalfOpenLimit)]);
    assert_eq!(trace.calls[4].end.retry_after(), Some(Duration::ZERO));
}

#[test]
fn case_19_one_of_a_thousand_racing_threads_wins_the_permit() {
    let config = breaker::Config { half_open_max_calls: 1, ..trips(Trip::consecutive(1)) };
    let breaker = core::CircuitBreaker::with_config("b", config).unwrap();
    let mut permit = breaker.admit(Instant::ZERO).unwrap();
    breaker.settle(&mut permit, Instant::ZERO, &Verdict::failure("E"));
    let (later, won) = (Instant::ZERO + s(60), AtomicU32::new(0));
    let barrier = std::sync::Barrier::new(1_000);
    std::thread::scope(|scope| {
        for _ in 0..1_000 {
            let race = || {
                barrier.wait();
                let admitted = breaker.admit(later);
                won.fetch_add(u32::from(admitted.is_ok()), Ordering::Relaxed);
            };
            std::thread::Builder::new().stack_size(64 * 1024).spawn_scoped(scope, race).unwrap();
        }
    });
    assert_eq!((won.into_inner(), breaker.stats(later).refused), (1, 999));
}

#[test]
fn case_20_a_permit_without_outcome_admits_exactly_one_more() {
    let lost: [Call; 3] =
        [Call::of([Reply::hang()]).cancel_at(s(61)), Call::of([Reply::panic().after(s(1))]), Call::of([I.after(s(1))])];
    for probe in lost {
        let one = half_open(|breaker| breaker.half_open_max_calls = 1).at(s(60), probe);
        let trace = run(&one.at(ms(60_500), S).all_at(s(62), [S.after(s(1)); 2]));
        let limit = Some(Reason::HalfOpenLimit);
        assert_eq!(trace.reasons()[2..], [limit, None, limit]);
        assert_eq!(trace.circuit_events(), ["circuit_opened", "circuit_half_open"]);
    }
}

#[test]
fn case_20_a_permit_that_is_released_admits_exactly_one_more() {
    let config = breaker::Config { half_open_max_calls: 1, ..trips(Trip::consecutive(1)) };
    let breaker = core::CircuitBreaker::with_config("b", config).unwrap();
    let mut first = breaker.admit(Instant::ZERO).unwrap();
    breaker.settle(&mut first, Instant::ZERO, &Verdict::failure("E"));
    let later = Instant::ZERO + s(60);
    let mut probe = breaker.admit(later).unwrap();
    breaker.release(&mut probe);
    breaker.release(&mut probe);
    let again = [breaker.admit(later).is_ok(), breaker.admit(later).is_ok()];
    assert_eq!((again, breaker.state(later)), ([true, false], State::HalfOpen));
}

#[test]
fn case_21_a_probe_that_never_returns_loses_its_place_and_a_late_success_counts() {
    let one = probed_by_one_for_five_seconds();
    let lost = one.at(s(60), S.after(s(6))).at(ms(64_999), S).at(s(65), S.after(s(4))).at(s(67), S);
    let trace = run(&lost.at(s(68), Action::Look));
    let limit = Some(Reason::HalfOpenLimit);
    assert_eq!(trace.reasons(), [None, None, limit, None, limit], "the late one gave no place back");
    assert_eq!(trace.seen(0, Stage::Breaker, "state", "half_open"), 1.0);
    assert_eq!(trace.seen(0, Stage::Breaker, "half_open_calls", ""), 1.0);
    assert_eq!(trace.seen(0, Stage::Breaker, "stale", ""), 0.0);
    assert_eq!(trace.events_named("circuit_closed")[0].at, Instant::ZERO + s(69));
}

#[test]
fn case_21_a_late_failure_reopens_and_what_comes_after_it_is_stale() {
    let one = probed_by_one_for_five_seconds();
    let late = one.at(s(60), F.after(s(6))).at(s(65), S.after(s(10)));
    let trace = run(&late.at(s(76), Action::Look));
    assert_eq!(trace.events_named("circuit_opened")[1].at, Instant::ZERO + s(66));
    assert_eq!(trace.seen(0, Stage::Breaker, "state", "open"), 1.0);
    assert_eq!(trace.seen(0, Stage::Breaker, "stale", ""), 1.0);
}

#[test]
fn case_21_good_calls_longer_than_the_open_wait_close_it() {
    let slow = half_open(|breaker| breaker.open_duration = s(30));
    let trace = run(&slow.all_at(s(30), [S.after(s(31)); 3]));
    assert_eq!(trace.circuit_events(), ["circuit_opened", "circuit_half_open", "circuit_closed"]);
    assert_eq!(trace.events_named("circuit_closed")[0].at, Instant::ZERO + s(61));
}

fn probed_by_one_for_five_seconds() -> Scenario {
    half_open(|breaker| {
        breaker.half_open_max_calls = 1;
        breaker.half_open_timeout = Some(s(5));
    })
}

#[test]
fn case_22_two_probes_one_after_another_close_it() {
    let scenario = half_open(|breaker| {
        breaker.success_threshold = 2;
        breaker.half_open_max_calls = 1;
    });
    let trace = run(&scenario.at(s(60), S).at(s(61), Action::Look).at(s(62), S));
    assert_eq!(trace.seen(0, Stage::Breaker, "state", "half_open"), 1.0);
    assert_eq!(state(&trace), "closed");
    assert_eq!(trace.events_named("circuit_closed")[0].at, Instant::ZERO + s(62));
}

#[test]
fn case_23_a_failure_after_a_success_reopens() {
    let trace = run(&half_open(|_| ()).at(s(60), S).at(s(61), F).at(s(120), S).at(s(121), S));
    assert_eq!(trace.events_named("circuit_opened").len(), 2);
    assert_eq!(trace.calls[3].end.retry_after(), Some(s(1)));
    assert_eq!(trace.calls[4].end, End::Ok);
}

#[test]
fn case_23_a_slow_success_reopens_under_a_slow_rule() {
    let slow = Trip::slow(1.0, s(4), 1, Window::Calls(10));
    let trace = run(&with_breaker(slow, |_| ()).at(s(0), S.after(s(4))).all_at(s(64), [S.after(s(4)); 3]));
    assert_eq!(trace.events_named("circuit_opened")[1].at, Instant::ZERO + s(68));
    assert_eq!(state(&trace), "open");
}

#[test]
fn case_24_a_success_from_before_the_trip_changes_nothing() {
    let scenario = with_breaker(Trip::consecutive(1), |breaker| breaker.success_threshold = 1);
    let trace = run(&scenario.at(s(0), S.after(s(65))).at(s(1), F).at(s(62), S.after(s(10))).at(s(66), Action::Look));
    assert_eq!(trace.calls[0].end, End::Ok);
    assert_eq!(trace.seen(0, Stage::Breaker, "state", "half_open"), 1.0);
    assert_eq!(trace.seen(0, Stage::Breaker, "stale", ""), 1.0);
    assert_eq!(trace.circuit_events(), ["circuit_opened", "circuit_half_open", "circuit_closed"]);
}
