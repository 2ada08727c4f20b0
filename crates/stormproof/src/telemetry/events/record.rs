//! An event as data: what logs, streams and pages write, the same behind every door.

use std::time::{Duration, SystemTime};

use serde::ser::{Serialize, SerializeMap, Serializer};
use stormproof_core::event::fields::Value;
use stormproof_core::{Event, Instant};

/// An event with the time of day, to be written as one flat object: `timestamp`, `event` and `policy` first (no
/// `policy` where it is none's), then what belongs to its kind. Durations are in seconds.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use stormproof::{Event, Instant, Limit, event::Kind, events::Record};
///
/// let kind = Kind::TimedOut { limit: Limit::Attempt, after: Duration::from_millis(1500) };
/// let event = Event::new(Instant::ZERO, "openai".into(), kind);
/// let json = serde_json::to_string(&Record::new(&event, SystemTime::UNIX_EPOCH)).unwrap();
/// assert_eq!(
///     json,
///     r#"{"timestamp":"1970-01-01T00:00:00.000Z","event":"timed_out","policy":"openai","limit":"attempt","after":1.5}"#
/// );
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    event: &'a Event,
    time: SystemTime,
}

impl<'a> Record<'a> {
    /// An event that happened at `time`.
    pub fn new(event: &'a Event, time: SystemTime) -> Self {
        Self { event, time }
    }

    /// An event told by a clock that now shows `now`.
    pub fn told_at(event: &'a Event, now: Instant) -> Self {
        let time = SystemTime::now();
        Self { event, time: time.checked_sub(now.since(event.at)).unwrap_or(time) }
    }

    /// When it happened.
    pub fn time(&self) -> SystemTime {
        self.time
    }
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.event;
        let fields = event.fields();
        let mut map = serializer.serialize_map(Some(fields.len() + 3))?;
        map.serialize_entry("timestamp", &timestamp(self.time))?;
        map.serialize_entry("event", event.event_type())?;
        if !event.policy.as_str().is_empty() {
            map.serialize_entry("policy", event.policy.as_str())?;
        }
        for (name, value) in fields {
            map.serialize_entry(name, &Written(value))?;
        }
        map.end()
    }
}

/// A value as data formats have it.
pub(crate) struct Written<'a>(pub(crate) Value<'a>);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Text(text) => serializer.serialize_str(text),
            Value::Number(number) => serializer.serialize_u64(number),
            Value::Float(number) => serializer.serialize_f64(number),
            Value::Nothing | Value::Time(Duration::MAX) => serializer.serialize_none(),
            Value::Time(time) => serializer.serialize_f64(time.as_secs_f64()),
            // A value added since has a text at least.
            _ => serializer.collect_str(&self.0),
        }
    }
}

/// The time of day as ISO 8601 in UTC, to the millisecond.
pub fn timestamp(time: SystemTime) -> String {
    // The formatter knows the years 1970 to 9999.
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let last = Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since.min(last)).to_string()
}
