//! What the sync door adds to the core: threads that wait, panics, deadlines across doors.
#![cfg(test)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::time::Duration;

use stormproof::{
    Bulkhead, CircuitBreaker, Clock, Error, Fallback, Instant, Limit, Policy, RateLimiter, Retry, Stop, Verdict,
    breaker, bulkhead, hedge, rate,
};

const fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn one_slot(clock: &Clock) -> Bulkhead {
    Bulkhead::with_clock("one", bulkhead::Config { max_concurrent: 1, ..Default::default() }, clock).unwrap()
}

#[test]
fn nothing_is_copied_not_even_for_a_retry() {
    struct Request(u32);
    let clock = Clock::stepping();
    let policy = Policy::builder("p").retry(Retry::constant(s(1)).max_retries(2)).clock(&clock).build().unwrap();
    let mut request = Request(0);
    let error = policy.call_sync(|_| {
        request.0 += 1;
        Err::<(), _>("no")
    });
    assert_eq!(error.run().unwrap_err().attempts(), 3);
    assert_eq!(request.0, 3);
}

#[test]
fn threads_wait_in_line_for_a_slot_on_the_systems_clock() {
    let bulkhead = one_slot(&Clock::system());
    let (first, order) = (bulkhead.acquire_sync().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let (waits, order) = (bulkhead.clone(), order.clone());
            let thread = std::thread::spawn(move || {
                let _slot = waits.acquire_sync().unwrap();
                order.lock().unwrap().push(number);
            });
            while bulkhead.stats().queued <= number {
                std::thread::yield_now();
            }
            thread
        })
        .collect();
    drop(first);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
    assert_eq!((bulkhead.stats().active, bulkhead.stats().queued), (0, 0));
}

#[test]
fn many_threads_at_one_slot_lose_nothing() {
    let bulkhead = one_slot(&Clock::system());
    let (inside, calls) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let call = bulkhead.call_sync(|_| {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        calls.fetch_add(1, Ordering::Relaxed);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        Ok::<_, ()>(())
                    });
                    call.run().unwrap();
                }
            });
        }
    });
    assert_eq!((calls.into_inner(), bulkhead.stats().active, bulkhead.stats().queued), (4_000, 0, 0));
}

#[test]
fn a_manual_clock_is_moved_by_another_thread() {
    let clock = Clock::manual();
    let policy = Policy::builder("p").retry(Retry::constant(s(60)).max_retries(1)).clock(&clock).build().unwrap();
    let (sent, waits) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let call = policy.call_sync(|cx| if cx.attempt() == 1 { Err("no") } else { Ok(()) });
        call.on_retry(move |_, _, _| sent.send(()).unwrap()).run()
    });
    waits.recv().unwrap();
    while !thread.is_finished() {
        clock.advance(s(30));
        std::thread::yield_now();
    }
    assert_eq!(thread.join().unwrap(), Ok(()));
}

#[test]
fn a_panic_gives_everything_back() {
    let clock = Clock::stepping();
    let (bulkhead, breaker) =
        (one_slot(&clock), CircuitBreaker::with_clock("b", breaker::Config::default(), &clock).unwrap());
    let policy = Policy::builder("p").bulkhead(&bulkhead).breaker(&breaker).build().unwrap();
    let panics = || policy.call_sync(|_| -> Result<(), ()> { panic!("as the test says") }).run();
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert_eq!(bulkhead.stats().active, 0);
    assert_eq!((breaker.stats().ignored, breaker.stats().failures), (1, 0));
}

#[test]
fn an_attempt_is_told_its_limit_and_judged_by_its_result_when_it_ends_late() {
    let clock = Clock::stepping();
    let builder = Policy::builder("p").attempt_timeout(s(1)).deadline(s(5)).clock(&clock);
    let policy = builder.retry(Retry::constant(s(1)).max_retries(9)).seed(1).build().unwrap();
    let late = policy.call_sync(|cx| {
        assert_eq!(cx.remaining(), Some(s(1)));
        clock.sleep(s(60));
        Ok::<_, ()>(cx.remaining())
    });
    assert_eq!(late.run().unwrap(), Some(Duration::ZERO));

    let late = policy.call_sync(|_| {
        clock.sleep(s(60));
        Err::<(), _>("too late")
    });
    let error = late.run().unwrap_err();
    assert!(matches!(error, Error::Failed { error: "too late", stop: Stop::Deadline, attempts: 1, .. }), "{error:?}");
}

#[test]
fn a_hedge_follows_a_failed_attempt_and_never_runs_beside_a_slow_one() {
    let clock = Clock::stepping();
    let policy = Policy::builder("p").hedge(hedge::Config::from(s(1))).clock(&clock).build().unwrap();
    let slow = policy.call_sync(|cx| {
        clock.sleep(s(9));
        Ok::<_, ()>(cx.attempt())
    });
    assert_eq!((slow.run(), clock.now()), (Ok(1), Instant::ZERO + s(9)));

    let failing = policy.call_sync(|cx| if cx.attempt() == 1 { Err("no") } else { Ok(cx.attempt()) });
    assert_eq!((failing.run(), clock.now()), (Ok(2), Instant::ZERO + s(9)));
}

#[test]
fn a_deadline_bounds_the_wait_for_a_slot() {
    let clock = Clock::stepping();
    let bulkhead = one_slot(&clock);
    let _taken = bulkhead.acquire_sync().unwrap();
    let began = clock.now();
    let error = bulkhead.call_sync(|_| Ok::<_, ()>(())).deadline(s(3)).run().unwrap_err();
    assert!(matches!(error, Error::TimedOut { limit: Limit::Call, .. }), "{error:?}");
    assert_eq!((clock.now().since(began), bulkhead.stats().queued), (s(3), 0));
}

#[test]
fn what_was_reserved_is_corrected_by_what_was_held() {
    let clock = Clock::stepping();
    let config = rate::Config { rate: 1_000, burst: Some(1_000), ..Default::default() };
    let limiter = RateLimiter::with_clock("tokens", config, &clock).unwrap();
    let ((), held) = limiter.call_sync(|_| Ok::<_, ()>(())).cost(1_000).hold().run().unwrap();
    assert_eq!(limiter.peek(600), Duration::from_millis(600));
    held.settle(&Verdict::success().used(400));
    assert_eq!(limiter.peek(600), Duration::ZERO);
    limiter.acquire_sync(600).unwrap();
    limiter.reserve_sync(100).unwrap().release();
    assert_eq!(clock.now(), Instant::ZERO + Duration::from_millis(100));
}

#[tokio::test]
async fn a_deadline_is_inherited_from_an_async_call_and_by_one() {
    let clock = Clock::stepping();
    let build = |limit| Policy::builder("p").deadline(limit).clock(&clock).build().unwrap();
    let (outer, inner) = (build(s(2)), build(s(30)));
    let left = outer.call(|_| async { inner.call_sync(|cx| Ok::<_, ()>(cx.remaining())).run() }).await;
    assert_eq!(left.unwrap(), Some(s(2)));

    let blocking = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let nested = || runtime.block_on(inner.call(|cx| async move { Ok::<_, ()>(cx.remaining()) }).into_future());
        outer.call_sync(|_| nested()).run().unwrap()
    });
    assert_eq!(blocking.await.unwrap(), Some(s(2)));
}

#[tokio::test]
async fn a_thread_and_a_task_wait_in_one_line() {
    let bulkhead = one_slot(&Clock::system());
    let held = bulkhead.acquire().await.unwrap();
    let blocked = tokio::task::spawn_blocking({
        let bulkhead = bulkhead.clone();
        move || bulkhead.acquire_sync().map(drop)
    });
    while bulkhead.stats().queued == 0 {
        tokio::task::yield_now().await;
    }
    drop(held);
    blocked.await.unwrap().unwrap();
    assert_eq!(bulkhead.stats().active, 0);
}

#[test]
fn threads_on_a_stepping_clock_take_turns_and_the_same_ones_each_time() {
    let run = || {
        let clock = Clock::stepping();
        let log = Arc::new(Mutex::new(Vec::new()));
        let threads: Vec<_> = (1..=3_u64)
            .map(|number| {
                let (own, log) = (clock.clone(), log.clone());
                clock.spawn(move || {
                    for _ in 0..3 {
                        own.sleep(s(number));
                        log.lock().unwrap().push((own.now().since(Instant::ZERO).as_secs(), number));
                    }
                    assert!(number != 2, "as the test says");
                })
            })
            .collect();
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join().is_ok()).collect();
        assert_eq!((ends, clock.now()), (vec![true, false, true], Instant::ZERO + s(9)));
        Arc::try_unwrap(log).unwrap().into_inner().unwrap()
    };
    let expected = [(1, 1), (2, 2), (2, 1), (3, 3), (3, 1), (4, 2), (6, 3), (6, 2), (9, 3)];
    assert_eq!((run(), run()), (expected.to_vec(), expected.to_vec()));
}

#[test]
fn a_wake_up_is_not_lost_to_a_fallback_that_parks_its_thread_itself() {
    let parks = Fallback::with(|_: &Error<&str>| {
        let mut woken = false;
        std::future::poll_fn(move |cx| {
            if std::mem::replace(&mut woken, true) {
                return Poll::Ready(Ok(7));
            }
            cx.waker().wake_by_ref();
            // As any library may that is called here; the sign to wake up is gone.
            std::thread::park_timeout(Duration::from_millis(1));
            Poll::Pending
        })
    });
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let policy = Policy::builder("p").build().unwrap();
        let _ = done.send(policy.call_sync(|_| Err("down")).fallback_shared(&parks).run());
    });
    assert_eq!(is_done.recv_timeout(s(20)).unwrap(), Ok(7));
}
