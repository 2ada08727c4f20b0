//! What a loop guard answers: verdicts, detections, and what is told to the model.

use std::time::Duration;

use super::rule::{Limit, LoopType, Rule};
use crate::decision::Name;
use crate::time::Instant;

/// The answer to what an agent is about to do or has done.
///
/// After a call the call was made, whatever the verdict: give the model its result.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[must_use]
pub enum Verdict {
    /// Go on.
    Allow,
    /// Go on, and give the model this with the result.
    Nudge {
        /// What the model should read.
        text: String,
        /// What was found.
        detection: Detection,
    },
    /// Do not do it, and give the model this instead. After a call or a turn: do nothing more of what the model asked for
    /// in this turn.
    Block {
        /// What the model should read.
        text: String,
        /// What the same call gave before, if that is still kept; cut where it is long.
        earlier: Option<Box<str>>,
        /// How soon it would not be blocked; zero if time alone does not help.
        retry_after: Duration,
        /// What was found. `None` if it is only too soon, or too much at once.
        detection: Option<Detection>,
    },
    /// End the run. Everything that follows gets the same answer.
    Stop {
        /// What was found.
        why: Detection,
        /// Whether [`resume`](super::LoopGuard::resume) lets the run go on. If not, a limit is used up, and the run goes
        /// on from its saved state under a larger one.
        resumable: bool,
    },
}

impl Verdict {
    /// Whether it is [`Allow`](Self::Allow).
    pub fn is_allow(&self) -> bool {
        matches!(self, Self::Allow)
    }

    /// What was found, unless nothing was.
    pub fn detection(&self) -> Option<&Detection> {
        match self {
            Self::Allow => None,
            Self::Nudge { detection, .. } => Some(detection),
            Self::Block { detection, .. } => detection.as_ref(),
            Self::Stop { why, .. } => Some(why),
        }
    }

    /// An error for whatever was found, nudges included: for callers who give up at the first detection.
    ///
    /// ```
    /// use stormproof_core::{Instant, LoopGuard};
    ///
    /// let guard = LoopGuard::new("task-7");
    /// for _ in 0..3 {
    ///     guard.before_call(Instant::ZERO, "search", "rust").verdict.check().expect("three are allowed");
    /// }
    /// let found = guard.before_call(Instant::ZERO, "search", "rust").verdict.check().unwrap_err();
    /// assert_eq!(found.to_string(), "search would be called for the 4th time with the same arguments and nothing new since");
    /// ```
    ///
    /// # Errors
    /// The [`Detection`].
    pub fn check(self) -> Result<(), Detection> {
        match self {
            Self::Allow | Self::Block { detection: None, .. } => Ok(()),
            Self::Nudge { detection, .. } | Self::Block { detection: Some(detection), .. } => Err(detection),
            Self::Stop { why, .. } => Err(why),
        }
    }
}

/// Something that goes in circles, or a limit that is used up.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{rule}", rule = self.rule.say(self.subject.as_deref().unwrap_or("the agent")))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Detection {
    /// Its number in the run, from 1.
    pub seq: u32,
    /// What was found.
    pub rule: Rule,
    /// The tool or agent it is about.
    pub subject: Option<Name>,
    /// What follows.
    pub step: Step,
}

impl Detection {
    /// Which of the six types of loop it is.
    pub fn loop_type(&self) -> LoopType {
        self.rule.loop_type()
    }

    /// What the model should read.
    pub(super) fn advice(&self, of: Moment) -> String {
        let next = match (self.step, of) {
            (Step::Nudge, _) => "If it did not help so far, it will not now.",
            (Step::Block, Moment::Before) => "It was not carried out. Going on like this ends the task.",
            (Step::Block, Moment::After) => "Going on like this ends the task.",
            (Step::Block, Moment::Turn) => "Nothing of this turn was carried out. Going on like this ends the task.",
            (Step::Stop, _) => "The task ends here.",
        };
        format!("Loop guard: {self}. {next} {}", self.rule.remedy())
    }
}

/// When something is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Before it is done.
    Before,
    /// When it is done.
    After,
    /// When the model has asked for it in a turn.
    Turn,
}

/// The steps that follow detections, in this order. None leads back to an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Step {
    /// Something is said to the model.
    Nudge,
    /// What it wants is not done.
    Block,
    /// The run ends.
    Stop,
}

impl Step {
    /// The step in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nudge => "nudge",
            Self::Block => "block",
            Self::Stop => "stop",
        }
    }
}

/// A limit of which most is used.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Near {
    /// Which.
    pub limit: Limit,
    /// Amount that is used.
    pub used: f64,
    /// The limit, in the same unit.
    pub most: f64,
}

/// What came of an observation: the verdict, and what is worth telling.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[must_use]
pub struct Report {
    /// When.
    pub at: Instant,
    /// What follows for the caller.
    pub verdict: Verdict,
    /// A detection that is new. (A verdict of a run that is stopped already carries an old one.)
    pub detected: Option<Detection>,
    /// Limits that came near, each said once.
    pub near: Vec<Near>,
}
