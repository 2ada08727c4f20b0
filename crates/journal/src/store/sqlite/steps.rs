//! Steps: they are written only while the run is still the writer's.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::rows;
use crate::run::{Progress, Step};
use crate::store::{Fence, Written};

/// Writes a step in one statement: the fence, the rule that what is done stays, and the repeated attempt are its
/// conditions.
pub(super) fn record(tx: &Connection, fence: &Fence, step: &Step) -> rusqlite::Result<Written> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO stormproof_step AS step (run_id, seq, name, fp, kind, state, value, epoch, attempt_id)
         SELECT id, ?3, ?4, ?5, ?6, ?7, ?8, ?2, ?9 FROM stormproof_run AS run WHERE id = ?1 AND epoch = ?2 AND state = 'running'
         ON CONFLICT (run_id, seq) DO UPDATE SET
             name = excluded.name, fp = excluded.fp, kind = excluded.kind, state = excluded.state,
             value = excluded.value, epoch = excluded.epoch, attempt_id = excluded.attempt_id
         WHERE step.state <> 'done' AND step.attempt_id <> excluded.attempt_id
         RETURNING state = 'done' AND (SELECT attempts FROM stormproof_run AS run WHERE id = ?1) > 1",
    )?;
    let mut written = statement.query(params![
        fence.run.as_str(),
        fence.epoch,
        step.seq,
        step.name,
        step.fp,
        step.kind.as_str(),
        step.state.as_str(),
        step.value,
        step.attempt_id,
    ])?;
    let weary: Option<bool> = written.next()?.map(|row| row.get(0)).transpose()?;
    // Alone, the statement commits at its end, and only there is told if that did not work.
    while written.next()?.is_some() {}
    drop(written);
    if let Some(weary) = weary {
        if weary {
            // It moved on: only attempts that bring nothing count. If this is lost in a crash, the next step does it.
            tx.prepare_cached("UPDATE stormproof_run AS run SET attempts = 1 WHERE id = ?1 AND epoch = ?2")?
                .execute(params![fence.run.as_str(), fence.epoch])?;
        }
        return Ok(Written::Done);
    }
    Ok(if written_before(tx, fence, step)? { Written::Already } else { Written::Fenced })
}

/// Writes a step of a run that was made in this very transaction.
pub(super) fn insert(tx: &Connection, run: &str, step: &Step) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO stormproof_step AS step (run_id, seq, name, fp, kind, state, value, epoch, attempt_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        run,
        step.seq,
        step.name,
        step.fp,
        step.kind.as_str(),
        step.state.as_str(),
        step.value,
        step.epoch,
        step.attempt_id,
    ])?;
    Ok(())
}

/// Whether the run is still this writer's.
pub(super) fn holds(tx: &Connection, fence: &Fence) -> rusqlite::Result<bool> {
    tx.prepare_cached("SELECT 1 FROM stormproof_run AS run WHERE id = ?1 AND epoch = ?2 AND state = 'running'")?
        .exists(params![fence.run.as_str(), fence.epoch])
}

/// Whether this very attempt has written the step before.
pub(super) fn written_before(tx: &Connection, fence: &Fence, step: &Step) -> rusqlite::Result<bool> {
    tx.prepare_cached("SELECT 1 FROM stormproof_step AS step WHERE run_id = ?1 AND seq = ?2 AND attempt_id = ?3")?
        .exists(params![fence.run.as_str(), step.seq, step.attempt_id])
}

/// Takes the oldest message and records it as the value of `step`.
pub(super) fn receive(
    tx: &Transaction<'_>,
    fence: &Fence,
    topic: &str,
    step: &Step,
) -> rusqlite::Result<(Written, Option<Box<str>>)> {
    let there = rows::find_step(tx, &fence.run, step.seq)?;
    if let Some(there) = there.filter(|it| it.attempt_id == step.attempt_id && it.state == Progress::Done) {
        return Ok((Written::Already, there.value));
    }
    if !holds(tx, fence)? {
        return Ok((Written::Fenced, None));
    }
    let oldest: Option<(i64, Box<str>)> = tx
        .prepare_cached(
            "SELECT rowid, body FROM stormproof_inbox AS inbox WHERE run_id = ?1 AND topic = ?2 AND taken_by IS NULL
             ORDER BY rowid LIMIT 1",
        )?
        .query_row(params![fence.run.as_str(), topic], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((message, body)) = oldest else { return Ok((Written::Done, None)) };
    let step = Step { state: Progress::Done, value: Some(body.clone()), ..step.clone() };
    let written = record(tx, fence, &step)?;
    if written != Written::Done {
        // Another attempt has done this step: the message stays for the next one.
        return Ok((written, None));
    }
    tx.prepare_cached("UPDATE stormproof_inbox AS inbox SET taken_by = ?2 WHERE rowid = ?1")?
        .execute(params![message, step.seq])?;
    Ok((written, Some(body)))
}
