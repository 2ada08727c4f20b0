//! Who writes. A thread does: all requests that wait share a transaction, hence one fsync, so that more callers mean more
//! steps a second. A statement whose caller is alone is written where it is asked for, if that place may wait for a disk:
//! the way to a thread and back costs half as much as a quick disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::sync::oneshot;
use tokio::task::block_in_place;

use super::clock::{Clocks, Now};
use super::fault::{Fault, Place};
use crate::error::StoreError;
use crate::own_task;

/// At most so many requests share a transaction: the first of them waits for the last.
const GROUP: usize = 512;

/// The writer and its thread. Dropping it waits until what was asked for is written, and closes the file.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
    line: Arc<Line>,
    crowd: Crowd,
}

/// What a request does, and what it needs for that.
pub(super) trait Ask<T>: Send {
    /// Whether it needs no transaction around it.
    const IS_STATEMENT: bool = false;

    /// Does it as a part of a group.
    fn grouped(&mut self, tx: &Transaction<'_>, now: Now) -> rusqlite::Result<T>;

    /// What to answer if the transaction cannot be committed for something that was done for this request. Default: the
    /// error.
    fn refused(&self, _: &StoreError) -> Option<T> {
        None
    }

    /// Does it without one, if it is a statement.
    fn alone(&mut self, _: &Connection, _: Now) -> Option<rusqlite::Result<T>> {
        None
    }
}

/// One statement that writes, and whatever reads after it: needs nothing, and nothing around it if it is alone.
pub(super) struct Statement<F>(pub(super) F);

/// Reads, then one statement that writes: either it happens or it does not.
pub(super) struct Single<F>(pub(super) F);

/// Several statements that write: a savepoint takes them back if one fails.
pub(super) struct Several<F>(pub(super) F);

impl<T, F: FnMut(&Connection, Now) -> rusqlite::Result<T> + Send> Ask<T> for Statement<F> {
    const IS_STATEMENT: bool = true;

    fn grouped(&mut self, tx: &Transaction<'_>, now: Now) -> rusqlite::Result<T> {
        (self.0)(tx, now)
    }

    fn alone(&mut self, connection: &Connection, now: Now) -> Option<rusqlite::Result<T>> {
        Some((self.0)(connection, now))
    }
}

impl<T, F: FnMut(&Transaction<'_>, Now) -> rusqlite::Result<T> + Send> Ask<T> for Single<F> {
    fn grouped(&mut self, tx: &Transaction<'_>, now: Now) -> rusqlite::Result<T> {
        (self.0)(tx, now)
    }
}

impl<T, F: FnMut(&Transaction<'_>, Now) -> rusqlite::Result<T> + Send> Ask<T> for Several<F> {
    fn grouped(&mut self, tx: &Transaction<'_>, now: Now) -> rusqlite::Result<T> {
        savepoint(tx, || caught(|| (self.0)(tx, now)))?
    }
}

impl Writer {
    pub(super) fn spawn(
        connection: Connection,
        clocks: Clocks,
        busy: Duration,
        place: Arc<Place>,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let line = Arc::new(Line { connection: Mutex::new(connection), clocks, busy, place });
        let thread = thread::Builder::new().name("stormproof-journal".into());
        let of_thread = Arc::clone(&line);
        let thread = thread.spawn(move || of_thread.serve(&queue))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), line, crowd: Crowd::default() })
    }

    /// Does `work` alone or in the next group, and answers when that is on disk. A request whose caller has gone before
    /// its turn is not done at all.
    pub(super) async fn ask<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: Ask<T> + 'static,
    {
        let asking = self.crowd.enter();
        let (answer, answered) = oneshot::channel();
        let mut request = Request { work, outcome: None, answer };
        if W::IS_STATEMENT
            && asking.is_alone()
            && own_task::may_block()
            && let Some(written) = self.line.write_here(&mut request)
        {
            match request.outcome.take() {
                // Somebody else writes to the file: to wait for that is the thread's business.
                Some(Err(error)) if is_busy(&error) => {}
                Some(outcome) => return written.and(outcome.map_err(|error| self.line.place.fault(&error))),
                None => written?,
            }
        }
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(Box::new(request)).is_ok());
        if sent && let Ok(outcome) = answered.await {
            return outcome;
        }
        Err(Fault::Unavailable("its writer has stopped".into()).at(&self.line.place.at))
    }
}

/// After so many writes in a row with nobody beside them, the next is taken for a lone one.
const LONE: u32 = 2;

/// Those who ask, and how long each has been alone.
#[derive(Debug, Default)]
struct Crowd {
    /// So many requests are not answered yet.
    asking: AtomicU32,
    /// So many writes in a row had nobody beside them.
    lone: AtomicU32,
}

/// One who asks.
struct Asking<'a>(&'a Crowd);

impl Crowd {
    fn enter(&self) -> Asking<'_> {
        self.asking.fetch_add(1, Ordering::Relaxed);
        Asking(self)
    }
}

impl Asking<'_> {
    /// Whether it is likely that nobody else asks before this one is answered.
    fn is_alone(&self) -> bool {
        self.0.asking.load(Ordering::Relaxed) == 1 && self.0.lone.load(Ordering::Relaxed) >= LONE
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let lone = if self.0.asking.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.lone.load(Ordering::Relaxed).saturating_add(1)
        } else {
            0
        };
        self.0.lone.store(lone, Ordering::Relaxed);
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
    /// Does it in a transaction. An error has been noted as its answer.
    fn grouped(&mut self, tx: &Transaction<'_>, now: Now) -> Option<&rusqlite::Error>;
    /// Does it without one, if it can. An error has been noted as its answer.
    fn alone(&mut self, connection: &Connection, now: Now) -> Option<Result<(), &rusqlite::Error>>;
    /// Answers, with the error instead if the group failed.
    fn answer(self: Box<Self>, group: Result<(), Failed>, place: &Place);
}

struct Request<W, T> {
    work: W,
    outcome: Option<rusqlite::Result<T>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<W: Ask<T>, T: Send> Job for Request<W, T> {
    fn is_gone(&self) -> bool {
        self.answer.is_closed()
    }

    fn grouped(&mut self, tx: &Transaction<'_>, now: Now) -> Option<&rusqlite::Error> {
        let outcome = caught(|| self.work.grouped(tx, now));
        self.outcome.insert(outcome).as_ref().err()
    }

    fn alone(&mut self, connection: &Connection, now: Now) -> Option<Result<(), &rusqlite::Error>> {
        let outcome = caught(|| self.work.alone(connection, now).transpose()).transpose()?;
        Some(self.outcome.insert(outcome).as_ref().map(|_| ()))
    }

    fn answer(self: Box<Self>, group: Result<(), Failed>, place: &Place) {
        let outcome = match (group, self.outcome) {
            (Err(Failed::ByOne(error)), _) => self.work.refused(&error).ok_or(error),
            (Err(Failed::ForAll(error)), _) => Err(error),
            (Ok(()), Some(outcome)) => outcome.map_err(|error| place.fault(&error)),
            // It was skipped, since nobody waits.
            (Ok(()), None) => return,
        };
        let _ = self.answer.send(outcome);
    }
}

/// A panic is an error like others: the thread serves everybody.
fn caught<T>(work: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(rusqlite::Error::UnwindingPanic))
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

/// Why nothing of a group was written.
#[derive(Clone)]
enum Failed {
    /// All would fail again.
    ForAll(StoreError),
    /// One of them is to blame, and the others would stand without it.
    ByOne(StoreError),
}

/// What writes.
#[derive(Debug)]
struct Line {
    connection: Mutex<Connection>,
    clocks: Clocks,
    busy: Duration,
    place: Arc<Place>,
}

impl Line {
    /// Writes one group after another, until nobody can ask any more.
    fn serve(&self, queue: &Receiver<Box<dyn Job>>) {
        let mut group = Vec::with_capacity(GROUP);
        while let Ok(first) = queue.recv() {
            // Whoever is answered finds the connection free.
            let connection = self.lock();
            group.push(first);
            group.extend(queue.try_iter().take(GROUP - 1));
            let outcome = self.write(&connection, &mut group);
            drop(connection);
            match outcome {
                // It is not known who: each for itself, and only that one fails.
                Err(Failed::ByOne(_)) if group.len() > 1 => {
                    for mut job in group.drain(..) {
                        let outcome = self.write(&self.lock(), std::slice::from_mut(&mut job));
                        job.answer(outcome, &self.place);
                    }
                }
                outcome => {
                    for job in group.drain(..) {
                        job.answer(outcome.clone(), &self.place);
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does a statement on this thread, which waits for the disk but for nobody else, unless this process writes at this
    /// moment.
    fn write_here(&self, job: &mut dyn Job) -> Option<Result<(), StoreError>> {
        let connection = match self.connection.try_lock() {
            Ok(connection) => connection,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(block_in_place(|| {
            self.place.writable()?;
            self.alone(&connection, job, &mut Patience::new(Duration::ZERO));
            Ok(())
        }))
    }

    /// Does all of the group, or nothing.
    fn write(&self, connection: &Connection, group: &mut [Box<dyn Job>]) -> Result<(), Failed> {
        self.place.writable().map_err(Failed::ForAll)?;
        let failed = |error: &rusqlite::Error| {
            let is_ones = error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation);
            let error = self.place.fault(error);
            if is_ones { Failed::ByOne(error) } else { Failed::ForAll(error) }
        };
        let mut patience = Patience::new(self.busy);
        if let [one] = group
            && self.alone(connection, one.as_mut(), &mut patience)
        {
            return Ok(());
        }
        let tx = loop {
            match Transaction::new_unchecked(connection, TransactionBehavior::Immediate) {
                Ok(tx) => break tx,
                Err(error) if patience.waits(&error) => {}
                Err(error) => return Err(failed(&error)),
            }
        };
        let now = self.clocks.now();
        for job in group.iter_mut().filter(|job| !job.is_gone()) {
            let error = job.grouped(&tx, now).map(failed);
            // Some errors, a full disk among them, end the whole transaction; so does `INSERT OR ROLLBACK`.
            if tx.is_autocommit() {
                let ended =
                    || Fault::Unavailable("a request ended the transaction of its group".into()).at(&self.place.at);
                return Err(error.unwrap_or_else(|| Failed::ByOne(ended())));
            }
        }
        // A foreign key that is deferred is checked here.
        tx.commit().map_err(|error| failed(&error))
    }

    /// Whether the job was done without a transaction around it, which saves two statements.
    fn alone(&self, connection: &Connection, job: &mut dyn Job, patience: &mut Patience) -> bool {
        if job.is_gone() {
            return true;
        }
        loop {
            match job.alone(connection, self.clocks.now()) {
                None => return false,
                Some(Err(error)) if patience.waits(error) => {}
                Some(_) => return true,
            }
        }
    }
}

impl Drop for Line {
    /// What is not yet carried over from the log stays there, if it is not known where it would go.
    fn drop(&mut self) {
        if self.place.is_damaged() {
            let connection = self.connection.get_mut().unwrap_or_else(PoisonError::into_inner);
            let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

/// How long a group waits for other processes that write to the same file. SQLite has no queue for them, so the pauses
/// are short.
pub(super) struct Patience {
    limit: Duration,
    since: Option<Instant>,
    pause: Duration,
}

impl Patience {
    pub(super) fn new(busy: Duration) -> Self {
        Self { limit: busy, since: None, pause: Duration::from_micros(50) }
    }

    /// Pauses, if the error is one that goes away by that and there is time left.
    pub(super) fn waits(&mut self, error: &rusqlite::Error) -> bool {
        if !is_busy(error) || self.since.get_or_insert_with(Instant::now).elapsed() >= self.limit {
            return false;
        }
        thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(Duration::from_millis(2));
        true
    }
}
