//! What of a breaker outlives its process, and what would be lost if it were forgotten.
//!
//! Times are durations: the clock of the next process has another origin. Which file they stand in is the edge's affair.

use std::time::Duration;

use super::{Change, CircuitBreaker, Mode, State, Trip};
use crate::sync::Ordering;
use crate::time::Instant;
use crate::window::Tally;

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
    /// What was left of the wait; in a file in seconds.
    #[cfg_attr(feature = "serde", serde(with = "seconds"))]
    pub remaining: Duration,
    /// It had opened so often without having closed.
    pub opened_in_a_row: u32,
    /// The mode, if an operator set another one than that of the configuration.
    pub mode: Option<Mode>,
    /// The mode of the configuration.
    pub configured_mode: Option<Mode>,
    /// Transitions so far. Those of the next process go on from here.
    pub generation: u64,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// What each trip rule had counted.
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
}

/// What a trip rule had counted.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Counted {
    /// The rule.
    pub rule: Trip,
    /// Calls.
    pub calls: u32,
    /// Failures among them.
    pub failures: u32,
    /// Slow ones among them.
    pub slow: u32,
}

impl Counted {
    pub(super) fn new(rule: Trip, tally: Tally) -> Self {
        let Tally { calls, failures, slow } = tally;
        Self { rule, calls, failures, slow }
    }

    pub(super) fn tally(&self) -> Tally {
        Tally { calls: self.calls, failures: self.failures, slow: self.slow }
    }
}

/// The largest number that is taken over, so that counting goes on without a wrap.
pub(super) const MOST_SAVED: u64 = 1 << 53;

/// What would be lost if a stage were forgotten and made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Nothing but totals: a new one would decide the same.
    Nothing,
    /// What it has counted.
    Counts,
    /// An open circuit, an operator's word, or places of calls in flight.
    State,
}

impl CircuitBreaker {
    /// What outlives this process.
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

    /// What would be lost if this breaker were forgotten. Ordinary calls in flight leave no trace in a breaker: whoever
    /// forgets it has to know that there are none.
    pub fn loss(&self, now: Instant) -> Loss {
        self.machine.lock().loss(now)
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
