//! What is worth telling: rare things, as values.
//!
//! The hot path only counts. An event is made when something changed or went wrong, and only if the edge listens.

use std::time::Duration;

use crate::breaker::{Change, State, Transition, Trip};
use crate::decision::{Name, Reason, Refusal, Stage};
use crate::hedge;
use crate::retry::Stop;
use crate::time::Instant;
use crate::timeout::Limit;
use crate::window::Tally;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// When.
    pub at: Instant,
    /// The policy it happened in; for a stage used alone, that stage.
    pub policy: Name,
    /// What.
    pub kind: Kind,
}

impl Event {
    /// Something that happened in `policy`.
    pub fn new(at: Instant, policy: Name, kind: Kind) -> Self {
        Self { at, policy, kind }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// A circuit opened, became half-open or closed.
    Circuit {
        /// The breaker.
        breaker: Name,
        /// From where to where, and why.
        transition: Transition,
    },
    /// A breaker that only measures would have opened.
    CircuitWouldOpen {
        /// The breaker.
        breaker: Name,
        /// The rule.
        trip: Trip,
        /// What it had counted.
        counts: Tally,
    },
    /// A bulkhead or rate limiter refused. (A breaker's refusals are counted: they are not rare.)
    Refused {
        /// Which kind of stage.
        stage: Stage,
        /// Its name.
        name: Name,
        /// Why.
        reason: Reason,
        /// When another try could pass at the earliest.
        retry_after: Duration,
    },
    /// Another attempt follows after a wait.
    RetryAttempted {
        /// The retry's number, from 1.
        retry: u32,
        /// How long until it starts.
        delay: Duration,
        /// The kind of failure that is retried.
        error: Box<str>,
    },
    /// An attempt started beside, or right after, one that gave no answer.
    HedgeStarted {
        /// Its number among the call's attempts.
        attempt: u32,
        /// Why it started.
        cause: hedge::Cause,
    },
    /// The caller gets the result of a hedge.
    HedgeWon {
        /// Its number among the call's attempts.
        attempt: u32,
    },
    /// A breaker would have refused, and the call waits for it to be half-open.
    HalfOpenAwaited {
        /// The breaker.
        breaker: Name,
        /// How long.
        delay: Duration,
    },
    /// The operation failed and there is no further attempt.
    GaveUp {
        /// Why none.
        stop: Stop,
        /// How many attempts were made.
        attempts: u32,
        /// The kind of the last failure.
        error: Box<str>,
    },
    /// A time limit ran out.
    TimedOut {
        /// Which.
        limit: Limit,
        /// How long the call had been going on.
        after: Duration,
    },
}

impl Kind {
    /// What a change of `breaker` is as an event.
    pub fn of_change(breaker: &Name, change: Change) -> Self {
        let breaker = breaker.clone();
        match change {
            Change::Moved(transition) => Self::Circuit { breaker, transition },
            Change::WouldOpen(trip, counts) => Self::CircuitWouldOpen { breaker, trip, counts },
        }
    }

    /// What a refusal is as an event.
    pub fn of_refusal(refusal: &Refusal<'_>) -> Self {
        let Refusal { stage, name, reason, retry_after, .. } = *refusal;
        Self::Refused { stage, name: name.clone(), reason, retry_after }
    }

    /// The event's name in snake case.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Circuit { transition, .. } => match transition.to {
                State::Open => "circuit_opened",
                State::HalfOpen => "circuit_half_open",
                State::Closed => "circuit_closed",
            },
            Self::CircuitWouldOpen { .. } => "circuit_would_open",
            Self::Refused { stage: Stage::Rate, .. } => "rate_limited",
            Self::Refused { stage: Stage::Bulkhead, .. } => "bulkhead_rejected",
            Self::Refused { .. } => "refused",
            Self::RetryAttempted { .. } => "retry_attempted",
            Self::HedgeStarted { .. } => "hedge_started",
            Self::HedgeWon { .. } => "hedge_won",
            Self::HalfOpenAwaited { .. } => "half_open_awaited",
            Self::GaveUp { stop: Stop::BudgetDenied, .. } => "budget_exhausted",
            Self::GaveUp { stop: Stop::Exhausted, .. } => "retry_exhausted",
            Self::GaveUp { .. } => "call_failed",
            Self::TimedOut { .. } => "timed_out",
        }
    }
}
