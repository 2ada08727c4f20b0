//! A journal in a PostgreSQL database: for agents on many machines.
//!
//! Everything that belongs together is one statement where it can be, so that it costs one round trip and cannot be left
//! half done. Times and leases are by the database's clock. What is asked again after a cut connection is recognised as
//! done by what it wrote; the server finishes or undoes what a cut connection had begun, and whoever asks again waits for
//! that at the row.
//!
//! Owns the questions as the trait says them and asking again; connections are in `postgres/pool.rs`.

mod address;
mod claims;
mod lanes;
mod operate;
mod pool;
mod rows;
mod runs;
mod schema;
mod steps;
mod tls;
mod transaction;
mod trouble;
mod writes;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use transaction::PgTransaction;

use self::address::Address;
use self::lanes::Lanes;
use self::pool::{Connections, ask};
use self::runs::{Finish, Start};
use self::schema::Unusable;
use self::steps::Record;
use self::transaction::Ended;
use self::trouble::{Patience, Trouble};
use super::{
    Changed, Claimed, Committed, Decision, End, Fence, Filter, Forgotten, Found, Keep, NewRun, Retention, Signalled,
    Size, Started, Taken, Task, Wanted, Worker, Written,
};
use crate::error::{OpenError, StoreError};
use crate::run::{Epoch, Millis, Run, RunId, State, Step};

/// A journal's store in PostgreSQL.
#[derive(Clone, Debug)]
pub(crate) struct Postgres {
    connections: Connections,
    starts: Lanes<Start>,
    steps: Lanes<Record>,
    ends: Lanes<Finish>,
    at: Box<str>,
}

/// Asks until there is an answer or the time for it is over, with a connection of `$pool`. `$again` is whether it was
/// asked before, so that what is asked for may stand already.
macro_rules! again {
    ($store:expr, |$client:ident, $again:ident| $question:expr) => {
        again!($store, own, |$client, $again| $question)
    };
    ($store:expr, $pool:ident, |$client:ident, $again:ident| $question:expr) => {{
        let store: &Postgres = $store;
        let mut patience = Patience::new(store.connections.timeout);
        loop {
            let $again = patience.again();
            let _ = $again;
            match ask(&store.connections.$pool, store.connections.timeout, async |$client| $question.await).await {
                Ok(answer) => break Ok(answer),
                Err(trouble) => {
                    if let Err(trouble) = patience.after(trouble).await {
                        break Err(trouble.into_error(&store.at));
                    }
                }
            }
        }
    }};
}

impl Postgres {
    /// Connects, and makes the tables if they are not there.
    #[cfg(test)]
    pub(crate) async fn open(url: &str) -> Result<Self, OpenError> {
        Self::open_with(url, true).await
    }

    /// The same; `create` says whether tables that are not there are made.
    pub(crate) async fn open_with(url: &str, create: bool) -> Result<Self, OpenError> {
        let address = Address::parse(url)?;
        let connections = Connections::new(&address)?;
        let mut patience = Patience::new(address.timeout);
        loop {
            let mut newer = None;
            let prepared = ask(&connections.own, connections.timeout, async |client| {
                match schema::prepare(client, create).await {
                    Ok(()) => Ok(()),
                    Err(Unusable::Newer(found)) => {
                        newer = Some(found);
                        Ok(())
                    }
                    Err(Unusable::Trouble(trouble)) => Err(trouble),
                }
            })
            .await;
            match (prepared, newer) {
                (Ok(()), None) => break,
                (Ok(()), Some(found)) => {
                    return Err(OpenError::Newer { at: address.shown, found, known: schema::VERSION });
                }
                (Err(trouble), _) => {
                    patience.after(trouble).await.map_err(|trouble| trouble.into_error(&address.shown))?;
                }
            }
        }
        Ok(Self {
            starts: Lanes::start(&connections, &address.shown),
            steps: Lanes::start(&connections, &address.shown),
            ends: Lanes::start(&connections, &address.shown),
            connections,
            at: address.shown,
        })
    }

    /// Begins a transaction for a `commit`. `None`: the run is somebody else's.
    pub(crate) async fn begin(&self, fence: &Fence) -> Result<Option<PgTransaction>, StoreError> {
        let mut patience = Patience::new(self.connections.timeout);
        loop {
            let begin = async {
                let client = self.connections.commits.get().await?;
                PgTransaction::begin(client, fence, self.connections.timeout).await
            };
            match begin.await {
                Ok(transaction) => return Ok(transaction),
                Err(trouble) => patience.after(trouble).await.map_err(|trouble| trouble.into_error(&self.at))?,
            }
        }
    }

    /// Why what failed in the transaction may be done again.
    pub(crate) fn lost(&self, transaction: &PgTransaction) -> Option<StoreError> {
        transaction.lost().map(|trouble| trouble.into_error(&self.at))
    }

    /// Writes the record into the transaction and commits it. If the acknowledgement is lost, what became of it is looked
    /// up; an error then means that it did not happen, or that the database cannot be asked.
    pub(crate) async fn commit(
        &self,
        transaction: PgTransaction,
        fence: &Fence,
        step: &Step,
    ) -> Result<Committed, StoreError> {
        let trouble = match transaction.commit(fence, step).await {
            Ended::Known(written) => return Ok(Committed::Written(written)),
            Ended::Refused(why) => return Ok(Committed::Refused(why)),
            Ended::Unknown(trouble) => trouble,
        };
        if !trouble.is_away() {
            return Err(trouble.into_error(&self.at));
        }
        let stands = again!(self, |client, _again| stands(client, fence, step))?;
        if stands { Ok(Committed::Written(Written::Already)) } else { Err(trouble.into_error(&self.at)) }
    }
}

/// Whether a transaction that was cut off was committed after all. Waits until it has ended: it holds the run's row.
async fn stands(client: &mut deadpool_postgres::Client, fence: &Fence, step: &Step) -> Result<bool, Trouble> {
    let tx = client.transaction().await?;
    rows::one(&tx, "select 1 from stormproof.run where id = $1 for no key update", &[&fence.run.as_str()]).await?;
    let wrote = writes::wrote(&tx, fence, step).await?;
    tx.rollback().await?;
    Ok(wrote)
}

impl Keep for Postgres {
    async fn join(&self, worker: &Worker) -> Result<(), StoreError> {
        again!(self, beats, |client, again| claims::join(client, worker))
    }

    async fn beat(&self, worker: &Worker, mine: &[Fence]) -> Result<Option<Vec<RunId>>, StoreError> {
        again!(self, beats, |client, again| claims::beat(client, worker, mine))
    }

    async fn leave(&self, worker: &Worker) -> Result<(), StoreError> {
        again!(self, |client, again| claims::leave(client, worker))
    }

    async fn start(&self, run: &NewRun) -> Result<Started, StoreError> {
        loop {
            if self.starts.write(Start::queued(run)).await?.is_some() {
                return Ok(Started::New);
            }
            if let Some(there) = again!(self, |client, again| writes::present(client, &run.id))? {
                return Ok(Started::Exists(Box::new(there)));
            }
        }
    }

    async fn start_claimed(
        &self,
        run: &NewRun,
        worker: &Worker,
        first: &Step,
    ) -> Result<Result<Epoch, Box<Run>>, StoreError> {
        loop {
            if let Some(epoch) = self.starts.write(Start::claimed(run, worker, first)).await? {
                return Ok(Ok(epoch));
            }
            let Some(there) = again!(self, |client, again| writes::present(client, &run.id))? else { continue };
            if there.state == State::Running && there.owner.as_deref() == Some(&worker.id) {
                // Perhaps made by this very call, whose answer was lost.
                let fence = Fence { run: run.id.clone(), epoch: there.epoch };
                if again!(self, |client, again| writes::wrote(client, &fence, first))? {
                    return Ok(Ok(there.epoch));
                }
            }
            return Ok(Err(Box::new(there)));
        }
    }

    async fn claim(&self, worker: &Worker, wanted: &Wanted) -> Result<Found, StoreError> {
        let mut uncertain = None;
        again!(self, |client, again| claims::claim(client, worker, wanted, &mut uncertain))
    }

    async fn take(&self, worker: &Worker, run: &RunId, revive: bool) -> Result<Taken, StoreError> {
        let mut uncertain = None;
        again!(self, |client, again| claims::take(client, worker, run, revive, &mut uncertain))
    }

    async fn record(&self, fence: &Fence, step: &Step) -> Result<Written, StoreError> {
        self.steps.write(Record { fence: fence.clone(), step: step.clone() }).await
    }

    async fn finish(&self, fence: &Fence, last: Option<&Step>, end: &End) -> Result<Written, StoreError> {
        let finish = Finish::new(fence, last, end).map_err(|trouble| trouble.into_error(&self.at))?;
        self.ends.write(finish).await
    }

    async fn receive(
        &self,
        fence: &Fence,
        topic: &str,
        step: &Step,
    ) -> Result<(Written, Option<Box<str>>), StoreError> {
        again!(self, |client, again| writes::receive(client, fence, topic, step))
    }

    async fn signal(&self, run: &RunId, topic: &str, id: &str, body: &str) -> Result<Signalled, StoreError> {
        again!(self, |client, again| writes::signal(client, run, topic, id, body, again))
    }

    async fn read(&self, run: &RunId) -> Result<Option<Claimed>, StoreError> {
        again!(self, |client, again| writes::read(client, run))
    }

    async fn peek(&self, run: &RunId) -> Result<Option<Run>, StoreError> {
        again!(self, |client, again| writes::peek(client, run))
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Run>, StoreError> {
        again!(self, |client, again| operate::list(client, filter))
    }

    async fn cancel(&self, run: &RunId) -> Result<Changed, StoreError> {
        again!(self, |client, again| operate::cancel(client, run, again))
    }

    async fn resume(&self, run: &RunId, decision: &Decision) -> Result<Changed, StoreError> {
        again!(self, |client, again| operate::resume(client, run, decision, again))
    }

    async fn fork(&self, from: &RunId, before: u32, new: &RunId, version: &str) -> Result<Changed, StoreError> {
        again!(self, |client, again| operate::fork(client, from, before, new, version, again))
    }

    async fn forget(&self, retention: &Retention) -> Result<Forgotten, StoreError> {
        again!(self, |client, again| operate::forget(client, retention))
    }

    async fn erase(&self, run: &RunId) -> Result<Changed, StoreError> {
        again!(self, |client, again| operate::erase(client, run))
    }

    async fn size(&self) -> Result<Size, StoreError> {
        again!(self, |client, again| operate::size(client))
    }

    async fn task(&self, id: &str) -> Result<Option<Task>, StoreError> {
        again!(self, |client, again| operate::task(client, id))
    }

    async fn keep_task(&self, id: &str, task: &Task, ttl: Duration) -> Result<bool, StoreError> {
        again!(self, |client, again| operate::keep_task(client, id, task, ttl))
    }

    async fn now(&self) -> Result<Millis, StoreError> {
        again!(self, |client, again| operate::now(client))
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        again!(self, |client, again| operate::check(client))
    }
}
