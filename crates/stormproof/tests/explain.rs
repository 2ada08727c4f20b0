//! No call takes longer, or more attempts, than its policy's explanation says: calls are driven through the core on
//! virtual time, and compared with it.

use std::time::Duration;

use proptest::prelude::*;
use stormproof_core::breaker::Scope;
use stormproof_core::{Backoff, Caller, Instant, Jitter, Trip, breaker, budget, bulkhead, hedge, policy, rate, retry};
use stormproof_sim::{Driver, Reply, Start};

fn ms(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

fn jitter() -> impl Strategy<Value = Jitter> {
    prop_oneof![
        Just(Jitter::None),
        Just(Jitter::Full),
        Just(Jitter::Equal),
        (0.0..1.0).prop_map(Jitter::Symmetric),
        (0.0..2.0).prop_map(Jitter::Additive),
        (0.0..1.0, 1.0..2.0).prop_map(|(low, high)| Jitter::Range(low, high)),
    ]
}

fn backoff() -> impl Strategy<Value = Backoff> {
    let kinds = [Backoff::exponential, Backoff::linear, Backoff::constant, Backoff::fibonacci, Backoff::decorrelated];
    (prop::sample::select(kinds.to_vec()), ms(0..3_000), ms(3_000..9_000), jitter())
        .prop_map(|(kind, base, max, jitter)| kind(base).max_delay(max).jitter(jitter))
}

fn limit() -> impl Strategy<Value = rate::Config> {
    (1_u32..20, 1_u32..20, ms(0..5_000)).prop_map(|(rate, burst, max_wait)| rate::Config {
        rate,
        burst: Some(burst),
        max_wait,
        ..Default::default()
    })
}

fn policy() -> impl Strategy<Value = policy::Config> {
    let retry = (0_u32..5, backoff(), prop::option::of(ms(0..8_000)), any::<bool>(), any::<bool>());
    let retry = retry.prop_map(|(max_retries, backoff, longest, cuts, wait_for_half_open)| retry::Config {
        max_retries,
        backoff,
        retry_after_cap: longest.filter(|_| cuts),
        max_retry_after: longest.filter(|_| !cuts),
        wait_for_half_open,
        ..Default::default()
    });
    let bulkhead = (1_u32..4, 0_u32..10, ms(0..3_000));
    let bulkhead = bulkhead.prop_map(|(max_concurrent, max_queue, queue_timeout)| bulkhead::Config {
        max_concurrent,
        max_queue,
        queue_timeout,
        adaptive: None,
    });
    let breaker = (1_u32..30, ms(1..5_000), any::<bool>());
    let breaker = breaker.prop_map(|(trip, open_duration, operation)| breaker::Config {
        trip: vec![Trip::consecutive(trip)],
        open_duration,
        scope: if operation { Scope::Operation } else { Scope::Attempt },
        ..Default::default()
    });
    let times = (prop::option::of(ms(1..20_000)), prop::option::of(ms(1..4_000)));
    let options = (prop::option::of(retry), prop::option::of(breaker), prop::option::of(bulkhead));
    let hedge = (ms(0..5_000), 1_u32..4).prop_map(|(delay, max_hedges)| hedge::Config { max_hedges, ..delay.into() });
    let limits = (prop::option::of(limit()), prop::option::of(limit()), any::<bool>(), prop::option::of(hedge));
    (times, options, limits).prop_map(|(times, (retry, breaker, bulkhead), (rate, tokens, budget, hedge))| {
        let (deadline, attempt_timeout) = times;
        let budget = (budget && (retry.is_some() || hedge.is_some())).then(budget::Config::default);
        let stages = policy::Config { retry, hedge, budget, breaker, bulkhead, rate, tokens, ..Default::default() };
        policy::Config { deadline, attempt_timeout, ..stages }
    })
}

/// When a call begins, how long its attempts take, and the hint with which they fail.
fn calls() -> impl Strategy<Value = Vec<(Duration, Duration, Option<Duration>)>> {
    prop::collection::vec((ms(0..2_000), ms(0..6_000), prop::option::weighted(0.3, ms(0..20_000))), 1..25)
}

proptest! {
    #[test]
    fn no_call_passes_what_was_explained(config in policy(), mut calls in calls(), seed: u64) {
        let explained = config.explain();
        let hints = calls.iter().any(|(_, _, hint)| hint.is_some());
        let bound = if hints { &explained.worst_case } else { &explained.without_hints };
        calls.sort();
        let policies = [config.clone().build("p", seed).unwrap()];
        let replies: Vec<_> = calls.iter().map(|(_, takes, hint)| {
            let reply = Reply::fail("E");
            (*takes, hint.map_or(reply, |hint| reply.retry_after(hint)))
        }).collect();
        let mut driver = Driver::new(&policies, move |client: usize, _: u32, _: Instant| replies[client]);
        for (start, ..) in &calls {
            driver.run_until(Instant::ZERO + *start);
            let deadline = policies[0].deadline_at(driver.now());
            driver.start(Start { policy: 0, deadline, cost: 1, caller: Caller::default() });
        }
        driver.run();
        for (trace, (start, ..)) in driver.finish().0.iter().zip(&calls) {
            prop_assert!(trace.attempts.len() as u64 <= explained.attempts);
            if let Some(limit) = bound.limit() {
                let took = trace.ended.saturating_sub(*start);
                prop_assert!(took <= limit, "{took:?} > {limit:?} by {config:?}");
            }
        }
    }
}

/// The bound is reached, so it says no more than need be.
#[test]
fn a_call_whose_every_attempt_hangs_takes_exactly_the_worst_case() {
    let backoff = Backoff::fibonacci(Duration::from_secs(1)).jitter(Jitter::None);
    let config = policy::Config {
        attempt_timeout: Some(Duration::from_secs(3)),
        retry: Some(retry::Config { max_retries: 4, backoff, ..Default::default() }),
        ..Default::default()
    };
    let policies = [config.clone().build("p", 1).unwrap()];
    let mut driver = Driver::new(&policies, |_: usize, _: u32, _: Instant| (Duration::MAX, Reply::ok()));
    driver.start(Start { policy: 0, deadline: Instant::FAR_FUTURE, cost: 1, caller: Caller::default() });
    driver.run();
    let ended = driver.finish().0[0].ended;
    assert_eq!(config.explain().without_hints.limit(), Some(ended));
    assert_eq!(ended, Duration::from_secs(5 * 3 + 1 + 1 + 2 + 3));
}
