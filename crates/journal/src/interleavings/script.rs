//! What a worker writes, as data.

use crate::run::{Epoch, Failure, Kind, Progress, RunId, Step};
use crate::store::{End, Fence};

/// One write of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// A step, effect, sleep or wait gets as far as this.
    Record(u32, Kind, Progress),
    /// Rows and a record.
    Commit(u32),
    /// A message becomes the value of a step.
    Receive(u32),
    /// The end, with a last step or without.
    Finish(Leave, Option<u32>),
}

/// How the script's worker leaves the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    Ok,
    Err,
    Blocked,
    Queued,
}

/// A run with all kinds of writes. What comes last is one of [`LAST`].
pub(super) const SCRIPT: [Write; 11] = [
    Write::Record(1, Kind::Step, Progress::Done),
    Write::Record(2, Kind::Effect, Progress::Begun),
    Write::Record(2, Kind::Effect, Progress::Done),
    Write::Record(3, Kind::Step, Progress::Failed),
    Write::Commit(4),
    Write::Record(5, Kind::Sleep, Progress::Begun),
    Write::Record(5, Kind::Sleep, Progress::Done),
    Write::Record(6, Kind::Wait, Progress::Begun),
    Write::Receive(6),
    Write::Commit(7),
    Write::Finish(Leave::Ok, Some(8)),
];

/// All ways to leave.
pub(super) const LAST: [Write; 7] = [
    Write::Finish(Leave::Ok, None),
    Write::Finish(Leave::Err, None),
    Write::Finish(Leave::Err, Some(8)),
    Write::Finish(Leave::Blocked, None),
    Write::Finish(Leave::Blocked, Some(8)),
    Write::Finish(Leave::Queued, None),
    Write::Finish(Leave::Queued, Some(8)),
];

impl Write {
    /// The step it writes.
    pub(super) fn seq(self) -> Option<u32> {
        match self {
            Self::Record(seq, ..) | Self::Commit(seq) | Self::Receive(seq) => Some(seq),
            Self::Finish(_, seq) => seq,
        }
    }

    /// What `who` writes.
    pub(super) fn step(self, who: &str, epoch: Epoch) -> Option<Step> {
        let seq = self.seq()?;
        let (kind, state) = match self {
            Self::Record(_, kind, state) => (kind, state),
            Self::Commit(_) => (Kind::Commit, Progress::Done),
            Self::Receive(_) => (Kind::Wait, Progress::Done),
            Self::Finish(..) => (Kind::Effect, Progress::Done),
        };
        let value = match state {
            Progress::Failed => serde_json::to_string(&failure(who)).unwrap(),
            _ => format!("\"{who} {seq}\""),
        };
        Some(Step {
            seq,
            name: format!("step {seq}"),
            fp: String::new(),
            kind,
            state,
            // The stores write the value of these.
            value: (!matches!(self, Self::Commit(_) | Self::Receive(_))).then(|| value.into()),
            epoch,
            attempt_id: format!("{who} {seq} {}", state.as_str()),
        })
    }
}

impl Leave {
    pub(super) fn end(self, who: &str) -> End {
        match self {
            Self::Ok => End::Ok(format!("\"{who}\"").into()),
            Self::Err => End::Err(failure(who)),
            Self::Blocked => End::Blocked(failure(who)),
            Self::Queued => End::Again { after: std::time::Duration::ZERO, why: failure(who) },
        }
    }
}

fn failure(who: &str) -> Failure {
    Failure { kind: "failed".into(), message: format!("{who} failed"), keep: true, seq: None }
}

pub(super) fn fence(run: &RunId, epoch: Epoch) -> Fence {
    Fence { run: run.clone(), epoch }
}
