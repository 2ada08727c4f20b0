//! A caller in a queue that nobody polls (a branch of a `select!`, a place in a buffered stream) stalls nobody.
#![cfg(test)]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use stormproof::{Bulkhead, Clock, Error, Reason, bulkhead};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// How long it took, on the runtime's clock.
async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let began = tokio::time::Instant::now();
    let output = future.await;
    (output, began.elapsed())
}

fn one_slot(queue_timeout: Duration) -> Bulkhead {
    let config = bulkhead::Config { max_concurrent: 1, max_queue: 5, queue_timeout, ..Default::default() };
    Bulkhead::with_clock("slots", config, &Clock::tokio()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_slot_passes_an_unpolled_head_of_the_queue() {
    // Given: a head that was polled once, and one behind it that waits.
    let slots = one_slot(ms(5_000));
    let held = slots.acquire().await.unwrap();
    let mut head = pin!(slots.acquire());
    assert!(!poll_once(head.as_mut()));
    let other = slots.clone();
    let behind = tokio::spawn(async move { timed(other.acquire()).await });
    tokio::time::sleep(ms(100)).await;
    // When: the slot comes free.
    drop(held);
    // Then: the one behind has it, and the head after that.
    let (got, waited) = behind.await.unwrap();
    assert!(waited <= ms(120), "{waited:?}");
    drop(got.unwrap());
    drop(head.await.unwrap());
    // A newcomer has it as well.
    let held = slots.acquire().await.unwrap();
    let mut head = pin!(slots.acquire());
    assert!(!poll_once(head.as_mut()));
    drop(held);
    let (got, waited) = timed(slots.acquire()).await;
    assert!(got.is_ok() && waited <= ms(20), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn an_unpolled_wait_for_a_slot_ends_by_itself() {
    let slots = one_slot(ms(500));
    let held = slots.acquire().await.unwrap();
    let mut head = pin!(slots.acquire());
    assert!(!poll_once(head.as_mut()));
    tokio::time::sleep(ms(1_000)).await;
    drop(held);
    let (got, waited) = timed(slots.acquire()).await;
    assert!(got.is_ok() && waited <= ms(20), "{waited:?}");
    assert!(matches!(head.await, Err(Error::Refused { refused, .. }) if refused.reason == Reason::QueueTimeout));
}
