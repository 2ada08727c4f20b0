//! What a store of runs must do, and the two that do it.
//!
//! The engine above decides; a store writes and reads. Everything that must not be seen half is one method, hence one
//! transaction. Times in requests are durations: each store adds them to a clock of its own ([`Millis`]).
//!
//! Rules that hold in both stores, tested in `store/contract.rs`:
//! - **The fence.** A method that takes a [`Fence`] writes only while the run is `running` with that very epoch. Else
//!   nothing is written and the answer is [`Written::Fenced`], unless what is there was written by the same attempt
//!   (`attempt_id` for a step; the same epoch and end state for a run): [`Written::Already`].
//! - **Epochs.** A claim, a cancellation and a resumption set `epoch = max(epoch + 1, now in ms)`.
//! - **A step that is `done` is never changed.** `begun` and `failed` become `done`, `failed` or `begun` again.
//! - **Attempts.** A claim counts one; a step that becomes `done` sets them back to 1: only those without progress count.
//! - **A lost answer.** If it is not known whether a transaction was committed, the store asks again by itself (each
//!   method can be repeated with the same arguments), for as long as the caller waits.

#[cfg(test)]
pub(crate) mod contract;
mod decision;
pub(crate) mod dispatch;
pub(crate) mod memory;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::time::Duration;

pub use self::decision::Decision;
use crate::error::StoreError;
use crate::run::{Epoch, Failure, Millis, Run, RunId, State, Step};

/// Which run in which epoch a write belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    pub(crate) run: RunId,
    pub(crate) epoch: Epoch,
}

/// What became of a fenced write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Written {
    /// It stands.
    Done,
    /// It stood already, by this very attempt.
    Already,
    /// The run is somebody else's. Nothing was written.
    Fenced,
}

/// Why the transaction of a commit is not to be kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Undo {
    /// It failed: that is recorded, and nothing else.
    Failed(Failure),
    /// It panicked, or its value cannot be kept: nothing is recorded.
    Nothing,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Committed {
    /// The user's rows and the record, or the record of a failure.
    Written(Written),
    /// Nothing is written, as the work asked for.
    Undone,
    /// Nothing is written, since what the work did cannot be committed. What the database said of it.
    Refused(Box<str>),
}

/// What a commit does on SQLite, in a savepoint: its value as JSON. Called again if the transaction that it was part of
/// could not be committed.
pub(crate) type Work = Box<dyn FnMut(&rusqlite::Transaction<'_>) -> Result<Box<str>, Undo> + Send>;

/// A process that takes runs.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    /// Drawn anew at each start of a process.
    pub(crate) id: String,
    pub(crate) host: String,
    pub(crate) version: String,
    /// So long after its last heartbeat its runs are anybody's.
    pub(crate) ttl: Duration,
}

/// A run to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewRun {
    pub(crate) id: RunId,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) input: Box<str>,
    pub(crate) fp: String,
    pub(crate) parent: Option<RunId>,
    /// Not before so long from now.
    pub(crate) delay: Duration,
    /// How long it is remembered, from now. `None`: by the journal's retention.
    pub(crate) ttl: Option<Duration>,
}

/// What became of a start.
#[derive(Clone, Debug)]
pub(crate) enum Started {
    /// It is there, and new.
    New,
    /// It was there and stays as it was. The engine compares name, version and fingerprint.
    Exists(Box<Run>),
}

/// A run that a worker has, with all its steps in order.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) run: Run,
    pub(crate) steps: Vec<Step>,
}

/// What a worker may claim.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Names and versions of workflows.
    pub(crate) workflows: Vec<(String, String)>,
    /// At most so many runs.
    pub(crate) limit: u32,
    /// A run with so many attempts is not claimed but blocked, with the failure `too_many_attempts`.
    pub(crate) max_attempts: u32,
}

/// What came of looking for work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) claimed: Vec<Claimed>,
    /// Those that were blocked because they had too many attempts.
    pub(crate) blocked: Vec<RunId>,
    /// Those of the claimed ones that another worker had.
    pub(crate) recovered: Vec<RunId>,
    /// When the next queued run is due that is not due now, if there is one that is wanted.
    pub(crate) next_due: Option<Duration>,
}

/// Whether a single run could be claimed.
#[derive(Clone, Debug)]
pub(crate) enum Taken {
    /// It is the worker's now.
    Claimed(Box<Claimed>),
    /// Another worker has it, alive for at least so long.
    Busy { lease: Duration },
    /// It has ended or is blocked, or is not due yet.
    NotNow(Box<Run>),
    /// There is none.
    Missing,
}

/// How a worker leaves a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// With its result, as JSON.
    Ok(Box<str>),
    /// With an error. `Failure::keep` says whether it is the answer from now on.
    Err(Failure),
    /// Until an operator decides.
    Blocked(Failure),
    /// Given back, due after this, or as soon as a message comes: it waits, and the attempt does not count.
    Parked { after: Duration },
    /// To be tried again after this, since something else than its workflow ended it.
    Again { after: Duration, why: Failure },
}

/// What came of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signalled {
    /// It is in the inbox; if the run was parked, it is due now.
    Sent,
    /// One with this id was there already.
    Duplicate,
    /// The run has ended.
    Ended(State),
    /// There is no such run.
    Missing,
}

/// What came of an operator's word.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Changed {
    /// Done; the run as it is now.
    Now(Box<Run>),
    /// Not possible in its state; the run as it is.
    Not(Box<Run>),
    /// There is no such run.
    Missing,
}

/// Which runs to list: all of them, newest first, unless it says otherwise.
///
/// ```
/// use std::time::Duration;
/// use stormproof_journal::{Filter, State};
///
/// let stuck = Filter::new().workflow("pay").states([State::Blocked]).older_than(Duration::from_secs(3600)).limit(20);
/// assert_eq!(stuck.limit, 20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Only of this workflow.
    pub workflow: Option<String>,
    /// Only in one of these states; empty: in any.
    pub states: Vec<State>,
    /// Only those that were created, or are running without change, since longer than this.
    pub older_than: Option<Duration>,
    /// Only ids that contain this text.
    pub contains: Option<String>,
    /// At most so many. Default: 100.
    pub limit: u32,
}

impl Default for Filter {
    fn default() -> Self {
        Self { workflow: None, states: Vec::new(), older_than: None, contains: None, limit: 100 }
    }
}

impl Filter {
    /// The newest 100 runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only runs of this workflow.
    #[must_use]
    pub fn workflow(mut self, name: impl Into<String>) -> Self {
        self.workflow = Some(name.into());
        self
    }

    /// Only runs in one of these states.
    #[must_use]
    pub fn states(mut self, states: impl IntoIterator<Item = State>) -> Self {
        self.states = states.into_iter().collect();
        self
    }

    /// Only runs that were created, or are running without change, since longer than this.
    #[must_use]
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = Some(age);
        self
    }

    /// Only runs whose id contains this text.
    #[must_use]
    pub fn contains(mut self, text: impl Into<String>) -> Self {
        self.contains = Some(text.into());
        self
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, runs: u32) -> Self {
        self.limit = runs;
        self
    }
}

/// What may be forgotten: ended runs, and with them their steps and signals.
///
/// ```
/// use std::time::Duration;
/// use stormproof_journal::Retention;
///
/// const DAY: Duration = Duration::from_secs(86_400);
/// let look = Retention::new().ended(7 * DAY).most(100_000).dry_run(true);
/// assert_eq!(look.most, Some(100_000));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// Runs that ended so long ago and have no time of their own (`expires_at`). Default: 30 days.
    pub ended: Duration,
    /// At most so many ended runs are kept, the youngest. Those that have a time of their own are neither counted nor
    /// forgotten before it is over. Default: any number.
    pub most: Option<u64>,
    /// So many are forgotten in one transaction, so that others can write in between. Default: 500.
    pub batch: u32,
    /// Only count. Default: no.
    pub dry_run: bool,
}

impl Default for Retention {
    fn default() -> Self {
        Self { ended: Duration::from_secs(30 * 86_400), most: None, batch: 500, dry_run: false }
    }
}

impl Retention {
    /// What ended 30 days ago.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs that ended so long ago.
    #[must_use]
    pub fn ended(mut self, ago: Duration) -> Self {
        self.ended = ago;
        self
    }

    /// Ended runs beyond the youngest so many.
    #[must_use]
    pub fn most(mut self, runs: u64) -> Self {
        self.most = Some(runs);
        self
    }

    /// So many in one transaction, at least one.
    #[must_use]
    pub fn batch(mut self, runs: u32) -> Self {
        self.batch = runs.max(1);
        self
    }

    /// Whether to count only.
    #[must_use]
    pub fn dry_run(mut self, only_count: bool) -> Self {
        self.dry_run = only_count;
        self
    }
}

/// What was forgotten, or, in a dry run, would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Forgotten {
    /// Ended runs.
    pub runs: u64,
    /// Steps of these runs.
    pub steps: u64,
    /// Memories of a loop guard past their time.
    pub tasks: u64,
    /// Workers that are gone.
    pub workers: u64,
}

/// After so many steps a batch of runs to be forgotten is full: while they are deleted, nobody else writes.
pub(crate) const BATCH_STEPS: u64 = 20_000;

/// The size of a journal, as far as it can be told at once: a large one is looked at while it has trouble.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Size {
    /// Runs by state, in the order of [`State::ALL`].
    pub(crate) runs: [u64; 6],
    pub(crate) workers_alive: u64,
    pub(crate) bytes: u64,
    /// How long the oldest run that is due has waited. A call of [`once`](crate::Journal::once) that was given up waits for
    /// nobody but its caller, and is not counted.
    pub(crate) oldest_due: Duration,
}

/// A loop guard's memory of a task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Task {
    /// Grows with each write.
    pub(crate) rev: i64,
    pub(crate) state: Box<str>,
}

/// One store. Every method can be dropped at any await point: then it happened or it did not.
pub(crate) trait Keep: Send + Sync {
    /// Makes the worker known with a lease of its `ttl`, and (SQLite) holds a lock of the file system for as long as the
    /// process lives, so that a restarted process need not wait for the lease.
    fn join(&self, worker: &Worker) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Renews the lease. The answer lists those of `mine` that are no longer this worker's (claimed by another,
    /// cancelled). `None`: the worker is not known any more; all its runs are lost.
    fn beat(
        &self,
        worker: &Worker,
        mine: &[Fence],
    ) -> impl Future<Output = Result<Option<Vec<RunId>>, StoreError>> + Send;

    /// Takes the worker away; what it still has is queued, due now, and the attempt does not count.
    fn leave(&self, worker: &Worker) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Makes a run, unless one with its id is there. An ended run whose `expires_at` has passed is not there: it is
    /// replaced.
    fn start(&self, run: &NewRun) -> impl Future<Output = Result<Started, StoreError>> + Send;

    /// Makes a run that `worker` has at once, with the effect it begins, in one transaction: the first half of
    /// [`once`](crate::Journal::once). The answer to a new one is its epoch.
    fn start_claimed(
        &self,
        run: &NewRun,
        worker: &Worker,
        first: &Step,
    ) -> impl Future<Output = Result<Result<Epoch, Box<Run>>, StoreError>> + Send;

    /// Claims runs that are queued and due, or running with a worker whose lease is over (or, SQLite, whose process is
    /// gone): oldest due first. Two workers never get the same run in the same epoch.
    fn claim(&self, worker: &Worker, wanted: &Wanted) -> impl Future<Output = Result<Found, StoreError>> + Send;

    /// Claims this run, if it is queued and due, or its worker's lease is over, or (`revive`) it ended with an error
    /// that is not kept.
    fn take(
        &self,
        worker: &Worker,
        run: &RunId,
        revive: bool,
    ) -> impl Future<Output = Result<Taken, StoreError>> + Send;

    /// Writes a step: `begun`, `done` or `failed`.
    fn record(&self, fence: &Fence, step: &Step) -> impl Future<Output = Result<Written, StoreError>> + Send;

    /// Ends or gives back a run, with a last step in the same transaction if there is one.
    fn finish(
        &self,
        fence: &Fence,
        last: Option<&Step>,
        end: &End,
    ) -> impl Future<Output = Result<Written, StoreError>> + Send;

    /// Takes the oldest message of the topic that no step has taken, and writes `step` as done with the message's body
    /// as its value, in one transaction. `None` if there is no message: nothing is written.
    fn receive(
        &self,
        fence: &Fence,
        topic: &str,
        step: &Step,
    ) -> impl Future<Output = Result<(Written, Option<Box<str>>), StoreError>> + Send;

    /// Puts a message into a run's inbox. A parked run is due at once; one that is running is due at once if it parks before
    /// it is claimed anew (its `wake_at`, which a claim clears, is now): no signal is slept through.
    fn signal(
        &self,
        run: &RunId,
        topic: &str,
        id: &str,
        body: &str,
    ) -> impl Future<Output = Result<Signalled, StoreError>> + Send;

    /// The run, and its steps in order.
    fn read(&self, run: &RunId) -> impl Future<Output = Result<Option<Claimed>, StoreError>> + Send;

    /// The run alone.
    fn peek(&self, run: &RunId) -> impl Future<Output = Result<Option<Run>, StoreError>> + Send;

    /// The runs that match.
    fn list(&self, filter: &Filter) -> impl Future<Output = Result<Vec<Run>, StoreError>> + Send;

    /// Cancels a run that has not ended. Its epoch grows: a worker that has it writes nothing more.
    fn cancel(&self, run: &RunId) -> impl Future<Output = Result<Changed, StoreError>> + Send;

    /// Queues a run that is blocked, cancelled, or ended with an error, with no attempts counted. The step in the way
    /// (`Failure::seq` of the run's error, else the last one that is not done) gets the operator's `decision`; with
    /// [`Decision::Ask`] a failed step is forgotten, and a failed effect is `begun` again.
    fn resume(&self, run: &RunId, decision: &Decision) -> impl Future<Output = Result<Changed, StoreError>> + Send;

    /// Makes `new`, queued, with the input of `from` and its steps before `before`, all of them done or failed.
    fn fork(
        &self,
        from: &RunId,
        before: u32,
        new: &RunId,
        version: &str,
    ) -> impl Future<Output = Result<Changed, StoreError>> + Send;

    /// Forgets one batch of what may be forgotten: ended runs with their steps and inboxes, tasks past their time,
    /// workers that are gone. A batch ends early after [`BATCH_STEPS`].
    fn forget(&self, retention: &Retention) -> impl Future<Output = Result<Forgotten, StoreError>> + Send;

    /// Forgets a run that has ended, with its steps and inbox, whatever its time. The answer has the run as it was.
    fn erase(&self, run: &RunId) -> impl Future<Output = Result<Changed, StoreError>> + Send;

    /// How much there is.
    fn size(&self) -> impl Future<Output = Result<Size, StoreError>> + Send;

    /// What is known of a loop guard's task.
    fn task(&self, id: &str) -> impl Future<Output = Result<Option<Task>, StoreError>> + Send;

    /// Keeps a task's state for `ttl` more, if its `rev` is still the one before this one (0: there is none yet).
    fn keep_task(&self, id: &str, task: &Task, ttl: Duration) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The time by the store's clock.
    fn now(&self) -> impl Future<Output = Result<Millis, StoreError>> + Send;

    /// Whether the database is sound, by its own check: a line for each defect.
    fn check(&self) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;
}
