//! Events as log lines, in our style and in those that users of other systems search their logs for.
//!
//! What a style writes of which event is a table. A line holds names, kinds and numbers, never what was sent or answered.

mod styles;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use serde::ser::{Serialize, SerializeMap, Serializer};
use stormproof_core::event::damper::Suppressed;
use stormproof_core::event::fields::{Field, Value};
use stormproof_core::{Event, Refused, Stage};

use super::record::Written;
use super::{Record, timestamp};
use styles::{Form, From, Row};

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Style {
    /// Every event as one JSON object: a [`Record`].
    #[default]
    Stormproof,
    /// Circuits as the JSON objects of A2A systems: `component`, `operation_type`, `circuit_name`; texts for fallbacks.
    A2a,
    /// What the code of those systems logs: `circuit_breaker_state_change`, `retry_attempt_failed` and so on.
    A2aCode,
    /// The texts of the book on agents' resilience: `Circuit opened after 5 failures`.
    Book,
    /// The texts of Victor's guide: `Retry 1: TimeoutError, waiting 2.0s`.
    Victor,
}

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// As it should be.
    Info,
    /// Worth a look.
    Warning,
    /// Worth an alert.
    Error,
}

/// A line without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// How important it is.
    pub level: Level,
    /// What it says.
    pub text: String,
}

impl Style {
    /// What this style says of an event that happened at `time`; nothing if it says nothing of such events.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use stormproof::events::log::Style;
    /// use stormproof::{Event, Instant, event::Kind};
    ///
    /// let kind = Kind::RetryAttempted { retry: 1, delay: Duration::from_secs(2), error: "TimeoutError".into() };
    /// let event = Event::new(Instant::ZERO, "openai".into(), kind);
    /// let line = Style::Victor.line(&event, SystemTime::now()).map(|line| line.text);
    /// assert_eq!(line.as_deref(), Some("Retry 1: TimeoutError, waiting 2.0s"));
    /// ```
    pub fn line(self, event: &Event, time: SystemTime) -> Option<Line> {
        if self == Self::Stormproof {
            return Some(Line { level: level_of(event), text: json(&Record::new(event, time)) });
        }
        let fields = event.fields();
        let facts = Facts { policy: &event.policy, fields: &fields, time };
        facts.first_line(self, event.event_type())
    }

    /// What this style says of a call that a stage refused. Refusals by a circuit are no events, as they are not rare:
    /// whoever got one can log it.
    pub fn refusal(self, refused: &Refused, time: SystemTime) -> Option<Line> {
        let event = match refused.stage {
            Stage::Breaker => "circuit_refused",
            Stage::Bulkhead => "bulkhead_rejected",
            Stage::Rate => "rate_limited",
            _ => "refused",
        };
        let fields = [
            ("stage", Value::Text(refused.stage.as_str())),
            ("name", Value::Text(&refused.name)),
            ("reason", Value::Text(refused.reason.as_str())),
            ("retry_after", Value::Time(refused.retry_after)),
        ];
        let facts = Facts { policy: &refused.name, fields: &fields, time };
        if self == Self::Stormproof {
            return Some(Line { level: Level::Error, text: json(&Fields { event, facts: &facts }) });
        }
        facts.first_line(self, event)
    }
}

/// A summary of what was held back, as one JSON object: `timestamp`, `event`, `policy`, `suppressed` (how many) and `over`
/// (in how many seconds).
pub fn suppressed(suppressed: &Suppressed, time: SystemTime) -> String {
    let fields = [("suppressed", Value::Number(suppressed.count)), ("over", Value::Time(suppressed.over))];
    let facts = Facts { policy: &suppressed.policy, fields: &fields, time };
    json(&Fields { event: suppressed.event_type, facts: &facts })
}

fn level_of(event: &Event) -> Level {
    use stormproof_core::event::Category;
    match event.category() {
        Category::Error => Level::Error,
        Category::Warning => Level::Warning,
        _ => Level::Info,
    }
}

/// What a line can be made of.
struct Facts<'a> {
    policy: &'a str,
    fields: &'a [Field<'a>],
    time: SystemTime,
}

impl<'a> Facts<'a> {
    fn get(&self, name: &str) -> Option<Value<'a>> {
        let field = self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        field.or_else(|| (name == "policy").then_some(Value::Text(self.policy)))
    }

    fn first_line(&self, style: Style, event: &str) -> Option<Line> {
        let rows = styles::ROWS.iter().filter(|row| row.style == style && row.event == event);
        let holds = |row: &&Row| row.when.is_none_or(|(name, text)| self.get(name) == Some(Value::Text(text)));
        rows.filter(holds).find_map(|row| self.line(row))
    }

    /// The line, if the event has all that its text names.
    fn line(&self, row: &Row) -> Option<Line> {
        let text = match row.form {
            Form::Text(template) => self.fill(template)?,
            Form::Json(keys) => json(&Object { keys, facts: self }),
        };
        Some(Line { level: row.level, text })
    }

    /// The template with `{name}` replaced by the field of that name.
    fn fill(&self, template: &str) -> Option<String> {
        let mut parts = template.split('{');
        let mut text = parts.next()?.to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}')?;
            self.get(name)?.to_string().chars().for_each(|c| match c {
                // A name must not be able to begin a line of its own.
                c if c.is_control() => text.extend(c.escape_default()),
                c => text.push(c),
            });
            text.push_str(rest);
        }
        Some(text)
    }
}

/// A JSON object in the manner of a [`Record`].
struct Fields<'a> {
    event: &'a str,
    facts: &'a Facts<'a>,
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &timestamp(self.facts.time))?;
        map.serialize_entry("event", self.event)?;
        map.serialize_entry("policy", self.facts.policy)?;
        for (name, value) in self.facts.fields {
            map.serialize_entry(name, &Written(*value))?;
        }
        map.end()
    }
}

/// A JSON object as a row says; what the event does not have is `null`.
struct Object<'a> {
    keys: &'a [(&'static str, From)],
    facts: &'a Facts<'a>,
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.keys.len()))?;
        for (key, from) in self.keys {
            match from {
                From::Time => map.serialize_entry(key, &timestamp(self.facts.time))?,
                From::Ago(name) => {
                    let ago = match self.facts.get(name) {
                        Some(Value::Time(ago)) => self.facts.time.checked_sub(ago).map(timestamp),
                        _ => None,
                    };
                    map.serialize_entry(key, &ago)?;
                }
                From::Text(text) => map.serialize_entry(key, text)?,
                From::Field(name) => map.serialize_entry(key, &self.facts.get(name).map(Written))?,
            }
        }
        map.end()
    }
}

fn json(object: &impl Serialize) -> String {
    // Keys are texts and numbers are finite: it cannot fail.
    serde_json::to_string(object).unwrap_or_default()
}
