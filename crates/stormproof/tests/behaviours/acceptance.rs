//! Rows of the acceptance table that no case T or X shows, each under its row: A to C; the others are in
//! `acceptance_rest.rs`.
//!
//! What Python's syntax asks for is here as Rust has it: a decorator is an attribute macro (A14, A15, C18, C19, F1 to F3,
//! G1, G2: `stormproof-macros`), an `async with` a value that is dropped (A16, D2, E2), a keyword argument a field or a
//! method, an exception an [`Error`]. `async with retry` (C20) has no form: a block cannot run twice; `call` is it.

use std::cell::RefCell;
use std::time::Duration;

use stormproof::backoff::Schedule;
use stormproof::breaker::State;
use stormproof::{
    Backoff, CircuitBreaker, Clock, ErrIsFailure, Error, Jitter, Name, Nested, Policy, Reason, Registry, Retry, Trip,
    Verdict, breaker, config,
};

use crate::given::{ms, s, trips};

pub(crate) async fn fail(breaker: &CircuitBreaker) -> Error<&'static str> {
    breaker.call(|_| async { Err::<(), _>("down") }).await.unwrap_err()
}

#[tokio::test]
async fn a_12_a_13_a_breaker_needs_neither_settings_nor_a_name() {
    let breaker::Config { open_duration, success_threshold, half_open_max_calls, .. } =
        CircuitBreaker::new("b").config();
    assert_eq!((open_duration, success_threshold, half_open_max_calls), (s(60), 2, 3));
    let own = breaker::Config {
        trip: vec![Trip::consecutive(3)],
        open_duration: s(30),
        success_threshold: 1,
        half_open_max_calls: 1,
        ..Default::default()
    };
    let (one, other) = (CircuitBreaker::anonymous(own.clone()).unwrap(), CircuitBreaker::anonymous(own).unwrap());
    assert_ne!(one.name(), other.name());
    for _ in 0..3 {
        fail(&one).await;
    }
    assert_eq!((one.state(), other.state()), (State::Open, State::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_18_calls_of_one_breaker_run_at_the_same_time() {
    let breaker = CircuitBreaker::with_clock("b", breaker::Config::default(), &Clock::tokio()).unwrap();
    let slow = || {
        breaker.call(|_| async {
            tokio::time::sleep(s(1)).await;
            Ok::<_, &str>(())
        })
    };
    let began = tokio::time::Instant::now();
    let (one, two) = tokio::join!(slow(), slow());
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(began.elapsed(), s(1), "no lock is held across the call");
}

#[tokio::test]
async fn a_20_a_21_a_22_open_and_half_open_refuse_with_one_error_whose_text_says_which() {
    let clock = Clock::manual();
    let config = breaker::Config { half_open_max_calls: 1, ..trips(Trip::consecutive(1)) };
    let breaker = CircuitBreaker::with_clock("crm", config, &clock).unwrap();
    fail(&breaker).await;
    let open = fail(&breaker).await;
    clock.advance(s(60));
    let probe = breaker.policy().admit().await.unwrap();
    let limit = fail(&breaker).await;
    drop(probe);
    for (error, reason, text) in [
        (open, Reason::Open, "breaker \"crm\" refused: the circuit is open, retry in 60.000 s (last failure: &str)"),
        (limit, Reason::HalfOpenLimit, "breaker \"crm\" refused: the circuit is half-open and its probes are out"),
    ] {
        assert_eq!(error.refused().map(|refused| refused.reason), Some(reason));
        assert!(error.to_string().starts_with(text), "{error}");
        assert_eq!(error.last(), None, "nothing was called");
    }
}

#[tokio::test]
async fn a_24_a_26_a_27_state_and_numbers_are_there_to_read() {
    let clock = Clock::manual();
    let breaker = CircuitBreaker::with_clock("b", trips(Trip::consecutive(1)), &clock).unwrap();
    breaker.call(|_| async { Ok::<_, &str>(()) }).await.unwrap();
    clock.advance(s(5));
    fail(&breaker).await;
    fail(&breaker).await;
    assert_eq!((breaker.state(), breaker.state().as_str(), breaker.name().as_str()), (State::Open, "open", "b"));
    let stats = breaker.stats();
    assert_eq!((stats.successes, stats.failures, stats.refused, stats.success_rate()), (1, 1, 1, 0.5));
    assert_eq!(stats.last_failure, Some(clock.now()));
    breaker.reset();
    assert_eq!((breaker.state(), breaker.stats().consecutive_failures), (State::Closed, 0), "A29");
    assert_eq!(CircuitBreaker::new("new").stats().success_rate(), 1.0);
}

#[tokio::test]
async fn a_32_each_half_open_state_has_all_its_probes() {
    let clock = Clock::manual();
    let breaker = CircuitBreaker::with_clock("b", trips(Trip::consecutive(1)), &clock).unwrap();
    fail(&breaker).await;
    for _ in 0..2 {
        clock.advance(s(60));
        let probes = [breaker.allow_request(), breaker.allow_request(), breaker.allow_request()];
        assert!(probes.iter().all(Result::is_ok));
        assert_eq!(breaker.stats().half_open_calls, 3);
        breaker.record_failure("E");
        assert_eq!((breaker.state(), breaker.stats().half_open_calls), (State::Open, 0));
    }
}

#[test]
fn b_1_to_b_5_the_registry_of_the_process_lists_and_resets_by_name() {
    let registry = Registry::new();
    let config = breaker::Config { open_duration: s(30), ..trips(Trip::consecutive(1)) };
    for name in ["openai_api", "anthropic_api"] {
        let breaker = registry.breaker_with(name, config.clone()).unwrap();
        breaker.allow_request().unwrap();
        breaker.record_failure("E");
    }
    let states =
        || registry.list().iter().map(|(name, b)| format!("{name} {}", b.state().as_str())).collect::<Vec<_>>();
    assert_eq!(states(), ["anthropic_api open", "openai_api open"]);
    assert!(registry.reset("openai_api") && !registry.reset("nobody"));
    assert_eq!(states(), ["anthropic_api open", "openai_api closed"]);
    assert_eq!(registry.reset_all(), [Name::from("anthropic_api")]);
    assert_eq!(states(), ["anthropic_api closed", "openai_api closed"]);
}

#[test]
fn c_1_to_c_10_defaults_and_schedules() {
    let config = config::Config { retry: Some(Retry::default().into()), ..Default::default() };
    let retry = config.retry.unwrap();
    assert_eq!((retry.max_retries, retry.backoff.base_delay, retry.backoff.max_delay), (3, s(1), s(60)));
    assert_eq!(
        (retry.backoff.schedule, retry.backoff.jitter),
        (Schedule::Exponential { factor: 2.0 }, Jitter::Symmetric(0.2))
    );
    let waits = |backoff: Backoff| backoff.jitter(Jitter::None).iter(0).take(5).collect::<Vec<_>>();
    assert_eq!(waits(Backoff::default()), [1, 2, 4, 8, 16].map(s));
    assert_eq!(waits(Backoff::linear(s(1))), [1, 2, 3, 4, 5].map(s));
    assert_eq!(waits(Backoff::linear(s(1)).increment(s(2)).max_delay(s(6))), [1, 3, 5, 6, 6].map(s));
    assert_eq!(waits(Backoff::constant(s(5))), [5; 5].map(s));
    // C9, C30: whatever the schedule, there is jitter unless somebody turns it off.
    for backoff in [Backoff::default(), Backoff::linear(s(1)), Backoff::constant(s(5)), Backoff::fibonacci(s(1))] {
        assert_eq!(backoff.jitter, Jitter::Symmetric(0.2));
        assert_ne!(backoff.iter(1).take(5).collect::<Vec<_>>(), waits(backoff));
    }
}

/// C11 to C15: deny list, then the classifier's word, then allow list.
#[tokio::test]
async fn c_11_to_c_15_what_is_denied_what_is_judged_what_is_allowed_in_this_order() {
    let retry = Retry::constant(ms(1)).max_retries(1).retry_on(["Listed", "Denied"]).never_on(["Denied"]);
    let policy = retry.build("p").unwrap();
    for (kind, word, attempts) in [
        ("Listed", None, 2),
        ("Listed", Some(false), 1),
        ("Other", None, 1),
        ("Other", Some(true), 2),
        ("Denied", None, 1),
        ("Denied", Some(true), 1),
    ] {
        let call = policy.call(|_| async { Err::<(), _>("e") }).classify_with(|result| match (result, word) {
            (Ok(()), _) => Verdict::success(),
            (Err(_), None) => Verdict::failure(kind),
            (Err(_), Some(word)) => Verdict::failure(kind).retry(word),
        });
        assert_eq!(call.await.unwrap_err().attempts(), attempts, "{kind} {word:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn c_16_c_17_c_22_on_retry_counts_from_one_time_ends_and_the_last_error_is_kept() {
    let retry = Retry::with_backoff(Backoff::constant(s(12)).jitter(Jitter::None)).max_retries(9);
    let policy = Policy::builder("p").retry(retry).deadline(s(30)).clock(&Clock::tokio()).build().unwrap();
    let noted = RefCell::new(Vec::new());
    let call = policy.call(|cx| async move { Err::<(), _>(cx.attempt()) }).on_retry(|retry, result, delay| {
        noted.borrow_mut().push((retry, result.unwrap().copied().unwrap_err().to_owned(), delay));
    });
    let error = call.await.unwrap_err();
    assert_eq!(*noted.borrow(), [(1, 1, s(12)), (2, 2, s(12))]);
    assert_eq!((error.attempts(), error.into_last()), (3, Some(3)));
}

#[tokio::test]
async fn row_10_row_14_a_retry_around_another_policy_does_not_repeat_its_refusals() {
    let clock = Clock::tokio();
    let retry = Policy::builder("retry").retry(Retry::constant(ms(1)).max_retries(5)).clock(&clock).build().unwrap();
    let inner = CircuitBreaker::with_clock("b", trips(Trip::consecutive(2)), &clock).unwrap();
    let call = retry.call(|_| inner.call(|_| async { Err::<(), _>("down") })).classify(Nested(ErrIsFailure));
    let error = call.await.unwrap_err();
    assert_eq!((error.attempts(), inner.stats().refused), (3, 1), "two failures and the refusal, once");
    assert_eq!(error.last().and_then(|last| last.refused()).map(|refused| refused.reason), Some(Reason::Open));

    // The operation's own errors are judged as ever.
    let inner = Policy::builder("inner").clock(&clock).build().unwrap();
    let never =
        Policy::builder("never").retry(Retry::constant(ms(1)).never_on(["&str"])).clock(&clock).build().unwrap();
    let call = never.call(|_| inner.call(|_| async { Err::<(), _>("down") })).classify(Nested(ErrIsFailure));
    assert_eq!(call.await.unwrap_err().attempts(), 1);
}

#[cfg(feature = "serde")]
#[test]
fn row_18_both_spellings_of_half_open_are_read() {
    for text in ["\"half_open\"", "\"half-open\""] {
        assert_eq!(serde_json::from_str::<State>(text).unwrap(), State::HalfOpen);
    }
    assert_eq!(serde_json::to_string(&State::HalfOpen).unwrap(), "\"half_open\"");
}

#[tokio::test]
async fn row_24_h_10_a_score_by_the_state_of_the_circuit() {
    let clock = Clock::manual();
    let breaker = CircuitBreaker::with_clock("b", trips(Trip::consecutive(4)), &clock).unwrap();
    let mut scores = Vec::new();
    for _ in 0..4 {
        scores.push(breaker.health_score());
        fail(&breaker).await;
    }
    scores.push(breaker.health_score());
    clock.advance(s(60));
    for _ in 0..2 {
        scores.push(breaker.health_score());
        breaker.call(|_| async { Ok::<_, &str>(()) }).await.unwrap();
    }
    scores.push(breaker.health_score());
    assert_eq!(scores, [1.0, 0.75, 0.5, 0.25, 0.0, 0.0, 0.25, 1.0]);
}

#[tokio::test(start_paused = true)]
async fn c_16_a_retry_without_a_wait_is_told_too() {
    let clock = Clock::tokio();
    let retry = Retry::constant(Duration::ZERO).max_retries(3);
    let policy = Policy::builder("p").retry(retry).attempt_timeout(s(1)).clock(&clock).build().unwrap();
    let noted = RefCell::new(Vec::new());
    let call = policy
        .call(|cx| async move {
            match cx.attempt() {
                2 => std::future::pending().await,
                attempt => Err::<(), _>(attempt),
            }
        })
        .on_retry(|retry, result, _| {
            noted.borrow_mut().push((retry, result.unwrap().copied().unwrap_err().to_owned()));
        });
    assert_eq!(call.await.unwrap_err().attempts(), 4);
    assert_eq!(*noted.borrow(), [(1, 1), (3, 3)], "the second attempt came to nothing that could be shown");
    noted.borrow_mut().clear();
    let call = policy.call_sync(|cx| Err::<(), _>(cx.attempt()));
    let call = call.on_retry(|retry, result, _| {
        noted.borrow_mut().push((retry, result.unwrap().copied().unwrap_err().to_owned()));
    });
    assert_eq!(call.run().unwrap_err().attempts(), 4);
    assert_eq!(*noted.borrow(), [(1, 1), (2, 2), (3, 3)]);
}

/// Row 36: a failed probe opens the circuit again and takes nothing from the count; closing does.
#[tokio::test]
async fn row_36_failures_in_a_row_are_kept_over_a_reopening_and_gone_after_a_close() {
    let clock = Clock::manual();
    let breaker = CircuitBreaker::with_clock("b", trips(Trip::consecutive(2)), &clock).unwrap();
    fail(&breaker).await;
    fail(&breaker).await;
    clock.advance(s(60));
    fail(&breaker).await;
    assert_eq!((breaker.state(), breaker.stats().consecutive_failures, breaker.stats().failures), (State::Open, 3, 3));
    clock.advance(s(60));
    for _ in 0..2 {
        breaker.call(|_| async { Ok::<_, &str>(()) }).await.unwrap();
    }
    assert_eq!(
        (breaker.state(), breaker.stats().consecutive_failures, breaker.stats().failures),
        (State::Closed, 0, 3)
    );
}
