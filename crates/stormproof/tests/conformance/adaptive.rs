//! Adaptive concurrency (case 49). Case 50 needs a server that calls wait in: the tests of `core/src/adaptive` and of
//! `sim/tests/simulation.rs` have one.

use std::time::Duration;

use stormproof::{Stage, adaptive, bulkhead};
use stormproof_sim::{Call, Scenario, Trace};

use crate::given::{S, ms, policy, run, slots};

fn adapting() -> Scenario {
    let adaptive = Some(adaptive::Config::default());
    Scenario::new(policy(|p| p.bulkhead = Some(bulkhead::Config { adaptive, ..slots(10, 10) })))
}

fn limit(trace: &Trace) -> f64 {
    trace.stat(Stage::Bulkhead, "max_concurrent", "")
}

fn windows(trace: &Trace) -> f64 {
    trace.stat(Stage::Bulkhead, "windows", "")
}

#[test]
fn case_49_a_limit_that_is_not_used_does_not_grow() {
    let trace = run(&adapting().every(ms(25), (0..1_000).map(|_| Call::of([S.after(ms(20))]))));
    assert!(windows(&trace) >= 15.0);
    assert_eq!(limit(&trace), 10.0);
}

#[test]
fn case_49_one_lucky_sample_does_not_collapse_the_limit() {
    let lucky = adapting().every(ms(25), [Call::of([S.after(Duration::from_micros(50))])]);
    let steady = (0..400).fold(lucky, |scenario, round| {
        // All slots are used.
        scenario.all_at(ms(25 * (round + 1)), (0..10).map(|_| Call::of([S.after(ms(20))])))
    });
    let trace = run(&steady);
    assert!(windows(&trace) >= 8.0);
    assert!(limit(&trace) >= 9.0, "{}", limit(&trace));
    assert!(
        trace
            .events_named("limit_changed")
            .iter()
            .all(|event| { matches!(event.kind, stormproof::event::Kind::LimitChanged { from, to, .. } if to > from) })
    );
}
