//! The pictures of the book, drawn from the code they are about. `cargo xtask generate` writes them; as a test this fails
//! when one is out of date.
#![cfg(test)]

mod backoff;
mod benchmarks;
mod course;
mod fairness;
mod states;
mod studies;

use std::path::{Path, PathBuf};

/// Draws a picture, as SVG.
type Draw = fn() -> String;

/// Each picture below `docs/src`, and what draws it.
const PICTURES: &[(&str, Draw)] = &[
    ("pictures/backoff.svg", backoff::schedules),
    ("pictures/jitter.svg", backoff::jitters),
    ("pictures/breaker-states.svg", states::breaker),
    ("pictures/breaker.svg", course::breaker),
    ("pictures/adaptive.svg", course::adaptive),
    ("pictures/fairness.svg", fairness::turns),
    ("pictures/benchmarks.svg", benchmarks::bars),
    ("simulator/retry-storm.svg", studies::retry_storm),
    ("simulator/breaker.svg", studies::breaker),
    ("simulator/fairness.svg", studies::fairness),
    ("simulator/adaptive.svg", studies::adaptive),
    ("simulator/adaptive-outage.svg", studies::adaptive_outage),
    ("simulator/throttle.svg", studies::throttle),
    ("simulator/tenants.svg", studies::tenants),
    ("simulator/hedge.svg", studies::hedge),
];

/// Set by `cargo xtask generate`.
const WRITE: &str = "STORMPROOF_WRITE_PAGES";

fn book() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src")
}

#[test]
fn pictures_are_up_to_date() {
    let mut stale = Vec::new();
    for (name, draw) in PICTURES {
        let (path, drawn) = (book().join(name), draw());
        if std::fs::read_to_string(&path).is_ok_and(|there| there == drawn) {
            continue;
        }
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&path, drawn).unwrap();
        } else {
            stale.push(path);
        }
    }
    assert!(stale.is_empty(), "out of date, `cargo xtask generate` writes them: {stale:#?}");
}
