//! X1 to X31: defects of others, each a regression test here.

use std::time::Duration;

use stormproof::{
    Backoff, CircuitBreaker, Clock, Error, Instant, Jitter, Policy, Reason, Retry, Stage, Stop, Timeouts, Trip,
    Verdict, breaker,
};
use stormproof_core as core;
use stormproof_sim::{Action, Call, End, Reply, Scenario};

use crate::given::{F, I, S, each_second, ms, per_second, policy, retries, run, s, slots, trips, with_breaker};

/// A circuit that opened at 0, lets one probe at a time through from second 60, and closes after two.
fn half_open() -> Scenario {
    with_breaker(Trip::consecutive(1), |breaker| breaker.half_open_max_calls = 1).at(s(0), F)
}

#[test]
fn x_01_success_then_failure_in_half_open_reopens() {
    let trace = run(&half_open().at(s(60), S).at(s(61), F).at(s(62), S));
    assert_eq!(trace.calls[3].end.reason(), Some(Reason::Open));
}

#[test]
fn x_02_a_cancelled_probe_does_not_keep_its_place() {
    let trace = run(&half_open().at(s(60), Call::of([Reply::hang()]).cancel_at(s(61))).at(ms(61_001), S));
    assert_eq!(trace.calls[2].end, End::Ok);
}

#[test]
fn x_03_an_excluded_error_in_a_probe_does_not_keep_its_place() {
    let trace = run(&half_open().at(s(60), I).at(s(61), S));
    assert_eq!(trace.calls[2].end, End::Ok);
}

#[test]
fn x_04_a_failure_in_half_open_arms_the_wait_again() {
    let trace = run(&half_open().at(s(60), F).at(ms(119_999), S).at(s(120), S));
    assert_eq!(trace.reasons(), [None, None, Some(Reason::Open), None]);
}

#[test]
fn x_05_of_fifty_concurrent_probes_only_the_limit_passes() {
    let scenario = with_breaker(Trip::consecutive(1), |_| ()).at(s(0), F);
    let trace = run(&scenario.all_at(s(60), [S.after(s(1)); 50]));
    assert_eq!(trace.calls[1..].iter().filter(|call| call.end == End::Ok).count(), 3);
}

#[test]
fn x_06_after_the_wait_it_probes_before_it_closes() {
    let trace = run(&half_open().at(s(60), S));
    assert_eq!(trace.circuit_events(), ["circuit_opened", "circuit_half_open"]);
}

#[test]
fn x_07_a_late_success_does_not_close_an_open_circuit() {
    let trace = run(&with_breaker(Trip::consecutive(1), |_| ()).at(s(0), S.after(s(2))).at(s(1), F).at(s(3), S));
    assert_eq!(trace.calls[2].end.reason(), Some(Reason::Open));
}

#[test]
fn x_08_jitter_does_not_push_a_wait_over_its_cap() {
    for jitter in [Jitter::Symmetric(0.25), Jitter::Range(0.5, 1.5), Jitter::Additive(0.3)] {
        let waits = Backoff::exponential(s(10)).max_delay(s(30)).jitter(jitter).iter(3).take(200);
        assert!(waits.into_iter().all(|wait| wait <= s(30)), "{jitter:?}");
    }
}

#[test]
fn x_09_the_classifier_overrides_the_list() {
    let mut retry = each_second(1);
    retry.retry_on = vec!["ConnectionError".into()];
    let retry = core::Retry::new(retry).unwrap();
    assert!(retry.is_retryable(&Verdict::failure("RuntimeError").retry(true)));
    assert!(!retry.is_retryable(&Verdict::failure("RuntimeError")));
}

#[test]
fn x_10_the_first_wait_is_the_base() {
    for backoff in [Backoff::exponential(s(1)), Backoff::linear(s(1)), Backoff::fibonacci(s(1))] {
        assert_eq!(backoff.jitter(Jitter::None).iter(0).next(), Some(s(1)));
    }
}

#[test]
fn x_11_a_listed_kind_covers_its_particular_cases() {
    let mut retry = each_second(1);
    retry.retry_on = vec!["ConnectionError".into()];
    let scenario = Scenario::new(policy(|p| p.retry = Some(retry)));
    assert_eq!(run(&scenario.at(s(0), Reply::fail("ConnectionError.ConnectionResetError"))).attempts(), 2);
}

#[test]
fn x_12_a_success_threshold_above_the_probe_limit_closes_nevertheless() {
    let trace = run(&half_open().at(s(60), S).at(s(61), S));
    assert_eq!(trace.circuit_events().last(), Some(&"circuit_closed"));
}

#[tokio::test]
async fn x_13_cancellation_never_counts_whichever_way_it_was_entered() {
    let breaker = CircuitBreaker::with_config("b", trips(Trip::consecutive(1))).unwrap();
    drop(breaker.policy().admit().await.unwrap());
    let call = tokio::time::timeout(ms(1), breaker.call(|_| std::future::pending::<Result<(), ()>>()));
    assert!(call.await.is_err());
    assert_eq!((breaker.stats().failures, breaker.stats().ignored), (0, 2));
}

#[test]
fn x_14_a_cancelled_waiter_does_not_fill_the_queue_for_ever() {
    let waiting = |n| Call::of([S]).cancel_at(ms(n + 1));
    let mut scenario = Scenario::new(policy(|p| p.bulkhead = Some(slots(1, 1)))).at(s(0), S.after(s(1)));
    for n in (1..500).step_by(2) {
        scenario = scenario.at(ms(n), waiting(n));
    }
    let trace = run(&scenario.at(ms(600), S));
    assert!(trace.ends()[1..251].iter().all(|end| *end == End::Cancelled));
    assert_eq!(trace.calls[251].attempts, [s(1)]);
}

#[test]
fn x_15_no_queue_does_not_mean_no_calls() {
    let scenario = Scenario::new(policy(|p| p.bulkhead = Some(slots(1, 0)))).every(s(1), [S.after(ms(1)); 3]);
    assert_eq!(run(&scenario).attempts(), 3);
}

#[test]
fn x_16_the_breakers_own_refusal_is_not_retried_and_the_cause_is_kept() {
    let config = policy(|p| {
        p.retry = Some(each_second(5));
        p.breaker = Some(trips(Trip::consecutive(2)));
    });
    let trace = run(&Scenario::new(config).at(s(0), F));
    let End::Refused { reason, last, cause, .. } = &trace.calls[0].end else { panic!("{:?}", trace.calls[0]) };
    assert_eq!((*reason, *last, cause.as_deref()), (Reason::Open, Some("ServerError"), Some("ServerError")));
    assert_eq!(trace.calls[0].attempts.len(), 2);
}

#[test]
fn x_17_a_synchronous_function_is_retried() {
    fn read(attempt: u32) -> Result<&'static str, std::io::Error> {
        if attempt < 3 { Err(std::io::ErrorKind::ConnectionReset.into()) } else { Ok("read") }
    }
    let (clock, retries) = (Clock::stepping(), std::cell::Cell::new(0));
    let policy = Policy::builder("file").retry(Retry::constant(s(1))).clock(&clock).build().unwrap();
    let call = policy.call_sync(|cx| read(cx.attempt())).on_retry(|retry, result, _| {
        assert!(result.unwrap().is_err());
        retries.set(retry);
    });
    assert_eq!((call.run().unwrap(), retries.get()), ("read", 2));
}

#[test]
fn x_19_two_failures_long_ago_and_one_now_do_not_open_at_three() {
    let outcomes = [F, F].into_iter().chain([S].repeat(100)).chain([F]);
    assert!(run(&with_breaker(Trip::consecutive(3), |_| ()).every(ms(1), outcomes)).circuit_events().is_empty());
}

#[test]
fn x_20_a_refusal_in_half_open_names_no_negative_time() {
    let trace = run(&half_open().at(s(61), S.after(s(9))).at(s(62), S));
    assert_eq!(trace.calls[2].end.reason(), Some(Reason::HalfOpenLimit));
    assert_eq!(trace.calls[2].end.retry_after(), Some(Duration::ZERO));
}

#[test]
fn x_21_waiters_reserve_their_turn() {
    let scenario = Scenario::new(policy(|p| p.rate = Some(per_second(10, 10)))).all_at(s(0), [S; 100]);
    assert_eq!(run(&scenario).calls[99].attempts, [s(9)]);
}

#[test]
fn x_22_a_retry_comes_back_from_a_file_as_it_was_written() {
    let retry = Retry::exponential(ms(250)).max_retries(7).jitter(Jitter::Symmetric(0.35)).max_delay(s(9));
    let retry: core::retry::Config = retry.retry_on(["A"]).never_on(["B"]).into();
    let retry = core::retry::Config { retry_after_cap: Some(s(3)), ..retry };
    let text = toml::to_string(&retry).unwrap();
    assert_eq!(toml::from_str::<core::retry::Config>(&text).unwrap(), retry, "{text}");
}

#[test]
fn x_24_a_custom_timeout_of_zero_is_not_absent() {
    assert_eq!(Timeouts::default().get("long_operation", Some(Duration::ZERO)), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn x_24_a_deadline_of_zero_is_not_absent() {
    let policy = stormproof::Policy::builder("p").clock(&Clock::tokio()).build().unwrap();
    let error = policy.call(|_| async { Ok::<_, ()>(()) }).deadline(Duration::ZERO).await.unwrap_err();
    assert!(error.is_timeout() && error.attempts() == 0);
}

#[tokio::test]
async fn x_27_entering_a_block_checks_the_state() {
    let breaker = CircuitBreaker::with_config("b", trips(Trip::consecutive(1))).unwrap();
    breaker.set_mode(breaker::Mode::ForcedOpen);
    let Err(Error::Refused { refused, .. }) = breaker.policy().admit().await else { panic!("admitted") };
    assert_eq!(refused.reason, Reason::ForcedOpen);
}

/// Time is handed in, so no wall clock can be in it. What is left is a clock that goes back, which must do no harm.
#[test]
fn x_28_a_time_that_goes_back_does_no_harm() {
    let breaker = core::CircuitBreaker::with_config("b", trips(Trip::consecutive(1))).unwrap();
    let at = |second| Instant::ZERO + s(second);
    let mut permit = breaker.admit(at(100)).unwrap();
    breaker.settle(&mut permit, at(90), &Verdict::failure("E"));
    assert_eq!(breaker.admit(at(10)).unwrap_err().retry_after, s(140));
    assert_eq!(breaker.state(at(150)), breaker::State::HalfOpen);
}

#[test]
fn x_29_the_history_is_bounded() {
    let breaker = core::CircuitBreaker::new("b");
    for second in 0..1_000 {
        let now = Instant::ZERO + s(second);
        let _ = breaker.set_mode(now, breaker::Mode::ForcedOpen);
        let _ = breaker.set_mode(now, breaker::Mode::Normal);
    }
    let history = breaker.history();
    assert_eq!((history.len(), history[99].at), (100, Instant::ZERO + s(999)));
    assert!(history.is_sorted_by_key(|transition| transition.seq));
}

#[test]
fn x_30_the_callers_own_mistakes_do_not_open_a_circuit() {
    let config = policy(|p| {
        p.retry = Some(each_second(3));
        p.breaker = Some(trips(Trip::consecutive(1)));
    });
    let trace = run(&Scenario::new(config).every(ms(1), [I; 5]).at(s(1), Action::Look).at(s(2), S));
    assert_eq!(trace.seen(0, Stage::Breaker, "calls", "failure"), 0.0);
    assert_eq!(trace.calls[5].end, End::Ok);
}

#[test]
fn x_31_a_kind_that_is_never_retried_is_not() {
    let mut retry = retries(3, Backoff::constant(s(1)));
    retry.never_on = vec!["AuthenticationError".into()];
    let scenario = Scenario::new(policy(|p| p.retry = Some(retry)));
    let trace = run(&scenario.at(s(0), Reply::fail("AuthenticationError")));
    assert_eq!((trace.attempts(), trace.calls[0].end.stop()), (1, Some(Stop::NotRetryable)));
}
