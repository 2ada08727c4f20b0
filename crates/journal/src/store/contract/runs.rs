//! How a run begins and ends.

use super::*;

pub(crate) async fn a_run_is_started_once<B: Bench>(bench: &B) {
    let (store, other) = (bench.store(), bench.again().await);
    let new = NewRun { parent: Some(RunId::new("flow", "mother")), ttl: Some(LONG), ..new_run("one") };
    assert!(matches!(store.start(&new).await, Ok(Started::New)));

    let Started::Exists(run) = other.start(&NewRun { input: "1".into(), fp: "x".into(), ..new.clone() }).await.unwrap()
    else {
        panic!("started twice");
    };

    assert_eq!((&run.id, &*run.name, &*run.version), (&new.id, "flow", "1"));
    assert_eq!((&*run.input, &*run.fp, run.state), (r#"{"q":"ü"}"#, "f00d", State::Queued));
    assert_eq!((run.attempts, &run.owner, &run.result, &run.error), (0, &None, &None, &None));
    assert_eq!((&run.parent, &run.forked_from), (&new.parent, &None));
    let now = store.now().await.unwrap();
    assert!(run.created_at <= now && run.created_at > now - 60_000, "{run:?} at {now}");
    assert!(run.expires_at.is_some_and(|end| end > now && end <= now + 60_000), "{run:?} at {now}");
    assert_eq!(seen(store, &new.id).await, *run);
    assert_eq!(store.read(&new.id).await.unwrap().map(|found| (found.run, found.steps)), Some((*run, vec![])));
    assert_eq!(store.peek(&RunId::new("flow", "none")).await, Ok(None));
    assert!(store.read(&RunId::new("flow", "none")).await.unwrap().is_none());
}

pub(crate) async fn an_ended_run_past_its_time_is_not_there<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    let new = NewRun { ttl: Some(Duration::from_millis(1)), ..new_run("brief") };
    assert!(matches!(store.start(&new).await, Ok(Started::New)));
    bench.pass(Duration::from_millis(20)).await;
    assert!(matches!(store.start(&new).await, Ok(Started::Exists(_))), "it has not ended");
    store.join(&me).await.unwrap();
    let run = taken(store, &me, &new.id).await.run;
    assert_eq!(store.record(&fence(&run), &step(1, Progress::Done, "a")).await, Ok(Written::Done));
    assert_eq!(store.finish(&fence(&run), None, &End::Ok("1".into())).await, Ok(Written::Done));

    assert!(matches!(store.start(&new).await, Ok(Started::New)));

    assert_eq!(steps(store, &new.id).await, []);
    let anew = taken(store, &me, &new.id).await.run;
    assert!(anew.epoch > run.epoch, "the old worker must stay fenced");
    assert_eq!(anew.attempts, 1);
}

pub(crate) async fn a_first_effect_comes_with_its_run<B: Bench>(bench: &B) {
    let (store, other) = (bench.store(), bench.again().await);
    let (me, you) = (worker("me", LONG), worker("you", LONG));
    store.join(&me).await.unwrap();
    other.join(&you).await.unwrap();
    let new = NewRun { version: String::new(), ..new_run("once") };
    let begun = |attempt| Step { kind: Kind::Effect, value: None, ..step(1, Progress::Begun, attempt) };
    let (mine, yours) = (begun("a"), begun("b"));

    let (a, b) = tokio::join!(store.start_claimed(&new, &me, &mine), other.start_claimed(&new, &you, &yours));

    let (winner, first, epoch, loser) = match (a.unwrap(), b.unwrap()) {
        (Ok(epoch), Err(run)) => (me, mine, epoch, run),
        (Err(run), Ok(epoch)) => (you, yours, epoch, run),
        both => panic!("one must win: {both:?}"),
    };
    assert_eq!((loser.state, loser.owner, loser.epoch), (State::Running, Some(winner.id), epoch));
    assert_eq!(loser.attempts, 1);
    let fence = Fence { run: new.id.clone(), epoch };
    assert_eq!(steps(store, &new.id).await, [at(&fence, &first)]);
    let done = Step { state: Progress::Done, value: Some("7".into()), attempt_id: "c".into(), ..first };
    assert_eq!(store.finish(&fence, Some(&done), &End::Ok("7".into())).await, Ok(Written::Done));
    assert_eq!(steps(store, &new.id).await, [at(&fence, &done)]);
}

pub(crate) async fn a_run_ends_once<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    for (key, end, state) in [
        ("ok", End::Ok("null".into()), State::Ok),
        ("err", End::Err(failure(true, Some(2))), State::Err),
        ("blocked", End::Blocked(failure(false, None)), State::Blocked),
    ] {
        let mine = fence(&held(store, key, &me).await);
        assert_eq!(store.finish(&mine, Some(&step(1, Progress::Failed, key)), &end).await, Ok(Written::Done));
        let run = seen(store, &mine.run).await;
        assert_eq!((run.state, run.owner, run.epoch), (state, None, mine.epoch));
        let failed = match &end {
            End::Err(failure) | End::Blocked(failure) => Some(failure.clone()),
            _ => None,
        };
        assert_eq!(run.error, failed);
        assert_eq!(run.result.is_some(), state == State::Ok);
        assert_eq!(steps(store, &mine.run).await.len(), 1);
        assert!(matches!(store.take(&me, &mine.run, false).await, Ok(Taken::NotNow(_))));
    }
    assert!(store.claim(&me, &wanted(10)).await.unwrap().claimed.is_empty());
}

pub(crate) async fn a_parked_run_costs_no_attempt<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    let mine = fence(&held(store, "parked", &me).await);
    let parked = End::Parked { after: Duration::from_millis(50) };
    assert_eq!(store.finish(&mine, None, &parked).await, Ok(Written::Done));
    assert!(matches!(store.take(&me, &mine.run, false).await, Ok(Taken::NotNow(_))), "not due");
    assert_eq!(seen(store, &mine.run).await.attempts, 0);
    bench.pass(Duration::from_millis(100)).await;
    let run = taken(store, &me, &mine.run).await.run;
    assert_eq!(run.attempts, 1);
    let back = End::Again { after: Duration::ZERO, why: failure(false, None) };
    assert_eq!(store.finish(&fence(&run), None, &back).await, Ok(Written::Done));
    assert_eq!(store.finish(&fence(&run), None, &back).await, Ok(Written::Already));
    assert_eq!(seen(store, &mine.run).await.error, Some(failure(false, None)), "why it is tried again");
    let run = taken(store, &me, &mine.run).await.run;
    assert_eq!((run.attempts, run.error), (2, None));
}
