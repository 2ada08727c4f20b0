//! Rows of the user beside those of others: what goes wrong in one commit is that one's alone.

use std::sync::mpsc;

use tempfile::{TempDir, tempdir};

use super::*;
use crate::run::Failure;
use crate::store::Undo;

async fn store() -> (TempDir, Sqlite, Worker) {
    let folder = tempdir().unwrap();
    let store = open(&folder.path().join("a.db"));
    let me = worker("me");
    store.join(&me).await.unwrap();
    let setup = held(&store, "setup", &me).await;
    let table: Work = Box::new(|tx| {
        tx.execute_batch("CREATE TABLE paid (id TEXT PRIMARY KEY)").unwrap();
        Ok("null".into())
    });
    assert_eq!(store.commit(&setup, &save("s"), table).await, Ok(Committed::Written(Written::Done)));
    (folder, store, me)
}

fn save(attempt: &str) -> Step {
    Step { kind: Kind::Commit, value: None, ..done(2, attempt) }
}

fn pay(id: &'static str, then: Result<&'static str, Undo>) -> Work {
    Box::new(move |tx| {
        tx.execute("INSERT INTO paid VALUES (?1)", [id]).unwrap();
        then.clone().map(Into::into)
    })
}

fn no() -> Undo {
    Undo::Failed(Failure { kind: "no".into(), message: "no".into(), ..Failure::default() })
}

async fn paid(store: &Sqlite) -> Vec<String> {
    let read = store.readers.ask(|connection| {
        let mut ids = connection.prepare("SELECT id FROM paid ORDER BY id")?;
        ids.query_map([], |row| row.get(0))?.collect()
    });
    read.await.unwrap()
}

async fn second(store: &Sqlite, fence: &Fence) -> Option<Step> {
    store.read(&fence.run).await.unwrap().unwrap().steps.into_iter().find(|it| it.seq == 2)
}

#[tokio::test]
async fn rows_and_record_stand_together_once() {
    let (_folder, store, me) = store().await;
    let mine = held(&store, "a", &me).await;
    assert_eq!(store.commit(&mine, &save("b"), pay("1", Ok("7"))).await, Ok(Committed::Written(Written::Done)));
    assert_eq!(store.commit(&mine, &save("b"), pay("2", Ok("8"))).await, Ok(Committed::Written(Written::Already)));
    assert_eq!(store.commit(&mine, &save("c"), pay("3", Ok("9"))).await, Ok(Committed::Written(Written::Fenced)));
    let late = Fence { epoch: mine.epoch - 1, ..mine.clone() };
    assert_eq!(store.commit(&late, &save("d"), pay("4", Ok("9"))).await, Ok(Committed::Written(Written::Fenced)));
    assert_eq!(paid(&store).await, ["1"]);
    assert_eq!(second(&store, &mine).await.unwrap().value.as_deref(), Some("7"));
}

#[tokio::test]
async fn what_fails_takes_its_rows_along_and_is_recorded() {
    let (_folder, store, me) = store().await;
    let mine = held(&store, "a", &me).await;
    assert_eq!(store.commit(&mine, &save("b"), pay("1", Err(no()))).await, Ok(Committed::Written(Written::Done)));
    let step = second(&store, &mine).await.unwrap();
    assert_eq!(step.state, Progress::Failed);
    assert!(step.value.unwrap().contains("\"no\""));
    assert_eq!(store.commit(&mine, &save("c"), pay("1", Err(Undo::Nothing))).await, Ok(Committed::Undone));
    assert_eq!(second(&store, &mine).await.unwrap().attempt_id, "b");
    assert_eq!(paid(&store).await, [""; 0]);
}

#[tokio::test]
async fn those_in_one_group_do_not_hurt_each_other() {
    let (_folder, store, me) = store().await;
    let mut fences = Vec::new();
    for n in 0..6 {
        fences.push(held(&store, &n.to_string(), &me).await);
    }
    // Whoever comes first holds the writer until all others wait, so that they become one group.
    let (go, wait) = mpsc::channel::<()>();
    let first: Work = Box::new(move |_| {
        wait.recv().unwrap();
        Ok("0".into())
    });
    let panics: Work = Box::new(|tx| {
        tx.execute("INSERT INTO paid VALUES ('panic')", []).unwrap();
        panic!("the user's fault");
    });
    let ends: Work = Box::new(|tx| {
        tx.execute("INSERT INTO paid VALUES ('end')", []).unwrap();
        for sql in [
            "COMMIT",
            "ROLLBACK",
            "BEGIN",
            "RELEASE stormproof_request",
            "ROLLBACK TO stormproof_request",
            "PRAGMA synchronous = OFF",
            "DELETE FROM stormproof_step",
            "UPDATE stormproof_run SET epoch = 0",
            "DROP TABLE stormproof_run",
            "ATTACH ':memory:' AS other",
        ] {
            assert!(tx.execute_batch(sql).is_err(), "{sql} was allowed");
        }
        tx.execute_batch("SAVEPOINT mine; INSERT INTO paid VALUES ('x'); ROLLBACK TO mine; RELEASE mine").unwrap();
        tx.execute_batch("PRAGMA user_version; SELECT * FROM stormproof_run; PRAGMA table_info(paid)").unwrap();
        Ok("2".into())
    });
    // All others are polled before it, hence have asked.
    let unblock = async { go.send(()).unwrap() };

    let two = save("b");
    let plain = done(2, "b");
    let (blocked, panicked, failed, ended, stands, step, ()) = tokio::join!(
        store.commit(&fences[0], &two, first),
        store.commit(&fences[1], &two, panics),
        store.commit(&fences[2], &two, pay("failed", Err(no()))),
        store.commit(&fences[3], &two, ends),
        store.commit(&fences[4], &two, pay("stands", Ok("4"))),
        store.record(&fences[5], &plain),
        unblock
    );

    let written = Ok(Committed::Written(Written::Done));
    assert_eq!((blocked, panicked), (written.clone(), Ok(Committed::Undone)));
    assert_eq!((failed, ended, stands), (written.clone(), written.clone(), written));
    assert_eq!(step, Ok(Written::Done));
    assert_eq!(paid(&store).await, ["end", "stands"]);
    let states = [None, None, Some(Progress::Failed), None, None, None];
    for (fence, state) in fences.iter().zip(states).skip(2) {
        assert_eq!(second(&store, fence).await.unwrap().state, state.unwrap_or(Progress::Done));
    }
    assert_eq!(second(&store, &fences[1]).await, None);
}

#[tokio::test]
async fn what_cannot_be_committed_takes_nobody_with_it() {
    let (_folder, store, me) = store().await;
    let mut fences = Vec::new();
    for n in 0..6 {
        fences.push(held(&store, &n.to_string(), &me).await);
    }
    let (go, wait) = mpsc::channel::<()>();
    let tables: Work = Box::new(move |tx| {
        tx.execute_batch(
            "CREATE TABLE item (of TEXT REFERENCES paid (id) DEFERRABLE INITIALLY DEFERRED);
             INSERT INTO paid VALUES ('there')",
        )
        .unwrap();
        // Called again if it is in one group with the others.
        wait.recv().unwrap_err();
        Ok("0".into())
    });
    let orphan: Work = Box::new(|tx| {
        tx.execute("INSERT INTO item VALUES ('nobody')", []).unwrap();
        Ok("1".into())
    });
    let rolls_back: Work = Box::new(|tx| {
        tx.execute("INSERT OR ROLLBACK INTO paid VALUES ('there')", []).unwrap_err();
        Err(no())
    });
    let unblock = async move { drop(go) };

    let (two, plain) = (save("b"), done(2, "b"));
    let (first, before, orphaned, rolled, after, step, ()) = tokio::join!(
        store.commit(&fences[0], &two, tables),
        store.commit(&fences[1], &two, pay("before", Ok("1"))),
        store.commit(&fences[2], &two, orphan),
        store.commit(&fences[3], &two, rolls_back),
        store.commit(&fences[4], &two, pay("after", Ok("4"))),
        store.record(&fences[5], &plain),
        unblock
    );

    let written = Ok(Committed::Written(Written::Done));
    assert_eq!((first, before, after), (written.clone(), written.clone(), written));
    assert_eq!(step, Ok(Written::Done));
    assert_eq!(orphaned, Ok(Committed::Refused("FOREIGN KEY constraint failed".into())));
    assert!(matches!(rolled, Ok(Committed::Written(_))), "{rolled:?}");
    assert_eq!(paid(&store).await, ["after", "before", "there"]);
    assert_eq!(second(&store, &fences[2]).await, None);
    assert_eq!(second(&store, &fences[3]).await.unwrap().state, Progress::Failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_may_be_dropped_by_its_own_writer() {
    let (_folder, store, me) = store().await;
    let mine = held(&store, "a", &me).await;
    let store = Arc::new(store);
    let (held, (said, hears)) = (Arc::clone(&store), mpsc::channel());
    let (go, wait) = mpsc::channel::<()>();
    let mut held = Some(held);
    let last: Work = Box::new(move |_| {
        wait.recv().unwrap();
        drop(held.take());
        said.send(()).unwrap();
        Ok("1".into())
    });
    let commit = tokio::spawn(async move {
        let two = save("b");
        let _ = tokio::time::timeout(Duration::from_millis(20), store.commit(&mine, &two, last)).await;
        drop(store);
        go.send(()).unwrap();
    });
    commit.await.unwrap();
    hears.recv_timeout(Duration::from_secs(10)).unwrap();
}
