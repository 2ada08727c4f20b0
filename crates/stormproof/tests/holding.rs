//! What a call that holds leaves behind.

#![cfg(test)]
#![allow(clippy::float_cmp, reason = "the numbers are exact")]

use std::time::Duration;

use stormproof::{Clock, Cx, Policy, Verdict, breaker, bulkhead, hedge, rate};

fn policy() -> Policy {
    let bulkhead = bulkhead::Config { max_concurrent: 1, max_queue: 0, ..Default::default() };
    Policy::builder("tests").bulkhead(bulkhead).breaker(breaker::Config::default()).build().unwrap()
}

fn active(policy: &Policy) -> f64 {
    policy.snapshots().iter().find_map(|stage| stage.get("active", "")).unwrap()
}

#[tokio::test]
async fn an_error_that_counts_neither_way_has_nobody_to_hold_for() {
    let policy = policy();
    let rejected = policy.call(|_| async { Err::<(), _>("no") }).classify_with(|_| Verdict::ignored("Rejected"));
    assert!(rejected.hold().await.is_err());
    assert_eq!(active(&policy), 0.0);
}

#[tokio::test]
async fn an_answer_is_held_until_it_is_settled() {
    let policy = policy();
    let (answer, held) = policy.call(|_| async { Ok::<_, &str>(42) }).hold().await.unwrap();
    assert_eq!((answer, active(&policy)), (42, 1.0));
    held.settle(&Verdict::success());
    assert_eq!(active(&policy), 0.0);
    assert_eq!(policy.snapshots()[0].get("calls", "success"), Some(1.0));
}

#[tokio::test]
async fn a_value_that_is_a_failure_counts_at_once_and_keeps_its_slot_to_the_end() {
    let policy = policy();
    let failing = || policy.call(|_| async { Ok::<_, &str>(503) }).classify_with(|_| Verdict::failure("ServerError"));

    let (status, held) = failing().hold().await.unwrap();
    assert_eq!((status, active(&policy)), (503, 1.0));
    held.settle(&Verdict::failure("ServerError"));
    assert_eq!(active(&policy), 0.0);
    assert_eq!(policy.snapshots()[0].get("calls", "failure"), Some(1.0));

    assert_eq!((failing().await, active(&policy)), (Ok(503), 0.0));
}

fn judge<'a>(result: Result<&'a u32, &'a &'static str>) -> Verdict<'a> {
    if result == Ok(&200) { Verdict::success() } else { Verdict::failure("ServerError") }
}

/// A failure is followed at once by another attempt, in the only slot.
#[tokio::test]
async fn a_failure_leaves_its_slot_to_the_hedge_though_the_call_is_to_hold() {
    for first in [Ok(503), Err("down")] {
        for answer in [200, 504] {
            let hedge = hedge::Config::from(Duration::MAX);
            let bulkhead = bulkhead::Config { max_concurrent: 1, max_queue: 0, ..Default::default() };
            let policy = Policy::builder("tests").bulkhead(bulkhead).hedge(hedge).build().unwrap();
            let operation = |cx: Cx<'_>| std::future::ready(if cx.attempt() == 1 { first } else { Ok(answer) });
            assert_eq!(policy.call(operation).classify_with(judge).await, Ok(answer));
            let (held_answer, held) = policy.call(operation).classify_with(judge).hold().await.unwrap();
            assert_eq!((held_answer, active(&policy)), (answer, 1.0), "the last word keeps the slot, good or bad");
            drop(held);
            assert_eq!(active(&policy), 0.0);

            let operation = |cx: Cx<'_>| if cx.attempt() == 1 { first } else { Ok(answer) };
            let (held_answer, held) = policy.call_sync(operation).classify_with(judge).hold().run().unwrap();
            assert_eq!((held_answer, active(&policy)), (answer, 1.0));
            drop(held);
        }
    }
}

/// Another hedge is not possible, and the answer is not lost for having been prepared to go.
#[tokio::test]
async fn a_failure_keeps_its_slot_when_no_hedge_can_start() {
    let hedge = hedge::Config::from(Duration::MAX);
    let bulkhead = bulkhead::Config { max_concurrent: 1, max_queue: 0, ..Default::default() };
    let rate = rate::Config { rate: 1, per: Duration::from_secs(86_400), burst: Some(1), ..Default::default() };
    let policy = Policy::builder("tests").bulkhead(bulkhead).hedge(hedge).rate(rate).build().unwrap();
    let call = policy.call(|_| async { Ok::<_, &str>(503) }).classify_with(|_| Verdict::failure("ServerError"));
    let (status, held) = call.hold().await.unwrap();
    assert_eq!((status, active(&policy)), (503, 1.0));
    drop(held);
    assert_eq!(active(&policy), 0.0);
}

#[tokio::test]
async fn an_error_gives_its_slot_back_though_the_call_was_to_hold() {
    let policy = policy();
    let mut call = Box::pin(policy.call(|_| async { Err::<(), _>("down") }).hold().into_future());
    assert!(call.as_mut().await.is_err());
    assert_eq!(active(&policy), 0.0, "while the future is still there");
}

#[tokio::test(start_paused = true)]
async fn work_that_is_held_without_an_answer_is_not_measured_as_no_time() {
    let clock = Clock::tokio();
    let policy = Policy::builder("tests").hedge(hedge::Delay::percentile(0.95)).clock(&clock).build().unwrap();
    for _ in 0..20 {
        let admitted = policy.admit().await.unwrap();
        let ((), held) = policy.call(|_| async { Ok::<_, &str>(()) }).hold().await.unwrap();
        let ((), blocking) = policy.call_sync(|_| Ok::<_, &str>(())).hold().run().unwrap();
        let blocking_admitted = policy.admit_sync().unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        for held in [admitted, held, blocking, blocking_admitted] {
            held.settle(&Verdict::success());
        }
    }
    let latency = policy.stages().latency.clone().unwrap();
    assert_eq!((latency.count(), latency.quantile(clock.now(), 0.95)), (0, None));
}

#[test]
fn what_is_not_there_at_once_is_refused_and_nothing_is_kept() {
    use stormproof::{Clock, RateLimiter, Reason, Retry, rate};
    let clock = Clock::manual();
    let config = rate::Config { rate: 1, burst: Some(2), ..Default::default() };
    let tokens = RateLimiter::with_clock("tokens", config, &clock).unwrap();
    let slots = bulkhead::Config { max_concurrent: 2, ..Default::default() };
    let retry = Retry::default();
    let policy = Policy::builder("p").clock(&clock).bulkhead(slots).tokens(&tokens).retry(retry).build().unwrap();
    let held = policy.try_admit_cost(2).unwrap();
    let refused = policy.try_admit_cost(1).unwrap_err();
    assert_eq!(refused.refused().map(|refused| refused.reason), Some(Reason::WaitTooLong));
    assert_eq!((active(&policy), tokens.stats().waiting), (1.0, 0), "the slot of the refused one is free");
    drop(held);
    clock.advance(std::time::Duration::from_secs(1));
    assert!(policy.try_admit().is_ok());
}
