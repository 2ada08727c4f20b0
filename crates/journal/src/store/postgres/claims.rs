//! Who has which run: heartbeats and claims.

use std::collections::HashMap;
use std::time::Duration;

use deadpool_postgres::{Client, GenericClient};
use tokio_postgres::Row;

use super::rows::{self, RUN_COLUMNS, now, run_columns, step_columns};
use super::trouble::Trouble;
use crate::run::{Failure, RunId, State, Step, millis};
use crate::store::{Claimed, Fence, Found, Taken, Wanted, Worker};

pub(crate) async fn join(client: &Client, worker: &Worker) -> Result<(), Trouble> {
    const SQL: &str = concat!(
        "insert into stormproof.worker (id, lease_until, host, version) values ($1, ",
        now!(),
        " + $2, $3, $4) on conflict (id) do update set lease_until = excluded.lease_until",
    );
    rows::change(client, SQL, &[&worker.id, &millis(worker.ttl), &worker.host, &worker.version]).await?;
    Ok(())
}

pub(crate) async fn beat(client: &Client, worker: &Worker, mine: &[Fence]) -> Result<Option<Vec<RunId>>, Trouble> {
    const BEAT: &str = concat!("update stormproof.worker set lease_until = ", now!(), " + $2 where id = $1");
    const LOST: &str = "
        select mine.id from unnest($2::text[], $3::bigint[]) as mine(id, epoch)
        left join stormproof.run on run.id = mine.id and run.epoch = mine.epoch and run.state = 'running'
            and run.owner = $1
        where run.id is null";
    if rows::change(client, BEAT, &[&worker.id, &millis(worker.ttl)]).await? == 0 {
        return Ok(None);
    }
    if mine.is_empty() {
        return Ok(Some(Vec::new()));
    }
    // After the renewal, so that it sees every claim that took place while the lease was over.
    let ids: Vec<&str> = mine.iter().map(|fence| fence.run.as_str()).collect();
    let epochs: Vec<i64> = mine.iter().map(|fence| fence.epoch).collect();
    let lost = rows::all(client, LOST, &[&worker.id, &ids, &epochs]).await?;
    lost.iter().map(|row| Ok(RunId::parse(row.try_get(0)?))).collect::<Result<_, Trouble>>().map(Some)
}

pub(crate) async fn leave(client: &Client, worker: &Worker) -> Result<(), Trouble> {
    const SQL: &str = concat!(
        "with held as (select id from stormproof.run where state = 'running' and owner = $1 order by id for update),
        freed as (update stormproof.run set state = 'queued', owner = null, wake_at = ",
        now!(),
        ", attempts = greatest(attempts - 1, 0), parked = false, changed_at = ",
        now!(),
        " from held where run.id = held.id)
        delete from stormproof.worker where id = $1",
    );
    rows::change(client, SQL, &[&worker.id]).await?;
    Ok(())
}

/// What makes a run the worker's: `$1` is the worker.
macro_rules! claimed {
    () => {
        concat!(
            "epoch = greatest(run.epoch + 1, ",
            now!(),
            "), owner = $1, state = 'running', error = null, parked = false, signalled = false, changed_at = ",
            now!()
        )
    };
}

/// That a run's worker is gone.
macro_rules! orphaned {
    () => {
        concat!(
            "not exists (select 1 from stormproof.worker where worker.id = run.owner and worker.lease_until > ",
            now!(),
            ")"
        )
    };
}

/// `uncertain` holds what was claimed while it is not known whether that was committed.
pub(crate) async fn claim(
    client: &mut Client,
    worker: &Worker,
    wanted: &Wanted,
    uncertain: &mut Option<Found>,
) -> Result<Found, Trouble> {
    // Each workflow's own due runs are looked up: others may have left many that nobody here takes.
    // Those with too many attempts are counted among the `limit`, so that a heap of them cannot hold everything up.
    const CLAIM: &str = concat!(
        "with orphan as (
            select id, wake_at, true as orphaned from stormproof.run where state = 'running' and ",
        orphaned!(),
        " and (name, version) in (select * from unnest($2::text[], $3::text[]))
            order by wake_at limit $4 for update skip locked),
        due as (
            select due.*, false as orphaned from unnest($2::text[], $3::text[]) as wanted(name, version)
            cross join lateral (
                select id, wake_at from stormproof.run where state = 'queued' and wake_at <= ",
        now!(),
        " and run.name = wanted.name and run.version = wanted.version
                order by wake_at limit $4 for update skip locked) as due),
        picked as (
            select id, orphaned from (select * from orphan union all select * from due) as found order by wake_at, id limit $4),
        blocked as (
            update stormproof.run set epoch = greatest(run.epoch + 1, ",
        now!(),
        "), owner = null, state = 'blocked', error = $6, parked = false, changed_at = ",
        now!(),
        " from picked where run.id = picked.id and run.attempts >= $5 returning ",
        run_columns!(),
        ", picked.orphaned),
        claimed as (
            update stormproof.run set attempts = run.attempts + 1, ",
        claimed!(),
        " from picked where run.id = picked.id and run.attempts < $5 returning ",
        run_columns!(),
        ", picked.orphaned)
        select * from (select * from blocked union all select * from claimed) as run order by run.wake_at, run.id",
    );
    const NEXT: &str = concat!(
        "select min(next.wake_at) - ",
        now!(),
        " from unnest($1::text[], $2::text[]) as wanted(name, version)
        cross join lateral (
            select wake_at from stormproof.run where state = 'queued' and wake_at > ",
        now!(),
        " and run.name = wanted.name and run.version = wanted.version order by wake_at limit 1) as next",
    );
    let names: Vec<&str> = wanted.workflows.iter().map(|(name, _)| &**name).collect();
    let versions: Vec<&str> = wanted.workflows.iter().map(|(_, version)| &**version).collect();
    let (limit, most) = (i64::from(wanted.limit), i64::from(wanted.max_attempts));
    let too_many = rows::failure(&Failure {
        kind: "too_many_attempts".to_owned(),
        message: format!("{most} attempts ended without a result"),
        ..Failure::default()
    })?;

    if let Some(found) = uncertain.as_ref() {
        if stands(client, worker, &found.claimed).await? {
            return Ok(found.clone());
        }
        *uncertain = None;
    }
    let tx = client.transaction().await?;
    let rows = rows::all(&tx, CLAIM, &[&worker.id, &names, &versions, &limit, &most, &too_many]).await?;
    let mut found = Found::default();
    let mut runs = Vec::new();
    for row in &rows {
        let run = rows::run(row)?;
        if run.state == State::Blocked {
            found.blocked.push(run.id);
            continue;
        }
        if row.try_get("orphaned")? {
            found.recovered.push(run.id.clone());
        }
        runs.push(run);
    }
    let mut steps = steps_of(&tx, &runs.iter().map(|run| run.id.as_str()).collect::<Vec<_>>()).await?;
    let all = runs.into_iter().map(|run| Claimed { steps: steps.remove(run.id.as_str()).unwrap_or_default(), run });
    found.claimed = all.collect();
    let next = if found.claimed.len() + found.blocked.len() < usize::try_from(wanted.limit).unwrap_or(usize::MAX) {
        rows::single(&tx, NEXT, &[&names, &versions]).await?.try_get::<_, Option<i64>>(0)?
    } else {
        None
    };
    found.next_due = next.map(until);
    // Nothing to keep: nothing to wait for.
    if rows.is_empty() {
        tx.rollback().await?;
        return Ok(found);
    }
    *uncertain = Some(found);
    tx.commit().await?;
    Ok(uncertain.take().unwrap_or_default())
}

/// Whether claims stand of which it is not known whether they were committed.
async fn stands(client: &Client, worker: &Worker, claimed: &[Claimed]) -> Result<bool, Trouble> {
    // Waits for the transaction that was cut off, if it is still at it: its rows are locked until it has ended.
    const SQL: &str = "
        select count(*) from (
            select 1 from stormproof.run join unnest($2::text[], $3::bigint[]) as mine(id, epoch)
                on run.id = mine.id and run.epoch = mine.epoch
            where run.owner = $1 for update of run) as stands";
    let ids: Vec<&str> = claimed.iter().map(|claimed| claimed.run.id.as_str()).collect();
    let epochs: Vec<i64> = claimed.iter().map(|claimed| claimed.run.epoch).collect();
    let count: i64 = rows::single(client, SQL, &[&worker.id, &ids, &epochs]).await?.try_get(0)?;
    Ok(count > 0)
}

pub(crate) async fn take(
    client: &mut Client,
    worker: &Worker,
    id: &RunId,
    revive: bool,
    uncertain: &mut Option<Claimed>,
) -> Result<Taken, Trouble> {
    const LOOK: &str = concat!(
        "select ",
        run_columns!(),
        ", run.wake_at <= ",
        now!(),
        " as due, (select lease_until from stormproof.worker where worker.id = run.owner) - ",
        now!(),
        " as lease from stormproof.run where id = $1 for update of run",
    );
    const TAKE: &str = concat!(
        "update stormproof.run set attempts = case when state = 'err' then 1 else attempts + 1 end, result = null, ",
        claimed!(),
        " where id = $2 returning ",
        run_columns!(),
    );
    if let Some(claimed) = uncertain.as_ref() {
        if stands(client, worker, std::slice::from_ref(claimed)).await? {
            return Ok(Taken::Claimed(Box::new(claimed.clone())));
        }
        *uncertain = None;
    }
    let tx = client.transaction().await?;
    let Some(row) = rows::one(&tx, LOOK, &[&id.as_str()]).await? else { return Ok(Taken::Missing) };
    let run = rows::run(&row)?;
    let due: bool = row.try_get(RUN_COLUMNS)?;
    let lease: Option<i64> = row.try_get(RUN_COLUMNS + 1)?;
    let free = match run.state {
        State::Queued => due,
        State::Running => match lease {
            Some(lease @ 1..) => return Ok(Taken::Busy { lease: until(lease) }),
            _ => true,
        },
        State::Err => revive && !run.error.as_ref().is_some_and(|error| error.keep),
        _ => false,
    };
    if !free {
        return Ok(Taken::NotNow(Box::new(run)));
    }
    let run = rows::run(&rows::single(&tx, TAKE, &[&worker.id, &id.as_str()]).await?)?;
    let steps = steps_of(&tx, &[id.as_str()]).await?.remove(id.as_str()).unwrap_or_default();
    let claimed = Claimed { run, steps };
    *uncertain = Some(claimed.clone());
    tx.commit().await?;
    *uncertain = None;
    Ok(Taken::Claimed(Box::new(claimed)))
}

/// Steps in order, by run.
pub(crate) async fn steps_of(
    client: &impl GenericClient,
    runs: &[&str],
) -> Result<HashMap<String, Vec<Step>>, Trouble> {
    const SQL: &str =
        concat!("select ", step_columns!(), " from stormproof.step where run_id = any($1) order by run_id, seq");
    let mut steps: HashMap<String, Vec<Step>> = HashMap::new();
    if runs.is_empty() {
        return Ok(steps);
    }
    for row in rows::all(client, SQL, &[&runs]).await? {
        steps.entry(run_of(&row)?).or_default().push(rows::step(&row)?);
    }
    Ok(steps)
}

fn run_of(row: &Row) -> Result<String, Trouble> {
    Ok(row.try_get(8)?)
}

fn until(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or_default())
}
