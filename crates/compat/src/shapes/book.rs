//! The shapes of the book's examples.

use crate::Template::{self, Field, Iso, Object};

/// `get_state()` of one breaker.
pub const BREAKER: Template = Object(&[
    ("state", Field("state")),
    ("failure_count", Field("failures")),
    ("success_count", Field("probe_successes")),
    ("last_failure_time", Iso("last_failure_ago")),
    ("last_state_change", Iso("last_change_ago")),
    ("time_until_retry", Field("until_probes")),
]);

/// The statistics of chapter 21, of one breaker.
pub const TOTALS: Template = Object(&[
    ("state", Field("state")),
    ("total_calls", Field("ended")),
    ("total_successes", Field("successes")),
    ("total_failures", Field("total_failures")),
    ("total_rejected", Field("refused")),
    ("success_rate", Field("success_rate")),
    ("recent_failures", Field("failures")),
    ("time_until_retry", Field("until_probes")),
]);
