//! A policy around another one: what the inner one refuses was not tried, so the outer one neither counts nor retries it,
//! whatever became of the error on its way, through each door.
#![cfg(test)]

use std::error::Error as StdError;
use std::future::ready;
use std::time::Duration;

use stormproof::breaker::{self, Mode};
use stormproof::{CircuitBreaker, Error, Interrupted, Policy, Reason, Retry, Trip};

fn open() -> CircuitBreaker {
    let breaker = CircuitBreaker::new("inner");
    breaker.set_mode(Mode::ForcedOpen);
    breaker
}

/// An outer policy that would retry three times, and whose breaker opens at the first failure.
fn outer() -> (Policy, CircuitBreaker) {
    let config = breaker::Config { trip: vec![Trip::consecutive(1)], ..Default::default() };
    let breaker = CircuitBreaker::with_config("outer", config).unwrap();
    let retry = Retry::constant(Duration::from_millis(1));
    (Policy::builder("outer").retry(retry).breaker(&breaker).build().unwrap(), breaker)
}

#[derive(Debug)]
enum Own {
    Down,
    Interrupted(#[allow(dead_code, reason = "it is kept, as an application would")] Interrupted),
}

impl From<Interrupted> for Own {
    fn from(interrupted: Interrupted) -> Self {
        Self::Interrupted(interrupted)
    }
}

fn untouched<T, E: std::fmt::Debug>(result: Result<T, Error<E>>, breaker: &CircuitBreaker) {
    assert_eq!(result.err().unwrap().attempts(), 1);
    assert_eq!((breaker.state(), breaker.stats().failures), (breaker::State::Closed, 0));
}

#[tokio::test]
async fn a_refusal_is_neither_counted_nor_retried_in_whatever_it_is_wrapped() {
    let (inner, (policy, breaker)) = (open(), outer());
    let refused = || inner.call(|_| ready(Ok::<(), &str>(())));
    untouched(policy.call(|_| refused()).await, &breaker);
    let own = || async { inner.call(|_| ready(Err::<(), _>(Own::Down))).await.map_err(Error::into_own) };
    untouched(policy.call(|_| own()).await, &breaker);
    let boxed = || async {
        Ok::<_, Box<dyn StdError + Send + Sync>>(inner.call(|_| ready(Ok::<(), std::fmt::Error>(()))).await?)
    };
    untouched(policy.call(|_| boxed()).await, &breaker);
    let later = || async {
        let result = refused().await;
        tokio::task::yield_now().await;
        result
    };
    untouched(policy.call(|_| later()).await, &breaker);
    let middle = Policy::builder("middle").build().unwrap();
    untouched(policy.call(|_| middle.call(|_| refused())).await, &breaker);
    untouched(policy.call_sync(|_| inner.call_sync(|_| Ok::<(), &str>(())).run()).run(), &breaker);
}

#[cfg(feature = "tower")]
#[tokio::test]
async fn so_around_a_service() {
    use stormproof::service::PolicyLayer;
    use tower::{ServiceBuilder, ServiceExt, service_fn};

    let (inner, (policy, breaker)) = (open(), outer());
    let service = service_fn(|()| ready(Ok::<_, std::convert::Infallible>(())));
    let stack = ServiceBuilder::new().layer(PolicyLayer::new(&policy)).layer(PolicyLayer::new(inner.policy()));
    untouched(stack.service(service).oneshot(()).await, &breaker);
}

/// What an operation has dealt with is not why it failed.
#[tokio::test]
async fn a_refusal_that_was_dealt_with_hides_no_failure() {
    let (inner, (policy, breaker)) = (open(), outer());
    let call = policy.call(|_| async {
        let _ = inner.call(|_| ready(Ok::<(), &str>(()))).await.ok();
        Err::<(), _>("down")
    });
    assert!(call.await.is_err());
    assert_eq!((breaker.state(), breaker.stats().failures), (breaker::State::Open, 1));

    let kept = inner.call(|_| ready(Ok::<(), &str>(()))).await;
    let (policy, breaker) = outer();
    assert!(policy.call(|_| ready(Err::<(), _>("down"))).await.is_err());
    assert_eq!(breaker.stats().failures, 1, "a refusal from before the call");
    assert_eq!(kept.unwrap_err().refused().map(|refused| refused.reason), Some(Reason::ForcedOpen));

    let (policy, breaker) = outer();
    let fails = || inner.policy().call(|_| ready(Err::<(), _>("never")));
    let working = Policy::builder("working").build().unwrap();
    let call = policy.call(|_| working.call(|_| ready(Err("down"))).fallback_to(|_| fails()));
    assert!(call.await.is_err());
    assert_eq!(breaker.stats().failures, 1, "the call failed, only its fallback was refused");
}
