//! Listeners that come and go on several threads while others tell, and who of them hears what.
#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use stormproof::breaker::Mode;
use stormproof::event::{Category, Kind};
use stormproof::events::{Damped, Said};
use stormproof::{CircuitBreaker, Clock, Event, EventBus, Limit, Policy, RateLimiter, Registry, config};

#[test]
fn who_stays_hears_everything_once_whoever_comes_and_goes() {
    let (bus, breaker) = (EventBus::new(), CircuitBreaker::new("b"));
    bus.attach(&breaker);
    let [own, on_bus] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let count = |counter: &Arc<AtomicU64>| {
        let counter = counter.clone();
        move |_: &_| _ = counter.fetch_add(1, Ordering::Relaxed)
    };
    breaker.policy().on_event(count(&own));
    let _subscription = bus.subscribe(Category::All, count(&on_bus));
    let over = AtomicBool::new(false);
    let moves = 2_000;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let listener = breaker.policy().on_event(|_| ());
                    let subscription = bus.subscribe(Category::Error, |_| ());
                    let receiver = breaker.policy().subscribe();
                    bus.attach(&breaker);
                    drop((subscription, receiver));
                    listener.end();
                }
            });
        }
        for _ in 0..moves {
            breaker.set_mode(Mode::ForcedOpen);
            breaker.reset();
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!((own.load(Ordering::Relaxed), on_bus.load(Ordering::Relaxed)), (2 * moves, 2 * moves));
}

#[test]
fn a_stage_that_is_taken_out_and_put_in_again_tells_its_listeners_once() {
    let registry = Registry::new();
    let with = config::Config { breaker: Some(stormproof::breaker::Config::default()), ..Default::default() };
    let without = config::Config::default();
    registry.configure("p", with.clone()).unwrap();
    let breaker = registry.breaker("p");
    let heard = Arc::new(AtomicU64::new(0));
    let counter = heard.clone();
    breaker.policy().on_event(move |_| _ = counter.fetch_add(1, Ordering::Relaxed));
    let fail = || (0..5).for_each(|_| drop(registry.policy("p").call_sync(|_| Err::<(), _>("down")).run()));

    registry.configure("p", without.clone()).unwrap();
    let before = heard.load(Ordering::Relaxed);
    fail();
    assert_eq!(heard.load(Ordering::Relaxed), before, "the stage is not in the policy any more");

    for _ in 0..3 {
        registry.configure("p", without.clone()).unwrap();
        registry.configure("p", with.clone()).unwrap();
    }
    let opened = Arc::new(AtomicU64::new(0));
    let counter = opened.clone();
    breaker.on_state_change(move |_, _| _ = counter.fetch_add(1, Ordering::Relaxed));
    fail();
    assert_eq!(opened.load(Ordering::Relaxed), 1);
}

#[test]
fn a_limiter_of_requests_and_of_tokens_tells_its_listeners_once() {
    let limiter = RateLimiter::new("both");
    let policy = Policy::builder("p").rate(&limiter).tokens(&limiter).build().unwrap();
    let heard = Arc::new(AtomicU64::new(0));
    let counter = heard.clone();
    limiter.policy().on_event(move |_| _ = counter.fetch_add(1, Ordering::Relaxed));
    let _ = policy.call_sync(|_| Err::<(), _>("down")).run();
    let once = heard.load(Ordering::Relaxed);
    let alone = Policy::builder("p").rate(&limiter).build().unwrap();
    let _ = alone.call_sync(|_| Err::<(), _>("down")).run();
    assert_eq!(heard.load(Ordering::Relaxed), 2 * once);
}

#[test]
fn a_summary_that_panics_when_it_is_dropped_stays_with_its_listener() {
    let damped = Damped::new(Duration::from_secs(10), &Clock::manual(), |said| {
        assert!(matches!(said, Said::Event(_)), "cannot write");
    });
    let kind = Kind::TimedOut { limit: Limit::Call, after: Duration::ZERO };
    let event = Event::new(stormproof::Instant::ZERO, "p".into(), kind);
    damped.tell(&event);
    damped.tell(&event);
    drop(damped);
}
