//! What is asked of the writer: closures of different needs, as jobs that all look alike.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::{Connection, Transaction};
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::store::sqlite::clock::Now;
use crate::store::sqlite::fault::Place;

/// What a request does, and what it needs for that.
pub(crate) trait Ask<T>: Send {
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
pub(crate) struct Statement<F>(pub(crate) F);

/// Reads, then one statement that writes: either it happens or it does not.
pub(crate) struct Single<F>(pub(crate) F);

/// Several statements that write: a savepoint takes them back if one fails.
pub(crate) struct Several<F>(pub(crate) F);

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

/// A request, whatever its type.
pub(super) trait Job: Send {
    fn is_gone(&self) -> bool;
    /// Does it in a transaction. An error has been noted as its answer.
    fn grouped(&mut self, tx: &Transaction<'_>, now: Now) -> Option<&rusqlite::Error>;
    /// Does it without one, if it can. An error has been noted as its answer.
    fn alone(&mut self, connection: &Connection, now: Now) -> Option<Result<(), &rusqlite::Error>>;
    /// Answers, with the error instead if the group failed.
    fn answer(self: Box<Self>, group: Result<(), Failed>, place: &Place);
}

/// A request that waits for its answer.
pub(super) struct Request<W, T> {
    work: W,
    pub(super) outcome: Option<rusqlite::Result<T>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<W, T> Request<W, T> {
    pub(super) fn new(work: W, answer: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self { work, outcome: None, answer }
    }
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
pub(crate) fn savepoint<T, E>(
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
pub(super) enum Failed {
    /// All would fail again.
    ForAll(StoreError),
    /// One of them is to blame, and the others would stand without it.
    ByOne(StoreError),
}
