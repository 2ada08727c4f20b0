use std::time::Duration;

use super::{Config, Delay, Hedge};
use crate::latency::{self, Latency};
use crate::time::Instant;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn percentile(minimum_samples: u32) -> Hedge {
    let delay = Delay::Percentile { percentile: 0.5, minimum_samples, at_least: ms(50), otherwise: ms(700) };
    Hedge::new(delay.into()).unwrap()
}

#[test]
fn with_too_few_samples_the_delay_is_the_other_one() {
    let (hedge, latency) = (percentile(3), Latency::new("l", latency::Config::default()).unwrap());
    let mut now = Instant::ZERO;
    assert_eq!(hedge.delay(now, Some(&latency)), ms(700));
    for _ in 0..3 {
        latency.record(now, ms(200));
    }
    assert_eq!(hedge.delay(now, Some(&latency)), ms(700), "as it was read");
    now = now + ms(1_000);
    let delay = hedge.delay(now, Some(&latency)).as_millis();
    assert!((193..=207).contains(&delay), "{delay}");
    assert_eq!(hedge.delay(now + Duration::from_secs(120), Some(&latency)), ms(700), "all is forgotten");
}

#[test]
fn a_long_window_does_not_keep_the_delay_of_an_empty_one() {
    let window = Duration::from_secs(86_400);
    let (hedge, latency) = (percentile(1), Latency::new("l", latency::Config { window }).unwrap());
    assert_eq!(hedge.delay(Instant::ZERO, Some(&latency)), ms(700));
    latency.record(Instant::ZERO, ms(200));
    assert_ne!(hedge.delay(Instant::ZERO + ms(1_000), Some(&latency)), ms(700));
}

#[test]
fn the_delay_is_never_below_its_floor() {
    let (hedge, latency) = (percentile(1), Latency::new("l", latency::Config::default()).unwrap());
    latency.record(Instant::ZERO, ms(1));
    assert_eq!(hedge.delay(Instant::ZERO, Some(&latency)), ms(50));
}

#[test]
fn what_is_wrong_is_named() {
    for (delay, max_hedges, field) in [
        (Delay::percentile(0.0), 1, "delay.percentile"),
        (Delay::percentile(1.0), 1, "delay.percentile"),
        (Delay::percentile(f64::NAN), 1, "delay.percentile"),
        (Delay::After(ms(1)), 0, "max_hedges"),
        (Delay::After(ms(1)), 9, "max_hedges"),
    ] {
        let mistakes = Config { delay, max_hedges }.validate();
        assert_eq!(mistakes.iter().map(|mistake| mistake.field.as_str()).collect::<Vec<_>>(), [field]);
    }
    assert!(Config::default().validate().is_empty());
    assert!(Config::from(Duration::MAX).validate().is_empty());
}
