//! Breaker: closed (cases 1 to 10).

use std::iter::repeat_n;
use std::sync::Arc;

use stormproof::breaker::Window;
use stormproof::{CircuitBreaker, Instant, Reason, Stage, Trip, Verdict};
use stormproof_core as core;
use stormproof_sim::{Action, Reply, Scenario};

use crate::given::{F, I, S, ms, run, s, trips, with_breaker};

#[test]
fn case_01_consecutive_failures() {
    let trace = run(&with_breaker(Trip::consecutive(3), |_| ()).every(ms(1), [F, S, F, F]).every(ms(1), [S, F, F]));
    assert_eq!(trace.circuit_events().iter().filter(|name| **name == "circuit_opened").count(), 0);

    let trace = run(&with_breaker(Trip::consecutive(3), |_| ()).every(ms(1), [F, S, F, F, F, S]));
    let opened = trace.events_named("circuit_opened");
    assert_eq!(opened[0].at, Instant::ZERO + ms(4));
    assert_eq!(trace.calls[5].end.reason(), Some(Reason::Open));
}

#[test]
fn case_02_a_ratio_needs_its_minimum_and_a_success_may_open() {
    let ratio = Trip::ratio(0.5, 5, Window::Calls(10));
    let scenario = with_breaker(ratio, |_| ()).every(ms(1), [F, F, F, S]).at(ms(4), Action::Look).at(ms(5), S);
    let trace = run(&scenario.at(ms(6), S));
    assert_eq!(trace.seen(0, Stage::Breaker, "state", "closed"), 1.0);
    let opened = trace.events_named("circuit_opened");
    assert_eq!((opened.len(), opened[0].at), (1, Instant::ZERO + ms(5)));
    assert_eq!(trace.calls[5].end.reason(), Some(Reason::Open));
}

#[test]
fn case_03_slow_calls_open_whatever_their_outcome() {
    let slow = Trip::slow(0.5, s(4), 5, Window::Calls(10));
    let calls = [S.after(s(4)), F.after(s(4)), S.after(s(1)), F.after(ms(3_999))];
    let trace = run(&with_breaker(slow, |_| ()).every(s(5), calls).at(s(20), S.after(s(4))).at(s(25), S));
    assert_eq!(trace.events_named("circuit_opened")[0].at, Instant::ZERO + s(24));
    assert_eq!(trace.calls[5].end.reason(), Some(Reason::Open));
}

#[test]
fn case_04_a_count_window_slides() {
    let ten = with_breaker(Trip::ratio(0.5, 10, Window::Calls(10)), |_| ());
    let trace = run(&ten.every(ms(1), [F, F, S, S, S, S, S, S, S, S, S, S]));
    let window = |metric| trace.stat(Stage::Breaker, metric, "");
    assert_eq!((window("window_calls"), window("window_failures")), (10.0, 0.0));

    let hundred = || with_breaker(Trip::ratio(0.5, 100, Window::Calls(100)), |_| ()).every(ms(1), repeat_n(S, 10_000));
    let trace = run(&hundred().every(ms(1), [F; 49]));
    assert!(trace.circuit_events().is_empty());
    let trace = run(&hundred().every(ms(1), [F; 51]));
    assert_eq!(trace.events_named("circuit_opened")[0].at, Instant::ZERO + ms(10_049));
}

#[test]
fn case_05_a_failure_that_rolled_off_counts_no_more() {
    let within = || with_breaker(Trip::within(2, ms(200)), |_| ());
    assert!(run(&within().at(ms(0), F).at(ms(200), F)).circuit_events().is_empty());
    assert_eq!(run(&within().at(ms(0), F).at(ms(199), F)).circuit_events(), ["circuit_opened"]);
}

#[test]
fn case_06_a_refused_call_counts_as_refused_only() {
    let trace = run(&with_breaker(Trip::consecutive(1), |_| ()).every(ms(1), [F, S, F]));
    let calls = |outcome| trace.stat(Stage::Breaker, "calls", outcome);
    assert_eq!((calls("success"), calls("failure"), calls("ignored")), (0.0, 1.0, 0.0));
    assert_eq!(trace.stat(Stage::Breaker, "refused", ""), 2.0);
    assert_eq!(trace.stat(Stage::Breaker, "window_failures", ""), 1.0);
}

#[test]
fn case_07_an_ok_can_be_a_failure() {
    let trace = run(&with_breaker(Trip::consecutive(1), |_| ()).every(ms(1), [Reply::ok_but_failed("Overloaded"), S]));
    assert_eq!(trace.calls[0].end, stormproof_sim::End::Ok);
    assert_eq!(trace.calls[1].end.reason(), Some(Reason::Open));
    assert_eq!(trace.stat(Stage::Breaker, "calls", "failure"), 1.0);
}

#[test]
fn case_08_an_ignored_outcome_changes_and_resets_nothing() {
    let trace =
        run(&with_breaker(Trip::consecutive(3), |_| ()).every(ms(1), [F, F, I]).at(ms(3), Action::Look).at(ms(4), F));
    assert_eq!(trace.seen(0, Stage::Breaker, "window_failures", ""), 2.0);
    assert_eq!(trace.circuit_events(), ["circuit_opened"]);

    let ratio = Trip::ratio(0.5, 3, Window::Calls(10));
    let trace = run(&with_breaker(ratio, |_| ()).every(ms(1), [F, F, I, I]));
    assert_eq!(trace.stat(Stage::Breaker, "window_calls", ""), 2.0);
    assert!(trace.circuit_events().is_empty());
}

#[test]
fn case_09_a_time_window_forgets_on_read_as_well() {
    let ratio = Trip::ratio(0.5, 2, Window::Time(s(10)));
    let look = |at| with_breaker(ratio, |_| ()).at(ms(500), F).at(at, Action::Look);
    let failures = |scenario: &Scenario| run(scenario).seen(0, Stage::Breaker, "window_failures", "");
    assert_eq!(failures(&look(ms(10_500))), 1.0);
    assert_eq!(failures(&look(ms(11_500))), 0.0);

    let exact = |at| with_breaker(Trip::within(2, s(10)), |_| ()).at(ms(500), F).at(at, Action::Look);
    assert_eq!(failures(&exact(ms(10_499))), 1.0);
    assert_eq!(failures(&exact(ms(10_500))), 0.0);
}

#[test]
fn case_10_totals_of_many_threads_are_exact() {
    const EACH: usize = 10_000;
    let config = core::breaker::Config { trip: vec![Trip::consecutive(u32::MAX)], ..Default::default() };
    let breaker = Arc::new(core::CircuitBreaker::with_config("b", config).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..EACH {
                    let verdict = [Verdict::success(), Verdict::failure("E"), Verdict::ignored("C")][n % 3];
                    let mut permit = breaker.admit(Instant::ZERO).unwrap();
                    breaker.settle(&mut permit, Instant::ZERO, &verdict);
                }
            });
        }
    });
    let stats = breaker.stats(Instant::ZERO);
    let (third, rest) = (EACH / 3 * 4, 4);
    assert_eq!([stats.successes, stats.failures, stats.ignored], [third + rest, third, third].map(|n| n as u64));
}

#[test]
fn case_10_totals_of_many_threads_are_exact_through_the_doors() {
    const EACH: usize = 3_000;
    fn judge<'a>(result: Result<&'a (), &'a usize>) -> Verdict<'a> {
        match result {
            Ok(()) => Verdict::success(),
            Err(1) => Verdict::failure("E"),
            Err(_) => Verdict::ignored("C"),
        }
    }

    let breaker = CircuitBreaker::with_config("b", trips(Trip::consecutive(u32::MAX))).unwrap();
    let result = |n: usize| if n.is_multiple_of(3) { Ok(()) } else { Err(n % 3) };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for n in 0..EACH {
                    let _ = breaker.call_sync(|_| result(n)).classify_with(judge).run();
                }
            });
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    for n in 0..EACH {
                        let _ = breaker.call(|_| std::future::ready(result(n))).classify_with(judge).await;
                    }
                });
            });
        }
    });
    let (stats, each) = (breaker.stats(), 4 * EACH as u64 / 3);
    assert_eq!([stats.successes, stats.failures, stats.ignored], [each; 3]);
}
