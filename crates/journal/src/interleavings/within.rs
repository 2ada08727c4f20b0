//! Replaced in the middle of a write: while the claim of the other worker is not yet committed, and while the write itself
//! is not.

use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::sync::mpsc::unbounded_channel;

use super::commit::{Pause, slowly};
use super::script::{LAST, SCRIPT, Write};
use super::sql::Sql;
use super::world::{World, wanted, write};
use crate::run::Progress;
use crate::store::{Changed, Fence, Keep as _, Worker, Written};

/// So long nothing may happen to what waits for another transaction.
const A_WHILE: Duration = Duration::from_millis(30);

on_each_engine!(a_write_waits_for_a_claim_that_is_not_committed_yet_and_is_refused_after_it);
on_each_engine!(who_comes_while_a_commit_is_open_gets_the_run_with_it_or_not_at_all);

/// Each write with those before it.
fn writes() -> Vec<(Vec<Write>, Write)> {
    let before = |index: usize| SCRIPT[..index].to_vec();
    let script = SCRIPT.iter().enumerate().map(|(index, &write)| (before(index), write));
    script.chain(LAST.iter().map(|&last| (before(SCRIPT.len() - 1), last))).collect()
}

/// What the open transaction of the other one does to the run.
const RIVALS: [(&str, &str); 2] = [
    ("claim", "update run set epoch = epoch + 1, owner = 'OTHER', attempts = attempts + 1 where id = 'RUN'"),
    ("cancel", "update run set epoch = epoch + 1, owner = null, state = 'cancelled' where id = 'RUN'"),
];

async fn a_write_waits_for_a_claim_that_is_not_committed_yet_and_is_refused_after_it(engine: &str) {
    let world = World::new(engine).await;
    for (before, last) in writes() {
        for (rival, sql) in RIVALS {
            // That it goes on after a rollback needs to be seen only once.
            let outcomes: &[bool] = if rival == "claim" { &[true, false] } else { &[true] };
            for &commits in outcomes {
                let place = format!("{engine}: {last:?} against a {rival}, commits: {commits}");
                let (a, b) = (world.worker(&world.a, "a").await, world.worker(&world.b, "b").await);
                let held = world.claimed(&a).await;
                for &step in &before {
                    assert_eq!(write(&world.a, "a", &held, step).await, Written::Done, "{place}");
                }
                let begin = if engine == "sqlite" { "begin immediate" } else { "begin" };
                world.sql.run(begin).await;
                world.sql.run(&sql.replace("OTHER", &b.id).replace("RUN", held.run.as_str())).await;
                let picture = world.picture(&held.run).await;

                let mut stale = pin!(write(&world.a, "a", &held, last));
                assert_eq!(within_a_while(stale.as_mut()).await, None, "{place}: it did not wait");
                world.sql.run(if commits { "commit" } else { "rollback" }).await;
                let written = stale.await;

                if commits {
                    assert_eq!(written, Written::Fenced, "{place}");
                    assert_eq!(world.picture(&held.run).await, picture, "{place}: it left a trace");
                } else {
                    assert_eq!(written, Written::Done, "{place}");
                }
                let _ = world.b.cancel(&held.run).await.unwrap();
            }
        }
    }
}

/// A claim, a take and a cancellation while a write of the first worker is under way: it stands, and they come after it;
/// or they were first, and it does not.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_while_a_write_is_under_way_sees_it_or_wins() {
    let world = World::new("postgres").await;
    let other = Sql::open(&world.url).await;
    for (before, last) in writes() {
        let Some(seq) = last.seq() else { continue };
        for rival in ["claim", "take", "cancel"] {
            let place = format!("{last:?} and a {rival}");
            let (a, b) = (world.worker(&world.a, "a").await, world.worker(&world.b, "b").await);
            let held = world.claimed(&a).await;
            for &step in &before {
                assert_eq!(write(&world.a, "a", &held, step).await, Written::Done, "{place}");
            }
            world.expire(&a).await;
            // Somebody has the very row that the write needs: it has looked at the fence, and waits.
            let lock = format!(
                "insert into step (run_id, seq, name, fp, kind, state, epoch, attempt_id) \
                 values ('{}', {seq}, '', '', 'step', 'begun', 0, '') on conflict (run_id, seq) do update set fp = step.fp",
                held.run
            );
            other.run("begin").await;
            other.run(&lock).await;

            let mut first = pin!(write(&world.a, "a", &held, last));
            assert_eq!(within_a_while(first.as_mut()).await, None, "{place}: it did not wait");
            let mut second = Box::pin(come(&world, rival, &b, &held));
            let early = within_a_while(second.as_mut()).await;
            other.run("rollback").await;
            let written = first.await;
            let came = match early {
                Some(came) => came,
                None => second.await,
            };

            let seen = world.b.read(&held.run).await.unwrap().unwrap();
            let stands = seen.steps.iter().any(|step| {
                step.attempt_id.starts_with(&format!("a {seq} ")) && { step.state == last.step("a", 0).unwrap().state }
            });
            assert_eq!(stands, written == Written::Done, "{place}: {written:?}, {seen:?}");
            if came && early.is_some() {
                assert_eq!(written, Written::Fenced, "{place}: the run was another's before the write was committed");
            }
            if !came {
                assert_eq!(written, Written::Done, "{place}: nobody came between");
            }
            let _ = world.b.cancel(&held.run).await.unwrap();
        }
    }
}

/// The same for the transaction in which a workflow's own code runs.
async fn who_comes_while_a_commit_is_open_gets_the_run_with_it_or_not_at_all(engine: &str) {
    let world = World::new(engine).await;
    for rival in ["claim", "take", "cancel"] {
        let place = format!("{engine}: {rival}");
        let (a, b) = (world.worker(&world.a, "a").await, world.worker(&world.b, "b").await);
        let held = world.claimed(&a).await;
        world.expire(&a).await;
        let step = Write::Commit(1).step("a", held.epoch).unwrap();
        let (inside, mut is_inside) = unbounded_channel();
        let pause = Pause { inside: Some(inside), length: 4 * A_WHILE };

        let first = slowly(&world.a, "a", &held, &step, pause);
        let second = async {
            is_inside.recv().await.unwrap();
            come(&world, rival, &b, &held).await
        };
        let (written, came) = tokio::join!(first, second);

        assert_eq!(written, Written::Done, "{place}: it was there first");
        assert_eq!(world.authors(&held.run).await, ["1 a", "row 1 a"], "{place}");
        if came && rival != "cancel" {
            let run = world.b.read(&held.run).await.unwrap().unwrap();
            assert!(run.run.epoch > held.epoch && run.steps[0].state == Progress::Done, "{place}: {run:?}");
        }
        let _ = world.b.cancel(&held.run).await.unwrap();
    }
}

/// The other one comes. Whether the run is no longer the first one's.
async fn come(world: &World, rival: &str, b: &Worker, held: &Fence) -> bool {
    match rival {
        "claim" => !world.b.claim(b, &wanted()).await.unwrap().claimed.is_empty(),
        "take" => matches!(world.b.take(b, &held.run, false).await.unwrap(), crate::store::Taken::Claimed(_)),
        _ => matches!(world.b.cancel(&held.run).await.unwrap(), Changed::Now(_)),
    }
}

/// Drives a future for a while. `None`: it waits for something.
async fn within_a_while<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Option<T> {
    tokio::time::timeout(A_WHILE, future).await.ok()
}
