//! Thousands of clients in an outage, deterministically.
#![cfg(test)]

use std::time::Duration;

use stormproof_core::breaker::Window;
use stormproof_core::{Backoff, Caller, Event, Instant, Policy, Trip, breaker, budget, bulkhead, policy, retry};
use stormproof_sim::{CallTrace, Driver, End, Reply, Start};

const CLIENTS: u64 = 5_000;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn at(time: Duration) -> Instant {
    Instant::ZERO + time
}

fn build(seed: u64, change: impl FnOnce(&mut policy::Config)) -> [Policy; 1] {
    let mut config = policy::Config {
        retry: Some(retry::Config { backoff: Backoff::exponential(ms(200)), ..Default::default() }),
        budget: Some(budget::Config::default()),
        breaker: Some(breaker::Config {
            trip: vec![Trip::ratio(0.5, 20, Window::Time(Duration::from_secs(1)))],
            open_duration: Duration::from_secs(2),
            ..Default::default()
        }),
        ..Default::default()
    };
    change(&mut config);
    [config.build("upstream", seed).unwrap()]
}

/// The upstream fails from second 2 to second 12. A client comes every 4 ms, for 20 s.
fn outage(policies: &[Policy]) -> (Vec<CallTrace>, Vec<Event>) {
    let down = at(ms(2_000))..at(ms(12_000));
    let upstream = |_client: usize, _attempt: u32, now: Instant| {
        if down.contains(&now) { (ms(50), Reply::fail("ServerError")) } else { (ms(20), Reply::ok()) }
    };
    let mut driver = Driver::new(policies, upstream);
    for client in 0..CLIENTS {
        driver.run_until(at(ms(client * 4)));
        driver.start(Start { policy: 0, deadline: Instant::FAR_FUTURE, cost: 0, caller: Caller::default() });
    }
    driver.run();
    driver.finish()
}

#[test]
fn the_same_seed_is_the_same_run_and_another_seed_is_another() {
    let run = |seed| outage(&build(seed, |_| ()));
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first, run(8));
}

#[test]
fn an_outage_costs_few_attempts_and_is_over_soon_after_it_ends() {
    let policies = build(7, |_| ());
    let (calls, _) = outage(&policies);
    let during = |call: &&CallTrace| (ms(2_000)..ms(12_000)).contains(&call.ended) && !call.attempts.is_empty();
    let attempts: usize = calls.iter().filter(during).map(|call| call.attempts.len()).sum();
    // As many failures as there were successes in the window of a second, those in flight, and a few probes.
    assert!(attempts < 320, "{attempts} attempts of 2,500 clients");
    let served_late = calls.iter().rev().take_while(|call| call.end == End::Ok).count();
    assert!(served_late > 1_400, "the last {served_late} of the 2,000 clients after the outage");
    let breaker = policies[0].breaker.as_ref().unwrap();
    assert_eq!(breaker.state(at(ms(20_000))), breaker::State::Closed);
}

#[test]
fn without_a_breaker_the_budget_bounds_the_storm() {
    let policies = build(7, |config| config.breaker = None);
    let (calls, _) = outage(&policies);
    let attempts: usize = calls.iter().map(|call| call.attempts.len()).sum();
    // A ratio of 0.2, and a floor of 3 for each of the 2 windows begun.
    let most = 5_000 + 1_000 + 2 * 3;
    assert!((5_100..=most).contains(&attempts), "{attempts} attempts of {CLIENTS} clients");
}

#[test]
fn a_queue_of_thousands_is_served_in_order() {
    let policies = build(7, |config| {
        *config = policy::Config::default();
        config.bulkhead = Some(bulkhead::Config {
            max_concurrent: 10,
            max_queue: 10_000,
            queue_timeout: Duration::from_secs(3_600),
            ..Default::default()
        });
    });
    let mut driver = Driver::new(&policies, |_, _, _| (ms(10), Reply::ok()));
    for _ in 0..CLIENTS {
        driver.start(Start { policy: 0, deadline: Instant::FAR_FUTURE, cost: 0, caller: Caller::default() });
    }
    driver.run();
    assert_eq!(driver.now(), at(ms(10 * CLIENTS / 10)));
    let (calls, _) = driver.finish();
    assert!(calls.iter().map(|call| call.attempts[0]).is_sorted());
}

#[test]
#[should_panic(expected = "livelock")]
fn a_run_that_does_not_move_on_fails_loudly() {
    let policies = build(7, |config| {
        let backoff = Backoff::constant(Duration::ZERO);
        *config = policy::Config::default();
        config.retry = Some(retry::Config { max_retries: u32::MAX, backoff, ..Default::default() });
    });
    let mut driver = Driver::new(&policies, |_, _, _| (Duration::ZERO, Reply::fail("E")));
    driver.start(Start { policy: 0, deadline: Instant::FAR_FUTURE, cost: 0, caller: Caller::default() });
    driver.run();
}

#[test]
#[should_panic(expected = "call 0 never ends")]
fn a_call_that_never_ends_fails_loudly() {
    let policies = [Policy::new("p")];
    let mut driver = Driver::new(&policies, |_, _, _| (Duration::MAX, Reply::ok()));
    driver.start(Start { policy: 0, deadline: Instant::FAR_FUTURE, cost: 0, caller: Caller::default() });
    driver.run();
    driver.finish();
}
