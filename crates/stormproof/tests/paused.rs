//! Under a paused runtime the default clock measures virtual time, whenever and wherever a policy was made.
#![cfg(test)]

use std::sync::LazyLock;
use std::time::Duration;

use stormproof::breaker::{self, State};
use stormproof::{Error, Limit, Policy, Registry, Retry, Trip, config};

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

async fn fails_after(time: Duration) -> Result<(), &'static str> {
    tokio::time::sleep(time).await;
    Err("down")
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_measured_in_virtual_time() {
    let retry = Retry::constant(Duration::from_millis(1)).max_retries(9);
    let policy = Policy::builder("slow").deadline(s(10)).retry(retry).build().unwrap();
    let (before, began) = (tokio::time::Instant::now(), std::time::Instant::now());
    let error = policy.call(|_| fails_after(s(4))).await.unwrap_err();
    assert_eq!(error.attempts(), 3);
    assert!(matches!(error, Error::TimedOut { limit: Limit::Call, .. }), "{error:?}");
    assert_eq!(before.elapsed().as_secs(), 10);
    assert!(began.elapsed() < s(5));
}

static SHARED: LazyLock<Policy> = LazyLock::new(|| {
    let config = breaker::Config { trip: vec![Trip::consecutive(2)], ..Default::default() };
    Policy::builder("shared").breaker(config).build().unwrap()
});

/// A policy in a `static` is made once and used under one runtime after the other.
#[test]
fn a_policy_that_was_made_elsewhere_follows_each_paused_runtime() {
    let runtime =
        |paused| tokio::runtime::Builder::new_current_thread().enable_time().start_paused(paused).build().unwrap();
    let made_before = runtime(true);
    assert_eq!(runtime(false).block_on(async { SHARED.call(|_| async { Ok::<_, ()>(1) }).await }), Ok(1));
    for runtime in [made_before, runtime(true)] {
        runtime.block_on(async {
            let breaker = SHARED.breaker().unwrap();
            breaker.reset();
            for _ in 0..2 {
                SHARED.call(|_| async { Err::<(), _>("down") }).await.unwrap_err();
            }
            assert_eq!(breaker.stats().remaining, s(60));
            tokio::time::sleep(s(59)).await;
            assert_eq!(breaker.state(), State::Open);
            tokio::time::sleep(s(1)).await;
            assert_eq!(breaker.state(), State::HalfOpen);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn the_registry_of_the_process_waits_in_virtual_time() {
    let retry = Retry::constant(s(60)).max_retries(2).into();
    Registry::global().configure("patient", config::Config { retry: Some(retry), ..Default::default() }).unwrap();
    let began = std::time::Instant::now();
    let before = tokio::time::Instant::now();
    Registry::global().policy("patient").call(|_| async { Err::<(), _>("down") }).await.unwrap_err();
    assert!(before.elapsed() > s(90) && began.elapsed() < s(5));
}

/// Whoever blocks the thread of a paused runtime waits in real time, and the wait ends.
#[tokio::test(start_paused = true)]
async fn a_call_that_blocks_comes_to_an_end() {
    let retry = Retry::constant(Duration::from_millis(5)).max_retries(2);
    let policy = Policy::builder("blocks").retry(retry).build().unwrap();
    assert_eq!(policy.call_sync(|_| Err::<(), _>("down")).run().unwrap_err().attempts(), 3);
}
