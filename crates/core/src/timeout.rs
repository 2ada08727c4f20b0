//! How long things may take: the classes of operations and their time limits, and how often one ran out.

use std::time::Duration;

use crate::decision::{Name, Stage};
use crate::invalid::{Check, Invalid};
use crate::snapshot::{Sample, Snapshot};
use crate::sync::{AtomicU64, Ordering};

/// Time limits by class of operation, as a table that can be changed.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::Timeouts;
///
/// let timeouts = Timeouts::default();
/// assert_eq!(timeouts.get("health_check", None), Duration::from_secs(10));
/// assert_eq!(timeouts.get("something_else", None), timeouts.standard_request);
/// assert_eq!(timeouts.get("health_check", Some(Duration::ZERO)), Duration::ZERO); // at once, not "absent"
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Timeouts {
    /// The question whether somebody is well. Default: 10 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub health_check: Duration,
    /// An ordinary request, and every class without a name here. Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub standard_request: Duration,
    /// A long operation, such as a model's answer. Default: 120 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub long_operation: Duration,
    /// A batch. Default: 300 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub batch_operation: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            health_check: Duration::from_secs(10),
            standard_request: Duration::from_secs(30),
            long_operation: Duration::from_secs(120),
            batch_operation: Duration::from_secs(300),
        }
    }
}

impl Timeouts {
    /// The limit for `class`: `custom` if given, zero included; [`standard_request`](Self::standard_request) for a
    /// class that is not in the table.
    pub fn get(&self, class: &str, custom: Option<Duration>) -> Duration {
        custom.unwrap_or(match class {
            "health_check" => self.health_check,
            "long_operation" => self.long_operation,
            "batch_operation" => self.batch_operation,
            _ => self.standard_request,
        })
    }

    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        for (field, value) in [
            ("health_check", self.health_check),
            ("standard_request", self.standard_request),
            ("long_operation", self.long_operation),
            ("batch_operation", self.batch_operation),
        ] {
            check.that(!value.is_zero(), field, value, "more than zero");
        }
        check.done()
    }
}

/// Which time limit ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// That of one attempt.
    Attempt,
    /// That of the whole call.
    Call,
    /// What a call around this one had left.
    Inherited,
}

impl Limit {
    /// The limit in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Call => "call",
            Self::Inherited => "inherited",
        }
    }

    /// What the limit limits, in plain English: `attempt`, `call`, `call around it`.
    pub const fn whose(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Call => "call",
            Self::Inherited => "call around it",
        }
    }

    const ALL: [Self; 3] = [Self::Attempt, Self::Call, Self::Inherited];
}

/// How often time ran out, by limit. Written only then.
#[derive(Debug)]
pub struct TimedOut([AtomicU64; Limit::ALL.len()]);

impl Default for TimedOut {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl TimedOut {
    /// Counts that this limit ran out. Calls do so by themselves; this is for a limit that is kept elsewhere.
    pub fn count(&self, limit: Limit) {
        if let Some(count) = self.0.get(limit as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often this limit ran out.
    pub fn times(&self, limit: Limit) -> u64 {
        self.0.get(limit as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// The same as data, for metrics and pages.
    pub fn snapshot(&self, name: &Name) -> Snapshot {
        const HELP: &str =
            "Time limits that ran out, by limit: of an attempt, of the whole call, or what a call around it had left.";
        let sample =
            |limit: Limit| Sample::counter("timed_out", HELP, self.times(limit)).label("limit", limit.as_str());
        Snapshot { stage: Stage::Timeout, name: name.clone(), samples: Limit::ALL.map(sample).into() }
    }
}
