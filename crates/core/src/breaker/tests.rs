//! The breaker alone.

mod modes;
mod probes;
mod records;
mod rules;

use super::*;
use crate::breaker::Window;

const NO_WAIT: Duration = Duration::ZERO;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn at(n: u64) -> Instant {
    Instant::ZERO + ms(n)
}

/// Opens after three failures in a row for 100 ms, closes after two probes, of which two may be out.
fn breaker(change: impl FnOnce(&mut Config)) -> CircuitBreaker {
    let mut config = Config {
        trip: vec![Trip::consecutive(3)],
        open_duration: ms(100),
        half_open_max_calls: 2,
        ..Config::default()
    };
    change(&mut config);
    CircuitBreaker::with_config("tests", config).unwrap()
}

fn call(breaker: &CircuitBreaker, now: Instant, verdict: Verdict<'_>) -> Option<Transition> {
    let mut permit = breaker.admit(now).unwrap();
    moved(breaker.settle(&mut permit, now, &verdict))
}

fn moved(change: Option<Change>) -> Option<Transition> {
    match change {
        Some(Change::Moved(transition)) => Some(transition),
        Some(Change::WouldOpen(..)) | None => None,
    }
}

fn fail(breaker: &CircuitBreaker, now: Instant) -> Option<Transition> {
    call(breaker, now, Verdict::failure("TimeoutError"))
}

fn succeed(breaker: &CircuitBreaker, now: Instant) -> Option<Transition> {
    call(breaker, now, Verdict::success())
}

/// Fails until it is open, which it is then from `now` on.
fn trip(breaker: &CircuitBreaker, now: Instant) -> Transition {
    (0..100).find_map(|_| fail(breaker, now)).unwrap()
}

fn refusal(breaker: &CircuitBreaker, now: Instant) -> (Reason, Duration) {
    let refusal = breaker.admit(now).unwrap_err();
    (refusal.reason, refusal.retry_after)
}

#[test]
fn the_third_failure_in_a_row_opens_and_says_what_it_counted() {
    let breaker = breaker(|_| ());
    assert_eq!((fail(&breaker, at(1)), fail(&breaker, at(2)), succeed(&breaker, at(3))), (None, None, None));
    assert_eq!((fail(&breaker, at(4)), fail(&breaker, at(5))), (None, None));
    let opened = fail(&breaker, at(6)).unwrap();
    assert_eq!((opened.from, opened.to, opened.at, opened.open_for), (State::Closed, State::Open, at(6), ms(100)));
    assert_eq!(opened.cause, Cause::Tripped(Trip::consecutive(3)));
    assert_eq!(opened.count, Count { rule: "consecutive", calls: 3, failures: 3, threshold: 3 });
    assert_eq!(refusal(&breaker, at(56)), (Reason::Open, ms(50)));
    assert_eq!(breaker.history(), [opened]);
}

#[test]
fn the_state_is_a_view_and_only_an_admission_moves_it() {
    let breaker = breaker(|_| ());
    let opened = trip(&breaker, at(0));
    let just_before = Instant::from_nanos(at(100).as_nanos() - 1);
    assert_eq!((breaker.state(just_before), breaker.state(at(100))), (State::Open, State::HalfOpen));
    assert_eq!((breaker.remaining(just_before), breaker.remaining(at(100))), (Duration::from_nanos(1), NO_WAIT));
    assert_eq!(breaker.history(), [opened]);
    let probe = breaker.admit(at(100)).unwrap();
    assert_eq!(Some(breaker.history()[1]), breaker.transition(&probe));
    assert_eq!(breaker.transition(&breaker.admit(at(101)).unwrap()), None);
}

#[test]
fn waits_grow_to_the_cap_and_start_again_after_a_close() {
    let breaker = breaker(|config| {
        (config.open_factor, config.max_open_duration, config.success_threshold) = (2.0, Some(ms(350)), 1);
    });
    let mut opened = trip(&breaker, at(0));
    let mut waits = vec![opened.open_for];
    for _ in 0..3 {
        opened = fail(&breaker, opened.at + opened.open_for).unwrap();
        waits.push(opened.open_for);
    }
    assert_eq!(waits, [100, 200, 350, 350].map(ms));
    let closed = succeed(&breaker, opened.at + opened.open_for).unwrap();
    assert_eq!(trip(&breaker, closed.at).open_for, ms(100));
    breaker.reset(closed.at);
    assert_eq!(trip(&breaker, closed.at).open_for, ms(100));
}

#[test]
fn an_outcome_can_name_the_wait() {
    let breaker = breaker(|_| ());
    let banned = call(&breaker, at(0), Verdict::failure("Banned").open_for(ms(7_000))).unwrap();
    assert_eq!((banned.cause, banned.open_for, banned.count.failures), (Cause::Banned, ms(7_000), 1));
    let again = call(&breaker, at(7_000), Verdict::failure("Banned").open_for(Duration::MAX)).unwrap();
    assert_eq!((again.from, again.cause), (State::HalfOpen, Cause::Banned));
    assert_eq!(breaker.state(Instant::from_nanos(u64::MAX - 1)), State::Open);
}

#[test]
fn a_refusal_carries_one_cause_cut_at_a_character() {
    let breaker = breaker(|config| config.trip = vec![Trip::consecutive(1)]);
    let long = "é".repeat(100) + "x";
    assert_eq!(breaker.last_cause(), None);
    call(&breaker, at(0), Verdict::failure(&format!("x{long}")));
    for _ in 0..100 {
        let refused = breaker.admit(at(1)).unwrap_err().to_refused();
        assert_eq!(refused.cause.as_deref(), Some(format!("x{}", "é".repeat(63)).as_str()));
    }
    call(&breaker, at(100), Verdict::failure("ConnectionError"));
    assert_eq!(breaker.last_cause().as_deref(), Some("ConnectionError"));
    assert_eq!(breaker.stats(at(100)).refused, 100);
}

#[test]
fn the_totals_add_up() {
    let breaker = breaker(|config| config.ignore = vec!["Client".into()]);
    for n in 0..10 {
        succeed(&breaker, at(n));
        if n % 2 == 0 {
            fail(&breaker, at(n));
        }
    }
    call(&breaker, at(10), Verdict::failure("Client.BadRequest"));
    let stats = breaker.stats(at(10));
    assert_eq!((stats.successes, stats.failures, stats.ignored, stats.refused), (10, 5, 1, 0));
    assert_eq!((stats.last_success, stats.last_failure, stats.remaining), (Some(at(9)), Some(at(8)), NO_WAIT));
    assert!((stats.success_rate() - 10.0 / 15.0).abs() < 1e-12);
}

#[test]
fn a_hundred_transitions_are_remembered_in_order() {
    let breaker = breaker(|config| config.trip = vec![Trip::consecutive(1)]);
    let all: Vec<_> = (0..150).filter_map(|n| fail(&breaker, at(n * 100))).collect();
    assert_eq!(all.len(), 150);
    let history = breaker.history();
    assert_eq!((history.len(), history.last()), (HISTORY, all.last()));
    assert!(history.windows(2).all(|pair| pair[0].seq < pair[1].seq && pair[0].to == pair[1].from));
}

#[test]
fn each_transition_begins_where_the_last_one_ended() {
    let breaker = breaker(|_| ());
    trip(&breaker, at(0));
    assert_eq!(breaker.set_mode(at(200), Mode::ForcedOpen), None, "it was open, and no admission had moved it");
    breaker.reset(at(200));
    trip(&breaker, at(200));
    assert_eq!(breaker.reset(at(400)).unwrap().from, State::Open);
    let history = breaker.history();
    assert!(history.windows(2).all(|pair| pair[0].to == pair[1].from), "{history:?}");
}

#[test]
fn only_a_failure_can_name_the_wait() {
    let breaker = breaker(|config| config.trip.push(Trip::slow(0.5, ms(10), 5, Window::Calls(5))));
    trip(&breaker, at(0));
    let mut probe = breaker.admit(at(100)).unwrap();
    let reopened = moved(breaker.settle(&mut probe, at(110), &Verdict::success().open_for(ms(7)))).unwrap();
    assert_eq!((reopened.cause, reopened.open_for), (Cause::ProbeFailed, ms(100)));
}
