//! The shapes of the A2A multi-agent system's clients.

use std::collections::BTreeMap;

use serde::Serialize;
use stormproof_core::Name;
use stormproof_core::breaker::State;

use super::Reading;

/// `get_state()` of one breaker.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Breaker {
    /// Its name.
    pub name: Name,
    /// The state.
    pub state: State,
    /// What counts towards opening now.
    pub failure_count: u32,
    /// Successful probes of the present half-open state.
    pub success_count: u32,
    /// Seconds since 1970.
    pub last_failure_time: Option<f64>,
    /// Probes that are out.
    pub half_open_calls: u32,
}

impl From<&Reading> for Breaker {
    fn from(reading: &Reading) -> Self {
        Self {
            name: reading.name.clone(),
            state: reading.stats.state,
            failure_count: reading.failures(),
            success_count: reading.stats.half_open_successes,
            last_failure_time: reading.unix(reading.stats.last_failure),
            half_open_calls: reading.stats.half_open_calls,
        }
    }
}

/// `get_resilience_status()`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Resilience {
    /// The breakers by name.
    pub circuit_breakers: BTreeMap<Name, Health>,
    /// The pools of connections by key.
    pub connection_pools: BTreeMap<String, Pool>,
}

/// A breaker in [`Resilience`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// The state.
    pub state: State,
    /// What counts towards opening now.
    pub failure_count: u32,
    /// See [`Reading::health_score`].
    pub health_score: f64,
}

/// A pool of connections in [`Resilience`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Pool {
    /// Connections in use.
    pub active: u64,
    /// Connections allowed.
    pub limit: u64,
    /// The share, in percent; 0 without a limit.
    pub usage_percent: f64,
}

impl Pool {
    /// A pool with so many connections in use of so many allowed.
    pub fn new(active: u64, limit: u64) -> Self {
        let usage_percent = if limit == 0 { 0.0 } else { active as f64 * 100.0 / limit as f64 };
        Self { active, limit, usage_percent }
    }
}

impl Resilience {
    /// Of these breakers and pools.
    pub fn of(readings: &[Reading], connection_pools: BTreeMap<String, Pool>) -> Self {
        let health = |reading: &Reading| Health {
            state: reading.stats.state,
            failure_count: reading.failures(),
            health_score: reading.health_score(),
        };
        let circuit_breakers = readings.iter().map(|reading| (reading.name.clone(), health(reading))).collect();
        Self { circuit_breakers, connection_pools }
    }
}
