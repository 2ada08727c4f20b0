//! The levels and how a live one moves.

use std::time::Duration;

use super::{Component, Config, Degradation, Level, Parts, Response, Strategy};
use crate::Instant;

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn parts(successful: u32, cached: u32) -> Parts {
    Parts { total: 10, successful, cached, degraded: 0 }
}

#[test]
fn the_levels_of_the_table() {
    use Level::{Failed, Full, Minimal, Moderate, Slight};
    let cases = [
        ((10, 0), Full),
        ((10, 1), Slight),
        ((8, 2), Slight),
        ((10, 3), Moderate),
        ((7, 0), Moderate),
        ((6, 0), Moderate),
        ((5, 3), Moderate),
        ((5, 2), Minimal),
        ((3, 0), Minimal),
        ((2, 2), Failed),
        ((0, 0), Failed),
    ];
    for ((successful, cached), level) in cases {
        assert_eq!(Level::of(parts(successful, cached)), level, "{successful} answered, {cached} cached");
    }
    assert_eq!(Level::of(Parts::default()), Full);
    let substitute = Parts { degraded: 1, ..parts(10, 0) };
    assert_eq!(Level::of(substitute), Slight);
    let many = Parts { total: u32::MAX, successful: u32::MAX - 1, cached: 0, degraded: 0 };
    assert_eq!(Level::of(many), Slight);
    assert_eq!(Level::ALL.map(Level::number), [0, 1, 2, 3, 4]);
}

#[test]
fn names_are_read_in_either_case() {
    for level in Level::ALL {
        assert_eq!(level.to_string().to_uppercase().parse(), Ok(level));
    }
    assert!("some".parse::<Level>().is_err());
    assert_eq!(Strategy::ALL.map(Strategy::as_str)[1], "static_fallback");
}

#[test]
fn down_at_once_and_up_after_enough_that_was_better_for_long_enough() {
    let system = Degradation::new("s");
    let evaluate = |seconds, successful| system.evaluate(at(seconds), parts(successful, 0)).map(|shift| shift.to);
    assert_eq!(evaluate(1, 7), Some(Level::Moderate));
    assert_eq!(evaluate(2, 3), Some(Level::Minimal));
    assert_eq!([30, 31, 31].map(|s| evaluate(s, 10)), [None; 3], "enough, but not long enough");
    assert_eq!(evaluate(32, 10), Some(Level::Full));
    assert_eq!(evaluate(40, 3), Some(Level::Minimal));
    assert_eq!([80, 90].map(|s| evaluate(s, 10)), [None; 2], "long enough, but not enough");
    assert_eq!(evaluate(100, 3), None, "as bad as ever: begins anew");
    assert_eq!([120, 140].map(|s| evaluate(s, 10)), [None; 2]);
    assert_eq!(evaluate(150, 8), Some(Level::Slight), "the worst of those that were better");
}

#[test]
fn the_limit_refuses_and_the_numbers_show() {
    let config = Config { max_degradation: Level::Slight, recovery_evaluations: 1, recovery_dwell: Duration::ZERO };
    let system = Degradation::with_config("s", config).unwrap();
    assert_eq!(system.check(), Ok(Level::Full));
    system.evaluate(at(0), parts(6, 0));
    assert_eq!(system.check().unwrap_err().to_string(), "s is degraded to moderate, at most slight is allowed");
    assert_eq!(system.snapshot().get("level", ""), Some(2.0));
    assert_eq!(system.evaluate(at(0), parts(10, 0)).unwrap().as_str(), "healed");
    assert_eq!(system.snapshot().get("shifts", ""), Some(2.0));
    assert!(Degradation::with_config("s", Config { recovery_evaluations: 0, ..config }).is_err());
}

#[test]
fn a_response_counts_its_parts() {
    let components = [
        ("a", Component::fresh(1)),
        ("b", Component::cached(2).because("timed out")),
        ("c", Component::substitute(3)),
        ("d", Component::failed("down")),
    ];
    let response = Response::new(components);
    assert_eq!(response.parts(), Parts { total: 4, successful: 3, cached: 1, degraded: 1 });
    assert_eq!(response.degradation_level, Level::Moderate);
    assert_eq!(response.warning().as_deref(), Some("cached data: b; substituted: c; missing: d"));
    assert_eq!(Response::new([("a", Component::fresh(1))]).warning(), None);
}
