//! Health and degradation against the obvious: a list of everything that was recorded.
#![cfg(not(loom))]
#![cfg(test)]

use std::time::Duration;

use proptest::prelude::*;
use stormproof_core::degrade::{Config as Levels, Level, Parts};
use stormproof_core::health::{Config, ERROR_BYTES, Status, Strategy as Rule};
use stormproof_core::{Degradation, HealthTracker, Instant};

/// How far the clock moves (it may go back), and what then happens: a success with its latency, or a failure.
fn history() -> impl Strategy<Value = Vec<(i64, Result<Option<u64>, String>)>> {
    let step = prop_oneof![4 => 0i64..20, 1 => -15i64..0, 1 => 0i64..3_000];
    let call = prop_oneof![
        3 => prop::option::of(prop_oneof![0u64..1_000, Just(u64::MAX)]).prop_map(Ok),
        3 => ".{0,80}".prop_map(Err),
    ];
    prop::collection::vec((step, call), 0..200)
}

fn run(
    config: Config,
    history: &[(i64, Result<Option<u64>, String>)],
    mut expected: impl FnMut(&[Result<Option<u64>, String>], bool) -> bool,
) -> Result<(), TestCaseError> {
    let tracker = HealthTracker::with_config("model", config).unwrap();
    let (mut calls, mut now, mut healthy, mut changes) = (Vec::new(), 1_000i64, true, 0);
    for (step, call) in history {
        now = (now + step).max(0);
        let at = Instant::from_nanos(now.unsigned_abs());
        calls.push(call.clone());
        let change = match call {
            Ok(latency) => tracker.record_success(at, latency.map(Duration::from_nanos)),
            Err(error) => tracker.record_failure(at, error),
        };
        let before = healthy;
        healthy = expected(&calls, before);
        prop_assert_eq!(change.is_some(), before != healthy, "told once for each change");
        if let Some(change) = change {
            changes += 1;
            prop_assert_eq!(change.seq, changes);
            prop_assert_eq!(change.as_str(), if healthy { "recovered" } else { "degraded" });
        }
        let report = tracker.status(at);
        prop_assert_eq!(report.healthy, healthy);
        prop_assert_eq!(report.status, if healthy { Status::Healthy } else { Status::Unhealthy });
        prop_assert_eq!(report.calls, calls.len() as u64);

        let errors: Vec<_> = calls.iter().filter_map(|call| call.as_ref().err()).collect();
        prop_assert_eq!(report.failures, errors.len() as u64);
        let kept = &errors[errors.len().saturating_sub(config.recent_errors as usize)..];
        prop_assert_eq!(report.recent_errors.len(), kept.len());
        for (found, kept) in report.recent_errors.iter().zip(kept) {
            prop_assert!(found.error.len() <= ERROR_BYTES && kept.starts_with(&*found.error));
        }
        let window = match config.strategy {
            Rule::Ratio { window, .. } => window as usize,
            Rule::Consecutive { .. } => 100,
            other => panic!("{other:?}"),
        };
        let latencies: Vec<_> = calls.iter().filter_map(|call| *call.as_ref().ok()?).collect();
        let last = &latencies[latencies.len().saturating_sub(window)..];
        let sum: u128 = last.iter().map(|&nanos| u128::from(nanos)).sum();
        let average =
            sum.checked_div(last.len() as u128).map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap()));
        prop_assert_eq!(report.average_latency, average);
    }
    Ok(())
}

fn failed(calls: &[Result<Option<u64>, String>]) -> usize {
    calls.iter().filter(|call| call.is_err()).count()
}

proptest! {
    #[test]
    fn a_ratio_agrees_with_a_list(
        window in 1u32..12,
        percent in 1u32..=100,
        back in prop::option::of(1u32..=100),
        minimum_calls in 1u32..12,
        recent_errors in 0u32..5,
        history in history(),
    ) {
        let back = back.map(|back| back.min(percent));
        let healthy_threshold = back.map(|back| f64::from(back) / 100.0);
        let unhealthy_threshold = f64::from(percent) / 100.0;
        let strategy = Rule::Ratio { window, unhealthy_threshold, healthy_threshold, minimum_calls };
        run(Config { strategy, recent_errors }, &history, |calls, healthy| {
            let last = &calls[calls.len().saturating_sub(window as usize)..];
            let below = |percent: f64| (failed(last) * 100) as f64 - (last.len() as f64 * percent) < 0.0;
            if healthy {
                last.len() < (minimum_calls as usize).min(window as usize) || below(percent.into())
            } else {
                below(back.map_or(f64::from(percent) / 2.0, f64::from))
            }
        })?;
    }

    #[test]
    fn in_a_row_agrees_with_a_list(down in 1u32..5, up in 1u32..5, history in history()) {
        let strategy = Rule::Consecutive { failure_threshold: down, recovery_threshold: up };
        run(Config { strategy, recent_errors: 3 }, &history, |calls, healthy| {
            let all_of_last = |n: u32, failures: bool| {
                let n = n as usize;
                calls.len() >= n && calls[calls.len() - n..].iter().all(|call| call.is_err() == failures)
            };
            if healthy { !all_of_last(down, true) } else { all_of_last(up, false) }
        })?;
    }

    #[test]
    fn a_level_never_rises_before_its_time(
        needed in 1u32..4,
        dwell in 0u64..500,
        history in prop::collection::vec((0u64..200, any::<[u32; 4]>(), 0u32..5), 0..100),
    ) {
        let config = Levels { recovery_evaluations: needed, recovery_dwell: Duration::from_nanos(dwell), ..Default::default() };
        let system = Degradation::with_config("model", config).unwrap();
        let (mut now, mut level, mut better, mut since) = (0, Level::Full, Vec::new(), 0);
        for (step, [total, successful, cached, degraded], few) in history {
            now += step;
            // Mostly small numbers that fit together, now and then anything at all.
            let parts = match few {
                0 => Parts { total, successful, cached, degraded },
                _ => Parts { total: 10, successful: successful % 11, cached: cached % few, degraded: 0 },
            };
            let found = Level::of(parts);
            let shift = system.evaluate(Instant::from_nanos(now), parts);
            let before = level;
            if found >= level {
                (level, since) = (found, now);
                better.clear();
            } else {
                better.push(found);
                if better.len() >= needed as usize && now - since >= dwell {
                    (level, since) = (better.iter().copied().max().unwrap(), now);
                    better.clear();
                }
            }
            prop_assert_eq!(system.level(), level);
            prop_assert_eq!(shift.map(|shift| (shift.from, shift.to)), (before != level).then_some((before, level)));
        }
    }
}
