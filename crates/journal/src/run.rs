//! What the journal knows of a run and of its steps: the nouns that stores keep, pages show and commands print.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::RunError;

/// Milliseconds since 1970 by the store's clock: this machine's for SQLite, the database's for PostgreSQL.
pub type Millis = i64;

/// As good as for ever, and so short that a database can add it to any time: 100 000 years.
const LONGEST: Millis = 100_000 * 365 * 86_400_000;

/// `time` in milliseconds, at most [`LONGEST`].
pub(crate) fn millis(time: Duration) -> Millis {
    Millis::try_from(time.as_millis()).unwrap_or(LONGEST).min(LONGEST)
}

/// The name of a run: the workflow's name, a slash, and the caller's key (`research/order-18`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Arc<str>);

impl RunId {
    /// The run of `workflow` for `key`. Neither is checked here.
    pub fn new(workflow: &str, key: &str) -> Self {
        Self(format!("{workflow}/{key}").into())
    }

    /// The same, if name and key are ones: not empty, not too long, without control characters; and no slash in the
    /// name, so that no two pairs have one id.
    pub(crate) fn checked(workflow: &str, key: &str) -> Result<Self, RunError> {
        let wrong = |field, value: &str, allowed| {
            Err(RunError::Key { field, value: value.chars().take(100).collect::<String>().into(), allowed })
        };
        let is_sound = |text: &str, most: usize| {
            !text.trim().is_empty() && text.len() <= most && !text.chars().any(char::is_control)
        };
        if !is_sound(workflow, 200) || workflow.contains('/') {
            return wrong(
                "workflow",
                workflow,
                "1 to 200 bytes, not only blanks, without slash and control characters",
            );
        }
        if !is_sound(key, 500) {
            return wrong("key", key, "1 to 500 bytes, not only blanks, without control characters");
        }
        Ok(Self::new(workflow, key))
    }

    /// What [`Display`](fmt::Display) wrote.
    pub fn parse(text: &str) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Grows each time a run is claimed, cancelled or resumed. A write with an older one is refused.
pub type Epoch = i64;

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Waits for a worker, or for its time.
    Queued,
    /// A worker has it.
    Running,
    /// Stopped until an operator decides: see [`Run::error`].
    Blocked,
    /// Ended with a result.
    Ok,
    /// Ended with an error.
    Err,
    /// Ended by an operator.
    Cancelled,
}

impl State {
    /// All states.
    pub const ALL: [Self; 6] = [Self::Queued, Self::Running, Self::Blocked, Self::Ok, Self::Err, Self::Cancelled];

    /// The state in lower case, as tables have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Blocked => "blocked",
            Self::Ok => "ok",
            Self::Err => "err",
            Self::Cancelled => "cancelled",
        }
    }

    /// What [`as_str`](Self::as_str) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether nothing more happens unless somebody asks for it.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Ok | Self::Err | Self::Cancelled)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A run as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// The workflow.
    pub name: String,
    /// The workflow's version that began it. Empty for [`once`](crate::Journal::once).
    pub version: String,
    /// The input as JSON.
    pub input: Box<str>,
    /// The fingerprint of the input.
    pub fp: String,
    /// Where it is.
    pub state: State,
    /// The fence.
    pub epoch: Epoch,
    /// The worker that has it.
    pub owner: Option<String>,
    /// So often it was claimed since it was started or resumed.
    pub attempts: u32,
    /// Not before.
    pub wake_at: Option<Millis>,
    /// The result as JSON, if it ended with one.
    pub result: Option<Box<str>>,
    /// Why it is blocked, ended without a result, or was put back to be tried again.
    pub error: Option<Failure>,
    /// The run that started it.
    pub parent: Option<RunId>,
    /// The run it is a copy of.
    pub forked_from: Option<RunId>,
    /// Forgotten after this, once it has ended.
    pub expires_at: Option<Millis>,
    /// When it was started.
    pub created_at: Millis,
}

/// Why a run or a step has no result, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// A word for programs: `failed`, `refused`, `diverged`, `undecodable`, `too_many_attempts`, `cancelled`, ….
    pub kind: String,
    /// A sentence for people.
    pub message: String,
    /// Whether the error is the answer from now on. If not, the key is free again.
    pub keep: bool,
    /// The step it happened in.
    pub seq: Option<u32>,
}

impl Failure {
    /// As it is kept: text, a number and a word can always be written.
    pub(crate) fn to_json(&self) -> Box<str> {
        serde_json::to_string(self).unwrap_or_default().into()
    }
}

/// What a step promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// At least once.
    Step,
    /// Intent first; after a crash the probe decides.
    Effect,
    /// Exactly once: rows and record share a transaction.
    Commit,
    /// A wait for a time.
    Sleep,
    /// A wait for a signal.
    Wait,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Step, Self::Effect, Self::Commit, Self::Sleep, Self::Wait];

    /// The kind in lower case, as tables have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Effect => "effect",
            Self::Commit => "commit",
            Self::Sleep => "sleep",
            Self::Wait => "wait",
        }
    }

    /// What [`as_str`](Self::as_str) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Progress {
    /// An effect whose outcome is not known; a wait that goes on.
    Begun,
    /// Its value is known.
    Done,
    /// It failed; the value is a [`Failure`].
    Failed,
}

impl Progress {
    /// The word in lower case, as tables have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// What [`as_str`](Self::as_str) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Begun, Self::Done, Self::Failed].into_iter().find(|progress| progress.as_str() == text)
    }
}

/// A step as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Step {
    /// Its number in the run, from 1, in the order in which steps were called.
    pub seq: u32,
    /// Its name.
    pub name: String,
    /// The fingerprint of what it was called with; empty if it was not said.
    pub fp: String,
    /// What it promises.
    pub kind: Kind,
    /// How far it is.
    pub state: Progress,
    /// JSON: the value if done, a [`Failure`] if failed, for a [`Kind::Sleep`] that has begun when it ends.
    pub value: Option<Box<str>>,
    /// The epoch it was written in.
    pub epoch: Epoch,
    /// Drawn anew for each write: a lost acknowledgement is recognised by it.
    pub attempt_id: String,
}

impl Step {
    /// The key that the step's operation got for its callee, [`Op::key`](crate::Op::key): what to look for there.
    pub fn key(&self, run: &RunId) -> String {
        crate::fingerprint::key(run, self.seq, &self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_key_are_checked() {
        assert!(RunId::checked("pay", "order/18 ä").is_ok());
        let wrong = |workflow: &str, key: &str| match RunId::checked(workflow, key) {
            Err(RunError::Key { field, .. }) => field,
            _ => "none",
        };
        assert_eq!(wrong("", "k"), "workflow");
        assert_eq!(wrong("a/b", "k"), "workflow");
        assert_eq!(wrong(&"a".repeat(201), "k"), "workflow");
        assert_eq!(wrong("a", ""), "key");
        assert_eq!(wrong("a", "  "), "key");
        assert_eq!(wrong("a", "k\n"), "key");
        assert_eq!(wrong("a", &"ä".repeat(251)), "key");
    }

    #[test]
    fn an_error_shows_the_beginning_of_a_long_key() {
        let error = RunId::checked("a", &"ä".repeat(10_000)).map_err(|error| error.to_string());
        assert!(error.is_err_and(|text| text.len() < 400));
    }
}
