//! The three states, and a change from one to another.

use std::time::Duration;

use super::{Count, Trip};
use crate::time::Instant;

/// The three states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum State {
    /// Calls pass, failures are counted.
    #[default]
    Closed,
    /// Calls are refused.
    Open,
    /// A few calls pass as probes.
    HalfOpen,
}

impl State {
    /// The state in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Reads what [`State::as_str`] writes, with `-` for `_` as well.
#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for State {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const ALL: [State; 3] = [State::Closed, State::Open, State::HalfOpen];
        let text = String::deserialize(deserializer)?.replace('-', "_");
        let state = ALL.into_iter().find(|state| state.as_str() == text);
        state.ok_or_else(|| serde::de::Error::unknown_variant(&text, &["closed", "open", "half_open"]))
    }
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Transition {
    /// Grows with each transition of this breaker, so that listeners on several threads can put them in order.
    pub seq: u64,
    /// When.
    pub at: Instant,
    /// From which state.
    pub from: State,
    /// To which state.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// Count against the callee after it.
    pub count: Count,
    /// Time of the last failure in this process.
    pub last_failure: Option<Instant>,
    /// Time since the last failure, in a former process as well.
    pub last_failure_ago: Option<Duration>,
    /// Time for which it stays open; zero unless it opened, [`Duration::MAX`] while forced.
    pub open_for: Duration,
}

/// Why a breaker changed its state.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// A trip rule.
    Tripped(Trip),
    /// An outcome named the time to stay open itself.
    Banned,
    /// A probe failed.
    ProbeFailed,
    /// The wait was over.
    WaitOver,
    /// Enough probes succeeded.
    Recovered,
    /// An operator.
    Operator,
    /// It was so when the process ended whose state was taken over.
    Restored,
}

impl Cause {
    /// The cause in snake case, as events and metrics write it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Tripped(_) => "tripped",
            Self::Banned => "banned",
            Self::ProbeFailed => "probe_failed",
            Self::WaitOver => "wait_over",
            Self::Recovered => "recovered",
            Self::Operator => "operator",
            Self::Restored => "restored",
        }
    }

    /// The rule that tripped.
    pub const fn rule(&self) -> Option<&Trip> {
        match self {
            Self::Tripped(rule) => Some(rule),
            Self::Banned | Self::ProbeFailed | Self::WaitOver | Self::Recovered | Self::Operator | Self::Restored => {
                None
            }
        }
    }
}

/// Change by a result.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// The state.
    Moved(Transition),
    /// Nothing, but in normal mode what was counted would have opened the circuit. Said each time a rule begins to hold.
    WouldOpen(Count),
}
