//! Rows as the nouns of the journal, and questions with prepared statements.

use deadpool_postgres::GenericClient;
use tokio_postgres::{Row, types::ToSql};

use super::trouble::Trouble;
use crate::run::{Failure, Kind, Progress, Run, RunId, State, Step};
use crate::store::decision::Seen;

/// The database's clock in milliseconds, once a statement.
macro_rules! now {
    () => {
        "(select (extract(epoch from clock_timestamp()) * 1000)::bigint)"
    };
}

/// The columns of a run in the order in which [`run`](super::rows::run) reads them.
macro_rules! run_columns {
    () => {
        "run.id, run.name, run.version, run.input, run.fp, run.state, run.epoch, run.owner, run.attempts, run.wake_at, \
         run.result, run.error, run.parent, run.forked_from, run.expires_at, run.created_at"
    };
}

/// The columns of a step in the order in which [`step`](super::rows::step) reads them.
macro_rules! step_columns {
    () => {
        "step.seq, step.name, step.fp, step.kind, step.state, step.value, step.epoch, step.attempt_id, step.run_id"
    };
}

/// The beginning of a statement that writes steps, with the columns in this order.
macro_rules! into_step {
    () => {
        "insert into stormproof.step (run_id, epoch, seq, name, fp, kind, state, value, attempt_id)"
    };
}

/// And its end: a step that is there is replaced, unless it is done.
macro_rules! replace_step {
    () => {
        "on conflict (run_id, seq) do update set name = excluded.name, fp = excluded.fp, kind = excluded.kind, \
         state = excluded.state, value = excluded.value, epoch = excluded.epoch, attempt_id = excluded.attempt_id \
         where step.state <> 'done'"
    };
}

pub(crate) use {into_step, now, replace_step, run_columns, step_columns};

/// How many columns [`run_columns`] has.
pub(crate) const RUN_COLUMNS: usize = 16;

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// All rows.
pub(crate) async fn all(client: &impl GenericClient, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Trouble> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query(&statement, params).await?)
}

/// The only row, if there is one.
pub(crate) async fn one(client: &impl GenericClient, sql: &str, params: Params<'_>) -> Result<Option<Row>, Trouble> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query_opt(&statement, params).await?)
}

/// The only row of a question that always has one.
pub(crate) async fn single(client: &impl GenericClient, sql: &str, params: Params<'_>) -> Result<Row, Trouble> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query_one(&statement, params).await?)
}

/// How many rows it changed.
pub(crate) async fn change(client: &impl GenericClient, sql: &str, params: Params<'_>) -> Result<u64, Trouble> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.execute(&statement, params).await?)
}

pub(crate) fn run(row: &Row) -> Result<Run, Trouble> {
    let text = |at: usize| row.try_get::<_, Option<String>>(at);
    let state: &str = row.try_get(5)?;
    let state = State::parse(state).ok_or_else(|| strange("run.state", state))?;
    let error = match row.try_get::<_, Option<&str>>(11)? {
        Some(json) => Some(serde_json::from_str::<Failure>(json).map_err(|_| strange("run.error", json))?),
        None => None,
    };
    Ok(Run {
        id: RunId::parse(row.try_get(0)?),
        name: row.try_get(1)?,
        version: row.try_get(2)?,
        input: row.try_get::<_, String>(3)?.into(),
        fp: row.try_get(4)?,
        state,
        epoch: row.try_get(6)?,
        owner: text(7)?,
        attempts: u32::try_from(row.try_get::<_, i64>(8)?).unwrap_or(u32::MAX),
        wake_at: if state == State::Queued { Some(row.try_get(9)?) } else { None },
        result: text(10)?.map(Into::into),
        error,
        parent: text(12)?.map(|id| RunId::parse(&id)),
        forked_from: text(13)?.map(|id| RunId::parse(&id)),
        expires_at: row.try_get(14)?,
        created_at: row.try_get(15)?,
    })
}

pub(crate) fn step(row: &Row) -> Result<Step, Trouble> {
    let seq: i64 = row.try_get(0)?;
    let (kind, state): (&str, &str) = (row.try_get(3)?, row.try_get(4)?);
    Ok(Step {
        seq: u32::try_from(seq).map_err(|_| strange("step.seq", &seq.to_string()))?,
        name: row.try_get(1)?,
        fp: row.try_get(2)?,
        kind: Kind::parse(kind).ok_or_else(|| strange("step.kind", kind))?,
        state: Progress::parse(state).ok_or_else(|| strange("step.state", state))?,
        value: row.try_get::<_, Option<String>>(5)?.map(Into::into),
        epoch: row.try_get(6)?,
        attempt_id: row.try_get(7)?,
    })
}

/// Number, kind and state of a step.
pub(crate) fn seen(row: &Row) -> Result<Seen, Trouble> {
    let (seq, kind, state): (i64, &str, &str) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(Seen {
        seq: u32::try_from(seq).map_err(|_| strange("step.seq", &seq.to_string()))?,
        kind: Kind::parse(kind).ok_or_else(|| strange("step.kind", kind))?,
        state: Progress::parse(state).ok_or_else(|| strange("step.state", state))?,
    })
}

pub(crate) fn failure(failure: &Failure) -> Result<String, Trouble> {
    serde_json::to_string(failure).map_err(|error| Trouble::refused(error.to_string()))
}

fn strange(column: &str, value: &str) -> Trouble {
    let value: String = value.chars().take(100).collect();
    Trouble::refused(format!("no version of ours writes `{value}` into {column}"))
}
