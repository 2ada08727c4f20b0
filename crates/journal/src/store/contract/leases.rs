//! For how long a worker has its runs.

use super::*;

pub(crate) async fn a_run_whose_worker_is_gone_is_claimed_and_the_old_worker_is_fenced<B: Bench>(bench: &B) {
    let (store, other) = (bench.store(), bench.again().await);
    let (old, new) = (worker("old", SHORT), worker("new", LONG));
    let run = held(store, "orphan", &old).await;
    let first = step(1, Progress::Done, "first");
    assert_eq!(store.record(&fence(&run), &first).await, Ok(Written::Done));
    other.join(&new).await.unwrap();
    assert!(other.claim(&new, &wanted(10)).await.unwrap().claimed.is_empty(), "its worker is alive");
    bench.pass(SHORT * 2).await;

    let mut found = other.claim(&new, &wanted(10)).await.unwrap();

    let taken = found.claimed.pop().unwrap();
    assert_eq!((taken.run.owner.as_deref(), taken.run.attempts), (Some("new"), 2));
    assert!(taken.run.epoch > run.epoch);
    assert_eq!(taken.steps, [at(&fence(&run), &first)]);
    let (mine, late) = (fence(&taken.run), fence(&run));
    assert_eq!(store.record(&late, &step(2, Progress::Done, "late")).await, Ok(Written::Fenced));
    assert_eq!(
        store.finish(&late, Some(&step(2, Progress::Done, "late")), &End::Ok("1".into())).await,
        Ok(Written::Fenced)
    );
    assert_eq!(
        store.finish(&late, None, &End::Again { after: LONG, why: failure(false, None) }).await,
        Ok(Written::Fenced)
    );
    assert_eq!(store.receive(&late, "topic", &step(2, Progress::Done, "late")).await, Ok((Written::Fenced, None)));
    assert_eq!(store.record(&late, &first).await, Ok(Written::Already), "its acknowledgement was lost");
    assert_eq!(steps(store, &run.id).await.len(), 1);
    assert_eq!(seen(store, &run.id).await, taken.run);
    assert_eq!(other.record(&mine, &step(2, Progress::Done, "mine")).await, Ok(Written::Done));
    assert_eq!(other.finish(&mine, None, &End::Ok("1".into())).await, Ok(Written::Done));
    assert_eq!(other.record(&mine, &step(3, Progress::Done, "after")).await, Ok(Written::Fenced), "it has ended");
}

pub(crate) async fn a_heartbeat_tells_what_was_lost<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", SHORT));
    assert_eq!(store.beat(&me, &[]).await, Ok(None), "nobody knows it");
    let (one, two) = (held(store, "one", &me).await, held(store, "two", &me).await);
    let mine = [fence(&one), fence(&two)];
    assert_eq!(store.beat(&me, &mine).await, Ok(Some(vec![])));
    assert!(matches!(store.cancel(&one.id).await, Ok(Changed::Now(_))));
    assert_eq!(store.beat(&me, &mine).await, Ok(Some(vec![one.id.clone()])));
    for _ in 0..4 {
        bench.pass(SHORT / 2).await;
        assert_eq!(store.beat(&me, &mine[1..]).await, Ok(Some(vec![])));
    }
    let you = worker("you", LONG);
    store.join(&you).await.unwrap();
    assert!(matches!(store.take(&you, &two.id, false).await, Ok(Taken::Busy { .. })));
    bench.pass(SHORT * 2).await;
    taken(store, &you, &two.id).await;
    assert_eq!(store.beat(&me, &mine[1..]).await, Ok(Some(vec![two.id])));

    let old = fence(&held(store, "three", &me).await);
    let back = End::Parked { after: Duration::ZERO };
    assert_eq!(store.finish(&old, None, &back).await, Ok(Written::Done));
    let new = fence(&taken(store, &me, &old.run).await.run);
    assert_eq!(store.beat(&me, std::slice::from_ref(&new)).await, Ok(Some(vec![])));
    assert_eq!(store.beat(&me, &[old]).await, Ok(Some(vec![new.run])), "it is its own anew, but not in that epoch");
}

pub(crate) async fn who_leaves_gives_back<B: Bench>(bench: &B) {
    let (store, me, you) = (bench.store(), worker("me", LONG), worker("you", LONG));
    let run = held(store, "given", &me).await;
    assert_eq!(store.leave(&me).await, Ok(()));
    assert_eq!(store.beat(&me, &[]).await, Ok(None));
    assert_eq!(store.record(&fence(&run), &step(1, Progress::Done, "a")).await, Ok(Written::Fenced));
    assert_eq!(seen(store, &run.id).await.attempts, 0);
    store.join(&you).await.unwrap();
    let mut found = store.claim(&you, &wanted(1)).await.unwrap();
    let next = found.claimed.pop().unwrap().run;
    assert_eq!((next.attempts, next.epoch > run.epoch), (1, true));
}
