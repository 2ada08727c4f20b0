//! Events as log lines, in our style and in those that users of other systems search their logs for.
//!
//! What a style writes of which event is a table in `stormproof-compat`. A line holds names, kinds and numbers, never what
//! was sent or answered.

#[cfg(test)]
mod tests;

use std::time::SystemTime;

use serde::ser::{Serialize, SerializeMap, Serializer};
use stormproof_compat::styles::{Form, MESSAGE, REFUSED, Row};
pub use stormproof_compat::styles::{Level, Style};
use stormproof_core::event::Category;
use stormproof_core::event::damper::Suppressed;
use stormproof_core::event::fields::{Field, Value};
use stormproof_core::{Event, Refused, Stage};

use super::record::Written;
use super::{Record, timestamp};
use crate::telemetry::shapes::Facts;

/// A line without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// How important it is.
    pub level: Level,
    /// The text.
    pub text: String,
}

/// What a style writes of an event that happened at `time`; nothing if it writes nothing of such events.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use stormproof::events::log::{self, Style};
/// use stormproof::{Event, Instant, event::Kind};
///
/// let kind = Kind::RetryAttempted { retry: 1, delay: Duration::from_secs(2), error: "TimeoutError".into() };
/// let event = Event::new(Instant::ZERO, "openai".into(), kind);
/// let line = log::line(Style::Victor, &event, SystemTime::now()).map(|line| line.text);
/// assert_eq!(line.as_deref(), Some("Retry 1: TimeoutError, waiting 2.0s"));
/// ```
pub fn line(style: Style, event: &Event, time: SystemTime) -> Option<Line> {
    if style == Style::Stormproof {
        return Some(Line { level: level_of(event), text: json(&Record::new(event, time)) });
    }
    first_line(style, event.event_type(), &Facts::of_event(event).at(time))
}

/// What a style writes of a call that a stage refused. Refusals by a circuit are no events, as they are not rare: the
/// caller that got one can log it.
pub fn refusal(style: Style, refused: &Refused, time: SystemTime) -> Option<Line> {
    let event = match refused.stage {
        Stage::Breaker => REFUSED,
        Stage::Bulkhead => "bulkhead_rejected",
        Stage::Rate => "rate_limited",
        _ => "refused",
    };
    if style == Style::Stormproof {
        let fields = Object { event, policy: &refused.name, fields: &fields_of(refused), time };
        return Some(Line { level: Level::Error, text: json(&fields) });
    }
    first_line(style, event, &Facts::of_fields(fields_of(refused)).at(time))
}

/// The text of the error with which a system refuses a call whose circuit is open; our own text of other refusals, and in
/// our own style.
///
/// ```
/// use stormproof::CircuitBreaker;
/// use stormproof::breaker::Mode;
/// use stormproof::events::log::{self, Style};
///
/// let breaker = CircuitBreaker::new("agent");
/// breaker.set_mode(Mode::ForcedOpen);
/// let refused = breaker.allow_request().unwrap_err();
/// assert_eq!(log::message(Style::A2a, &refused), "Circuit breaker is OPEN");
/// assert_eq!(log::message(Style::Aragora, &refused), "Circuit is open");
/// assert_eq!(log::message(Style::Stormproof, &refused), refused.to_string());
/// ```
pub fn message(style: Style, refused: &Refused) -> String {
    let facts = Facts::of_fields(fields_of(refused));
    let theirs = (refused.stage == Stage::Breaker).then(|| first_line(style, MESSAGE, &facts)).flatten();
    theirs.map_or_else(|| refused.to_string(), |line| line.text)
}

fn fields_of(refused: &Refused) -> [Field<'_>; 4] {
    [
        ("stage", Value::Text(refused.stage.as_str())),
        ("name", Value::Text(&refused.name)),
        ("reason", Value::Text(refused.reason.as_str())),
        ("retry_after", Value::Time(refused.retry_after)),
    ]
}

/// The first row of an event that the facts suffice for.
fn first_line(style: Style, event: &str, facts: &Facts<'_>) -> Option<Line> {
    let holds = |row: &&Row| row.when.is_none_or(|(name, text)| facts.get(name) == Some(Value::Text(text)));
    style.rows().iter().filter(|row| row.event == event).filter(holds).find_map(|row| {
        let text = match &row.form {
            Form::Text(template) => facts.fill(template)?,
            Form::Json(template) => json(&facts.shown_as(template)),
        };
        Some(Line { level: row.level, text })
    })
}

/// A summary of what was held back, as one JSON object: `timestamp`, `event`, `policy`, `suppressed` (how many) and `over`
/// (in how many seconds).
pub fn suppressed(suppressed: &Suppressed, time: SystemTime) -> String {
    let fields = [("suppressed", Value::Number(suppressed.count)), ("over", Value::Time(suppressed.over))];
    json(&Object { event: suppressed.event_type, policy: &suppressed.policy, fields: &fields, time })
}

fn level_of(event: &Event) -> Level {
    match event.category() {
        Category::Error => Level::Error,
        Category::Warning => Level::Warning,
        _ => Level::Info,
    }
}

/// A JSON object in the manner of a [`Record`].
struct Object<'a> {
    event: &'a str,
    policy: &'a str,
    fields: &'a [Field<'a>],
    time: SystemTime,
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &timestamp(self.time))?;
        map.serialize_entry("event", self.event)?;
        map.serialize_entry("policy", self.policy)?;
        for (name, value) in self.fields {
            map.serialize_entry(name, &Written(*value))?;
        }
        map.end()
    }
}

fn json(object: &impl Serialize) -> String {
    // Keys are texts and numbers are finite: it cannot fail.
    serde_json::to_string(object).unwrap_or_default()
}
