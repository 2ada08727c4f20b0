//! The half-open circuit: who may try, and what follows from it.

use super::*;

#[test]
fn a_look_takes_no_place_among_the_probes() {
    let breaker = breaker(|config| config.half_open_max_calls = 1);
    trip(&breaker, at(0));
    assert_eq!(breaker.look(at(99)).unwrap_err().reason, Reason::Open);
    for _ in 0..10 {
        assert!(breaker.look(at(100)).is_ok() && breaker.is_available(at(100)));
    }
    assert_eq!((breaker.stats(at(100)).half_open_calls, breaker.history().len()), (0, 1));
    let _probe = breaker.admit(at(100)).unwrap();
    assert_eq!(breaker.look(at(100)).unwrap_err().reason, Reason::HalfOpenLimit);
    assert_eq!(breaker.stats(at(100)).refused, 2);
}

#[test]
fn one_probe_at_a_time_can_close() {
    let breaker = breaker(|config| config.half_open_max_calls = 1);
    trip(&breaker, at(0));
    assert_eq!(succeed(&breaker, at(100)), None);
    assert_eq!(breaker.state(at(100)), State::HalfOpen);
    let closed = succeed(&breaker, at(101)).unwrap();
    assert_eq!((closed.from, closed.to, closed.cause), (State::HalfOpen, State::Closed, Cause::Recovered));
    assert_eq!(breaker.stats(at(101)).consecutive_failures, 0);
}

#[test]
fn a_failed_probe_reopens_whatever_succeeded_before() {
    let breaker = breaker(|_| ());
    trip(&breaker, at(0));
    assert_eq!(succeed(&breaker, at(100)), None);
    let reopened = fail(&breaker, at(150)).unwrap();
    assert_eq!((reopened.from, reopened.cause), (State::HalfOpen, Cause::ProbeFailed));
    assert_eq!(refusal(&breaker, at(150)), (Reason::Open, ms(100)));
}

#[test]
fn a_slow_probe_reopens() {
    let slow = Trip::slow(0.5, ms(10), 5, Window::Calls(5));
    let breaker = breaker(|config| config.trip.push(slow));
    trip(&breaker, at(0));
    let mut probe = breaker.admit(at(100)).unwrap();
    let reopened = moved(breaker.settle(&mut probe, at(110), &Verdict::success())).unwrap();
    assert_eq!(reopened.cause, Cause::ProbeFailed);
}

#[test]
fn a_released_or_ignored_probe_gives_its_place_back_and_counts_neither_way() {
    let breaker = breaker(|config| config.half_open_max_calls = 1);
    trip(&breaker, at(0));
    let mut cancelled = breaker.admit(at(100)).unwrap();
    assert_eq!(refusal(&breaker, at(100)), (Reason::HalfOpenLimit, NO_WAIT));
    breaker.release(&mut cancelled);
    breaker.release(&mut cancelled);
    let mut ignored = breaker.admit(at(100)).unwrap();
    assert!(breaker.admit(at(100)).is_err(), "a second release gave back a place that it did not have");
    assert_eq!(breaker.settle(&mut ignored, at(100), &Verdict::ignored("BadRequest")), None);
    let stats = breaker.stats(at(100));
    assert_eq!((stats.half_open_calls, stats.half_open_successes, stats.ignored), (0, 0, 2));
}

#[test]
fn a_late_success_is_heard_and_gives_no_place_back_twice() {
    let breaker = breaker(|config| (config.half_open_max_calls, config.half_open_timeout) = (1, Some(ms(30))));
    trip(&breaker, at(0));
    let mut late = breaker.admit(at(100)).unwrap();
    assert!(breaker.admit(at(129)).is_err());
    let mut present = breaker.admit(at(130)).unwrap();
    assert_eq!(breaker.settle(&mut late, at(131), &Verdict::success()), None);
    let stats = breaker.stats(at(131));
    assert_eq!((stats.half_open_successes, stats.half_open_calls, stats.stale), (1, 1, 0));
    assert_eq!(refusal(&breaker, at(131)).0, Reason::HalfOpenLimit, "the place is that of the second probe");
    assert_eq!(moved(breaker.settle(&mut present, at(132), &Verdict::success())).unwrap().to, State::Closed);
}

#[test]
fn a_late_failure_reopens() {
    let breaker = breaker(|config| (config.half_open_max_calls, config.half_open_timeout) = (1, Some(ms(30))));
    trip(&breaker, at(0));
    let mut late = breaker.admit(at(100)).unwrap();
    let mut present = breaker.admit(at(130)).unwrap();
    let reopened = moved(breaker.settle(&mut late, at(131), &Verdict::failure("E"))).unwrap();
    assert_eq!((reopened.from, reopened.cause), (State::HalfOpen, Cause::ProbeFailed));
    assert_eq!(breaker.settle(&mut present, at(132), &Verdict::success()), None, "that episode is over");
    assert_eq!((breaker.state(at(132)), breaker.stats(at(132)).stale), (State::Open, 1));
}

/// A settled, released or ignored late probe frees nothing; whatever ends the episode makes it stale.
#[test]
fn whatever_ends_the_episode_makes_its_late_results_stale() {
    let ends: [fn(&CircuitBreaker); 4] = [
        |breaker| _ = fail(breaker, at(130)),
        |breaker| _ = breaker.reset(at(130)),
        |breaker| _ = breaker.set_mode(at(130), Mode::ForcedOpen),
        |breaker| _ = breaker.set_mode(at(130), Mode::MetricsOnly),
    ];
    for end in ends {
        for verdict in [Verdict::success(), Verdict::failure("E")] {
            let breaker = breaker(|config| {
                (config.half_open_max_calls, config.half_open_timeout, config.success_threshold) = (1, Some(ms(30)), 1);
            });
            trip(&breaker, at(0));
            let mut late = breaker.admit(at(100)).unwrap();
            end(&breaker);
            let state = breaker.state(at(131));
            assert_eq!(breaker.settle(&mut late, at(131), &verdict), None);
            assert_eq!((breaker.state(at(131)), breaker.stats(at(131)).stale), (state, 1));
        }
    }
}

#[test]
fn good_calls_longer_than_the_open_wait_close_it() {
    let breaker = breaker(|config| config.open_duration = ms(30_000));
    trip(&breaker, at(0));
    let mut probes: Vec<_> = (0..2).map(|n| breaker.admit(at(30_000 + n)).unwrap()).collect();
    assert_eq!(breaker.settle(&mut probes[0], at(61_000), &Verdict::success()), None);
    assert_eq!(moved(breaker.settle(&mut probes[1], at(61_001), &Verdict::success())).unwrap().to, State::Closed);
}

#[test]
fn a_late_answer_to_a_question_is_heard() {
    let breaker = breaker(|config| (config.half_open_max_calls, config.half_open_timeout) = (1, Some(ms(30))));
    trip(&breaker, at(0));
    assert!(breaker.allow_request(at(100)).is_ok() && breaker.allow_request(at(130)).is_ok());
    assert_eq!(breaker.record(at(131), &Verdict::success()), None);
    assert_eq!(breaker.stats(at(131)).half_open_calls, 1, "the place is that of the second question");
    assert_eq!(moved(breaker.record(at(170), &Verdict::success())).unwrap().to, State::Closed);
}

#[test]
fn a_question_of_half_open_that_is_never_answered_lapses() {
    let breaker = breaker(|config| {
        (config.half_open_max_calls, config.half_open_timeout, config.success_threshold) = (1, Some(ms(30)), 1);
    });
    trip(&breaker, at(0));
    assert!(breaker.allow_request(at(100)).is_ok());
    assert!(breaker.allow_request(at(129)).is_err());
    assert!(breaker.allow_request(at(130)).is_ok());
    let closed = moved(breaker.record(at(131), &Verdict::success()));
    assert_eq!(closed.unwrap().to, State::Closed, "whichever question it answers");
}

#[test]
fn probes_whose_clocks_disagree_keep_their_places() {
    let breaker = breaker(|config| (config.half_open_max_calls, config.half_open_timeout) = (2, Some(ms(10))));
    trip(&breaker, at(0));
    let _later = breaker.admit(at(110)).unwrap();
    let _earlier = breaker.admit(at(105)).unwrap();
    assert!(breaker.admit(at(116)).is_err(), "a third probe is out, though the first has used 6 ms of its 10");
    assert!(breaker.admit(at(120)).is_ok());
}

#[test]
fn failures_in_a_row_go_on_through_the_probes() {
    let breaker = breaker(|_| ());
    trip(&breaker, at(0));
    fail(&breaker, at(100));
    assert_eq!(breaker.stats(at(100)).consecutive_failures, 4);
    succeed(&breaker, at(200));
    assert_eq!(breaker.stats(at(200)).consecutive_failures, 0);
}
