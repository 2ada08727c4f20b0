//! What only a store in a file has to do, beside what every store must.

mod clocks;
mod commits;
mod files;
mod here_or_there;
mod processes;

use std::sync::atomic::{AtomicI64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::own_task::own;
use crate::run::{Failure, Kind, Progress};
use crate::store::contract::Bench;

/// Both clocks, to be moved by hand.
#[derive(Clone)]
struct Hands {
    wall: Arc<AtomicI64>,
    boot: Arc<AtomicI64>,
}

impl Hands {
    fn new() -> Self {
        Self { wall: Arc::new(AtomicI64::new(1_700_000_000_000)), boot: Arc::new(AtomicI64::new(5_000)) }
    }

    fn options(&self) -> Options {
        let source = |hand: &Arc<AtomicI64>| -> super::clock::Source {
            let hand = Arc::clone(hand);
            Arc::new(move || hand.load(Ordering::SeqCst))
        };
        Options { clocks: Clocks { wall: source(&self.wall), boot: source(&self.boot) }, ..Options::default() }
    }
}

/// A fresh file in a folder of its own. `HERE`: those who ask may write by themselves.
struct Fresh<const HERE: bool> {
    folder: TempDir,
    hands: Hands,
    store: Sqlite,
}

impl<const HERE: bool> Bench for Fresh<HERE> {
    type Store = Sqlite;
    const JUMPS: bool = true;

    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hands = Hands::new();
        let store = Sqlite::open(folder.path().join("a.db"), hands.options()).unwrap();
        Self { folder, hands, store }
    }

    fn store(&self) -> &Sqlite {
        &self.store
    }

    async fn again(&self) -> Sqlite {
        Sqlite::open(self.folder.path().join("a.db"), self.hands.options()).unwrap()
    }

    async fn run(case: impl Future<Output = ()> + Send) {
        if HERE { own(case).await } else { case.await }
    }

    async fn pass(&self, time: Duration) {
        for hand in [&self.hands.wall, &self.hands.boot] {
            hand.fetch_add(crate::run::millis(time), Ordering::SeqCst);
        }
    }
}

crate::store::contract::contract!(Fresh<false>);

mod here {
    use super::Fresh;

    crate::store::contract::contract!(Fresh<true>);
}

#[test]
fn it_answers_as_the_one_in_memory() {
    crate::store::contract::model::lives::<Fresh<false>>(64);
}

fn new_run(key: &str) -> NewRun {
    NewRun {
        id: RunId::new("w", key),
        name: "w".into(),
        version: "1".into(),
        input: "{}".into(),
        fp: "f".into(),
        parent: None,
        delay: Duration::ZERO,
        ttl: None,
    }
}

fn worker(id: &str) -> Worker {
    Worker { id: id.into(), host: "h".into(), version: "1".into(), ttl: Duration::from_secs(30) }
}

fn open(path: &Path) -> Sqlite {
    Sqlite::open(path, Options::default()).unwrap()
}

/// A run that `by` has, and its fence.
async fn held(store: &Sqlite, key: &str, by: &Worker) -> Fence {
    store.join(by).await.unwrap();
    let first = Step { state: Progress::Begun, ..done(1, "first") };
    let epoch = store.start_claimed(&new_run(key), by, &first).await.unwrap().unwrap();
    Fence { run: RunId::new("w", key), epoch }
}

fn wanted(limit: u32) -> Wanted {
    Wanted { workflows: vec![("w".into(), "1".into())], limit, max_attempts: 10 }
}

fn done(seq: u32, attempt: &str) -> Step {
    Step {
        seq,
        name: "s".into(),
        fp: String::new(),
        kind: Kind::Step,
        state: Progress::Done,
        value: Some("1".into()),
        epoch: 0,
        attempt_id: attempt.into(),
    }
}

#[tokio::test]
async fn a_run_from_start_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let store = Sqlite::open(&path, Options::default()).unwrap();
    let me = worker("me");
    store.join(&me).await.unwrap();
    assert!(matches!(store.start(&new_run("a")).await.unwrap(), Started::New));
    let found = store.claim(&me, &wanted(10)).await.unwrap();
    let run = &found.claimed[0].run;
    let fence = Fence { run: run.id.clone(), epoch: run.epoch };
    assert_eq!(store.record(&fence, &done(1, "a")).await.unwrap(), Written::Done);
    assert_eq!(store.record(&fence, &done(1, "a")).await.unwrap(), Written::Already);
    assert_eq!(store.finish(&fence, None, &End::Ok("2".into())).await.unwrap(), Written::Done);
    store.leave(&me).await.unwrap();
    drop(store);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no log and no locks are left");
    let store = Sqlite::open(&path, Options::default()).unwrap();
    let read = store.read(&fence.run).await.unwrap().unwrap();
    assert_eq!(read.run.result.as_deref(), Some("2"));
    assert_eq!(read.steps.len(), 1);
}
