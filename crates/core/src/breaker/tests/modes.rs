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
fn a_reset_ends_an_operators_mode_and_not_the_configured_one() {
    for mode in [Mode::Normal, Mode::ForcedOpen, Mode::Disabled, Mode::MetricsOnly] {
        for operators in [Mode::Normal, Mode::ForcedOpen, Mode::Disabled, Mode::MetricsOnly] {
            let breaker = breaker(|config| config.mode = mode);
            breaker.set_mode(at(1), operators);
            breaker.reset(at(2));
            assert_eq!((breaker.mode(), breaker.export(at(3)).mode), (mode, None), "{operators:?}");
        }
    }
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

/// Makes a call at each of the times, failed or not, of a breaker that only watches. The times at which a rule began to
/// hold.
fn would_open(trip: Vec<Trip>, calls: impl IntoIterator<Item = (u64, bool)>) -> Vec<(u64, &'static str)> {
    let breaker = breaker(|config| (config.mode, config.trip) = (Mode::MetricsOnly, trip));
    let mut told = Vec::new();
    for (n, failed) in calls {
        let mut permit = breaker.admit(at(n)).unwrap();
        let verdict = if failed { Verdict::failure("E") } else { Verdict::success() };
        match breaker.settle(&mut permit, at(n), &verdict) {
            Some(Change::WouldOpen(count)) => {
                assert!(count.failures >= count.threshold);
                told.push((n, count.rule));
            }
            Some(Change::Moved(transition)) => panic!("{transition:?}"),
            None => {}
        }
    }
    assert_eq!((breaker.stats(at(0)).would_open, breaker.history().len()), (told.len() as u64, 0));
    told
}

#[test]
fn metrics_only_says_each_time_a_rule_begins_to_hold() {
    let failures = |from: u64, to: u64| (from..to).map(|n| (n, true));
    let consecutive = Trip::consecutive(3);
    let calls = failures(0, 10).chain([(10, false)]).chain(failures(11, 20));
    assert_eq!(would_open(vec![consecutive], calls), [(2, "consecutive"), (13, "consecutive")]);
    let within = Trip::within(2, ms(100));
    assert_eq!(
        would_open(vec![within], [0, 50, 99, 1_000, 1_001].map(|n| (n, true))),
        [(50, "within"), (1_001, "within")]
    );
    let ratio = Trip::ratio(0.5, 2, Window::Calls(4));
    let calls = failures(0, 3).chain((3..9).map(|n| (n, false))).chain(failures(9, 12));
    assert_eq!(would_open(vec![ratio], calls), [(1, "ratio"), (10, "ratio")]);
    let cumulative = Trip::cumulative(2);
    let calls = failures(0, 2).chain([(2, false)]).chain(failures(3, 6));
    assert_eq!(would_open(vec![cumulative], calls), [(1, "cumulative")], "it holds until a reset");
}

#[test]
fn metrics_only_says_so_of_each_rule() {
    let rules = vec![Trip::consecutive(2), Trip::cumulative(2), Trip::within(5, ms(500))];
    let told = would_open(rules, (0..9).map(|n| (n, true)));
    assert_eq!(told, [(1, "consecutive"), (2, "cumulative"), (4, "within")]);
}

#[test]
fn what_held_before_a_restart_was_said_before_it() {
    let breaker = breaker(|config| config.mode = Mode::MetricsOnly);
    let failed = |breaker: &CircuitBreaker| {
        let mut permit = breaker.admit(at(0)).unwrap();
        breaker.settle(&mut permit, at(0), &Verdict::failure("E")).is_some()
    };
    assert_eq!([(); 4].map(|()| failed(&breaker)), [false, false, true, false]);
    let restarted = super::breaker(|config| config.mode = Mode::MetricsOnly);
    restarted.import(at(0), &breaker.export(at(0)));
    assert_eq!((failed(&restarted), restarted.stats(at(0)).would_open), (false, 1));
}

#[test]
fn an_update_keeps_the_state() {
    let breaker = breaker(|_| ());
    trip(&breaker, at(0));
    let config = Config { half_open_max_calls: 1, open_duration: ms(5), ..breaker.config() };
    breaker.update(at(0), config.clone()).unwrap();
    assert_eq!((refusal(&breaker, at(99)), breaker.config()), ((Reason::Open, ms(1)), config));
    let _probe = breaker.admit(at(100)).unwrap();
    assert_eq!(refusal(&breaker, at(100)).0, Reason::HalfOpenLimit);
    let before = breaker.config();
    assert_eq!(breaker.update(at(0), Config { success_threshold: 0, ..Config::default() }).unwrap_err().len(), 1);
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
        breaker.update(at(0), Config { trip: vec![after], ..config }).unwrap();
        assert_eq!(breaker.stats(at(1)).count.failures, 3, "{after:?}");
        assert_eq!(calls(1).unwrap().cause, Cause::Tripped(after));
    }
}

#[test]
fn a_rule_that_counts_something_else_starts_anew() {
    let breaker = breaker(|_| ());
    assert_eq!((fail(&breaker, at(0)), fail(&breaker, at(0))), (None, None));
    breaker.update(at(0), Config { trip: vec![Trip::cumulative(2)], ..breaker.config() }).unwrap();
    assert_eq!(fail(&breaker, at(0)), None);
    assert!(fail(&breaker, at(0)).is_some());
}

#[test]
fn a_configured_mode_is_in_force_until_an_operator_says_otherwise_and_again_when_it_changes() {
    let breaker = breaker(|_| ());
    let update = |mode| breaker.update(at(1), Config { mode, ..breaker.config() }).unwrap();
    let opened = update(Mode::ForcedOpen).unwrap();
    assert_eq!((opened.to, opened.cause, breaker.mode()), (State::Open, Cause::Operator, Mode::ForcedOpen));
    assert!(breaker.set_mode(at(2), Mode::Normal).is_some());
    assert_eq!(update(Mode::ForcedOpen), None);
    assert_eq!(breaker.mode(), Mode::Normal, "the operator's word is later than the configuration");
    assert_eq!(update(Mode::MetricsOnly), None);
    assert_eq!(breaker.mode(), Mode::MetricsOnly, "and what the configuration says anew is later still");
    assert!(breaker.set_mode(at(3), Mode::ForcedOpen).is_some());
    let config = Config { success_threshold: 7, ..breaker.config() };
    assert_eq!(breaker.update(at(4), config).unwrap(), None);
    assert_eq!(breaker.mode(), Mode::ForcedOpen);
    assert_eq!(update(Mode::Normal).unwrap().to, State::Closed);
}

#[test]
fn saved_state_beats_neither_the_configuration_nor_what_has_happened_since() {
    use Mode::{Disabled, ForcedOpen, MetricsOnly, Normal};
    let with = |mode| breaker(|config| config.mode = mode);
    let saved = |configured, operator: Option<Mode>| {
        let before = with(configured);
        operator.map(|mode| before.set_mode(at(1), mode));
        before.export(at(2))
    };
    let restored = |configured, saved: &super::super::Saved| {
        let after = with(configured);
        after.import(at(0), saved);
        after.mode()
    };
    for configured in [Normal, ForcedOpen, Disabled, MetricsOnly] {
        for then in [Normal, ForcedOpen, Disabled, MetricsOnly] {
            assert_eq!(restored(configured, &saved(then, None)), configured, "nobody said otherwise");
            for operator in [Normal, ForcedOpen, Disabled, MetricsOnly] {
                let expected = if configured == then { operator } else { configured };
                assert_eq!(restored(configured, &saved(then, Some(operator))), expected);
            }
        }
    }

    let (open, closed) = (breaker(|_| ()), breaker(|_| ()));
    trip(&open, at(0));
    let (saved_open, saved_closed) = (open.export(at(0)), closed.export(at(0)));
    open.import(at(1), &saved_closed);
    assert_eq!(open.state(at(1)), State::Open, "it opened after the other process had ended");
    let mut permit = closed.admit(at(1)).unwrap();
    closed.settle(&mut permit, at(1), &Verdict::success());
    assert_eq!(closed.import(at(1), &saved_open), None);
    assert_eq!((closed.state(at(1)), closed.stats(at(1)).opened), (State::Closed, 1));
    let fresh = breaker(|_| ());
    assert!(fresh.import(at(1), &saved_open).is_some());
}
