//! What is kept for how long.

use super::*;

pub(crate) async fn what_is_old_is_forgotten<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    store.join(&worker("gone", Duration::from_millis(1))).await.unwrap();
    for key in ["old", "running", "timed", "brief"] {
        let ttl = match key {
            "timed" => Some(LONG),
            "brief" => Some(Duration::from_millis(1)),
            _ => None,
        };
        store.start(&NewRun { ttl, ..new_run(key) }).await.unwrap();
        store.join(&me).await.unwrap();
        let mine = fence(&taken(store, &me, &RunId::new("flow", key)).await.run);
        assert_eq!(store.record(&mine, &step(1, Progress::Done, key)).await, Ok(Written::Done));
        assert_eq!(store.signal(&mine.run, "t", "1", "1").await, Ok(Signalled::Sent));
        if key != "running" {
            assert_eq!(store.finish(&mine, None, &End::Ok("1".into())).await, Ok(Written::Done));
        }
    }
    assert_eq!(store.keep_task("t", &Task { rev: 1, state: "{}".into() }, Duration::from_millis(1)).await, Ok(true));
    bench.pass(Duration::from_millis(50)).await;
    let rules = Retention { ended: LONG, most: None, batch: 1, dry_run: false };
    let count = Forgotten { runs: 1, steps: 1, tasks: 1, workers: 1 };
    assert_eq!(store.forget(&Retention { dry_run: true, ..rules.clone() }).await, Ok(count));
    assert_eq!(store.forget(&rules).await, Ok(count), "its own time is over");
    assert_eq!(store.forget(&rules).await, Ok(Forgotten::default()));
    let rules = Retention { ended: Duration::from_millis(10), ..rules };
    assert_eq!(store.forget(&rules).await.unwrap().runs, 1, "old");
    assert_eq!(store.forget(&rules).await.unwrap().runs, 0);
    let left = store.list(&Filter { limit: 10, ..Filter::default() }).await.unwrap();
    let mut left: Vec<_> = left.iter().map(|run| run.id.as_str()).collect();
    left.sort_unstable();
    assert_eq!(left, ["flow/running", "flow/timed"]);
}

pub(crate) async fn only_what_has_ended_is_erased<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    assert_eq!(store.erase(&RunId::new("flow", "none")).await, Ok(Changed::Missing));
    let mine = fence(&held(store, "one", &me).await);
    held(store, "other", &me).await;
    assert_eq!(store.record(&mine, &step(1, Progress::Done, "a")).await, Ok(Written::Done));
    assert_eq!(store.signal(&mine.run, "t", "1", "1").await, Ok(Signalled::Sent));
    let Ok(Changed::Not(running)) = store.erase(&mine.run).await else { panic!("it runs") };
    assert_eq!(running.state, State::Running);
    assert_eq!(store.finish(&mine, None, &End::Ok("1".into())).await, Ok(Written::Done));

    let Ok(Changed::Now(gone)) = store.erase(&mine.run).await else { panic!("it has ended") };

    assert_eq!((gone.state, gone.result.as_deref()), (State::Ok, Some("1")));
    assert_eq!(store.peek(&mine.run).await, Ok(None));
    assert!(matches!(store.start(&new_run("one")).await, Ok(Started::New)), "its id is free");
    assert!(steps(store, &mine.run).await.is_empty());
    assert!(store.peek(&RunId::new("flow", "other")).await.unwrap().is_some());
    let anew = taken(store, &me, &mine.run).await.run;
    assert!(anew.epoch > mine.epoch, "who had it before stays fenced");
}

pub(crate) async fn only_so_many_are_kept<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    for n in 0..6 {
        let mine = fence(&held(store, &n.to_string(), &me).await);
        assert_eq!(store.finish(&mine, None, &End::Ok("1".into())).await, Ok(Written::Done));
        bench.pass(Duration::from_millis(3)).await;
    }
    // Somebody relies on it for longer: it is not counted, and stays.
    let kept = NewRun { id: RunId::new("kept", "own"), ttl: Some(LONG), ..new_run("own") };
    assert!(matches!(store.start(&kept).await, Ok(Started::New)));
    let mine = fence(&taken(store, &me, &kept.id).await.run);
    assert_eq!(store.finish(&mine, None, &End::Ok("1".into())).await, Ok(Written::Done));
    bench.pass(Duration::from_millis(3)).await;
    let rules = Retention { ended: LONG, most: Some(2), batch: 3, dry_run: false };
    let mut forgotten = Vec::new();
    loop {
        match store.forget(&rules).await.unwrap().runs {
            0 => break,
            runs => forgotten.push(runs),
        }
    }
    assert_eq!(forgotten, [3, 1]);
    let left = store.list(&Filter { limit: 10, ..Filter::default() }).await.unwrap();
    assert_eq!(left.iter().map(|run| run.id.as_str()).collect::<Vec<_>>(), ["kept/own", "flow/5", "flow/4"]);
}

pub(crate) async fn for_ever_is_not_too_long<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    store.join(&me).await.unwrap();
    let ever = Duration::MAX;
    let kept = NewRun { ttl: Some(ever), ..new_run("kept") };
    assert!(matches!(store.start(&kept).await, Ok(Started::New)));
    let late = NewRun { delay: ever, ..new_run("late") };
    assert!(matches!(store.start(&late).await, Ok(Started::New)));
    let once = NewRun { ttl: Some(ever), ..new_run("once") };
    assert!(matches!(store.start_claimed(&once, &me, &step(1, Progress::Begun, "a")).await, Ok(Ok(_))));
    let run = taken(store, &me, &kept.id).await.run;
    let parked = End::Parked { after: ever };
    assert_eq!(store.finish(&fence(&run), None, &parked).await, Ok(Written::Done));
    assert_eq!(store.keep_task("t", &Task { rev: 1, state: "{}".into() }, ever).await, Ok(true));
    assert!(store.task("t").await.unwrap().is_some());
    let forgotten = store.forget(&Retention::new().ended(ever)).await;
    assert_eq!(forgotten.map(|forgotten| forgotten.runs), Ok(0));
    assert_eq!(store.list(&Filter::new().older_than(ever)).await, Ok(Vec::new()));
    assert!(store.claim(&me, &wanted(9)).await.unwrap().claimed.is_empty());
}

pub(crate) async fn a_task_is_kept_by_revision<B: Bench>(bench: &B) {
    let (store, other) = (bench.store(), bench.again().await);
    let task = |rev, state: &str| Task { rev, state: state.into() };
    assert_eq!(store.task("t").await, Ok(None));
    assert_eq!(store.keep_task("t", &task(2, "x"), LONG).await, Ok(false), "there is none yet");
    assert_eq!(store.keep_task("t", &task(1, "a"), LONG).await, Ok(true));
    assert_eq!(other.keep_task("t", &task(1, "b"), LONG).await, Ok(false));
    assert_eq!(other.task("t").await, Ok(Some(task(1, "a"))));
    let (two, too) = (task(2, "c"), task(2, "d"));
    let (a, b) = tokio::join!(store.keep_task("t", &two, LONG), other.keep_task("t", &too, LONG));
    assert_ne!(a.unwrap(), b.unwrap(), "one of two wins");
    assert_eq!(store.keep_task("brief", &task(1, "a"), Duration::from_millis(1)).await, Ok(true));
    bench.pass(Duration::from_millis(20)).await;
    assert_eq!(store.task("brief").await, Ok(None));
    assert_eq!(store.keep_task("brief", &task(1, "b"), LONG).await, Ok(true), "it is there no more");
}

pub(crate) async fn calls_that_were_given_up_are_forgotten_after_the_time_of_those_that_were_made<B: Bench>(bench: &B) {
    let (store, me, gone) = (bench.store(), worker("me", LONG), worker("gone", Duration::from_millis(1)));
    for worker in [&me, &gone] {
        store.join(worker).await.unwrap();
    }
    let once = |key: &str, ttl| NewRun { version: String::new(), ttl, ..new_run(key) };
    let brief = Some(Duration::from_millis(1));
    // Given back, and left by a process that is dead: in their time, after their own time, blocked; and one that is under
    // way.
    for (key, ttl, worker) in [
        ("back", None, &me),
        ("back brief", brief, &me),
        ("back long", Some(LONG), &me),
        ("blocked", brief, &me),
        ("dead", None, &gone),
        ("dead brief", brief, &gone),
        ("dead long", Some(LONG), &gone),
        ("held", brief, &me),
    ] {
        let epoch =
            store.start_claimed(&once(key, ttl), worker, &step(1, Progress::Begun, key)).await.unwrap().unwrap();
        let mine = Fence { run: RunId::new("flow", key), epoch };
        let end = match key.split(' ').next() {
            Some("back") => End::Parked { after: Duration::ZERO },
            Some("blocked") => End::Blocked(Failure::default()),
            _ => continue,
        };
        assert_eq!(store.finish(&mine, None, &end).await, Ok(Written::Done));
    }
    bench.pass(Duration::from_millis(50)).await;
    let rules = Retention { ended: LONG, most: None, batch: 9, dry_run: false };
    let names = async || {
        let mut left: Vec<_> =
            store.list(&Filter::new()).await.unwrap().into_iter().map(|run| run.id.to_string()).collect();
        left.sort_unstable();
        left
    };
    assert_eq!(store.forget(&Retention { dry_run: true, ..rules.clone() }).await.unwrap().runs, 2);
    let forgotten = store.forget(&rules).await.unwrap();
    assert_eq!((forgotten.runs, forgotten.steps), (2, 2), "their own time is over");
    assert_eq!(
        names().await,
        ["flow/back", "flow/back long", "flow/blocked", "flow/dead", "flow/dead long", "flow/held"]
    );
    let forgotten = store.forget(&Retention { ended: Duration::from_millis(10), ..rules }).await.unwrap();
    assert_eq!(forgotten.runs, 2, "long ago somebody had them last");
    assert_eq!(names().await, ["flow/back long", "flow/blocked", "flow/dead long", "flow/held"]);
}
