//! What operators ask: lists, decisions, copies, forgetting, size and soundness; and what a loop guard keeps.

use std::time::Duration;

use deadpool_postgres::{Client, GenericClient, Transaction};

use super::rows::{self, now, run_columns};
use super::trouble::Trouble;
use super::writes::{forget as forget_runs, peek_with};
use crate::run::{Run, RunId, State, millis};
use crate::store::decision::Edit;
use crate::store::{BATCH_STEPS, Changed, Decision, Filter, Forgotten, Retention, Size, Task};

pub(crate) async fn list(client: &Client, filter: &Filter) -> Result<Vec<Run>, Trouble> {
    const SQL: &str = concat!(
        "select ",
        run_columns!(),
        " from stormproof.run where ($1::text is null or name = $1) and ($2::text[] = '{}' or state = any($2))
            and ($3::bigint is null or case when state = 'running' then changed_at else created_at end <= ",
        now!(),
        " - $3) and ($4::text is null or position($4 in id) > 0) order by created_at desc, id desc limit $5",
    );
    let states: Vec<&str> = filter.states.iter().map(|state| state.as_str()).collect();
    let age = filter.older_than.map(millis);
    let limit = i64::from(filter.limit);
    let rows = rows::all(client, SQL, &[&filter.workflow, &states, &age, &filter.contains, &limit]).await?;
    rows.iter().map(rows::run).collect()
}

pub(crate) async fn cancel(client: &Client, id: &RunId, again: bool) -> Result<Changed, Trouble> {
    const SQL: &str = concat!(
        "update stormproof.run set state = 'cancelled', owner = null, parked = false, changed_at = ",
        now!(),
        ", epoch = greatest(epoch + 1, ",
        now!(),
        ") where id = $1 and state not in ('ok', 'err', 'cancelled') returning ",
        run_columns!(),
    );
    if let Some(row) = rows::one(client, SQL, &[&id.as_str()]).await? {
        return Ok(Changed::Now(Box::new(rows::run(&row)?)));
    }
    Ok(match peek_with(client, id).await? {
        Some(run) if again && run.state == State::Cancelled => Changed::Now(Box::new(run)),
        Some(run) => Changed::Not(Box::new(run)),
        None => Changed::Missing,
    })
}

pub(crate) async fn resume(
    client: &mut Client,
    id: &RunId,
    decision: &Decision,
    again: bool,
) -> Result<Changed, Trouble> {
    const LOOK: &str = concat!("select ", run_columns!(), " from stormproof.run where id = $1 for update");
    const QUEUE: &str = concat!(
        "update stormproof.run set state = 'queued', owner = null, attempts = 0, result = null, error = null, \
         parked = false, wake_at = ",
        now!(),
        ", changed_at = ",
        now!(),
        ", epoch = greatest(epoch + 1, ",
        now!(),
        ") where id = $1 returning ",
        run_columns!(),
    );
    let tx = client.transaction().await?;
    let Some(row) = rows::one(&tx, LOOK, &[&id.as_str()]).await? else { return Ok(Changed::Missing) };
    let run = rows::run(&row)?;
    if !matches!(run.state, State::Blocked | State::Cancelled | State::Err) {
        let done = again && run.state == State::Queued && run.attempts == 0;
        return Ok(if done { Changed::Now(Box::new(run)) } else { Changed::Not(Box::new(run)) });
    }
    let queued = rows::run(&rows::single(&tx, QUEUE, &[&id.as_str()]).await?)?;
    if !decide(&tx, &run, decision).await? {
        tx.rollback().await?;
        return Ok(Changed::Not(Box::new(run)));
    }
    tx.commit().await?;
    Ok(Changed::Now(Box::new(queued)))
}

/// Does what an operator decides of `run`; `false` if it cannot be.
async fn decide(tx: &Transaction<'_>, run: &Run, decision: &Decision) -> Result<bool, Trouble> {
    const SEEN: &str = "select seq, kind, state from stormproof.step where run_id = $1 order by seq";
    const FORGET: &str = "delete from stormproof.step where run_id = $1 and seq = $2";
    const BEGIN: &str = "update stormproof.step set state = 'begun', value = null where run_id = $1 and seq = $2";
    const DONE: &str = "update stormproof.step set state = 'done', value = $3 where run_id = $1 and seq = $2";
    let id = run.id.as_str();
    let steps = rows::all(tx, SEEN, &[&id]).await?.iter().map(rows::seen).collect::<Result<Vec<_>, _>>()?;
    match decision.edit(run, &steps) {
        None => return Ok(false),
        Some(Edit::Nothing) => {}
        Some(Edit::Forget(seq)) => drop(rows::change(tx, FORGET, &[&id, &i64::from(seq)]).await?),
        Some(Edit::Begin(seq)) => drop(rows::change(tx, BEGIN, &[&id, &i64::from(seq)]).await?),
        Some(Edit::Done(seq, value)) => drop(rows::change(tx, DONE, &[&id, &i64::from(seq), &value]).await?),
    }
    Ok(true)
}

pub(crate) async fn fork(
    client: &mut Client,
    from: &RunId,
    before: u32,
    new: &RunId,
    version: &str,
    again: bool,
) -> Result<Changed, Trouble> {
    const COPY: &str = concat!(
        "insert into stormproof.run (id, name, version, input, fp, state, epoch, attempts, wake_at, forked_from,
            created_at, changed_at)
        select $2, name, $3, input, fp, 'queued', forgotten, 0, at.ms, id, at.ms, at.ms
        from stormproof.run, (select forgotten from stormproof.meta) as mark, (select ",
        now!(),
        " as ms) as at where id = $1 on conflict (id) do nothing returning ",
        run_columns!(),
    );
    const STEPS: &str = "
        insert into stormproof.step (run_id, seq, name, fp, kind, state, value, epoch, attempt_id)
        select $2, seq, name, fp, kind, state, value, 0, attempt_id from stormproof.step
        where run_id = $1 and seq < $3 and state in ('done', 'failed')";
    let tx = client.transaction().await?;
    let Some(source) = peek_with(&tx, from).await? else { return Ok(Changed::Missing) };
    let taken = |there: Run| {
        let mine = again && there.forked_from.as_ref() == Some(from);
        if mine { Changed::Now(Box::new(there)) } else { Changed::Not(Box::new(there)) }
    };
    if let Some(there) = peek_with(&tx, new).await? {
        return Ok(taken(there));
    }
    let before = i64::from(before);
    let open = "select 1 from stormproof.step where run_id = $1 and seq < $2 and state = 'begun' limit 1";
    if rows::one(&tx, open, &[&from.as_str(), &before]).await?.is_some() {
        return Ok(Changed::Not(Box::new(source)));
    }
    let Some(row) = rows::one(&tx, COPY, &[&from.as_str(), &new.as_str(), &version]).await? else {
        return Ok(taken(peek_with(&tx, new).await?.unwrap_or(source)));
    };
    let run = rows::run(&row)?;
    rows::change(&tx, STEPS, &[&from.as_str(), &new.as_str(), &before]).await?;
    tx.commit().await?;
    Ok(Changed::Now(Box::new(run)))
}

/// That a run is a call that is made once and that its caller has given up: nobody takes it up but who calls again.
macro_rules! given_up {
    () => {
        concat!(
            "(version = '' and (state = 'queued' or (state = 'running' and not exists (select 1 from stormproof.worker
                where worker.id = run.owner and worker.lease_until > ",
            now!(),
            "))))"
        )
    };
}

/// Runs that may be forgotten: `$1` is how long ended ones are kept, `$2` how many.
macro_rules! forgettable {
    () => {
        concat!(
            "select id from stormproof.run where (state in ('ok', 'err', 'cancelled') or ",
            given_up!(),
            ") and (expires_at <= ",
            now!(),
            " or (expires_at is null and case when state in ('queued', 'running') then epoch else changed_at end <= ",
            now!(),
            " - $1::bigint) or ($2::bigint is not null and expires_at is null and state not in ('queued', 'running') and ($2 = 0
                or changed_at < (select changed_at from stormproof.run as youngest where state in ('ok', 'err', 'cancelled')
                    and expires_at is null order by changed_at desc offset greatest($2 - 1, 0) limit 1))))"
        )
    };
}

pub(crate) async fn forget(client: &mut Client, retention: &Retention) -> Result<Forgotten, Trouble> {
    const COUNT: &str = concat!(
        "with gone as (",
        forgettable!(),
        ") select (select count(*) from gone), (select count(*) from stormproof.step where run_id in (select id from gone)),
            (select count(*) from stormproof.task where expires_at <= ",
        now!(),
        "), (select count(*) from stormproof.worker where lease_until <= ",
        now!(),
        " and not exists (select 1 from stormproof.run where state = 'running' and owner = worker.id))",
    );
    const RUNS: &str = concat!(forgettable!(), " order by changed_at limit $3 for update skip locked");
    const TASKS: &str = concat!(
        "delete from stormproof.task where id in (select id from stormproof.task where expires_at <= ",
        now!(),
        " order by id limit $1 for update skip locked)",
    );
    // A worker whose runs nobody has taken over yet stays, as a sign of whose they were.
    const WORKERS: &str = concat!(
        "delete from stormproof.worker where lease_until <= ",
        now!(),
        " and not exists (select 1 from stormproof.run where state = 'running' and owner = worker.id)",
    );
    let ended = millis(retention.ended);
    let most = retention.most.map(|most| i64::try_from(most).unwrap_or(i64::MAX));
    let count = |number: i64| u64::try_from(number).unwrap_or_default();
    if retention.dry_run {
        let row = rows::single(client, COUNT, &[&ended, &most]).await?;
        let [runs, steps, tasks, workers] = [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?];
        return Ok(Forgotten { runs: count(runs), steps: count(steps), tasks: count(tasks), workers: count(workers) });
    }
    let batch = i64::from(retention.batch);
    let tx = client.transaction().await?;
    let rows = rows::all(&tx, RUNS, &[&ended, &most, &batch]).await?;
    let ids = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<&str>, _>>()?;
    let ids = few_steps(&tx, &ids).await?;
    let steps = if ids.is_empty() { 0 } else { forget_runs(&tx, &ids).await? };
    let tasks = rows::change(&tx, TASKS, &[&batch]).await?;
    let workers = rows::change(&tx, WORKERS, &[]).await?;
    tx.commit().await?;
    Ok(Forgotten { runs: ids.len() as u64, steps, tasks, workers })
}

/// So many of the runs, at least one, as have no more than [`BATCH_STEPS`] together.
async fn few_steps<'a>(tx: &Transaction<'_>, ids: &[&'a str]) -> Result<Vec<&'a str>, Trouble> {
    const SQL: &str = "
        select (select count(*) from stormproof.step where run_id = id) from unnest($1::text[]) with ordinality
            as run(id, nr) order by nr";
    let (mut few, mut sum) = (Vec::new(), 0_u64);
    for (id, row) in ids.iter().zip(rows::all(tx, SQL, &[&ids]).await?) {
        sum = sum.saturating_add(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or_default());
        if sum > BATCH_STEPS && !few.is_empty() {
            break;
        }
        few.push(*id);
    }
    Ok(few)
}

pub(crate) async fn erase(client: &mut Client, id: &RunId) -> Result<Changed, Trouble> {
    const LOOK: &str = concat!("select ", run_columns!(), " from stormproof.run where id = $1 for update");
    let tx = client.transaction().await?;
    let Some(row) = rows::one(&tx, LOOK, &[&id.as_str()]).await? else { return Ok(Changed::Missing) };
    let run = Box::new(rows::run(&row)?);
    if !run.state.has_ended() {
        return Ok(Changed::Not(run));
    }
    forget_runs(&tx, &[id.as_str()]).await?;
    tx.commit().await?;
    Ok(Changed::Now(run))
}

pub(crate) async fn size(client: &Client) -> Result<Size, Trouble> {
    const SQL: &str = concat!(
        "select (select count(*) from stormproof.worker where lease_until > ",
        now!(),
        "), (select sum(pg_total_relation_size(c.oid))::bigint from pg_class c join pg_namespace n
                on n.oid = c.relnamespace where n.nspname = 'stormproof' and c.relkind = 'r'),
            (select ",
        now!(),
        " - min(wake_at) from stormproof.run where state = 'queued' and version <> '')",
    );
    let mut size = Size::default();
    for row in rows::all(client, "select state, count(*) from stormproof.run group by state", &[]).await? {
        let (state, count): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
        let at = State::ALL.iter().position(|known| known.as_str() == state);
        if let Some(slot) = at.and_then(|at| size.runs.get_mut(at)) {
            *slot = u64::try_from(count).unwrap_or_default();
        }
    }
    let row = rows::single(client, SQL, &[]).await?;
    let number = |at| Ok::<_, Trouble>(u64::try_from(row.try_get::<_, Option<i64>>(at)?.unwrap_or(0)).unwrap_or(0));
    size.workers_alive = number(0)?;
    size.bytes = number(1)?;
    size.oldest_due = Duration::from_millis(number(2)?);
    Ok(size)
}

pub(crate) async fn task(client: &impl GenericClient, id: &str) -> Result<Option<Task>, Trouble> {
    const SQL: &str = concat!("select rev, state from stormproof.task where id = $1 and expires_at > ", now!());
    let Some(row) = rows::one(client, SQL, &[&id]).await? else { return Ok(None) };
    Ok(Some(Task { rev: row.try_get(0)?, state: row.try_get::<_, String>(1)?.into() }))
}

pub(crate) async fn keep_task(client: &Client, id: &str, task: &Task, ttl: Duration) -> Result<bool, Trouble> {
    // One whose time is over is not there. To keep the very same again is fine.
    const SQL: &str = concat!(
        "insert into stormproof.task as old (id, rev, state, expires_at)
            select $1, $2::bigint, $3, at.ms + $4 from (select ",
        now!(),
        " as ms) as at where $2::bigint = 1 or exists (select 1 from stormproof.task where id = $1)
        on conflict (id) do update set rev = excluded.rev, state = excluded.state, expires_at = excluded.expires_at
            where case when old.expires_at > ",
        now!(),
        " then old.rev = excluded.rev - 1 or (old.rev, old.state) = (excluded.rev, excluded.state)
                else excluded.rev = 1 end returning rev",
    );
    Ok(rows::one(client, SQL, &[&id, &task.rev, &&*task.state, &millis(ttl)]).await?.is_some())
}

pub(crate) async fn now(client: &Client) -> Result<i64, Trouble> {
    const SQL: &str = concat!("select ", now!());
    Ok(rows::single(client, SQL, &[]).await?.try_get(0)?)
}

/// PostgreSQL checks its pages as it reads them (if it was made with checksums); this asks whether the rows of all tables
/// can be read and make sense together.
pub(crate) async fn check(client: &Client) -> Result<Vec<String>, Trouble> {
    const SQL: &str = "
        select 'step ' || seq || ' of ' || run_id || ' has no run' from stormproof.step
            where not exists (select 1 from stormproof.run where id = run_id)
        union all select 'step ' || seq || ' of ' || run_id || ' is of a later epoch than its run'
            from stormproof.step join stormproof.run on run.id = run_id and run.epoch < step.epoch
        union all select 'step ' || seq || ' of ' || run_id || ' is ' || state || ', of kind ' || kind
            from stormproof.step where state not in ('begun', 'done', 'failed')
            or kind not in ('step', 'effect', 'commit', 'sleep', 'wait')
        union all select id || ' is ' || state from stormproof.run
            where state not in ('queued', 'running', 'blocked', 'ok', 'err', 'cancelled')
        union all select id || ' is running without a worker' from stormproof.run
            where state = 'running' and owner is null
        union all select 'message ' || id || ' of ' || run_id || ' has no run' from stormproof.inbox
            where not exists (select 1 from stormproof.run where run.id = run_id)
        limit 100";
    rows::all(client, SQL, &[]).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
