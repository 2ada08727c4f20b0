//! Schedules, jitters and mistakes.

use super::*;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn first(backoff: Backoff) -> [u64; 6] {
    let mut waits = backoff.jitter(Jitter::None).iter(0);
    std::array::from_fn(|_| waits.next().map_or(0, |wait| wait.as_secs()))
}

#[test]
fn schedules_are_exact_without_jitter() {
    assert_eq!(first(Backoff::default()), [1, 2, 4, 8, 16, 32]);
    assert_eq!(first(Backoff::default().factor(3.0)), [1, 3, 9, 27, 60, 60]);
    assert_eq!(first(Backoff::linear(secs(1))), [1, 2, 3, 4, 5, 6]);
    assert_eq!(first(Backoff::linear(secs(1)).increment(secs(20))), [1, 21, 41, 60, 60, 60]);
    assert_eq!(first(Backoff::constant(secs(5))), [5; 6]);
    assert_eq!(first(Backoff::constant(secs(90))), [90; 6]);
    assert_eq!(first(Backoff::fibonacci(secs(1))), [1, 1, 2, 3, 5, 8]);
    assert_eq!(first(Backoff::custom(|retry| secs(u64::from(retry) * 30))), [0, 30, 60, 60, 60, 60]);
}

#[test]
fn jitters_keep_to_their_formula() {
    let thousandths = |multiplier| Duration::from_secs_f64(multiplier).as_millis();
    let ends = |jitter: Jitter| [0.0, 1.0].map(|unit| thousandths(jitter.multiplier(unit)));
    assert_eq!(ends(Jitter::None), [1_000, 1_000]);
    assert_eq!(ends(Jitter::Symmetric(0.1)), [900, 1_100]);
    assert_eq!(ends(Jitter::Symmetric(0.2)), [800, 1_200]);
    assert_eq!(ends(Jitter::Range(0.5, 1.5)), [500, 1_500]);
    assert_eq!(ends(Jitter::Full), [0, 1_000]);
    assert_eq!(ends(Jitter::Equal), [500, 1_000]);
    assert_eq!(ends(Jitter::Additive(0.3)), [1_000, 1_300]);
}

#[test]
fn mistakes_are_named() {
    let fields = |backoff: Backoff| backoff.validate().into_iter().map(|m| m.field).collect::<Vec<_>>();
    assert!(fields(Backoff::default()).is_empty());
    for factor in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
        assert_eq!(fields(Backoff::default().factor(factor)), ["factor"]);
    }
    assert_eq!(fields(Backoff::default().max_delay(secs(0))), ["base_delay"]);
    assert_eq!(fields(Backoff::default().jitter(Jitter::Symmetric(1.1))), ["jitter.symmetric"]);
    assert_eq!(fields(Backoff::default().jitter(Jitter::Range(2.0, 1.0))), ["jitter.range"]);
    assert_eq!(fields(Backoff::default().jitter(Jitter::Additive(f64::NAN))), ["jitter.additive"]);
}
