//! Workers: who is alive, and what becomes of the runs of those who are not.

use rusqlite::{Connection, params};

use super::clock::Now;
use super::lock::{Life, Locks};
use crate::run::{Millis, RunId, millis};
use crate::store::{Fence, Worker};

/// No lease is longer than a day.
const LONGEST: Millis = 86_400_000;

/// Makes the worker known, or renews its lease.
pub(super) fn join(tx: &Connection, worker: &Worker, now: Now) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO stormproof_worker AS worker (id, lease_until, host, version) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until",
    )?
    .execute(params![worker.id, until(worker, now), worker.host, worker.version])?;
    Ok(())
}

/// Renews the lease, and says which of `mine` are no longer the worker's.
pub(super) fn beat(tx: &Connection, worker: &Worker, mine: &[Fence], now: Now) -> rusqlite::Result<Option<Vec<RunId>>> {
    let known = tx
        .prepare_cached("UPDATE stormproof_worker AS worker SET lease_until = ?2 WHERE id = ?1")?
        .execute(params![worker.id, until(worker, now)])?;
    if known == 0 {
        return Ok(None);
    }
    let mut has = tx.prepare_cached(
        "SELECT 1 FROM stormproof_run AS run WHERE id = ?1 AND epoch = ?2 AND owner = ?3 AND state = 'running'",
    )?;
    let mut lost = Vec::new();
    for fence in mine {
        if !has.exists(params![fence.run.as_str(), fence.epoch, worker.id])? {
            lost.push(fence.run.clone());
        }
    }
    Ok(Some(lost))
}

/// Takes the worker away and gives back its runs.
pub(super) fn leave(tx: &Connection, worker: &str, now: Now) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE stormproof_run AS run SET state = 'queued', owner = NULL, wake_at = ?2, at_once = 1, parked = 0,
             attempts = max(attempts - 1, 0)
         WHERE state = 'running' AND owner = ?1",
    )?
    .execute(params![worker, now.wall])?;
    tx.prepare_cached("DELETE FROM stormproof_worker AS worker WHERE id = ?1")?.execute([worker])?;
    Ok(())
}

/// For how long the worker is alive at least; `None` if it is not.
pub(super) fn alive(tx: &Connection, locks: &Locks, worker: &str, now: Now) -> rusqlite::Result<Option<Millis>> {
    let mut lease = tx.prepare_cached("SELECT lease_until FROM stormproof_worker AS worker WHERE id = ?1")?;
    let mut rows = lease.query([worker])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let left = row.get::<_, Millis>(0)?.saturating_sub(now.boot);
    Ok(Some(left).filter(|left| lives(*left, locks.life(worker))))
}

/// The workers that are not alive.
pub(super) fn dead(tx: &Connection, locks: &Locks, now: Now) -> rusqlite::Result<Vec<String>> {
    let mut all = tx.prepare_cached("SELECT id, lease_until FROM stormproof_worker AS worker")?;
    let mut rows = all.query([])?;
    let mut dead = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get_ref(0)?.as_str()?;
        if !lives(row.get::<_, Millis>(1)?.saturating_sub(now.boot), locks.life(id)) {
            dead.push(id.to_owned());
        }
    }
    Ok(dead)
}

/// Those who have runs and are not known any more: what they claimed came after they had left.
pub(super) fn gone(tx: &Connection) -> rusqlite::Result<Vec<String>> {
    tx.prepare_cached(
        "SELECT DISTINCT owner FROM stormproof_run AS run
         WHERE state = 'running' AND owner NOT IN (SELECT id FROM stormproof_worker AS worker)",
    )?
    .query_map([], |row| row.get(0))?
    .collect()
}

/// Whether a worker with so much `left` of its lease is alive.
fn lives(left: Millis, life: Life) -> bool {
    match life {
        Life::Alive => left > 0,
        Life::Dead => false,
        // More than any lease is one from before the machine was started anew.
        Life::Unknown => (1..=LONGEST).contains(&left),
    }
}

fn until(worker: &Worker, now: Now) -> Millis {
    now.boot.saturating_add(millis(worker.ttl))
}
