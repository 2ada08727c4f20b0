//! Who gets a run.

use std::collections::HashSet;

use super::*;

pub(crate) async fn no_two_workers_claim_the_same_run<B: Bench>(bench: &B) {
    let (one, two) = (bench.store(), bench.again().await);
    for n in 0..40 {
        started(one, &n.to_string()).await;
    }
    let claims = async |store: &B::Store, name: &str| {
        let me = worker(name, LONG);
        store.join(&me).await.unwrap();
        let mut mine = Vec::new();
        for _ in 0..20 {
            let found = store.claim(&me, &wanted(3)).await.unwrap();
            assert!(found.claimed.len() <= 3);
            assert!(found.claimed.iter().all(|claimed| claimed.run.owner.as_deref() == Some(name)));
            mine.extend(found.claimed.into_iter().map(|claimed| claimed.run.id));
        }
        mine
    };
    let (a, b, c) = tokio::join!(claims(one, "a"), claims(&two, "b"), claims(one, "c"));
    let all: Vec<_> = [a, b, c].concat();
    assert_eq!(all.len(), 40);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 40);
}

pub(crate) async fn only_what_is_wanted_and_due_is_claimed<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    store.join(&me).await.unwrap();
    started(store, "now").await;
    for (key, new) in [
        ("later", NewRun { delay: Duration::from_secs(30), ..new_run("later") }),
        ("old", NewRun { version: "0".into(), ..new_run("old") }),
        ("foreign", NewRun { name: "foreign".into(), ..new_run("foreign") }),
    ] {
        assert!(matches!(store.start(&new).await, Ok(Started::New)), "{key}");
    }
    bench.pass(Duration::from_millis(5)).await;
    started(store, "next").await;

    let found = store.claim(&me, &wanted(10)).await.unwrap();

    let ids: Vec<_> = found.claimed.iter().map(|claimed| claimed.run.id.as_str().to_owned()).collect();
    assert_eq!(ids, ["flow/now", "flow/next"], "oldest due first");
    let due = found.next_due.unwrap();
    assert!(due > Duration::from_secs(20) && due <= Duration::from_secs(30), "{due:?}");
    let run = &found.claimed[0].run;
    assert_eq!((run.state, run.attempts, run.owner.as_deref()), (State::Running, 1, Some("me")));
    let now = store.now().await.unwrap();
    assert!(run.epoch <= now && run.epoch > now - 60_000, "an epoch is a time: {}", run.epoch);
    assert!(store.claim(&me, &wanted(10)).await.unwrap().claimed.is_empty());
    let nothing = Wanted { workflows: vec![], ..wanted(10) };
    let found = store.claim(&me, &nothing).await.unwrap();
    assert!(found.claimed.is_empty() && found.next_due.is_none());
}

pub(crate) async fn one_run_can_be_taken<B: Bench>(bench: &B) {
    let (store, me, you) = (bench.store(), worker("me", LONG), worker("you", SHORT));
    assert!(matches!(store.take(&me, &RunId::new("flow", "none"), true).await, Ok(Taken::Missing)));
    let run = held(store, "wanted", &you).await;
    store.join(&me).await.unwrap();
    let Taken::Busy { lease } = store.take(&me, &run.id, true).await.unwrap() else { panic!("it is busy") };
    assert!(lease > Duration::ZERO && lease <= SHORT, "{lease:?}");
    bench.pass(SHORT * 2).await;
    let run = taken(store, &me, &run.id).await.run;
    assert_eq!((run.owner.as_deref(), run.attempts), (Some("me"), 2));

    let failed = End::Err(failure(false, Some(1)));
    assert_eq!(store.finish(&fence(&run), Some(&step(1, Progress::Failed, "a")), &failed).await, Ok(Written::Done));
    assert!(matches!(store.take(&me, &run.id, false).await, Ok(Taken::NotNow(_))));
    let Taken::Claimed(again) = store.take(&me, &run.id, true).await.unwrap() else { panic!("it is free again") };
    assert!(again.run.epoch > run.epoch);
    assert_eq!((again.run.state, again.run.error), (State::Running, None));
    let kept = End::Err(failure(true, Some(1)));
    let mine = Fence { run: run.id.clone(), epoch: again.run.epoch };
    assert_eq!(store.finish(&mine, None, &kept).await, Ok(Written::Done));
    assert!(matches!(store.take(&me, &run.id, true).await, Ok(Taken::NotNow(_))), "it is the answer from now on");
}

pub(crate) async fn a_run_with_too_many_attempts_is_blocked<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    store.join(&me).await.unwrap();
    let id = started(store, "weary").await;
    let twice = Wanted { max_attempts: 2, ..wanted(10) };
    for attempt in 1..=2 {
        let found = store.claim(&me, &twice).await.unwrap();
        assert_eq!(found.claimed[0].run.attempts, attempt);
        let back = End::Again { after: Duration::ZERO, why: failure(false, None) };
        assert_eq!(store.finish(&fence(&found.claimed[0].run), None, &back).await, Ok(Written::Done));
    }
    let found = store.claim(&me, &twice).await.unwrap();
    assert_eq!((found.claimed.len(), found.blocked), (0, vec![id.clone()]));
    let run = seen(store, &id).await;
    assert_eq!((run.state, run.owner), (State::Blocked, None));
    assert_eq!(run.error.unwrap().kind, "too_many_attempts");
    assert!(store.claim(&me, &twice).await.unwrap().blocked.is_empty());
}

pub(crate) async fn only_attempts_without_progress_count<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    let mut run = held(store, "slow", &me).await;
    let back = End::Again { after: Duration::ZERO, why: failure(false, None) };
    for (attempt, state, counted) in [
        (1, None, 1),
        (2, Some(Progress::Begun), 2),
        (3, Some(Progress::Failed), 3),
        (4, Some(Progress::Done), 1),
        (2, Some(Progress::Done), 1),
        (2, None, 2),
    ] {
        assert_eq!(run.attempts, attempt);
        if let Some(state) = state {
            let seq = if attempt == 2 && state == Progress::Done { 2 } else { 1 };
            let name = format!("{attempt}-{state:?}");
            assert_eq!(store.record(&fence(&run), &step(seq, state, &name)).await, Ok(Written::Done));
        }
        assert_eq!(seen(store, &run.id).await.attempts, counted, "after {state:?}");
        assert_eq!(store.finish(&fence(&run), None, &back).await, Ok(Written::Done));
        run = taken(store, &me, &run.id).await.run;
    }
}
