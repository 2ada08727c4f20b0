//! What only a store in a file has to do.

use super::*;
use crate::run::{Kind, Progress};

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
    drop(store);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no log and no locks are left");
    let store = Sqlite::open(&path, Options::default()).unwrap();
    let read = store.read(&fence.run).await.unwrap().unwrap();
    assert_eq!(read.run.result.as_deref(), Some("2"));
    assert_eq!(read.steps.len(), 1);
}
