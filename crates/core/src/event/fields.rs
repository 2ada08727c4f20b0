//! What an event says, as names and values: logs, streams, the bus and traces are all written from this one list.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{Category, Event, Kind};
use crate::breaker::{Count, State, Transition};
use crate::retry::Stop;
use crate::throttle;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// A name, or a word in snake case.
    Text(&'a str),
    /// A count or a number in a row.
    Number(u64),
    /// A share or another number that is not whole.
    Float(f64),
    /// A length of time, written in seconds. [`Duration::MAX`] has no end and is written as nothing.
    Time(Duration),
    /// It is known that there is none.
    Nothing,
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.pad(text),
            Self::Number(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Nothing => f.pad("none"),
            Self::Time(Duration::MAX) => f.pad("inf"),
            // With its point also if it is whole, as other languages write it.
            Self::Time(time) => fmt::Debug::fmt(&time.as_secs_f64(), f),
        }
    }
}

impl PartialEq<&str> for Value<'_> {
    fn eq(&self, text: &&str) -> bool {
        matches!(self, Self::Text(own) if own == text)
    }
}

/// A name in snake case and its value.
pub type Field<'a> = (&'static str, Value<'a>);

impl Event {
    /// The event's name in snake case, such as `circuit_opened`.
    pub fn event_type(&self) -> &'static str {
        self.kind.as_str()
    }

    /// How grave it is.
    pub fn category(&self) -> Category {
        self.kind.category()
    }

    /// What belongs to its kind, in the order in which logs write it.
    pub fn fields(&self) -> Vec<Field<'_>> {
        let mut fields = Fields(Vec::new());
        fields.add_kind(&self.kind);
        fields.0
    }

    /// The fields by name, with the policy, and under the names that users of Victor's event bus know as well:
    /// `breaker_name` and `attempt`.
    ///
    /// ```
    /// use stormproof_core::{Event, Instant, breaker, event::Kind};
    ///
    /// # let breaker = stormproof_core::CircuitBreaker::new("openai");
    /// # let change = breaker.set_mode(Instant::ZERO, breaker::Mode::ForcedOpen).map(breaker::Change::Moved);
    /// # let kind = Kind::of_change(breaker.name(), change.expect("it opened"));
    /// let event = Event::new(Instant::ZERO, "openai".into(), kind);
    /// assert_eq!(event.event_type(), "circuit_opened");
    /// assert_eq!(event.data()["breaker_name"], "openai");
    /// ```
    pub fn data(&self) -> BTreeMap<&'static str, Value<'_>> {
        let mut data: BTreeMap<_, _> = self.fields().into_iter().collect();
        data.insert("policy", Value::Text(&self.policy));
        for (own, known) in [("breaker", "breaker_name"), ("retry", "attempt")] {
            if let Some(value) = data.get(own).copied() {
                data.insert(known, value);
            }
        }
        data
    }
}

struct Fields<'a>(Vec<Field<'a>>);

impl<'a> Fields<'a> {
    /// Every kind says something here: the compiler asks for it.
    #[expect(clippy::too_many_lines, reason = "one arm for each kind")]
    fn add_kind(&mut self, kind: &'a Kind) {
        match kind {
            Kind::Circuit { breaker, transition } => {
                self.text("breaker", breaker);
                self.transition(transition);
            }
            Kind::CircuitWouldOpen { breaker, count } => {
                self.text("breaker", breaker);
                self.count(count);
            }
            Kind::Throttle { throttle, change } => {
                self.text("throttle", throttle);
                match *change {
                    throttle::Change::Began { requests, accepts } => {
                        self.number("requests", requests);
                        self.number("accepts", accepts);
                    }
                    throttle::Change::Ended { refused } => self.number("refused", refused),
                }
            }
            Kind::Refused { stage, name, reason, retry_after } => {
                self.text("stage", stage.as_str());
                self.text("name", name);
                self.text("reason", reason.as_str());
                self.time("retry_after", *retry_after);
            }
            Kind::RetryAttempted { retry, delay, error } => {
                self.number("retry", *retry);
                self.time("delay", *delay);
                self.text("error", error);
            }
            Kind::HedgeStarted { attempt, cause } => {
                self.number("attempt", *attempt);
                self.text("cause", cause.as_str());
            }
            Kind::HedgeWon { attempt } => self.number("attempt", *attempt),
            Kind::HalfOpenAwaited { breaker, delay } => {
                self.text("breaker", breaker);
                self.time("delay", *delay);
            }
            Kind::GaveUp { stop, attempts, error } => {
                self.text("reason", stop.as_str());
                if let Stop::RetryAfter(wait) = stop {
                    self.time("retry_after", *wait);
                }
                self.number("attempts", *attempts);
                self.text("error", error);
            }
            Kind::TimedOut { limit, after } => {
                self.text("limit", limit.as_str());
                self.time("after", *after);
            }
            Kind::RegisteredTwice { name, differs } => {
                self.text("name", name);
                self.text("differs", differs);
            }
            Kind::UnknownPolicy { name, stages } => {
                self.text("name", name);
                self.text("stages", if *stages { "defaults" } else { "none" });
            }
            Kind::TooManyNames { name, most } => {
                self.text("name", name);
                self.number("most", u64::try_from(*most).unwrap_or(u64::MAX));
            }
            Kind::StateNotSaved { error } | Kind::NotReloaded { error } => self.text("error", error),
            Kind::Reloaded { added, changed } => {
                self.number("added", *added);
                self.number("changed", *changed);
            }
            Kind::LimitChanged { bulkhead, from, to } => {
                self.text("bulkhead", bulkhead);
                self.number("from", *from);
                self.number("to", *to);
            }
            Kind::FallbackUsed(used) => {
                self.text("source", used.kind.as_str());
                self.number("position", used.position);
                if let Some(age) = used.age {
                    self.time("age", age);
                }
                self.text("error", &used.error);
            }
            Kind::Health { component, transition } => {
                self.text("component", component);
                self.number("seq", transition.seq);
                self.text("new_status", transition.as_str());
                self.text("from", transition.from.as_str());
                self.text("to", transition.to.as_str());
                self.number("consecutive_failures", transition.consecutive_failures);
                let error = transition.error.as_deref().map_or(Value::Nothing, Value::Text);
                self.0.push(("last_error", error));
            }
            Kind::Degradation { system, shift } => {
                self.text("system", system);
                self.number("seq", shift.seq);
                self.text("from", shift.from.as_str());
                self.text("to", shift.to.as_str());
            }
            Kind::LoopDetected { run, detection } => {
                self.text("run", run);
                self.number("seq", detection.seq);
                self.text("loop_type", detection.loop_type().as_str());
                self.text("rule", detection.rule.as_str());
                self.text("subject", detection.subject.as_deref().unwrap_or("agent"));
                self.text("step", detection.step.as_str());
            }
            Kind::LoopLimitNear { run, near } => {
                self.text("run", run);
                self.text("limit", near.limit.as_str());
                self.0.push(("used", Value::Float(near.used)));
                self.0.push(("most", Value::Float(near.most)));
            }
            Kind::Journal(told) => told.fields(&mut self.0),
        }
    }

    fn transition(&mut self, transition: &Transition) {
        self.number("seq", transition.seq);
        self.text("from", transition.from.as_str());
        self.text("to", transition.to.as_str());
        self.text("cause", transition.cause.as_str());
        if transition.to == State::Open && transition.count.failures > 0 {
            self.count(&transition.count);
        } else {
            self.number("failures", transition.count.failures);
        }
        if let Some(ago) = transition.last_failure_ago {
            self.time("last_failure_ago", ago);
        }
        if !transition.open_for.is_zero() {
            self.time("open_for", transition.open_for);
        }
    }

    fn count(&mut self, count: &Count) {
        self.text("rule", count.rule);
        self.number("threshold", count.threshold);
        self.number("calls", count.calls);
        self.number("failures", count.failures);
    }

    fn text(&mut self, name: &'static str, value: &'a str) {
        self.0.push((name, Value::Text(value)));
    }

    fn number(&mut self, name: &'static str, value: impl Into<u64>) {
        self.0.push((name, Value::Number(value.into())));
    }

    fn time(&mut self, name: &'static str, value: Duration) {
        self.0.push((name, Value::Time(value)));
    }
}
