//! The tables, and how an older database becomes one of this version.
//!
//! All are in a schema of their own, `stormproof`, so that a journal can share a database with what it commits to.

use deadpool_postgres::Client;

use super::trouble::Trouble;

/// The version of the tables that this program writes.
pub(crate) const VERSION: i64 = 1;

/// What two processes that open a new database at once take turns by. Any number, as long as it stays the same.
const LOCK: i64 = 0x5354_4f52_4d50_4721;

/// What leads from each version to the next.
const STEPS: &[&str] = &["
-- The highest epoch of all runs that were forgotten.
alter table stormproof.meta add column forgotten bigint not null default 0;

create table stormproof.worker (
    id text primary key, lease_until bigint not null, host text not null, version text not null);

create table stormproof.run (
    id text primary key, name text not null, version text not null, input text not null, fp text not null,
    state text not null, epoch bigint not null, owner text, attempts bigint not null, wake_at bigint not null,
    result text, error text, parent text, forked_from text, expires_at bigint, created_at bigint not null,
    changed_at bigint not null, parked boolean not null default false, signalled boolean not null default false)
    with (fillfactor = 80);
create index run_due on stormproof.run (name, version, wake_at) where state = 'queued';
create index run_held on stormproof.run (owner) where state = 'running';
create index run_listed on stormproof.run (created_at, id);
create index run_ended on stormproof.run (changed_at) where state in ('ok', 'err', 'cancelled');
create index run_expires on stormproof.run (expires_at) where state in ('ok', 'err', 'cancelled') and expires_at is not null;

create table stormproof.step (
    run_id text not null, seq bigint not null, name text not null, fp text not null, kind text not null,
    state text not null, value text, epoch bigint not null, attempt_id text not null, primary key (run_id, seq));

create table stormproof.inbox (
    run_id text not null, topic text not null, id text not null, body text not null,
    nr bigint generated always as identity, taken bigint, primary key (run_id, topic, id));

create table stormproof.task (id text primary key, rev bigint not null, state text not null, expires_at bigint not null);
create index task_expires on stormproof.task (expires_at);
"];

/// Why a database cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// A newer program has written it.
    Newer(i64),
    Trouble(Trouble),
}

impl From<Trouble> for Unusable {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<tokio_postgres::Error> for Unusable {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Trouble(error.into())
    }
}

/// Makes the tables, if that is allowed, or brings them up to this version.
pub(crate) async fn prepare(client: &mut Client, create: bool) -> Result<(), Unusable> {
    // Who may only read and write needs no right to create: most find everything done.
    match version(client).await? {
        Some(VERSION) => return Ok(()),
        None if !create => {
            return Err(Trouble::refused("the database has no tables of a journal").into());
        }
        _ => {}
    }
    let tx = client.transaction().await?;
    tx.execute("select pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    tx.batch_execute(
        "create schema if not exists stormproof; create table if not exists stormproof.meta (version bigint not null)",
    )
    .await?;
    let found = tx.query_opt("select version from stormproof.meta", &[]).await?.map(|row| row.get::<_, i64>(0));
    let have = match found {
        Some(newer) if newer > VERSION => return Err(Unusable::Newer(newer)),
        Some(version) => version,
        None => {
            tx.execute("insert into stormproof.meta (version) values (0)", &[]).await?;
            0
        }
    };
    let missing = usize::try_from(have).ok().and_then(|have| STEPS.get(have..));
    for step in missing.ok_or_else(|| Trouble::refused(format!("its schema says it has version {have}")))? {
        tx.batch_execute(step).await?;
    }
    tx.execute("update stormproof.meta set version = $1", &[&VERSION]).await?;
    tx.commit().await?;
    Ok(())
}

/// The version of the tables that are there, if any.
async fn version(client: &Client) -> Result<Option<i64>, Unusable> {
    let row = client.query_one("select to_regclass('stormproof.meta') is not null", &[]).await?;
    if !row.get::<_, bool>(0) {
        return Ok(None);
    }
    let found = client.query_opt("select version from stormproof.meta", &[]).await?.map(|row| row.get::<_, i64>(0));
    match found {
        Some(newer) if newer > VERSION => Err(Unusable::Newer(newer)),
        found => Ok(found),
    }
}
