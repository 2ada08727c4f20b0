//! On which thread is written.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;
use std::time::SystemTime;

use tempfile::tempdir;

use super::*;
use crate::own_task::part;
use crate::{Ctx, Failed, Journal};

/// The threads that have asked what time it is, which is asked once for each transaction.
type Threads = Arc<Mutex<BTreeSet<String>>>;

/// The time of day, for whoever is noted in `threads` by asking for it.
fn watched(threads: &Threads) -> impl Fn() -> SystemTime + Send + Sync + use<> {
    let threads = Arc::clone(threads);
    move || {
        threads.lock().unwrap().insert(thread::current().name().unwrap_or_default().to_owned());
        SystemTime::now()
    }
}

/// A store whose next step is taken for a lone one, a run in it, and who has written since.
async fn ready(path: &Path, busy: Duration) -> (Sqlite, Fence, Threads) {
    let threads = Threads::default();
    let options = Options { clocks: Clocks::with_wall(watched(&threads)), busy, ..Options::default() };
    let store = Sqlite::open(path, options).unwrap();
    let mine = held(&store, "a", &worker("me")).await;
    for seq in 102..105 {
        assert_eq!(store.record(&mine, &done(seq, "a")).await, Ok(Written::Done));
    }
    threads.lock().unwrap().clear();
    (store, mine, threads)
}

fn by_the_writer() -> BTreeSet<String> {
    BTreeSet::from([WRITER.to_owned()])
}

const WRITER: &str = "stormproof-journal";
const BUSY: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_step_is_written_where_it_is_asked_for() {
    let folder = tempdir().unwrap();
    let (store, mine, threads) = ready(&folder.path().join("a.db"), BUSY).await;
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
    let (store, mine, threads) = ready(&folder.path().join("a.db"), BUSY).await;
    own(async { assert_eq!(store.record(&mine, &done(2, "a")).await, Ok(Written::Done)) }).await;
    assert_eq!(*threads.lock().unwrap(), by_the_writer());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_at_once_is_written_together() {
    let folder = tempdir().unwrap();
    let (store, mine, threads) = ready(&folder.path().join("a.db"), BUSY).await;
    own(async {
        let (two, three) = (done(2, "a"), done(3, "a"));
        let both = tokio::join!(part(true, store.record(&mine, &two)), part(true, store.record(&mine, &three)));
        assert_eq!(both, (Ok(Written::Done), Ok(Written::Done)));
    })
    .await;
    assert_eq!(*threads.lock().unwrap(), by_the_writer());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_step_waits_for_other_processes_but_keeps_nothing_waiting() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.db");
    let (store, mine, _) = ready(&path, Duration::from_millis(300)).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_with_several_steps_under_way_is_not_alone() {
    let folder = tempdir().unwrap();
    let (threads, url) = (Threads::default(), format!("sqlite:{}", folder.path().join("a.db").display()));
    let journal = Journal::builder(url).wall_clock(watched(&threads)).open().await.unwrap();
    let seen = Arc::clone(&threads);
    journal.workflow("flow", "1", move |cx: Ctx, (): ()| {
        let threads = Arc::clone(&seen);
        async move {
            let step = || cx.step("step", |_| async { Ok::<_, Failed>(1) });
            for _ in 0..4 {
                step().await?;
            }
            let alone = std::mem::take(&mut *threads.lock().unwrap());
            let (one, two) = tokio::join!(step(), step());
            let together = std::mem::take(&mut *threads.lock().unwrap());
            Ok((one? + two?, alone, together))
        }
    });
    let server = journal.clone();
    tokio::spawn(async move { server.serve(1).await });
    let (_, alone, together): (i32, BTreeSet<String>, BTreeSet<String>) = journal.run("flow", "k", &()).await.unwrap();
    assert!(alone.iter().any(|thread| thread != WRITER), "{alone:?}");
    assert_eq!(together, by_the_writer());
}
