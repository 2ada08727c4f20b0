//! Rows of the tables as the nouns of the journal, and back.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::run::{Failure, Kind, Progress, Run, RunId, State, Step};
use crate::store::Claimed;
use crate::store::decision::Seen;

/// The columns of a run, in the order [`run`] reads them.
macro_rules! run_columns {
    () => {
        "id, name, version, input, fp, state, epoch, owner, attempts, wake_at, result, error, parent, forked_from, \
         expires_at, created_at"
    };
}
pub(super) use run_columns;

/// The columns of a step, in the order [`step`] reads them.
macro_rules! step_columns {
    () => {
        "seq, name, fp, kind, state, value, epoch, attempt_id"
    };
}

pub(super) fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    let error: Option<String> = row.get(11)?;
    Ok(Run {
        id: RunId::parse(row.get_ref(0)?.as_str()?),
        name: row.get(1)?,
        version: row.get(2)?,
        input: row.get(3)?,
        fp: row.get(4)?,
        state: word(row, 5, State::parse)?,
        epoch: row.get(6)?,
        owner: row.get(7)?,
        attempts: row.get(8)?,
        wake_at: row.get(9)?,
        result: row.get(10)?,
        error: error.map(|text| failure(&text)),
        parent: id(row, 12)?,
        forked_from: id(row, 13)?,
        expires_at: row.get(14)?,
        created_at: row.get(15)?,
    })
}

pub(super) fn step(row: &Row<'_>) -> rusqlite::Result<Step> {
    Ok(Step {
        seq: row.get(0)?,
        name: row.get(1)?,
        fp: row.get(2)?,
        kind: word(row, 3, Kind::parse)?,
        state: word(row, 4, Progress::parse)?,
        value: row.get(5)?,
        epoch: row.get(6)?,
        attempt_id: row.get(7)?,
    })
}

/// Number, kind and state of a step.
pub(super) fn seen(row: &Row<'_>) -> rusqlite::Result<Seen> {
    Ok(Seen { seq: row.get(0)?, kind: word(row, 1, Kind::parse)?, state: word(row, 2, Progress::parse)? })
}

/// The run `id`.
pub(super) fn find(connection: &Connection, id: &RunId) -> rusqlite::Result<Option<Run>> {
    let sql = concat!("SELECT ", run_columns!(), " FROM stormproof_run AS run WHERE id = ?1");
    connection.prepare_cached(sql)?.query_row([id.as_str()], run).optional()
}

/// The steps of the run `id`, in order.
pub(super) fn steps(connection: &Connection, id: &RunId) -> rusqlite::Result<Vec<Step>> {
    let sql = concat!("SELECT ", step_columns!(), " FROM stormproof_step AS step WHERE run_id = ?1 ORDER BY seq");
    connection.prepare_cached(sql)?.query_map([id.as_str()], step)?.collect()
}

/// The step `seq` of the run `id`.
pub(super) fn find_step(connection: &Connection, id: &RunId, seq: u32) -> rusqlite::Result<Option<Step>> {
    let sql = concat!("SELECT ", step_columns!(), " FROM stormproof_step AS step WHERE run_id = ?1 AND seq = ?2");
    connection.prepare_cached(sql)?.query_row(params![id.as_str(), seq], step).optional()
}

/// The run with its steps.
pub(super) fn with_steps(connection: &Connection, run: Run) -> rusqlite::Result<Claimed> {
    let steps = steps(connection, &run.id)?;
    Ok(Claimed { run, steps })
}

/// A failure as the tables have it.
pub(super) fn failure_text(failure: &Failure) -> String {
    serde_json::to_string(failure).unwrap_or_else(|_| failure.message.clone())
}

/// What [`failure_text`] wrote. What is no failure is a message.
fn failure(text: &str) -> Failure {
    serde_json::from_str(text).unwrap_or_else(|_| Failure {
        kind: "failed".into(),
        message: text.into(),
        ..Failure::default()
    })
}

fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<RunId>> {
    Ok(row.get_ref(column)?.as_str_or_null()?.map(RunId::parse))
}

fn word<T>(row: &Row<'_>, column: usize, parse: impl Fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    parse(text).ok_or_else(|| {
        let why = format!("no version of this program has written `{text}` here");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.into())
    })
}
