#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers")]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{BUCKETS, Config, Latency, bucket, middle};
use crate::time::Instant;

fn latency(window: Duration) -> Latency {
    Latency::new("l", Config { window }).unwrap()
}

#[test]
fn buckets_follow_one_another_without_a_gap() {
    let mut edge = 0u64;
    for at in 0..BUCKETS {
        assert_eq!(bucket(edge), at);
        let (mid, half) = (middle(at), middle(at) - edge);
        assert_eq!(bucket(mid), at);
        assert!(half <= 32 || half as f64 / edge as f64 <= 1.0 / 32.0, "{at}: {edge} {half}");
        edge = mid + half;
    }
    assert_eq!(edge, 1 << 43);
    assert_eq!([bucket(edge), bucket(u64::MAX)], [BUCKETS - 1; 2]);
}

#[test]
fn what_is_older_than_the_window_is_forgotten_and_the_totals_stay() {
    let latency = latency(Duration::from_secs(4));
    let at = |n| Instant::ZERO + Duration::from_millis(n);
    latency.record(at(999), Duration::from_millis(1));
    latency.record(at(1_000), Duration::from_millis(2));
    assert_eq!(latency.recent(at(3_999)).samples(), 2);
    assert_eq!(latency.recent(at(4_000)).samples(), 1);
    assert_eq!(latency.recent(at(5_000)).samples(), 0);
    latency.record(at(4_000), Duration::from_millis(3));
    latency.record(at(100), Duration::from_millis(4));
    assert_eq!(latency.recent(at(4_000)).samples(), 2, "what comes four seconds late does not count");
    assert_eq!((latency.count(), latency.sum()), (4, Duration::from_millis(10)));
}

#[test]
fn nothing_panics_at_the_ends_of_the_range() {
    let latency = latency(Duration::MAX);
    for took in [Duration::ZERO, Duration::MAX] {
        latency.record(Instant::FAR_FUTURE, took);
        latency.record(Instant::ZERO, took);
    }
    for q in [f64::NAN, f64::INFINITY, -1.0, 0.0, 2.0] {
        assert!(latency.quantile(Instant::FAR_FUTURE, q).is_some());
    }
    assert!(Config { window: Duration::ZERO }.validate().len() == 1);
}

#[test]
fn threads_lose_nothing_within_a_slice_and_keep_to_the_window() {
    const EACH: u64 = 20_000;
    let latency = Arc::new(latency(Duration::from_secs(4)));
    let threads: Vec<_> = (0..4u64)
        .map(|thread| {
            let latency = latency.clone();
            // Time turns five slices while they write.
            let write = move || {
                for n in 0..EACH {
                    let now = Instant::from_nanos(n / (EACH / 5) * 1_000_000_000 + thread);
                    latency.record(now, Duration::from_micros(n));
                }
            };
            std::thread::spawn(write)
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(latency.count(), 4 * EACH);
    let kept = latency.recent(Instant::from_nanos(4_000_000_000)).samples();
    // A thread that lags a whole window behind writes into the past, which is dropped.
    assert!((EACH / 5..=4 * EACH).contains(&kept), "{kept}");

    let now = Instant::from_nanos(100_000_000_000);
    latency.record(now, Duration::ZERO);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..EACH).for_each(|n| latency.record(now, Duration::from_micros(n))));
        }
    });
    assert_eq!(latency.recent(now).samples(), 4 * EACH + 1);
}

proptest! {
    #[test]
    fn quantiles_are_as_near_as_documented(
        samples in prop::collection::vec(prop_oneof![0u64..5_000, 1_000u64..1_000_000_000, 0u64..(1 << 43)], 1..200),
        q in 0.0f64..=1.0,
    ) {
        let (latency, now) = (latency(Duration::from_secs(60)), Instant::ZERO);
        for nanos in &samples {
            latency.record(now, Duration::from_nanos(*nanos));
        }
        let mut sorted = samples;
        sorted.sort_unstable();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank among a few samples")]
        let rank = ((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len());
        let (exact, found) = (sorted[rank - 1], crate::time::nanos(latency.quantile(now, q).unwrap()));
        let allowed = (exact / 32).max(32);
        prop_assert!(found.abs_diff(exact) <= allowed, "{exact} found as {found}");
    }
}
