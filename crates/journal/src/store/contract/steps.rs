//! What is recorded of steps.

use super::*;

pub(crate) async fn a_lost_answer_is_recognised<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    let run = held(store, "lost", &me).await;
    let mine = fence(&run);
    let one = step(1, Progress::Done, "a");
    for written in [&step(1, Progress::Failed, "f"), &one] {
        assert_eq!(store.record(&mine, written).await, Ok(Written::Done));
        assert_eq!(store.record(&mine, written).await, Ok(Written::Already));
    }
    assert_eq!(store.record(&mine, &step(1, Progress::Done, "b")).await, Ok(Written::Fenced));
    let two = step(2, Progress::Done, "c");
    let end = End::Ok("[1]".into());
    assert_eq!(store.finish(&mine, Some(&two), &end).await, Ok(Written::Done));
    assert_eq!(store.finish(&mine, Some(&two), &end).await, Ok(Written::Already));
    assert_eq!(store.finish(&mine, None, &End::Err(failure(true, None))).await, Ok(Written::Fenced));
    assert_eq!(store.record(&mine, &two).await, Ok(Written::Already));
    let run = seen(store, &run.id).await;
    assert_eq!((run.state, run.result.as_deref(), run.owner), (State::Ok, Some("[1]"), None));
    assert_eq!(steps(store, &run.id).await, [at(&mine, &one), at(&mine, &two)]);
}

pub(crate) async fn a_step_that_is_done_stays<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    let mine = fence(&held(store, "stays", &me).await);
    for (state, attempt) in [
        (Progress::Begun, "a"),
        (Progress::Begun, "b"),
        (Progress::Failed, "c"),
        (Progress::Begun, "d"),
        (Progress::Done, "e"),
    ] {
        let now = step(1, state, attempt);
        assert_eq!(store.record(&mine, &now).await, Ok(Written::Done), "{attempt}");
        assert_eq!(steps(store, &mine.run).await, [at(&mine, &now)]);
    }
    for state in [Progress::Begun, Progress::Failed, Progress::Done] {
        assert_ne!(store.record(&mine, &step(1, state, "z")).await, Ok(Written::Done));
    }
    assert_eq!(steps(store, &mine.run).await, [at(&mine, &step(1, Progress::Done, "e"))]);
}

pub(crate) async fn a_last_step_is_a_step_as_well<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    let mine = fence(&held(store, "last", &me).await);
    let done = step(1, Progress::Done, "a");
    assert_eq!(store.record(&mine, &done).await, Ok(Written::Done));
    let other = store.finish(&mine, Some(&step(1, Progress::Failed, "b")), &End::Ok("1".into())).await;
    assert_eq!(other, Ok(Written::Fenced), "what is done stays, and so does the run");
    assert_eq!(seen(store, &mine.run).await.state, State::Running);
    assert_eq!(store.finish(&mine, Some(&done), &End::Ok("1".into())).await, Ok(Written::Done), "it is this very step");
    assert_eq!(
        store.finish(&mine, Some(&step(2, Progress::Done, "c")), &End::Ok("1".into())).await,
        Ok(Written::Fenced)
    );
    assert_eq!(steps(store, &mine.run).await, [at(&mine, &done)]);
}

pub(crate) async fn many_steps_at_once<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    let mut fences = Vec::new();
    for n in 0..4 {
        fences.push(fence(&held(store, &n.to_string(), &me).await));
    }
    let stale = Fence { epoch: fences[3].epoch - 1, ..fences[3].clone() };
    let write = async |fence: &Fence, seq: u32| {
        let name = format!("{}-{seq}", fence.run);
        store.record(fence, &step(seq, Progress::Done, &name)).await.unwrap()
    };
    for seq in (1..=60).step_by(3) {
        let run = async |fence: &Fence| {
            let all = tokio::join!(write(fence, seq), write(fence, seq + 1), write(fence, seq + 2));
            assert_eq!(all, (Written::Done, Written::Done, Written::Done));
        };
        let (.., refused) = tokio::join!(run(&fences[0]), run(&fences[1]), run(&fences[2]), write(&stale, seq));
        assert_eq!(refused, Written::Fenced);
    }
    for fence in &fences[..3] {
        let seqs: Vec<_> = steps(store, &fence.run).await.iter().map(|step| step.seq).collect();
        assert_eq!(seqs, (1..=60).collect::<Vec<_>>());
    }
    assert_eq!(steps(store, &fences[3].run).await, []);
}
