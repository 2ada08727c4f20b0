//! What two sessions do to each other: fences, claims that are not committed yet, transactions that rest.

use deadpool_postgres::Object;

use super::*;

fn worker(id: &str, ttl: Duration) -> Worker {
    Worker { id: id.into(), host: "here".into(), version: "1".into(), ttl }
}

const LONG: Duration = Duration::from_secs(60);

/// Another process: takes the run away, but has not committed yet.
async fn claiming(store: &Postgres, mine: &Fence) -> Object {
    let other = store.connections.commits.get().await.unwrap();
    other.batch_execute("begin").await.unwrap();
    let claim = "update stormproof.run set epoch = epoch + 1, owner = 'other' where id = $1";
    other.execute(claim, &[&mine.run.as_str()]).await.unwrap();
    other
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_writer_loses_against_a_claim_that_is_being_committed() {
    let bench = Fresh::new().await;
    let (store, me) = (bench.store.clone(), worker("me", LONG));
    store.join(&me).await.unwrap();
    let mine = running(&store, &me, "raced").await;

    let claim = claiming(&store, &mine).await;
    let late = tokio::spawn({
        let (store, mine) = (store.clone(), mine.clone());
        async move { store.record(&mine, &done(1, "late")).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!late.is_finished(), "it waits for what the claim will be");
    claim.batch_execute("commit").await.unwrap();

    assert_eq!(late.await.unwrap(), Ok(Written::Fenced));
    assert_eq!(bench.database.query("select count(*) from stormproof.step").unwrap(), "0");
}

/// The same without the lock: what the test above would not find out if it could not fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_lock_the_fence_lets_the_stale_writer_through() {
    let bench = Fresh::new().await;
    let (store, me) = (&bench.store, worker("me", LONG));
    store.join(&me).await.unwrap();
    let mine = running(store, &me, "raced").await;
    let unlocked = steps::WRITE.replace("for share", "");
    assert_ne!(unlocked, steps::WRITE);

    let claim = claiming(store, &mine).await;
    let client = store.connections.own.get().await.unwrap();
    let one = |text: &str| vec![text.to_owned()];
    let wrote = client
        .execute(
            &unlocked,
            &[
                &one(mine.run.as_str()),
                &vec![mine.epoch],
                &vec![1_i64],
                &one("step"),
                &one(""),
                &one("step"),
                &one("done"),
                &one("1"),
                &one("late"),
            ],
        )
        .await;
    claim.batch_execute("commit").await.unwrap();

    assert_eq!(wrote.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_and_record_share_a_transaction() {
    let bench = Fresh::new().await;
    let (store, me) = (&bench.store, worker("me", LONG));
    bench.database.query("create table paid (n int primary key)").unwrap();
    store.join(&me).await.unwrap();
    let mine = running(store, &me, "commit").await;
    let state = || {
        let sql = "select (select count(*) from paid), (select count(*) from stormproof.step)";
        bench.database.query(sql).unwrap()
    };
    let insert = "insert into paid values ($1)";

    let tx = store.begin(&mine).await.unwrap().unwrap();
    tx.execute(insert, &[&1]).await.unwrap();
    assert_eq!(state(), "0|0", "nobody sees half of it");
    assert_eq!(store.commit(tx, &mine, &done(1, "a")).await, Ok(Committed::Written(Written::Done)));
    assert_eq!(state(), "1|1");

    let tx = store.begin(&mine).await.unwrap().unwrap();
    tx.execute(insert, &[&2]).await.unwrap();
    tx.rollback().await;
    let tx = store.begin(&mine).await.unwrap().unwrap();
    tx.execute(insert, &[&3]).await.unwrap();
    drop(tx);
    let tx = store.begin(&mine).await.unwrap().unwrap();
    tx.execute(insert, &[&1]).await.unwrap_err();
    let why = "a statement of it failed, and the work went on as if it had not";
    assert_eq!(store.commit(tx, &mine, &done(2, "b")).await, Ok(Committed::Refused(why.into())));
    assert_eq!(state(), "1|1");

    let tx = store.begin(&mine).await.unwrap().unwrap();
    assert_eq!(
        store.commit(tx, &mine, &done(1, "z")).await,
        Ok(Committed::Written(Written::Fenced)),
        "the step is done"
    );
    let old = Fence { epoch: mine.epoch - 1, ..mine.clone() };
    assert!(store.begin(&old).await.unwrap().is_none());

    let tx = store.begin(&mine).await.unwrap().unwrap();
    tx.batch_execute("insert into paid values (9); commit").await.unwrap();
    let refused = store.commit(tx, &mine, &done(2, "c")).await;
    assert!(matches!(&refused, Ok(Committed::Refused(why)) if why.contains("ended its transaction")), "{refused:?}");
    assert_eq!(state(), "2|1");
}

/// The fence holds from the beginning of a commit to its end: nobody takes the run in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_not_taken_away_while_it_commits() {
    let bench = Fresh::new().await;
    let (store, me, you) = (&bench.store, worker("me", Duration::from_millis(50)), worker("you", LONG));
    let wanted = Wanted { workflows: vec![("flow".into(), "1".into())], limit: 10, max_attempts: 9 };
    store.join(&me).await.unwrap();
    store.join(&you).await.unwrap();
    let mine = running(store, &me, "commit").await;
    let tx = store.begin(&mine).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert!(store.claim(&you, &wanted).await.unwrap().claimed.is_empty(), "its lease is over, but it commits");
    assert_eq!(store.commit(tx, &mine, &done(1, "a")).await, Ok(Committed::Written(Written::Done)));
    let found = store.claim(&you, &wanted).await.unwrap();
    assert_eq!(found.claimed.len(), 1);
    assert_eq!(found.claimed[0].steps.len(), 1, "the next worker sees it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_does_not_wait_for_a_commit_of_its_run() {
    let bench = Fresh::new().await;
    let (store, me) = (&bench.store, worker("me", LONG));
    store.join(&me).await.unwrap();
    let mine = running(store, &me, "recovered").await;
    let attempts = "select attempts from stormproof.run";
    bench.database.query("update stormproof.run set attempts = 3").unwrap();
    let tx = store.begin(&mine).await.unwrap().unwrap();

    let step = tokio::time::timeout(Duration::from_secs(3), store.record(&mine, &done(1, "beside"))).await;

    assert_eq!(step.expect("it waits for the commit"), Ok(Written::Done));
    assert_eq!(store.commit(tx, &mine, &done(2, "commit")).await, Ok(Committed::Written(Written::Done)));
    assert_eq!(store.record(&mine, &done(3, "after")).await, Ok(Written::Done));
    assert_eq!(bench.database.query(attempts).unwrap(), "1", "it moved on");
}

/// The run's worker had a clock that was ahead; and the same if the clock was set back since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn epochs_do_not_go_back_when_a_run_was_forgotten() {
    let bench = Fresh::new().await;
    let (store, me) = (&bench.store, worker("me", LONG));
    store.join(&me).await.unwrap();
    let old = running(store, &me, "a").await;
    bench.database.query("update stormproof.run set epoch = epoch + 86400000").unwrap();
    let old = Fence { epoch: old.epoch + 86_400_000, ..old };
    assert_eq!(store.finish(&old, None, &End::Ok("1".into())).await, Ok(Written::Done));
    assert_eq!(store.forget(&Retention::new().ended(Duration::ZERO)).await.unwrap().runs, 1);

    assert!(running(store, &me, "a").await.epoch > old.epoch);
    let once = store.start_claimed(&new_run("once"), &me, &done(1, "a")).await.unwrap().unwrap();
    assert!(once > old.epoch);
    let fork = store.fork(&old.run, 1, &RunId::new("flow", "b"), "1").await.unwrap();
    assert!(matches!(fork, Changed::Now(fork) if fork.epoch >= old.epoch), "a claim adds one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_falls_asleep_in_a_transaction_loses_it() {
    let database = Database::create().unwrap();
    let store = Postgres::open(&format!("{}&timeout=1", database.url())).await.unwrap();
    let me = worker("me", LONG);
    store.join(&me).await.unwrap();
    let mine = running(&store, &me, "asleep").await;
    let tx = store.begin(&mine).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(matches!(store.cancel(&mine.run).await, Ok(Changed::Now(_))), "nothing is held any more");
    let error = store.commit(tx, &mine, &done(1, "a")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert_eq!(database.query("select count(*) from stormproof.step").unwrap(), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_of_a_group_does_wrong_is_not_laid_to_the_others() {
    let bench = Fresh::new().await;
    let (store, me) = (&bench.store, worker("me", LONG));
    store.join(&me).await.unwrap();
    let mine = running(store, &me, "group").await;
    // PostgreSQL keeps no zero character.
    let bad = Step { name: "a\0b".into(), ..done(1, "bad") };
    let (one, two) = (done(2, "one"), done(3, "two"));
    let double = done(3, "double");
    // The first goes alone; what comes while it is away goes together.
    let alone = done(4, "alone");
    let (first, others, refused, second) = tokio::join!(
        store.record(&mine, &alone),
        async { tokio::join!(store.record(&mine, &one), store.record(&mine, &two)) },
        store.record(&mine, &bad),
        store.record(&mine, &double),
    );
    assert_eq!((first, others), (Ok(Written::Done), (Ok(Written::Done), Ok(Written::Done))));
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    assert_eq!(second, Ok(Written::Fenced), "a step has one writer");
}
