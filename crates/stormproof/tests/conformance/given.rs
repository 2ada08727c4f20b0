//! What the cases are made of.

use std::time::Duration;

use stormproof::event::Kind;
use stormproof::{Backoff, Event, Jitter, Limit, Trip, breaker, budget, bulkhead, config, rate};
use stormproof_sim::{CoreDoor, Door, End, Reply, Scenario, Trace};

use crate::async_door::AsyncDoor;
use crate::sync_door::SyncDoor;

pub(crate) type Retries = stormproof_core::retry::Config;

/// Runs a scenario through every door that can, and gives what all of them agree on. Each is compared with the core
/// alone on timers as coarse as its own.
pub(crate) fn run(scenario: &Scenario) -> Trace {
    let core = CoreDoor::TOKIO.run(scenario);
    agree(&core, &AsyncDoor.run(scenario), "async");
    #[cfg(feature = "tower")]
    agree(&core, &crate::tower_door::TowerDoor.run(scenario), "tower");
    let preempts = scenario.config.hedge.is_some() || preempted(&core);
    assert_eq!(scenario.preempts, preempts, "the scenario does not say whether an operation is ended midway");
    if !scenario.preempts {
        agree(&CoreDoor::EXACT.run(scenario), &SyncDoor.run(scenario), "sync");
    }
    core
}

fn agree(core: &Trace, door: &Trace, name: &str) {
    let differ = format!("the core alone (left) and the {name} door differ");
    for (number, (core, door)) in core.calls.iter().zip(&door.calls).enumerate() {
        assert_eq!(core, door, "{differ} in call {number}");
    }
    for (core, door) in core.events.iter().zip(&door.events) {
        assert_eq!(core, door, "{differ} in an event");
    }
    assert_eq!((&core.looks, &core.stages), (&door.looks, &door.stages), "{differ} in the stages");
    assert_eq!(core, door, "{differ} in the number of things");
}

/// Whether a call was dropped, or an attempt ended by its limit.
fn preempted(trace: &Trace) -> bool {
    let midway = |event: &Event| match &event.kind {
        Kind::RetryAttempted { error, .. } | Kind::GaveUp { error, .. } => &**error == "TimeoutError",
        Kind::TimedOut { limit, .. } => *limit == Limit::Attempt,
        _ => false,
    };
    trace.calls.iter().any(|call| call.end == End::Cancelled) || trace.events.iter().any(midway)
}

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) const fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A success.
pub(crate) const S: Reply = Reply::ok();

/// A failure.
pub(crate) const F: Reply = Reply::fail("ServerError");

/// An answer that counts neither way.
pub(crate) const I: Reply = Reply::ignored("ClientError");

pub(crate) fn policy(change: impl FnOnce(&mut config::Config)) -> config::Config {
    let mut config = config::Config::default();
    change(&mut config);
    config
}

/// A breaker that opens for 60 s.
pub(crate) fn trips(trip: Trip) -> breaker::Config {
    breaker::Config { trip: vec![trip], ..Default::default() }
}

/// A scenario with a breaker alone.
pub(crate) fn with_breaker(trip: Trip, change: impl FnOnce(&mut breaker::Config)) -> Scenario {
    let mut config = trips(trip);
    change(&mut config);
    Scenario::new(policy(|p| p.breaker = Some(config)))
}

/// So many retries with exactly these waits.
pub(crate) fn retries(max_retries: u32, backoff: Backoff) -> Retries {
    Retries { max_retries, backoff: backoff.jitter(Jitter::None), ..Default::default() }
}

/// So many retries, a second apart.
pub(crate) fn each_second(max_retries: u32) -> Retries {
    retries(max_retries, Backoff::constant(s(1)))
}

pub(crate) fn slots(max_concurrent: u32, max_queue: u32) -> bulkhead::Config {
    bulkhead::Config { max_concurrent, max_queue, ..Default::default() }
}

/// So many in a second.
pub(crate) fn per_second(rate: u32, burst: u32) -> rate::Config {
    rate::Config { rate, burst: Some(burst), ..Default::default() }
}

pub(crate) fn budget(ratio: f64, floor: u32) -> budget::Config {
    budget::Config { ratio, floor, ..Default::default() }
}
