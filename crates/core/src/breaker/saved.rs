//! What of a breaker outlives its process, and what would be lost if it were forgotten.
//!
//! Times are durations: the clock of the next process has another origin. Which file they stand in is the edge's affair.

use std::time::Duration;

use super::machine::{Machine, Phase};
use super::{Cause, Change, CircuitBreaker, Counted, Mode, Permit, State, Transition};
use crate::sync::Ordering;
use crate::time::Instant;

/// The state of a breaker, to be taken over by the breaker of the same name in another process.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{breaker::State, CircuitBreaker, Instant, Verdict};
///
/// let (before, after) = (CircuitBreaker::new("openai"), CircuitBreaker::new("openai"));
/// for _ in 0..5 {
///     let mut permit = before.admit(Instant::ZERO).unwrap();
///     before.settle(&mut permit, Instant::ZERO, &Verdict::failure("TimeoutError"));
/// }
/// let saved = before.export(Instant::ZERO + Duration::from_secs(18));
/// after.import(Instant::ZERO, &saved);
/// assert_eq!(after.state(Instant::ZERO), State::Open);
/// assert_eq!(after.remaining(Instant::ZERO), Duration::from_secs(42));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct Saved {
    /// The state. Half-open, too, if the wait was over and nobody had probed yet.
    pub state: State,
    /// Rest of the open wait; in a file in seconds.
    #[cfg_attr(feature = "serde", serde(with = "seconds"))]
    pub remaining: Duration,
    /// Number of openings since it was last closed.
    pub opened_in_a_row: u32,
    /// The mode, if an operator set another one than that of the configuration.
    pub mode: Option<Mode>,
    /// The mode of the configuration.
    pub configured_mode: Option<Mode>,
    /// Transitions so far. Those of the next process go on from here.
    pub generation: u64,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Contents of the window of each trip rule.
    pub rules: Vec<Counted>,
    /// Successful calls.
    pub successes: u64,
    /// Failed calls.
    pub failures: u64,
    /// Calls that counted neither way.
    pub ignored: u64,
    /// Calls that were not let through.
    pub refused: u64,
    /// Results of a former state.
    pub stale: u64,
    /// Number of times the circuit had opened.
    pub opened: u64,
    /// Number of times it would have opened, in the mode [`MetricsOnly`](Mode::MetricsOnly).
    pub would_open: u64,
    /// Kind of the last failure.
    pub last_cause: Option<Box<str>>,
    /// Time since the last failure.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration::option"))]
    pub last_failure_ago: Option<Duration>,
}

/// Largest number that is taken over, so that counting goes on without a wrap.
pub(super) const MOST_SAVED: u64 = 1 << 53;

/// Loss if a stage is forgotten and made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Nothing but totals: a new one would decide the same.
    Nothing,
    /// Its counts.
    Counts,
    /// An open circuit, an operator's word, or places of calls in flight.
    State,
}

impl CircuitBreaker {
    /// The state that outlives this process.
    pub fn export(&self, now: Instant) -> Saved {
        // The totals under the same lock, so that they belong to the state beside them.
        let mut machine = self.machine.lock();
        let mut saved = machine.save(now);
        let counters = &self.counters.0;
        let counts = [
            (&mut saved.successes, &counters.successes),
            (&mut saved.failures, &counters.failures),
            (&mut saved.ignored, &counters.ignored),
            (&mut saved.refused, &counters.refused),
        ];
        for (count, counter) in counts {
            *count = counter.load(Ordering::Relaxed);
        }
        saved
    }

    /// Takes over what another process has left, once. Returns what changed by it. A breaker that has had a result, or an
    /// operator's word, keeps its state and its mode, for those are later, and takes over the totals alone.
    ///
    /// The wait goes on where it was: time between the processes is not taken off. A circuit that was half-open, or whose
    /// wait was over, lets probes through at once. What windows over time have counted counts as if it had happened now.
    /// Totals are added to those that are there. Permits given before the state was taken over move nothing.
    pub fn import(&self, now: Instant, saved: &Saved) -> Option<Change> {
        let mut machine = self.machine.lock();
        let counters = &self.counters.0;
        let has_lived = machine.has_lived() || counters.successes.load(Ordering::Relaxed) > 0;
        let transition = if has_lived { None } else { machine.restore(now, saved) };
        machine.add_totals(saved);
        let counts = [
            (&counters.successes, saved.successes),
            (&counters.failures, saved.failures),
            (&counters.ignored, saved.ignored),
            (&counters.refused, saved.refused),
        ];
        for (counter, count) in counts {
            counter.fetch_add(count.min(MOST_SAVED), Ordering::Relaxed);
        }
        machine.successes_at_failure = counters.successes.load(Ordering::Relaxed);
        self.publish(&machine);
        transition.map(Change::Moved)
    }

    /// The loss if this breaker is forgotten. Ordinary calls in flight leave no trace in a breaker: whoever
    /// forgets it has to know that there are none.
    pub fn loss(&self, now: Instant) -> Loss {
        self.machine.lock().loss(now)
    }
}

impl Machine {
    /// Whether there was a failure since it was made, or an operator's word holds. The configuration's word is neither.
    fn has_lived(&self) -> bool {
        self.history.iter().any(|transition| transition.cause != Cause::Operator)
            || self.last_failure.is_some()
            || self.operators_mode().is_some()
    }

    /// The state that outlives the process, without the totals that are not kept here.
    fn save(&mut self, now: Instant) -> Saved {
        let (state, remaining) = match self.phase {
            Phase::Closed => (State::Closed, Duration::ZERO),
            Phase::Open { until } if now < until => (State::Open, until.since(now)),
            Phase::Open { .. } | Phase::HalfOpen(_) => (State::HalfOpen, Duration::ZERO),
        };
        Saved {
            state,
            remaining,
            opened_in_a_row: self.opened_in_a_row,
            mode: self.operators_mode(),
            configured_mode: Some(self.config.mode),
            generation: self.generation,
            consecutive_failures: self.consecutive_failures,
            rules: self.rules.save(self.counting(now)),
            opened: self.opened,
            would_open: self.would_open,
            stale: self.stale,
            last_cause: self.last_cause(),
            last_failure_ago: self.last_failure_ago(now),
            ..Saved::default()
        }
    }

    /// Takes over what was saved. A half-open circuit starts its probing anew: the probes that were out are lost.
    fn restore(&mut self, now: Instant, saved: &Saved) -> Option<Transition> {
        let (from, opened) = (self.entered(), self.opened);
        self.forget();
        // An operator's word holds until the configuration says something new.
        let word = saved.mode.filter(|_| saved.configured_mode.is_none_or(|then| then == self.config.mode));
        self.mode = word.unwrap_or(self.config.mode);
        self.generation = self.generation.max(saved.generation.min(MOST_SAVED));
        self.move_to(match (self.mode, saved.state) {
            (Mode::Normal, State::Open) => Phase::Open { until: now + saved.remaining },
            (Mode::Normal, State::HalfOpen) => Phase::Open { until: now },
            (Mode::Normal, State::Closed) | (Mode::ForcedOpen | Mode::Disabled | Mode::MetricsOnly, _) => Phase::Closed,
        });
        self.opened_in_a_row = saved.opened_in_a_row;
        self.consecutive_failures = saved.consecutive_failures;
        self.rules.restore(now, &saved.rules);
        self.counted_until = now;
        self.set_cause(saved.last_cause.as_deref().unwrap_or_default());
        self.former_failure = saved.last_failure_ago.map(|before| (now, before));
        let to = self.entered();
        let open_for = if self.mode == Mode::ForcedOpen { Duration::MAX } else { self.remaining(now) };
        let transition = (from != to).then(|| self.note(now, from, Cause::Restored, open_for));
        // It is not opened anew.
        self.opened = opened;
        transition
    }

    /// Goes on with the totals of a former process.
    fn add_totals(&mut self, saved: &Saved) {
        self.opened = self.opened.saturating_add(saved.opened.min(MOST_SAVED));
        self.would_open = self.would_open.saturating_add(saved.would_open.min(MOST_SAVED));
        self.stale = self.stale.saturating_add(saved.stale.min(MOST_SAVED));
    }

    /// The loss if it is forgotten.
    fn loss(&mut self, now: Instant) -> Loss {
        let timeout = self.config.probe_timeout();
        let in_time = |permit: &Permit| !permit.is_probe() || now.since(permit.admitted_at) < timeout;
        if self.operators_mode().is_some() || self.mode == Mode::ForcedOpen || self.questions.iter().any(in_time) {
            return Loss::State;
        }
        match &self.phase {
            &Phase::Open { until } if now < until => Loss::State,
            Phase::HalfOpen(probes) if probes.present(now, timeout) > 0 => Loss::State,
            Phase::Closed if self.consecutive_failures == 0 && self.rules.spotless(now) => Loss::Nothing,
            Phase::Closed | Phase::Open { .. } | Phase::HalfOpen(_) => Loss::Counts,
        }
    }
}

/// A duration as a number of seconds; what is longer than a duration can be is the longest.
#[cfg(feature = "serde")]
mod seconds {
    use std::time::Duration;

    use serde::de::{self, Deserialize, Deserializer};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if seconds >= 0.0 {
            Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
        } else {
            Err(de::Error::invalid_value(de::Unexpected::Float(seconds), &"seconds, zero or more"))
        }
    }
}
