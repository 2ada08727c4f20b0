//! Exact numbers; that calls keep to them is tested where calls are driven.

use std::time::Duration;

use super::*;
use crate::breaker::{Scope, Window};
use crate::{Backoff, Jitter, Trip, breaker, budget, bulkhead, policy, rate, retry};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn retrying(max_retries: u32, backoff: Backoff) -> policy::Config {
    let retry = retry::Config { max_retries, backoff, ..Default::default() };
    policy::Config { attempt_timeout: Some(secs(10)), retry: Some(retry), ..Default::default() }
}

fn within(config: &policy::Config) -> Option<Duration> {
    config.explain().without_hints.limit()
}

#[test]
fn the_worst_case_is_every_wait_and_every_attempt_at_its_longest() {
    let backoff = Backoff::exponential(secs(1)).jitter(Jitter::None);
    let plain = retrying(3, backoff.clone());
    assert_eq!(within(&plain), Some(secs(4 * 10 + 1 + 2 + 4)));

    let spread = retrying(3, backoff.jitter(Jitter::Additive(0.5)).max_delay(secs(5)));
    assert_eq!(within(&spread), Some(Duration::from_millis(40_000 + 1_500 + 3_000 + 5_000)));

    let decorrelated = retrying(3, Backoff::decorrelated(secs(1)).max_delay(secs(20)));
    assert_eq!(within(&decorrelated), Some(secs(40 + 3 + 9 + 20)));

    let queued = policy::Config {
        bulkhead: Some(bulkhead::Config { queue_timeout: secs(5), ..Default::default() }),
        rate: Some(rate::Config { max_wait: secs(60), ..Default::default() }),
        tokens: Some(rate::Config { max_wait: secs(2), ..Default::default() }),
        ..plain.clone()
    };
    assert_eq!(within(&queued), Some(secs(4 * (10 + 5 + 60 + 2) + 7)));
    let unqueued =
        policy::Config { bulkhead: Some(bulkhead::Config { max_queue: 0, ..Default::default() }), ..plain.clone() };
    assert_eq!(within(&unqueued), Some(secs(47)));
    assert_eq!(within(&policy::Config { deadline: Some(secs(30)), ..queued }), Some(secs(30)));
}

#[test]
fn hedges_are_attempts_that_begin_when_the_one_before_fails_at_the_latest() {
    let hedge = Some(crate::hedge::Config { max_hedges: 2, ..secs(3).into() });
    let config = policy::Config { hedge, ..retrying(1, Backoff::constant(secs(1)).jitter(Jitter::None)) };
    assert_eq!(config.explain().attempts, 6);
    assert_eq!(within(&config), Some(secs(2 * 3 * 10 + 1)));
    let alone = policy::Config { retry: None, ..config };
    assert!(alone.explain().warnings.contains(&Warning::NoBudget { attempts: 3 }));
}

#[test]
fn a_servers_hint_is_in_the_worst_case() {
    let mut config = retrying(2, Backoff::exponential(secs(1)));
    assert_eq!(config.explain().worst_case, Bound::Unbounded(vec![Unbounded::Hint]));
    config.retry.as_mut().unwrap().retry_after_cap = Some(secs(60));
    assert_eq!(config.explain().worst_case, Bound::Within(secs(3 * 10 + 2 * 72)), "spread upward by a fifth");
    let retry = config.retry.as_mut().unwrap();
    (retry.retry_after_cap, retry.max_retry_after) = (None, Some(secs(60)));
    assert_eq!(config.explain().worst_case, Bound::Within(secs(3 * 10 + 2 * 72)));
    assert_eq!(policy::Config::default().explain().worst_case, Bound::Unbounded(vec![Unbounded::Attempt]));
    config.retry.as_mut().unwrap().max_retries = 0;
    assert_eq!(config.explain().worst_case, Bound::Within(secs(10)));
}

#[test]
fn waiting_for_a_half_open_circuit_is_in_the_worst_case() {
    let mut config = retrying(1, Backoff::constant(secs(1)).jitter(Jitter::None));
    config.retry.as_mut().unwrap().wait_for_half_open = true;
    assert_eq!(within(&config), Some(secs(21)));
    config.breaker = Some(breaker::Config { open_duration: secs(30), ..Default::default() });
    assert_eq!(within(&config), Some(secs(2 * 10 + 30)));
    assert_eq!(config.explain().worst_case, Bound::Unbounded(vec![Unbounded::Hint]));
}

#[test]
fn many_retries_are_counted_without_being_walked_through() {
    let backoff = Backoff::constant(secs(1)).jitter(Jitter::None).max_delay(secs(1));
    assert_eq!(within(&retrying(4_000_000_000, backoff)), Some(secs(4_000_000_001 * 10 + 4_000_000_000)));
    let longest = Backoff::constant(Duration::MAX);
    assert_eq!(within(&retrying(u32::MAX, longest)), Some(Duration::MAX));
}

#[test]
fn attempts_of_nested_policies_multiply_and_saturate() {
    let config = retrying(3, Backoff::default());
    assert_eq!(config.explain().attempts, 4);
    assert_eq!(attempts_nested([&config, &config]), 16);
    let endless = retrying(u32::MAX, Backoff::default());
    assert_eq!(attempts_nested([&endless, &endless, &endless]), u64::MAX);
    assert_eq!(attempts_nested([]), 1);
}

fn circuit(config: &policy::Config, trip: Trip) -> Option<Opening> {
    let breaker = breaker::Config { trip: vec![trip], ..config.breaker.clone().unwrap_or_default() };
    let config = policy::Config { breaker: Some(breaker), ..config.clone() };
    config.explain().circuit.map(|mut circuit| circuit.opens.remove(0))
}

#[test]
fn a_circuit_says_how_many_failures_open_it_and_how_long_hung_calls_take_to() {
    let config = retrying(3, Backoff::exponential(secs(1)).jitter(Jitter::None));
    let opening = |trip| {
        let Opening { failures, hung_together, hung_in_turn, .. } = circuit(&config, trip).unwrap();
        (failures, hung_together, hung_in_turn)
    };
    assert_eq!(opening(Trip::consecutive(5)), (5, Some(secs(10)), Some(secs(50))));
    assert_eq!(opening(Trip::within(5, secs(40))), (5, Some(secs(10)), Some(secs(50))));
    assert_eq!(opening(Trip::within(5, secs(39))), (5, Some(secs(10)), None), "four attempts of 10 s lie between");
    let time = Window::Time(secs(1000));
    assert_eq!(opening(Trip::ratio(0.29, 100, time)), (29, Some(secs(10)), Some(secs(1000))));
    assert_eq!(opening(Trip::ratio(0.5, 3, time)), (2, Some(secs(10)), Some(secs(30))));
    assert_eq!(opening(Trip::slow(0.5, secs(11), 4, time)), (2, None, None), "they time out before they are slow");

    let operation = breaker::Config { scope: Scope::Operation, ..Default::default() };
    let whole = policy::Config { breaker: Some(operation), ..config.clone() };
    assert_eq!(circuit(&whole, Trip::consecutive(2)).unwrap().hung_together, Some(secs(47)));
    let open = policy::Config { attempt_timeout: None, ..config };
    assert_eq!(circuit(&open, Trip::consecutive(2)).unwrap().hung_together, None);
}

#[test]
fn the_time_open_has_bounds() {
    let open = |open_factor: f64, open_jitter| {
        let breaker = breaker::Config { open_duration: secs(10), open_factor, open_jitter, ..Default::default() };
        let circuit = policy::Config { breaker: Some(breaker), ..Default::default() }.explain().circuit.unwrap();
        (circuit.open_for, circuit.open_at_most)
    };
    assert_eq!(open(1.0, Jitter::None), ((secs(10), secs(10)), secs(10)));
    assert_eq!(open(1.0, Jitter::Symmetric(0.5)), ((secs(5), secs(15)), secs(15)));
    assert_eq!(open(2.0, Jitter::None), ((secs(10), secs(10)), secs(100)));
}

#[test]
fn budget_and_rates_are_numbers() {
    let config = policy::Config {
        budget: Some(budget::Config { ratio: 0.25, floor: 4, window: secs(20) }),
        rate: Some(rate::Config { rate: 30, per: secs(60), burst: Some(5), ..Default::default() }),
        tokens: Some(rate::Config { rate: 90_000, per: secs(60), ..Default::default() }),
        ..retrying(1, Backoff::default())
    };
    let explained = config.explain();
    assert_eq!(explained.amplification, Some(Amplification { factor: 1.25, floor: 4, window: secs(20) }));
    assert_eq!(explained.requests, Some(Pace { per_second: 0.5, burst: 5 }));
    assert_eq!(explained.tokens, Some(Pace { per_second: 1500.0, burst: 90_000 }));
}

#[test]
fn each_dangerous_combination_is_warned_of_and_a_sound_policy_is_not() {
    let budget = Some(budget::Config::default());
    let sound = policy::Config {
        deadline: Some(secs(60)),
        budget,
        breaker: Some(breaker::Config::default()),
        bulkhead: Some(bulkhead::Config::default()),
        rate: Some(rate::Config::default()),
        ..retrying(3, Backoff::default())
    };
    assert_eq!(sound.explain().warnings, []);
    let changed = |change: fn(&mut policy::Config)| {
        let mut config = sound.clone();
        change(&mut config);
        config.explain().warnings
    };

    assert_eq!(
        changed(|config| (config.deadline, config.attempt_timeout) = (None, None)),
        [Warning::NoTimeLimit, Warning::ProbeGivenUpEarly { half_open_timeout: secs(60), takes: None }]
    );
    assert_eq!(changed(|config| config.budget = None), [Warning::NoBudget { attempts: 4 }]);
    assert_eq!(changed(|config| config.attempt_timeout = None), [Warning::NoTimeForRetry { deadline: secs(60) }]);
    assert_eq!(
        changed(|config| config.deadline = Some(Duration::from_millis(800))),
        [
            Warning::AttemptPastDeadline { attempt_timeout: secs(10), deadline: Duration::from_millis(800) },
            Warning::QueuePastDeadline { queue_timeout: secs(5), deadline: Duration::from_millis(800) },
            Warning::DelayPastDeadline { delay: Duration::from_millis(800), deadline: Duration::from_millis(800) },
        ]
    );
    assert_eq!(
        changed(|config| config.breaker.as_mut().unwrap().half_open_timeout = Some(secs(9))),
        [Warning::ProbeGivenUpEarly { half_open_timeout: secs(9), takes: Some(secs(10)) }]
    );
    assert_eq!(
        changed(|config| config.breaker.as_mut().unwrap().half_open_max_calls = 1),
        [Warning::SeveralRounds { successes: 2, probes: 1 }]
    );
    assert_eq!(
        changed(|config| config.breaker.as_mut().unwrap().trip = vec![Trip::consecutive(4)]),
        [Warning::OneCallOpens { attempts: 4, failures: 4 }]
    );
    // 10 a second and 10 at once: 1,010 calls in ten seconds and the tenth that the window may be longer, and 10.
    let ratio = |config: &mut policy::Config, calls| {
        config.breaker.as_mut().unwrap().trip = vec![Trip::ratio(0.5, calls, Window::Time(secs(100)))];
    };
    let mut rare = sound.clone();
    ratio(&mut rare, 1111);
    assert_eq!(rare.explain().warnings, [Warning::TooFewCalls { minimum_calls: 1111, possible: 1110 }]);
    ratio(&mut rare, 1110);
    assert_eq!(rare.explain().warnings, []);
    rare.breaker.as_mut().unwrap().trip = vec![Trip::within(1111, secs(100))];
    assert_eq!(rare.explain().warnings, [Warning::TooFewCalls { minimum_calls: 1111, possible: 1110 }]);
}

#[test]
fn it_reads_as_english() {
    let config = policy::Config {
        deadline: Some(secs(60)),
        budget: Some(budget::Config::default()),
        breaker: Some(breaker::Config { open_factor: 2.0, ..Default::default() }),
        bulkhead: Some(bulkhead::Config::default()),
        rate: Some(rate::Config::default()),
        ..retrying(3, Backoff::default())
    };
    let expected = "\
a call: 60s at most, 4 attempts at most, 16 when nested in a policy like it
  10 calls at a time
  10 requests a second in the long run, 10 requests at once
retries: at most 1.2 attempts a call over all calls, and 3 more in each 10s, if everything fails
circuit: opens after 5 failures in a row; if calls hang, after 10s (all at once) to 50s (one after the other)
  stays open 60s, longer each time it opens again, up to 600s; then 3 probes at a time, 2 successes close it";
    assert_eq!(config.explain().to_string(), expected);
    let bare = policy::Config::default().explain().to_string();
    assert!(
        bare.starts_with("a call: no limit of time (neither `attempt_timeout` nor `deadline` is set), 1 attempt at")
    );
    assert!(bare.contains("\nwarning: a call that hangs is held for ever"));
    let alone = policy::Config { breaker: Some(breaker::Config::default()), ..Default::default() };
    let warning = "\nwarning: a probe may take for ever, but gives its place to another after 60s, so that more probes may \
                   run than `half_open_max_calls`: set a shorter `attempt_timeout`";
    assert!(alone.explain().to_string().ends_with(warning), "{}", alone.explain());
}

#[test]
fn nonsense_gives_numbers_too() {
    let config = policy::Config {
        breaker: Some(breaker::Config {
            trip: vec![Trip::ratio(f64::NAN, 0, Window::Time(Duration::MAX)), Trip::consecutive(0)],
            open_factor: f64::INFINITY,
            ..Default::default()
        }),
        rate: Some(rate::Config { rate: u32::MAX, per: Duration::ZERO, burst: None, max_wait: Duration::MAX }),
        tokens: Some(rate::Config { rate: 0, per: Duration::MAX, burst: Some(0), max_wait: Duration::MAX }),
        budget: Some(budget::Config { ratio: f64::NAN, floor: 0, window: Duration::ZERO }),
        ..retrying(u32::MAX, Backoff::fibonacci(Duration::MAX).jitter(Jitter::Range(-1.0, f64::INFINITY)))
    };
    assert!(!config.explain().to_string().is_empty());
}

#[test]
fn a_throttle_says_from_which_share_on_it_refuses() {
    let throttle = crate::throttle::Config { multiplier: 1.5, window: secs(60), ..Default::default() };
    let text = policy::Config { throttle: Some(throttle), ..Default::default() }.explain().to_string();
    let expected = "throttle: refuses calls while fewer than 66.667 % of them are accepted, at most 90 %\n  \
                    counted over 60s, with 10 requests or more";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn the_class_of_a_policy_is_said_and_its_difference_named() {
    let low = policy::Config { priority: Some(crate::Priority::Low), ..Default::default() };
    let text = low.explain().to_string();
    assert!(text.contains("priority low in queues"), "{text}");
    let none = policy::Config::default();
    assert!(!none.explain().to_string().contains("priority"));
    assert_eq!(none.differences(&low), ["priority is None, given Some(Low)"]);
}
