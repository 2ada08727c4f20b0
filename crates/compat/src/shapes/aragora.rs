//! The shapes of aragora's clients.

use crate::Template::{self, ByName, Each, Field, IsZero, Iso, Number, Object, Steps, True, Unix};

/// `CircuitBreakerStats` of one breaker.
pub const BREAKER: Template = Object(&[
    ("state", Field("state")),
    ("failure_count", Field("failures")),
    ("success_count", Field("successes")),
    ("last_failure_time", Unix("last_failure_ago")),
    ("last_success_time", Unix("last_success_ago")),
    ("consecutive_failures", Field("consecutive_failures")),
    ("consecutive_successes", Field("consecutive_successes")),
    ("total_requests", Field("counted")),
    ("total_failures", Field("total_failures")),
    ("cooldown_remaining", Field("remaining")),
]);

/// `get_circuit_breaker_stats()`: every breaker of a registry by its name.
pub const STATS: Template = ByName(
    "breaker",
    &Object(&[
        ("state", Field("state")),
        ("failures", Field("failures")),
        ("failure_count", Field("failures")),
        ("successes", Field("successes")),
        ("success_rate", Field("success_rate")),
        ("last_failure_time", Unix("last_failure_ago")),
    ]),
);

/// `get_circuit_breaker_summary()` of a registry.
pub const SUMMARY: Template = Object(&[
    ("healthy", IsZero("open")),
    ("total", Field("total")),
    ("open", Each("open", &Field("name"))),
    ("half_open", Each("half_open", &Field("name"))),
]);

/// `get_all_circuit_breakers_status()` of a registry.
pub const STATUS: Template = Object(&[
    ("healthy", IsZero("open")),
    ("total_circuits", Field("total")),
    ("open_circuits", Field("open")),
    ("half_open_circuits", Field("half_open")),
    ("closed_circuits", Field("closed")),
    ("circuits", ByName("breaker", &BREAKER)),
]);

/// `get_circuit_breaker_metrics()` of a registry, also the body of `GET /api/health/circuits`. Keys have breakers of their
/// own here, so a breaker tracks no entities.
pub const METRICS: Template = Object(&[
    ("timestamp", Unix("now")),
    ("registry_size", Field("total")),
    (
        "summary",
        Object(&[
            ("total", Field("total")),
            ("open", Field("open")),
            ("closed", Field("closed")),
            ("half_open", Field("half_open")),
            ("total_failures", Field("failures")),
            ("circuits_with_failures", Field("failing")),
        ]),
    ),
    (
        "circuit_breakers",
        ByName(
            "breaker",
            &Object(&[
                ("status", Field("state")),
                ("failures", Field("failures")),
                ("failure_threshold", Field("threshold")),
                ("cooldown_seconds", Field("open_duration")),
                ("cooldown_remaining", Field("remaining")),
                ("open_duration", Field("opened_ago")),
                ("last_accessed_seconds_ago", Field("used_ago")),
                ("entity_mode", Object(&[("tracked_entities", Number(0)), ("open_entities", Each("", &Field("")))])),
            ]),
        ),
    ),
    (
        "health",
        Object(&[
            ("status", Steps("open", &[(0, "healthy"), (1, "degraded"), (3, "critical")])),
            ("open_circuits", Each("open", &Field("name"))),
            (
                "high_failure_circuits",
                Each(
                    "half_way",
                    &Object(&[
                        ("name", Field("name")),
                        ("failures", Field("failures")),
                        ("threshold", Field("threshold")),
                        ("percentage", Field("failures_percent")),
                    ]),
                ),
            ),
        ]),
    ),
]);

/// `GET /api/admin/circuit-breakers`, with what else an operator wants to know.
pub const ADMIN: Template = Object(&[
    (
        "breakers",
        Each(
            "breaker",
            &Object(&[
                ("name", Field("name")),
                ("state", Field("state")),
                ("mode", Field("mode")),
                ("failure_count", Field("failures")),
                ("failure_threshold", Field("threshold")),
                ("rule", Field("rule")),
                ("cooldown_seconds", Field("open_duration")),
                ("cooldown_remaining", Field("until_probes")),
                ("success_rate", Field("success_rate")),
                ("health_score", Field("health_score")),
                ("total_successes", Field("successes")),
                ("total_failures", Field("total_failures")),
                ("total_refused", Field("refused")),
                ("half_open_calls", Field("probes")),
                ("last_failure", Iso("last_failure_ago")),
                ("last_success", Iso("last_success_ago")),
                ("last_cause", Field("last_cause")),
            ]),
        ),
    ),
    ("total", Field("total")),
    ("available", True),
    ("timestamp", Iso("now")),
]);
