//! The windows against the obvious: a list of everything that was recorded.

use std::time::Duration;

use proptest::prelude::*;
use stormproof_core::Instant;
use stormproof_core::window::{CountWindow, RecentTimes, Tally, TimeWindow};

/// One operation of a random history: how far the clock moves (it may go back), and what then happens.
#[derive(Clone, Debug)]
enum Op {
    Record { failed: bool, slow: bool },
    Read,
    Clear,
}

fn history() -> impl Strategy<Value = Vec<(i64, Op)>> {
    let step = prop_oneof![4 => 0i64..20, 2 => 0i64..400, 1 => -15i64..0, 1 => 0i64..3_000];
    let op = prop_oneof![
        12 => any::<(bool, bool)>().prop_map(|(failed, slow)| Op::Record { failed, slow }),
        6 => Just(Op::Read),
        1 => Just(Op::Clear),
    ];
    prop::collection::vec((step, op), 0..200)
}

fn tally<'a>(calls: impl Iterator<Item = &'a (bool, bool)>) -> Tally {
    calls.fold(Tally::default(), |sum, &(failed, slow)| Tally {
        calls: sum.calls + 1,
        failures: sum.failures + u32::from(failed),
        slow: sum.slow + u32::from(slow),
    })
}

proptest! {
    #[test]
    fn recent_times_count_exactly(k in 0usize..8, window in 0u64..300, history in history()) {
        let mut times = RecentTimes::new(k, Duration::from_nanos(window));
        let mut list = Vec::new();
        let (mut now, mut newest) = (1_000i64, 0);
        for (step, op) in history {
            now = (now + step).max(0);
            let at = Instant::from_nanos(now.unsigned_abs());
            match op {
                Op::Record { .. } => {
                    newest = newest.max(now);
                    list.push(newest);
                    times.record(at);
                }
                Op::Read => {}
                Op::Clear => {
                    list.clear();
                    times.clear();
                }
            }
            let young = list.iter().filter(|&&time| (now - time).max(0).unsigned_abs() < window).count();
            prop_assert_eq!(times.count(at), young.min(k));
        }
    }

    #[test]
    fn a_count_window_holds_the_last_n(n in 0usize..100, history in history()) {
        let mut window = CountWindow::new(n);
        let mut list = Vec::new();
        for (_, op) in history {
            match op {
                Op::Record { failed, slow } => {
                    list.push((failed, slow));
                    window.record(failed, slow);
                }
                Op::Read => {}
                Op::Clear => {
                    list.clear();
                    window.clear();
                }
            }
            prop_assert_eq!(window.tally(), tally(list.iter().rev().take(n)));
        }
    }

    #[test]
    fn a_time_window_keeps_a_call_for_the_window_and_at_most_one_bucket_more(
        window in 1u64..1_000,
        buckets in 1usize..20,
        history in history(),
    ) {
        let mut counted = TimeWindow::new(Duration::from_nanos(window), buckets);
        let width = window.div_ceil(buckets as u64);
        let longest = width * (buckets as u64 + 1);
        let mut list: Vec<(u64, (bool, bool))> = Vec::new();
        let (mut now, mut newest) = (1_000i64, 0);
        for (step, op) in history {
            now = (now + step).max(0);
            newest = newest.max(now.unsigned_abs());
            let at = Instant::from_nanos(now.unsigned_abs());
            match op {
                Op::Record { failed, slow } => {
                    list.push((newest, (failed, slow)));
                    counted.record(at, failed, slow);
                }
                Op::Read => {}
                Op::Clear => {
                    list.clear();
                    counted.clear();
                }
            }
            let seen = counted.tally(at);
            let bucket = |time: u64| time / width;
            let exactly = list.iter().filter(|(time, _)| bucket(newest) - bucket(*time) <= buckets as u64);
            prop_assert_eq!(seen, tally(exactly.map(|(_, call)| call)));

            let younger_than = |age: u64| list.iter().filter(move |(time, _)| newest - time < age);
            let least = tally(younger_than(window + 1).map(|(_, call)| call));
            let most = tally(younger_than(longest).map(|(_, call)| call));
            prop_assert!(least.calls <= seen.calls && seen.calls <= most.calls, "{least:?} {seen:?} {most:?}");
            prop_assert!(least.failures <= seen.failures && seen.failures <= most.failures);
            prop_assert!(least.slow <= seen.slow && seen.slow <= most.slow);
        }
    }
}
