//! What there is to find, and how it is said.

use std::fmt;

/// The six types of loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoopType {
    /// The same is tried again and again, or fails again and again.
    InfiniteRetry,
    /// The same states come round, or nothing changes.
    State,
    /// Agents wait for one another in a circle.
    CircularDependency,
    /// A task is handed on and back without end.
    Escalation,
    /// A budget is used up: tokens, money, turns, time, calls.
    TokenThreshold,
    /// Agents start agents without end.
    Spawn,
}

impl LoopType {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::InfiniteRetry,
        Self::State,
        Self::CircularDependency,
        Self::Escalation,
        Self::TokenThreshold,
        Self::Spawn,
    ];

    /// The type in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InfiniteRetry => "infinite_retry",
            Self::State => "state",
            Self::CircularDependency => "circular_dependency",
            Self::Escalation => "escalation",
            Self::TokenThreshold => "token_threshold",
            Self::Spawn => "spawn",
        }
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Rule {
    /// The same call, nothing new in between. How many there would be.
    Repetition(u32),
    /// The same call, or the same round of calls, with results that change but nothing else. How many there would be.
    Changing(u32),
    /// The same round of calls with the same results.
    Cycle {
        /// Calls in a round.
        period: u32,
        /// Rounds there would be.
        rounds: u32,
    },
    /// The same call that fails in the same way. How often in a row.
    Error(u32),
    /// A tool that only fails, whatever its errors say. In how many turns.
    Failing(u32),
    /// A tool that gives the same result whatever its arguments. How often in a row.
    Unchanged(u32),
    /// Calls that show nothing new.
    Novelty {
        /// Number of calls that showed something new.
        new: u32,
        /// Number of calls looked at.
        calls: u32,
    },
    /// The fingerprint of progress does not change. For how many turns.
    NoProgress(u32),
    /// The fingerprint of progress comes back to one it had. How often.
    Revisit(u32),
    /// The model says the same. How often.
    Text(u32),
    /// A declared poller has asked the same for too long or too often. How often.
    Poll(u32),
    /// An agent would wait for one that waits for it.
    Circle,
    /// The same handoff, nothing new in between. How many there would be.
    Handoff(u32),
    /// Agents are to be started again and again while no more may be alive. How often in a row.
    Crowd(u32),
    /// A limit is used up.
    Limit(Limit),
}

impl Rule {
    /// The rule in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Repetition(_) => "repetition",
            Self::Changing(_) => "changing",
            Self::Cycle { .. } => "cycle",
            Self::Error(_) => "error",
            Self::Failing(_) => "failing",
            Self::Unchanged(_) => "unchanged",
            Self::Novelty { .. } => "novelty",
            Self::NoProgress(_) => "no_progress",
            Self::Revisit(_) => "revisit",
            Self::Text(_) => "text",
            Self::Poll(_) => "poll",
            Self::Circle => "circle",
            Self::Handoff(_) => "handoff",
            Self::Crowd(_) => "crowd",
            Self::Limit(limit) => limit.as_str(),
        }
    }

    /// Which of the six types of loop it shows.
    pub const fn loop_type(self) -> LoopType {
        match self {
            Self::Repetition(_)
            | Self::Changing(_)
            | Self::Error(_)
            | Self::Failing(_)
            | Self::Unchanged(_)
            | Self::Poll(_)
            | Self::Limit(Limit::Restarts) => LoopType::InfiniteRetry,
            Self::Cycle { .. } | Self::Novelty { .. } | Self::NoProgress(_) | Self::Revisit(_) | Self::Text(_) => {
                LoopType::State
            }
            Self::Circle | Self::Limit(Limit::Depth) => LoopType::CircularDependency,
            Self::Handoff(_) => LoopType::Escalation,
            Self::Crowd(_) | Self::Limit(Limit::Spawns) => LoopType::Spawn,
            Self::Limit(_) => LoopType::TokenThreshold,
        }
    }

    pub(super) const fn is_limit(self) -> bool {
        matches!(self, Self::Limit(_))
    }

    pub(super) fn say(self, subject: &str) -> String {
        match self {
            Self::Repetition(times) => {
                let times = Ordinal(times);
                format!("{subject} would be called for the {times} time with the same arguments and nothing new since")
            }
            Self::Changing(times) => {
                let times = Ordinal(times);
                format!("{subject} would be called for the {times} time with the same arguments and nothing else done")
            }
            Self::Cycle { period, rounds } => {
                format!("the same {period} calls with the same results come round for the {} time", Ordinal(rounds))
            }
            Self::Error(times) => format!("{subject} failed in the same way {times} times"),
            Self::Failing(times) => format!("{subject} failed {times} times, and gave nothing new in between"),
            Self::Unchanged(times) => format!("{subject} gave the same result {times} times, whatever it was asked"),
            Self::Novelty { new, calls } => format!("of the last {calls} calls only {new} showed anything new"),
            Self::NoProgress(turns) => format!("{turns} turns without progress"),
            Self::Revisit(times) => format!("the work is back at the same state for the {} time", Ordinal(times)),
            Self::Text(times) => format!("the same was said {times} times"),
            Self::Poll(times) => format!("{subject} was asked the same {times} times"),
            Self::Circle => format!("{subject} already waits for this agent"),
            Self::Handoff(times) => {
                format!("the same handoff to {subject} for the {} time, and nothing new since", Ordinal(times))
            }
            Self::Crowd(times) => format!("{subject} was to be started {times} times though no more may be at work"),
            Self::Limit(limit) => format!("the limit of {} is used up", limit.text()),
        }
    }

    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::Repetition(_) | Self::Unchanged(_) | Self::Cycle { .. } | Self::Novelty { .. } => {
                "Use the results you have, or do something you have not done yet."
            }
            Self::Changing(_) | Self::Poll(_) => {
                "Wait longer, do something else meanwhile, or report that it is not done."
            }
            Self::Error(_) | Self::Failing(_) => "Find the cause of the error before the next try, or report it.",
            Self::NoProgress(_) | Self::Revisit(_) => {
                "Say what has been tried, and choose another way or ask for help."
            }
            Self::Text(_) => "Do not repeat yourself: act, or give your final answer.",
            Self::Circle => "Do this part yourself, or return what you have.",
            Self::Handoff(_) => "Whoever has the task now finishes it or reports why not.",
            Self::Crowd(_) => "Wait until an agent has finished, or do this part yourself.",
            Self::Limit(_) => "Report what is done and what is not.",
        }
    }
}

/// What is limited for a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Limit {
    /// Turns of the model.
    Turns,
    /// Tokens.
    Tokens,
    /// Money.
    Cost,
    /// Time.
    Time,
    /// Calls of one tool.
    Calls,
    /// Agents that wait for one another in a chain.
    Depth,
    /// Agents started.
    Spawns,
    /// Restarts from a saved state.
    Restarts,
}

impl Limit {
    /// The limit in snake case, as a rule's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Turns => "limit_turns",
            Self::Tokens => "limit_tokens",
            Self::Cost => "limit_cost",
            Self::Time => "limit_time",
            Self::Calls => "limit_calls",
            Self::Depth => "limit_depth",
            Self::Spawns => "limit_spawns",
            Self::Restarts => "limit_restarts",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Turns => "turns",
            Self::Tokens => "tokens",
            Self::Cost => "money",
            Self::Time => "time",
            Self::Calls => "calls of this tool",
            Self::Depth => "agents waiting in a chain",
            Self::Spawns => "agents started",
            Self::Restarts => "restarts",
        }
    }
}

/// A number as it stands before "time".
struct Ordinal(u32);

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = match (self.0 % 100, self.0 % 10) {
            (11..=13, _) => "th",
            (_, 1) => "st",
            (_, 2) => "nd",
            (_, 3) => "rd",
            _ => "th",
        };
        write!(f, "{}{ending}", self.0)
    }
}
