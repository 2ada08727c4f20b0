//! One database, two stores as two processes have them, and a look at what is written.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::script::{Write, fence};
use super::sql::Sql;
use crate::run::{Epoch, RunId};
use crate::store::dispatch::{Opening, Store};
use crate::store::{Changed, Claimed, Decision, Fence, Keep as _, NewRun, Started, Taken, Wanted, Worker, Written};

const NAME: &str = "flow";
const VERSION: &str = "1";
/// Nothing of this takes a second; leases end when the test says so.
const LEASE: Duration = Duration::from_secs(600);

/// A database with two workers.
pub(super) struct World {
    pub(super) url: String,
    pub(super) a: Store,
    pub(super) b: Store,
    pub(super) sql: Sql,
    runs: AtomicU32,
    workers: AtomicU32,
    _keep: Box<dyn std::any::Any + Send>,
}

/// How the first worker is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takeover {
    /// Its lease ended; another looks for work.
    Claim,
    /// Its lease ended; another wants this very run.
    Take,
    /// It left in order, and goes on nevertheless.
    Leave,
    /// The same, and nobody has come yet.
    Left,
    /// It gave the run back, and goes on nevertheless.
    GiveBack,
    /// The same, and nobody has come yet.
    GivenBack,
    /// An operator cancelled, and queued it again.
    Resume,
    /// An operator cancelled.
    Cancel,
}

impl Takeover {
    pub(super) const ALL: [Self; 8] =
        [Self::Claim, Self::Take, Self::Leave, Self::Left, Self::GiveBack, Self::GivenBack, Self::Resume, Self::Cancel];
}

impl World {
    pub(super) async fn new(engine: &str) -> Self {
        let (url, keep): (String, Box<dyn std::any::Any + Send>) = if engine == "sqlite" {
            // Nothing here is about the disk: in memory it is faster.
            let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
            (format!("sqlite:{}", folder.path().join("journal.db").display()), Box::new(folder))
        } else {
            let database = stormproof_testpg::Database::create().unwrap();
            (database.url().to_owned(), Box::new(database))
        };
        let (a, b) = (open(&url).await, open(&url).await);
        let sql = Sql::open(&url).await;
        sql.run("create table ledger (run text not null, seq bigint not null, who text not null)").await;
        Self { url, a, b, sql, runs: 0.into(), workers: 0.into(), _keep: keep }
    }

    pub(super) async fn worker(&self, store: &Store, who: &str) -> Worker {
        let number = self.workers.fetch_add(1, Ordering::Relaxed);
        let worker = Worker { id: format!("{who}-{number}"), host: "host".into(), version: VERSION.into(), ttl: LEASE };
        store.join(&worker).await.unwrap();
        worker
    }

    /// A new run that `worker` has.
    pub(super) async fn claimed(&self, worker: &Worker) -> Fence {
        let id = RunId::new(NAME, &self.runs.fetch_add(1, Ordering::Relaxed).to_string());
        let run = NewRun {
            id: id.clone(),
            name: NAME.into(),
            version: VERSION.into(),
            input: "null".into(),
            fp: "fp".into(),
            parent: None,
            delay: Duration::ZERO,
            ttl: None,
        };
        assert!(matches!(self.a.start(&run).await.unwrap(), Started::New));
        self.a.signal(&id, "topic", "m1", "\"message\"").await.unwrap();
        let found = self.a.claim(worker, &wanted()).await.unwrap();
        let [claimed] = found.claimed.as_slice() else { panic!("{found:?}") };
        assert_eq!(claimed.run.id, id);
        fence(&id, claimed.run.epoch)
    }

    /// Makes the lease of `worker` end now.
    pub(super) async fn expire(&self, worker: &Worker) {
        self.sql.run(&format!("update worker set lease_until = 0 where id = '{}'", worker.id)).await;
    }

    /// Another worker gets the run. `None`: nobody has it.
    pub(super) async fn take_over(&self, how: Takeover, from: &Worker, to: &Worker, held: &Fence) -> Option<Claimed> {
        match how {
            Takeover::Claim | Takeover::Take => self.expire(from).await,
            Takeover::Leave | Takeover::Left => self.a.leave(from).await.unwrap(),
            Takeover::GiveBack | Takeover::GivenBack => {
                let end = super::script::Leave::Queued.end("a");
                assert_eq!(self.a.finish(held, None, &end).await.unwrap(), Written::Done);
            }
            Takeover::Resume | Takeover::Cancel => {
                let cancelled = self.b.cancel(&held.run).await.unwrap();
                assert!(matches!(cancelled, Changed::Now(_)), "{cancelled:?}");
                if how == Takeover::Cancel {
                    return None;
                }
                let resumed = self.b.resume(&held.run, &Decision::Ask).await.unwrap();
                assert!(matches!(resumed, Changed::Now(_)), "{resumed:?}");
            }
        }
        if matches!(how, Takeover::Left | Takeover::GivenBack) {
            return None;
        }
        if how == Takeover::Take {
            match self.b.take(to, &held.run, false).await.unwrap() {
                Taken::Claimed(claimed) => Some(*claimed),
                other => panic!("{other:?}"),
            }
        } else {
            let mut found = self.b.claim(to, &wanted()).await.unwrap();
            assert_eq!(found.claimed.len(), 1, "{found:?}");
            found.claimed.pop()
        }
    }

    /// All that is known of a run: nobody may have changed it if this is the same.
    pub(super) async fn picture(&self, run: &RunId) -> Vec<String> {
        let mut picture = Vec::new();
        for (table, key, order) in
            [("run", "id", "id"), ("step", "run_id", "seq"), ("inbox", "run_id", "id"), ("ledger", "run", "seq, who")]
        {
            let sql = format!("select * from {table} where {key} = '{run}' order by {order}");
            picture.extend(self.sql.lines(&sql).await.into_iter().map(|line| format!("{table}|{line}")));
        }
        picture
    }

    /// Who wrote each step and row that there is: `4 b`.
    pub(super) async fn authors(&self, run: &RunId) -> Vec<String> {
        let steps = format!("select seq, attempt_id from step where run_id = '{run}' order by seq");
        let author = |line: String| line.split(' ').next().unwrap_or_default().replace('|', " ");
        let mut authors: Vec<_> = self.sql.lines(&steps).await.into_iter().map(author).collect();
        let rows = format!("select seq, who from ledger where run = '{run}' order by seq, who");
        authors.extend(self.sql.lines(&rows).await.into_iter().map(|line| format!("row {}", line.replace('|', " "))));
        authors
    }

    pub(super) async fn epoch(&self, run: &RunId) -> Epoch {
        self.a.peek(run).await.unwrap().unwrap().epoch
    }
}

/// Does what the script says.
pub(super) async fn write(store: &Store, who: &str, fence: &Fence, write: Write) -> Written {
    let step = write.step(who, fence.epoch);
    match (write, &step) {
        (Write::Record(..), Some(step)) => store.record(fence, step).await.unwrap(),
        (Write::Receive(_), Some(step)) => store.receive(fence, "topic", step).await.unwrap().0,
        (Write::Commit(_), Some(step)) => super::commit::commit(store, who, fence, step).await,
        (Write::Finish(leave, _), step) => store.finish(fence, step.as_ref(), &leave.end(who)).await.unwrap(),
        _ => unreachable!("{write:?} writes a step"),
    }
}

pub(super) fn wanted() -> Wanted {
    Wanted { workflows: vec![(NAME.into(), VERSION.into())], limit: 1, max_attempts: 1_000 }
}

pub(super) async fn open(url: &str) -> Store {
    let opening = Opening { wall: None, clock: stormproof::Clock::system(), create: true };
    Store::open(url, &opening).await.unwrap()
}
