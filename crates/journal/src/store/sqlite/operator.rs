//! What operators do, and what others ask of a run from outside: signal, cancel, resume, fork, list.

use rusqlite::{Connection, named_params, params};

use super::clock::Now;
use super::retention::forgotten;
use super::rows::{self, run_columns};
use crate::run::{Progress, Run, RunId, State, Step, millis};
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
    match decision {
        Decision::Ask => ask_again(tx, &run)?,
        Decision::Rerun => match in_the_way(tx, &run)?.as_slice() {
            [] => {}
            [step] if step.state != Progress::Done => forget(tx, &run.id, step.seq)?,
            _ => return Ok(Changed::Not(Box::new(run))),
        },
        Decision::Done(value) => {
            let open = in_the_way(tx, &run)?;
            let [step] = open.as_slice() else { return Ok(Changed::Not(Box::new(run))) };
            if step.state == Progress::Done && !run.is_undecodable() {
                return Ok(Changed::Not(Box::new(run)));
            }
            tx.prepare_cached(
                "UPDATE stormproof_step AS step SET state = 'done', value = ?3 WHERE run_id = ?1 AND seq = ?2",
            )?
            .execute(params![run.id.as_str(), step.seq, value])?;
        }
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

/// Lets the step in the way be tried again: an effect by its probe, anything else anew. What is done stays.
pub(super) fn ask_again(tx: &Connection, run: &Run) -> rusqlite::Result<()> {
    let failed = |step: &Step| step.state == Progress::Failed;
    let step = match run.error.as_ref().and_then(|failure| failure.seq) {
        Some(seq) => rows::find_step(tx, &run.id, seq)?.filter(failed),
        // Something that is still open beside it is asked by itself.
        None => rows::steps(tx, &run.id)?.into_iter().rev().find(failed),
    };
    let Some(step) = step else { return Ok(()) };
    if step.kind == crate::run::Kind::Effect {
        tx.prepare_cached(
            "UPDATE stormproof_step AS step SET state = 'begun', value = NULL WHERE run_id = ?1 AND seq = ?2",
        )?
        .execute(params![run.id.as_str(), step.seq])?;
        return Ok(());
    }
    forget(tx, &run.id, step.seq)
}

/// The step that the run's error names, else those that are not done. What is done happened, whatever somebody thinks of it;
/// and of several that are open, nobody has said which one a decision is about.
fn in_the_way(tx: &Connection, run: &Run) -> rusqlite::Result<Vec<Step>> {
    if let Some(seq) = run.error.as_ref().and_then(|failure| failure.seq) {
        return Ok(rows::find_step(tx, &run.id, seq)?.into_iter().collect());
    }
    Ok(rows::steps(tx, &run.id)?.into_iter().filter(|step| step.state != Progress::Done).collect())
}

fn forget(tx: &Connection, run: &RunId, seq: u32) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM stormproof_step AS step WHERE run_id = ?1 AND seq = ?2")?
        .execute(params![run.as_str(), seq])?;
    Ok(())
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
