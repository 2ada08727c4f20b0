//! The shapes of victor's clients.

use crate::Template::{self, Field, Iso, NotZero, Object, Part, Unix};

/// `get_stats()` of one breaker.
pub const BREAKER: Template = Object(&[
    ("name", Field("name")),
    ("state", Field("state")),
    ("total_calls", Field("ended")),
    ("total_failures", Field("total_failures")),
    ("total_rejected", Field("refused")),
    ("failure_count", Field("failures")),
    ("success_count", Field("probe_successes")),
    ("success_rate", Field("success_rate")),
    ("last_failure_time", Unix("last_failure_ago")),
    ("state_changes", Field("changes")),
]);

/// `ObservableCircuitBreaker.get_metrics()`.
pub const METRICS: Template = Object(&[
    ("name", Field("name")),
    ("state", Field("state")),
    ("failure_count", Field("failures")),
    ("success_count", Field("probe_successes")),
    ("last_failure_time", Unix("last_failure_ago")),
    ("failure_threshold", Field("threshold")),
    ("timeout_seconds", Field("open_duration")),
    ("recovery_timeout", Field("open_duration")),
    ("half_open_calls", Field("probes")),
]);

/// `ProviderCircuitBreaker.get_stats()`.
pub const PROVIDER: Template = Object(&[
    ("name", Field("name")),
    ("state", Field("state")),
    ("failure_count", Field("failures")),
    ("success_count", Field("probe_successes")),
    ("is_available", NotZero("available")),
    ("time_until_retry", Field("until_probes")),
    ("last_failure_time", Iso("last_failure_ago")),
]);

/// `get_metrics()` of a bulkhead.
pub const BULKHEAD: Template = Object(&[
    ("name", Field("name")),
    ("max_concurrent", Field("max_concurrent")),
    ("active_count", Field("active")),
    ("waiting_count", Field("queued")),
    ("queue_size", Field("queued")),
    ("rejected_count", Field("refused")),
    ("available", Field("free")),
]);

/// `get_metrics()` of a rate limiter.
pub const RATE_LIMITER: Template = Object(&[
    ("name", Field("name")),
    ("rate", Field("rate_per_second")),
    ("capacity", Field("burst")),
    ("tokens_available", Field("available")),
]);

/// `get_metrics()` of a policy; a stage that it lacks is left out.
pub const POLICY: Template = Object(&[
    ("name", Field("name")),
    ("circuit_breaker", Part("breaker", &METRICS)),
    ("bulkhead", Part("bulkhead", &BULKHEAD)),
    ("rate_limiter", Part("rate", &RATE_LIMITER)),
]);
