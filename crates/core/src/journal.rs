//! What a journal tells of: the rare things that happen to it and to its runs. What it decides lives beside its stores.

use std::time::Duration;

use crate::event::Category;
use crate::event::fields::{Field, Value};

/// Something a journal tells. Inputs and results are never part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told {
    /// A run stands still until an operator decides.
    RunBlocked {
        /// The run's id.
        run: Box<str>,
        /// A word for programs: `diverged`, `refused`, `too_many_attempts`, ….
        kind: Box<str>,
        /// The step it happened in, 0 if in none.
        step: u32,
    },
    /// A run ended with an error.
    RunFailed {
        /// The run's id.
        run: Box<str>,
        /// The kind of the error.
        kind: Box<str>,
    },
    /// An attempt ended by something else than its workflow (it panicked, a probe failed, the store refused a write), and the
    /// run was put back to be tried again.
    RunPutBack {
        /// The run's id.
        run: Box<str>,
        /// The kind of what ended it: `panicked`, `probe_failed`, `store`.
        kind: Box<str>,
        /// Number of times it was claimed, this time included.
        attempts: u32,
    },
    /// A run was taken over: the worker that had it is gone, or did not answer within its lease.
    RunRecovered {
        /// The run's id.
        run: Box<str>,
        /// Number of times it was claimed, this time included.
        attempts: u32,
    },
    /// A write came too late: another worker has the run. Nothing was written.
    RunFenced {
        /// The run's id.
        run: Box<str>,
    },
    /// A run that was under way here was cancelled.
    RunCancelled {
        /// The run's id.
        run: Box<str>,
    },
    /// This process could not renew its lease in time, and let go of its runs.
    LeaseLost {
        /// Number of runs.
        runs: u32,
        /// Time since the last time it could.
        after: Duration,
    },
    /// The store does not answer. Said once, until it does.
    Unavailable {
        /// What it or the system said.
        why: Box<str>,
    },
    /// The store answers again.
    Available {
        /// Time for which it did not.
        after: Duration,
    },
    /// The store has no room left.
    Full {
        /// What it or the system said.
        why: Box<str>,
    },
    /// It is not known whether an effect happened: its probe is asked.
    EffectUncertain {
        /// The run's id.
        run: Box<str>,
        /// The effect's number.
        step: u32,
        /// The effect's name.
        name: Box<str>,
    },
    /// Ended runs were forgotten.
    Retention {
        /// Number of runs.
        runs: u64,
        /// Number of steps of those runs.
        steps: u64,
    },
}

impl Told {
    /// The event's name in snake case.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::RunBlocked { .. } => "run_blocked",
            Self::RunFailed { .. } => "run_failed",
            Self::RunPutBack { .. } => "run_put_back",
            Self::RunRecovered { .. } => "run_recovered",
            Self::RunFenced { .. } => "run_fenced",
            Self::RunCancelled { .. } => "run_cancelled",
            Self::LeaseLost { .. } => "lease_lost",
            Self::Unavailable { .. } => "journal_unavailable",
            Self::Available { .. } => "journal_available",
            Self::Full { .. } => "journal_full",
            Self::EffectUncertain { .. } => "effect_uncertain",
            Self::Retention { .. } => "retention",
        }
    }

    /// How grave it is.
    pub const fn category(&self) -> Category {
        match self {
            Self::RunBlocked { .. }
            | Self::RunFailed { .. }
            | Self::LeaseLost { .. }
            | Self::Unavailable { .. }
            | Self::Full { .. } => Category::Error,
            Self::RunPutBack { .. }
            | Self::RunRecovered { .. }
            | Self::RunFenced { .. }
            | Self::EffectUncertain { .. } => Category::Warning,
            Self::RunCancelled { .. } | Self::Available { .. } | Self::Retention { .. } => Category::Info,
        }
    }

    /// Adds what it says to `fields`.
    pub(crate) fn fields<'a>(&'a self, fields: &mut Vec<Field<'a>>) {
        let number = |value: u32| Value::Number(value.into());
        match self {
            Self::RunBlocked { run, kind, step } => {
                fields.extend([("run", Value::Text(run)), ("reason", Value::Text(kind)), ("step", number(*step))]);
            }
            Self::RunFailed { run, kind } => fields.extend([("run", Value::Text(run)), ("error", Value::Text(kind))]),
            Self::RunPutBack { run, kind, attempts } => fields.extend([
                ("run", Value::Text(run)),
                ("error", Value::Text(kind)),
                ("attempts", number(*attempts)),
            ]),
            Self::RunRecovered { run, attempts } => {
                fields.extend([("run", Value::Text(run)), ("attempts", number(*attempts))]);
            }
            Self::RunFenced { run } | Self::RunCancelled { run } => fields.push(("run", Value::Text(run))),
            Self::LeaseLost { runs, after } => fields.extend([("runs", number(*runs)), ("after", Value::Time(*after))]),
            Self::Unavailable { why } | Self::Full { why } => fields.push(("error", Value::Text(why))),
            Self::Available { after } => fields.push(("after", Value::Time(*after))),
            Self::EffectUncertain { run, step, name } => {
                fields.extend([("run", Value::Text(run)), ("step", number(*step)), ("name", Value::Text(name))]);
            }
            Self::Retention { runs, steps } => {
                fields.extend([("runs", Value::Number(*runs)), ("steps", Value::Number(*steps))]);
            }
        }
    }
}
