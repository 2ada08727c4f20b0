//! Schedules, jitters and mistakes.

use super::*;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn first_waits(backoff: Backoff) -> [u64; 6] {
    let mut waits = backoff.jitter(Jitter::None).iter(0);
    std::array::from_fn(|_| waits.next().map_or(0, |wait| wait.as_secs()))
}

#[test]
fn schedules_are_exact_without_jitter() {
    assert_eq!(first_waits(Backoff::default()), [1, 2, 4, 8, 16, 32]);
    assert_eq!(first_waits(Backoff::default().factor(3.0)), [1, 3, 9, 27, 60, 60]);
    assert_eq!(first_waits(Backoff::linear(secs(1))), [1, 2, 3, 4, 5, 6]);
    assert_eq!(first_waits(Backoff::linear(secs(1)).increment(secs(20))), [1, 21, 41, 60, 60, 60]);
    assert_eq!(first_waits(Backoff::constant(secs(5))), [5; 6]);
    assert_eq!(first_waits(Backoff::constant(secs(90))), [90; 6]);
    assert_eq!(first_waits(Backoff::fibonacci(secs(1))), [1, 1, 2, 3, 5, 8]);
    assert_eq!(first_waits(Backoff::custom(|retry, _| secs(u64::from(retry) * 30))), [0, 30, 60, 60, 60, 60]);
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

#[test]
fn callers_do_not_meet_at_the_longest_wait() {
    let max = secs(60);
    let waits = |jitter| {
        let (backoff, rng) = (Backoff::constant(max).max_delay(max).jitter(jitter), Rng::new(1));
        (0..1_000).map(|_| backoff.delay(9, max, &rng).as_secs_f64()).collect::<Vec<_>>()
    };
    // Each with the part of the longest wait from which on it is spread.
    let ranges = [
        (Jitter::Symmetric(0.2), 0.8),
        (Jitter::Range(0.5, 1.5), 0.5),
        (Jitter::Additive(0.25), 0.8),
        (Jitter::Full, 0.0),
    ];
    for (jitter, least) in ranges {
        let waits = waits(jitter);
        let least = 60.0 * least;
        assert!(waits.iter().all(|wait| (least..=60.0).contains(wait)), "{jitter:?}");
        for tenth in 0..10 {
            let from = least + (60.0 - least) * f64::from(tenth) / 10.0;
            let within = waits.iter().filter(|wait| (from..from + (60.0 - least) / 10.0).contains(*wait)).count();
            assert!((60..140).contains(&within), "{jitter:?}: {within} of 1000 from {from}");
        }
    }
    assert_eq!(waits(Jitter::None), vec![60.0; 1_000]);
}

#[test]
fn a_range_is_only_cut_where_it_passes_the_longest_wait() {
    let backoff = Backoff::constant(secs(50)).max_delay(secs(60)).jitter(Jitter::Symmetric(0.5));
    let waits = (0..1_000).map(|seed| backoff.delay(0, Duration::ZERO, &Rng::new(seed))).collect::<Vec<_>>();
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!((25..26).contains(&least.as_secs()) && (59..60).contains(&most.as_secs()), "{least:?} to {most:?}");
    assert_eq!(backoff.bounds(0, (Duration::ZERO, Duration::ZERO)), (secs(25), secs(60)));
}

#[test]
fn a_function_knows_the_wait_before_and_equals_its_clones_alone() {
    let (first, factor) = (secs(1), 3);
    let custom = || Backoff::custom(move |retry, previous| if retry == 0 { first } else { previous * factor });
    let backoff = custom();
    assert_eq!(first_waits(backoff.clone()), [1, 3, 9, 27, 60, 60]);
    assert_eq!(backoff.clone(), backoff);
    assert_ne!(custom(), backoff);
    assert_ne!(format!("{:?}", custom()), format!("{backoff:?}"), "settings are compared as text");
    assert_eq!(backoff.bounds(0, (Duration::ZERO, Duration::ZERO)), (Duration::ZERO, secs(60)));
}
