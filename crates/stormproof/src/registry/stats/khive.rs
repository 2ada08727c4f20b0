//! The shape of khive's clients.

use serde::Serialize;
use stormproof_core::breaker::State;

use super::{Reading, unix};

/// `metrics` of one breaker.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Metrics {
    /// Successful calls.
    pub success_count: u64,
    /// Failed calls.
    pub failure_count: u64,
    /// Calls that were not let through.
    pub rejected_count: u64,
    /// The last changes of state, oldest first, at most 100.
    pub state_changes: Vec<StateChange>,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StateChange {
    /// Seconds since 1970.
    pub time: f64,
    /// From which state.
    pub from: State,
    /// To which state.
    pub to: State,
}

impl From<&Reading> for Metrics {
    fn from(reading: &Reading) -> Self {
        let changes = reading.history.iter().map(|change| StateChange {
            time: unix(reading.time_of(change.at)),
            from: change.from,
            to: change.to,
        });
        Self {
            success_count: reading.stats.successes,
            failure_count: reading.stats.failures,
            rejected_count: reading.stats.refused,
            state_changes: changes.collect(),
        }
    }
}
