//! What a call that holds leaves behind.

#![allow(clippy::unwrap_used, clippy::float_cmp)]

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
