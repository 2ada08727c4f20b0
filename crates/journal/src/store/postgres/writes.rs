//! What is asked one by one: runs by their id, and messages.

use deadpool_postgres::Client;

use super::rows::{self, into_step, now, replace_step, run_columns};
use super::trouble::Trouble;
use crate::run::{Run, RunId, State, Step};
use crate::store::{Claimed, Fence, Signalled, Written};

/// The run that has this id, unless its time is over: then it is forgotten.
pub(crate) async fn present(client: &mut Client, id: &RunId) -> Result<Option<Run>, Trouble> {
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
    const MARK: &str = "
        update stormproof.meta set forgotten = mark.epoch
        from (select max(epoch) as epoch from stormproof.run where id = any($1)) as mark where mark.epoch > forgotten";
    rows::change(client, MARK, &[&runs]).await?;
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

pub(crate) async fn receive(
    client: &Client,
    fence: &Fence,
    topic: &str,
    step: &Step,
) -> Result<(Written, Option<Box<str>>), Trouble> {
    const SQL: &str = concat!(
        "with mine as (
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
            ",
        into_step!(),
        " select $1, $2, $4, $5, $6, $7, 'done', body, $8 from taken ",
        replace_step!(),
        "),
        progress as (update stormproof.run set attempts = 1 where id in (
            select run.id from stormproof.run where run.id = $1 and run.attempts > 1 and exists (select 1 from taken)
            for no key update skip locked))
        select exists (select 1 from mine), (select body from taken)",
    );
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
        select target.state, exists (select 1 from sent), exists (
            select 1 from stormproof.inbox where run_id = target.id and topic = $2 and inbox.id = $3) from target",
    );
    let Some(row) = rows::one(client, SQL, &[&run.as_str(), &topic, &id, &body]).await? else {
        return Ok(Signalled::Missing);
    };
    let state: &str = row.try_get(0)?;
    let (sent, before): (bool, bool) = (row.try_get(1)?, row.try_get(2)?);
    Ok(match State::parse(state) {
        // If this is not the first try, it is most likely ours.
        _ if sent || before && again => Signalled::Sent,
        _ if before => Signalled::Duplicate,
        Some(state) if state.has_ended() => Signalled::Ended(state),
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
