//! What holds for every backoff: whatever the values, the number of retries and the seed.
#![cfg(not(loom))]

use std::time::Duration;

use proptest::prelude::*;
use stormproof_core::backoff::Schedule;
use stormproof_core::{Backoff, Jitter, Rng};

fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        (0u64..100_000_000_000).prop_map(Duration::from_nanos),
        any::<u64>().prop_map(Duration::from_secs),
    ]
}

/// Also what `validate` objects to.
fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), 0.0..4.0, Just(f64::NAN), Just(f64::INFINITY), Just(f64::MAX), Just(-1.0)]
}

fn any_jitter() -> impl Strategy<Value = Jitter> {
    prop_oneof![
        Just(Jitter::None),
        Just(Jitter::Full),
        Just(Jitter::Equal),
        any_float().prop_map(Jitter::Symmetric),
        any_float().prop_map(Jitter::Additive),
        (any_float(), any_float()).prop_map(|(low, high)| Jitter::Range(low, high)),
    ]
}

fn any_backoff() -> impl Strategy<Value = Backoff> {
    let schedule = prop_oneof![
        any_float().prop_map(|factor| Schedule::Exponential { factor }),
        any_duration().prop_map(|increment| Schedule::Linear { increment }),
        Just(Schedule::Constant),
        Just(Schedule::Fibonacci),
        Just(Schedule::Decorrelated),
        Just(Backoff::custom(|retry, before| Duration::from_secs(u64::from(retry)).max(before)).schedule),
    ];
    (schedule, any_duration(), any_duration(), any_jitter())
        .prop_map(|(schedule, base_delay, max_delay, jitter)| Backoff { schedule, base_delay, max_delay, jitter })
}

fn any_retry() -> impl Strategy<Value = u32> {
    prop_oneof![0u32..200, any::<u32>(), Just(u32::MAX), Just(i32::MAX as u32), Just(1 << 31)]
}

proptest! {
    #[test]
    fn a_wait_is_never_above_the_cap(
        backoff in any_backoff(),
        retry in any_retry(),
        previous in any_duration(),
        seed in any::<u64>(),
    ) {
        prop_assert!(backoff.delay(retry, previous, &Rng::new(seed)) <= backoff.max_delay);
    }

    #[test]
    fn a_seed_determines_the_waits(backoff in any_backoff(), seed in any::<u64>()) {
        let waits = || backoff.iter(seed).take(50).collect::<Vec<_>>();
        prop_assert_eq!(waits(), waits());
    }

    #[test]
    fn exponential_is_exact(base in 1u64..1_000_000, factor in 1u32..10, retry in 0u32..20) {
        let backoff = Backoff::exponential(Duration::from_micros(base)).factor(f64::from(factor)).jitter(Jitter::None);
        let exact = u128::from(base) * 1_000 * u128::from(factor).pow(retry);
        let expected = exact.min(backoff.max_delay.as_nanos());
        prop_assert_eq!(backoff.delay(retry, Duration::ZERO, &Rng::new(0)).as_nanos(), expected);
    }

    #[test]
    fn linear_is_exact(base in 0u64..1_000_000, increment in 0u64..1_000_000, retry in any_retry()) {
        let backoff = Backoff::linear(Duration::from_micros(base))
            .increment(Duration::from_micros(increment))
            .max_delay(Duration::MAX)
            .jitter(Jitter::None);
        let exact = (u128::from(base) + u128::from(increment) * u128::from(retry)) * 1_000;
        prop_assert_eq!(backoff.delay(retry, Duration::ZERO, &Rng::new(0)).as_nanos(), exact);
    }

    #[test]
    fn fibonacci_is_the_sum_of_the_two_before(base in 1u64..1_000_000, retry in 0u32..60) {
        let backoff =
            Backoff::fibonacci(Duration::from_nanos(base)).max_delay(Duration::MAX).jitter(Jitter::None);
        let at = |retry| backoff.delay(retry, Duration::ZERO, &Rng::new(0));
        prop_assert_eq!(at(retry) + at(retry + 1), at(retry + 2));
        prop_assert_eq!((at(0), at(1)), (backoff.base_delay, backoff.base_delay));
    }

    #[test]
    fn decorrelated_lies_between_the_base_and_three_times_the_wait_before(base in 1u64..60_000, seed in any::<u64>()) {
        let backoff = Backoff::decorrelated(Duration::from_millis(base));
        let mut previous = backoff.base_delay;
        for wait in backoff.iter(seed).take(100) {
            prop_assert!(backoff.base_delay <= wait && wait <= (previous * 3).min(backoff.max_delay));
            previous = wait;
        }
    }

    #[test]
    fn jitter_stays_within_its_range(delay in 1u64..60_000, f in 0.0..=1.0, seed in any::<u64>()) {
        let delay = Duration::from_millis(delay);
        let wait = |jitter| {
            let backoff = Backoff::constant(delay).max_delay(Duration::MAX).jitter(jitter);
            backoff.delay(0, Duration::ZERO, &Rng::new(seed)).as_secs_f64() / delay.as_secs_f64()
        };
        // Half a nanosecond of rounding on a millisecond.
        let within = |value: f64, low: f64, high: f64| low - 1e-6 <= value && value <= high + 1e-6;
        prop_assert!(within(wait(Jitter::Symmetric(f)), 1.0 - f, 1.0 + f));
        prop_assert!(within(wait(Jitter::Range(0.5, 1.5)), 0.5, 1.5));
        prop_assert!(within(wait(Jitter::Full), 0.0, 1.0));
        prop_assert!(within(wait(Jitter::Equal), 0.5, 1.0));
        prop_assert!(within(wait(Jitter::Additive(f)), 1.0, 1.0 + f));
    }
}
