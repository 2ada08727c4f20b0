//! An event as data: what logs, streams and pages write, the same behind every door.

use std::time::{Duration, SystemTime};

use serde::ser::{Serialize, SerializeMap, Serializer};
use stormproof_core::breaker::{Cause, Transition};
use stormproof_core::event::Kind;
use stormproof_core::window::Tally;
use stormproof_core::{Event, Instant};

/// An event with the time of day, to be written as one flat object: `timestamp`, `event` and `policy` first, then what
/// belongs to its kind. Durations are in seconds.
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
        let Event { policy, kind, .. } = self.event;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &timestamp(self.time))?;
        map.serialize_entry("event", kind.as_str())?;
        map.serialize_entry("policy", policy.as_str())?;
        match kind {
            Kind::Circuit { breaker, transition } => {
                map.serialize_entry("breaker", breaker.as_str())?;
                write_transition(&mut map, transition)?;
            }
            Kind::CircuitWouldOpen { breaker, trip, counts } => {
                map.serialize_entry("breaker", breaker.as_str())?;
                map.serialize_entry("rule", trip.as_str())?;
                write_counts(&mut map, counts)?;
            }
            Kind::Refused { stage, name, reason, retry_after } => {
                map.serialize_entry("stage", stage.as_str())?;
                map.serialize_entry("name", name.as_str())?;
                map.serialize_entry("reason", reason.as_str())?;
                map.serialize_entry("retry_after", &seconds(*retry_after))?;
            }
            Kind::RetryAttempted { retry, delay, error } => {
                map.serialize_entry("retry", retry)?;
                map.serialize_entry("delay", &seconds(*delay))?;
                map.serialize_entry("error", &**error)?;
            }
            Kind::HedgeStarted { attempt, cause } => {
                map.serialize_entry("attempt", attempt)?;
                map.serialize_entry("cause", cause.as_str())?;
            }
            Kind::HedgeWon { attempt } => map.serialize_entry("attempt", attempt)?,
            Kind::HalfOpenAwaited { breaker, delay } => {
                map.serialize_entry("breaker", breaker.as_str())?;
                map.serialize_entry("delay", &seconds(*delay))?;
            }
            Kind::GaveUp { stop, attempts, error } => {
                map.serialize_entry("reason", stop.as_str())?;
                map.serialize_entry("attempts", attempts)?;
                map.serialize_entry("error", &**error)?;
            }
            Kind::TimedOut { limit, after } => {
                map.serialize_entry("limit", limit.as_str())?;
                map.serialize_entry("after", &seconds(*after))?;
            }
            // A kind added since has a name at least.
            _ => {}
        }
        map.end()
    }
}

fn write_transition<M: SerializeMap>(map: &mut M, transition: &Transition) -> Result<(), M::Error> {
    map.serialize_entry("seq", &transition.seq)?;
    map.serialize_entry("from", transition.from.as_str())?;
    map.serialize_entry("to", transition.to.as_str())?;
    map.serialize_entry("cause", cause(transition.cause))?;
    if let Cause::Tripped(rule) = transition.cause {
        map.serialize_entry("rule", rule.as_str())?;
        write_counts(map, &transition.counts)?;
    }
    if !transition.open_for.is_zero() {
        map.serialize_entry("open_for", &seconds(transition.open_for))?;
    }
    Ok(())
}

fn write_counts<M: SerializeMap>(map: &mut M, counts: &Tally) -> Result<(), M::Error> {
    map.serialize_entry("calls", &counts.calls)?;
    map.serialize_entry("failures", &counts.failures)
}

const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Tripped(_) => "tripped",
        Cause::Banned => "banned",
        Cause::ProbeFailed => "probe_failed",
        Cause::WaitOver => "wait_over",
        Cause::Recovered => "recovered",
        Cause::Operator => "operator",
        _ => "other",
    }
}

/// Seconds, or nothing for what has no end.
fn seconds(duration: Duration) -> Option<f64> {
    (duration != Duration::MAX).then_some(duration.as_secs_f64())
}

/// The time of day as ISO 8601 in UTC, to the millisecond.
pub fn timestamp(time: SystemTime) -> String {
    // The formatter knows the years 1970 to 9999.
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let last = Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since.min(last)).to_string()
}
