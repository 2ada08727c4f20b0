//! The connection that writes, and who has it: the thread for a group, or, for one statement, whoever asks for it.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::task::block_in_place;

use super::request::{Failed, Job};
use crate::error::StoreError;
use crate::store::sqlite::clock::Clocks;
use crate::store::sqlite::fault::{Fault, Place};

/// At most so many requests share a transaction: the first of them waits for the last.
const GROUP: usize = 512;

/// What writes.
#[derive(Debug)]
pub(super) struct Line {
    connection: Mutex<Connection>,
    clocks: Clocks,
    busy: Duration,
    pub(super) place: Arc<Place>,
}

impl Line {
    pub(super) fn new(connection: Connection, clocks: Clocks, busy: Duration, place: Arc<Place>) -> Self {
        Self { connection: Mutex::new(connection), clocks, busy, place }
    }

    /// Writes one group after another, until nobody can ask any more.
    pub(super) fn serve(&self, queue: &Receiver<Box<dyn Job>>) {
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
    pub(super) fn write_here(&self, job: &mut dyn Job) -> Option<Result<(), StoreError>> {
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

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

/// How long a group waits for other processes that write to the same file. SQLite has no queue for them, so the pauses
/// are short.
pub(crate) struct Patience {
    limit: Duration,
    since: Option<Instant>,
    pause: Duration,
}

impl Patience {
    pub(crate) fn new(busy: Duration) -> Self {
        Self { limit: busy, since: None, pause: Duration::from_micros(50) }
    }

    /// Pauses, if the error is one that goes away by that and there is time left.
    pub(crate) fn waits(&mut self, error: &rusqlite::Error) -> bool {
        if !is_busy(error) || self.since.get_or_insert_with(Instant::now).elapsed() >= self.limit {
            return false;
        }
        thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(Duration::from_millis(2));
        true
    }
}
