//! A journal in one SQLite file: write-ahead log, each group of writes on disk before it is answered. One thread writes,
//! unless a lone step is written where it is asked for; two read. Several processes of one machine may have the same file
//! open.

mod clock;
mod commit;
mod fault;
mod lock;
mod log;
mod operator;
mod reader;
mod retention;
mod rows;
mod runs;
mod schema;
mod steps;
mod tasks;
mod workers;
mod writer;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Transaction};

pub(crate) use self::clock::Clocks;
use self::commit::Commit;
use self::fault::{Fault, Place, when_opening};
use self::lock::Locks;
use self::reader::Readers;
use self::writer::{Several, Single, Statement, Writer};
use crate::error::{OpenError, StoreError};
use crate::run::{Epoch, Millis, Run, RunId, Step};
use crate::store::{
    Changed, Claimed, Committed, Decision, End, Fence, Filter, Forgotten, Found, Keep, NewRun, Retention, Signalled,
    Size, Started, Taken, Task, Wanted, Work, Worker, Written,
};

/// Our tables. Users' own may stand beside them.
const TABLES: [&str; 6] = [
    "stormproof_meta",
    "stormproof_worker",
    "stormproof_run",
    "stormproof_step",
    "stormproof_inbox",
    "stormproof_task",
];

/// So many threads read.
const READERS: usize = 2;

/// How a file is opened.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// What time it is.
    pub(crate) clocks: Clocks,
    /// For so long a write waits for those of other processes. 5 s.
    pub(crate) busy: Duration,
    /// Whether a journal that is not there is made.
    pub(crate) create: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { clocks: Clocks::default(), busy: Duration::from_secs(5), create: true }
    }
}

/// The store. Dropping it writes what is still waiting, and closes the file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    // Dropped in this order: who closes the file last carries the log over into it.
    readers: Readers,
    writer: Writer,
    locks: Arc<Locks>,
    clocks: Clocks,
    at: Arc<str>,
}

impl Sqlite {
    /// As [`open`](Self::open), on a thread that may block.
    pub(crate) async fn open_aside(path: String, options: Options) -> Result<Self, OpenError> {
        let at = path.clone();
        tokio::task::spawn_blocking(move || Self::open(path, options))
            .await
            .unwrap_or_else(|error| Err(Fault::Unavailable(format!("it was not opened: {error}")).at(&at).into()))
    }

    /// Opens the journal in the file `path`, and makes it if it is not there. Blocks for as long as that takes.
    pub(crate) fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let at: Arc<str> = path.display().to_string().into();
        let mut connection = schema::open(path, options.busy, options.create)?;
        commit::guard(&mut connection).map_err(|error| when_opening(&at, &error))?;
        // The locks are found by the file's one name, by whichever link it was opened.
        let path = fs::canonicalize(path).map_err(|error| Fault::Refused(error.to_string()).at(&at))?;
        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            readers.push(schema::reader(&path, options.busy).map_err(|error| when_opening(&at, &error))?);
        }
        let place = Arc::new(Place::new(Arc::clone(&at), path.clone()));
        let threads = |error: std::io::Error| Fault::Unavailable(format!("no thread: {error}")).at(&at);
        Ok(Self {
            readers: Readers::spawn(readers, Arc::clone(&place)).map_err(threads)?,
            writer: Writer::spawn(connection, options.clocks.clone(), options.busy, place).map_err(threads)?,
            locks: Arc::new(Locks::beside(&path)),
            clocks: options.clocks,
            at,
        })
    }

    /// Runs `work` on rows of the user and records `step` as done with the value it gives, both or neither. `work` is
    /// not run if the run is somebody else's, or if the same attempt was written before. All other writes of this
    /// process wait while it runs.
    pub(crate) async fn commit(&self, fence: &Fence, step: &Step, work: Work) -> Result<Committed, StoreError> {
        self.writer.ask(Commit { fence: fence.clone(), step: step.clone(), work }).await
    }

    /// Gives back the lock of a worker whose lease is lost: the file is gone, and nobody waits for it any more.
    pub(crate) fn forsake(&self, worker: &Worker) {
        self.locks.release(&worker.id);
    }
}

impl Keep for Sqlite {
    async fn join(&self, worker: &Worker) -> Result<(), StoreError> {
        let (worker, locks, at) = (worker.clone(), Arc::clone(&self.locks), Arc::clone(&self.at));
        let joined = self.writer.ask(Single(move |tx: &Transaction<'_>, now| {
            if let Err(error) = locks.hold(&worker.id) {
                return Ok(Err(Fault::Refused(format!("no lock for this worker: {error}")).at(&at)));
            }
            workers::join(tx, &worker, now).map(Ok)
        }));
        joined.await?
    }

    async fn beat(&self, worker: &Worker, mine: &[Fence]) -> Result<Option<Vec<RunId>>, StoreError> {
        let (worker, mine) = (worker.clone(), mine.to_vec());
        self.writer.ask(Statement(move |tx: &Connection, now| workers::beat(tx, &worker, &mine, now))).await
    }

    async fn leave(&self, worker: &Worker) -> Result<(), StoreError> {
        let id = worker.id.clone();
        self.writer.ask(Several(move |tx: &Transaction<'_>, now| workers::leave(tx, &id, now))).await?;
        // Only now: a lock that is free while the runs are still its own would be fine, too, but not the other way.
        self.locks.release(&worker.id);
        Ok(())
    }

    async fn start(&self, run: &NewRun) -> Result<Started, StoreError> {
        let run = run.clone();
        self.writer.ask(Several(move |tx: &Transaction<'_>, now| runs::start(tx, &run, now))).await
    }

    async fn start_claimed(
        &self,
        run: &NewRun,
        worker: &Worker,
        first: &Step,
    ) -> Result<Result<Epoch, Box<Run>>, StoreError> {
        let (run, worker, first) = (run.clone(), worker.id.clone(), first.clone());
        self.writer
            .ask(Several(move |tx: &Transaction<'_>, now| runs::start_claimed(tx, &run, &worker, &first, now)))
            .await
    }

    async fn claim(&self, worker: &Worker, wanted: &Wanted) -> Result<Found, StoreError> {
        let (worker, wanted, locks) = (worker.clone(), wanted.clone(), Arc::clone(&self.locks));
        self.writer.ask(Several(move |tx: &Transaction<'_>, now| runs::claim(tx, &locks, &worker, &wanted, now))).await
    }

    async fn take(&self, worker: &Worker, run: &RunId, revive: bool) -> Result<Taken, StoreError> {
        let (worker, run, locks) = (worker.clone(), run.clone(), Arc::clone(&self.locks));
        self.writer
            .ask(Several(move |tx: &Transaction<'_>, now| runs::take(tx, &locks, &worker, &run, revive, now)))
            .await
    }

    async fn record(&self, fence: &Fence, step: &Step) -> Result<Written, StoreError> {
        let (fence, step) = (fence.clone(), step.clone());
        self.writer.ask(Statement(move |tx: &Connection, _| steps::record(tx, &fence, &step))).await
    }

    async fn finish(&self, fence: &Fence, last: Option<&Step>, end: &End) -> Result<Written, StoreError> {
        let (fence, last, end) = (fence.clone(), last.cloned(), end.clone());
        if let Some(last) = last {
            self.writer
                .ask(Several(move |tx: &Transaction<'_>, now| runs::finish(tx, &fence, Some(&last), &end, now)))
                .await
        } else {
            self.writer.ask(Statement(move |tx: &Connection, now| runs::finish(tx, &fence, None, &end, now))).await
        }
    }

    async fn receive(
        &self,
        fence: &Fence,
        topic: &str,
        step: &Step,
    ) -> Result<(Written, Option<Box<str>>), StoreError> {
        let (fence, topic, step) = (fence.clone(), topic.to_owned(), step.clone());
        self.writer.ask(Several(move |tx: &Transaction<'_>, _| steps::receive(tx, &fence, &topic, &step))).await
    }

    async fn signal(&self, run: &RunId, topic: &str, id: &str, body: &str) -> Result<Signalled, StoreError> {
        let (run, topic, id, body) = (run.clone(), topic.to_owned(), id.to_owned(), body.to_owned());
        self.writer
            .ask(Several(move |tx: &Transaction<'_>, now| operator::signal(tx, &run, &topic, &id, &body, now)))
            .await
    }

    async fn read(&self, run: &RunId) -> Result<Option<Claimed>, StoreError> {
        let run = run.clone();
        let read = self.readers.ask(move |connection| {
            rows::find(connection, &run)?.map(|run| rows::with_steps(connection, run)).transpose()
        });
        read.await
    }

    async fn peek(&self, run: &RunId) -> Result<Option<Run>, StoreError> {
        let run = run.clone();
        self.readers.ask(move |connection| rows::find(connection, &run)).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Run>, StoreError> {
        let (filter, now) = (filter.clone(), self.clocks.now());
        self.readers.ask(move |connection| operator::list(connection, &filter, now)).await
    }

    async fn cancel(&self, run: &RunId) -> Result<Changed, StoreError> {
        let run = run.clone();
        self.writer.ask(Single(move |tx: &Transaction<'_>, now| operator::cancel(tx, &run, now))).await
    }

    async fn resume(&self, run: &RunId, decision: &Decision) -> Result<Changed, StoreError> {
        let (run, decision) = (run.clone(), decision.clone());
        self.writer.ask(Several(move |tx: &Transaction<'_>, now| operator::resume(tx, &run, &decision, now))).await
    }

    async fn fork(&self, from: &RunId, before: u32, new: &RunId, version: &str) -> Result<Changed, StoreError> {
        let (from, new, version) = (from.clone(), new.clone(), version.to_owned());
        self.writer
            .ask(Several(move |tx: &Transaction<'_>, now| operator::fork(tx, &from, before, &new, &version, now)))
            .await
    }

    async fn forget(&self, retention: &Retention) -> Result<Forgotten, StoreError> {
        let (retention, locks) = (retention.clone(), Arc::clone(&self.locks));
        if retention.dry_run {
            let now = self.clocks.now();
            return self.readers.ask(move |tx| retention::forgettable(tx, &locks, &retention, now)).await;
        }
        self.writer.ask(Several(move |tx: &Transaction<'_>, now| retention::forget(tx, &locks, &retention, now))).await
    }

    async fn erase(&self, run: &RunId) -> Result<Changed, StoreError> {
        let run = run.clone();
        self.writer.ask(Several(move |tx: &Transaction<'_>, _| retention::erase(tx, &run))).await
    }

    async fn size(&self) -> Result<Size, StoreError> {
        let (locks, now) = (Arc::clone(&self.locks), self.clocks.now());
        self.readers.ask(move |connection| retention::size(connection, &locks, now)).await
    }

    async fn task(&self, id: &str) -> Result<Option<Task>, StoreError> {
        let (id, now) = (id.to_owned(), self.clocks.now());
        self.readers.ask(move |connection| tasks::find(connection, &id, now)).await
    }

    async fn keep_task(&self, id: &str, task: &Task, ttl: Duration) -> Result<bool, StoreError> {
        let (id, task) = (id.to_owned(), task.clone());
        self.writer.ask(Single(move |tx: &Transaction<'_>, now| tasks::keep(tx, &id, &task, ttl, now))).await
    }

    async fn now(&self) -> Result<Millis, StoreError> {
        Ok(self.clocks.now().wall)
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        let check = self.readers.ask(|connection| {
            let mut check = connection.prepare("PRAGMA integrity_check")?;
            let lines: Vec<String> = check.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            Ok(lines)
        });
        match check.await {
            Ok(lines) => Ok(lines.into_iter().filter(|line| line != "ok").collect()),
            Err(StoreError::Damaged { why, .. }) => Ok(vec![why.into()]),
            Err(error) => Err(error),
        }
    }
}
