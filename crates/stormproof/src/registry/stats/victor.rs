//! The shapes of victor's clients.

use std::time::SystemTime;

use serde::Serialize;
use stormproof_core::breaker::State;
use stormproof_core::{Bulkhead as Slots, Instant, Name, RateLimiter as Limiter};

use super::Reading;
use crate::policy::Policy as Stages;

/// `get_stats()` of one breaker.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Breaker {
    /// Its name.
    pub name: Name,
    /// The state.
    pub state: State,
    /// Calls that have ended, whatever they came to.
    pub total_calls: u64,
    /// Failed calls.
    pub total_failures: u64,
    /// Calls that were not let through.
    pub total_rejected: u64,
    /// What counts towards opening now.
    pub failure_count: u32,
    /// Successful probes of the present half-open state.
    pub success_count: u32,
    /// Successful among counted calls, 0 to 1.
    pub success_rate: f64,
    /// Seconds since 1970.
    pub last_failure_time: Option<f64>,
    /// Changes of state that are remembered, at most 100.
    pub state_changes: usize,
}

impl From<&Reading> for Breaker {
    fn from(reading: &Reading) -> Self {
        Self {
            name: reading.name.clone(),
            state: reading.stats.state,
            total_calls: reading.calls(),
            total_failures: reading.stats.failures,
            total_rejected: reading.stats.refused,
            failure_count: reading.failures(),
            success_count: reading.stats.half_open_successes,
            success_rate: reading.stats.success_rate(),
            last_failure_time: reading.unix(reading.stats.last_failure),
            state_changes: reading.history.len(),
        }
    }
}

/// `ObservableCircuitBreaker.get_metrics()`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Metrics {
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
    /// So many failures open it.
    pub failure_threshold: u32,
    /// How long it stays open.
    pub timeout_seconds: f64,
    /// The same.
    pub recovery_timeout: f64,
    /// Probes that are out.
    pub half_open_calls: u32,
}

impl From<&Reading> for Metrics {
    fn from(reading: &Reading) -> Self {
        let open = reading.config.open_duration.as_secs_f64();
        Self {
            name: reading.name.clone(),
            state: reading.stats.state,
            failure_count: reading.failures(),
            success_count: reading.stats.half_open_successes,
            last_failure_time: reading.unix(reading.stats.last_failure),
            failure_threshold: reading.threshold(),
            timeout_seconds: open,
            recovery_timeout: open,
            half_open_calls: reading.stats.half_open_calls,
        }
    }
}

/// `ProviderCircuitBreaker.get_stats()`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Provider {
    /// Its name.
    pub name: Name,
    /// The state.
    pub state: State,
    /// What counts towards opening now.
    pub failure_count: u32,
    /// Successful probes of the present half-open state.
    pub success_count: u32,
    /// Whether a call would pass.
    pub is_available: bool,
    /// Seconds until probes pass; 0 unless open.
    pub time_until_retry: f64,
    /// ISO 8601.
    pub last_failure_time: Option<String>,
}

impl From<&Reading> for Provider {
    fn from(reading: &Reading) -> Self {
        Self {
            name: reading.name.clone(),
            state: reading.stats.state,
            failure_count: reading.failures(),
            success_count: reading.stats.half_open_successes,
            is_available: reading.available,
            time_until_retry: reading.remaining().unwrap_or(0.0),
            last_failure_time: reading.iso(reading.stats.last_failure),
        }
    }
}

/// `get_metrics()` of a bulkhead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Bulkhead {
    /// Its name.
    pub name: Name,
    /// Slots.
    pub max_concurrent: u32,
    /// Slots taken.
    pub active_count: u32,
    /// Callers that wait.
    pub waiting_count: usize,
    /// The same.
    pub queue_size: usize,
    /// Callers that were refused.
    pub rejected_count: u64,
    /// Slots that are free.
    pub available: u32,
}

impl From<&Slots> for Bulkhead {
    fn from(bulkhead: &Slots) -> Self {
        let stats = bulkhead.stats();
        Self {
            name: bulkhead.name().clone(),
            max_concurrent: stats.max_concurrent,
            active_count: stats.active,
            waiting_count: stats.queued,
            queue_size: stats.queued,
            rejected_count: stats.refused,
            available: stats.max_concurrent.saturating_sub(stats.active),
        }
    }
}

/// `get_metrics()` of a rate limiter.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RateLimiter {
    /// Its name.
    pub name: Name,
    /// Permits a second.
    pub rate: f64,
    /// The most permits that are saved up.
    pub capacity: u32,
    /// Permits that could be taken now.
    pub tokens_available: u32,
}

impl RateLimiter {
    fn of(limiter: &Limiter, now: Instant) -> Self {
        let (config, stats) = (limiter.config(), limiter.stats(now));
        Self {
            name: limiter.name().clone(),
            rate: f64::from(config.rate) / config.per.as_secs_f64(),
            capacity: stats.burst,
            tokens_available: stats.available,
        }
    }
}

/// `get_metrics()` of a policy; a stage that it lacks is left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Policy {
    /// Its name.
    pub name: Name,
    /// Its breaker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<Metrics>,
    /// Its bulkhead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bulkhead: Option<Bulkhead>,
    /// Its limiter of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}

impl From<&Stages> for Policy {
    fn from(policy: &Stages) -> Self {
        let (stages, now) = (policy.stages(), policy.clock().now());
        let breaker = stages.breaker.as_ref().map(|stage| Reading::of_core(stage, now, SystemTime::now()));
        Self {
            name: policy.name().clone(),
            circuit_breaker: breaker.as_ref().map(Metrics::from),
            bulkhead: stages.bulkhead.as_ref().map(|stage| Bulkhead::from(&**stage)),
            rate_limiter: stages.rate.as_ref().map(|stage| RateLimiter::of(stage, now)),
        }
    }
}
