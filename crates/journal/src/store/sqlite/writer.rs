//! The one thread that writes. All requests that wait share a transaction, hence one fsync: the more callers there are,
//! the more steps a second.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::clock::{Clocks, Now};
use super::fault::{Fault, fault};
use crate::error::StoreError;

/// At most so many requests share a transaction: the first of them waits for the last.
const GROUP: usize = 512;

/// The writer thread. Dropping it waits until what was asked for is written, and closes the file.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
    at: Arc<str>,
}

/// Whether a request can fail half-way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// At most one statement writes: it happens or it does not.
    Single,
    /// Several do: they get a savepoint.
    Several,
}

impl Writer {
    pub(super) fn spawn(connection: Connection, clocks: Clocks, busy: Duration, at: Arc<str>) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let place = Arc::clone(&at);
        let thread = thread::Builder::new().name("stormproof-journal".into()).spawn(move || {
            let line = Line { connection, clocks, busy, at: place };
            line.serve(&queue);
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), at })
    }

    /// Runs `work` in the next group, and answers when that is on disk. A request whose caller has gone before its turn
    /// is not run at all.
    pub(super) async fn ask<T, F>(&self, shape: Shape, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>, Now) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let request = Request { shape, work: Some(work), outcome: None, answer };
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(Box::new(request)).is_ok());
        if sent && let Ok(outcome) = answered.await {
            return outcome;
        }
        Err(Fault::Unavailable("its writer has stopped".into()).at(&self.at))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // User code runs on that thread, and may be the one that drops the store.
        if let Some(thread) = self.thread.take().filter(|it| it.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}

/// A request, whatever its type.
trait Job: Send {
    fn is_gone(&self) -> bool;
    /// Runs it. `Err` has been noted as its answer.
    fn run(&mut self, tx: &Transaction<'_>, now: Now, at: &str) -> Result<(), StoreError>;
    /// Answers, with the error instead if the group failed.
    fn answer(self: Box<Self>, group: Result<(), StoreError>);
}

struct Request<F, T> {
    shape: Shape,
    work: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Job for Request<F, T>
where
    T: Send,
    F: FnOnce(&Transaction<'_>, Now) -> rusqlite::Result<T> + Send,
{
    fn is_gone(&self) -> bool {
        self.answer.is_closed()
    }

    fn run(&mut self, tx: &Transaction<'_>, now: Now, at: &str) -> Result<(), StoreError> {
        let Some(work) = self.work.take() else { return Ok(()) };
        let caught =
            || catch_unwind(AssertUnwindSafe(|| work(tx, now))).unwrap_or(Err(rusqlite::Error::UnwindingPanic));
        let outcome = match self.shape {
            Shape::Single => caught(),
            Shape::Several => savepoint(tx, caught).and_then(|outcome| outcome),
        }
        .map_err(|error| fault(at, &error));
        let told = outcome.as_ref().map(|_| ()).map_err(Clone::clone);
        self.outcome = Some(outcome);
        told
    }

    fn answer(self: Box<Self>, group: Result<(), StoreError>) {
        let outcome = match (group, self.outcome) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(outcome)) => outcome,
            // It was skipped, since nobody waits.
            (Ok(()), None) => return,
        };
        let _ = self.answer.send(outcome);
    }
}

/// Runs `work` and takes back what it wrote if it fails. The outer error says that the savepoint itself failed.
pub(super) fn savepoint<T, E>(
    tx: &Transaction<'_>,
    work: impl FnOnce() -> Result<T, E>,
) -> rusqlite::Result<Result<T, E>> {
    tx.prepare_cached("SAVEPOINT stormproof_request")?.execute([])?;
    let outcome = work();
    // Where the transaction has ended, there is no savepoint any more.
    if outcome.is_err() && !tx.is_autocommit() {
        tx.prepare_cached("ROLLBACK TO stormproof_request")?.execute([])?;
    }
    if !tx.is_autocommit() {
        tx.prepare_cached("RELEASE stormproof_request")?.execute([])?;
    }
    Ok(outcome)
}

/// What the thread has.
struct Line {
    connection: Connection,
    clocks: Clocks,
    busy: Duration,
    at: Arc<str>,
}

impl Line {
    fn serve(&self, queue: &Receiver<Box<dyn Job>>) {
        let mut group = Vec::with_capacity(GROUP);
        while let Ok(first) = queue.recv() {
            group.push(first);
            group.extend(queue.try_iter().take(GROUP - 1));
            let outcome = self.write(&mut group);
            for job in group.drain(..) {
                job.answer(outcome.clone());
            }
        }
    }

    /// One transaction. An error is one of all.
    fn write(&self, group: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let tx = self.begin()?;
        let now = self.clocks.now();
        for job in group.iter_mut().filter(|job| !job.is_gone()) {
            let told = job.run(&tx, now, &self.at);
            // Some errors, a full disk among them, end the whole transaction.
            if tx.is_autocommit() {
                told?;
                return Err(Fault::Unavailable("a request ended the transaction of its group".into()).at(&self.at));
            }
        }
        tx.commit().map_err(|error| fault(&self.at, &error))
    }

    /// Begins as a writer. Other processes write to the same file, each for a moment: SQLite has no queue for them, so
    /// the pauses between attempts are short.
    fn begin(&self) -> Result<Transaction<'_>, StoreError> {
        let began = Instant::now();
        let mut pause = Duration::from_micros(50);
        loop {
            match Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate) {
                Ok(tx) => return Ok(tx),
                Err(error)
                    if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && began.elapsed() < self.busy =>
                {
                    thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(2));
                }
                Err(error) => return Err(fault(&self.at, &error)),
            }
        }
    }
}
