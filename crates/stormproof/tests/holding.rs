//! What a call that holds leaves behind.

#![cfg(test)]
#![allow(clippy::float_cmp, reason = "the numbers are exact")]

use stormproof::{Policy, Verdict, breaker, bulkhead};

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

#[tokio::test]
async fn an_error_gives_its_slot_back_though_the_call_was_to_hold() {
    let policy = policy();
    let mut call = Box::pin(policy.call(|_| async { Err::<(), _>("down") }).hold().into_future());
    assert!(call.as_mut().await.is_err());
    assert_eq!(active(&policy), 0.0, "while the future is still there");
}
