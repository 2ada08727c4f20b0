//! Each trip rule as a list of samples would have it, and the rules that random breakers have. A new rule has its place in
//! every function here; without it the model stops at it, and without the generator the last test fails.

use std::time::Duration;

use proptest::prelude::*;
use stormproof_core::breaker::Window;
use stormproof_core::window::Tally;
use stormproof_core::{Instant, Trip};

use crate::model::{Counted, Sample};
use crate::operations::ms;

/// What a rule counts at `now` of the samples it has seen.
pub(crate) fn counts(trip: &Trip, seen: &[Sample], now: Instant) -> Tally {
    let failures = |n: usize| Tally { calls: n as u32, failures: n as u32, slow: 0 };
    let all = |samples: Vec<&Sample>| Tally {
        calls: samples.len() as u32,
        failures: samples.iter().filter(|sample| sample.failed).count() as u32,
        slow: samples.iter().filter(|sample| is_slow(trip, sample.took)).count() as u32,
    };
    let within = |window: Window| match window {
        Window::Calls(n) => seen.iter().rev().take(n as usize).collect(),
        Window::Time(d) => {
            let width = (d.as_nanos() as u64).div_ceil(10);
            let bucket = |at: Instant| at.as_nanos() / width;
            seen.iter().filter(|sample| bucket(now) - bucket(sample.at) <= 10).collect()
        }
        other => panic!("{other:?}"),
    };
    match *trip {
        Trip::Consecutive(_) => failures(seen.iter().rev().take_while(|sample| sample.failed).count()),
        Trip::Cumulative(_) => failures(seen.iter().filter(|sample| sample.failed).count()),
        Trip::Within { failures: k, window } => {
            let young = |sample: &&Sample| sample.failed && now.since(sample.at) < window;
            failures(seen.iter().filter(young).count().min(k as usize))
        }
        Trip::Ratio { window, .. } | Trip::Slow { window, .. } => all(within(window)),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn is_slow(trip: &Trip, took: Duration) -> bool {
    matches!(trip, Trip::Slow { slower_than, .. } if took >= *slower_than)
}

/// Whether these counts open the circuit.
pub(crate) fn holds(trip: &Trip, counts: Tally) -> bool {
    match *trip {
        Trip::Consecutive(n) | Trip::Cumulative(n) | Trip::Within { failures: n, .. } => counts.failures >= n,
        Trip::Ratio { ratio, minimum_calls, .. } => counts.calls >= minimum_calls && counts.failure_ratio() >= ratio,
        Trip::Slow { ratio, minimum_calls, .. } => counts.calls >= minimum_calls && counts.slow_ratio() >= ratio,
        other => panic!("{other:?}"),
    }
}

/// Whether a success can make up what opens.
pub(crate) fn counts_successes(trip: &Trip) -> bool {
    match trip {
        Trip::Consecutive(_) | Trip::Cumulative(_) | Trip::Within { .. } => false,
        Trip::Ratio { .. } | Trip::Slow { .. } => true,
        other => panic!("{other:?}"),
    }
}

/// What the rule says of these counts.
pub(crate) fn counted(trip: &Trip, counts: Tally) -> Counted {
    let Tally { calls, failures, slow } = counts;
    let share = |ratio: f64, minimum: u32| {
        let among = calls.max(minimum);
        (1..=among).find(|n| f64::from(*n) / f64::from(among) >= ratio).unwrap_or(among)
    };
    let (counted, threshold) = match *trip {
        Trip::Consecutive(n) | Trip::Cumulative(n) | Trip::Within { failures: n, .. } => (failures, n),
        Trip::Ratio { ratio, minimum_calls, .. } => (failures, share(ratio, minimum_calls)),
        Trip::Slow { ratio, minimum_calls, .. } => (slow, share(ratio, minimum_calls)),
        other => panic!("{other:?}"),
    };
    (trip.as_str(), calls, counted, threshold)
}

/// Whether `new` goes on with what `old` has counted.
pub(crate) fn alike(old: &Trip, new: &Trip) -> bool {
    match (*old, *new) {
        (Trip::Consecutive(_), Trip::Consecutive(_)) | (Trip::Cumulative(_), Trip::Cumulative(_)) => true,
        (Trip::Within { window: v, .. }, Trip::Within { window: w, .. }) => v == w,
        (Trip::Ratio { window: v, .. }, Trip::Ratio { window: w, .. }) => v == w,
        (Trip::Slow { window: v, slower_than: a, .. }, Trip::Slow { window: w, slower_than: b, .. }) => {
            v == w && a == b
        }
        _ => false,
    }
}

/// The first of the samples since `since` that a rule remembers when its threshold changes.
pub(crate) fn remembered_since(old: &Trip, samples: &[Sample], since: usize) -> usize {
    // Only as many failures were remembered as the rule needed.
    let Trip::Within { failures, .. } = *old else { return since };
    let failed: Vec<_> = (since..samples.len()).filter(|&at| samples[at].failed).collect();
    failed.len().checked_sub(failures as usize).map_or(since, |at| failed.get(at).copied().unwrap_or(since))
}

pub(crate) fn trip() -> impl Strategy<Value = Trip> {
    let ratio = || prop_oneof![Just(0.25), Just(0.5), Just(0.55), Just(1.0)];
    let window = || prop_oneof![(4u32..12).prop_map(Window::Calls), ms(1..500).prop_map(Window::Time)];
    prop_oneof![
        (1u32..5).prop_map(Trip::consecutive),
        (1u32..7).prop_map(Trip::cumulative),
        (1u32..5, ms(1..300)).prop_map(|(n, window)| Trip::within(n, window)),
        (ratio(), 1u32..5, window()).prop_map(|(ratio, minimum, window)| Trip::ratio(ratio, minimum, window)),
        (ratio(), ms(1..60), 1u32..5, window())
            .prop_map(|(ratio, than, min, window)| Trip::slow(ratio, than, min, window)),
    ]
}

/// The names of all rules, as serde lists them to somebody who writes another one.
#[cfg(feature = "serde")]
#[test]
fn every_rule_is_tried() {
    use proptest::strategy::ValueTree as _;
    use serde::Deserialize as _;
    use serde::de::IntoDeserializer as _;
    use std::collections::BTreeSet;

    let deserializer: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = "?".into_deserializer();
    let listed = Trip::deserialize(deserializer).unwrap_err().to_string();
    let names: BTreeSet<_> = listed.split('`').skip(3).step_by(2).map(str::to_owned).collect();
    assert!(names.len() >= 5, "{listed}");
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let tried = (0..500).map(|_| trip().new_tree(&mut runner).unwrap().current().as_str().to_owned());
    assert_eq!(tried.collect::<BTreeSet<_>>(), names, "the generator `trip` has every rule");
}
