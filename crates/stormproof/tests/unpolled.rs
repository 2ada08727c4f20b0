//! A caller in a queue that nobody polls (a branch of a `select!`, a place in a buffered stream) stalls nobody.
#![cfg(test)]

use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use stormproof::{Bulkhead, Clock, Error, Policy, RateLimiter, Reason, Verdict, bulkhead, rate};

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
    let holder = slots.acquire().await.unwrap();
    let mut head = pin!(slots.acquire());
    assert!(!poll_once(head.as_mut()));
    let other = slots.clone();
    let behind = tokio::spawn(async move { timed(other.acquire()).await });
    tokio::time::sleep(ms(100)).await;
    // When: the slot comes free.
    drop(holder);
    // Then: the one behind has it, and the head after that.
    let (got, waited) = behind.await.unwrap();
    assert!(waited <= ms(120), "{waited:?}");
    drop(got.unwrap());
    drop(head.await.unwrap());
    // A newcomer has it as well.
    let holder = slots.acquire().await.unwrap();
    let mut head = pin!(slots.acquire());
    assert!(!poll_once(head.as_mut()));
    drop(holder);
    let (got, waited) = timed(slots.acquire()).await;
    assert!(got.is_ok() && waited <= ms(20), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn an_unpolled_wait_for_a_slot_ends_by_itself() {
    let slots = one_slot(ms(500));
    let holder = slots.acquire().await.unwrap();
    let mut head = pin!(slots.acquire());
    assert!(!poll_once(head.as_mut()));
    tokio::time::sleep(ms(1_000)).await;
    drop(holder);
    let (got, waited) = timed(slots.acquire()).await;
    assert!(got.is_ok() && waited <= ms(20), "{waited:?}");
    assert!(matches!(head.await, Err(Error::Refused { refused, .. }) if refused.reason == Reason::QueueTimeout));
}

fn limiter(config: rate::Config) -> RateLimiter {
    RateLimiter::with_clock("rate", config, &Clock::tokio()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_unpolled_head_of_a_limiters_queue_delays_nobody() {
    // Given: ten a second, none left, and a head that was polled once.
    let limiter = limiter(rate::Config { rate: 10, burst: Some(1), ..Default::default() });
    limiter.acquire(1).await.unwrap();
    let mut head = pin!(limiter.acquire(1));
    assert!(!poll_once(head.as_mut()));
    // Then: the next one on the same task and one on another pass in their turn.
    let (got, waited) = timed(limiter.acquire(1)).await;
    assert!(got.is_ok() && (ms(200)..=ms(202)).contains(&waited), "{waited:?}");
    let other = limiter.clone();
    let (got, waited) = tokio::spawn(async move { timed(other.acquire(1)).await }).await.unwrap();
    assert!(got.is_ok() && waited <= ms(102), "{waited:?}");
    // The head has what was its own.
    let (got, waited) = timed(head).await;
    assert!(got.is_ok() && waited.is_zero());
    // Nor does one keep others from an idle limiter.
    let mut head = pin!(limiter.reserve(1));
    assert!(!poll_once(head.as_mut()));
    tokio::time::sleep(ms(3_600_000)).await;
    assert!(limiter.try_acquire(1).is_ok());
    assert_eq!((limiter.stats().waiting, limiter.stats().available), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_policys_calls_pass_an_unpolled_one() {
    let policy = Policy::builder("p")
        .clock(&Clock::tokio())
        .rate(rate::Config { rate: 10, burst: Some(1), ..Default::default() })
        .tokens(rate::Config { rate: 100, burst: Some(1), ..Default::default() })
        .build()
        .unwrap();
    let call = || policy.call(|_| async { Ok::<_, ()>(()) });
    call().await.unwrap();
    let mut head = pin!(call().into_future());
    assert!(!poll_once(head.as_mut()));
    let (got, waited) = timed(call().into_future()).await;
    assert!(got.is_ok() && waited <= ms(202), "{waited:?}");
    let mut select = pin!(call().into_future());
    tokio::select! {
        biased;
        _ = select.as_mut() => panic!("its turn is in 100 ms"),
        () = tokio::time::sleep(ms(50)) => {}
    }
    let (got, waited) = timed(policy.admit()).await;
    assert!(got.is_ok() && waited <= ms(202), "{waited:?}");
    head.await.unwrap();
    select.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_rate_ends_when_its_time_is_over() {
    // Given: a queued caller with two seconds of patience. When: what was reserved turns out far dearer.
    let limiter = limiter(rate::Config { rate: 10, max_wait: ms(2_000), ..Default::default() });
    let reserved = limiter.reserve(10).await.unwrap();
    let other = limiter.clone();
    let waiting = tokio::spawn(async move { timed(other.acquire(1)).await });
    tokio::time::sleep(ms(50)).await;
    reserved.settle(&Verdict::success().used(10_000));
    let (got, waited) = waiting.await.unwrap();
    assert!(matches!(got, Err(Error::Refused { refused, .. }) if refused.reason == Reason::WaitTooLong));
    assert!((ms(2_000)..=ms(2_002)).contains(&waited), "{waited:?}");
}

#[test]
fn threads_pass_an_unpolled_head() {
    let clock = Clock::manual();
    let config = rate::Config { rate: 10, burst: Some(1), ..Default::default() };
    let limiter = RateLimiter::with_clock("rate", config, &clock).unwrap();
    assert!(limiter.try_acquire(1).is_ok());
    let mut head = pin!(limiter.acquire(1));
    assert!(!poll_once(head.as_mut()));
    let refused = limiter.try_acquire(1).unwrap_err();
    assert_eq!((refused.reason, refused.retry_after), (Reason::RateExceeded, ms(200)));
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| limiter.acquire_sync(1));
        while limiter.stats().waiting < 2 {
            std::thread::yield_now();
        }
        clock.advance(ms(200));
        thread.join().unwrap().unwrap();
    });
    assert_eq!(limiter.stats().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_at_once_can_be_corrected_or_given_back() {
    let limiter = limiter(rate::Config { rate: 10, ..Default::default() });
    let holder = limiter.try_acquire(10).unwrap();
    holder.settle(&Verdict::success().used(4));
    assert_eq!(limiter.stats().available, 6);
    limiter.try_acquire(6).unwrap().release();
    assert_eq!(limiter.stats().available, 6);
    drop(limiter.try_acquire(6).unwrap());
    let refused = limiter.try_acquire(4).unwrap_err();
    assert_eq!((refused.reason, refused.retry_after), (Reason::RateExceeded, ms(400)));
    assert_eq!(limiter.try_acquire(11).unwrap_err().reason, Reason::AboveBurst);
}
