//! What came of a run, comparable between doors.

use std::time::Duration;

use stormproof_core::retry::Stop;
use stormproof_core::{Event, Limit, Name, Reason, Refused, Snapshot, Stage};

/// How a call ended, as its caller sees it.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// With an `Ok`, whatever the classifier thought of it.
    Ok,
    /// With the operation's error.
    Failed {
        /// Its kind.
        kind: &'static str,
        /// Why there was no further attempt.
        stop: Stop,
    },
    /// A stage refused.
    Refused {
        /// Which.
        stage: Stage,
        /// Its name.
        name: Name,
        /// Why.
        reason: Reason,
        /// When to come back.
        retry_after: Duration,
        /// The failure that opened the circuit.
        cause: Option<Box<str>>,
        /// The kind of the last error of an attempt that ended by itself.
        last: Option<&'static str>,
        /// The limit that the last attempt ran out of, if it did.
        timed_out: Option<Limit>,
    },
    /// Time ran out.
    TimedOut {
        /// Which limit.
        limit: Limit,
        /// Why there was no further attempt.
        stop: Stop,
        /// The kind of the last attempt's error, of those that ended by themselves.
        last: Option<&'static str>,
    },
    /// The caller gave up.
    Cancelled,
    /// The operation panicked.
    Panicked,
}

impl End {
    /// A refusal as an end.
    pub fn refused(refused: Refused, last: Option<&'static str>, timed_out: Option<Limit>) -> Self {
        let Refused { stage, name, reason, retry_after, cause, .. } = refused;
        Self::Refused { stage, name, reason, retry_after, cause, last, timed_out }
    }

    /// Why a stage refused, if one did.
    pub fn reason(&self) -> Option<Reason> {
        if let Self::Refused { reason, .. } = self { Some(*reason) } else { None }
    }

    /// When to come back, if a stage refused.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Refused { retry_after, .. } = self { Some(*retry_after) } else { None }
    }

    /// Why there was no further attempt, if the call failed or ran out of time.
    pub fn stop(&self) -> Option<Stop> {
        if let Self::Failed { stop, .. } | Self::TimedOut { stop, .. } = self { Some(*stop) } else { None }
    }
}

/// What came of one call. Times are from the start of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct CallTrace {
    /// How it ended.
    pub end: End,
    /// When each attempt started.
    pub attempts: Vec<Duration>,
    /// When it ended.
    pub ended: Duration,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Of each call, in the order of the script.
    pub calls: Vec<CallTrace>,
    /// All events, in order.
    pub events: Vec<Event>,
    /// The stages as each [`Action::Look`](crate::Action::Look) saw them.
    pub looks: Vec<Vec<Snapshot>>,
    /// The stages when all was over.
    pub stages: Vec<Snapshot>,
}

impl Trace {
    /// How each call ended.
    pub fn ends(&self) -> Vec<End> {
        self.calls.iter().map(|call| call.end.clone()).collect()
    }

    /// Why each call was refused, for those that were.
    pub fn reasons(&self) -> Vec<Option<Reason>> {
        self.calls.iter().map(|call| call.end.reason()).collect()
    }

    /// When the first attempt of each call started, for those that had one.
    pub fn starts(&self) -> Vec<Option<Duration>> {
        self.calls.iter().map(|call| call.attempts.first().copied()).collect()
    }

    /// Attempts of all calls together.
    pub fn attempts(&self) -> usize {
        self.calls.iter().map(|call| call.attempts.len()).sum()
    }

    /// The names of all events.
    pub fn event_names(&self) -> Vec<&'static str> {
        self.events.iter().map(|event| event.kind.as_str()).collect()
    }

    /// The names of the breaker's events.
    pub fn circuit_events(&self) -> Vec<&'static str> {
        self.event_names().into_iter().filter(|name| name.starts_with("circuit")).collect()
    }

    /// The events with this name.
    pub fn events_named(&self, name: &str) -> Vec<&Event> {
        self.events.iter().filter(|event| event.kind.as_str() == name).collect()
    }

    /// One number of a stage when all was over, see [`stat`].
    pub fn stat(&self, stage: Stage, metric: &str, label: &str) -> f64 {
        stat(&self.stages, stage, metric, label)
    }

    /// One number of a stage as the `look`-th look saw it.
    pub fn seen(&self, look: usize, stage: Stage, metric: &str, label: &str) -> f64 {
        self.looks.get(look).map_or(f64::NAN, |stages| stat(stages, stage, metric, label))
    }
}

/// One number of the first such stage; NaN, which equals nothing, if it is not there.
pub fn stat(stages: &[Snapshot], stage: Stage, metric: &str, label: &str) -> f64 {
    let found = stages.iter().filter(|snapshot| snapshot.stage == stage).find_map(|found| found.get(metric, label));
    found.unwrap_or(f64::NAN)
}
