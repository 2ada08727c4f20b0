//! The breaker alone.

use super::*;
use crate::breaker::Window;
use crate::window::Tally;

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
    assert_eq!(opened.counts, Tally { calls: 3, failures: 3, slow: 0 });
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
    assert_eq!(Some(breaker.history()[1]), probe.transition());
    assert_eq!(breaker.admit(at(101)).unwrap().transition(), None);
}

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
fn a_probe_that_never_returns_loses_its_place_and_its_say() {
    let breaker = breaker(|config| (config.half_open_max_calls, config.half_open_timeout) = (1, Some(ms(30))));
    trip(&breaker, at(0));
    let mut lost = breaker.admit(at(100)).unwrap();
    assert!(breaker.admit(at(129)).is_err());
    let mut present = breaker.admit(at(130)).unwrap();
    assert_eq!(breaker.settle(&mut lost, at(131), &Verdict::failure("E")), None);
    assert_eq!((breaker.state(at(131)), breaker.stats(at(131)).stale), (State::HalfOpen, 1));
    breaker.release(&mut present);
    assert_eq!(breaker.stats(at(131)).half_open_calls, 0);
}

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
    assert_eq!((banned.cause, banned.open_for, banned.counts.failures), (Cause::Banned, ms(7_000), 1));
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
fn forced_open_stays_past_every_wait() {
    let breaker = breaker(|_| ());
    let mut early = breaker.admit(at(0)).unwrap();
    let forced = breaker.set_mode(at(1), Mode::ForcedOpen).unwrap();
    assert_eq!((forced.cause, forced.to, forced.open_for), (Cause::Operator, State::Open, Duration::MAX));
    assert_eq!(breaker.set_mode(at(2), Mode::ForcedOpen), None);
    assert_eq!(breaker.settle(&mut early, at(3), &Verdict::failure("E")), None);
    assert_eq!(refusal(&breaker, Instant::FAR_FUTURE), (Reason::ForcedOpen, NO_WAIT));
    assert!(!breaker.is_available(at(4)) && breaker.remaining(at(4)) == NO_WAIT);
    assert_eq!(breaker.reset(at(5)).unwrap().to, State::Closed);
    assert_eq!((breaker.reset(at(6)), breaker.mode()), (None, Mode::Normal));
}

#[test]
fn disabled_passes_all_and_records_nothing() {
    let breaker = breaker(|config| config.mode = Mode::Disabled);
    for _ in 0..10 {
        assert_eq!(fail(&breaker, at(0)), None);
        succeed(&breaker, at(0));
    }
    let stats = breaker.stats(at(0));
    assert_eq!((stats.successes, stats.failures, stats.ignored, stats.window), (0, 0, 0, Tally::default()));
}

#[test]
fn metrics_only_passes_all_records_and_says_once_that_it_would_have_opened() {
    let breaker = breaker(|config| config.mode = Mode::MetricsOnly);
    let changes: Vec<_> = (0..10)
        .filter_map(|n| {
            let mut permit = breaker.admit(at(n)).unwrap();
            breaker.settle(&mut permit, at(n), &Verdict::failure("E"))
        })
        .collect();
    let counts = Tally { calls: 3, failures: 3, slow: 0 };
    assert_eq!(changes, [Change::WouldOpen(Trip::consecutive(3), counts)]);
    assert_eq!((breaker.stats(at(10)).failures, breaker.state(at(10))), (10, State::Closed));
    assert!(breaker.history().is_empty());
}

#[test]
fn an_update_keeps_the_state() {
    let breaker = breaker(|_| ());
    trip(&breaker, at(0));
    let config = Config { half_open_max_calls: 1, open_duration: ms(5), ..breaker.config() };
    breaker.update(config.clone()).unwrap();
    assert_eq!((refusal(&breaker, at(99)), breaker.config()), ((Reason::Open, ms(1)), config));
    let _probe = breaker.admit(at(100)).unwrap();
    assert_eq!(refusal(&breaker, at(100)).0, Reason::HalfOpenLimit);
    let before = breaker.config();
    assert_eq!(breaker.update(Config { success_threshold: 0, ..Config::default() }).unwrap_err().len(), 1);
    assert_eq!(breaker.config(), before);
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
fn a_question_of_half_open_that_is_never_answered_lapses() {
    let breaker = breaker(|config| {
        (config.half_open_max_calls, config.half_open_timeout, config.success_threshold) = (1, Some(ms(30)), 1);
    });
    trip(&breaker, at(0));
    assert!(breaker.allow_request(at(100)).is_ok());
    assert!(breaker.allow_request(at(129)).is_err());
    assert!(breaker.allow_request(at(130)).is_ok());
    let closed = moved(breaker.record(at(131), &Verdict::success()));
    assert_eq!(closed.unwrap().to, State::Closed, "the answer is for the second question");
}

#[test]
fn extremes_neither_panic_nor_wrap() {
    let breaker = breaker(|config| {
        config.trip = vec![Trip::within(1, Duration::MAX), Trip::ratio(1.0, 1, Window::Time(Duration::MAX))];
        (config.open_duration, config.open_factor, config.half_open_max_calls) = (Duration::MAX, f64::MAX, u32::MAX);
    });
    let end = Instant::FAR_FUTURE;
    assert_eq!(trip(&breaker, Instant::from_nanos(u64::MAX - 1)).open_for, Duration::MAX);
    assert_eq!(refusal(&breaker, Instant::ZERO).1, end.since(Instant::ZERO));
    for _ in 0..3 {
        assert!(fail(&breaker, end).is_some());
    }
    assert_eq!(succeed(&breaker, end), None);
    assert_eq!(succeed(&breaker, Instant::ZERO).unwrap().to, State::Closed);
}

#[test]
fn a_ratio_that_is_reached_exactly_opens() {
    for percent in 1..=100_u32 {
        let breaker = breaker(|config| {
            config.trip = vec![Trip::ratio(f64::from(percent) / 100.0, 100, Window::Calls(100))];
        });
        for _ in percent..100 {
            assert_eq!(succeed(&breaker, at(0)), None);
        }
        for _ in 1..percent {
            assert_eq!(fail(&breaker, at(0)), None, "{percent} %");
        }
        assert!(fail(&breaker, at(0)).is_some(), "{percent} %");
    }
}

#[test]
fn the_ignore_list_is_about_failures() {
    for trip in [Trip::consecutive(3), Trip::ratio(0.5, 10, Window::Calls(10))] {
        let breaker = breaker(|config| (config.trip, config.ignore) = (vec![trip], vec!["Client".into()]));
        call(&breaker, at(0), Verdict { kind: "Client", ..Verdict::success() });
        assert_eq!(breaker.stats(at(0)).successes, 1, "{trip:?}");
    }
    let mistakes = Config { ignore: vec![String::new()], ..Config::default() }.validate();
    assert_eq!(mistakes[0].field, "ignore");
}

#[test]
fn disabled_does_not_count_a_release() {
    let breaker = breaker(|config| config.mode = Mode::Disabled);
    breaker.release(&mut breaker.admit(at(0)).unwrap());
    assert_eq!(breaker.stats(at(0)).ignored, 0);
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
fn failures_in_a_row_go_on_through_the_probes() {
    let breaker = breaker(|_| ());
    trip(&breaker, at(0));
    fail(&breaker, at(100));
    assert_eq!(breaker.stats(at(100)).consecutive_failures, 4);
    succeed(&breaker, at(200));
    assert_eq!(breaker.stats(at(200)).consecutive_failures, 0);
}

#[test]
fn only_a_failure_can_name_the_wait() {
    let breaker = breaker(|config| config.trip.push(Trip::slow(0.5, ms(10), 5, Window::Calls(5))));
    trip(&breaker, at(0));
    let mut probe = breaker.admit(at(100)).unwrap();
    let reopened = moved(breaker.settle(&mut probe, at(110), &Verdict::success().open_for(ms(7)))).unwrap();
    assert_eq!((reopened.cause, reopened.open_for), (Cause::ProbeFailed, ms(100)));
}

#[test]
fn an_update_keeps_the_counts() {
    let time = Window::Time(ms(1_000));
    let rules = [
        (Trip::consecutive(9), Trip::consecutive(4)),
        (Trip::cumulative(9), Trip::cumulative(4)),
        (Trip::within(9, ms(500)), Trip::within(4, ms(500))),
        (Trip::ratio(1.0, 9, Window::Calls(9)), Trip::ratio(0.5, 4, Window::Calls(9))),
        (Trip::ratio(1.0, 9, time), Trip::ratio(0.5, 4, time)),
        (Trip::slow(1.0, ms(1), 9, time), Trip::slow(1.0, ms(1), 4, time)),
    ];
    for (before, after) in rules {
        let breaker = breaker(|config| config.trip = vec![before, Trip::cumulative(99)]);
        let calls = |n| {
            (0..n).find_map(|_| {
                let mut permit = breaker.admit(at(0)).unwrap();
                moved(breaker.settle(&mut permit, at(1), &Verdict::failure("E")))
            })
        };
        assert_eq!(calls(3), None);
        let config = breaker.config();
        breaker.update(Config { trip: vec![after], ..config }).unwrap();
        assert_eq!(breaker.stats(at(1)).window.failures, 3, "{after:?}");
        assert_eq!(calls(1).unwrap().cause, Cause::Tripped(after));
    }
}

#[test]
fn a_success_never_trips_a_rule_of_failures() {
    for trip in [Trip::cumulative as fn(u32) -> Trip, |n| Trip::within(n, ms(500))] {
        let breaker = breaker(|config| config.trip = vec![trip(3)]);
        assert_eq!((fail(&breaker, at(0)), succeed(&breaker, at(0)), fail(&breaker, at(0))), (None, None, None));
        breaker.update(Config { trip: vec![trip(1)], ..breaker.config() }).unwrap();
        assert_eq!((succeed(&breaker, at(0)), succeed(&breaker, at(0))), (None, None));
        assert!(fail(&breaker, at(0)).is_some());
    }
}

#[test]
fn a_rule_that_counts_something_else_starts_anew() {
    let breaker = breaker(|_| ());
    assert_eq!((fail(&breaker, at(0)), fail(&breaker, at(0))), (None, None));
    breaker.update(Config { trip: vec![Trip::cumulative(2)], ..breaker.config() }).unwrap();
    assert_eq!(fail(&breaker, at(0)), None);
    assert!(fail(&breaker, at(0)).is_some());
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

#[test]
fn the_failures_a_rule_needs_are_the_fewest_that_open() {
    let ratio = |ratio, calls| Trip::ratio(ratio, calls, Window::Calls(1_000)).failures_needed();
    assert_eq!([ratio(0.5, 20), ratio(0.55, 100), ratio(0.01, 5), ratio(1.0, 7), ratio(0.34, 3)], [10, 55, 1, 7, 2]);
    assert_eq!(ratio(1.0, u32::MAX), u32::MAX);
    assert_eq!([Trip::consecutive(5), Trip::cumulative(9)].map(|trip| trip.failures_needed()), [5, 9]);
}

#[test]
fn a_saved_count_larger_than_the_window_fills_it_once() {
    let rule = Trip::ratio(0.9, 10, Window::Calls(10));
    let breaker = breaker(|config| config.trip = vec![rule]);
    for (calls, failures, expected) in [(6, 4, (6, 4)), (u32::MAX, 3, (10, 3)), (2, u32::MAX, (2, 2))] {
        let rules = vec![Counted { rule, calls, failures, slow: u32::MAX }];
        breaker.import(at(0), &Saved { rules, ..Saved::default() });
        let window = breaker.stats(at(0)).window;
        assert_eq!((window.calls, window.failures, window.slow), (expected.0, expected.1, expected.0));
    }
}

#[test]
fn whatever_was_saved_is_taken_over_within_bounds() {
    let rules = vec![Trip::consecutive(3), Trip::within(3, ms(50)), Trip::ratio(0.5, 2, Window::Time(ms(100)))];
    let counted = |rule| Counted { rule, calls: u32::MAX, failures: u32::MAX, slow: u32::MAX };
    for state in [State::Closed, State::Open, State::HalfOpen] {
        let breaker = breaker(|config| config.trip = rules.clone());
        let saved = Saved {
            state,
            remaining: Duration::MAX,
            opened_in_a_row: u32::MAX,
            generation: u64::MAX,
            consecutive_failures: u32::MAX,
            rules: rules.iter().copied().map(counted).collect(),
            successes: u64::MAX,
            failures: u64::MAX,
            refused: u64::MAX,
            stale: u64::MAX,
            opened: u64::MAX,
            last_cause: Some("é".repeat(1_000).into()),
            ..Saved::default()
        };
        breaker.import(at(0), &saved);
        breaker.import(at(0), &saved);
        assert_eq!(breaker.state(at(0)), state);
        breaker.set_mode(at(0), Mode::ForcedOpen);
        breaker.reset(at(0));
        assert!(trip(&breaker, at(1)).seq > saved::MOST_SAVED);
        assert!(breaker.last_cause().is_some_and(|cause| cause.len() <= 128));
    }
}
