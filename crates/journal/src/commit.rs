//! Commits: exactly once, because rows and record share one transaction.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::attempt::{Attempt, Interruption};
use crate::failed::Failed;
use crate::patience::{Patience, insist};
use crate::replay::Call;
use crate::run::Progress;
use crate::step::{Parts, Said};
#[cfg(feature = "postgres")]
use crate::store::postgres::PgTransaction;
use crate::store::{Committed, Undo, Work};
use crate::value::Unfit;

/// A commit, as a future. Made by [`Ctx::commit`](crate::Ctx::commit).
#[must_use = "a commit does nothing until it is awaited"]
pub struct CommitCall<Fut> {
    said: Said<(), ()>,
    under_way: Pin<Box<Fut>>,
}

impl<Fut> CommitCall<Fut> {
    /// What the commit is called with; see [`StepCall::input`](crate::StepCall::input).
    pub fn input(self, input: &(impl Serialize + ?Sized)) -> Self {
        self.said.change(|parts| parts.set_input(input));
        self
    }
}

impl<Fut: Future> Future for CommitCall<Fut> {
    type Output = Fut::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.under_way.as_mut().poll(cx)
    }
}

/// A commit on `SQLite`.
pub(crate) fn sqlite<T, E, F>(
    parts: Parts,
    work: F,
) -> CommitCall<impl Future<Output = Result<T, Failed>> + Send + use<T, E, F>>
where
    F: FnMut(&rusqlite::Transaction<'_>) -> Result<T, E> + Send + 'static,
    T: Serialize + DeserializeOwned + Send + 'static,
    E: Into<Failed> + 'static,
{
    let (said, heard) = Said::new(parts);
    let under_way = async move {
        let (parts, _) = heard.take().await;
        parts.while_driven(|parts| perform(parts, work)).await
    };
    CommitCall { said, under_way: Box::pin(under_way) }
}

/// A commit on `PostgreSQL`.
#[cfg(feature = "postgres")]
pub(crate) fn postgres<T, E, F, Fut>(
    parts: Parts,
    work: F,
) -> CommitCall<impl Future<Output = Result<T, Failed>> + Send + use<T, E, F, Fut>>
where
    F: FnMut(Arc<PgTransaction>) -> Fut + Send,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Serialize + DeserializeOwned + Send,
    E: Into<Failed> + Send + 'static,
{
    let (said, heard) = Said::new(parts);
    let under_way = async move {
        let (parts, _) = heard.take().await;
        parts.while_driven(|parts| perform_postgres(parts, work)).await
    };
    CommitCall { said, under_way: Box::pin(under_way) }
}

/// What became of the work in the last transaction that it ran in.
enum Outcome<T> {
    Value(T),
    Failed(Failed),
    /// Its value cannot be kept.
    Unfit(Unfit),
    Panicked(Box<dyn std::any::Any + Send>),
}

/// Where the thread that writes leaves it.
struct Slot<T>(Arc<Mutex<Option<Outcome<T>>>>);

impl<T> Slot<T> {
    fn put(&self, outcome: Outcome<T>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    fn take(&self) -> Option<Outcome<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Carries out a commit on `SQLite`.
async fn perform<T, E, F>(parts: Parts, mut work: F) -> Result<T, Failed>
where
    F: FnMut(&rusqlite::Transaction<'_>) -> Result<T, E> + Send + 'static,
    T: Serialize + DeserializeOwned + Send + 'static,
    E: Into<Failed>,
{
    let Parts { attempt, call, .. } = parts;
    let _busy = attempt.busy();
    if let Some(recorded) = attempt.recall(&call).await
        && let Some(result) = attempt.replay(&call, &recorded).await
    {
        return result;
    }
    attempt.rely().await;
    let slot = Slot(Arc::default());
    let (shared, seq, filled) = (attempt.shared.clone(), call.seq, Slot(slot.0.clone()));
    let mut work = Some(move |tx: &rusqlite::Transaction<'_>| {
        let (outcome, answer) = match catch_unwind(AssertUnwindSafe(|| work(tx).map_err(Into::into))) {
            Err(panic) => (Outcome::Panicked(panic), Err(Undo::Nothing)),
            Ok(Err(failed)) => {
                let failed: Failed = Failed::of_step(failed, seq);
                let failure = failed.as_failure().clone();
                (Outcome::Failed(failed), Err(Undo::Failed(failure)))
            }
            Ok(Ok(value)) => match shared.keep(&value) {
                Ok(json) => (Outcome::Value(value), Ok(json)),
                Err(unfit) => (Outcome::Unfit(unfit), Err(Undo::Nothing)),
            },
        };
        filled.put(outcome);
        answer
    });
    let step = attempt.step(&call, Progress::Done, None);
    let shared = Arc::new(Mutex::new(work.take()));
    let committed = insist!(&attempt.shared, {
        let shared = shared.clone();
        // The store may ask again: the work is lent, not given away.
        let work: Work = Box::new(move |tx: &rusqlite::Transaction<'_>| {
            let mut work = shared.lock().unwrap_or_else(PoisonError::into_inner);
            work.as_mut().map_or(Err(Undo::Nothing), |work| work(tx))
        });
        attempt.shared.store.commit(&attempt.fence, &step, work)
    });
    let committed = match committed {
        Ok(Some(committed)) => committed,
        Ok(None) => return Err(wrong_engine(&attempt, &call, "commit", "SQLite").await),
        Err(error) => match attempt.store_failed(&error).await {},
    };
    match committed {
        Committed::Written(written) => attempt.written(Ok(written)).await,
        Committed::Undone => {}
        Committed::Refused(why) => return Err(refused(&attempt, &call, &why).await),
    }
    outcome(&attempt, &call, slot.take()).await
}

async fn outcome<T>(attempt: &Attempt, call: &Call, outcome: Option<Outcome<T>>) -> Result<T, Failed> {
    match outcome {
        Some(Outcome::Value(value)) => {
            attempt.progress();
            Ok(value)
        }
        Some(Outcome::Failed(failed)) => Err(failed),
        Some(Outcome::Panicked(panic)) => resume_unwind(panic),
        Some(Outcome::Unfit(unfit)) => match attempt.unfit(call, unfit).await {},
        // It stood already, and the work did not run here: the next attempt reads what is recorded.
        None => match attempt.stop(Interruption::Fenced).await {},
    }
}

/// Carries out a commit on `PostgreSQL`.
#[cfg(feature = "postgres")]
async fn perform_postgres<T, E, F, Fut>(parts: Parts, mut work: F) -> Result<T, Failed>
where
    F: FnMut(Arc<PgTransaction>) -> Fut + Send,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Serialize + DeserializeOwned + Send,
    E: Into<Failed> + Send + 'static,
{
    let Parts { attempt, call, .. } = parts;
    let _busy = attempt.busy();
    if let Some(recorded) = attempt.recall(&call).await
        && let Some(result) = attempt.replay(&call, &recorded).await
    {
        return result;
    }
    attempt.rely().await;
    let shared = &attempt.shared;
    let Some(store) = shared.store.postgres() else {
        return Err(wrong_engine(&attempt, &call, "commit_postgres", "PostgreSQL").await);
    };
    let mut patience = Patience::new(shared);
    loop {
        let begun = match insist!(shared, store.begin(&attempt.fence)) {
            Ok(Some(transaction)) => Arc::new(transaction),
            Ok(None) => match attempt.stop(Interruption::Fenced).await {},
            Err(error) => match attempt.store_failed(&error).await {},
        };
        let working = attempt.within(call.seq, || work(begun.clone()));
        let result = attempt.operating(call.seq, working).await.map_err(Into::into);
        // What the work left with somebody else cannot be committed.
        let Some(transaction) = Arc::into_inner(begun) else {
            let message = format!("{} kept its transaction beyond its end", call.title());
            return Err(attempt.settle_failed(&call, Failed::new("transaction_kept", message)).await);
        };
        let value = match result {
            Ok(value) => value,
            Err(failed) => {
                let lost = store.lost(&transaction);
                transaction.rollback().await;
                // Not the work has failed but the database: it is done again.
                if let Some(error) = lost {
                    if patience.again(&error).await {
                        continue;
                    }
                    match attempt.store_failed(&error).await {}
                }
                return Err(attempt.settle_failed(&call, failed).await);
            }
        };
        let json = match shared.keep(&value) {
            Ok(json) => json,
            Err(unfit) => {
                transaction.rollback().await;
                match attempt.unfit(&call, unfit).await {}
            }
        };
        let step = attempt.step(&call, Progress::Done, Some(json));
        match store.commit(transaction, &attempt.fence, &step).await {
            Ok(Committed::Refused(why)) => return Err(refused(&attempt, &call, &why).await),
            Ok(Committed::Written(written)) => {
                attempt.written(Ok(written)).await;
                attempt.progress();
                return Ok(value);
            }
            // Only work on SQLite asks for that.
            Ok(Committed::Undone) => match attempt.stop(Interruption::Fenced).await {},
            // It did not happen: the work is done again. If it cannot be known, the next attempt reads what is recorded.
            Err(error) => {
                if !patience.again(&error).await {
                    match attempt.store_failed(&error).await {}
                }
            }
        }
    }
}

/// The error of a commit that the database does not make, such as one that violates a constraint that is checked only
/// then; it is recorded.
async fn refused(attempt: &Attempt, call: &Call, why: &str) -> Failed {
    let message = format!("{} cannot be committed: {why}", call.title());
    attempt.settle_failed(call, Failed::new("not_committed", message)).await
}

/// The error of a commit that the journal's engine cannot do; it is recorded.
async fn wrong_engine(attempt: &Attempt, call: &Call, method: &str, engine: &str) -> Failed {
    let message = format!("{} is a `{method}`, which needs a journal on {engine}", call.title());
    attempt.settle_failed(call, Failed::new("wrong_engine", message)).await
}
