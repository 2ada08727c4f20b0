//! What opens a circuit, to the last failure, and what was counted before a restart.

use super::*;

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
fn a_success_never_trips_a_rule_of_failures() {
    for trip in [Trip::cumulative as fn(u32) -> Trip, |n| Trip::within(n, ms(500))] {
        let breaker = breaker(|config| config.trip = vec![trip(3)]);
        assert_eq!((fail(&breaker, at(0)), succeed(&breaker, at(0)), fail(&breaker, at(0))), (None, None, None));
        breaker.update(at(0), Config { trip: vec![trip(1)], ..breaker.config() }).unwrap();
        assert_eq!((succeed(&breaker, at(0)), succeed(&breaker, at(0))), (None, None));
        assert!(fail(&breaker, at(0)).is_some());
    }
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
        let window = breaker.export(at(0)).rules[0];
        assert_eq!((window.calls, window.failures, window.slow), (expected.0, expected.1, expected.0));
    }
}

#[test]
fn the_time_of_the_last_failure_outlives_the_process() {
    let before = breaker(|_| ());
    trip(&before, at(10));
    let saved = before.export(at(15));
    assert_eq!(saved.last_failure_ago, Some(ms(5)));
    let after = breaker(|_| ());
    let opened = moved(after.import(at(1), &saved)).unwrap();
    assert_eq!((opened.last_failure, opened.last_failure_ago), (None, Some(ms(5))));
    let ago = |now| after.stats(at(now)).last_failure_ago;
    assert_eq!((ago(1), ago(4)), (Some(ms(5)), Some(ms(8))));
    assert_eq!(after.export(at(4)).last_failure_ago, ago(4), "the process after the next knows it, too");
    after.reset(at(4));
    fail(&after, at(6));
    assert_eq!(ago(7), Some(ms(1)));
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

/// Failures and the threshold, as pages, logs and metrics all have them.
fn count(breaker: &CircuitBreaker, now: Instant) -> (&'static str, u32, u32) {
    let Count { rule, failures, threshold, .. } = breaker.stats(now).count;
    (rule, failures, threshold)
}

#[test]
fn what_opened_a_circuit_counts_until_it_closes_whatever_the_rule() {
    let time = Window::Time(ms(50));
    let rules = [
        Trip::consecutive(4),
        Trip::cumulative(4),
        Trip::within(4, ms(50)),
        Trip::ratio(0.5, 8, Window::Calls(8)),
        Trip::ratio(0.5, 8, time),
        Trip::slow(0.5, ms(10), 8, time),
    ];
    for rule in rules {
        let breaker = breaker(|config| (config.trip, config.half_open_timeout) = (vec![rule], Some(ms(500))));
        let slow = matches!(rule, Trip::Slow { .. });
        let mut opened = None;
        for n in 0..8 {
            let mut permit = breaker.admit(at(0)).unwrap();
            let verdict = if slow || n < 4 { Verdict::success() } else { Verdict::failure("E") };
            let until = if slow && n >= 4 { at(10) } else { at(0) };
            opened = moved(breaker.settle(&mut permit, until, &verdict));
        }
        let name = rule.as_str();
        assert_eq!(opened.unwrap().count, breaker.stats(at(10)).count, "{name}");
        // Longer than any window.
        assert_eq!(count(&breaker, at(99)), (name, 4, 4), "open");
        let mut first = breaker.admit(at(110)).unwrap();
        let half_open = breaker.transition(&first).unwrap();
        assert_eq!((half_open.count.failures, half_open.last_failure), (4, (!slow).then(|| at(0))), "{name}");
        let mut second = breaker.admit(at(110)).unwrap();
        assert_eq!(breaker.settle(&mut first, at(110), &Verdict::success()), None);
        assert_eq!(count(&breaker, at(110)), (name, 4, 4), "a success closes or counts nothing by itself");
        let reopened = moved(breaker.settle(&mut second, at(110), &Verdict::failure("E"))).unwrap();
        assert_eq!((reopened.count.failures, reopened.last_failure), (5, Some(at(110))), "{name}");
        let saved = breaker.export(at(150));
        succeed(&breaker, at(210));
        let closed = succeed(&breaker, at(210)).unwrap();
        assert_eq!((closed.count.failures, closed.last_failure), (0, Some(at(110))), "{name}");
        assert_eq!(count(&breaker, at(210)), (name, 0, closed.count.threshold));
        let next = CircuitBreaker::with_config("next", breaker.config()).unwrap();
        next.import(at(0), &saved);
        assert_eq!((next.state(at(0)), count(&next, at(40))), (State::Open, (name, 5, 4)), "in the next process");
    }
}

#[test]
fn of_several_rules_the_one_that_is_nearest_counts_and_the_one_that_tripped() {
    let breaker = breaker(|config| {
        config.trip = vec![Trip::ratio(0.5, 10, Window::Calls(20)), Trip::consecutive(6), Trip::cumulative(20)];
    });
    fail(&breaker, at(0));
    assert_eq!(count(&breaker, at(0)), ("ratio", 1, 5), "one of the five that open ten calls");
    (0..4).for_each(|_| _ = fail(&breaker, at(0)));
    assert_eq!((count(&breaker, at(0)), breaker.state(at(0))), (("ratio", 5, 5), State::Closed), "too few calls");
    let opened = fail(&breaker, at(0)).unwrap();
    assert_eq!((opened.cause.as_str(), opened.count.rule, opened.count.failures), ("tripped", "consecutive", 6));
    breaker.reset(at(0));
    (0..10).for_each(|_| _ = succeed(&breaker, at(0)));
    (0..4).for_each(|_| _ = fail(&breaker, at(0)));
    assert_eq!(count(&breaker, at(0)), ("consecutive", 4, 6), "four of fourteen calls are less of a half");
}
