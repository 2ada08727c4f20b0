//! Results that are noted without a permit, and permits that come late.

use super::*;

#[test]
fn results_from_a_former_state_move_nothing() {
    let breaker = breaker(|config| config.success_threshold = 1);
    let mut early: Vec<_> = (0..3).map(|_| breaker.admit(at(0)).unwrap()).collect();
    trip(&breaker, at(1));
    assert_eq!(breaker.settle(&mut early[0], at(50), &Verdict::success()), None);
    assert_eq!(breaker.settle(&mut early[1], at(50), &Verdict::failure("E")), None);
    assert_eq!(breaker.remaining(at(50)), ms(51));
    let _probe = breaker.admit(at(101)).unwrap();
    assert_eq!(breaker.settle(&mut early[2], at(101), &Verdict::success()), None);
    assert_eq!(breaker.state(at(101)), State::HalfOpen);
    assert_eq!(breaker.stats(at(101)).stale, 3);
}

#[test]
fn a_record_answers_the_oldest_question() {
    let slow = Trip::slow(1.0, ms(50), 1, Window::Calls(1));
    let breaker = breaker(|config| config.trip = vec![slow]);
    assert!(breaker.allow_request(at(0)).is_ok() && breaker.allow_request(at(40)).is_ok());
    assert_eq!(breaker.record(at(40), &Verdict::success()), None, "40 ms after the first question");
    let opened = moved(breaker.record(at(90), &Verdict::success())).unwrap();
    assert_eq!(opened.cause, Cause::Tripped(slow), "50 ms after the second");
    assert_eq!(breaker.record(at(90), &Verdict::failure("E")), None);
    assert_eq!(breaker.stats(at(90)).failures, 0, "nothing was asked");
}

#[test]
fn questions_of_a_former_state_are_forgotten() {
    let breaker = breaker(|config| config.success_threshold = 1);
    for _ in 0..5 {
        assert_eq!(breaker.allow_request(at(0)).unwrap(), None);
    }
    let changes: Vec<_> = (0..5).filter_map(|_| breaker.record(at(0), &Verdict::failure("E"))).collect();
    assert_eq!((changes.len(), breaker.stats(at(0)).failures), (1, 3));
    assert_eq!(breaker.record(at(50), &Verdict::success()), None);
    let asked = moved(breaker.allow_request(at(100)).unwrap()).unwrap();
    assert_eq!((asked.from, asked.to), (State::Open, State::HalfOpen));
    assert_eq!(moved(breaker.record(at(100), &Verdict::success())).unwrap().to, State::Closed);
}

#[test]
fn a_call_longer_than_the_open_wait_is_still_recorded() {
    let breaker = breaker(|_| ());
    let hung = |n| {
        assert!(breaker.allow_request(at(n)).is_ok());
        moved(breaker.record(at(n + 5_000), &Verdict::failure("TimeoutError")))
    };
    assert_eq!((hung(0), hung(5_000)), (None, None));
    assert!(hung(10_000).is_some());
}
