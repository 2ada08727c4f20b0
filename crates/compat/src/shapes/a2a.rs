//! The shapes of the A2A multi-agent system's clients.

use crate::Template::{self, ByName, Field, Object, Unix};

/// `get_state()` of one breaker.
pub const BREAKER: Template = Object(&[
    ("name", Field("name")),
    ("state", Field("state")),
    ("failure_count", Field("failures")),
    ("success_count", Field("probe_successes")),
    ("last_failure_time", Unix("last_failure_ago")),
    ("half_open_calls", Field("probes")),
]);

/// `get_resilience_status()` of a registry and pools of connections.
pub const RESILIENCE: Template = Object(&[
    (
        "circuit_breakers",
        ByName(
            "breaker",
            &Object(&[
                ("state", Field("state")),
                ("failure_count", Field("failures")),
                ("health_score", Field("health_score")),
            ]),
        ),
    ),
    (
        "connection_pools",
        ByName(
            "pool",
            &Object(&[
                ("active", Field("active")),
                ("limit", Field("limit")),
                ("usage_percent", Field("usage_percent")),
            ]),
        ),
    ),
]);
