//! What each style writes of which event. Of several rows for one event the first that it can fill counts.

use super::Level::{self, Error, Info, Warning};
use super::Style;

pub(super) struct Row {
    pub(super) style: Style,
    /// The event's name; `circuit_refused` for a call that a circuit did not let through.
    pub(super) event: &'static str,
    /// A field and the text it must have.
    pub(super) when: Option<(&'static str, &'static str)>,
    pub(super) level: Level,
    pub(super) form: Form,
}

#[derive(Clone, Copy)]
pub(super) enum Form {
    /// Text in which `{name}` stands for a field of the event.
    Text(&'static str),
    /// A JSON object with these keys.
    Json(&'static [(&'static str, From)]),
}

/// Where a value comes from.
#[derive(Clone, Copy)]
pub(super) enum From {
    /// When it happened.
    Time,
    /// The time of day that a field of the event says how long ago it was.
    Ago(&'static str),
    /// It is always this.
    Text(&'static str),
    /// A field of the event.
    Field(&'static str),
}

const fn text(style: Style, event: &'static str, level: Level, text: &'static str) -> Row {
    Row { style, event, when: None, level, form: Form::Text(text) }
}

const fn json(style: Style, event: &'static str, level: Level, keys: &'static [(&'static str, From)]) -> Row {
    Row { style, event, when: None, level, form: Form::Json(keys) }
}

const fn when(
    style: Style,
    event: &'static str,
    when: (&'static str, &'static str),
    level: Level,
    text: &'static str,
) -> Row {
    Row { style, event, when: Some(when), level, form: Form::Text(text) }
}

const fn cached(style: Style, text: &'static str) -> Row {
    when(style, "fallback_used", ("source", "cache"), Warning, text)
}

macro_rules! a2a {
    ($operation:literal) => {
        &[
            ("timestamp", From::Time),
            ("component", From::Text("circuit_breaker")),
            ("operation_type", From::Text($operation)),
            ("circuit_name", From::Field("breaker")),
            ("failure_count", From::Field("failures")),
            ("last_failure_time", From::Ago("last_failure_ago")),
        ]
    };
}

const STATE_CHANGE: &[(&str, From)] = &[
    ("timestamp", From::Time),
    ("event", From::Text("circuit_breaker_state_change")),
    ("circuit_name", From::Field("breaker")),
    ("from_state", From::Field("from")),
    ("to_state", From::Field("to")),
    ("reason", From::Field("cause")),
];

macro_rules! named {
    ($event:literal, $($key:literal: $field:literal),*) => {
        &[("timestamp", From::Time), ("event", From::Text($event)), $(($key, From::Field($field))),*]
    };
}

pub(super) const ROWS: &[Row] = &[
    json(Style::A2a, "circuit_opened", Error, a2a!("CIRCUIT_BREAKER_OPEN")),
    json(Style::A2a, "circuit_half_open", Info, a2a!("CIRCUIT_BREAKER_HALF_OPEN")),
    json(Style::A2a, "circuit_closed", Info, a2a!("CIRCUIT_BREAKER_CLOSED")),
    text(Style::A2a, "circuit_refused", Warning, "Agent {name} circuit breaker open"),
    cached(Style::A2a, "Using cached result due to error: {error}"),
    text(Style::A2a, "fallback_used", Warning, "Primary function failed, using fallback: {error}"),
    json(Style::A2aCode, "circuit_opened", Error, STATE_CHANGE),
    json(Style::A2aCode, "circuit_half_open", Info, STATE_CHANGE),
    json(Style::A2aCode, "circuit_closed", Info, STATE_CHANGE),
    json(
        Style::A2aCode,
        "circuit_refused",
        Warning,
        named!("circuit_breaker_open", "circuit_name": "name", "reason": "reason", "retry_after": "retry_after"),
    ),
    json(
        Style::A2aCode,
        "retry_attempted",
        Warning,
        named!("retry_attempt_failed", "name": "policy", "attempt": "retry", "error": "error", "delay": "delay"),
    ),
    json(
        Style::A2aCode,
        "retry_exhausted",
        Error,
        named!("all_retry_attempts_failed", "name": "policy", "attempts": "attempts", "error": "error"),
    ),
    when(Style::Book, "circuit_opened", ("rule", "slow"), Info, "Circuit opened after {failures} slow calls"),
    when(Style::Book, "circuit_opened", ("cause", "operator"), Info, "Circuit opened: {cause}"),
    text(Style::Book, "circuit_opened", Info, "Circuit opened after {failures} failures"),
    cached(Style::Book, "Degraded mode: using cached data"),
    text(Style::Book, "degraded", Warning, "Degraded mode: using cached data"),
    text(Style::Book, "healed", Info, "Self-heal successful: cleared caches"),
    text(Style::Victor, "circuit_opened", Error, "Circuit {breaker} opened"),
    text(Style::Victor, "circuit_half_open", Info, "Circuit {breaker} half_open"),
    text(Style::Victor, "circuit_closed", Info, "Circuit {breaker} closed"),
    text(Style::Victor, "retry_attempted", Warning, "Retry {retry}: {error}, waiting {delay}s"),
];
