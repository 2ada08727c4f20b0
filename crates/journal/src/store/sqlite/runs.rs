//! Runs: how they begin, are claimed, and end.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, named_params, params};

use super::clock::Now;
use super::lock::Locks;
use super::rows::{self, failure_text, run_columns};
use super::{operator, steps, workers};
use crate::run::{Epoch, Failure, Millis, Run, RunId, State, Step, millis};
use crate::store::{Decision, End, Fence, Found, NewRun, Started, Taken, Wanted, Worker, Written};

/// Makes a run, unless there is one.
pub(super) fn start(tx: &Connection, run: &NewRun, now: Now) -> rusqlite::Result<Started> {
    Ok(match make(tx, run, None, now)? {
        Ok(_) => Started::New,
        Err(there) => Started::Exists(there),
    })
}

/// Makes a run that `worker` has.
pub(super) fn start_claimed(
    tx: &Connection,
    run: &NewRun,
    worker: &str,
    first: &Step,
    now: Now,
) -> rusqlite::Result<Result<Epoch, Box<Run>>> {
    let made = make(tx, run, Some(worker), now)?;
    if let Ok(epoch) = made {
        steps::insert(tx, run.id.as_str(), &Step { epoch, ..first.clone() })?;
    }
    Ok(made)
}

fn make(tx: &Connection, run: &NewRun, owner: Option<&str>, now: Now) -> rusqlite::Result<Result<Epoch, Box<Run>>> {
    if let Some(there) = rows::find(tx, &run.id)? {
        if !there.state.has_ended() || there.expires_at.is_none_or(|end| end > now.wall) {
            return Ok(Err(Box::new(there)));
        }
        super::retention::delete(tx, &run.id)?;
    }
    let mut epoch = super::retention::forgotten(tx)?;
    if owner.is_some() {
        epoch = epoch.saturating_add(1).max(now.wall);
    }
    let wake_at = owner.is_none().then(|| now.wall.saturating_add(millis(run.delay)));
    tx.prepare_cached(
        "INSERT INTO stormproof_run AS run (id, name, version, input, fp, state, epoch, owner, attempts, wake_at, at_once, parent,
             expires_at, created_at)
         VALUES (:id, :name, :version, :input, :fp, :state, :epoch, :owner, :attempts, :wake_at, :at_once, :parent,
             :expires_at, :now)",
    )?
    .execute(named_params! {
        ":id": run.id.as_str(),
        ":name": run.name,
        ":version": run.version,
        ":input": run.input,
        ":fp": run.fp,
        ":state": if owner.is_some() { State::Running } else { State::Queued }.as_str(),
        ":epoch": epoch,
        ":owner": owner,
        ":attempts": i64::from(owner.is_some()),
        ":wake_at": wake_at,
        ":at_once": run.delay.is_zero(),
        ":parent": run.parent.as_ref().map(RunId::as_str),
        ":expires_at": run.ttl.map(|ttl| now.wall.saturating_add(millis(ttl))),
        ":now": now.wall,
    })?;
    Ok(Ok(epoch))
}

/// Claims what is due, and what the dead have left.
pub(super) fn claim(
    tx: &Connection,
    locks: &Locks,
    worker: &Worker,
    wanted: &Wanted,
    now: Now,
) -> rusqlite::Result<Found> {
    let mut found = Found::default();
    let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
    // All of them before the first is claimed: the worker's own lease may be over, too.
    let mut left = Vec::new();
    for owner in workers::dead(tx, locks, now)?.into_iter().chain(workers::gone(tx)?) {
        left.extend(left_by(tx, &owner, wanted)?);
    }
    claim_each(tx, left, worker, wanted, limit, now, &mut found)?;
    found.recovered = found.claimed.iter().map(|claimed| claimed.run.id.clone()).collect();
    // Those that are blocked instead make room for others.
    while found.claimed.len() < limit {
        let mut due = Vec::new();
        for (name, version) in &wanted.workflows {
            due.extend(due_of(tx, name, version, limit - found.claimed.len(), now)?);
        }
        if due.is_empty() {
            break;
        }
        due.sort_by_key(|run| run.0);
        let due = due.into_iter().map(|(_, id, attempts)| (id, attempts)).collect();
        claim_each(tx, due, worker, wanted, limit, now, &mut found)?;
    }
    let mut next: Option<Millis> = None;
    for (name, version) in &wanted.workflows {
        let due: Option<Millis> = tx
            .prepare_cached(
                "SELECT min(wake_at) FROM stormproof_run AS run
                 WHERE state = 'queued' AND name = ?1 AND version = ?2 AND at_once = 0 AND wake_at > ?3",
            )?
            .query_row(params![name, version, now.wall], |row| row.get(0))?;
        next = next.into_iter().chain(due).min();
    }
    found.next_due = next.map(|due| span(due.saturating_sub(now.wall)));
    Ok(found)
}

type Candidate = (RunId, u32);

fn left_by(tx: &Connection, owner: &str, wanted: &Wanted) -> rusqlite::Result<Vec<Candidate>> {
    let mut all = tx.prepare_cached(
        "SELECT id, attempts, name, version FROM stormproof_run AS run WHERE state = 'running' AND owner = ?1",
    )?;
    let mut rows = all.query([owner])?;
    let mut left = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, version) = (row.get_ref(2)?.as_str()?, row.get_ref(3)?.as_str()?);
        if wanted.workflows.iter().any(|it| it.0 == name && it.1 == version) {
            left.push((RunId::parse(row.get_ref(0)?.as_str()?), row.get(1)?));
        }
    }
    Ok(left)
}

/// The oldest that are due. Those that were due at once when they were queued are so by any clock.
fn due_of(
    tx: &Connection,
    name: &str,
    version: &str,
    limit: usize,
    now: Now,
) -> rusqlite::Result<Vec<(Millis, RunId, u32)>> {
    let mut due = Vec::new();
    for (at_once, until) in [(true, Millis::MAX), (false, now.wall)] {
        let mut some = tx.prepare_cached(
            "SELECT wake_at, id, attempts FROM stormproof_run AS run
             WHERE state = 'queued' AND name = ?1 AND version = ?2 AND at_once = ?3 AND wake_at <= ?4
             ORDER BY wake_at, rowid LIMIT ?5",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = some.query(params![name, version, at_once, until, limit])?;
        while let Some(row) = rows.next()? {
            due.push((row.get(0)?, RunId::parse(row.get_ref(1)?.as_str()?), row.get(2)?));
        }
    }
    Ok(due)
}

fn claim_each(
    tx: &Connection,
    candidates: Vec<Candidate>,
    worker: &Worker,
    wanted: &Wanted,
    limit: usize,
    now: Now,
    found: &mut Found,
) -> rusqlite::Result<()> {
    for (id, attempts) in candidates {
        if attempts >= wanted.max_attempts {
            let failure = Failure {
                kind: "too_many_attempts".into(),
                message: format!("{} attempts ended without a result", wanted.max_attempts),
                ..Failure::default()
            };
            tx.prepare_cached(
                "UPDATE stormproof_run AS run SET state = 'blocked', owner = NULL, wake_at = NULL, error = ?2, epoch = max(epoch + 1, ?3)
                 WHERE id = ?1",
            )?
            .execute(params![id.as_str(), failure_text(&failure), now.wall])?;
            found.blocked.push(id);
        } else if found.claimed.len() < limit {
            let run = give(tx, &id, &worker.id, now)?;
            found.claimed.push(rows::with_steps(tx, run)?);
        }
    }
    Ok(())
}

/// Makes the run the worker's, in a new epoch.
fn give(tx: &Connection, id: &RunId, worker: &str, now: Now) -> rusqlite::Result<Run> {
    let sql = concat!(
        "UPDATE stormproof_run AS run SET state = 'running', owner = ?2, epoch = max(epoch + 1, ?3), attempts = attempts + 1,
             wake_at = NULL, parked = 0, signalled = 0, error = NULL
         WHERE id = ?1 RETURNING ",
        run_columns!()
    );
    tx.prepare_cached(sql)?.query_row(params![id.as_str(), worker, now.wall], rows::run)
}

/// Claims this run if it can be had.
pub(super) fn take(
    tx: &Connection,
    locks: &Locks,
    worker: &Worker,
    id: &RunId,
    revive: bool,
    now: Now,
) -> rusqlite::Result<Taken> {
    let Some(run) = rows::find(tx, id)? else { return Ok(Taken::Missing) };
    match run.state {
        State::Queued if run.wake_at.is_none_or(|due| due <= now.wall) || is_at_once(tx, id)? => {}
        State::Running => {
            let owner = run.owner.as_deref().unwrap_or_default();
            if let Some(left) = workers::alive(tx, locks, owner, now)? {
                return Ok(Taken::Busy { lease: span(left) });
            }
        }
        State::Err if revive && run.error.as_ref().is_none_or(|failure| !failure.keep) => {
            operator::requeue(tx, &run, now)?;
            operator::decide(tx, &run, &Decision::Ask)?;
        }
        _ => return Ok(Taken::NotNow(Box::new(run))),
    }
    let run = give(tx, id, &worker.id, now)?;
    Ok(Taken::Claimed(Box::new(rows::with_steps(tx, run)?)))
}

fn is_at_once(tx: &Connection, id: &RunId) -> rusqlite::Result<bool> {
    tx.prepare_cached("SELECT 1 FROM stormproof_run AS run WHERE id = ?1 AND at_once")?.exists([id.as_str()])
}

/// Ends a run or gives it back.
pub(super) fn finish(
    tx: &Connection,
    fence: &Fence,
    last: Option<&Step>,
    end: &End,
    now: Now,
) -> rusqlite::Result<Written> {
    if let Some(step) = last
        && steps::record(tx, fence, step)? == Written::Fenced
    {
        return Ok(Written::Fenced);
    }
    let (state, result, error) = match end {
        End::Ok(value) => (State::Ok, Some(value), None),
        End::Err(failure) => (State::Err, None, Some(failure)),
        End::Blocked(failure) => (State::Blocked, None, Some(failure)),
        End::Parked { .. } => (State::Queued, None, None),
        End::Again { why, .. } => (State::Queued, None, Some(why)),
    };
    let parked = matches!(end, End::Parked { .. });
    let (wake_at, at_once) = match end {
        End::Parked { after } | End::Again { after, .. } => {
            (Some(now.wall.saturating_add(millis(*after))), after.is_zero())
        }
        _ => (None, false),
    };
    let written = tx
        .prepare_cached(
            // A signal that came while the run was on its way to park wakes it at once.
            "UPDATE stormproof_run AS run SET state = :state, owner = NULL, result = :result, error = :error, parked = :parked,
                 wake_at = CASE WHEN :parked AND signalled THEN min(:wake_at, :now) ELSE :wake_at END,
                 at_once = :at_once OR (:parked AND signalled),
                 attempts = CASE WHEN :parked THEN max(attempts - 1, 0) ELSE attempts END,
                 ended_at = CASE WHEN :ended THEN :now END
             WHERE id = :id AND epoch = :epoch AND state = 'running'",
        )?
        .execute(named_params! {
            ":id": fence.run.as_str(),
            ":epoch": fence.epoch,
            ":state": state.as_str(),
            ":result": result,
            ":error": error.map(failure_text),
            ":parked": parked,
            ":wake_at": wake_at,
            ":at_once": at_once,
            ":ended": state.has_ended(),
            ":now": now.wall,
        })?;
    if written > 0 {
        return Ok(Written::Done);
    }
    let there: Option<bool> = tx
        .prepare_cached("SELECT epoch = ?2 AND state = ?3 FROM stormproof_run AS run WHERE id = ?1")?
        .query_row(params![fence.run.as_str(), fence.epoch, state.as_str()], |row| row.get(0))
        .optional()?;
    Ok(if there == Some(true) { Written::Already } else { Written::Fenced })
}

/// A difference of times as a duration.
pub(super) fn span(time: Millis) -> Duration {
    Duration::from_millis(u64::try_from(time).unwrap_or(0))
}
