//! What other systems write into logs and into the texts of errors.
//!
//! Of several rows for one event the first counts that the event has all fields for.

use crate::Template::{self, Field, Iso, Object, Text};

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Style {
    /// Every event as one JSON object.
    #[default]
    Stormproof,
    /// Circuits as the JSON objects of A2A systems: `component`, `operation_type`, `circuit_name`; texts for fallbacks.
    A2a,
    /// What the code of those systems logs: `circuit_breaker_state_change`, `retry_attempt_failed` and so on.
    A2aCode,
    /// The text of aragora's refusal; it documents no log lines.
    Aragora,
    /// The texts of the book on agents' resilience: `Circuit opened after 5 failures`.
    Book,
    /// The text of khive's refusal; it documents no log lines.
    Khive,
    /// The texts of Victor's guide: `Retry 1: TimeoutError, waiting 2.0s`.
    Victor,
}

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Everything is as it should be.
    Info,
    /// Somebody should look at it.
    Warning,
    /// Somebody should be alerted.
    Error,
}

/// What a style writes of an event.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The event's name, [`REFUSED`], or [`MESSAGE`].
    pub event: &'static str,
    /// A field of the event and the text it must have.
    pub when: Option<(&'static str, &'static str)>,
    /// How important the line is.
    pub level: Level,
    /// The line.
    pub form: Form,
}

/// The form of a line.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// A text in which `{name}` stands for a field of the event.
    Text(&'static str),
    /// JSON.
    Json(Template),
}

/// The line of a call that a circuit refused, which is no event.
pub const REFUSED: &str = "circuit_refused";

/// The text of the error that the caller of such a call gets.
pub const MESSAGE: &str = "message";

impl Style {
    /// All styles.
    pub const ALL: [Self; 7] =
        [Self::Stormproof, Self::A2a, Self::A2aCode, Self::Aragora, Self::Book, Self::Khive, Self::Victor];

    /// The rows of the style; none for ours, which writes every event as it is.
    pub const fn rows(self) -> &'static [Row] {
        match self {
            Self::Stormproof => &[],
            Self::A2a => A2A,
            Self::A2aCode => A2A_CODE,
            Self::Aragora => ARAGORA,
            Self::Book => BOOK,
            Self::Khive => KHIVE,
            Self::Victor => VICTOR,
        }
    }
}

const fn text(event: &'static str, level: Level, text: &'static str) -> Row {
    Row { event, when: None, level, form: Form::Text(text) }
}

const fn when(row: Row, field: &'static str, text: &'static str) -> Row {
    Row { when: Some((field, text)), ..row }
}

const fn json(event: &'static str, level: Level, object: &'static [(&'static str, Template)]) -> Row {
    Row { event, when: None, level, form: Form::Json(Object(object)) }
}

use Level::{Error, Info, Warning};

macro_rules! circuit {
    ($operation:literal) => {
        &[
            ("timestamp", Iso("now")),
            ("component", Text("circuit_breaker")),
            ("operation_type", Text($operation)),
            ("circuit_name", Field("breaker")),
            ("failure_count", Field("failures")),
            ("last_failure_time", Iso("last_failure_ago")),
        ]
    };
}

const A2A: &[Row] = &[
    json("circuit_opened", Error, circuit!("CIRCUIT_BREAKER_OPEN")),
    json("circuit_half_open", Info, circuit!("CIRCUIT_BREAKER_HALF_OPEN")),
    json("circuit_closed", Info, circuit!("CIRCUIT_BREAKER_CLOSED")),
    text(REFUSED, Warning, "Agent {name} circuit breaker open"),
    when(text("fallback_used", Warning, "Using cached result due to error: {error}"), "source", "cache"),
    text("fallback_used", Warning, "Primary function failed, using fallback: {error}"),
    when(text(MESSAGE, Error, "Half-open call limit reached"), "reason", "half_open_limit"),
    text(MESSAGE, Error, "Circuit breaker is OPEN"),
];

const STATE_CHANGE: &[(&str, Template)] = &[
    ("timestamp", Iso("now")),
    ("event", Text("circuit_breaker_state_change")),
    ("circuit_name", Field("breaker")),
    ("from_state", Field("from")),
    ("to_state", Field("to")),
    ("reason", Field("cause")),
];

const A2A_CODE: &[Row] = &[
    json("circuit_opened", Error, STATE_CHANGE),
    json("circuit_half_open", Info, STATE_CHANGE),
    json("circuit_closed", Info, STATE_CHANGE),
    json(
        REFUSED,
        Warning,
        &[
            ("timestamp", Iso("now")),
            ("event", Text("circuit_breaker_open")),
            ("circuit_name", Field("name")),
            ("reason", Field("reason")),
            ("retry_after", Field("retry_after")),
        ],
    ),
    json(
        "retry_attempted",
        Warning,
        &[
            ("timestamp", Iso("now")),
            ("event", Text("retry_attempt_failed")),
            ("name", Field("policy")),
            ("attempt", Field("retry")),
            ("error", Field("error")),
            ("delay", Field("delay")),
        ],
    ),
    json(
        "retry_exhausted",
        Error,
        &[
            ("timestamp", Iso("now")),
            ("event", Text("all_retry_attempts_failed")),
            ("name", Field("policy")),
            ("attempts", Field("attempts")),
            ("error", Field("error")),
        ],
    ),
];

const ARAGORA: &[Row] = &[text(MESSAGE, Error, "Circuit is open")];

const BOOK: &[Row] = &[
    when(text("circuit_opened", Info, "Circuit opened after {failures} slow calls"), "rule", "slow"),
    when(text("circuit_opened", Info, "Circuit opened: {cause}"), "cause", "operator"),
    text("circuit_opened", Info, "Circuit opened after {failures} failures"),
    when(text("fallback_used", Warning, "Degraded mode: using cached data"), "source", "cache"),
    text("degraded", Warning, "Degraded mode: {to}"),
    text("healed", Info, "Self-heal successful: {to}"),
    text(MESSAGE, Error, "Circuit breaker is OPEN. Retry in {retry_after} seconds"),
];

const KHIVE: &[Row] = &[text(MESSAGE, Error, "Circuit breaker is open")];

const VICTOR: &[Row] = &[
    text("circuit_opened", Error, "Circuit {breaker} opened"),
    text("circuit_half_open", Info, "Circuit {breaker} half_open"),
    text("circuit_closed", Info, "Circuit {breaker} closed"),
    text("retry_attempted", Warning, "Retry {retry}: {error}, waiting {delay}s"),
];
