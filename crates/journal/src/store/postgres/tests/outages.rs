//! Answers that get lost, servers that go away, stop or never answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::cutter::Cutter;
use super::*;

fn worker(id: &str) -> Worker {
    Worker { id: id.into(), host: "here".into(), version: "1".into(), ttl: Duration::from_secs(60) }
}

/// Everything that is written is written once, though the answer to each write is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lost_answer_changes_what_happened() {
    let database = Database::create().unwrap();
    let cutter = Cutter::before(database.url());
    let store = Postgres::open(cutter.url()).await.unwrap();
    let me = worker("me");
    store.join(&me).await.unwrap();
    let mut cuts = 0;
    // A word that stands in the question's parameters (the run's name, say), or `COMMIT`.
    let mut cut = |word: &str| {
        assert_eq!(cutter.cuts(), cuts, "the answer before was not lost");
        cuts += 1;
        cutter.arm(word.as_bytes());
    };

    cut("flow/a");
    assert!(store.start(&new_run("a")).await.is_ok());
    store.start(&new_run("x")).await.unwrap();

    cut("COMMIT");
    let wanted = Wanted { workflows: vec![("flow".into(), "1".into())], limit: 10, max_attempts: 9 };
    let found = store.claim(&me, &wanted).await.unwrap();
    assert_eq!(found.claimed.len(), 2, "what was claimed is known to be");
    assert!(found.claimed.iter().all(|claimed| claimed.run.attempts == 1));

    let mine = Fence { run: RunId::new("flow", "a"), epoch: found.claimed[0].run.epoch };
    cut("attempt-1");
    assert_eq!(store.record(&mine, &done(1, "attempt-1")).await, Ok(Written::Already));
    cut("message-1");
    assert_eq!(store.signal(&mine.run, "topic", "message-1", "5").await, Ok(Signalled::Sent));
    cut("attempt-2");
    let wait = Step { kind: Kind::Wait, value: None, ..done(2, "attempt-2") };
    assert_eq!(store.receive(&mine, "topic", &wait).await, Ok((Written::Already, Some("5".into()))));
    cut("\"end\"");
    assert_eq!(store.finish(&mine, None, &End::Ok("\"end\"".into())).await, Ok(Written::Already));

    cut("attempt-3");
    let first = Step { kind: Kind::Effect, state: Progress::Begun, ..done(1, "attempt-3") };
    let epoch = store.start_claimed(&new_run("b"), &me, &first).await.unwrap().unwrap();
    let mine = Fence { run: RunId::new("flow", "b"), epoch };
    assert_eq!(store.read(&mine.run).await.unwrap().unwrap().steps.len(), 1);
    cut("refused");
    let blocked = End::Blocked(crate::run::Failure { kind: "refused".into(), ..Default::default() });
    assert_eq!(store.finish(&mine, None, &blocked).await, Ok(Written::Already));
    cut("COMMIT");
    assert!(matches!(store.resume(&mine.run, &Decision::Ask).await, Ok(Changed::Now(_))));
    cut("COMMIT");
    let Taken::Claimed(taken) = store.take(&me, &mine.run, false).await.unwrap() else { panic!("not taken") };
    assert_eq!(taken.run.attempts, 1);
    cut("flow/b");
    assert!(matches!(store.cancel(&mine.run).await, Ok(Changed::Now(_))));
    cut("COMMIT");
    let (copy, from) = (RunId::new("flow", "copy"), RunId::new("flow", "a"));
    assert!(matches!(store.fork(&from, 9, &copy, "1").await, Ok(Changed::Now(_))));
    cut("a-task");
    let task = Task { rev: 1, state: "{}".into() };
    assert_eq!(store.keep_task("a-task", &task, Duration::from_secs(9)).await, Ok(true));

    let mine = Fence { run: RunId::new("flow", "x"), epoch: found.claimed[1].run.epoch };
    database.query("create table paid (n int)").unwrap();
    let tx = store.begin(&mine).await.unwrap().unwrap();
    tx.execute("insert into paid values ($1)", &[&1]).await.unwrap();
    cut("commit\0");
    assert_eq!(store.commit(tx, &mine, &done(1, "attempt-4")).await, Ok(Committed::Written(Written::Already)));
    assert_eq!(database.query("select count(*) from paid").unwrap(), "1");
    cut("nothing");
    assert_eq!(store.check().await, Ok(vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_and_restarts_under_load_lose_and_double_nothing() {
    let server = Arc::new(Server::unflushed().unwrap());
    let database = Arc::new(Database::of(&server).unwrap());
    database.query("create table paid (run text, seq int)").unwrap();
    let store = Postgres::open(&format!("{}&timeout=30", database.url())).await.unwrap();
    let me = worker("me");
    store.join(&me).await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for run in 0..8 {
        let mine = running(&store, &me, &run.to_string()).await;
        let (store, over) = (store.clone(), Arc::clone(&over));
        tasks.push(tokio::spawn(async move {
            let mut seq = 0;
            while !over.load(Ordering::Relaxed) || seq < 20 {
                seq += 1;
                let step = done(seq, &format!("{run}-{seq}"));
                if seq % 5 > 0 {
                    assert_ne!(store.record(&mine, &step).await, Ok(Written::Fenced));
                    continue;
                }
                // A commit that did not happen is begun anew, as a workflow's next attempt does.
                loop {
                    let Ok(Some(tx)) = store.begin(&mine).await else { panic!("fenced") };
                    let id = mine.run.as_str();
                    let seq = i32::try_from(seq).unwrap();
                    if tx.execute("insert into paid values ($1, $2)", &[&id, &seq]).await.is_err() {
                        tx.rollback().await;
                    } else if store.commit(tx, &mine, &step).await.is_ok() {
                        break;
                    }
                }
            }
            (mine, seq)
        }));
    }

    let chaos = {
        let (server, database) = (Arc::clone(&server), Arc::clone(&database));
        move || {
            let mut cut = 0;
            for round in 0..12 {
                std::thread::sleep(Duration::from_millis(150));
                match round % 4 {
                    0 => server.restart(Stop::Crash).unwrap(),
                    2 => server.restart(Stop::Fast).unwrap(),
                    _ => cut += database.cut().unwrap(),
                }
            }
            cut
        }
    };
    assert_ne!(tokio::task::spawn_blocking(chaos).await.unwrap(), 0, "nothing was cut");
    over.store(true, Ordering::Relaxed);

    for task in tasks {
        let (mine, seq) = task.await.unwrap();
        let steps = store.read(&mine.run).await.unwrap().unwrap().steps;
        assert_eq!(steps.iter().map(|step| step.seq).collect::<Vec<_>>(), (1..=seq).collect::<Vec<_>>());
        let paid = format!("select count(*), count(distinct seq) from paid where run = '{}'", mine.run);
        assert_eq!(database.query(&paid).unwrap(), format!("{0}|{0}", seq / 5));
    }
    assert_eq!(store.check().await, Ok(vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_told_of_in_time_and_found_again() {
    let server = Server::unflushed().unwrap();
    let database = Database::of(&server).unwrap();
    let store = Postgres::open(&format!("{}&timeout=1", database.url())).await.unwrap();
    let me = worker("me");
    store.join(&me).await.unwrap();
    let mine = running(&store, &me, "a").await;
    server.stop(Stop::Crash).unwrap();

    let (start, step) = (Instant::now(), done(1, "a"));
    let (record, peek, begin) = tokio::join!(store.record(&mine, &step), store.peek(&mine.run), store.begin(&mine));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    for error in [record.unwrap_err(), peek.unwrap_err(), begin.unwrap_err()] {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    }
    assert!(matches!(
        Postgres::open(&format!("{}&timeout=1", database.url())).await.unwrap_err(),
        OpenError::Store(StoreError::Unavailable { .. })
    ));

    server.resume().unwrap();
    assert_ne!(store.record(&mine, &done(1, "a")).await, Ok(Written::Fenced));
    assert_eq!(store.beat(&me, std::slice::from_ref(&mine)).await, Ok(Some(vec![])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_answers_holds_nobody() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://me:secret@{}/x?timeout=1", silent.local_addr().unwrap());
    let start = Instant::now();
    let error = Postgres::open(&url).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(matches!(error, OpenError::Store(StoreError::Unavailable { .. })), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_for_what_is_not_there_is_refused_at_once() {
    let database = Database::create().unwrap();
    let start = Instant::now();
    let nowhere = database.url().replacen("/t", "/no_such_database_t", 1);
    let error = Postgres::open(&nowhere).await.unwrap_err();
    assert!(matches!(error, OpenError::Store(StoreError::Refused { .. })), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn it_goes_on_when_the_runtime_it_was_opened_on_has_ended() {
    let database = Database::create().unwrap();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let store = first.block_on(async {
        let store = Postgres::open(database.url()).await.unwrap();
        store.start(&new_run("a")).await.unwrap();
        store
    });
    drop(first);
    runtime().block_on(async {
        let me = worker("me");
        store.join(&me).await.unwrap();
        let began = store.start_claimed(&new_run("b"), &me, &done(1, "1")).await.unwrap().unwrap();
        let mine = Fence { run: new_run("b").id, epoch: began };
        assert_eq!(store.record(&mine, &done(2, "2")).await, Ok(Written::Done));
        assert_eq!(store.finish(&mine, None, &End::Ok("1".into())).await, Ok(Written::Done));
    });
}
