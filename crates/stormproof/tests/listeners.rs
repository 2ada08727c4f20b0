//! Listeners that come and go on several threads while others tell.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use stormproof::breaker::Mode;
use stormproof::event::Category;
use stormproof::{CircuitBreaker, EventBus};

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
