//! What workers and callers write beside steps: beginnings, ends and messages. Each is one statement.

use deadpool_postgres::Client;

use super::rows::{self, now, run_columns};
use super::trouble::Trouble;
use crate::run::{Epoch, Run, RunId, State, Step, millis};
use crate::store::{Claimed, End, Fence, NewRun, Signalled, Started, Worker, Written};

/// The columns of a new run, and from where in the parameters they come.
macro_rules! new_run {
    ($state:literal, $epoch:expr, $owner:literal, $attempts:literal) => {
        concat!(
            "insert into stormproof.run (id, name, version, input, fp, state, epoch, owner, attempts, wake_at, parent, \
             expires_at, created_at, changed_at) select $1, $2, $3, $4, $5, '",
            $state,
            "', ",
            $epoch,
            ", ",
            $owner,
            ", ",
            $attempts,
            ", at.ms + $7, $6, at.ms + $8, at.ms, at.ms from (select ",
            now!(),
            " as ms) as at on conflict (id) do nothing returning id, epoch"
        )
    };
}

pub(crate) async fn start(client: &mut Client, new: &NewRun) -> Result<Started, Trouble> {
    const START: &str = new_run!("queued", "0", "null::text", "0");
    loop {
        let (delay, ttl) = (millis(new.delay), new.ttl.map(millis));
        let parent = new.parent.as_ref().map(RunId::as_str);
        let id = new.id.as_str();
        let made =
            rows::one(client, START, &[&id, &new.name, &new.version, &&*new.input, &new.fp, &parent, &delay, &ttl])
                .await?;
        if made.is_some() {
            return Ok(Started::New);
        }
        if let Some(run) = present(client, &new.id).await? {
            return Ok(Started::Exists(Box::new(run)));
        }
    }
}

pub(crate) async fn start_claimed(
    client: &mut Client,
    new: &NewRun,
    worker: &Worker,
    first: &Step,
    again: bool,
) -> Result<Result<Epoch, Box<Run>>, Trouble> {
    const START: &str = concat!(
        "with made as (",
        new_run!("running", "at.ms", "$9", "1"),
        ") insert into stormproof.step (run_id, epoch, seq, name, fp, kind, state, value, attempt_id)
            select id, epoch, $10, $11, $12, $13, $14, $15, $16 from made returning epoch",
    );
    loop {
        let (delay, ttl) = (millis(new.delay), new.ttl.map(millis));
        let parent = new.parent.as_ref().map(RunId::as_str);
        let id = new.id.as_str();
        let made = rows::one(
            client,
            START,
            &[
                &id,
                &new.name,
                &new.version,
                &&*new.input,
                &new.fp,
                &parent,
                &delay,
                &ttl,
                &worker.id,
                &i64::from(first.seq),
                &first.name,
                &first.fp,
                &first.kind.as_str(),
                &first.state.as_str(),
                &first.value.as_deref(),
                &first.attempt_id,
            ],
        )
        .await?;
        if let Some(row) = made {
            return Ok(Ok(row.try_get(0)?));
        }
        let Some(run) = present(client, &new.id).await? else { continue };
        let mine = again && run.state == State::Running && run.owner.as_deref() == Some(&worker.id);
        let fence = Fence { run: new.id.clone(), epoch: run.epoch };
        if mine && wrote(client, &fence, first).await? {
            return Ok(Ok(run.epoch));
        }
        return Ok(Err(Box::new(run)));
    }
}

/// The run that has this id, unless its time is over: then it is forgotten.
async fn present(client: &mut Client, id: &RunId) -> Result<Option<Run>, Trouble> {
    const EXPIRED: &str = concat!(
        "select 1 from stormproof.run where id = $1 and state in ('ok', 'err', 'cancelled') and expires_at <= ",
        now!(),
        " for update"
    );
    let tx = client.transaction().await?;
    if rows::one(&tx, EXPIRED, &[&id.as_str()]).await?.is_none() {
        return peek_with(&tx, id).await;
    }
    forget(&tx, &[id.as_str()]).await?;
    tx.commit().await?;
    Ok(None)
}

/// Forgets runs, and how many steps they had.
pub(crate) async fn forget(client: &impl deadpool_postgres::GenericClient, runs: &[&str]) -> Result<u64, Trouble> {
    let steps = rows::change(client, "delete from stormproof.step where run_id = any($1)", &[&runs]).await?;
    rows::change(client, "delete from stormproof.inbox where run_id = any($1)", &[&runs]).await?;
    rows::change(client, "delete from stormproof.run where id = any($1)", &[&runs]).await?;
    Ok(steps)
}

pub(crate) async fn peek(client: &Client, id: &RunId) -> Result<Option<Run>, Trouble> {
    peek_with(client, id).await
}

pub(crate) async fn peek_with(
    client: &impl deadpool_postgres::GenericClient,
    id: &RunId,
) -> Result<Option<Run>, Trouble> {
    const SQL: &str = concat!("select ", run_columns!(), " from stormproof.run where id = $1");
    rows::one(client, SQL, &[&id.as_str()]).await?.map(|row| rows::run(&row)).transpose()
}

/// Both in one view, so that steps and run belong together.
pub(crate) async fn read(client: &mut Client, id: &RunId) -> Result<Option<Claimed>, Trouble> {
    let tx = client
        .build_transaction()
        .isolation_level(deadpool_postgres::tokio_postgres::IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    let Some(run) = peek_with(&tx, id).await? else { return Ok(None) };
    let steps = super::claims::steps_of(&tx, &[id.as_str()]).await?.remove(id.as_str()).unwrap_or_default();
    Ok(Some(Claimed { run, steps }))
}

pub(crate) async fn finish(client: &Client, fence: &Fence, last: Option<&Step>, end: &End) -> Result<Written, Trouble> {
    // A message that came after the worker had looked for one must not be slept through.
    const END: &str = concat!(
        "update stormproof.run set state = $3, result = $4, error = $5, owner = null, changed_at = at.ms,
            wake_at = case when $6::bigint is null then wake_at when $7 and signalled then at.ms else at.ms + $6 end,
            parked = $7 and not signalled, attempts = attempts - case when $7 and attempts > 0 then 1 else 0 end
        from (select ",
        now!(),
        " as ms) as at where id = $1 and epoch = $2 and state = 'running' returning id, epoch",
    );
    const END_WITH: &str = concat!(
        "with ended as (update stormproof.run set state = $3, result = $4, error = $5, owner = null, changed_at = at.ms,
            wake_at = case when $6::bigint is null then wake_at when $7 and signalled then at.ms else at.ms + $6 end,
            parked = $7 and not signalled, attempts = attempts - case when $7 and attempts > 0 then 1 else 0 end
        from (select ",
        now!(),
        " as ms) as at where id = $1 and epoch = $2 and state = 'running' returning id, epoch),
        last as (
            insert into stormproof.step (run_id, epoch, seq, name, fp, kind, state, value, attempt_id)
            select id, epoch, $8, $9, $10, $11, $12, $13, $14 from ended
            on conflict (run_id, seq) do update set name = excluded.name, fp = excluded.fp, kind = excluded.kind,
                state = excluded.state, value = excluded.value, epoch = excluded.epoch,
                attempt_id = excluded.attempt_id
                where step.state <> 'done')
        select id from ended",
    );
    let (state, result, error, after, parked) = match end {
        End::Ok(result) => (State::Ok, Some(&**result), None, None, false),
        End::Err(failure) => (State::Err, None, Some(rows::failure(failure)?), None, false),
        End::Blocked(failure) => (State::Blocked, None, Some(rows::failure(failure)?), None, false),
        End::Queued { after, parked } => (State::Queued, None, None, Some(millis(*after)), *parked),
    };
    let (id, name) = (fence.run.as_str(), state.as_str());
    let done = match last {
        None => rows::one(client, END, &[&id, &fence.epoch, &name, &result, &error, &after, &parked]).await?,
        Some(step) => {
            rows::one(
                client,
                END_WITH,
                &[
                    &id,
                    &fence.epoch,
                    &name,
                    &result,
                    &error,
                    &after,
                    &parked,
                    &i64::from(step.seq),
                    &step.name,
                    &step.fp,
                    &step.kind.as_str(),
                    &step.state.as_str(),
                    &step.value.as_deref(),
                    &step.attempt_id,
                ],
            )
            .await?
        }
    };
    if done.is_some() {
        return Ok(Written::Done);
    }
    let stands = "select 1 from stormproof.run where id = $1 and epoch = $2 and state = $3";
    let stands = rows::one(client, stands, &[&id, &fence.epoch, &name]).await?;
    Ok(if stands.is_some() { Written::Already } else { Written::Fenced })
}

pub(crate) async fn receive(
    client: &Client,
    fence: &Fence,
    topic: &str,
    step: &Step,
) -> Result<(Written, Option<Box<str>>), Trouble> {
    const SQL: &str = "
        with mine as (
            select id from stormproof.run where id = $1 and epoch = $2 and state = 'running' for share),
        message as (
            select inbox.run_id, inbox.topic, inbox.id from stormproof.inbox, mine
            where inbox.run_id = mine.id and inbox.topic = $3 and inbox.taken is null and not exists (
                select 1 from stormproof.step where step.run_id = $1 and step.seq = $4 and step.state = 'done')
            order by inbox.nr limit 1 for update of inbox),
        taken as (
            update stormproof.inbox set taken = $4 from message
            where inbox.run_id = message.run_id and inbox.topic = message.topic and inbox.id = message.id
            returning inbox.body),
        written as (
            insert into stormproof.step (run_id, epoch, seq, name, fp, kind, state, value, attempt_id)
            select $1, $2, $4, $5, $6, $7, 'done', body, $8 from taken
            on conflict (run_id, seq) do update set name = excluded.name, fp = excluded.fp, kind = excluded.kind,
                state = excluded.state, value = excluded.value, epoch = excluded.epoch,
                attempt_id = excluded.attempt_id)
        select exists (select 1 from mine), (select body from taken)";
    let id = fence.run.as_str();
    let row = rows::single(
        client,
        SQL,
        &[&id, &fence.epoch, &topic, &i64::from(step.seq), &step.name, &step.fp, &step.kind.as_str(), &step.attempt_id],
    )
    .await?;
    let body: Option<String> = row.try_get(1)?;
    if let Some(body) = body {
        return Ok((Written::Done, Some(body.into())));
    }
    let stands =
        "select value from stormproof.step where run_id = $1 and seq = $2 and attempt_id = $3 and state = 'done'";
    if let Some(row) = rows::one(client, stands, &[&id, &i64::from(step.seq), &step.attempt_id]).await? {
        return Ok((Written::Already, row.try_get::<_, Option<String>>(0)?.map(Into::into)));
    }
    Ok((if row.try_get(0)? { Written::Done } else { Written::Fenced }, None))
}

pub(crate) async fn signal(
    client: &Client,
    run: &RunId,
    topic: &str,
    id: &str,
    body: &str,
    again: bool,
) -> Result<Signalled, Trouble> {
    const SQL: &str = concat!(
        "with target as (select id, state from stormproof.run where id = $1 for update),
        sent as (
            insert into stormproof.inbox (run_id, topic, id, body)
            select id, $2, $3, $4 from target where state not in ('ok', 'err', 'cancelled')
            on conflict do nothing returning run_id),
        woken as (
            update stormproof.run set signalled = true,
                wake_at = case when state = 'queued' and parked then least(wake_at, ",
        now!(),
        ") else wake_at end from sent where run.id = sent.run_id)
        select target.state, exists (select 1 from sent) from target",
    );
    let Some(row) = rows::one(client, SQL, &[&run.as_str(), &topic, &id, &body]).await? else {
        return Ok(Signalled::Missing);
    };
    let state: &str = row.try_get(0)?;
    let sent: bool = row.try_get(1)?;
    Ok(match State::parse(state) {
        Some(state) if state.has_ended() => Signalled::Ended(state),
        // If this is not the first try, it is most likely ours.
        _ if sent || again => Signalled::Sent,
        _ => Signalled::Duplicate,
    })
}

/// Whether this very attempt has written the step.
pub(crate) async fn wrote(
    client: &impl deadpool_postgres::GenericClient,
    fence: &Fence,
    step: &Step,
) -> Result<bool, Trouble> {
    let sql = "select 1 from stormproof.step where run_id = $1 and seq = $2 and attempt_id = $3";
    let found = rows::one(client, sql, &[&fence.run.as_str(), &i64::from(step.seq), &step.attempt_id]).await?;
    Ok(found.is_some())
}
