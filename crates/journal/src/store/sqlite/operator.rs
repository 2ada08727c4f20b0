//! What operators do, and what others ask of a run from outside: signal, cancel, resume, fork, list.

use rusqlite::{Connection, named_params, params};

use super::clock::Now;
use super::retention::forgotten;
use super::rows::{self, run_columns};
use crate::run::{Progress, Run, RunId, State, millis};
use crate::store::decision::Edit;
use crate::store::{Changed, Decision, Filter, Signalled};

/// Puts a message into an inbox.
pub(super) fn signal(
    tx: &Connection,
    run: &RunId,
    topic: &str,
    id: &str,
    body: &str,
    now: Now,
) -> rusqlite::Result<Signalled> {
    let Some(there) = rows::find(tx, run)? else { return Ok(Signalled::Missing) };
    let twice = tx
        .prepare_cached("SELECT 1 FROM stormproof_inbox AS inbox WHERE run_id = ?1 AND topic = ?2 AND id = ?3")?
        .exists(params![run.as_str(), topic, id])?;
    if twice {
        return Ok(Signalled::Duplicate);
    }
    if there.state.has_ended() {
        return Ok(Signalled::Ended(there.state));
    }
    tx.prepare_cached("INSERT INTO stormproof_inbox AS inbox (run_id, topic, id, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![run.as_str(), topic, id, body])?;
    tx.prepare_cached(
        "UPDATE stormproof_run AS run SET signalled = 1, at_once = at_once OR parked,
             wake_at = CASE WHEN parked THEN min(wake_at, ?2) ELSE wake_at END
         WHERE id = ?1",
    )?
    .execute(params![run.as_str(), now.wall])?;
    Ok(Signalled::Sent)
}

/// Cancels what has not ended.
pub(super) fn cancel(tx: &Connection, id: &RunId, now: Now) -> rusqlite::Result<Changed> {
    let Some(run) = rows::find(tx, id)? else { return Ok(Changed::Missing) };
    if run.state.has_ended() {
        return Ok(Changed::Not(Box::new(run)));
    }
    let sql = concat!(
        "UPDATE stormproof_run AS run SET state = 'cancelled', epoch = max(epoch + 1, ?2), owner = NULL, wake_at = NULL, parked = 0,
             ended_at = ?2
         WHERE id = ?1 RETURNING ",
        run_columns!()
    );
    let run = tx.prepare_cached(sql)?.query_row(params![id.as_str(), now.wall], rows::run)?;
    Ok(Changed::Now(Box::new(run)))
}

/// Queues what is blocked, cancelled or failed.
pub(super) fn resume(tx: &Connection, id: &RunId, decision: &Decision, now: Now) -> rusqlite::Result<Changed> {
    let Some(run) = rows::find(tx, id)? else { return Ok(Changed::Missing) };
    if !matches!(run.state, State::Blocked | State::Cancelled | State::Err) {
        return Ok(Changed::Not(Box::new(run)));
    }
    if !decide(tx, &run, decision)? {
        return Ok(Changed::Not(Box::new(run)));
    }
    Ok(Changed::Now(Box::new(requeue(tx, &run, now)?)))
}

/// Queues a run, due now, as if it had not been tried.
pub(super) fn requeue(tx: &Connection, run: &Run, now: Now) -> rusqlite::Result<Run> {
    let sql = concat!(
        "UPDATE stormproof_run AS run SET state = 'queued', epoch = max(epoch + 1, ?2), owner = NULL, attempts = 0, wake_at = ?2,
             at_once = 1, parked = 0, result = NULL, error = NULL, ended_at = NULL
         WHERE id = ?1 RETURNING ",
        run_columns!()
    );
    tx.prepare_cached(sql)?.query_row(params![run.id.as_str(), now.wall], rows::run)
}

/// Does what an operator decides; `false` if it cannot be.
pub(super) fn decide(tx: &Connection, run: &Run, decision: &Decision) -> rusqlite::Result<bool> {
    let steps = tx
        .prepare_cached("SELECT seq, kind, state FROM stormproof_step AS step WHERE run_id = ?1 ORDER BY seq")?
        .query_map([run.id.as_str()], rows::seen)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let set = "UPDATE stormproof_step AS step SET state = ?3, value = ?4 WHERE run_id = ?1 AND seq = ?2";
    let set = |seq, state: Progress, value: Option<&str>| {
        tx.prepare_cached(set)?.execute(params![run.id.as_str(), seq, state.as_str(), value])
    };
    match decision.edit(run, &steps) {
        None => return Ok(false),
        Some(Edit::Nothing) => {}
        Some(Edit::Forget(seq)) => {
            tx.prepare_cached("DELETE FROM stormproof_step AS step WHERE run_id = ?1 AND seq = ?2")?
                .execute(params![run.id.as_str(), seq])?;
        }
        Some(Edit::Begin(seq)) => drop(set(seq, Progress::Begun, None)?),
        Some(Edit::Done(seq, value)) => drop(set(seq, Progress::Done, Some(value))?),
    }
    Ok(true)
}

/// Makes a run of the first steps of another.
pub(super) fn fork(
    tx: &Connection,
    from: &RunId,
    before: u32,
    new: &RunId,
    version: &str,
    now: Now,
) -> rusqlite::Result<Changed> {
    let Some(run) = rows::find(tx, from)? else { return Ok(Changed::Missing) };
    if let Some(there) = rows::find(tx, new)? {
        return Ok(Changed::Not(Box::new(there)));
    }
    let open = tx
        .prepare_cached("SELECT 1 FROM stormproof_step AS step WHERE run_id = ?1 AND seq < ?2 AND state = 'begun'")?
        .exists(params![from.as_str(), before])?;
    if open {
        return Ok(Changed::Not(Box::new(run)));
    }
    let sql = concat!(
        "INSERT INTO stormproof_run AS run (id, name, version, input, fp, state, epoch, attempts, wake_at, at_once, forked_from,
             created_at)
         SELECT ?2, name, ?3, input, fp, 'queued', ?5, 0, ?4, 1, id, ?4 FROM stormproof_run AS run WHERE id = ?1 RETURNING ",
        run_columns!()
    );
    let made = tx
        .prepare_cached(sql)?
        .query_row(params![from.as_str(), new.as_str(), version, now.wall, forgotten(tx)?], rows::run)?;
    tx.prepare_cached(
        "INSERT INTO stormproof_step AS step (run_id, seq, name, fp, kind, state, value, epoch, attempt_id)
         SELECT ?2, seq, name, fp, kind, state, value, epoch, attempt_id FROM stormproof_step AS step WHERE run_id = ?1 AND seq < ?3",
    )?
    .execute(params![from.as_str(), new.as_str(), before])?;
    Ok(Changed::Now(Box::new(made)))
}

/// The runs that match, newest first. A running one is as old as its claim, which its epoch tells.
pub(super) fn list(connection: &Connection, filter: &Filter, now: Now) -> rusqlite::Result<Vec<Run>> {
    // By name: their index is not used for a list that is a parameter.
    let states: Vec<String> = filter.states.iter().map(|state| format!("'{}'", state.as_str())).collect();
    let states = if states.is_empty() { String::new() } else { format!("state IN ({}) AND", states.join(", ")) };
    let sql = format!(
        concat!(
            "SELECT ",
            run_columns!(),
            " FROM stormproof_run AS run
         WHERE {states} (:workflow IS NULL OR name = :workflow)
           AND (:before IS NULL OR CASE state WHEN 'running' THEN epoch
               ELSE created_at END < :before)
           AND (:contains IS NULL OR instr(id, :contains) > 0)
         ORDER BY rowid DESC LIMIT :limit"
        ),
        states = states
    );
    connection
        .prepare_cached(&sql)?
        .query_map(
            named_params! {
                ":workflow": filter.workflow,
                ":before": filter.older_than.map(|age| now.wall.saturating_sub(millis(age))),
                ":contains": filter.contains,
                ":limit": filter.limit,
            },
            rows::run,
        )?
        .collect()
}
