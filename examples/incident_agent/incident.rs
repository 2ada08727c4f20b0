//! The nouns: what is wrong, what may be the cause, what can be done, and how it ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something is wrong with a component. As the input of a run it holds only what identifies it: two detections of the
/// same incident must be the same input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Incident {
    pub(crate) component: String,
    /// Since when the metrics say so, in milliseconds since 1970.
    pub(crate) since: i64,
}

impl Incident {
    /// The same whoever detects it, and however often.
    pub(crate) fn id(&self) -> String {
        format!("{}@{}", self.component, self.since)
    }
}

/// What can be seen of a component from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Symptom {
    Well,
    /// It answers with an error, too late, or not at all.
    Failing,
    /// It answers with what is out of date.
    Stale,
    /// It spends far more than it should.
    Runaway,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Metrics {
    pub(crate) failing_since: Option<i64>,
    pub(crate) deployed_minutes_ago: u32,
    /// Used of what there is, 0 to 1.
    pub(crate) memory: f64,
    /// Of all answers, 0 to 1.
    pub(crate) stale_answers: f64,
    pub(crate) tokens_per_minute: u32,
    pub(crate) disk_errors: u32,
}

/// Why it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    BadDeploy,
    Leak,
    StaleCache,
    Runaway,
    Hardware,
}

/// What can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Remedy {
    RollBack,
    Restart,
    ClearCaches,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub(crate) enum Outcome {
    /// What was done helped.
    Healed { by: Remedy },
    /// A person took over.
    HandedOver { to: String },
}

impl Cause {
    /// What helps, as far as the agent can do it.
    pub(crate) const fn remedy(self) -> Option<Remedy> {
        match self {
            Self::BadDeploy => Some(Remedy::RollBack),
            Self::Leak | Self::Runaway => Some(Remedy::Restart),
            Self::StaleCache => Some(Remedy::ClearCaches),
            Self::Hardware => None,
        }
    }
}

impl Remedy {
    /// The platform's word for it.
    pub(crate) const fn action(self) -> &'static str {
        match self {
            Self::RollBack => "roll_back",
            Self::Restart => "restart",
            Self::ClearCaches => "clear_caches",
        }
    }

    /// The platform's word for taking it back, if that means anything.
    pub(crate) const fn undo(self) -> Option<&'static str> {
        match self {
            Self::RollBack => Some("roll_forward"),
            Self::Restart | Self::ClearCaches => None,
        }
    }

    /// The replicas it is tried on, in order, one stage after the other: first where it can do little harm.
    pub(crate) const fn stages(self) -> &'static [&'static [usize]] {
        match self {
            Self::RollBack | Self::Restart => &[&[0], &[1, 2]],
            Self::ClearCaches => &[&[0, 1, 2]],
        }
    }

    /// In words, after it was done.
    const fn done(self) -> &'static str {
        match self {
            Self::RollBack => "rolled back",
            Self::Restart => "restarted",
            Self::ClearCaches => "cleared caches",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadDeploy => "a bad deploy",
            Self::Leak => "a leak",
            Self::StaleCache => "a stale cache",
            Self::Runaway => "an agent that runs in circles",
            Self::Hardware => "broken hardware",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healed { by } => write!(f, "Self-heal successful: {}", by.done()),
            Self::HandedOver { to } => write!(f, "handed over to the {to}"),
        }
    }
}
