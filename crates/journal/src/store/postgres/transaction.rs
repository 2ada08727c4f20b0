//! A transaction of the database in which user code writes and the journal its record.

use std::error::Error as _;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::Object;
use tokio_postgres::{Error, Row, error::SqlState, types::ToSql};

use super::rows::{self, into_step, replace_step};
use super::{pool, trouble::Trouble};
use crate::run::Step;
use crate::store::{Fence, Written};

/// A transaction of the journal's PostgreSQL database: what is written through it and the record of the step become
/// visible together, or not at all.
///
/// The journal begins it and ends it; a statement that does so itself takes the promise away. Statements are prepared once
/// a connection. The run's row is locked while it lasts, and the server ends a transaction that rests longer than the
/// address's `timeout` (10 s): wait for nothing but the database in it. The journal's tables are in the schema
/// `stormproof`; names without a schema are looked up as the server is set up to.
pub struct PgTransaction {
    /// There until it ends.
    client: Option<Object>,
    id: i64,
    timeout: Duration,
    /// What a statement failed with that says nothing about the statement.
    lost: OnceLock<Box<str>>,
    /// Whether any statement failed.
    failed: AtomicBool,
}

/// How a transaction ended.
pub(crate) enum Ended {
    Known(Written),
    /// It cannot be committed, for something that was done in it.
    Refused(Box<str>),
    /// Whether it was committed is not known.
    Unknown(Trouble),
}

/// What became of the record in a transaction.
enum Recorded {
    Written,
    /// Another attempt has done the step.
    Before,
    /// What was done in the transaction does not allow it.
    Never(&'static str),
}

impl PgTransaction {
    /// Begins one, if the fence holds; it holds until the end then.
    pub(crate) async fn begin(client: Object, fence: &Fence, timeout: Duration) -> Result<Option<Self>, Trouble> {
        const MINE: &str = "select (select pg_current_xact_id()::text::bigint) from stormproof.run
            where id = $1 and epoch = $2 and state = 'running' for share";
        let mut tx =
            Self { client: Some(client), id: 0, timeout, lost: OnceLock::new(), failed: AtomicBool::new(false) };
        let begin = async {
            let client = tx.open()?;
            client.batch_execute("begin").await?;
            rows::one(client, MINE, &[&fence.run.as_str(), &fence.epoch]).await
        };
        let mine = tokio::time::timeout(timeout, begin).await.unwrap_or_else(|_| Err(Trouble::late(timeout)))?;
        let Some(row) = mine else {
            tx.rollback().await;
            return Ok(None);
        };
        tx.id = row.try_get(0)?;
        Ok(Some(tx))
    }

    /// Runs a statement; the answer is how many rows it changed.
    pub async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        let Some(client) = &self.client else { return Ok(0) };
        let statement = client.prepare_cached(sql).await.map_err(|error| self.noted(error))?;
        client.execute(&statement, params).await.map_err(|error| self.noted(error))
    }

    /// Runs a statement and reads all its rows.
    pub async fn query(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let Some(client) = &self.client else { return Ok(Vec::new()) };
        let statement = client.prepare_cached(sql).await.map_err(|error| self.noted(error))?;
        client.query(&statement, params).await.map_err(|error| self.noted(error))
    }

    /// Runs a statement and reads its row, if there is one. More than one is an error.
    pub async fn query_opt(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, Error> {
        let Some(client) = &self.client else { return Ok(None) };
        let statement = client.prepare_cached(sql).await.map_err(|error| self.noted(error))?;
        client.query_opt(&statement, params).await.map_err(|error| self.noted(error))
    }

    /// Runs statements that have no parameters, parted by semicolons.
    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        let Some(client) = &self.client else { return Ok(()) };
        client.batch_execute(sql).await.map_err(|error| self.noted(error))
    }

    /// Why what the user's code failed with is not its own failure: the connection was cut, or others were in the way. Then
    /// nothing has happened, and it can be done again.
    pub(crate) fn lost(&self) -> Option<Trouble> {
        self.lost.get().map(|why| Trouble::Away { why: why.clone(), broken: true })
    }

    fn noted(&self, error: Error) -> Error {
        self.failed.store(true, Ordering::Relaxed);
        let is_lost = match error.code().map(SqlState::code) {
            Some(code) => ["08", "40", "57P"].iter().any(|class| code.starts_with(class)),
            None => error.is_closed() || error.source().is_some_and(<dyn std::error::Error>::is::<std::io::Error>),
        };
        if is_lost {
            self.lost.get_or_init(|| error.to_string().into());
        }
        error
    }

    /// Writes the record and commits.
    pub(crate) async fn commit(mut self, fence: &Fence, step: &Step) -> Ended {
        let limit = self.timeout;
        match tokio::time::timeout(limit, self.record(fence, step)).await {
            Ok(Ok(Recorded::Written)) => {}
            Ok(Ok(Recorded::Before)) => return Ended::Known(Written::Fenced),
            Ok(Ok(Recorded::Never(why))) => return Ended::Refused(why.into()),
            // The commit was not sent: dropping the connection undoes it all.
            Ok(Err(trouble)) => return Ended::Unknown(trouble),
            Err(_) => return Ended::Unknown(Trouble::late(limit)),
        }
        let Some(client) = self.client.take() else { return Ended::Known(Written::Fenced) };
        match tokio::time::timeout(limit, client.batch_execute("commit")).await {
            Ok(Ok(())) => Ended::Known(Written::Done),
            // Constraints that are deferred are checked now, and their triggers run.
            Ok(Err(error)) => match Trouble::from(error) {
                Trouble::Refused(why) => Ended::Refused(why),
                trouble => {
                    pool::discard(client);
                    Ended::Unknown(trouble)
                }
            },
            Err(_) => {
                pool::discard(client);
                Ended::Unknown(Trouble::late(limit))
            }
        }
    }

    async fn record(&self, fence: &Fence, step: &Step) -> Result<Recorded, Trouble> {
        const RECORD: &str = concat!(
            into_step!(),
            " select $1, $2, $3, $4, $5, $6, $7, $8, $9 where pg_current_xact_id()::text::bigint = $10 ",
            replace_step!(),
            " returning seq",
        );
        let client = self.open()?;
        let row = rows::one(
            client,
            RECORD,
            &[
                &fence.run.as_str(),
                &fence.epoch,
                &i64::from(step.seq),
                &step.name,
                &step.fp,
                &step.kind.as_str(),
                &step.state.as_str(),
                &step.value.as_deref(),
                &step.attempt_id,
                &self.id,
            ],
        )
        .await;
        match row {
            Ok(Some(_)) => return Ok(Recorded::Written),
            Ok(None) => {}
            Err(Trouble::Refused(_)) if self.failed.load(Ordering::Relaxed) => {
                let never = Recorded::Never("a statement of it failed, and the work went on as if it had not");
                return self.lost().map_or(Ok(never), Err);
            }
            Err(trouble) => return Err(trouble),
        }
        let now = rows::single(client, "select pg_current_xact_id()::text::bigint = $1", &[&self.id]).await?;
        if now.try_get(0)? {
            return Ok(Recorded::Before);
        }
        Ok(Recorded::Never("a statement of it ended its transaction: leave begin and commit to the journal"))
    }

    /// Undoes everything.
    pub(crate) async fn rollback(mut self) {
        let Some(client) = self.client.take() else { return };
        let undone = tokio::time::timeout(self.timeout, client.batch_execute("rollback")).await;
        if !matches!(undone, Ok(Ok(()))) {
            pool::discard(client);
        }
    }

    fn open(&self) -> Result<&Object, Trouble> {
        self.client.as_ref().ok_or_else(|| Trouble::refused("the transaction has ended"))
    }
}

impl Drop for PgTransaction {
    /// Dropped on the way, its connection is in the middle of it: closing that undoes everything.
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            pool::discard(client);
        }
    }
}

impl fmt::Debug for PgTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgTransaction").field("id", &self.id).finish_non_exhaustive()
    }
}
