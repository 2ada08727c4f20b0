//! What is worth telling: rare things, as values.
//!
//! The hot path only counts. An event is made when something changed or went wrong, and only if the edge listens.
//!
//! Owns which events there are, their names and how grave they are. What an event says, field by field, is in
//! [`fields`]; how many of a kind are told in a storm is in [`damper`].

pub mod damper;
pub mod fields;

use std::time::Duration;

use crate::breaker::{Change, Count, State, Transition};
use crate::decision::{Name, Reason, Refusal, Stage};
use crate::fallback;
use crate::health::Status;
use crate::hedge;
use crate::retry::Stop;
use crate::time::Instant;
use crate::timeout::Limit;
use crate::{degrade, health, journal, loop_guard, throttle};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// When.
    pub at: Instant,
    /// The policy it happened in; for a stage used alone, that stage. Empty for what happened to a whole registry.
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

/// How grave an event is, and which events somebody wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Category {
    /// Something was refused, given up or cut off: circuits that open, refusals, time limits, failed calls.
    Error,
    /// Something that will be an error if it goes on.
    Warning,
    /// Something that is as it should be: retries, and circuits that become half-open or close.
    Info,
    /// Every event. No event has this category; somebody who listens can.
    All,
}

impl Category {
    /// Whether somebody who wants `self` wants to hear of an event of the category `of`.
    pub fn covers(self, of: Self) -> bool {
        self == Self::All || self == of
    }

    /// The category in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::All => "all",
        }
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
        /// What was counted, and by which rule.
        count: Count,
    },
    /// A throttle began to refuse, or refuses nothing any more.
    Throttle {
        /// The throttle.
        throttle: Name,
        /// Which of the two.
        change: throttle::Change,
    },
    /// A bulkhead or rate limiter refused. (Refusals of a breaker and a throttle are counted: they are not rare.)
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
    /// An adaptive bulkhead has moved its limit by a quarter or more since it last told so.
    LimitChanged {
        /// The bulkhead.
        bulkhead: Name,
        /// Slots there were when it last told.
        from: u32,
        /// Slots there are.
        to: u32,
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
    /// Something took the place of an answer that did not come.
    FallbackUsed(fallback::Used),
    /// A name was asked for with other settings than it was registered with: the first ones stay.
    RegisteredTwice {
        /// The name.
        name: Name,
        /// What differs.
        differs: Box<str>,
    },
    /// A policy was asked for whose name has no settings: it has the registry's defaults, or no stage at all. Said when it
    /// is made.
    UnknownPolicy {
        /// The name.
        name: Name,
        /// Whether it has stages: those of the defaults.
        stages: bool,
    },
    /// A registry or a map of stages by key holds more names than it should, and none of them can be forgotten. Said
    /// once, until there is room again.
    TooManyNames {
        /// The registry or map.
        name: Name,
        /// Maximum number of names it should hold.
        most: usize,
    },
    /// The state of a registry could not be written to its file. Said once, until it can.
    StateNotSaved {
        /// Why.
        error: Box<str>,
    },
    /// Settings that were read again are in force.
    Reloaded {
        /// Number of names that are new.
        added: u32,
        /// Number of names whose settings changed.
        changed: u32,
    },
    /// Settings could not be read again: those from before stay in force.
    NotReloaded {
        /// Why: a line for each mistake.
        error: Box<str>,
    },
    /// A component's health changed.
    Health {
        /// The component.
        component: Name,
        /// From what to what, and by what.
        transition: health::Transition,
    },
    /// A system answers with less than before, or with more.
    Degradation {
        /// The system.
        system: Name,
        /// From which level to which.
        shift: degrade::Shift,
    },
    /// An agent goes in circles, or has used up a limit.
    LoopDetected {
        /// The run.
        run: Name,
        /// What was found, and what follows.
        detection: loop_guard::Detection,
    },
    /// An agent has used most of a limit.
    LoopLimitNear {
        /// The run.
        run: Name,
        /// Which limit, and how much of it.
        near: loop_guard::Near,
    },
    /// Something rare happened to a journal or one of its runs.
    Journal(journal::Told),
}

impl Kind {
    /// What a change of `breaker` is as an event.
    pub fn of_change(breaker: &Name, change: Change) -> Self {
        let breaker = breaker.clone();
        match change {
            Change::Moved(transition) => Self::Circuit { breaker, transition },
            Change::WouldOpen(count) => Self::CircuitWouldOpen { breaker, count },
        }
    }

    /// What a refusal is as an event.
    pub fn of_refusal(refusal: &Refusal<'_>) -> Self {
        let Refusal { stage, name, reason, retry_after, .. } = *refusal;
        Self::Refused { stage, name: name.clone(), reason, retry_after }
    }

    /// How grave it is.
    pub fn category(&self) -> Category {
        match self {
            Self::Circuit { transition, .. } if transition.to == State::Open => Category::Error,
            Self::Health { transition, .. } if transition.to.is_down() => Category::Error,
            Self::Health { transition, .. } if transition.to == Status::Degraded => Category::Warning,
            Self::Degradation { shift, .. } if shift.to > shift.from => Category::Warning,
            Self::LoopDetected { detection, .. } if detection.step == loop_guard::Step::Stop => Category::Error,
            Self::Journal(told) => told.category(),
            Self::Circuit { .. }
            | Self::Throttle { change: throttle::Change::Ended { .. }, .. }
            | Self::RetryAttempted { .. }
            | Self::HedgeStarted { .. }
            | Self::HedgeWon { .. }
            | Self::HalfOpenAwaited { .. }
            | Self::LimitChanged { .. }
            | Self::Reloaded { .. }
            | Self::Health { .. }
            | Self::UnknownPolicy { stages: true, .. }
            | Self::Degradation { .. } => Category::Info,
            Self::CircuitWouldOpen { .. }
            | Self::Throttle { change: throttle::Change::Began { .. }, .. }
            | Self::LoopDetected { .. }
            | Self::LoopLimitNear { .. }
            | Self::FallbackUsed(_)
            | Self::RegisteredTwice { .. }
            | Self::UnknownPolicy { stages: false, .. }
            | Self::TooManyNames { .. } => Category::Warning,
            Self::StateNotSaved { .. }
            | Self::NotReloaded { .. }
            | Self::Refused { .. }
            | Self::GaveUp { .. }
            | Self::TimedOut { .. } => Category::Error,
        }
    }

    /// Whether each call can cause one, so that a storm of calls is a storm of these. The others are changes, and rare
    /// however many calls there are.
    pub fn is_per_call(&self) -> bool {
        match self {
            Self::Refused { .. }
            | Self::RetryAttempted { .. }
            | Self::HedgeStarted { .. }
            | Self::HedgeWon { .. }
            | Self::HalfOpenAwaited { .. }
            | Self::GaveUp { .. }
            | Self::TimedOut { .. }
            | Self::CircuitWouldOpen { .. }
            | Self::FallbackUsed(_) => true,
            Self::Circuit { .. }
            | Self::Throttle { .. }
            | Self::LimitChanged { .. }
            | Self::RegisteredTwice { .. }
            | Self::UnknownPolicy { .. }
            | Self::TooManyNames { .. }
            | Self::StateNotSaved { .. }
            | Self::Reloaded { .. }
            | Self::NotReloaded { .. }
            | Self::Health { .. }
            | Self::Degradation { .. }
            | Self::LoopDetected { .. }
            | Self::LoopLimitNear { .. }
            | Self::Journal(_) => false,
        }
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
            Self::Throttle { change: throttle::Change::Began { .. }, .. } => "throttle_began",
            Self::Throttle { change: throttle::Change::Ended { .. }, .. } => "throttle_ended",
            Self::Refused { stage: Stage::Rate, .. } => "rate_limited",
            Self::Refused { stage: Stage::Bulkhead, .. } => "bulkhead_rejected",
            Self::Refused { .. } => "refused",
            Self::LimitChanged { .. } => "limit_changed",
            Self::RetryAttempted { .. } => "retry_attempted",
            Self::HedgeStarted { .. } => "hedge_started",
            Self::HedgeWon { .. } => "hedge_won",
            Self::HalfOpenAwaited { .. } => "half_open_awaited",
            Self::GaveUp { stop: Stop::BudgetDenied, .. } => "budget_exhausted",
            Self::GaveUp { stop: Stop::Exhausted, .. } => "retry_exhausted",
            Self::GaveUp { .. } => "call_failed",
            Self::TimedOut { .. } => "timed_out",
            Self::FallbackUsed(_) => "fallback_used",
            Self::RegisteredTwice { .. } => "registered_twice",
            Self::UnknownPolicy { .. } => "unknown_policy",
            Self::TooManyNames { .. } => "too_many_names",
            Self::StateNotSaved { .. } => "state_not_saved",
            Self::Reloaded { .. } => "reloaded",
            Self::NotReloaded { .. } => "not_reloaded",
            Self::Health { .. } => "health_changed",
            Self::Degradation { shift, .. } => shift.as_str(),
            Self::LoopDetected { .. } => "loop_detected",
            Self::LoopLimitNear { .. } => "loop_limit_near",
            Self::Journal(told) => told.as_str(),
        }
    }
}
