//! What a reporter makes of every error of the library: it writes an error, then its sources, and nothing twice.
#![cfg(test)]

use std::error::Error as StdError;
use std::future::ready;
use std::io;
use std::time::Duration;

use stormproof::breaker::Mode;
use stormproof::executor::TaskError;
use stormproof::queue::WorkError;
use stormproof::{
    CircuitBreaker, Clock, Error, Fallback, Interrupted, Limit, LoopGuard, Policy, Refused, Retry, Stop, loop_guard,
};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model is not there")]
struct Down(#[source] Cause);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no route")]
struct Cause;

const DOWN: Down = Down(Cause);

/// As `anyhow` writes `{:#}`: each text after a colon. None may be part of the one before it.
fn report(error: &(dyn StdError + 'static)) -> String {
    let texts: Vec<_> =
        std::iter::successors(Some(error), |error| (*error).source()).map(ToString::to_string).collect();
    for pair in texts.windows(2) {
        assert!(!pair[0].contains(&pair[1]), "{:?} is said twice: {texts:?}", pair[1]);
    }
    texts.join(": ")
}

fn failed<E>(error: E, stop: Stop, attempts: u32) -> Error<E> {
    Error::Failed { error, stop, attempts, elapsed: Duration::ZERO }
}

fn refusal() -> Refused {
    let breaker = CircuitBreaker::new("openai");
    breaker.set_mode(Mode::ForcedOpen);
    breaker.call_sync(|_| Ok::<_, Down>(())).run().unwrap_err().refused().unwrap().clone()
}

fn timed_out<E>(last: Option<E>) -> Error<E> {
    let policy = "openai".to_owned();
    let (limit, stop, elapsed) = (Limit::Call, Stop::Deadline, Duration::from_secs(2));
    Error::TimedOut { policy, limit, stop, last, attempts: 2, elapsed }
}

#[tokio::test]
async fn each_error_of_a_call_says_all_and_nothing_twice() {
    let all = "the model is not there: no route";
    assert_eq!(report(&failed(DOWN, Stop::NoRetry, 1)), all);
    assert_eq!(
        report(&failed(DOWN, Stop::Exhausted, 3)),
        format!("the model is not there ({}, attempts: 3): no route", Stop::Exhausted)
    );
    let policy = Retry::constant(Duration::from_millis(1)).max_retries(1).build("p").unwrap();
    let error = policy.call(|_| ready(Err::<(), _>(DOWN))).await.unwrap_err();
    assert!(report(&error).ends_with("attempts: 2): no route"), "{error}");

    let open = "breaker \"openai\" refused: the circuit is held open";
    let refused = |last| Error::Refused { refused: refusal(), last, timed_out: None, attempts: 1 };
    assert_eq!(report(&refused(None)), open);
    assert_eq!(report(&refused(Some(DOWN))), format!("{open}: {all}"));

    let late = "openai timed out after 2.000 s (limit of the call, attempts: 2)";
    assert_eq!(report(&timed_out(None::<Down>)), late);
    assert_eq!(report(&timed_out(Some(DOWN))), format!("{late}: {all}"));

    let failed_too = Fallback::with_sync(|_| Err(Down(Cause)));
    let error = policy.call(|_| ready(Err::<(), _>(DOWN))).fallback_shared(&failed_too).await.unwrap_err();
    assert!(matches!(error, Error::AllFailed { .. }));
    assert!(report(&error).ends_with("; the model is not there: no route"), "{}", report(&error));
}

/// A retry that a stage refuses has the error that was to be retried as its source.
#[tokio::test(start_paused = true)]
async fn a_retry_that_is_refused_has_the_last_error_as_its_source() {
    let trip = vec![stormproof::Trip::consecutive(1)];
    let config = stormproof::breaker::Config { trip, ..Default::default() };
    let breaker = CircuitBreaker::with_config("openai", config).unwrap();
    let policy =
        Policy::builder("p").retry(Retry::constant(Duration::from_millis(1))).breaker(&breaker).build().unwrap();
    let error = policy.call(|_| ready(Err::<(), _>(DOWN))).await.unwrap_err();
    assert!(matches!(error, Error::Refused { last: Some(_), .. }), "{error:?}");
    assert!(report(&error).ends_with(": the model is not there: no route"), "{}", report(&error));
    assert_eq!(error.source().and_then(|last| last.downcast_ref()), Some(&DOWN));
}

#[tokio::test]
async fn nested_policies_say_it_once() {
    let [inner, middle, outer] = ["inner", "middle", "outer"].map(|name| Policy::builder(name).build().unwrap());
    let call = outer.call(|_| middle.call(|_| inner.call(|_| ready(Err::<(), _>(DOWN)))));
    assert_eq!(report(&call.await.unwrap_err()), "the model is not there: no route");

    let retry = Retry::constant(Duration::from_millis(1)).max_retries(1).build("retry").unwrap();
    let call = outer.call(|_| middle.call(|_| retry.call(|_| ready(Err::<(), _>(DOWN)))));
    assert_eq!(report(&call.await.unwrap_err()).matches("attempts").count(), 1);
}

#[tokio::test]
async fn so_does_every_other_error_of_the_library() {
    let boxed = failed(io::Error::other(DOWN), Stop::NoRetry, 1).into_boxed();
    assert_eq!(report(&*boxed), "the model is not there: no route");
    let breaker = CircuitBreaker::new("openai");
    breaker.set_mode(Mode::ForcedOpen);
    let interrupted: Interrupted = breaker.call(|_| ready(Ok::<(), Interrupted>(()))).await.unwrap_err().into_own();
    let open = "breaker \"openai\" refused: the circuit is held open";
    assert_eq!(report(&interrupted), open);
    assert_eq!(report(&io::Error::from(interrupted)), open);
    assert_eq!(report(&refusal()), open);
    assert_eq!(report(&TaskError::from(refusal())), open);
    let config = loop_guard::Config { max_action_repetitions: 0, ..Default::default() };
    let guard = LoopGuard::new("run");
    let invalid = LoopGuard::restore("run", config, guard.state(), &Clock::system()).map(drop).unwrap_err();
    assert!(report(&invalid).starts_with("the configuration of the loop guard is invalid: "), "{invalid}");
    assert_eq!(report(&WorkError::Failed(DOWN)), "the model is not there: no route");
    assert_eq!(report(&WorkError::<Down>::Panicked("boom".into())), "the work panicked: boom");
}
