//! Clocks that are set, and leases that do not mind.

use std::sync::atomic::Ordering;

use tempfile::tempdir;

use super::*;

const HOUR: i64 = 3_600_000;

#[tokio::test]
async fn a_lease_is_by_the_clock_that_nobody_sets() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.db");
    let hands = Hands::new();
    let (one, two) = (Sqlite::open(&path, hands.options()).unwrap(), Sqlite::open(&path, hands.options()).unwrap());
    held(&one, "a", &worker("one")).await;
    two.join(&worker("two")).await.unwrap();

    hands.wall.fetch_add(24 * HOUR, Ordering::SeqCst);
    assert!(two.claim(&worker("two"), &wanted(1)).await.unwrap().claimed.is_empty(), "only the wall clock moved");

    hands.boot.fetch_add(29_999, Ordering::SeqCst);
    assert!(two.claim(&worker("two"), &wanted(1)).await.unwrap().claimed.is_empty(), "its lease is not over");

    hands.boot.fetch_add(1, Ordering::SeqCst);
    assert_eq!(two.claim(&worker("two"), &wanted(1)).await.unwrap().claimed.len(), 1);
}

#[tokio::test]
async fn epochs_do_not_go_back_with_the_clock() {
    let folder = tempdir().unwrap();
    let hands = Hands::new();
    let store = Sqlite::open(folder.path().join("a.db"), hands.options()).unwrap();
    let me = worker("me");
    let mut last = held(&store, "a", &me).await.epoch;
    for step in [-HOUR, 1, -365 * 24 * HOUR, 0, HOUR, i64::MAX / 2] {
        let fence = Fence { run: RunId::new("w", "a"), epoch: last };
        let back = End::Again { after: Duration::ZERO, why: Failure::default() };
        assert_eq!(store.finish(&fence, None, &back).await, Ok(Written::Done));
        hands.wall.fetch_add(step, Ordering::SeqCst);
        let Taken::Claimed(claimed) = store.take(&me, &fence.run, false).await.unwrap() else { panic!("not due") };
        assert!(claimed.run.epoch > last, "{} after {last}", claimed.run.epoch);
        last = claimed.run.epoch;
    }
}

#[tokio::test]
async fn epochs_do_not_go_back_when_a_run_was_forgotten() {
    let folder = tempdir().unwrap();
    let hands = Hands::new();
    let store = Sqlite::open(folder.path().join("a.db"), hands.options()).unwrap();
    let me = worker("me");
    let old = held(&store, "a", &me).await;
    assert_eq!(store.finish(&old, None, &End::Ok("1".into())).await, Ok(Written::Done));
    hands.wall.fetch_add(HOUR, Ordering::SeqCst);
    assert_eq!(store.forget(&Retention::new().ended(Duration::ZERO)).await.unwrap().runs, 1);

    hands.wall.fetch_sub(24 * HOUR, Ordering::SeqCst);

    assert!(held(&store, "a", &me).await.epoch > old.epoch);
    let first = Step { kind: Kind::Effect, state: Progress::Begun, value: None, ..done(1, "a") };
    let once = store.start_claimed(&new_run("once"), &me, &first).await.unwrap().unwrap();
    assert!(once > old.epoch);
    let Changed::Now(fork) = store.fork(&old.run, 1, &RunId::new("w", "b"), "1").await.unwrap() else { panic!("fork") };
    assert!(fork.epoch >= old.epoch, "a claim adds one");
}

#[tokio::test]
async fn what_is_due_at_once_is_so_by_any_clock() {
    let folder = tempdir().unwrap();
    let hands = Hands::new();
    let store = Sqlite::open(folder.path().join("a.db"), hands.options()).unwrap();
    let (me, you) = (worker("me"), worker("you"));
    let at_once = End::Again { after: Duration::ZERO, why: Failure::default() };
    let park = End::Parked { after: Duration::from_secs(60) };
    store.start(&new_run("started")).await.unwrap();
    store.start(&NewRun { delay: Duration::from_secs(1), ..new_run("delayed") }).await.unwrap();
    held(&store, "left", &you).await;
    store.leave(&you).await.unwrap();
    let given = held(&store, "given", &me).await;
    assert_eq!(store.finish(&given, None, &at_once).await, Ok(Written::Done));
    let woken = held(&store, "woken", &me).await;
    assert_eq!(store.finish(&woken, None, &park).await, Ok(Written::Done));
    store.signal(&woken.run, "t", "1", "1").await.unwrap();
    let called = held(&store, "called", &me).await;
    store.signal(&called.run, "t", "1", "1").await.unwrap();
    assert_eq!(store.finish(&called, None, &park).await, Ok(Written::Done));
    let resumed = held(&store, "resumed", &me).await;
    store.cancel(&resumed.run).await.unwrap();
    store.resume(&resumed.run, &Decision::Ask).await.unwrap();
    store.fork(&given.run, 1, &RunId::new("w", "forked"), "1").await.unwrap();

    hands.wall.fetch_sub(365 * 24 * HOUR, Ordering::SeqCst);

    let found = store.claim(&me, &wanted(100)).await.unwrap();
    let mut keys: Vec<_> = found.claimed.iter().map(|it| it.run.id.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["w/called", "w/forked", "w/given", "w/left", "w/resumed", "w/started", "w/woken"]);
    assert!(found.next_due.is_some(), "the delayed one moves with the clock");
}

#[tokio::test]
async fn a_wake_time_is_by_the_wall_clock() {
    let folder = tempdir().unwrap();
    let hands = Hands::new();
    let store = Sqlite::open(folder.path().join("a.db"), hands.options()).unwrap();
    let me = worker("me");
    let mine = held(&store, "a", &me).await;
    let park = End::Parked { after: Duration::from_secs(3_600) };
    assert_eq!(store.finish(&mine, None, &park).await, Ok(Written::Done));
    let found = store.claim(&me, &wanted(1)).await.unwrap();
    assert_eq!((found.claimed.len(), found.next_due), (0, Some(Duration::from_secs(3_600))));
    hands.wall.fetch_add(HOUR, Ordering::SeqCst);
    assert_eq!(store.claim(&me, &wanted(1)).await.unwrap().claimed.len(), 1);
}

#[tokio::test]
async fn times_without_end_do_not_wrap() {
    let folder = tempdir().unwrap();
    let store = open(&folder.path().join("a.db"));
    let me = Worker { ttl: Duration::MAX, ..worker("me") };
    let mine = held(&store, "a", &me).await;
    let park = End::Parked { after: Duration::MAX };
    assert_eq!(store.finish(&mine, None, &park).await, Ok(Written::Done));
    assert!(store.claim(&me, &wanted(1)).await.unwrap().claimed.is_empty());
    let run = NewRun { delay: Duration::MAX, ttl: Some(Duration::MAX), ..new_run("b") };
    assert!(matches!(store.start(&run).await, Ok(Started::New)));
    let rules = Retention { ended: Duration::MAX, most: Some(u64::MAX), batch: u32::MAX, dry_run: false };
    assert_eq!(store.forget(&rules).await, Ok(Forgotten::default()));
}
