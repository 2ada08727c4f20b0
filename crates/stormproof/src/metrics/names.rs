//! Under which names numbers stand, as tables: a row says where a metric comes from.

use std::str::FromStr;

use stormproof_core::Invalid;
use stormproof_core::snapshot::{Kind, Part, Sample};

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

    /// The metrics of this set, as they stand in the Prometheus format; none for ours, which follow from the stages.
    pub fn metrics(self) -> impl Iterator<Item = String> {
        let total = |row: &Row| if row.kind == Kind::Counter { "_total" } else { "" };
        self.rows().unwrap_or_default().iter().map(move |row| format!("{}{}", row.family, total(row)))
    }

    pub(super) const fn rows(self) -> Option<&'static [Row]> {
        match self {
            Self::Stormproof => None,
            Self::Aragora => Some(ARAGORA),
            Self::AragoraCode => Some(ARAGORA_CODE),
            Self::Book => Some(BOOK),
        }
    }
}

impl FromStr for Names {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|names| names.as_str() == text);
        found.ok_or_else(|| {
            let text: String = text.chars().take(40).collect();
            Invalid::new("names", text, "stormproof, aragora, aragora_code or book")
        })
    }
}

/// A metric under another name.
pub(super) struct Row {
    /// Its name, without the `_total` of a counter.
    pub(super) family: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
    /// The label that carries the stage's name.
    pub(super) label: &'static str,
    /// Stages and their metrics; of each name the first that is there counts.
    pub(super) from: &'static [(&'static str, &'static str)],
    pub(super) how: How,
}

/// What becomes of the numbers that a stage has of a metric.
pub(super) enum How {
    /// All together, without a label of their own.
    Sum,
    /// The one whose label has this value, without the label.
    SumOf(&'static str),
    /// Those whose label has one of these values, with their label.
    Only(&'static [&'static str]),
    /// Of one number a state, the code of the state that is on.
    Coded(&'static [(&'static str, f64)]),
    /// Of all stages together, how many are in this state.
    CountOf(&'static str),
    /// A distribution, whole.
    Distribution,
}

impl How {
    pub(super) fn apply<'a>(&self, samples: impl Iterator<Item = &'a Sample>) -> Vec<Sample> {
        let labelled = |sample: &Sample| sample.label.map_or("", |(_, value)| value);
        match self {
            Self::Sum => sum(samples),
            Self::SumOf(wanted) => sum(samples.filter(|sample| labelled(sample) == *wanted)),
            Self::Only(values) => samples.filter(|sample| values.contains(&labelled(sample))).copied().collect(),
            Self::Coded(codes) => {
                let code = |sample: &Sample| {
                    let code = codes.iter().find(|(state, _)| *state == labelled(sample) && sample.value > 0.5);
                    code.map(|&(_, code)| Sample { label: None, value: code, ..*sample })
                };
                samples.filter_map(code).take(1).collect()
            }
            Self::CountOf(_) => Vec::new(),
            Self::Distribution => samples.copied().collect(),
        }
    }
}

fn sum<'a>(samples: impl Iterator<Item = &'a Sample>) -> Vec<Sample> {
    let sum = samples.copied().reduce(|all, sample| Sample { value: all.value + sample.value, ..all });
    sum.map(|sum| Sample { label: None, part: Part::Value, ..sum }).into_iter().collect()
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
const CALLS: &[(&str, &str)] = &[("breaker", "calls")];
const LATENCY: &[(&str, &str)] = &[("latency", "seconds")];
const DURATION: &[(&str, &str)] = &[("latency", "buckets_seconds")];
const OPEN_IS_1: &[(&str, f64)] = &[("closed", 0.0), ("open", 1.0), ("half_open", 2.0)];
const OPEN_IS_2: &[(&str, f64)] = &[("closed", 0.0), ("half_open", 1.0), ("open", 2.0)];
const OUTCOMES: &[&str] = &["success", "failure"];

const OPEN_IS_1_HELP: &str = "The circuit's state: 0 closed, 1 open, 2 half_open.";
const RETRIES_HELP: &str = "Attempts after the first.";

const ARAGORA: &[Row] = &[
    row(("aragora_circuit_breaker_state", Kind::Gauge), "name", STATE, How::Coded(OPEN_IS_1), OPEN_IS_1_HELP),
    row(
        ("aragora_resilience_requests", Kind::Counter),
        "name",
        CALLS,
        How::Only(OUTCOMES),
        "Requests by outcome; those that count neither way are left out.",
    ),
    row(("aragora_resilience_retries", Kind::Counter), "name", RETRIES, How::Sum, RETRIES_HELP),
    row(
        ("aragora_resilience_latency_seconds", Kind::Summary),
        "name",
        LATENCY,
        How::Distribution,
        "How long requests took, by quantiles.",
    ),
    row(
        ("aragora_resilience_duration_seconds", Kind::Histogram),
        "name",
        DURATION,
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
