//! Several stores on one file, as several processes have it; and the locks that tell that one is gone.

use std::collections::HashSet;
use std::sync::Barrier;

use rusqlite::Connection;
use tempfile::tempdir;

use super::*;

#[tokio::test]
async fn who_is_gone_is_known_at_once() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.db");
    let (dying, other) = (open(&path), open(&path));
    let mine = held(&dying, "a", &worker("dying")).await;
    other.join(&worker("other")).await.unwrap();
    assert!(other.claim(&worker("other"), &wanted(1)).await.unwrap().claimed.is_empty(), "it lives");

    drop(dying);

    let found = other.claim(&worker("other"), &wanted(1)).await.unwrap();
    assert_eq!(found.claimed[0].run.id, mine.run);
    assert_eq!(other.size().await.unwrap().workers_alive, 1);
    let rules = Retention { ended: Duration::MAX, most: None, batch: 10, dry_run: false };
    assert_eq!(other.forget(&rules).await.unwrap().workers, 1);
}

#[tokio::test]
async fn a_lock_file_that_is_left_says_the_same() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.db");
    let store = open(&path);
    let mine = held(&store, "a", &worker("dead/1")).await;
    let locks = folder.path().join("a.db-workers");
    assert_eq!(std::fs::read_dir(&locks).unwrap().count(), 1);
    drop(store);
    // As after a crash: the file is there, and nobody holds it.
    std::fs::create_dir_all(&locks).unwrap();
    std::fs::write(locks.join("dead%2f1.lock"), "").unwrap();
    let store = open(&path);
    store.join(&worker("me")).await.unwrap();
    assert_eq!(store.claim(&worker("me"), &wanted(1)).await.unwrap().claimed[0].run.id, mine.run);
    let rules = Retention { ended: Duration::MAX, most: None, batch: 10, dry_run: false };
    assert_eq!(store.forget(&rules).await.unwrap().workers, 1);
    assert_eq!(std::fs::read_dir(&locks).unwrap().count(), 1, "swept");
}

#[tokio::test]
async fn a_worker_has_one_process() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.db");
    let (one, two) = (open(&path), open(&path));
    one.join(&worker("me")).await.unwrap();
    one.join(&worker("me")).await.unwrap();
    assert!(matches!(two.join(&worker("me")).await, Err(StoreError::Refused { .. })));
    one.leave(&worker("me")).await.unwrap();
    two.join(&worker("me")).await.unwrap();
}

#[test]
fn a_thousand_runs_are_claimed_once_each() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.db");
    let (processes, threads, runs) = (2, 3, 1_000);
    let block_on = |work: &dyn Fn(&tokio::runtime::Runtime)| {
        work(&tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
    };
    let stores: Vec<_> = (0..processes).map(|_| open(&path)).collect();
    block_on(&|runtime| {
        runtime.block_on(async {
            let store = &stores[0];
            let all: Vec<_> = (0..runs).map(|n| new_run(&n.to_string())).collect();
            for some in all.chunks(4) {
                let one = async |n: usize| store.start(&some[n]).await.unwrap();
                tokio::join!(one(0), one(1), one(2), one(3));
            }
        });
    });
    let barrier = Barrier::new(processes * threads);
    let claimed = std::thread::scope(|scope| {
        let mut all = Vec::new();
        for (n, store) in stores.iter().enumerate() {
            for m in 0..threads {
                let barrier = &barrier;
                all.push(scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async {
                        let me = worker(&format!("{n}-{m}"));
                        store.join(&me).await.unwrap();
                        barrier.wait();
                        let mut mine = Vec::new();
                        loop {
                            let found = store.claim(&me, &wanted(7)).await.unwrap();
                            if found.claimed.is_empty() {
                                return mine;
                            }
                            mine.extend(found.claimed.into_iter().map(|it| it.run.id));
                        }
                    })
                }));
            }
        }
        all.into_iter().flat_map(|it| it.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(claimed.len(), runs);
    assert_eq!(claimed.iter().collect::<HashSet<_>>().len(), runs);
}

#[tokio::test]
async fn a_file_that_others_write_to_for_too_long_is_unavailable() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.db");
    let store = Sqlite::open(&path, Options { busy: Duration::from_millis(50), ..Options::default() }).unwrap();
    let mine = held(&store, "a", &worker("me")).await;
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (alone, grouped) = (done(2, "b"), new_run("b"));
    assert!(matches!(store.record(&mine, &alone).await, Err(StoreError::Unavailable { .. })));
    assert!(matches!(store.start(&grouped).await, Err(StoreError::Unavailable { .. })));
    assert!(store.peek(&mine.run).await.unwrap().is_some(), "reading goes on");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(store.record(&mine, &alone).await, Ok(Written::Done));
    assert!(matches!(store.start(&grouped).await, Ok(Started::New)));
}

#[tokio::test]
async fn a_caller_who_goes_takes_his_request_along_or_it_is_done() {
    let folder = tempdir().unwrap();
    let store = open(&folder.path().join("a.db"));
    let mine = held(&store, "a", &worker("me")).await;
    for seq in 2..200 {
        let step = done(seq, "b");
        let write = store.record(&mine, &step);
        // The request is sent at the first poll, and dropped with the second arm's word.
        tokio::select! {
            biased;
            written = write => assert_eq!(written, Ok(Written::Done)),
            () = tokio::task::yield_now() => {}
        }
    }
    let last = done(200, "c");
    assert_eq!(store.record(&mine, &last).await, Ok(Written::Done));
    assert!(store.read(&mine.run).await.unwrap().unwrap().steps.iter().all(|it| it.attempt_id != "x"));
    assert_eq!(store.check().await, Ok(vec![]));
}

#[test]
fn many_may_make_the_same_file() {
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let together = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    together.wait();
                    open(&path);
                });
            }
        });
    }
}

#[tokio::test]
async fn what_a_worker_has_that_nobody_knows_is_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("a.db"));
    let (gone, me) = (worker("gone"), worker("me"));
    let old = held(&store, "a", &gone).await;
    store.leave(&gone).await.unwrap();
    // This claim was on its way while the worker left.
    assert_eq!(store.claim(&gone, &wanted(1)).await.unwrap().claimed.len(), 1);
    store.join(&me).await.unwrap();
    let found = store.claim(&me, &wanted(1)).await.unwrap();
    assert_eq!(found.claimed.len(), 1);
    assert_eq!(found.recovered, [old.run]);
}
