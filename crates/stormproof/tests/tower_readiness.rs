//! A policy around services whose readiness is a permit: they and the policy's own limits are taken in one order.
#![cfg(feature = "tower")]
#![cfg(test)]

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use stormproof::service::PolicyLayer;
use stormproof::{
    Bulkhead, CircuitBreaker, Clock, Error, Jitter, Policy, Retry, RetryBudget, Stop, Trip, breaker, budget, bulkhead,
    rate,
};
use tower::limit::ConcurrencyLimitLayer;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn slots(max_concurrent: u32, clock: &Clock) -> Bulkhead {
    let config = bulkhead::Config { max_concurrent, max_queue: 1_000, queue_timeout: ms(30_000), ..Default::default() };
    Bulkhead::with_clock("slots", config, clock).unwrap()
}

fn retry() -> Retry {
    Retry::constant(ms(10)).jitter(Jitter::None).max_retries(1)
}

/// Takes 5 ms; every tenth request fails once.
fn one_in_ten_fails() -> impl Service<u32, Response = u32, Error = &'static str, Future: Send> + Clone + Send {
    let failed = Arc::new(Mutex::new(HashSet::new()));
    service_fn(move |request: u32| {
        let fails = request.is_multiple_of(10) && failed.lock().unwrap().insert(request);
        async move {
            tokio::time::sleep(ms(5)).await;
            if fails { Err("busy") } else { Ok(request) }
        }
    })
}

/// So many callers at once; how long it takes until all are answered.
async fn all_answered<S>(service: S, callers: u32) -> Duration
where
    S: Service<u32, Response = u32, Future: Send> + Clone + Send + 'static,
    S::Error: std::fmt::Debug + Send,
{
    let began = tokio::time::Instant::now();
    let calls: Vec<_> = (0..callers)
        .map(|n| {
            let mut service = service.clone();
            tokio::spawn(async move { service.ready().await.unwrap().call(n).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    began.elapsed()
}

/// A fails and backs off, B runs, C waits for the slot: it must not have what A's retry needs.
#[tokio::test(start_paused = true)]
async fn one_slot_around_one_permit_is_no_deadlock() {
    let policy = Policy::builder("p").bulkhead(slots(1, &Clock::tokio())).retry(retry()).build().unwrap();
    let stack = ServiceBuilder::new().layer(PolicyLayer::new(&policy)).layer(ConcurrencyLimitLayer::new(1));
    assert!(all_answered(stack.service(one_in_ten_fails()), 3).await < ms(100));
}

#[tokio::test(start_paused = true)]
async fn as_many_slots_as_permits_answer_everybody() {
    let clock = Clock::tokio();
    let generous = rate::Config { rate: 1_000, burst: Some(10), ..Default::default() };
    let build = |policy: stormproof::Builder| policy.clock(&clock).retry(retry()).build().unwrap();
    let builder = || Policy::builder("p").bulkhead(slots(10, &clock));
    let waits = breaker::Config { trip: vec![Trip::consecutive(2)], open_duration: ms(50), ..Default::default() };
    let patient = Retry::constant(ms(10)).jitter(Jitter::None).max_retries(50).wait_for_half_open();
    let policies = [
        build(builder()),
        build(builder().rate(generous.clone())),
        build(builder().tokens(generous)),
        build(builder().hedge(ms(3))),
        builder().clock(&clock).breaker(waits).retry(patient).build().unwrap(),
    ];
    for (nth, policy) in policies.iter().enumerate() {
        let layer = || PolicyLayer::new(policy);
        let limited = ServiceBuilder::new().layer(layer()).layer(ConcurrencyLimitLayer::new(10));
        let took = all_answered(limited.service(one_in_ten_fails()), 200).await;
        assert!(took < ms(5_000), "policy {nth} with a limit: {took:?}");
        let buffered = ServiceBuilder::new().layer(layer()).buffer(10).concurrency_limit(10);
        let took = all_answered(buffered.service(one_in_ten_fails()), 200).await;
        assert!(took < ms(5_000), "policy {nth} with a buffer: {took:?}");
        let paced = ServiceBuilder::new().layer(layer()).buffer(10).rate_limit(10, ms(10));
        let took = all_answered(paced.service(one_in_ten_fails()), 200).await;
        assert!(took < ms(5_000), "policy {nth} with a rate: {took:?}");
    }
}

/// What waits holds no permit: with it at the policy's slot, a third caller passes another policy to the same service.
#[tokio::test(start_paused = true)]
async fn who_backs_off_or_waits_for_a_circuit_holds_no_readiness() {
    let clock = Clock::tokio();
    let inner = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(|fails: bool| ready(if fails { Err("no") } else { Ok(()) })));
    let slow = Policy::builder("slow").clock(&clock).retry(Retry::constant(ms(60_000)).jitter(Jitter::None)).build();
    let free = Policy::builder("free").clock(&clock).build().unwrap();
    let backing_off = tokio::spawn(PolicyLayer::new(&slow.unwrap()).layer(inner.clone()).oneshot(true));
    tokio::time::sleep(ms(1)).await;
    let other = PolicyLayer::new(&free).layer(inner).oneshot(false);
    assert_eq!(tokio::time::timeout(ms(10), other).await.unwrap(), Ok(()));
    backing_off.abort();
}

/// Becomes ready after so many milliseconds, or fails to.
struct Waking {
    after: Option<u64>,
    sleep: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
}

impl Clone for Waking {
    fn clone(&self) -> Self {
        Self { after: self.after, sleep: None }
    }
}

impl Service<()> for Waking {
    type Response = ();
    type Error = &'static str;
    type Future = std::future::Ready<Result<(), &'static str>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        let Some(after) = self.after else { return Poll::Ready(Err("broken")) };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(ms(after))));
        sleep.as_mut().poll(cx).map(Ok)
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_readiness_and_a_failure_to_become_ready_are_no_attempts() {
    let clock = Clock::tokio();
    let config = breaker::Config { trip: vec![Trip::consecutive(1)], ..Default::default() };
    let breaker = CircuitBreaker::with_clock("c", config, &clock).unwrap();
    let spent = RetryBudget::with_clock("b", budget::Config::default(), &clock).unwrap();
    let (slots, limit) = (slots(1, &clock), ms(10));
    let builder = Policy::builder("p").retry(retry()).budget(&spent).breaker(&breaker).bulkhead(&slots);
    let policy = builder.attempt_timeout(limit).deadline(ms(500)).build().unwrap();
    let through = |after| PolicyLayer::new(&policy).layer(Waking { after, sleep: None }).oneshot(());

    // Longer than an attempt may take.
    assert_eq!(through(Some(100)).await, Ok(()));
    let error = through(None).await.unwrap_err();
    assert!(matches!(error, Error::Failed { error: "broken", stop: Stop::Unready, attempts: 0, .. }), "{error:?}");
    let late = through(Some(1_000)).await.unwrap_err();
    assert!(matches!(late, Error::TimedOut { attempts: 0, .. }), "{late:?}");
    let stats = breaker.stats();
    assert_eq!((breaker.state(), stats.failures, stats.successes), (breaker::State::Closed, 0, 1));
    assert_eq!(slots.stats().active, 0);
    assert_eq!(spent.stats().denied, 0);
}

#[tokio::test(start_paused = true)]
async fn what_an_inner_service_sheds_is_a_failure_like_any_other() {
    let policy = Policy::builder("p").bulkhead(slots(2, &Clock::tokio())).retry(retry()).build().unwrap();
    let slow = service_fn(|n: u32| async move {
        tokio::time::sleep(ms(5)).await;
        Ok::<_, Infallible>(n)
    });
    let stack = ServiceBuilder::new().layer(PolicyLayer::new(&policy)).load_shed().concurrency_limit(1).service(slow);
    let calls = [1, 2].map(|n| tokio::spawn(stack.clone().oneshot(n)));
    for call in calls {
        let answer: Result<u32, Error<BoxError>> = call.await.unwrap();
        assert!(answer.is_ok(), "the retry comes when the slot is free: {answer:?}");
    }
}
