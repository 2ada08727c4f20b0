//! One of the stores, chosen by the journal's address.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::memory::Memory;
#[cfg(feature = "postgres")]
use super::postgres::Postgres;
use super::sqlite::{Clocks, Options, Sqlite};
use super::{
    Changed, Claimed, Committed, Decision, Fence, Filter, Forgotten, Found, Keep, NewRun, Retention, Signalled, Size,
    Started, Taken, Task, Wanted, Work, Worker, Written,
};
use stormproof::Clock;

use crate::error::{OpenError, StoreError};
use crate::run::{Epoch, Millis, Run, RunId, Step};
use crate::store::End;

/// Where the time of day comes from.
pub(crate) type Wall = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What a store needs to know when it is opened.
#[derive(Clone)]
pub(crate) struct Opening {
    /// The time of day, for stores that have no clock of their own. `None`: the system's.
    pub(crate) wall: Option<Wall>,
    /// The time of a store in memory, unless `wall` says otherwise.
    pub(crate) clock: Clock,
    /// Whether a journal that is not there is made. If not, nothing is: no file, no database, no table.
    pub(crate) create: bool,
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}

/// One of the stores.
#[derive(Debug)]
pub(crate) enum Store {
    /// In this process alone.
    Memory(Memory),
    /// For many machines.
    #[cfg(feature = "postgres")]
    Postgres(Postgres),
    /// In a file.
    Sqlite(Sqlite),
}

/// Hands a method on to whichever store it is.
macro_rules! each {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            Store::Memory($store) => $call.await,
            #[cfg(feature = "postgres")]
            Store::Postgres($store) => $call.await,
            Store::Sqlite($store) => $call.await,
        }
    };
}

impl Store {
    /// Opens the store at `url`.
    pub(crate) async fn open(url: &str, opening: &Opening) -> Result<Self, OpenError> {
        if url == "memory:" {
            let clock = opening.clock.clone();
            let by_clock = move || SystemTime::UNIX_EPOCH + Duration::from_nanos(clock.now().as_nanos());
            return Ok(Self::Memory(Memory::new(opening.wall.clone().unwrap_or_else(|| Arc::new(by_clock)))));
        }
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path).to_owned();
            let clocks = opening.wall.clone().map_or_else(Clocks::default, |wall| Clocks::with_wall(move || wall()));
            let options = Options { clocks, create: opening.create, ..Options::default() };
            return Sqlite::open_aside(path, options).await.map(Self::Sqlite);
        }
        #[cfg(feature = "postgres")]
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            return Postgres::open_with(url, opening.create).await.map(Self::Postgres);
        }
        Err(OpenError::Address { url: without_password(url).into(), why: "".into() })
    }
}

impl Store {
    /// A commit of `SQLite`; `None` if this is another engine.
    pub(crate) async fn commit(&self, fence: &Fence, step: &Step, work: Work) -> Result<Option<Committed>, StoreError> {
        match self {
            Self::Sqlite(store) => store.commit(fence, step, work).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Lets go of what this process holds as a sign that `worker` lives: it will not come back.
    pub(crate) fn forsake(&self, worker: &Worker) {
        if let Self::Sqlite(store) = self {
            store.forsake(worker);
        }
    }

    /// Whether no other process can have it.
    pub(crate) fn is_alone(&self) -> bool {
        matches!(self, Self::Memory(_))
    }

    /// The `PostgreSQL` store, if it is one.
    #[cfg(feature = "postgres")]
    pub(crate) fn postgres(&self) -> Option<&Postgres> {
        match self {
            Self::Postgres(store) => Some(store),
            _ => None,
        }
    }
}

/// The address as it may be shown, without what may be a password, also if it is none: whatever is written as
/// `password=…`, and what stands before the last `@` and after the first `:` since the scheme.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        // Perhaps words as libpq takes them, too.
        let rest = url.rsplit_once('@').map_or(url, |(_, host)| host);
        return rest.split("password").next().unwrap_or_default().to_owned();
    };
    let parts = rest.split_inclusive(['?', '&']).filter(|part| !part.contains("password"));
    let rest = parts.collect::<String>();
    match rest.rsplit_once('@') {
        Some((user, host)) => format!("{scheme}://{}@{host}", user.split(':').next().unwrap_or_default()),
        None => format!("{scheme}://{rest}"),
    }
}

impl Keep for Store {
    async fn join(&self, worker: &Worker) -> Result<(), StoreError> {
        each!(self, store => store.join(worker))
    }

    async fn beat(&self, worker: &Worker, mine: &[Fence]) -> Result<Option<Vec<RunId>>, StoreError> {
        each!(self, store => store.beat(worker, mine))
    }

    async fn leave(&self, worker: &Worker) -> Result<(), StoreError> {
        each!(self, store => store.leave(worker))
    }

    async fn start(&self, run: &NewRun) -> Result<Started, StoreError> {
        each!(self, store => store.start(run))
    }

    async fn start_claimed(
        &self,
        run: &NewRun,
        worker: &Worker,
        first: &Step,
    ) -> Result<Result<Epoch, Box<Run>>, StoreError> {
        each!(self, store => store.start_claimed(run, worker, first))
    }

    async fn claim(&self, worker: &Worker, wanted: &Wanted) -> Result<Found, StoreError> {
        each!(self, store => store.claim(worker, wanted))
    }

    async fn take(&self, worker: &Worker, run: &RunId, revive: bool) -> Result<Taken, StoreError> {
        each!(self, store => store.take(worker, run, revive))
    }

    async fn record(&self, fence: &Fence, step: &Step) -> Result<Written, StoreError> {
        each!(self, store => store.record(fence, step))
    }

    async fn finish(&self, fence: &Fence, last: Option<&Step>, end: &End) -> Result<Written, StoreError> {
        each!(self, store => store.finish(fence, last, end))
    }

    async fn receive(
        &self,
        fence: &Fence,
        topic: &str,
        step: &Step,
    ) -> Result<(Written, Option<Box<str>>), StoreError> {
        each!(self, store => store.receive(fence, topic, step))
    }

    async fn signal(&self, run: &RunId, topic: &str, id: &str, body: &str) -> Result<Signalled, StoreError> {
        each!(self, store => store.signal(run, topic, id, body))
    }

    async fn read(&self, run: &RunId) -> Result<Option<Claimed>, StoreError> {
        each!(self, store => store.read(run))
    }

    async fn peek(&self, run: &RunId) -> Result<Option<Run>, StoreError> {
        each!(self, store => store.peek(run))
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Run>, StoreError> {
        each!(self, store => store.list(filter))
    }

    async fn cancel(&self, run: &RunId) -> Result<Changed, StoreError> {
        each!(self, store => store.cancel(run))
    }

    async fn resume(&self, run: &RunId, decision: &Decision) -> Result<Changed, StoreError> {
        each!(self, store => store.resume(run, decision))
    }

    async fn fork(&self, from: &RunId, before: u32, new: &RunId, version: &str) -> Result<Changed, StoreError> {
        each!(self, store => store.fork(from, before, new, version))
    }

    async fn forget(&self, retention: &Retention) -> Result<Forgotten, StoreError> {
        each!(self, store => store.forget(retention))
    }

    async fn erase(&self, run: &RunId) -> Result<Changed, StoreError> {
        each!(self, store => store.erase(run))
    }

    async fn size(&self) -> Result<Size, StoreError> {
        each!(self, store => store.size())
    }

    async fn task(&self, id: &str) -> Result<Option<Task>, StoreError> {
        each!(self, store => store.task(id))
    }

    async fn keep_task(&self, id: &str, task: &Task, ttl: Duration) -> Result<bool, StoreError> {
        each!(self, store => store.keep_task(id, task, ttl))
    }

    async fn now(&self) -> Result<Millis, StoreError> {
        each!(self, store => store.now())
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        each!(self, store => store.check())
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn no_address_shows_a_password() {
        for (url, shown) in [
            ("postgres://me:secret@db/x", "postgres://me@db/x"),
            ("postgres://me@db/x?password=secret&a=1", "postgres://me@db/x?a=1"),
            ("mysql://me:secret@db/x", "mysql://me@db/x"),
            ("postgres://me:a/secret@db/x", "postgres://me@db/x"),
            ("postgres://me:a?secret@db/x", "postgres://me@db/x"),
            ("postgres://me:a@secret@db/x", "postgres://me@db/x"),
            ("postgres:me:secret@db/x", "db/x"),
            ("host=db user=me password=secret", "host=db user=me "),
            ("postgres://db/x?user=me&password=s@ecret", "postgres://db/x?user=me&"),
            ("user=me password = secret", "user=me "),
            ("agent.db", "agent.db"),
        ] {
            let seen = without_password(url);
            assert!(!seen.contains("secret"), "{url}: {seen}");
            assert_eq!(seen, shown, "{url}");
        }
    }
}
