//! What operators see and decide.

use super::*;

pub(crate) async fn runs_are_listed<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    let run = held(store, "a_1", &me).await;
    bench.pass(Duration::from_millis(5)).await;
    started(store, "b%2").await;
    bench.pass(Duration::from_millis(5)).await;
    store.start(&NewRun { id: RunId::new("other", "c"), name: "other".into(), ..new_run("c") }).await.unwrap();
    let list = async |filter: Filter| {
        let found = store.list(&filter).await.unwrap();
        found.iter().map(|run| run.id.as_str().to_owned()).collect::<Vec<_>>()
    };
    let all = Filter { limit: 10, ..Filter::default() };
    assert_eq!(list(all.clone()).await, ["other/c", "flow/b%2", "flow/a_1"], "newest first");
    assert_eq!(list(Filter { limit: 1, ..all.clone() }).await, ["other/c"]);
    assert_eq!(list(Filter { workflow: Some("flow".into()), ..all.clone() }).await, ["flow/b%2", "flow/a_1"]);
    assert_eq!(list(Filter { states: vec![State::Running, State::Ok], ..all.clone() }).await, ["flow/a_1"]);
    assert_eq!(list(Filter { contains: Some("_".into()), ..all.clone() }).await, ["flow/a_1"], "no pattern");
    assert_eq!(list(Filter { contains: Some("%".into()), ..all.clone() }).await, ["flow/b%2"]);
    assert_eq!(list(Filter { older_than: Some(LONG), ..all }).await, [""; 0]);
    let size = store.size().await.unwrap();
    assert_eq!((size.runs, size.workers_alive), ([2, 1, 0, 0, 0, 0], 1));
    assert!(size.bytes > 0 && size.oldest_due > Duration::ZERO, "{size:?}");
    assert_eq!(store.finish(&fence(&run), None, &End::Ok("1".into())).await, Ok(Written::Done));
    assert_eq!(store.size().await.unwrap().runs, [2, 0, 0, 1, 0, 0]);
}

pub(crate) async fn an_operator_cancels<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    assert_eq!(store.cancel(&RunId::new("flow", "none")).await, Ok(Changed::Missing));
    let run = held(store, "stopped", &me).await;
    let Changed::Now(now) = store.cancel(&run.id).await.unwrap() else { panic!("not cancelled") };
    assert_eq!((now.state, now.owner.clone(), now.epoch > run.epoch), (State::Cancelled, None, true));
    assert_eq!(store.record(&fence(&run), &step(1, Progress::Done, "a")).await, Ok(Written::Fenced));
    assert_eq!(store.cancel(&run.id).await, Ok(Changed::Not(now)));
}

pub(crate) async fn an_operator_decides<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    store.join(&me).await.unwrap();
    assert_eq!(store.resume(&RunId::new("flow", "none"), &Decision::Ask).await, Ok(Changed::Missing));
    let effect = |state| Step { kind: Kind::Effect, ..step(2, state, "b") };
    let plain = |state| step(2, state, "b");
    let done = Decision::Done("42".into());
    for (n, (last, decision, left)) in [
        (plain(Progress::Failed), Decision::Ask, None),
        (effect(Progress::Failed), Decision::Ask, Some(Progress::Begun)),
        (effect(Progress::Begun), Decision::Ask, Some(Progress::Begun)),
        (effect(Progress::Begun), Decision::Rerun, None),
        (plain(Progress::Failed), Decision::Rerun, None),
        (effect(Progress::Begun), done, Some(Progress::Done)),
    ]
    .into_iter()
    .enumerate()
    {
        let run = held(store, &n.to_string(), &me).await;
        assert_eq!(store.resume(&run.id, &decision).await, Ok(Changed::Not(Box::new(run.clone()))), "it is running");
        assert_eq!(store.record(&fence(&run), &step(1, Progress::Done, "a")).await, Ok(Written::Done));
        let blocked = End::Blocked(failure(false, (n % 2 == 0).then_some(2)));
        assert_eq!(store.finish(&fence(&run), Some(&last), &blocked).await, Ok(Written::Done));

        let Changed::Now(now) = store.resume(&run.id, &decision).await.unwrap() else { panic!("not resumed: {n}") };

        assert_eq!((now.state, now.attempts, &now.error), (State::Queued, 0, &None), "{n}");
        assert!(now.epoch > run.epoch);
        let claimed = taken(store, &me, &run.id).await;
        assert_eq!(claimed.steps.get(1).map(|step| step.state), left, "{n}");
        if left == Some(Progress::Done) {
            assert_eq!(claimed.steps[1].value.as_deref(), Some("42"));
        }
        assert_eq!(claimed.steps[0].state, Progress::Done);
    }
}

pub(crate) async fn what_failed_is_tried_again_beside_what_is_open<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    store.join(&me).await.unwrap();
    let run = held(store, "both", &me).await;
    let effect = Step { kind: Kind::Effect, value: None, ..step(3, Progress::Begun, "c") };
    for written in [step(1, Progress::Done, "a"), step(2, Progress::Failed, "b"), effect] {
        assert_eq!(store.record(&fence(&run), &written).await, Ok(Written::Done));
    }
    // The workflow made another error of it: which step failed is not said.
    assert_eq!(store.finish(&fence(&run), None, &End::Err(failure(false, None))).await, Ok(Written::Done));

    assert!(matches!(store.resume(&run.id, &Decision::Ask).await, Ok(Changed::Now(_))));

    let left = steps(store, &run.id).await;
    let left: Vec<_> = left.iter().map(|step| (step.seq, step.state)).collect();
    assert_eq!(left, [(1, Progress::Done), (3, Progress::Begun)]);
}

pub(crate) async fn no_decision_undoes_what_is_done<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    store.join(&me).await.unwrap();
    let run = held(store, "done", &me).await;
    let open = Step { kind: Kind::Effect, value: None, ..step(3, Progress::Begun, "c") };
    for written in [step(1, Progress::Done, "a"), step(2, Progress::Done, "b"), open] {
        assert_eq!(store.record(&fence(&run), &written).await, Ok(Written::Done));
    }
    // As when the code calls something else there.
    assert_eq!(store.finish(&fence(&run), None, &End::Blocked(failure(false, Some(2)))).await, Ok(Written::Done));
    let before = steps(store, &run.id).await;

    for decision in [Decision::Rerun, Decision::Done("42".into())] {
        let Changed::Not(there) = store.resume(&run.id, &decision).await.unwrap() else { panic!("{decision:?}") };
        assert_eq!(there.state, State::Blocked);
        assert_eq!(steps(store, &run.id).await, before, "{decision:?}");
    }

    assert!(matches!(store.resume(&run.id, &Decision::Ask).await, Ok(Changed::Now(_))));
    assert_eq!(steps(store, &run.id).await, before);
}

pub(crate) async fn a_value_that_nobody_can_read_may_be_corrected<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    let mine = fence(&held(store, "typo", &me).await);
    assert_eq!(store.record(&mine, &step(1, Progress::Done, "a")).await, Ok(Written::Done));
    let undecodable = Failure { kind: "undecodable".into(), ..failure(false, Some(1)) };
    assert_eq!(store.finish(&mine, None, &End::Blocked(undecodable)).await, Ok(Written::Done));
    assert!(matches!(store.resume(&mine.run, &Decision::Rerun).await, Ok(Changed::Not(_))), "it happened");

    let Ok(Changed::Now(run)) = store.resume(&mine.run, &Decision::Done("42".into())).await else { panic!("refused") };

    assert_eq!((run.state, run.error), (State::Queued, None));
    let step = steps(store, &mine.run).await.remove(0);
    assert_eq!((step.state, step.value.as_deref()), (Progress::Done, Some("42")));
}

pub(crate) async fn a_fork_has_the_steps_before<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    let (source, copy) = (RunId::new("flow", "source"), RunId::new("flow", "copy"));
    assert_eq!(store.fork(&source, 1, &copy, "1").await, Ok(Changed::Missing));
    let run = held(store, "source", &me).await;
    for (seq, state) in [(1, Progress::Done), (2, Progress::Failed), (3, Progress::Done)] {
        assert_eq!(store.record(&fence(&run), &step(seq, state, &seq.to_string())).await, Ok(Written::Done));
    }
    assert_eq!(store.finish(&fence(&run), None, &End::Ok("1".into())).await, Ok(Written::Done));

    let Changed::Now(fork) = store.fork(&source, 3, &copy, "2").await.unwrap() else { panic!("not forked") };

    assert_eq!((fork.state, &*fork.version, &fork.input), (State::Queued, "2", &run.input));
    assert_eq!((&fork.forked_from, &fork.result, fork.attempts), (&Some(source.clone()), &None, 0));
    let kept = steps(store, &copy).await;
    assert_eq!(
        kept.iter().map(|step| (step.seq, step.state)).collect::<Vec<_>>(),
        [(1, Progress::Done), (2, Progress::Failed)]
    );
    assert!(matches!(store.fork(&source, 3, &copy, "2").await, Ok(Changed::Not(there)) if there.id == copy), "taken");
    assert_eq!(steps(store, &source).await.len(), 3);
    let fork = taken(store, &me, &copy).await;
    assert_eq!(store.record(&fence(&fork.run), &step(3, Progress::Done, "3")).await, Ok(Written::Done));
}

pub(crate) async fn a_decision_is_about_one_step<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    store.join(&me).await.unwrap();
    let run = held(store, "both", &me).await;
    let open = |seq, kind| Step { kind, value: None, ..step(seq, Progress::Begun, &seq.to_string()) };
    for written in [open(1, Kind::Effect), open(2, Kind::Wait)] {
        assert_eq!(store.record(&fence(&run), &written).await, Ok(Written::Done));
    }
    let Changed::Now(cancelled) = store.cancel(&run.id).await.unwrap() else { panic!("not cancelled") };
    let before = steps(store, &run.id).await;

    for decision in [Decision::Rerun, Decision::Done("42".into())] {
        assert_eq!(store.resume(&run.id, &decision).await, Ok(Changed::Not(cancelled.clone())), "{decision:?}");
        assert_eq!(steps(store, &run.id).await, before, "{decision:?}");
    }

    assert!(matches!(store.resume(&run.id, &Decision::Ask).await, Ok(Changed::Now(_))));
    assert_eq!(steps(store, &run.id).await, before);
}
