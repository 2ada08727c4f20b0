//! Circuits that are forced open, switched off, or only watched, and other settings while they run.

use super::*;

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
    assert_eq!((stats.successes, stats.failures, stats.ignored, stats.count.calls), (0, 0, 0, 0));
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
    let count = Count { rule: "consecutive", calls: 3, failures: 3, threshold: 3 };
    assert_eq!(changes, [Change::WouldOpen(count)]);
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
fn disabled_does_not_count_a_release() {
    let breaker = breaker(|config| config.mode = Mode::Disabled);
    breaker.release(&mut breaker.admit(at(0)).unwrap());
    assert_eq!(breaker.stats(at(0)).ignored, 0);
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
        assert_eq!(breaker.stats(at(1)).count.failures, 3, "{after:?}");
        assert_eq!(calls(1).unwrap().cause, Cause::Tripped(after));
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
