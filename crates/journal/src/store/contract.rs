//! What every store must do, as tests that run on each: see the rules in `store.rs`.
//!
//! A store's own tests say how one is made ([`Bench`]) and call `contract!(its::Bench)`.

pub(crate) mod model;

use std::collections::HashSet;
use std::time::Duration;

use super::*;
use crate::run::{Kind, Progress};

/// A fresh, empty store, and its end.
pub(crate) trait Bench: Sized {
    type Store: Keep;
    /// Whether [`pass`](Self::pass) takes no time, however long it is.
    const JUMPS: bool = false;

    async fn new() -> Self;
    fn store(&self) -> &Self::Store;
    /// The same database as another process sees it.
    async fn again(&self) -> Self::Store;
    /// Lets time pass for the store's clock.
    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// A test for each case.
macro_rules! contract {
    ($bench:ty) => {
        $crate::store::contract::cases!($bench: a_run_is_started_once, an_ended_run_past_its_time_is_not_there,
            no_two_workers_claim_the_same_run, only_what_is_wanted_and_due_is_claimed,
            a_run_whose_worker_is_gone_is_claimed_and_the_old_worker_is_fenced, a_lost_answer_is_recognised,
            a_step_that_is_done_stays, a_run_ends_once, a_parked_run_costs_no_attempt, one_run_can_be_taken,
            a_run_with_too_many_attempts_is_blocked, messages_come_in_order_and_once, a_message_wakes_who_parks,
            a_heartbeat_tells_what_was_lost, who_leaves_gives_back, a_first_effect_comes_with_its_run,
            only_attempts_without_progress_count, an_operator_cancels, an_operator_decides,
            what_failed_is_tried_again_beside_what_is_open, no_decision_undoes_what_is_done, for_ever_is_not_too_long,
            a_fork_has_the_steps_before, what_is_old_is_forgotten, only_what_has_ended_is_erased,
            only_so_many_are_kept, runs_are_listed, a_task_is_kept_by_revision, many_steps_at_once);
    };
}

macro_rules! cases {
    ($bench:ty: $($case:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let bench = <$bench as $crate::store::contract::Bench>::new().await;
                $crate::store::contract::$case(&bench).await;
                assert_eq!($crate::store::Keep::check(bench.store()).await, Ok(Vec::new()));
            }
        )+
    };
}

pub(crate) use {cases, contract};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(120);

fn worker(id: &str, ttl: Duration) -> Worker {
    Worker { id: id.into(), host: "here".into(), version: "1".into(), ttl }
}

fn new_run(key: &str) -> NewRun {
    NewRun {
        id: RunId::new("flow", key),
        name: "flow".into(),
        version: "1".into(),
        input: r#"{"q":"ü"}"#.into(),
        fp: "f00d".into(),
        parent: None,
        delay: Duration::ZERO,
        ttl: None,
    }
}

fn wanted(limit: u32) -> Wanted {
    Wanted { workflows: vec![("other".into(), "1".into()), ("flow".into(), "1".into())], limit, max_attempts: 10 }
}

fn step(seq: u32, state: Progress, attempt: &str) -> Step {
    Step {
        seq,
        name: format!("s{seq}"),
        fp: "fp".into(),
        kind: Kind::Step,
        state,
        value: Some(format!("\"{attempt}\"").into()),
        epoch: 0,
        attempt_id: attempt.into(),
    }
}

fn fence(run: &Run) -> Fence {
    Fence { run: run.id.clone(), epoch: run.epoch }
}

fn failure(keep: bool, seq: Option<u32>) -> Failure {
    Failure { kind: "failed".into(), message: "it broke".into(), keep, seq }
}

/// A step as it is to be found: with the epoch it was written in.
fn at(fence: &Fence, step: &Step) -> Step {
    Step { epoch: fence.epoch, ..step.clone() }
}

async fn started<S: Keep>(store: &S, key: &str) -> RunId {
    let new = new_run(key);
    assert!(matches!(store.start(&new).await, Ok(Started::New)));
    new.id
}

/// A run and a worker that has it.
async fn held<S: Keep>(store: &S, key: &str, by: &Worker) -> Run {
    started(store, key).await;
    store.join(by).await.unwrap();
    taken(store, by, &RunId::new("flow", key)).await.run
}

async fn taken<S: Keep>(store: &S, by: &Worker, run: &RunId) -> Claimed {
    match store.take(by, run, false).await.unwrap() {
        Taken::Claimed(claimed) => *claimed,
        other => panic!("not claimed: {other:?}"),
    }
}

async fn steps<S: Keep>(store: &S, run: &RunId) -> Vec<Step> {
    store.read(run).await.unwrap().unwrap().steps
}

async fn seen<S: Keep>(store: &S, run: &RunId) -> Run {
    store.peek(run).await.unwrap().unwrap()
}

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
    assert_eq!(store.finish(&late, None, &End::Queued { after: LONG, parked: false }).await, Ok(Written::Fenced));
    assert_eq!(store.receive(&late, "topic", &step(2, Progress::Done, "late")).await, Ok((Written::Fenced, None)));
    assert_eq!(store.record(&late, &first).await, Ok(Written::Already), "its acknowledgement was lost");
    assert_eq!(steps(store, &run.id).await.len(), 1);
    assert_eq!(seen(store, &run.id).await, taken.run);
    assert_eq!(other.record(&mine, &step(2, Progress::Done, "mine")).await, Ok(Written::Done));
    assert_eq!(other.finish(&mine, None, &End::Ok("1".into())).await, Ok(Written::Done));
    assert_eq!(other.record(&mine, &step(3, Progress::Done, "after")).await, Ok(Written::Fenced), "it has ended");
}

pub(crate) async fn a_lost_answer_is_recognised<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    let run = held(store, "lost", &me).await;
    let mine = fence(&run);
    let one = step(1, Progress::Done, "a");
    assert_eq!(store.record(&mine, &one).await, Ok(Written::Done));
    assert_eq!(store.record(&mine, &one).await, Ok(Written::Already));
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
    let parked = End::Queued { after: Duration::from_millis(50), parked: true };
    assert_eq!(store.finish(&mine, None, &parked).await, Ok(Written::Done));
    assert!(matches!(store.take(&me, &mine.run, false).await, Ok(Taken::NotNow(_))), "not due");
    assert_eq!(seen(store, &mine.run).await.attempts, 0);
    bench.pass(Duration::from_millis(100)).await;
    let run = taken(store, &me, &mine.run).await.run;
    assert_eq!(run.attempts, 1);
    let back = End::Queued { after: Duration::ZERO, parked: false };
    assert_eq!(store.finish(&fence(&run), None, &back).await, Ok(Written::Done));
    assert_eq!(store.finish(&fence(&run), None, &back).await, Ok(Written::Already));
    assert_eq!(taken(store, &me, &mine.run).await.run.attempts, 2);
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
        let back = End::Queued { after: Duration::ZERO, parked: false };
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
    let back = End::Queued { after: Duration::ZERO, parked: false };
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

pub(crate) async fn messages_come_in_order_and_once<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    let none = RunId::new("flow", "none");
    assert_eq!(store.signal(&none, "t", "1", "1").await, Ok(Signalled::Missing));
    let mine = fence(&held(store, "inbox", &me).await);
    let wait = |seq, attempt| Step { kind: Kind::Wait, value: None, ..step(seq, Progress::Done, attempt) };
    assert_eq!(store.receive(&mine, "t", &wait(1, "a")).await.unwrap().1, None);
    assert_eq!(steps(store, &mine.run).await, []);
    for (id, body, sent) in
        [("2", r#""b""#, Signalled::Sent), ("1", r#""a""#, Signalled::Sent), ("2", r#""x""#, Signalled::Duplicate)]
    {
        assert_eq!(store.signal(&mine.run, "t", id, body).await, Ok(sent));
    }
    assert_eq!(store.signal(&mine.run, "other", "2", "0").await, Ok(Signalled::Sent));

    assert_eq!(store.receive(&mine, "t", &wait(1, "b")).await, Ok((Written::Done, Some(r#""b""#.into()))));
    assert_eq!(store.receive(&mine, "t", &wait(1, "b")).await, Ok((Written::Already, Some(r#""b""#.into()))));
    assert_eq!(store.receive(&mine, "t", &wait(2, "c")).await, Ok((Written::Done, Some(r#""a""#.into()))));
    assert_eq!(store.receive(&mine, "t", &wait(3, "d")).await.unwrap().1, None);
    assert_eq!(store.signal(&mine.run, "t", "2", "3").await, Ok(Signalled::Duplicate), "taken ones are remembered");
    let kept = steps(store, &mine.run).await;
    assert_eq!(kept.len(), 2);
    assert_eq!((kept[0].state, kept[0].value.as_deref()), (Progress::Done, Some(r#""b""#)));
    assert_eq!(store.finish(&mine, None, &End::Ok("1".into())).await, Ok(Written::Done));
    assert_eq!(store.signal(&mine.run, "t", "9", "1").await, Ok(Signalled::Ended(State::Ok)));
}

pub(crate) async fn a_message_wakes_who_parks<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    let mine = fence(&held(store, "sleeper", &me).await);
    let park = End::Queued { after: LONG, parked: true };
    assert_eq!(store.finish(&mine, None, &park).await, Ok(Written::Done));
    assert_eq!(store.signal(&mine.run, "t", "1", "1").await, Ok(Signalled::Sent));
    let run = taken(store, &me, &mine.run).await.run;

    // Between looking into the inbox and going to sleep.
    assert_eq!(store.signal(&run.id, "t", "2", "2").await, Ok(Signalled::Sent));
    assert_eq!(store.finish(&fence(&run), None, &park).await, Ok(Written::Done));
    let run = taken(store, &me, &run.id).await.run;

    // What waits for its next attempt after a failure waits on.
    let back = End::Queued { after: LONG, parked: false };
    assert_eq!(store.finish(&fence(&run), None, &back).await, Ok(Written::Done));
    assert_eq!(store.signal(&run.id, "t", "3", "3").await, Ok(Signalled::Sent));
    assert!(matches!(store.take(&me, &run.id, false).await, Ok(Taken::NotNow(_))));
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
    let parked = End::Queued { after: ever, parked: true };
    assert_eq!(store.finish(&fence(&run), None, &parked).await, Ok(Written::Done));
    assert_eq!(store.keep_task("t", &Task { rev: 1, state: "{}".into() }, ever).await, Ok(true));
    assert!(store.task("t").await.unwrap().is_some());
    let forgotten = store.forget(&Retention::new().ended(ever)).await;
    assert_eq!(forgotten.map(|forgotten| forgotten.runs), Ok(0));
    assert_eq!(store.list(&Filter::new().older_than(ever)).await, Ok(Vec::new()));
    assert!(store.claim(&me, &wanted(9)).await.unwrap().claimed.is_empty());
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
    assert!(matches!(store.fork(&source, 3, &copy, "2").await, Ok(Changed::Not(_))), "its name is taken");
    assert_eq!(steps(store, &source).await.len(), 3);
    let fork = taken(store, &me, &copy).await;
    assert_eq!(store.record(&fence(&fork.run), &step(3, Progress::Done, "3")).await, Ok(Written::Done));
}

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
    assert_eq!(store.size().await.unwrap().steps, 2);
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
    assert_eq!(store.size().await.unwrap().steps, 0);
    assert!(matches!(store.start(&new_run("one")).await, Ok(Started::New)), "its id is free");
    assert!(steps(store, &mine.run).await.is_empty());
    assert!(store.peek(&RunId::new("flow", "other")).await.unwrap().is_some());
}

pub(crate) async fn only_so_many_are_kept<B: Bench>(bench: &B) {
    let (store, me) = (bench.store(), worker("me", LONG));
    for n in 0..6 {
        let mine = fence(&held(store, &n.to_string(), &me).await);
        assert_eq!(store.finish(&mine, None, &End::Ok("1".into())).await, Ok(Written::Done));
        bench.pass(Duration::from_millis(3)).await;
    }
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
    assert_eq!(left.iter().map(|run| run.id.as_str()).collect::<Vec<_>>(), ["flow/5", "flow/4"]);
}

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
    assert_eq!((size.runs, size.steps, size.workers_alive), ([2, 1, 0, 0, 0, 0], 0, 1));
    assert!(size.bytes > 0 && size.oldest_due > Duration::ZERO, "{size:?}");
    assert_eq!(store.finish(&fence(&run), None, &End::Ok("1".into())).await, Ok(Written::Done));
    assert_eq!(store.size().await.unwrap().runs, [2, 0, 0, 1, 0, 0]);
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
