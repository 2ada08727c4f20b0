//! Fallbacks (T75, T76, conformance 44, 46, 53): when they run, in which order, and what is told.
#![cfg(test)]

use std::future::{pending, ready};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stormproof::breaker::{self, Mode};
use stormproof::event::Kind;
use stormproof::fallback::{self, Used};
use stormproof::{CircuitBreaker, Clock, Error, Fallback, Limit, Policy, Retry, Served, Source, Trip, Verdict};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn bare() -> Policy {
    Policy::builder("bare").clock(&Clock::manual()).build().unwrap()
}

/// What is told of fallbacks.
fn uses(policy: &Policy) -> Arc<Mutex<Vec<Used>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let noted = told.clone();
    policy.on_event(move |event| {
        if let Kind::FallbackUsed(used) = &event.kind {
            noted.lock().unwrap().push(used.clone());
        }
    });
    told
}

fn failed<E>(error: E) -> Error<E> {
    Error::Failed { error, stop: stormproof::Stop::NoRetry, attempts: 1, elapsed: Duration::ZERO }
}

async fn down(_: stormproof::Cx<'_>) -> Result<&'static str, &'static str> {
    Err("down")
}

#[tokio::test]
async fn t_76_a_value_a_function_and_nothing_of_both_if_the_call_succeeds() {
    let policy = bare();
    assert_eq!(policy.call(down).fallback("").await, Ok(""));
    assert_eq!(policy.call(down).fallback_with(|_| ready(Ok("backup"))).await, Ok("backup"));

    let served = policy
        .call(|_| async { Ok::<_, &str>("itself") })
        .fallback_with(|_| -> std::future::Ready<Result<_, _>> { panic!("not called") })
        .served()
        .await;
    assert_eq!(served.map(|served| (served.value, served.source)), Ok(("itself", Source::Call)));
}

#[tokio::test]
async fn t_76_a_function_sees_why_it_is_called() {
    let policy = bare();
    let answer = policy.call(down).fallback_with(|cause| {
        assert_eq!(cause, &failed("down"));
        ready(Ok("seen"))
    });
    assert_eq!(answer.await, Ok("seen"));
}

#[tokio::test]
async fn case_46_a_chain_is_tried_in_order_and_ends_at_the_first_answer() {
    let (policy, order) = (bare(), Mutex::new(Vec::new()));
    let told = uses(&policy);
    let step = |name: &'static str, result| {
        order.lock().unwrap().push(name);
        ready(result)
    };
    let served = policy
        .call(|_| step("call", Err("down")))
        .fallback_with(|_| step("second", Err("second is down")))
        .fallback_with(|_| step("third", Ok("third")))
        .fallback("value")
        .served()
        .await
        .unwrap();
    assert_eq!((served.value, served.source), ("third", Source::Fallback { position: 2 }));
    assert!(served.is_degraded());
    assert_eq!(*order.lock().unwrap(), ["call", "second", "third"]);
    let told: Vec<_> = told.lock().unwrap().iter().map(|used| (used.position, used.to_string())).collect();
    let text = "Primary function failed, using fallback: &str".to_owned();
    assert_eq!(told, [(1, text.clone()), (2, text)]);
}

#[tokio::test]
async fn case_46_one_error_holds_every_cause() {
    let (policy, other) = (bare(), bare());
    let error = policy
        .call(down)
        .fallback_with(|_| ready(Err("second is down")))
        .fallback_to(|_| other.call(|_| ready(Err("third is down"))))
        .fallback_shared(&Fallback::with(|_| ready(Err("fourth is down"))))
        .await
        .unwrap_err();
    let causes = ["down", "second is down", "third is down", "fourth is down"].map(failed);
    assert_eq!(error, Error::AllFailed { causes: causes.to_vec() });
    assert_eq!(error.causes(), causes);
    assert_eq!((error.last(), error.attempts(), error.is_timeout()), (Some(&"down"), 1, false));
    let text = "all fallbacks failed: down; second is down; third is down; fourth is down";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_fallback_is_used_only_for_the_failures_it_is_meant_for() {
    let clock = Clock::manual();
    let breaker = CircuitBreaker::with_clock("agent", breaker::Config::default(), &clock).unwrap();
    let call = || breaker.call(down).fallback("cached").fallback_when(|cause| cause.refused().is_some());
    assert_eq!(call().await, Err(failed("down")));
    breaker.set_mode(Mode::ForcedOpen);
    assert_eq!(call().await, Ok("cached"));

    let on_open = Fallback::value("cached").when(|cause: &Error<&str>| cause.refused().is_some());
    let fallback = on_open.or(Fallback::value("sorry"));
    let served =
        |served: Result<Served<&'static str>, Error<&'static str>>| served.map(|served| (served.value, served.source));
    let second = Ok(("sorry", Source::Fallback { position: 2 }));
    assert_eq!(served(bare().call(down).fallback_shared(&fallback).served().await), second);
    let first = Ok(("cached", Source::Fallback { position: 1 }));
    assert_eq!(served(breaker.call(down).fallback_shared(&fallback).served().await), first);
}

#[tokio::test]
async fn what_is_told_names_the_kind_of_the_failure_and_not_its_text() {
    let policy = bare();
    let told = uses(&policy);
    let call = policy.call(|_| ready(Err::<u32, _>("token sk-123"))).classify_with(|result| match result {
        Ok(_) => Verdict::success(),
        Err(_) => Verdict::failure("AuthenticationError"),
    });
    assert_eq!(call.fallback(0).await, Ok(0));
    assert_eq!(*told.lock().unwrap(), [Used::new(fallback::Kind::Value, 1, "AuthenticationError")]);

    let breaker = CircuitBreaker::with_clock("agent", breaker::Config::default(), &Clock::manual()).unwrap();
    let told = uses(breaker.policy());
    breaker.set_mode(Mode::ForcedOpen);
    assert_eq!(breaker.call(down).fallback("cached").await, Ok("cached"));
    assert_eq!(told.lock().unwrap()[0].error.as_ref(), "breaker.forced_open");
}

#[tokio::test(start_paused = true)]
async fn t_75_a_fallback_is_returned_instead_of_a_timeout() {
    let clock = Clock::tokio();
    for builder in [Policy::builder("p").deadline(ms(10)), Policy::builder("p").attempt_timeout(ms(10))] {
        let policy = builder.clock(&clock).build().unwrap();
        let told = uses(&policy);
        let answer = policy.call(|_| pending::<Result<_, ()>>()).fallback("Operation timed out").await;
        assert_eq!(answer, Ok("Operation timed out"));
        assert_eq!(told.lock().unwrap()[0].error.as_ref(), "TimeoutError");
    }
}

#[tokio::test(start_paused = true)]
async fn case_44_the_policys_own_deadline_does_not_hold_for_its_fallbacks() {
    let clock = Clock::tokio();
    let policy = Policy::builder("p").deadline(ms(10)).clock(&clock).build().unwrap();
    let backup = Policy::builder("backup").deadline(ms(100)).clock(&clock).build().unwrap();
    let slow = |_: stormproof::Cx<'_>| async {
        tokio::time::sleep(ms(50)).await;
        Ok("slow")
    };
    let answer = policy.call(|_| pending::<Result<_, ()>>()).fallback_to(|_| backup.call(slow)).await;
    assert_eq!((answer, clock.now().as_nanos()), (Ok("slow"), 60_000_000));
}

#[tokio::test(start_paused = true)]
async fn case_44_a_deadline_around_a_call_skips_its_fallbacks() {
    let clock = Clock::tokio();
    let outer = Policy::builder("outer").deadline(ms(100)).clock(&clock).build().unwrap();
    let inner = Policy::builder("inner").clock(&clock).build().unwrap();
    let used = AtomicU32::new(0);
    let count = |_: &Error<()>| {
        used.fetch_add(1, Ordering::Relaxed);
        ready(Ok("fallback"))
    };
    let shared = Fallback::value("shared");
    let nested = outer.call(|_| async {
        // The inner call is polled first, so it is the first to see that time is over.
        let call = inner.call(|_| pending::<Result<_, ()>>());
        call.fallback_with(count).fallback("value").fallback_shared(&shared).await
    });
    let Err(Error::Failed { error, .. }) = nested.await else { panic!("the inner call ended in time") };
    assert!(matches!(error, Error::TimedOut { limit: Limit::Inherited, .. }), "{error:?}");
    assert_eq!((used.into_inner(), clock.now().as_nanos()), (0, 100_000_000));
}

#[tokio::test(start_paused = true)]
async fn case_44_a_deadline_around_a_fallback_ends_the_chain() {
    let clock = Clock::tokio();
    let outer = Policy::builder("outer").deadline(ms(100)).clock(&clock).build().unwrap();
    let inner = Policy::builder("inner").clock(&clock).build().unwrap();
    let nested = outer.call(|_| async {
        let slow = inner.call(|_| pending::<Result<&str, &str>>());
        inner.call(down).fallback_to(|_| slow).fallback("too late").await
    });
    let Err(Error::Failed { error, .. }) = nested.await else { panic!("answered too late") };
    assert!(matches!(error.causes(), [Error::Failed { .. }, Error::TimedOut { .. }]), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn case_44_a_cancelled_call_has_no_fallback() {
    let policy = Policy::builder("p").clock(&Clock::tokio()).build().unwrap();
    let used = AtomicU32::new(0);
    let call = policy.call(|_| pending::<Result<(), ()>>()).fallback_with(|_| {
        used.fetch_add(1, Ordering::Relaxed);
        ready(Ok(()))
    });
    assert!(tokio::time::timeout(ms(10), call).await.is_err());
    assert_eq!(used.into_inner(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_under_way_is_dropped_with_the_call() {
    let clock = Clock::tokio();
    let (policy, held) = (Policy::builder("p").clock(&clock).build().unwrap(), Arc::new(()));
    let slow = held.clone();
    let call = policy.call(down).fallback_with(|_| async move {
        pending::<()>().await;
        drop(slow);
        Ok("never")
    });
    assert!(tokio::time::timeout(ms(10), call).await.is_err());
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test(start_paused = true)]
async fn case_53_the_breaker_has_all_failures_and_the_caller_the_fallback() {
    let clock = Clock::tokio();
    let config = breaker::Config { trip: vec![Trip::consecutive(9)], ..Default::default() };
    let breaker = CircuitBreaker::with_clock("b", config, &clock).unwrap();
    let policy = Policy::builder("p").retry(Retry::constant(ms(1)).max_retries(2)).breaker(&breaker).build().unwrap();
    assert_eq!(policy.call(down).fallback("fallback").await, Ok("fallback"));
    assert_eq!(breaker.stats().failures, 3);
}

#[tokio::test]
async fn a_fallback_that_panics_breaks_nothing_else() {
    let fallback = Fallback::with(|_: &Error<&str>| -> std::future::Ready<_> { panic!("as the test wants") });
    let (policy, calls) = (bare(), AtomicU32::new(0));
    let call = tokio::spawn({
        let policy = policy.clone();
        let fallback = fallback.or(Fallback::value("never reached"));
        async move { policy.call(down).fallback_shared(&fallback).await }
    });
    assert!(call.await.unwrap_err().is_panic());
    let counted = policy.call(|_| {
        calls.fetch_add(1, Ordering::Relaxed);
        ready(Err("down"))
    });
    assert_eq!(counted.fallback("fine").await, Ok("fine"));
    assert_eq!(calls.into_inner(), 1);
}

#[test]
fn the_sync_door_has_fallbacks_too() {
    let policy = bare();
    let told = uses(&policy);
    let call = || policy.call_sync(|_| Err::<&str, _>("down"));
    let second = call().fallback_sync(|cause| if cause.is_timeout() { Ok("never") } else { Err("second is down") });
    let served = second.fallback("value").served().run().unwrap();
    assert_eq!((served.value, served.source), ("value", Source::Fallback { position: 2 }));
    assert_eq!(told.lock().unwrap().len(), 2);
    let error = call().fallback_sync(|_| Err("second is down")).run().unwrap_err();
    assert_eq!(error.causes(), [failed("down"), failed("second is down")]);
    assert_eq!(call().fallback("value").fallback_when(Error::is_timeout).run(), Err(failed("down")));

    let waits = Fallback::with(|_: &Error<&str>| async {
        let mut woken = false;
        let other_thread_wakes = std::future::poll_fn(move |cx| {
            if std::mem::replace(&mut woken, true) {
                return std::task::Poll::Ready(());
            }
            let waker = cx.waker().clone();
            std::thread::spawn(move || waker.wake());
            std::task::Poll::Pending
        });
        other_thread_wakes.await;
        Ok("waited for")
    });
    assert_eq!(call().fallback_shared(&waits).run(), Ok("waited for"));
}
