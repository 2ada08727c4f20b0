//! The retry budget against the obvious: a list of the times of all calls and retries.
#![cfg(not(loom))]
#![cfg(test)]

use std::time::Duration;

use proptest::prelude::*;
use stormproof_core::{Instant, RetryBudget, budget};

const BUCKETS: u64 = 10;

#[derive(Clone, Copy, Debug)]
enum Op {
    Deposit,
    Withdraw,
    Read,
}

fn history() -> impl Strategy<Value = Vec<(i64, Op)>> {
    let step = prop_oneof![6 => Just(0i64), 4 => 0i64..20, 1 => 0i64..400, 1 => -15i64..0, 1 => 0i64..3_000];
    let op = prop_oneof![4 => Just(Op::Deposit), 4 => Just(Op::Withdraw), 1 => Just(Op::Read)];
    prop::collection::vec((step, op), 0..300)
}

/// Hundredths, so that the list can reckon in whole numbers.
fn ratio() -> impl Strategy<Value = u64> {
    prop_oneof![Just(20u64), 0u64..150]
}

proptest! {
    #[test]
    fn a_budget_agrees_with_a_list(
        hundredths in ratio(),
        floor in 0u32..5,
        window in 1u64..1_000,
        history in history(),
    ) {
        let config = budget::Config { ratio: hundredths as f64 / 100.0, floor, window: Duration::from_nanos(window) };
        let budget = RetryBudget::new("model", config).unwrap();
        let width = window.div_ceil(BUCKETS);
        let (mut calls, mut retries): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
        let mut denied = 0;
        let (mut now, mut newest) = (1_000i64, 0);
        for (step, op) in history {
            now = (now + step).max(0);
            newest = newest.max(now.unsigned_abs());
            let at = Instant::from_nanos(now.unsigned_abs());
            let live = |list: &[u64]| list.iter().filter(|&&time| newest / width - time / width <= BUCKETS).count() as u64;
            let left = |calls: &[u64], retries: &[u64]| {
                (u64::from(floor) + live(calls) * hundredths / 100).saturating_sub(live(retries))
            };
            match op {
                Op::Deposit => {
                    budget.deposit(at);
                    calls.push(newest);
                }
                Op::Withdraw => {
                    let expected = left(&calls, &retries) > 0;
                    prop_assert_eq!(budget.withdraw(at), expected);
                    if expected { retries.push(newest) } else { denied += 1 }
                }
                Op::Read => {}
            }
            let stats = budget.stats(at);
            let expected = [live(&calls), live(&retries), left(&calls, &retries), retries.len() as u64, denied];
            prop_assert_eq!([stats.calls, stats.retries, stats.remaining, stats.withdrawn, stats.denied], expected);
        }
    }

    /// Over any stretch, not only over the windows the budget happens to count in.
    #[test]
    fn retries_are_bounded_over_any_stretch(
        hundredths in ratio(),
        floor in 0u32..5,
        window in 1u64..1_000,
        steps in prop::collection::vec((0u64..300, 0u32..4, 0u32..4), 1..200),
    ) {
        let config = budget::Config { ratio: hundredths as f64 / 100.0, floor, window: Duration::from_nanos(window) };
        let budget = RetryBudget::new("model", config).unwrap();
        let (mut now, mut calls, mut retries) = (0, 0u64, 0u64);
        for (step, deposits, withdrawals) in steps {
            now += step;
            let at = Instant::from_nanos(now);
            for _ in 0..deposits {
                budget.deposit(at);
                calls += 1;
            }
            retries += (0..withdrawals).filter(|_| budget.withdraw(at)).count() as u64;
            let windows = now / window + 1;
            prop_assert!(retries <= calls * hundredths / 100 + u64::from(floor) * windows);
        }
    }
}
