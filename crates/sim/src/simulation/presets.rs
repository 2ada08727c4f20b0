//! Comparisons that are built in: two policies worth setting side by side.

use std::time::Duration;

use super::{Comparison, Says, Setup, run};
use stormproof_core::{
    Backoff, Jitter, Mistakes, Trip, adaptive, breaker, budget, bulkhead, hedge, policy, rate, retry, throttle,
};

/// Two policies, each with its name, and what the comparison shows.
#[derive(Clone, Debug)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// The policies.
    pub sides: [(&'static str, policy::Config); 2],
    /// What the calls of each side say of themselves.
    pub says: [Says; 2],
}

impl Preset {
    /// Runs both policies against the same server.
    ///
    /// # Errors
    /// All mistakes in `setup`.
    pub fn compare(&self, setup: &Setup) -> Result<Comparison, Mistakes> {
        let [one, other] = [0, 1].map(|at| {
            let (name, policy) = &self.sides[at];
            run(&Setup { says: self.says[at], ..setup.clone() }, policy).map(|outcome| ((*name).to_owned(), outcome))
        });
        Ok(Comparison { setup: setup.clone(), sides: [one?, other?] })
    }
}

/// The names of all, each with what it shows.
pub const PRESETS: [(&str, &str); 9] = [
    ("retry-budget", "retries that nothing limits, and the same under a budget"),
    ("breaker", "time-outs and retries alone, and with a circuit breaker"),
    ("throttle", "time-outs and retries alone, and with an adaptive throttle"),
    ("rate-queue", "a rate limiter that refuses, and one where callers wait in a queue"),
    ("adaptive", "a bulkhead of a hundred slots, and one that finds its number"),
    ("adaptive-outage", "a bulkhead that finds its number, and the same behind a circuit breaker"),
    ("tenants", "a bulkhead whose queue is one line, and one with a line for each tenant"),
    ("priority", "a bulkhead whose queue is one line, and one that knows which calls are critical"),
    ("hedge", "one attempt after another, and a second one beside a slow one"),
];

/// The comparison with that name.
pub fn preset(name: &str) -> Option<Preset> {
    let &(name, about) = PRESETS.iter().find(|(known, _)| *known == name)?;
    let sides = match name {
        "retry-budget" => {
            let with = policy::Config { budget: Some(budget::Config::default()), ..retrying() };
            [("no budget", retrying()), ("budget", with)]
        }
        "breaker" => {
            let with = policy::Config { breaker: Some(breaker()), ..retrying() };
            [("no breaker", retrying()), ("breaker", with)]
        }
        "throttle" => {
            let with = policy::Config { throttle: Some(throttle::Config::default()), ..retrying() };
            [("no throttle", retrying()), ("throttle", with)]
        }
        "rate-queue" => [("refuses", limited(Duration::ZERO)), ("queue", limited(Duration::from_secs(10)))],
        "adaptive" => [("100 slots", slots(None, 100)), ("adaptive", slots(Some(adaptive::Config::default()), 20))],
        "adaptive-outage" => {
            let alone = slots(Some(adaptive::Config::default()), 20);
            let behind = policy::Config { breaker: Some(breaker()), ..alone.clone() };
            [("adaptive", alone), ("behind a breaker", behind)]
        }
        "tenants" => [("one line", slots(None, 20)), ("by tenant", slots(None, 20))],
        "priority" => [("one line", slots(None, 20)), ("by class", slots(None, 20))],
        "hedge" => {
            let hedge = hedge::Config { delay: hedge::Delay::percentile(0.95), ..hedge::Config::default() };
            [
                ("one", policy::Config::default()),
                ("hedged", policy::Config { hedge: Some(hedge), ..policy::Config::default() }),
            ]
        }
        _ => return None,
    };
    let says = match name {
        "tenants" => [Says::Nothing, Says::Tenant],
        "priority" => [Says::Nothing, Says::Class],
        _ => [Says::Nothing; 2],
    };
    Some(Preset { name, about, sides, says })
}

/// Three retries of an attempt that may take a second, as people write them.
fn retrying() -> policy::Config {
    let backoff = Backoff::exponential(Duration::from_millis(100)).jitter(Jitter::Full);
    policy::Config {
        attempt_timeout: Some(Duration::from_secs(1)),
        retry: Some(retry::Config { max_retries: 3, backoff, ..retry::Config::default() }),
        ..policy::Config::default()
    }
}

fn breaker() -> breaker::Config {
    breaker::Config {
        trip: vec![Trip::consecutive(5)],
        open_duration: Duration::from_secs(5),
        ..breaker::Config::default()
    }
}

fn limited(max_wait: Duration) -> policy::Config {
    let rate = rate::Config { rate: 50, burst: Some(5), max_wait, ..rate::Config::default() };
    policy::Config { rate: Some(rate), ..policy::Config::default() }
}

fn slots(adaptive: Option<adaptive::Config>, max_concurrent: u32) -> policy::Config {
    let bulkhead = bulkhead::Config { max_concurrent, max_queue: 20, adaptive, ..bulkhead::Config::default() };
    policy::Config { bulkhead: Some(bulkhead), ..policy::Config::default() }
}
