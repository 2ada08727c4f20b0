#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers")]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{BUCKETS, Config, LIMITS, Latency, bucket, middle};
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

#[test]
fn the_histogram_holds_all_that_was_ever_recorded() {
    let latency = latency(Duration::from_secs(4));
    let at = |n| Instant::ZERO + Duration::from_secs(n);
    for (n, millis) in [(0, 1), (0, 40), (1, 900), (2, 40), (9, 40), (100, 1_000_000)] {
        latency.record(at(n), Duration::from_millis(millis));
    }
    assert_eq!(latency.recent(at(100)).samples(), 1);
    let histogram = latency.histogram();
    let of = |limit: &str| histogram.iter().find(|(name, _)| *name == limit).unwrap().1;
    assert_eq!([of("0.005"), of("0.025"), of("0.05"), of("0.5"), of("1.0"), of("300.0")], [1, 1, 4, 4, 5, 5]);
    let snapshot = latency.snapshot(at(100));
    assert_eq!(snapshot.get("buckets_seconds", ""), Some(6.0), "with what took longer than every limit");
    assert_eq!(snapshot.get("seconds", ""), Some(6.0));
}

proptest! {
    #[test]
    fn a_histogram_never_shrinks_from_one_limit_to_the_next(
        records in prop::collection::vec((0u64..20_000_000_000, 0u64..(1 << 43)), 1..100),
    ) {
        let latency = latency(Duration::from_secs(4));
        for (now, took) in &records {
            latency.record(Instant::from_nanos(*now), Duration::from_nanos(*took));
        }
        let counts = latency.histogram().map(|(_, count)| count);
        prop_assert!(counts.is_sorted());
        prop_assert!(counts[counts.len() - 1] <= latency.count());
    }

    #[test]
    fn limits_are_written_as_they_count(at in 0usize..LIMITS.len()) {
        let (nanos, text) = LIMITS[at];
        prop_assert_eq!(Duration::from_nanos(nanos).as_secs_f64().to_bits(), text.parse::<f64>().unwrap().to_bits());
    }

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
