//! Fallbacks and answers that are kept (cases 46 and 53), in the async and the sync door. More of them in
//! `tests/fallback.rs` and `tests/cache.rs`.

use std::future::ready;
use std::sync::Mutex;

use stormproof::{CircuitBreaker, Clock, Error, Policy, Source, Stop, Trip};

use crate::given::{each_second, trips};

fn bare() -> Policy {
    Policy::builder("p").clock(&Clock::stepping()).build().unwrap()
}

fn failed(error: &'static str) -> Error<&'static str> {
    Error::Failed { error, stop: Stop::NoRetry, attempts: 1, elapsed: std::time::Duration::ZERO }
}

#[tokio::test]
async fn case_46_a_chain_is_tried_in_order_up_to_the_first_answer() {
    let (policy, order) = (bare(), Mutex::new(Vec::new()));
    let step = |name: &'static str, result: Result<&'static str, &'static str>| {
        order.lock().unwrap().push(name);
        result
    };
    let chain = policy
        .call(|_| ready(step("call", Err("down"))))
        .fallback_with(|_| ready(step("second", Err("down, too"))))
        .fallback_with(|_| ready(step("third", Ok("third"))))
        .fallback_with(|_| ready(step("fourth", Ok("fourth"))));
    let served = chain.served().await.unwrap();
    let chain = policy
        .call_sync(|_| step("call", Err("down")))
        .fallback_sync(|_| step("second", Err("down, too")))
        .fallback_sync(|_| step("third", Ok("third")))
        .fallback_sync(|_| step("fourth", Ok("fourth")));
    assert_eq!(chain.served().run().unwrap(), served, "the doors agree");
    assert_eq!((served.value, served.source), ("third", Source::Fallback { position: 2 }));
    assert_eq!(*order.lock().unwrap(), ["call", "second", "third", "call", "second", "third"]);
}

#[tokio::test]
async fn case_46_when_all_fail_one_error_holds_every_cause() {
    let policy = bare();
    let chain = policy.call(|_| ready(Err::<(), _>("one"))).fallback_with(|_| ready(Err("two")));
    let error = chain.fallback_with(|_| ready(Err("three"))).await.unwrap_err();
    let chain = policy.call_sync(|_| Err::<(), _>("one")).fallback_sync(|_| Err("two"));
    assert_eq!(chain.fallback_sync(|_| Err("three")).run().unwrap_err(), error, "the doors agree");
    assert_eq!(error, Error::AllFailed { causes: ["one", "two", "three"].map(failed).to_vec() });
}

#[cfg(feature = "cache")]
#[tokio::test]
async fn case_46_a_cached_value_that_looks_like_nothing_is_a_hit() {
    let policy = bare();
    let config = stormproof::cache::Config::default();
    let answers = stormproof::Cache::<&str, _>::with_clock("answers", config, policy.clock()).unwrap();
    answers.insert("key", None::<u8>);
    let served = policy.call(|_| ready(Err::<Option<u8>, _>("down"))).cached(&answers, "key").served().await.unwrap();
    assert_eq!((served.value, served.is_degraded()), (None, true));
    let served = policy.call_sync(|_| Err::<Option<u8>, _>("down")).cached(&answers, "key").served().run().unwrap();
    assert_eq!((served.value, served.is_degraded()), (None, true));
}

#[tokio::test]
async fn case_53_the_breaker_has_all_failures_and_the_caller_the_fallback() {
    let clock = Clock::stepping();
    let breaker = CircuitBreaker::with_clock("b", trips(Trip::consecutive(9)), &clock).unwrap();
    let policy = Policy::builder("p").retry(each_second(2)).breaker(&breaker).clock(&clock).build().unwrap();
    assert_eq!(policy.call(|_| ready(Err("down"))).fallback("fallback").await, Ok("fallback"));
    assert_eq!(breaker.stats().failures, 3);
    assert_eq!(policy.call_sync(|_| Err("down")).fallback("fallback").run(), Ok("fallback"));
    assert_eq!(breaker.stats().failures, 6);
}
