//! What threads share of a throttle, in all interleavings.
#![cfg(loom)]
#![cfg(test)]

use std::time::Duration;

use loom::sync::Arc;
use loom::thread;
use stormproof_core::throttle::Config;
use stormproof_core::{Instant, Throttle, Verdict};

const BUSY: Verdict<'static> = Verdict::failure("ServerError.503");

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn throttle() -> Arc<Throttle> {
    let config = Config { window: Duration::from_secs(10), ..Config::default() };
    Arc::new(Throttle::with_config("loom", config).unwrap())
}

#[test]
fn no_answer_is_lost_while_the_window_moves_on() {
    loom::model(|| {
        let throttle = throttle();
        throttle.settle(at(0), &BUSY);
        let other = {
            let throttle = Arc::clone(&throttle);
            thread::spawn(move || throttle.settle(at(5), &BUSY))
        };
        throttle.settle(at(5), &Verdict::success());
        other.join().unwrap();
        let stats = throttle.stats(at(5));
        assert_eq!((stats.requests, stats.accepts), (3, 1));
        let stats = throttle.stats(at(11));
        assert_eq!((stats.requests, stats.accepts), (2, 1));
        assert_eq!(throttle.stats(at(16)).requests, 0);
    });
}

#[test]
fn another_window_loses_what_was_counted_and_nothing_else() {
    loom::model(|| {
        let throttle = throttle();
        throttle.settle(at(0), &Verdict::success());
        let other = {
            let throttle = Arc::clone(&throttle);
            thread::spawn(move || throttle.settle(at(0), &BUSY))
        };
        throttle.update(Config { window: Duration::from_secs(20), ..throttle.config() }).unwrap();
        other.join().unwrap();
        assert!(throttle.stats(at(0)).requests <= 1);
        throttle.settle(at(60), &BUSY);
        let stats = throttle.stats(at(60));
        assert_eq!((stats.requests, stats.accepts), (1, 0));
    });
}
