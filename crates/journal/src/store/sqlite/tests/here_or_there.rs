//! On which thread is written.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use tempfile::tempdir;

use super::*;
use crate::own_task::part;

/// The threads that have asked what time it is, which is asked once for each transaction.
type Threads = Arc<Mutex<BTreeSet<String>>>;

fn watched(path: &Path) -> (Sqlite, Threads) {
    let threads = Threads::default();
    let seen = Arc::clone(&threads);
    let wall = Arc::new(move || {
        seen.lock().unwrap().insert(thread::current().name().unwrap_or_default().to_owned());
        1_700_000_000_000
    });
    let options = Options { clocks: Clocks { wall, ..Clocks::default() }, ..Options::default() };
    (Sqlite::open(path, options).unwrap(), threads)
}

const WRITER: &str = "stormproof-journal";

/// Writes some steps one after the other, so that the next is taken for a lone one.
async fn alone(store: &Sqlite, mine: &Fence) {
    for seq in 102..105 {
        assert_eq!(store.record(mine, &done(seq, "a")).await, Ok(Written::Done));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_step_is_written_where_it_is_asked_for() {
    let folder = tempdir().unwrap();
    let (store, threads) = watched(&folder.path().join("a.db"));
    let mine = held(&store, "a", &worker("me")).await;
    alone(&store, &mine).await;
    threads.lock().unwrap().clear();
    own(async {
        for seq in 2..10 {
            assert_eq!(store.record(&mine, &done(seq, "a")).await, Ok(Written::Done));
        }
    })
    .await;
    assert!(!threads.lock().unwrap().contains(WRITER));
    // Of other people's tasks it is not known whether they may wait for a disk.
    assert_eq!(store.record(&mine, &done(10, "a")).await, Ok(Written::Done));
    assert!(threads.lock().unwrap().contains(WRITER));
    assert_eq!(store.read(&mine.run).await.unwrap().unwrap().steps.len(), 13);
}

#[tokio::test]
async fn where_there_is_one_thread_it_is_not_kept_waiting() {
    let folder = tempdir().unwrap();
    let (store, threads) = watched(&folder.path().join("a.db"));
    let mine = held(&store, "a", &worker("me")).await;
    alone(&store, &mine).await;
    threads.lock().unwrap().clear();
    own(async { assert_eq!(store.record(&mine, &done(2, "a")).await, Ok(Written::Done)) }).await;
    assert_eq!(*threads.lock().unwrap(), BTreeSet::from([WRITER.to_owned()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_at_once_is_written_together() {
    let folder = tempdir().unwrap();
    let (store, threads) = watched(&folder.path().join("a.db"));
    let mine = held(&store, "a", &worker("me")).await;
    alone(&store, &mine).await;
    threads.lock().unwrap().clear();
    own(async {
        let (two, three) = (done(2, "a"), done(3, "a"));
        let both = tokio::join!(part(true, store.record(&mine, &two)), part(true, store.record(&mine, &three)));
        assert_eq!(both, (Ok(Written::Done), Ok(Written::Done)));
    })
    .await;
    assert_eq!(*threads.lock().unwrap(), BTreeSet::from([WRITER.to_owned()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_step_waits_for_other_processes_but_keeps_nothing_waiting() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.db");
    let store = Sqlite::open(&path, Options { busy: Duration::from_millis(300), ..Options::default() }).unwrap();
    let mine = held(&store, "a", &worker("me")).await;
    alone(&store, &mine).await;
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    own(async {
        let step = done(2, "a");
        let mut write = std::pin::pin!(store.record(&mine, &step));
        // Had the thread waited with it, the write would be first.
        tokio::select! {
            biased;
            written = &mut write => panic!("{written:?}"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        let written = write.await;
        assert!(matches!(written, Err(StoreError::Unavailable { .. })), "{written:?}");
    })
    .await;
    let ends = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        other.execute_batch("ROLLBACK").unwrap();
    });
    assert_eq!(own(store.record(&mine, &done(2, "a"))).await, Ok(Written::Done));
    ends.join().unwrap();
}
