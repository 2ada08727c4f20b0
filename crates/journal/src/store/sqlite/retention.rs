//! What is forgotten, and how much is there.

use rusqlite::{Connection, Params, params};

use super::clock::Now;
use super::lock::Locks;
use super::runs::span;
use super::{rows, workers};
use crate::run::{Epoch, Millis, RunId, State, millis};
use crate::store::{BATCH_STEPS, Changed, Forgotten, Retention, Size};

/// Forgets a batch.
pub(super) fn forget(tx: &Connection, locks: &Locks, retention: &Retention, now: Now) -> rusqlite::Result<Forgotten> {
    let mut forgotten = Forgotten::default();
    for id in runs(tx, locks, retention, retention.batch.into(), now)? {
        forgotten.runs += 1;
        forgotten.steps += delete(tx, &id)?;
        if forgotten.steps >= BATCH_STEPS {
            break;
        }
    }
    forgotten.tasks = tx
        .prepare_cached(
            "DELETE FROM stormproof_task AS task
             WHERE id IN (SELECT id FROM stormproof_task AS task WHERE expires_at <= ?1 LIMIT ?2)",
        )?
        .execute(params![now.wall, retention.batch])? as u64;
    for worker in idle(tx, locks, now)? {
        tx.prepare_cached("DELETE FROM stormproof_worker AS worker WHERE id = ?1")?.execute([&worker])?;
        locks.sweep(&worker);
        forgotten.workers += 1;
    }
    Ok(forgotten)
}

/// Counts all that could be forgotten.
pub(super) fn forgettable(
    connection: &Connection,
    locks: &Locks,
    retention: &Retention,
    now: Now,
) -> rusqlite::Result<Forgotten> {
    let mut forgotten = Forgotten::default();
    for id in runs(connection, locks, retention, i64::MAX, now)? {
        forgotten.runs += 1;
        forgotten.steps +=
            count(connection, "SELECT count(*) FROM stormproof_step AS step WHERE run_id = ?1", [id.as_str()])?;
    }
    forgotten.tasks =
        count(connection, "SELECT count(*) FROM stormproof_task AS task WHERE expires_at <= ?1", [now.wall])?;
    forgotten.workers = idle(connection, locks, now)?.len() as u64;
    Ok(forgotten)
}

/// Workers that are dead and have no runs.
fn idle(connection: &Connection, locks: &Locks, now: Now) -> rusqlite::Result<Vec<String>> {
    let mut has_runs =
        connection.prepare_cached("SELECT 1 FROM stormproof_run AS run WHERE state = 'running' AND owner = ?1")?;
    let mut idle = Vec::new();
    for worker in workers::dead(connection, locks, now)? {
        if !has_runs.exists([&worker])? {
            idle.push(worker);
        }
    }
    Ok(idle)
}

/// At most about so many runs that may be forgotten.
fn runs(
    connection: &Connection,
    locks: &Locks,
    retention: &Retention,
    batch: i64,
    now: Now,
) -> rusqlite::Result<Vec<RunId>> {
    let mut runs = ended(connection, retention, batch, now)?;
    runs.extend(given_up(connection, locks, retention, batch, now)?);
    Ok(runs)
}

/// At most so many calls that are made once and that their callers have given up: nobody takes them up but who calls
/// again. They are kept for as long as if they had been made when somebody had them last.
fn given_up(
    connection: &Connection,
    locks: &Locks,
    retention: &Retention,
    batch: i64,
    now: Now,
) -> rusqlite::Result<Vec<RunId>> {
    let before = now.wall.saturating_sub(millis(retention.ended));
    let mut calls = connection.prepare_cached(
        "SELECT id, NULL FROM stormproof_run AS run WHERE state = 'queued' AND version = ''
             AND (expires_at <= ?1 OR expires_at IS NULL AND epoch <= ?2)
         UNION ALL
         SELECT id, owner FROM stormproof_run AS run WHERE state = 'running' AND version = ''
             AND (expires_at <= ?1 OR expires_at IS NULL AND epoch <= ?2)
         LIMIT ?3",
    )?;
    let mut rows = calls.query(params![now.wall, before, batch])?;
    let mut given_up = Vec::new();
    while let Some(row) = rows.next()? {
        let owner: Option<String> = row.get(1)?;
        let alive = match owner {
            Some(owner) => workers::alive(connection, locks, &owner, now)?,
            None => None,
        };
        if alive.is_none() {
            given_up.push(RunId::parse(row.get_ref(0)?.as_str()?));
        }
    }
    Ok(given_up)
}

/// At most so many ended runs that may be forgotten. One with a time of its own is not forgotten before, however many
/// there are: it may be the key of a call that must not be made again.
fn ended(connection: &Connection, retention: &Retention, batch: i64, now: Now) -> rusqlite::Result<Vec<RunId>> {
    let before = now.wall.saturating_sub(millis(retention.ended));
    let most = retention.most.map_or(i64::MAX, |most| i64::try_from(most).unwrap_or(i64::MAX));
    connection
        .prepare_cached(
            "SELECT id FROM stormproof_run AS run WHERE ended_at IS NOT NULL AND expires_at <= ?1
             UNION ALL
             SELECT id FROM (
                 SELECT id, ended_at FROM stormproof_run AS run WHERE ended_at IS NOT NULL AND expires_at IS NULL
                 ORDER BY ended_at
                 LIMIT max((SELECT count(*) FROM stormproof_run AS run WHERE ended_at <= ?2 AND expires_at IS NULL),
                     (SELECT count(*) FROM stormproof_run AS run WHERE ended_at IS NOT NULL AND expires_at IS NULL) - ?3))
             LIMIT ?4",
        )?
        .query_map(params![now.wall, before, most, batch], |row| Ok(RunId::parse(row.get_ref(0)?.as_str()?)))?
        .collect()
}

/// Forgets a run that has ended.
pub(super) fn erase(tx: &Connection, id: &RunId) -> rusqlite::Result<Changed> {
    let Some(run) = rows::find(tx, id)?.map(Box::new) else { return Ok(Changed::Missing) };
    if !run.state.has_ended() {
        return Ok(Changed::Not(run));
    }
    delete(tx, id)?;
    Ok(Changed::Now(run))
}

/// The highest epoch of all runs that were forgotten. New ones go on from there: one of those may have had the same id,
/// and the clock may have been set back.
pub(super) fn forgotten(tx: &Connection) -> rusqlite::Result<Epoch> {
    tx.prepare_cached("SELECT forgotten FROM stormproof_meta AS meta")?.query_row([], |row| row.get(0))
}

/// Takes a run away with all that belongs to it, and says how many steps it had.
pub(super) fn delete(tx: &Connection, run: &RunId) -> rusqlite::Result<u64> {
    tx.prepare_cached(
        "UPDATE stormproof_meta AS meta SET forgotten = run.epoch FROM stormproof_run AS run
         WHERE run.id = ?1 AND run.epoch > forgotten",
    )?
    .execute([run.as_str()])?;
    let steps = tx.prepare_cached("DELETE FROM stormproof_step AS step WHERE run_id = ?1")?.execute([run.as_str()])?;
    tx.prepare_cached("DELETE FROM stormproof_inbox AS inbox WHERE run_id = ?1")?.execute([run.as_str()])?;
    tx.prepare_cached("DELETE FROM stormproof_run AS run WHERE id = ?1")?.execute([run.as_str()])?;
    Ok(steps as u64)
}

/// How much there is.
pub(super) fn size(connection: &Connection, locks: &Locks, now: Now) -> rusqlite::Result<Size> {
    let mut size = Size::default();
    let mut states = connection.prepare_cached("SELECT state, count(*) FROM stormproof_run AS run GROUP BY state")?;
    let mut rows = states.query([])?;
    while let Some(row) = rows.next()? {
        let state = State::parse(row.get_ref(0)?.as_str()?);
        if let Some(at) = State::ALL.iter().position(|it| Some(*it) == state) {
            size.runs[at] = natural(row.get(1)?);
        }
    }
    let dead = workers::dead(connection, locks, now)?.len() as u64;
    size.workers_alive =
        count(connection, "SELECT count(*) FROM stormproof_worker AS worker", [])?.saturating_sub(dead);
    let pages = count(connection, "PRAGMA page_count", [])?;
    size.bytes = pages.saturating_mul(count(connection, "PRAGMA page_size", [])?);
    let oldest: Option<Millis> = connection
        .prepare_cached("SELECT min(wake_at) FROM stormproof_run AS run WHERE state = 'queued' AND version <> ''")?
        .query_row([], |row| row.get(0))?;
    size.oldest_due = oldest.map(|due| span(now.wall.saturating_sub(due))).unwrap_or_default();
    Ok(size)
}

fn count(connection: &Connection, sql: &str, of: impl Params) -> rusqlite::Result<u64> {
    connection.prepare_cached(sql)?.query_row(of, |row| row.get(0)).map(natural)
}

/// What SQLite counts as a number that is never negative.
fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
