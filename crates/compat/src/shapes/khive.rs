//! The shape of khive's clients.

use crate::Template::{self, Each, Field, Object, Unix};

/// `metrics` of one breaker, with the last 100 changes of state.
pub const METRICS: Template = Object(&[
    ("success_count", Field("successes")),
    ("failure_count", Field("total_failures")),
    ("rejected_count", Field("refused")),
    ("state_changes", Each("change", &Object(&[("time", Unix("ago")), ("from", Field("from")), ("to", Field("to"))]))),
]);
