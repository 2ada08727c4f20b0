//! What an operator says of a step that stands in the way of its run, and what becomes of that step: one rule for all
//! stores.

use crate::run::{Kind, Progress, Run, Step};

/// What an operator says of the step that stands in the way.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Decision {
    /// Nothing: an effect is probed again, a failed step runs again.
    #[default]
    Ask,
    /// It did not happen, and may run again: the step is forgotten.
    Rerun,
    /// It happened, with this value as JSON: the step is done.
    Done(Box<str>),
}

/// A step as far as the rule looks at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) seq: u32,
    pub(crate) kind: Kind,
    pub(crate) state: Progress,
}

impl From<&Step> for Seen {
    fn from(step: &Step) -> Self {
        Self { seq: step.seq, kind: step.kind, state: step.state }
    }
}

/// What becomes of a step before its run is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edit<'a> {
    /// All stay as they are.
    Nothing,
    /// It has not been.
    Forget(u32),
    /// It has begun, and the probe says what became of it.
    Begin(u32),
    /// It gave this value.
    Done(u32, &'a str),
}

impl Decision {
    /// What it does to one of `steps` of `run`, in order of their numbers. `None`: it cannot be about any of them.
    pub(crate) fn edit(&self, run: &Run, steps: &[Seen]) -> Option<Edit<'_>> {
        let named = run.error.as_ref().and_then(|failure| failure.seq);
        let in_the_way = |step: &&Seen| match (named, self) {
            (Some(seq), _) => step.seq == seq,
            // What is still open beside what failed is asked by itself.
            (None, Self::Ask) => step.state == Progress::Failed,
            (None, _) => step.state != Progress::Done,
        };
        let mut found = steps.iter().rev().filter(in_the_way);
        let step = found.next();
        // A decision is about one step, and nobody has said which.
        if *self != Self::Ask && found.next().is_some() {
            return None;
        }
        // What is done happened, whatever somebody thinks of it; but if its value cannot be read, it was another one.
        let undecodable = run.error.as_ref().is_some_and(|failure| failure.kind == "undecodable");
        let stands = |step: &Seen| step.state == Progress::Done;
        match (self, step) {
            (Self::Ask | Self::Rerun, None) => Some(Edit::Nothing),
            (Self::Ask, Some(step)) if step.state != Progress::Failed => Some(Edit::Nothing),
            (Self::Ask, Some(step)) if step.kind == Kind::Effect => Some(Edit::Begin(step.seq)),
            (Self::Ask, Some(step)) => Some(Edit::Forget(step.seq)),
            (Self::Rerun, Some(step)) => (!stands(step)).then_some(Edit::Forget(step.seq)),
            (Self::Done(value), Some(step)) => (!stands(step) || undecodable).then_some(Edit::Done(step.seq, value)),
            (Self::Done(_), None) => None,
        }
    }
}
