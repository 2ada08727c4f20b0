//! The shapes of aragora's clients.

use std::collections::BTreeMap;

use serde::Serialize;
use stormproof_core::Name;
use stormproof_core::breaker::State;

use super::{Reading, unix};

/// `CircuitBreakerStats` of one breaker.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Breaker {
    /// The state.
    pub state: State,
    /// What counts towards opening now.
    pub failure_count: u32,
    /// Successful calls.
    pub success_count: u64,
    /// Seconds since 1970.
    pub last_failure_time: Option<f64>,
    /// Seconds since 1970.
    pub last_success_time: Option<f64>,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Successes since the last failure.
    pub consecutive_successes: u64,
    /// Calls that succeeded or failed.
    pub total_requests: u64,
    /// Failed calls.
    pub total_failures: u64,
    /// Seconds of the open wait that are left; nothing unless open.
    pub cooldown_remaining: Option<f64>,
}

impl From<&Reading> for Breaker {
    fn from(reading: &Reading) -> Self {
        let stats = &reading.stats;
        Self {
            state: stats.state,
            failure_count: reading.failures(),
            success_count: stats.successes,
            last_failure_time: reading.unix(stats.last_failure),
            last_success_time: reading.unix(stats.last_success),
            consecutive_failures: stats.consecutive_failures,
            consecutive_successes: stats.consecutive_successes,
            total_requests: stats.successes.saturating_add(stats.failures),
            total_failures: stats.failures,
            cooldown_remaining: reading.remaining(),
        }
    }
}

/// One entry of `get_circuit_breaker_stats()`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Brief {
    /// The state.
    pub state: State,
    /// What counts towards opening now.
    pub failures: u32,
    /// The same, as `stats.failure_count` reads it.
    pub failure_count: u32,
    /// Successful calls.
    pub successes: u64,
    /// Successful among counted calls, 1 when there were none.
    pub success_rate: f64,
    /// Seconds since 1970.
    pub last_failure_time: Option<f64>,
}

impl From<&Reading> for Brief {
    fn from(reading: &Reading) -> Self {
        Self {
            state: reading.stats.state,
            failures: reading.failures(),
            failure_count: reading.failures(),
            successes: reading.stats.successes,
            success_rate: reading.stats.success_rate(),
            last_failure_time: reading.unix(reading.stats.last_failure),
        }
    }
}

/// `get_circuit_breaker_stats()`: every breaker by its name.
pub fn stats(readings: &[Reading]) -> BTreeMap<Name, Brief> {
    readings.iter().map(|reading| (reading.name.clone(), reading.into())).collect()
}

/// `get_circuit_breaker_summary()`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Whether none is open.
    pub healthy: bool,
    /// How many there are.
    pub total: usize,
    /// Names of those that are open.
    pub open: Vec<Name>,
    /// Names of those that are half-open.
    pub half_open: Vec<Name>,
}

impl Summary {
    /// Of these breakers.
    pub fn of(readings: &[Reading]) -> Self {
        let (open, half_open) = (in_state(readings, State::Open), in_state(readings, State::HalfOpen));
        Self { healthy: open.is_empty(), total: readings.len(), open, half_open }
    }
}

/// `get_all_circuit_breakers_status()`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Whether none is open.
    pub healthy: bool,
    /// How many there are.
    pub total_circuits: usize,
    /// How many are open.
    pub open_circuits: usize,
    /// How many are half-open.
    pub half_open_circuits: usize,
    /// How many are closed.
    pub closed_circuits: usize,
    /// Each by its name.
    pub circuits: BTreeMap<Name, Breaker>,
}

impl Status {
    /// Of these breakers.
    pub fn of(readings: &[Reading]) -> Self {
        let Summary { healthy, total, open, half_open } = Summary::of(readings);
        Self {
            healthy,
            total_circuits: total,
            open_circuits: open.len(),
            half_open_circuits: half_open.len(),
            closed_circuits: total - open.len() - half_open.len(),
            circuits: readings.iter().map(|reading| (reading.name.clone(), reading.into())).collect(),
        }
    }
}

/// `get_circuit_breaker_metrics()`, also the body of `GET /api/health/circuits`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Metrics {
    /// Seconds since 1970.
    pub timestamp: f64,
    /// How many breakers there are.
    pub registry_size: usize,
    /// All together.
    pub summary: Totals,
    /// Each by its name.
    pub circuit_breakers: BTreeMap<Name, Circuit>,
    /// What is wrong.
    pub health: Health,
}

/// All breakers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// How many there are.
    pub total: usize,
    /// How many are open.
    pub open: usize,
    /// How many are closed.
    pub closed: usize,
    /// How many are half-open.
    pub half_open: usize,
    /// What counts towards opening now, of all.
    pub total_failures: u64,
    /// How many count any failure.
    pub circuits_with_failures: usize,
}

/// One breaker in [`Metrics`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Circuit {
    /// The state.
    pub status: State,
    /// What counts towards opening now.
    pub failures: u32,
    /// So many failures open it.
    pub failure_threshold: u32,
    /// How long it stays open.
    pub cooldown_seconds: f64,
    /// Seconds of the open wait that are left; nothing unless open.
    pub cooldown_remaining: Option<f64>,
    /// Seconds since it opened; nothing unless open.
    pub open_duration: Option<f64>,
    /// Seconds since somebody asked the registry for it.
    pub last_accessed_seconds_ago: f64,
    /// What it keeps by key. Nothing: keys have breakers of their own, see [`Keyed`](crate::registry::Keyed).
    pub entity_mode: Entities,
}

/// What a breaker keeps by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Entities {
    /// How many keys.
    pub tracked_entities: usize,
    /// Those that are open.
    pub open_entities: Vec<Name>,
}

impl From<&Reading> for Circuit {
    fn from(reading: &Reading) -> Self {
        let seconds_since = |at| reading.now.since(at).as_secs_f64();
        Self {
            status: reading.stats.state,
            failures: reading.failures(),
            failure_threshold: reading.threshold(),
            cooldown_seconds: reading.config.open_duration.as_secs_f64(),
            cooldown_remaining: reading.remaining(),
            open_duration: reading.stats.last_change.filter(|_| reading.is_open()).map(seconds_since),
            last_accessed_seconds_ago: seconds_since(reading.used),
            entity_mode: Entities::default(),
        }
    }
}

/// What is wrong, in [`Metrics`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Healthy if none is open, critical from three on, degraded between.
    pub status: &'static str,
    /// Names of those that are open.
    pub open_circuits: Vec<Name>,
    /// Those that have at least half of the failures that open them.
    pub high_failure_circuits: Vec<HighFailures>,
}

/// A breaker that is close to opening, or has opened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HighFailures {
    /// Its name.
    pub name: Name,
    /// What counts towards opening now.
    pub failures: u32,
    /// So many failures open it.
    pub threshold: u32,
    /// The share, in percent with one decimal.
    pub percentage: f64,
}

impl Metrics {
    /// Of these breakers.
    pub fn of(readings: &[Reading]) -> Self {
        let Summary { total, open, half_open, .. } = Summary::of(readings);
        let failures = || readings.iter().map(Reading::failures);
        let high = |reading: &&Reading| 2 * u64::from(reading.failures()) >= u64::from(reading.threshold());
        Self {
            timestamp: unix(readings.first().map_or_else(std::time::SystemTime::now, |reading| reading.time)),
            registry_size: total,
            summary: Totals {
                total,
                open: open.len(),
                closed: total - open.len() - half_open.len(),
                half_open: half_open.len(),
                total_failures: failures().map(u64::from).sum(),
                circuits_with_failures: failures().filter(|failures| *failures > 0).count(),
            },
            circuit_breakers: readings.iter().map(|reading| (reading.name.clone(), reading.into())).collect(),
            health: Health {
                status: match open.len() {
                    0 => "healthy",
                    1 | 2 => "degraded",
                    _ => "critical",
                },
                open_circuits: open,
                high_failure_circuits: readings.iter().filter(high).map(HighFailures::from).collect(),
            },
        }
    }
}

impl From<&Reading> for HighFailures {
    fn from(reading: &Reading) -> Self {
        let (failures, threshold) = (reading.failures(), reading.threshold());
        let percentage = (f64::from(failures) / f64::from(threshold.max(1)) * 1000.0).round() / 10.0;
        Self { name: reading.name.clone(), failures, threshold, percentage }
    }
}

fn in_state(readings: &[Reading], state: State) -> Vec<Name> {
    readings.iter().filter(|reading| reading.stats.state == state).map(|reading| reading.name.clone()).collect()
}
