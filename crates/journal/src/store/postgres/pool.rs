//! Connections: opened, set up, held, given back, and thrown away when nobody knows what state they are in.

use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime,
};

use super::{address::Address, tls, trouble::Trouble};
use crate::error::StoreError;

/// How many connections write each kind of groups. Each sends what has gathered while the other was away.
pub(crate) const LANES: usize = 2;

/// The connections of a journal, in pools of their own, so that nothing keeps the heartbeat waiting: not user code, not a
/// flood of steps, and no question that waits for the row of a run.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    /// For the heartbeat.
    pub(crate) beats: Pool,
    /// For the journal's questions.
    pub(crate) own: Pool,
    /// For `commit`, where user code holds them.
    pub(crate) commits: Pool,
    /// For what is written in groups: beginnings of runs, steps, and ends of runs.
    pub(crate) lanes: Pool,
    /// How long a question may take.
    pub(crate) timeout: Duration,
}

impl Connections {
    pub(crate) fn new(address: &Address) -> Result<Self, StoreError> {
        let session = session(address.timeout);
        // Without figures about a table that fills while it is used, a plan that is right for an empty one is kept. What
        // has no index is then thought to cost so much that the plan were worth compiling, each time.
        let groups =
            format!("{session}; set enable_seqscan = off; set plan_cache_mode = force_generic_plan; set jit = off");
        Ok(Self {
            beats: pool(address, 1, session.clone())?,
            own: pool(address, address.pool, session.clone())?,
            commits: pool(address, address.pool, session)?,
            lanes: pool(address, 3 * LANES, groups)?,
            timeout: address.timeout,
        })
    }
}

/// Asks with a connection of a pool, within the time for a question. A connection whose state is not known is closed,
/// which ends what it was about to do.
pub(crate) async fn ask<T>(
    pool: &Pool,
    limit: Duration,
    question: impl AsyncFnOnce(&mut Object) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let mut client = pool.get().await?;
    let answer = tokio::time::timeout(limit, question(&mut client)).await;
    let answer = answer.unwrap_or_else(|_| Err(Trouble::late(limit)));
    if answer.as_ref().is_err_and(Trouble::is_broken) {
        discard(client);
    }
    answer
}

/// Closes a connection; the server rolls back what it had begun.
pub(crate) fn discard(client: Object) {
    drop(Object::take(client));
}

fn pool(address: &Address, size: usize, session: String) -> Result<Pool, StoreError> {
    let refused = |why: String| Trouble::refused(why).into_error(&address.shown);
    let connector = tls::connector(address.tls).map_err(refused)?;
    let fast = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let setup = Hook::async_fn(move |client: &mut ClientWrapper, _| {
        let session = session.clone();
        Box::pin(async move { client.batch_execute(&session).await.map_err(HookError::Backend) })
    });
    Pool::builder(Manager::from_config(address.config.clone(), connector, fast))
        .max_size(size)
        .wait_timeout(Some(address.timeout))
        .create_timeout(Some(address.timeout))
        .runtime(Runtime::Tokio1)
        .post_create(setup)
        .build()
        .map_err(|error| refused(error.to_string()))
}

/// What each session is told: a process that is paused in a transaction, or whose machine is gone, must not keep others
/// from its rows; and what is acknowledged must be on disk, whatever the server's default.
fn session(timeout: Duration) -> String {
    let (ms, s) = (timeout.as_millis(), timeout.as_secs().max(1));
    format!(
        "set lock_timeout = {ms}; set idle_in_transaction_session_timeout = {ms}; \
         set tcp_keepalives_idle = {s}; set tcp_keepalives_interval = 2; set tcp_keepalives_count = 3; \
         select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'"
    )
}
