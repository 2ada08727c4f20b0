//! What the async door adds to the core: guards, wakers, clocks, listeners, inherited deadlines.
#![cfg(test)]

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stormproof::breaker::{self, State};
use stormproof::{
    Bulkhead, CircuitBreaker, Clock, Error, Limit, Policy, RateLimiter, Retry, Trip, Verdict, bulkhead, rate,
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn slots(max_concurrent: u32, clock: &Clock) -> Bulkhead {
    let config = bulkhead::Config { max_concurrent, ..Default::default() };
    Bulkhead::with_clock("slots", config, clock).unwrap()
}

fn trips_at_once(clock: &Clock) -> CircuitBreaker {
    let config = breaker::Config { trip: vec![Trip::consecutive(1)], ..Default::default() };
    CircuitBreaker::with_clock("fragile", config, clock).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_nested_policy_that_does_not_see_the_context_has_only_what_is_left() {
    let clock = Clock::tokio();
    let outer = Policy::builder("outer").clock(&clock).deadline(ms(200)).build().unwrap();
    let inner = Policy::builder("inner").clock(&clock).deadline(ms(30_000)).build().unwrap();
    let began = clock.now();

    let result = outer
        .call(|_| async {
            tokio::time::sleep(ms(50)).await;
            inner.call(|_| std::future::pending::<Result<(), &str>>()).await
        })
        .await;

    assert_eq!(clock.now().since(began), ms(200));
    let inner_error = match result {
        Err(Error::Failed { error, .. }) => error,
        other => panic!("the inner policy notices first, as it is polled first: {other:?}"),
    };
    assert!(matches!(inner_error, Error::TimedOut { limit: Limit::Inherited, elapsed, .. } if elapsed == ms(150)));
}

#[tokio::test(start_paused = true)]
async fn an_inherited_deadline_does_not_leak_out_of_the_attempt() {
    let clock = Clock::tokio();
    let outer = Policy::builder("outer").clock(&clock).deadline(ms(10)).build().unwrap();
    let _ = outer.call(|_| async { Err::<(), _>("no") }).await;

    let free = Policy::builder("free").clock(&clock).build().unwrap();
    let answer = free
        .call(|cx| async move {
            tokio::time::sleep(ms(500)).await;
            Ok::<_, &str>(cx.remaining())
        })
        .await;
    assert_eq!(answer, Ok(None));
}

#[tokio::test]
async fn what_is_held_is_kept_until_it_is_settled_and_dropping_it_counts_neither_way() {
    let clock = Clock::manual();
    let (slots, breaker) = (slots(1, &clock), trips_at_once(&clock));
    let policy = Policy::builder("body").bulkhead(&slots).breaker(&breaker).build().unwrap();

    let (value, held) = policy.call(|_| async { Ok::<_, &str>(7) }).hold().await.unwrap();
    assert_eq!((value, slots.stats().active, breaker.stats().successes), (7, 1, 0));
    drop(held);
    assert_eq!((slots.stats().active, breaker.stats().successes, breaker.stats().ignored), (0, 0, 1));

    let ((), held) = policy.call(|_| async { Ok::<_, &str>(()) }).hold().await.unwrap();
    held.settle(&Verdict::failure("BrokenBody"));
    assert_eq!((slots.stats().active, breaker.state()), (0, State::Open));
}

#[tokio::test]
async fn an_operation_that_panics_gives_everything_back_and_counts_neither_way() {
    let clock = Clock::manual();
    let (slots, breaker) = (slots(1, &clock), trips_at_once(&clock));
    let policy = Policy::builder("panics").bulkhead(&slots).breaker(&breaker).build().unwrap();

    let call = policy
        .call(|_| async { if slots.stats().active == 1 { panic!("as the test wants") } else { Ok::<(), &str>(()) } });
    let outcome = futures_catch(call.into_future()).await;

    assert!(outcome.is_err());
    assert_eq!((slots.stats().active, breaker.stats().ignored, breaker.state()), (0, 1, State::Closed));
}

/// Awaits and catches a panic, dropping the future.
async fn futures_catch<T>(future: impl Future<Output = T>) -> Result<T, ()> {
    let mut future = Box::pin(future);
    std::future::poll_fn(|cx| match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(_) => std::task::Poll::Ready(Err(())),
    })
    .await
}

#[tokio::test]
async fn a_manual_clock_moves_the_open_wait_and_wakes_a_backoff() {
    let clock = Clock::manual();
    let breaker = trips_at_once(&clock);
    let _ = breaker.call(|_| async { Err::<(), _>("down") }).await;
    assert_eq!(breaker.state(), State::Open);
    clock.advance(Duration::from_secs(60));
    assert_eq!(breaker.state(), State::HalfOpen);

    let retry = Retry::constant(ms(100)).jitter(stormproof::Jitter::None);
    let policy = Policy::builder("waits").clock(&clock).retry(retry).build().unwrap();
    let waiting = tokio::spawn(async move {
        policy.call(|cx| async move { if cx.attempt() == 1 { Err("first") } else { Ok(cx.attempt()) } }).await
    });
    tokio::task::yield_now().await;
    clock.advance(ms(99));
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    clock.advance(ms(1));
    assert_eq!(waiting.await.unwrap(), Ok(2));
}

#[tokio::test]
async fn a_breaker_tells_its_listeners_whichever_policy_moved_it() {
    let clock = Clock::manual();
    let breaker = trips_at_once(&clock);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    breaker.on_state_change(move |old, new| noted.lock().unwrap().push((old, new)));
    let policy = Policy::builder("other").breaker(&breaker).build().unwrap();

    let _ = policy.call(|_| async { Err::<(), _>("down") }).await;
    breaker.reset();
    breaker.reset();

    assert_eq!(*seen.lock().unwrap(), [(State::Closed, State::Open), (State::Open, State::Closed)]);
}

#[tokio::test]
async fn subscribers_see_events_in_order_and_are_told_what_they_missed() {
    let clock = Clock::manual();
    let breaker = trips_at_once(&clock);
    let mut events = breaker.policy().subscribe();
    let _ = breaker.call(|_| async { Err::<(), _>("down") }).await;
    let names: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.kind.as_str()).collect();
    assert_eq!(names, ["circuit_opened", "call_failed"]);

    for _ in 0..stormproof::events::QUEUE {
        breaker.set_mode(breaker::Mode::ForcedOpen);
        breaker.reset();
    }
    assert!(matches!(events.try_recv(), Err(tokio::sync::broadcast::error::TryRecvError::Lagged(n)) if n > 0));
}

#[tokio::test(start_paused = true)]
async fn who_asked_hears_of_each_retry_before_its_wait_and_cannot_break_the_call() {
    let clock = Clock::tokio();
    let began = clock.now();
    let retry = Retry::linear(ms(100)).jitter(stormproof::Jitter::None).max_retries(2);
    let policy = Policy::builder("noted").clock(&clock).retry(retry).build().unwrap();
    let heard = Mutex::new(Vec::new());

    let result = policy
        .call(|cx| async move { Err::<(), _>(cx.attempt()) })
        .on_retry(|retry, result, delay| {
            heard.lock().unwrap().push((
                retry,
                result.unwrap().copied().map_err(|e| *e),
                delay,
                clock.now().since(began),
            ));
            panic!("as the test wants");
        })
        .await;

    assert_eq!(result.unwrap_err().attempts(), 3);
    let heard = heard.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    assert_eq!(heard, [(1, Err(1), ms(100), ms(0)), (2, Err(2), ms(200), ms(100))]);
}

#[test]
fn a_policy_and_the_stages_it_shares_must_have_one_clock() {
    let breaker = trips_at_once(&Clock::manual());
    let mistakes = Policy::builder("mixed").clock(&Clock::manual()).breaker(&breaker).build().unwrap_err();
    assert!(mistakes.to_string().starts_with("clock is not that of a shared stage"), "{mistakes}");
    assert!(Policy::builder("same").breaker(&breaker).build().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_slot_freed_under_one_policy_wakes_who_waits_under_another() {
    let clock = Clock::tokio();
    let slots = slots(1, &clock);
    let first = Policy::builder("first").bulkhead(&slots).build().unwrap();
    let second = Policy::builder("second").bulkhead(&slots).build().unwrap();

    let held = first.admit().await.unwrap();
    let waiting = tokio::spawn(async move { second.call(|_| async { Ok::<_, &str>("through") }).await });
    tokio::time::sleep(ms(20)).await;
    assert_eq!(slots.stats().queued, 1);
    drop(held);
    assert_eq!(waiting.await.unwrap(), Ok("through"));
    assert_eq!((slots.stats().active, slots.stats().queued), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_a_storm_of_calls_that_end_in_every_way_all_counters_are_back() {
    let clock = Clock::system();
    let slots = Bulkhead::with_clock(
        "slots",
        bulkhead::Config { max_concurrent: 5, max_queue: 40, queue_timeout: ms(20), ..Default::default() },
        &clock,
    )
    .unwrap();
    let limiter =
        RateLimiter::with_clock("rate", rate::Config { rate: 20_000, burst: Some(100), ..Default::default() }, &clock)
            .unwrap();
    let breaker = CircuitBreaker::with_clock(
        "breaker",
        breaker::Config { trip: vec![Trip::consecutive(8)], open_duration: ms(2), ..Default::default() },
        &clock,
    )
    .unwrap();
    let policy = Policy::builder("storm")
        .deadline(ms(80))
        .attempt_timeout(ms(5))
        .retry(Retry::constant(ms(1)).max_retries(2))
        .bulkhead(&slots)
        .rate(&limiter)
        .breaker(&breaker)
        .build()
        .unwrap();

    let succeeded = Arc::new(AtomicU32::new(0));
    let calls: Vec<_> = (0..2_000_u64)
        .map(|n| {
            let (policy, succeeded) = (policy.clone(), succeeded.clone());
            tokio::spawn(async move {
                let call = policy.call(|cx| async move {
                    match (n + u64::from(cx.attempt())) % 7 {
                        0 => Err("down"),
                        1 => std::future::pending().await,
                        2 => {
                            tokio::time::sleep(ms(1)).await;
                            Ok(())
                        }
                        _ => Ok(()),
                    }
                });
                // Every fifth caller hangs up early.
                let patience = if n % 5 == 0 { ms(n % 4) } else { ms(1_000) };
                if let Ok(Ok(())) = tokio::time::timeout(patience, call).await {
                    succeeded.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }

    assert!(succeeded.load(Ordering::Relaxed) > 0);
    let stats = slots.stats();
    assert_eq!((stats.active, stats.queued), (0, 0));
    assert_eq!(limiter.stats().waiting, 0);
    tokio::time::sleep(ms(10)).await;
    assert_eq!(breaker.stats().half_open_calls, 0);
}

/// Calls that go with the last waker that holds them, as a simple executor has it.
struct Owner(
    #[expect(dead_code, reason = "held only to be dropped")]
    Mutex<Vec<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>>>,
);

impl std::task::Wake for Owner {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_waker_that_drops_queued_calls_when_it_is_replaced_meets_no_lock() {
    let (finished, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let slots = slots(1, &Clock::manual());
        let policy = slots.policy().clone();
        let idle = &mut std::task::Context::from_waker(std::task::Waker::noop());
        let mut queued = || {
            let policy = policy.clone();
            let mut call: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> =
                Box::pin(async move { std::mem::forget(policy.admit().await) });
            let pending = call.as_mut().poll(idle).is_pending();
            (call, pending)
        };
        let (_holder, pending) = queued();
        assert!(!pending);
        // More than the table has shards, so that one of them shares the shard of the last.
        let others: Vec<_> = (0..40).map(|_| queued().0).collect();
        let (mut last, _) = queued();
        assert_eq!(slots.stats().queued, 41);

        let owner = std::task::Waker::from(Arc::new(Owner(Mutex::new(others))));
        assert!(last.as_mut().poll(&mut std::task::Context::from_waker(&owner)).is_pending());
        drop(owner);
        assert_eq!(slots.stats().queued, 41, "the table holds them now");
        let idle = &mut std::task::Context::from_waker(std::task::Waker::noop());
        assert!(last.as_mut().poll(idle).is_pending());
        finished.send(slots.stats().queued).unwrap();
    });
    assert_eq!(done.recv_timeout(Duration::from_secs(10)), Ok(1), "nobody waits for a lock of his own");
}

#[tokio::test]
async fn a_policy_without_stages_knows_how_long_a_call_took() {
    let clock = Clock::manual();
    let policy = Policy::builder("bare").clock(&clock).build().unwrap();
    let result = policy.call(|_| {
        clock.advance(ms(7));
        std::future::ready(Err::<(), _>("down"))
    });
    assert!(matches!(result.await, Err(Error::Failed { elapsed, .. }) if elapsed == ms(7)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_retried_is_let_go_before_the_next_attempt() {
    let policy = Policy::builder("p").clock(&Clock::tokio()).retry(Retry::constant(ms(100))).build().unwrap();
    let answer = Arc::new(());
    let call = policy.call(|cx| {
        let kept = Arc::strong_count(&answer);
        assert!(cx.attempt() == 1 || kept == 1, "a connection may hang on it");
        let answer = answer.clone();
        async move {
            tokio::time::sleep(ms(100)).await;
            Ok::<_, &str>(answer)
        }
    });
    let call = call.classify_with(|_| Verdict::failure("ServerError"));
    assert_eq!(Arc::strong_count(&call.await.unwrap()), 2, "the last one comes back");
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_retry_is_refused_comes_back() {
    let slot = Bulkhead::with_clock(
        "b",
        bulkhead::Config { max_concurrent: 1, max_queue: 0, ..Default::default() },
        &Clock::tokio(),
    );
    let slot = slot.unwrap();
    let policy = Policy::builder("p").bulkhead(&slot).retry(Retry::constant(ms(100))).build().unwrap();
    let call = policy.call(|_| async { Ok::<_, &str>("try later") });
    let mut call = Box::pin(call.classify_with(|_| Verdict::failure("Overloaded")).into_future());
    assert!(tokio::time::timeout(ms(50), &mut call).await.is_err(), "it backs off");
    let taken = slot.acquire().await.unwrap();
    assert_eq!(call.await, Ok("try later"), "it is more than a refusal");
    drop(taken);
    assert_eq!(slot.stats().active, 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_retry_never_begins_in_time_comes_back() {
    let slot = Bulkhead::with_clock("b", bulkhead::Config { max_concurrent: 1, ..Default::default() }, &Clock::tokio());
    let slot = slot.unwrap();
    let policy =
        Policy::builder("p").bulkhead(&slot).deadline(ms(500)).retry(Retry::constant(ms(100))).build().unwrap();
    let call = policy.call(|_| async { Ok::<_, &str>("try later") });
    let mut call = Box::pin(call.classify_with(|_| Verdict::failure("Overloaded")).into_future());
    assert!(tokio::time::timeout(ms(50), &mut call).await.is_err(), "it backs off");
    let _taken = slot.acquire().await.unwrap();
    assert_eq!(call.await, Ok("try later"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_what_a_later_attempt_that_hangs_came_to() {
    let policy = Policy::builder("p").clock(&Clock::tokio()).retry(Retry::constant(ms(1)).max_retries(1));
    let policy = policy.attempt_timeout(ms(100)).build().unwrap();
    let call = policy.call(|cx| async move {
        if cx.attempt() > 1 {
            std::future::pending::<()>().await;
        }
        Ok::<_, &str>("try later")
    });
    let error = call.classify_with(|_| Verdict::failure("Overloaded")).await.unwrap_err();
    assert!(error.is_timeout() && error.attempts() == 2);
}

#[tokio::test]
async fn an_operation_that_panics_when_it_is_dropped_gives_everything_back() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    let bulkhead = slots(1, &Clock::system());
    let call = bulkhead.call(|_| async {
        let _bomb = Bomb;
        std::future::pending::<Result<(), &str>>().await
    });
    let mut call = Box::pin(call.into_future());
    let waits = std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx).is_pending()));
    assert!(waits.await && bulkhead.stats().active == 1);
    assert!(std::panic::catch_unwind(AssertUnwindSafe(|| drop(call))).is_err());
    assert_eq!(bulkhead.stats().active, 0);
}

#[tokio::test]
async fn a_wait_of_no_length_lets_other_tasks_run() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    let other_ran = Arc::new(AtomicBool::new(false));
    let policy = Policy::builder("p").retry(Retry::constant(Duration::ZERO).max_retries(2_000_000)).build().unwrap();
    let ran = other_ran.clone();
    tokio::spawn(async move { ran.store(true, Ordering::Relaxed) });
    let call = policy.call(|_| std::future::ready(if other_ran.load(Ordering::Relaxed) { Ok(()) } else { Err("no") }));
    assert_eq!(call.await, Ok(()), "another task ran between two attempts");
}
