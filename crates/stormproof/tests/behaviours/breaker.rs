//! T1 to T34: the breaker's state machine.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stormproof::breaker::{self, State, Window};
use stormproof::{CircuitBreaker, Clock, Error, Instant, Policy, Reason, Stage, Trip, Verdict};
use stormproof_sim::{Action, Call, End, Reply, Scenario, Trace};

use crate::given::{F, I, S, ms, run, s, trips, with_breaker};

fn opens_after(failures: u32) -> Scenario {
    with_breaker(Trip::consecutive(failures), |_| ())
}

/// A circuit that opened at 0 and lets probes through from second 60.
fn half_open(change: impl FnOnce(&mut breaker::Config)) -> Scenario {
    with_breaker(Trip::consecutive(1), change).at(s(0), F)
}

fn calls(trace: &Trace, outcome: &str) -> f64 {
    trace.stat(Stage::Breaker, "calls", outcome)
}

fn is(trace: &Trace, state: &str) -> bool {
    trace.stat(Stage::Breaker, "state", state) == 1.0
}

fn saw(trace: &Trace, look: usize, state: &str) -> bool {
    trace.seen(look, Stage::Breaker, "state", state) == 1.0
}

#[test]
fn t_01_a_new_breaker_is_closed_and_empty() {
    let breaker = CircuitBreaker::new("b");
    assert_eq!((breaker.state(), breaker.stats().failures), (State::Closed, 0));
    assert_eq!(breaker.stats().success_rate(), 1.0);
}

#[test]
fn t_02_four_of_five_failures_leave_it_closed() {
    assert!(is(&run(&opens_after(5).every(ms(1), [F; 4])), "closed"));
}

#[test]
fn t_03_the_nth_failure_opens_exactly_then() {
    let trace = run(&opens_after(5).every(ms(1), [F; 5]));
    let opened = trace.events_named("circuit_opened");
    assert_eq!((opened.len(), opened[0].at), (1, Instant::ZERO + ms(4)));
}

#[test]
fn t_04_an_open_circuit_does_not_run_the_function() {
    let trace = run(&opens_after(1).every(ms(1), [F, S]));
    assert_eq!(trace.calls[1].attempts, []);
    assert_eq!(trace.calls[1].end.reason(), Some(Reason::Open));
}

#[test]
fn t_05_a_refusal_carries_name_state_and_the_remaining_wait() {
    let trace = run(&opens_after(1).at(s(0), F).at(s(15), S));
    let End::Refused { stage, name, reason, retry_after, .. } = &trace.calls[1].end else { panic!("admitted") };
    assert_eq!((*stage, name.as_str(), *reason, *retry_after), (Stage::Breaker, "p", Reason::Open, s(45)));
}

#[test]
fn t_06_after_the_wait_the_next_call_is_a_probe() {
    let trace = run(&half_open(|_| ()).at(s(60), S));
    assert_eq!(trace.calls[1].end, End::Ok);
    assert!(is(&trace, "half_open"));
}

#[test]
fn t_07_reading_the_state_after_the_wait_says_half_open_and_moves_nothing() {
    let trace = run(&half_open(|_| ()).at(ms(59_999), Action::Look).at(s(60), Action::Look));
    assert!(saw(&trace, 0, "open") && saw(&trace, 1, "half_open"));
    assert_eq!(trace.circuit_events(), ["circuit_opened"]);
}

#[test]
fn t_08_enough_successes_close_it_with_counters_at_zero() {
    for threshold in [1, 2, 3] {
        let scenario = half_open(|breaker| breaker.success_threshold = threshold);
        let trace = run(&scenario.all_at(s(60), vec![S; threshold as usize]));
        assert!(is(&trace, "closed"), "{threshold}");
        assert_eq!(trace.stat(Stage::Breaker, "window_failures", ""), 0.0);
    }
}

#[test]
fn t_09_one_success_of_two_leaves_it_half_open() {
    assert!(is(&run(&half_open(|_| ()).at(s(60), S)), "half_open"));
}

#[test]
fn t_10_a_failed_probe_opens_it_and_the_wait_begins_anew() {
    let trace = run(&half_open(|_| ()).at(s(70), F).at(s(71), S));
    assert_eq!(trace.calls[2].end.retry_after(), Some(s(59)));
}

#[test]
fn t_11_a_failure_after_a_success_opens_it() {
    assert!(is(&run(&half_open(|_| ()).at(s(60), S).at(s(61), F)), "open"));
}

#[test]
fn t_12_the_third_of_two_probes_is_refused_and_a_question_takes_no_place() {
    let scenario = half_open(|breaker| breaker.half_open_max_calls = 2);
    let trace = run(&scenario.all_at(s(60), [S.after(s(1)); 3]));
    assert_eq!(trace.reasons(), [None, None, None, Some(Reason::HalfOpenLimit)]);

    let clock = Clock::manual();
    let breaker = CircuitBreaker::with_clock("b", trips(Trip::consecutive(1)), &clock).unwrap();
    breaker.allow_request().unwrap();
    breaker.record_failure("E");
    clock.advance(s(60));
    assert!((0..10).all(|_| breaker.is_available()));
    assert_eq!([(); 4].map(|()| breaker.allow_request().is_ok()), [true, true, true, false]);
    assert!(!breaker.is_available());
}

#[test]
fn t_13_two_probes_one_after_another_close_it_at_a_limit_of_one() {
    let trace = run(&half_open(|breaker| breaker.half_open_max_calls = 1).at(s(60), S).at(s(61), S));
    assert!(is(&trace, "closed"));
}

#[test]
fn t_14_a_cancelled_probe_gives_its_place_back() {
    let scenario = half_open(|breaker| breaker.half_open_max_calls = 1);
    let trace = run(&scenario.at(s(60), Call::of([Reply::hang()]).cancel_at(s(61))).at(s(62), S));
    assert_eq!(trace.calls[2].end, End::Ok);
}

#[test]
fn t_15_a_probe_that_is_ignored_gives_its_place_back_and_counts_neither_way() {
    let scenario = half_open(|breaker| breaker.half_open_max_calls = 1);
    let trace = run(&scenario.at(s(60), I).at(s(61), Action::Look).at(s(62), S));
    assert!(saw(&trace, 0, "half_open"));
    assert_eq!(trace.calls[2].end, End::Ok);
    assert_eq!((calls(&trace, "success"), calls(&trace, "ignored")), (1.0, 1.0));
}

#[test]
fn t_16_a_late_success_while_open_is_ignored() {
    let trace = run(&opens_after(1).at(s(0), S.after(s(5))).at(s(1), F).at(s(6), S));
    assert_eq!(trace.calls[2].end.retry_after(), Some(s(55)));
    assert_eq!(trace.stat(Stage::Breaker, "stale", ""), 1.0);

    let manual = opens_after(1).at(s(0), Action::Ask).at(s(1), F).at(s(2), Action::Record(S)).at(s(3), S);
    assert_eq!(run(&manual).calls[1].end.retry_after(), Some(s(58)));
}

#[test]
fn t_17_a_late_failure_while_open_does_not_extend_the_wait() {
    let trace = run(&opens_after(1).at(s(0), F.after(s(5))).at(s(1), F).at(s(6), S));
    assert_eq!(trace.calls[2].end.retry_after(), Some(s(55)));
    assert_eq!(trace.circuit_events(), ["circuit_opened"]);
}

#[test]
fn t_18_a_success_resets_consecutive_failures_but_not_cumulative_ones() {
    let outcomes = [F, F, S, F];
    assert!(is(&run(&opens_after(3).every(ms(1), outcomes)), "closed"));
    assert!(is(&run(&with_breaker(Trip::cumulative(3), |_| ()).every(ms(1), outcomes)), "open"));
}

#[test]
fn t_19_an_excluded_kind_and_its_particular_cases_are_not_counted() {
    let excluding = || with_breaker(Trip::consecutive(1), |breaker| breaker.ignore = vec!["ValueError".into()]);
    let excluded = ["ValueError", "ValueError.UnicodeError"].map(Reply::fail);
    let trace = run(&excluding().every(ms(1), excluded));
    assert_eq!((calls(&trace, "failure"), calls(&trace, "ignored")), (0.0, 2.0));
    assert!(is(&run(&excluding().at(s(0), Reply::fail("CustomError"))), "open"));
}

#[test]
fn t_20_a_cancelled_call_counts_neither_way() {
    let trace = run(&opens_after(1).at(s(0), Call::of([Reply::hang()]).cancel_at(s(1))));
    assert_eq!(["success", "failure", "ignored"].map(|outcome| calls(&trace, outcome)), [0.0, 0.0, 1.0]);
}

#[test]
fn t_21_concurrent_failures_open_it_once() {
    let trace = run(&opens_after(5).all_at(s(0), [F.after(s(1)); 10]));
    assert_eq!(trace.circuit_events(), ["circuit_opened"]);
    assert!(calls(&trace, "failure") >= 5.0);
}

#[test]
fn t_22_alternating_outcomes_never_open() {
    assert!(is(&run(&opens_after(2).every(ms(1), [F, S].repeat(50))), "closed"));
}

#[test]
fn t_23_a_ratio_opens_at_exactly_its_threshold_and_old_results_are_gone() {
    let ratio = || with_breaker(Trip::ratio(0.5, 4, Window::Time(s(60))), |_| ());
    assert!(is(&run(&ratio().every(ms(1), [S, S, F, F])), "open"));
    assert!(is(&run(&ratio().every(ms(1), [S, S, S, F, F])), "closed"));
    assert!(is(&run(&ratio().every(ms(1), [F, F, S]).at(s(70), F)), "closed"));
}

#[test]
fn t_24_failures_spread_beyond_the_window_do_not_open() {
    let within = || with_breaker(Trip::within(5, s(120)), |_| ());
    assert!(is(&run(&within().every(s(30), [F; 5])), "closed"));
    assert!(is(&run(&within().every(s(29), [F; 5])), "open"));
}

#[test]
fn t_25_reset_closes_and_forgets_and_is_silent_when_closed() {
    let trace = run(&opens_after(2).every(ms(1), [F, F]).at(s(1), Action::Reset).at(s(2), F).at(s(3), Action::Look));
    assert_eq!(trace.circuit_events(), ["circuit_opened", "circuit_closed"]);
    assert!(saw(&trace, 0, "closed"));
    assert_eq!(trace.seen(0, Stage::Breaker, "window_failures", ""), 1.0);
    assert_eq!(trace.seen(0, Stage::Breaker, "open_remaining_seconds", ""), 0.0);

    assert_eq!(run(&opens_after(2).at(s(0), F).at(s(1), Action::Reset)).circuit_events().len(), 0);
}

#[tokio::test]
async fn t_26_the_original_error_and_value_pass_unchanged() {
    let breaker = CircuitBreaker::new("b");
    let error = std::io::Error::other("disk full");
    let mut once = Some(error);
    let failed = breaker.call(|_| std::future::ready(Err::<(), _>(once.take().unwrap()))).await.unwrap_err();
    assert_eq!(failed.into_last().unwrap().to_string(), "disk full");
    let sum = |a: u32, b: u32| async move { Ok::<_, ()>(a + b) };
    assert_eq!(breaker.call(|_| sum(2, 3)).await, Ok(5));
}

/// A block under a breaker: taken on entry, settled or dropped at the end.
#[tokio::test]
async fn t_28_a_block_counts_as_it_is_settled_and_is_checked_on_entry() {
    let breaker = CircuitBreaker::with_config("b", trips(Trip::consecutive(1))).unwrap();
    breaker.policy().admit().await.unwrap().settle(&Verdict::success());
    drop(breaker.policy().admit().await.unwrap());
    breaker.policy().admit().await.unwrap().settle(&Verdict::failure("E"));
    let stats = breaker.stats();
    assert_eq!((stats.successes, stats.ignored, stats.failures), (1, 1, 1));
    assert!(matches!(breaker.policy().admit().await, Err(Error::Refused { .. })));
}

#[test]
fn t_29_every_listener_hears_of_open_half_open_and_closed_though_one_panics() {
    let clock = Clock::manual();
    let breaker = CircuitBreaker::with_clock("b", trips(Trip::consecutive(1)), &clock).unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let noted = heard.clone();
    breaker.on_state_change(|_, _| panic!("as the case says"));
    breaker.on_state_change(move |old, new| noted.lock().unwrap().push((old.as_str(), new.as_str())));
    breaker.allow_request().unwrap();
    breaker.record_failure("E");
    clock.advance(s(60));
    for _ in 0..2 {
        breaker.allow_request().unwrap();
        breaker.record_success();
    }
    let expected = [("closed", "open"), ("open", "half_open"), ("half_open", "closed")];
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[test]
fn t_30_a_transition_to_the_same_state_is_silent() {
    let trace =
        run(&opens_after(1).at(s(0), F).at(s(1), breaker::Mode::ForcedOpen).at(s(2), breaker::Mode::ForcedOpen));
    assert_eq!(trace.circuit_events(), ["circuit_opened"]);
}

#[test]
fn t_31_the_numbers_add_up_and_a_wait_is_there_only_when_open() {
    let scenario = opens_after(5).every(ms(1), [S; 10]).at(ms(10), Action::Look);
    let trace = run(&scenario.every(ms(1), [F; 5]).every(ms(1), [S; 2]));
    assert_eq!(trace.seen(0, Stage::Breaker, "open_remaining_seconds", ""), 0.0);
    assert_eq!((calls(&trace, "success"), calls(&trace, "failure")), (10.0, 5.0));
    assert_eq!(trace.stat(Stage::Breaker, "refused", ""), 2.0);
    assert!(trace.stat(Stage::Breaker, "open_remaining_seconds", "") > 59.0);
}

#[test]
fn t_31_successes_in_half_open_are_counted_apart_from_all() {
    let clock = Clock::manual();
    let breaker = CircuitBreaker::with_clock("b", trips(Trip::consecutive(1)), &clock).unwrap();
    breaker.allow_request().unwrap();
    breaker.record_success();
    breaker.allow_request().unwrap();
    breaker.record_failure("E");
    clock.advance(s(60));
    breaker.allow_request().unwrap();
    breaker.record_success();
    let stats = breaker.stats();
    assert_eq!((stats.half_open_successes, stats.successes), (1, 2));
}

#[test]
fn t_32_a_threshold_a_wait_and_a_probe_limit_of_zero_are_refused() {
    let wrong = breaker::Config {
        trip: vec![Trip::consecutive(0)],
        open_duration: Duration::ZERO,
        half_open_max_calls: 0,
        ..Default::default()
    };
    let mistakes = CircuitBreaker::with_config("b", wrong).unwrap_err();
    let fields: Vec<_> = mistakes.iter().map(|mistake| mistake.field.as_str()).collect();
    assert_eq!(fields, ["trip.consecutive", "open_duration", "half_open_max_calls"]);
}

#[test]
fn t_33_a_wait_of_a_millisecond_works() {
    let trace = run(&with_breaker(Trip::consecutive(1), |breaker| breaker.open_duration = ms(1)).every(ms(1), [F, S]));
    assert_eq!(trace.calls[1].end, End::Ok);
}

#[tokio::test]
async fn t_34_hundreds_of_breakers_are_independent() {
    let build = |n| Policy::builder(format!("b{n}")).breaker(trips(Trip::consecutive(1))).build().unwrap();
    let policies: Vec<_> = (0..500).map(build).collect();
    for policy in policies.iter().step_by(2) {
        policy.call(|_| async { Err::<(), _>("down") }).await.unwrap_err();
    }
    for (n, policy) in policies.iter().enumerate() {
        let refused = policy.call(|_| async { Ok::<_, &str>(()) }).await.is_err();
        assert_eq!(refused, n % 2 == 0, "{n}");
    }
}
