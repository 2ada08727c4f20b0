//! What is decided without waiting allocates nothing: counted, not believed.
#![cfg(test)]

use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use stormproof::breaker::{self, Mode};
use stormproof::registry::KeyedBreakers;
use stormproof::{CircuitBreaker, Fallback, Policy, Registry, Retry, Trip, Verdict, budget, bulkhead, rate};
use stormproof_core as core;

/// Allocations of a hundred runs of `work`, after some that may set things up.
fn allocations(mut work: impl FnMut()) -> u64 {
    (0..10).for_each(|_| work());
    allocation_counter::measure(|| (0..100).for_each(|_| work())).count_total
}

fn fast() -> rate::Config {
    rate::Config { rate: 1_000_000, burst: Some(1_000_000), ..Default::default() }
}

fn whole_stack(breaker: &CircuitBreaker) -> Policy {
    Policy::builder("whole")
        .deadline(Duration::from_secs(30))
        .retry(Retry::default())
        .budget(budget::Config::default())
        .breaker(breaker)
        .bulkhead(bulkhead::Config::default())
        .rate(fast())
        .tokens(fast())
        .attempt_timeout(Duration::from_secs(10))
        .build()
        .unwrap()
}

#[test]
fn a_call_through_all_stages_allocates_nothing() {
    let policy = whole_stack(&CircuitBreaker::new("closed"));
    let call = || {
        let call = pin!(policy.call(|_| std::future::ready(Ok::<_, ()>(1))).cost(5).into_future());
        assert_eq!(call.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(1)));
    };
    assert_eq!(allocations(call), 0);
}

#[test]
fn a_synchronous_call_through_all_stages_allocates_nothing() {
    let policy = whole_stack(&CircuitBreaker::new("closed"));
    assert_eq!(allocations(|| assert_eq!(policy.call_sync(|_| Ok::<_, ()>(1)).cost(5).run(), Ok(1))), 0);
}

#[cfg(feature = "tower")]
#[test]
fn a_request_through_all_stages_allocates_nothing() {
    use std::convert::Infallible;
    use tower::Service;

    let policy = whole_stack(&CircuitBreaker::new("closed"));
    let inner = tower::service_fn(|request: u32| std::future::ready(Ok::<_, Infallible>(request)));
    let mut service = stormproof::service::PolicyService::new(inner, &policy);
    let call = || {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut cx).is_ready());
        assert_eq!(pin!(service.call(1)).poll(&mut cx), Poll::Ready(Ok(1)));
    };
    assert_eq!(allocations(call), 0);
}

/// One of a call's own is a box or two, as the call must not know its type.
#[test]
fn a_fallback_that_calls_share_allocates_nothing_until_it_is_needed() {
    let policy = whole_stack(&CircuitBreaker::new("closed"));
    let shared = Fallback::value(0).or(Fallback::with(|_| std::future::ready(Ok(2))));
    let call = || {
        let call = policy.call(|_| std::future::ready(Ok::<_, ()>(1))).fallback_shared(&shared);
        let call = pin!(call.into_future());
        assert_eq!(call.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(1)));
    };
    assert_eq!(allocations(call), 0);
}

#[test]
fn a_breaker_allocates_nothing_to_admit_refuse_and_settle_by_any_rule() {
    let window = breaker::Window::Time(Duration::from_secs(10));
    let rules = [
        Trip::consecutive(1_000_000),
        Trip::within(60_000, Duration::from_secs(1)),
        Trip::ratio(1.0, 1_000_000, window),
        Trip::slow(1.0, Duration::from_secs(1), 1_000_000, window),
    ];
    let config = breaker::Config { trip: rules.to_vec(), ..Default::default() };
    let breaker = core::CircuitBreaker::with_config("rules", config).unwrap();
    let mut now = core::Instant::ZERO;
    let settled = allocations(|| {
        now = now + Duration::from_millis(300);
        for verdict in [Verdict::success(), Verdict::failure("ConnectionError"), Verdict::ignored("ClientError")] {
            let mut permit = breaker.admit(now).unwrap();
            assert!(breaker.settle(&mut permit, now, &verdict).is_none());
        }
        breaker.release(&mut breaker.admit(now).unwrap());
    });
    assert_eq!(settled, 0);

    breaker.set_mode(now, Mode::ForcedOpen);
    assert_eq!(allocations(|| assert!(breaker.look(now).is_err() && breaker.admit(now).is_err())), 0);
}

#[test]
fn a_name_and_a_key_that_are_there_are_found_without_allocating() {
    let registry = Registry::new();
    let keyed = KeyedBreakers::new("agents", breaker::Config::default()).unwrap();
    let find = || {
        let (by_name, policy) = (registry.breaker("openai"), registry.policy("openai"));
        let by_key = keyed.get("https://agent-1");
        assert!(by_name.is_available() && by_key.is_available() && policy.name() == by_name.name());
    };
    assert_eq!(allocations(find), 0);
}

#[test]
fn limits_allocate_nothing_to_grant_refuse_and_give_back() {
    let limiter = core::RateLimiter::with_config("limiter", fast()).unwrap();
    let tight = core::RateLimiter::with_config("tight", rate::Config { rate: 1, ..Default::default() }).unwrap();
    let slots = core::Bulkhead::with_config(
        "slots",
        bulkhead::Config { max_concurrent: 1, max_queue: 0, ..Default::default() },
    );
    let (slots, now) = (slots.unwrap(), core::Instant::ZERO);
    let _spent = tight.try_acquire(now, 1).unwrap();
    let given = allocations(|| {
        let mut tokens = limiter.try_acquire(now, 10).unwrap();
        limiter.settle(now, &mut tokens, 4);
        assert!(tight.try_acquire(now, 1).is_err());
        let mut slot = slots.try_acquire().unwrap();
        assert!(slots.try_acquire().is_err());
        slots.release(&mut slot);
    });
    assert_eq!(given, 0);
}
