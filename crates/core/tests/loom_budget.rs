//! Every interleaving of deposits, a bucket change and a withdrawal: no call is lost, and none is counted twice.
#![cfg(loom)]
#![cfg(test)]

use std::time::Duration;

use loom::sync::Arc;
use loom::thread;
use stormproof_core::{Instant, RetryBudget, budget};

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn shared(floor: u32) -> Arc<RetryBudget> {
    let config = budget::Config { ratio: 1.0, floor, window: Duration::from_millis(100) };
    Arc::new(RetryBudget::new("loom", config).unwrap())
}

#[test]
fn deposits_racing_a_bucket_change_are_all_counted() {
    loom::model(|| {
        let budget = shared(0);
        let late = {
            let budget = Arc::clone(&budget);
            thread::spawn(move || budget.deposit(at(25)))
        };
        let next = {
            let budget = Arc::clone(&budget);
            thread::spawn(move || {
                budget.deposit(at(9));
                budget.deposit(at(10));
            })
        };
        budget.deposit(at(11));
        late.join().unwrap();
        next.join().unwrap();
        assert_eq!(budget.stats(at(25)).calls, 4);
        assert_eq!(budget.stats(at(1_000)).calls, 0);
    });
}

#[test]
fn the_last_retry_is_taken_once() {
    loom::model(|| {
        let budget = shared(1);
        let other = {
            let budget = Arc::clone(&budget);
            thread::spawn(move || budget.withdraw(at(10)))
        };
        let mine = budget.withdraw(at(9));
        let theirs = other.join().unwrap();
        assert!(mine != theirs);
        let stats = budget.stats(at(10));
        assert_eq!((stats.withdrawn, stats.denied, stats.remaining), (1, 1, 0));
    });
}

#[test]
fn a_deposit_pays_for_a_retry_on_another_thread() {
    loom::model(|| {
        let budget = shared(0);
        let other = {
            let budget = Arc::clone(&budget);
            thread::spawn(move || budget.deposit(at(10)))
        };
        let early = budget.withdraw(at(20));
        other.join().unwrap();
        assert!(early || budget.withdraw(at(20)));
        assert!(!budget.withdraw(at(20)));
    });
}
