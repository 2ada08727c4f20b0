//! What is forgotten, and how much is there.

use rusqlite::{Connection, Params, params};

use super::clock::Now;
use super::lock::Locks;
use super::runs::span;
use super::{rows, workers};
use crate::run::{Epoch, Millis, RunId, State, millis};
use crate::store::{Changed, Forgotten, Retention, Size};

/// Forgets a batch, or counts all that could be forgotten.
pub(super) fn forget(tx: &Connection, locks: &Locks, retention: &Retention, now: Now) -> rusqlite::Result<Forgotten> {
    let batch = if retention.dry_run { i64::MAX } else { i64::from(retention.batch) };
    let mut forgotten = Forgotten::default();
    for id in ended(tx, retention, batch, now)? {
        forgotten.runs += 1;
        forgotten.steps += if retention.dry_run {
            count(tx, "SELECT count(*) FROM stormproof_step AS step WHERE run_id = ?1", [id.as_str()])?
        } else {
            delete(tx, &id)?
        };
    }
    forgotten.tasks = if retention.dry_run {
        count(tx, "SELECT count(*) FROM stormproof_task AS task WHERE expires_at <= ?1", [now.wall])?
    } else {
        let gone = tx
            .prepare_cached("DELETE FROM stormproof_task AS task WHERE id IN (SELECT id FROM stormproof_task AS task WHERE expires_at <= ?1 LIMIT ?2)")?
            .execute(params![now.wall, batch])?;
        gone as u64
    };
    for worker in workers::dead(tx, locks, now)? {
        let has_runs = tx
            .prepare_cached("SELECT 1 FROM stormproof_run AS run WHERE state = 'running' AND owner = ?1")?
            .exists([&worker])?;
        if has_runs {
            continue;
        }
        forgotten.workers += 1;
        if !retention.dry_run {
            tx.prepare_cached("DELETE FROM stormproof_worker AS worker WHERE id = ?1")?.execute([&worker])?;
            locks.sweep(&worker);
        }
    }
    Ok(forgotten)
}

fn ended(tx: &Connection, retention: &Retention, batch: i64, now: Now) -> rusqlite::Result<Vec<RunId>> {
    let before = now.wall.saturating_sub(millis(retention.ended));
    let mut ids: Vec<RunId> = tx
        .prepare_cached(
            "SELECT id FROM stormproof_run AS run WHERE ended_at IS NOT NULL AND expires_at <= ?1
             UNION ALL
             SELECT id FROM stormproof_run AS run WHERE ended_at <= ?2 AND expires_at IS NULL
             LIMIT ?3",
        )?
        .query_map(params![now.wall, before, batch], |row| Ok(RunId::parse(row.get_ref(0)?.as_str()?)))?
        .collect::<rusqlite::Result<_>>()?;
    let room = batch.saturating_sub(i64::try_from(ids.len()).unwrap_or(i64::MAX));
    if let Some(most) = retention.most.filter(|_| room > 0) {
        let all = count(
            tx,
            "SELECT count(*) FROM stormproof_run AS run WHERE ended_at IS NOT NULL AND expires_at IS NULL",
            [],
        )?;
        let surplus = i64::try_from(all.saturating_sub(most)).unwrap_or(i64::MAX).min(batch);
        let oldest: Vec<RunId> = tx
            .prepare_cached(
                "SELECT id FROM stormproof_run AS run WHERE ended_at IS NOT NULL AND expires_at IS NULL
                 ORDER BY ended_at, rowid LIMIT ?1",
            )?
            .query_map([surplus], |row| Ok(RunId::parse(row.get_ref(0)?.as_str()?)))?
            .collect::<rusqlite::Result<_>>()?;
        let known: std::collections::HashSet<RunId> = ids.iter().cloned().collect();
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        ids.extend(oldest.into_iter().filter(|id| !known.contains(id)).take(room));
    }
    Ok(ids)
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
    size.steps = count(connection, "SELECT count(*) FROM stormproof_step AS step", [])?;
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
