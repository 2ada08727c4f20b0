//! Under which names other systems have numbers. A row is one metric.

use std::fmt;
use std::str::FromStr;

/// A set of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Names {
    /// `stormproof_<stage>_<metric>`: every number of every stage.
    #[default]
    Stormproof,
    /// Those of Aragora's documentation: `aragora_circuit_breaker_state` (0 closed, 1 open, 2 half-open),
    /// `aragora_resilience_requests_total` and so on.
    Aragora,
    /// Those of Aragora's code: `aragora_provider_circuit_breaker_state` (0 closed, 1 half-open, 2 open),
    /// `resilience_retry_attempts_total` and so on.
    AragoraCode,
    /// Those of the book on agents' resilience: `circuit_breaker_state` (0 closed, 1 open, 2 half-open),
    /// `retry_attempts_total`, `system_degradation_level`.
    Book,
}

impl Names {
    /// All sets.
    pub const ALL: [Self; 4] = [Self::Stormproof, Self::Aragora, Self::AragoraCode, Self::Book];

    /// The set's own name, in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stormproof => "stormproof",
            Self::Aragora => "aragora",
            Self::AragoraCode => "aragora_code",
            Self::Book => "book",
        }
    }

    /// The metrics of this set, as the Prometheus format writes them; none for ours, which follow from the stages.
    pub fn metrics(self) -> impl Iterator<Item = String> {
        let total = |row: &Row| if row.kind == Kind::Counter { "_total" } else { "" };
        self.rows().unwrap_or_default().iter().map(move |row| format!("{}{}", row.family, total(row)))
    }

    /// The rows of this set; none for ours.
    pub const fn rows(self) -> Option<&'static [Row]> {
        match self {
            Self::Stormproof => None,
            Self::Aragora => Some(ARAGORA),
            Self::AragoraCode => Some(ARAGORA_CODE),
            Self::Book => Some(BOOK),
        }
    }
}

/// There is no set of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    name: String,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<_> = Names::ALL.iter().map(|names| names.as_str()).collect();
        let name: String = self.name.chars().take(40).collect();
        write!(f, "names is {name}, allowed is one of {}", known.join(", "))
    }
}

impl std::error::Error for Unknown {}

impl FromStr for Names {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        let found = Self::ALL.into_iter().find(|names| names.as_str() == text);
        found.ok_or_else(|| Unknown { name: text.to_owned() })
    }
}

/// A metric under another name.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name, without the `_total` of a counter.
    pub family: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// One sentence for an operator.
    pub help: &'static str,
    /// The label that carries the stage's name.
    pub label: &'static str,
    /// Stages and their metrics; of each name the first that is there counts.
    pub from: &'static [(&'static str, &'static str)],
    /// What becomes of the numbers.
    pub how: How,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A distribution by its quantiles.
    Summary,
    /// A distribution by buckets.
    Histogram,
}

/// What becomes of the numbers that a stage has of a metric.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// All together, without a label of their own.
    Sum,
    /// The one whose label has this value, without the label.
    SumOf(&'static str),
    /// For each of these label values the numbers of our label values behind it.
    Grouped(&'static [(&'static str, &'static [&'static str])]),
    /// Of one number a state, the code of the state that is on.
    Coded(&'static [(&'static str, f64)]),
    /// The number of stages that are in this state.
    CountOf(&'static str),
    /// A distribution, whole.
    Distribution,
}

const fn row(
    (family, kind): (&'static str, Kind),
    label: &'static str,
    from: &'static [(&'static str, &'static str)],
    how: How,
    help: &'static str,
) -> Row {
    Row { family, kind, help, label, from, how }
}

const STATE: &[(&str, &str)] = &[("breaker", "state")];
const RETRIES: &[(&str, &str)] = &[("retry", "retries")];
const OPEN_IS_1: &[(&str, f64)] = &[("closed", 0.0), ("open", 1.0), ("half_open", 2.0)];
const OPEN_IS_2: &[(&str, f64)] = &[("closed", 0.0), ("half_open", 1.0), ("open", 2.0)];

const OPEN_IS_1_HELP: &str = "The circuit's state: 0 closed, 1 open, 2 half_open.";
const RETRIES_HELP: &str = "Attempts after the first.";

const ARAGORA: &[Row] = &[
    row(("aragora_circuit_breaker_state", Kind::Gauge), "name", STATE, How::Coded(OPEN_IS_1), OPEN_IS_1_HELP),
    row(
        ("aragora_resilience_requests", Kind::Counter),
        "name",
        &[("policy", "calls")],
        How::Grouped(&[("success", &["success"]), ("failure", &["failure", "refused"])]),
        "Requests by outcome, retries not counted; those that count neither way are left out.",
    ),
    row(("aragora_resilience_retries", Kind::Counter), "name", RETRIES, How::Sum, RETRIES_HELP),
    row(
        ("aragora_resilience_latency_seconds", Kind::Summary),
        "name",
        &[("latency", "seconds")],
        How::Distribution,
        "How long requests took, by quantiles.",
    ),
    row(
        ("aragora_resilience_duration_seconds", Kind::Histogram),
        "name",
        &[("latency", "buckets_seconds")],
        How::Distribution,
        "How long requests took, in buckets.",
    ),
];

const ARAGORA_CODE: &[Row] = &[
    row(
        ("aragora_provider_circuit_breaker_state", Kind::Gauge),
        "provider",
        STATE,
        How::Coded(OPEN_IS_2),
        "The circuit's state: 0 closed, 1 half_open, 2 open.",
    ),
    row(
        ("aragora_provider_circuit_breaker_rejections", Kind::Counter),
        "provider",
        &[("breaker", "refused")],
        How::Sum,
        "Calls that the circuit did not let through.",
    ),
    row(("aragora_circuit_breakers_open", Kind::Gauge), "name", STATE, How::CountOf("open"), "Circuits that are open."),
    row(("resilience_retry_attempts", Kind::Counter), "operation_name", RETRIES, How::Sum, RETRIES_HELP),
    row(
        ("resilience_retry_exhausted", Kind::Counter),
        "operation_name",
        &[("retry", "gave_up")],
        How::SumOf("exhausted"),
        "Operations that failed with all their retries.",
    ),
    row(
        ("resilience_timeouts", Kind::Counter),
        "operation_name",
        &[("timeout", "timed_out")],
        How::Sum,
        "Calls that ran out of time.",
    ),
    row(
        ("resilience_health_status", Kind::Gauge),
        "component",
        &[("health", "status"), ("health_check", "status")],
        How::Sum,
        "How bad a component's health is, from 0 (healthy).",
    ),
    row(
        ("resilience_health_consecutive_failures", Kind::Gauge),
        "component",
        &[("health", "consecutive_failures"), ("health_check", "consecutive_failures")],
        How::Sum,
        "Failures in a row.",
    ),
];

const BOOK: &[Row] = &[
    row(("circuit_breaker_state", Kind::Gauge), "name", STATE, How::Coded(OPEN_IS_1), OPEN_IS_1_HELP),
    row(("retry_attempts", Kind::Counter), "name", RETRIES, How::Sum, RETRIES_HELP),
    row(
        ("system_degradation_level", Kind::Gauge),
        "name",
        &[("degradation", "level")],
        How::Sum,
        "How much is missing, from 0 (nothing).",
    ),
];
