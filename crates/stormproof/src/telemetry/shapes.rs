//! Statistics in the shapes that other systems' clients read, and log lines as they write them: templates of
//! `stormproof-compat` filled with what we know, by its name here.
//!
//! Knows no system: a new shape is a template there. Times of day are worked out from the monotonic clock for display; no
//! decision depends on them. The fields that a template can name:
//!
//! | of | fields |
//! |---|---|
//! | a breaker | `name`, `state`, `mode`, `rule`, `failures`, `threshold`, `failures_percent`, `health_score`, `available`, `open_duration`, `remaining` and `opened_ago` (while open), `until_probes`, `successes`, `total_failures`, `ignored`, `refused`, `ended`, `counted`, `success_rate`, `consecutive_failures`, `consecutive_successes`, `probes`, `probe_successes`, `changes`, `last_cause`, `last_failure_ago`, `last_success_ago`, `last_change_ago`, `used_ago`; parts `change` with `ago`, `from`, `to` |
//! | a bulkhead | `name`, `max_concurrent`, `active`, `queued`, `refused`, `free` |
//! | a rate limiter | `name`, `rate_per_second`, `burst`, `available` |
//! | a policy | `name`; parts `breaker`, `bulkhead`, `rate` |
//! | a registry | `total`, `open`, `half_open`, `closed`, `failures`, `failing`; parts `breaker`, `open`, `half_open`, `half_way` (half of what opens it), `pool` |
//! | a pool | `name`, `active`, `limit`, `usage_percent` |
//! | an event | [those it has](stormproof_core::Event::fields), and `policy` |
//!
//! Names that end in `ago` are spans of time that end now, which is `now`.

use std::time::{Duration, SystemTime};

use serde::ser::{Serialize, SerializeMap, Serializer};
pub use stormproof_compat::Template;
pub use stormproof_compat::shapes::{a2a, aragora, book, khive, victor};
use stormproof_core::breaker::State;
use stormproof_core::event::fields::{Field, Value};
use stormproof_core::{CircuitBreaker as Circuit, Event, Instant};

use crate::policy::Policy;
use crate::policy::stages::CircuitBreaker;
use crate::registry::Registry;
use crate::telemetry::events::{Written, timestamp};

/// What is known of something at one moment, by name.
///
/// ```
/// use stormproof::CircuitBreaker;
/// use stormproof::shapes::{Facts, a2a};
///
/// let facts = Facts::of_breaker(&CircuitBreaker::new("agent-1"));
/// let json = serde_json::to_string(&facts.shown_as(&a2a::BREAKER)).unwrap();
/// assert!(json.starts_with(r#"{"name":"agent-1","state":"closed","failure_count":0"#));
/// ```
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    time: SystemTime,
    fields: Vec<(&'static str, Known<'a>)>,
    parts: Vec<(&'static str, Facts<'a>)>,
}

/// The value of a field: borrowed, or a text of its own.
#[derive(Clone, Debug)]
enum Known<'a> {
    Value(Value<'a>),
    Text(Box<str>),
}

impl Facts<'static> {
    /// Of a circuit breaker.
    pub fn of_breaker(breaker: &CircuitBreaker) -> Self {
        let now = breaker.policy().clock().now();
        Self::of_circuit(breaker.core(), now, now)
    }

    /// Of a policy with its stages.
    pub fn of_policy(policy: &Policy) -> Self {
        let (stages, now) = (policy.stages(), policy.clock().now());
        let mut facts = Self::empty().text("name", policy.name());
        if let Some(breaker) = &stages.breaker {
            facts.parts.push(("breaker", Self::of_circuit(breaker, now, now)));
        }
        if let Some(bulkhead) = &stages.bulkhead {
            let stats = bulkhead.stats();
            let bulkhead = Self::empty()
                .text("name", bulkhead.name())
                .number("max_concurrent", stats.max_concurrent)
                .number("active", stats.active)
                .number("queued", stats.queued as u64)
                .number("refused", stats.refused)
                .number("free", stats.max_concurrent.saturating_sub(stats.active));
            facts.parts.push(("bulkhead", bulkhead));
        }
        if let Some(limiter) = &stages.rate {
            let (config, stats) = (limiter.config(), limiter.stats(now));
            let limiter = Self::empty()
                .text("name", limiter.name())
                .float("rate_per_second", f64::from(config.rate) / config.per.as_secs_f64())
                .number("burst", stats.burst)
                .number("available", stats.available);
            facts.parts.push(("rate", limiter));
        }
        facts
    }

    /// Of all circuit breakers of a registry, in the order of their names.
    pub fn of_registry(registry: &Registry) -> Self {
        let breakers = registry.breakers_used();
        let now = registry.now();
        Self::of_circuits(breakers.iter().map(|(_, breaker, used)| Self::of_circuit(breaker.core(), now, *used)))
    }

    /// Of these circuit breakers, in this order.
    pub fn of_breakers<'b>(breakers: impl IntoIterator<Item = &'b CircuitBreaker>) -> Self {
        Self::of_circuits(breakers.into_iter().map(Self::of_breaker))
    }

    fn of_circuits(circuits: impl Iterator<Item = Self>) -> Self {
        let circuits: Vec<_> = circuits.collect();
        let (total, failures) = (circuits.len() as u64, circuits.iter().map(|circuit| circuit.count("failures")));
        let failing = failures.clone().filter(|failures| *failures > 0).count() as u64;
        let mut facts = Self::empty().number("total", total).number("failures", failures.sum::<u64>());
        facts = facts.number("failing", failing);
        for state in ["open", "half_open", "closed"] {
            let of_state = circuits.iter().filter(|circuit| circuit.is(state));
            facts = facts.number(state, of_state.count() as u64);
        }
        facts.parts.extend(circuits.into_iter().map(|circuit| ("breaker", circuit)));
        facts
    }

    fn of_circuit(core: &Circuit, now: Instant, used: Instant) -> Self {
        let (stats, config, history) = (core.stats(now), core.config(), core.history());
        let open = stats.state == State::Open;
        let counted = stats.successes.saturating_add(stats.failures);
        let share = f64::from(stats.count.failures) / f64::from(stats.count.threshold.max(1));
        let percent = (share * 1000.0).round() / 10.0;
        let facts = Self::empty()
            .text("name", core.name())
            .word("state", stats.state.as_str())
            .word("mode", stats.mode.as_str())
            .word("rule", stats.count.rule)
            .number("failures", stats.count.failures)
            .number("threshold", stats.count.threshold)
            .float("failures_percent", percent)
            .float("health_score", (core.health_score(now) * 1000.0).round() / 1000.0)
            .number("available", u64::from(core.is_available(now)))
            .span("open_duration", Some(config.open_duration))
            .span("remaining", open.then_some(stats.remaining))
            .ago("opened_ago", now, stats.last_change.filter(|_| open))
            .span("until_probes", Some(stats.remaining))
            .number("successes", stats.successes)
            .number("total_failures", stats.failures)
            .number("ignored", stats.ignored)
            .number("refused", stats.refused)
            .number("ended", counted.saturating_add(stats.ignored))
            .number("counted", counted)
            .float("success_rate", stats.success_rate())
            .number("consecutive_failures", stats.consecutive_failures)
            .number("consecutive_successes", stats.consecutive_successes)
            .number("probes", stats.half_open_calls)
            .number("probe_successes", stats.half_open_successes)
            .number("changes", history.len() as u64)
            .span("last_failure_ago", stats.last_failure_ago)
            .ago("last_success_ago", now, stats.last_success)
            .ago("last_change_ago", now, stats.last_change)
            .ago("used_ago", now, Some(used));
        let mut facts = if let Some(cause) = &stats.last_cause { facts.text("last_cause", cause) } else { facts };
        facts.parts.extend(history.iter().map(|change| {
            let (from, to) = (change.from.as_str(), change.to.as_str());
            ("change", Self::empty().ago("ago", now, Some(change.at)).word("from", from).word("to", to))
        }));
        facts
    }

    /// Adds a pool of connections: the number in use, and the number allowed; 0 percent without a limit.
    #[must_use]
    pub fn pool(mut self, name: &str, active: u64, limit: u64) -> Self {
        let percent = if limit == 0 { 0.0 } else { active as f64 * 100.0 / limit as f64 };
        let pool = Self::empty().text("name", name).number("active", active).number("limit", limit);
        self.parts.push(("pool", pool.float("usage_percent", percent)));
        self
    }
}

impl<'a> Facts<'a> {
    /// Of an event.
    pub fn of_event(event: &'a Event) -> Self {
        Self::of_fields(event.fields()).word("policy", &event.policy)
    }

    pub(crate) fn of_fields(fields: impl IntoIterator<Item = Field<'a>>) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name, Known::Value(value))).collect();
        Self { fields, ..Self::empty() }
    }

    fn empty() -> Self {
        Self { time: SystemTime::now(), fields: Vec::new(), parts: Vec::new() }
    }

    /// The same if it is now `time`.
    #[must_use]
    pub fn at(mut self, time: SystemTime) -> Self {
        self.time = time;
        self
    }

    /// In this shape, to be serialized.
    pub fn shown_as<'t>(&'t self, template: &'t Template) -> Shown<'t> {
        Shown { template, facts: self, now: self.time }
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        let value = self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| match value {
            Known::Value(value) => *value,
            Known::Text(text) => Value::Text(text),
        });
        value.or_else(|| (name == "now").then_some(Value::Time(Duration::ZERO)))
    }

    /// Whether a circuit is in this state, or half way to opening.
    fn is(&self, what: &str) -> bool {
        match what {
            "half_way" => 2 * self.count("failures") >= self.count("threshold"),
            state => self.get("state") == Some(Value::Text(state)),
        }
    }

    fn count(&self, name: &str) -> u64 {
        if let Some(Value::Number(number)) = self.get(name) { number } else { 0 }
    }

    /// The text with `{name}` replaced by the field of that name; nothing if there is no such field.
    #[cfg(feature = "log")]
    pub(crate) fn fill(&self, template: &str) -> Option<String> {
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

    fn with(mut self, name: &'static str, value: Known<'a>) -> Self {
        self.fields.push((name, value));
        self
    }

    fn word(self, name: &'static str, word: &'a str) -> Self {
        self.with(name, Known::Value(Value::Text(word)))
    }

    fn text(self, name: &'static str, text: &str) -> Self {
        self.with(name, Known::Text(text.into()))
    }

    fn number(self, name: &'static str, number: impl Into<u64>) -> Self {
        self.with(name, Known::Value(Value::Number(number.into())))
    }

    fn float(self, name: &'static str, number: f64) -> Self {
        self.with(name, Known::Value(Value::Float(number)))
    }

    fn span(self, name: &'static str, span: Option<Duration>) -> Self {
        match span {
            Some(span) => self.with(name, Known::Value(Value::Time(span))),
            None => self,
        }
    }

    fn ago(self, name: &'static str, now: Instant, at: Option<Instant>) -> Self {
        self.span(name, at.map(|at| now.since(at)))
    }
}

/// Facts in a shape.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'t> {
    template: &'t Template,
    facts: &'t Facts<'t>,
    now: SystemTime,
}

impl<'t> Shown<'t> {
    fn with(&self, template: &'t Template) -> Self {
        Self { template, ..*self }
    }

    fn parts(&self, name: &'t str, template: &'t Template) -> impl Iterator<Item = Self> + Clone {
        let is_part = move |(part, facts): &&(&str, Facts<'_>)| *part == name || *part == "breaker" && facts.is(name);
        let of_name = self.facts.parts.iter().filter(is_part);
        let now = self.now;
        of_name.map(move |(_, facts)| Self { template, facts, now })
    }

    /// The time of day that a field says how long ago it was.
    fn time(&self, name: &str) -> Option<SystemTime> {
        match self.facts.get(name)? {
            Value::Time(ago) => Some(self.now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)),
            _ => None,
        }
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self.template {
            Template::Field(name) => Written(self.facts.get(name).unwrap_or(Value::Nothing)).serialize(serializer),
            Template::Iso(name) => self.time(name).map(timestamp).serialize(serializer),
            Template::Unix(name) => self.time(name).map(unix).serialize(serializer),
            Template::IsZero(name) => serializer.serialize_bool(self.facts.count(name) == 0),
            Template::NotZero(name) => serializer.serialize_bool(self.facts.count(name) != 0),
            Template::Steps(name, steps) => {
                let count = self.facts.count(name);
                steps.iter().rev().find(|(least, _)| *least <= count).map(|(_, text)| text).serialize(serializer)
            }
            Template::Text(text) => serializer.serialize_str(text),
            Template::Number(number) => serializer.serialize_u64(number),
            Template::True => serializer.serialize_bool(true),
            Template::Object(entries) => {
                let mut map = serializer.serialize_map(None)?;
                for (key, template) in entries {
                    match template {
                        Template::Part(part, inner) => {
                            if let Some(shown) = self.parts(part, inner).next() {
                                map.serialize_entry(key, &shown)?;
                            }
                        }
                        template => map.serialize_entry(key, &self.with(template))?,
                    }
                }
                map.end()
            }
            Template::Each(part, inner) => serializer.collect_seq(self.parts(part, inner)),
            Template::ByName(part, inner) => {
                let name = &Template::Field("name");
                serializer.collect_map(self.parts(part, inner).map(|shown| (shown.with(name), shown)))
            }
            Template::Part(part, inner) => self.parts(part, inner).next().serialize(serializer),
        }
    }
}

/// Seconds since 1970.
fn unix(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

#[cfg(test)]
mod tests;
