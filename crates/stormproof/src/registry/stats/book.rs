//! The shapes of the book's examples.

use serde::Serialize;
use stormproof_core::breaker::State;

use super::Reading;

/// `get_state()` of one breaker.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Breaker {
    /// The state.
    pub state: State,
    /// What counts towards opening now.
    pub failure_count: u32,
    /// Successful probes of the present half-open state.
    pub success_count: u32,
    /// ISO 8601.
    pub last_failure_time: Option<String>,
    /// ISO 8601.
    pub last_state_change: Option<String>,
    /// Seconds until probes pass; 0 unless open.
    pub time_until_retry: f64,
}

impl From<&Reading> for Breaker {
    fn from(reading: &Reading) -> Self {
        Self {
            state: reading.stats.state,
            failure_count: reading.failures(),
            success_count: reading.stats.half_open_successes,
            last_failure_time: reading.iso(reading.stats.last_failure),
            last_state_change: reading.iso(reading.stats.last_change),
            time_until_retry: reading.remaining().unwrap_or(0.0),
        }
    }
}

/// The statistics of chapter 21.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// The state.
    pub state: State,
    /// Calls that have ended, whatever they came to.
    pub total_calls: u64,
    /// Successful calls.
    pub total_successes: u64,
    /// Failed calls.
    pub total_failures: u64,
    /// Calls that were not let through.
    pub total_rejected: u64,
    /// Successful among counted calls, 1 when there were none.
    pub success_rate: f64,
    /// What counts towards opening now.
    pub recent_failures: u32,
    /// Seconds until probes pass; 0 unless open.
    pub time_until_retry: f64,
}

impl From<&Reading> for Totals {
    fn from(reading: &Reading) -> Self {
        Self {
            state: reading.stats.state,
            total_calls: reading.calls(),
            total_successes: reading.stats.successes,
            total_failures: reading.stats.failures,
            total_rejected: reading.stats.refused,
            success_rate: reading.stats.success_rate(),
            recent_failures: reading.failures(),
            time_until_retry: reading.remaining().unwrap_or(0.0),
        }
    }
}
