//! The same from outside: a workflow that is replaced while it is in a step, between two, and at its end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::world::World;
use crate::run::RunId;
use crate::{Ctx, Failed, Journal, Op, Probe};

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the first worker is stopped, in order.
const POINTS: [&str; 10] = [
    "in one",
    "after one",
    "in two",
    "after two",
    "after three",
    "in four",
    "after four",
    "after five",
    "after six",
    "end",
];

/// What a worker may still pass that does not know that it was replaced: a plain step, which may run once more than it is
/// recorded, and the end of its function, where nothing is left to do but what the fence refuses.
const HARMLESS: [&str; 3] = ["in one", "in four", "end"];

on_each_engine!(a_replaced_workflow_goes_no_further_and_leaves_no_trace);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The lease ends, the other one claims.
    Claim,
    /// An operator cancels, and queues it again; the other one claims.
    Resume,
    /// An operator cancels.
    Cancel,
}

async fn a_replaced_workflow_goes_no_further_and_leaves_no_trace(engine: &str) {
    let world = World::new(engine).await;
    for how in [How::Claim, How::Resume, How::Cancel] {
        for (number, point) in POINTS.into_iter().enumerate() {
            let key = format!("{how:?}-{number}");
            let checked = tokio::time::timeout(PATIENCE, replaced(&world, &key, point, how)).await;
            assert!(checked.is_ok(), "{engine} {how:?} at {point:?}: it hangs");
        }
    }
}

async fn replaced(world: &World, key: &str, point: &'static str, how: How) {
    let place = format!("{} {how:?} at {point:?}", &world.url[..6]);
    let a = Actor::enter(world, "a", Some(point)).await;
    let b = Actor::enter(world, "b", None).await;
    let run = RunId::new("actor", key);
    a.journal.start("actor", key, &()).await.unwrap();
    a.journal.signal(&run, "topic", "m1", &"message").await.unwrap();
    let serving = a.serve();
    a.stage.reached().await;

    let owner = world.sql.lines(&format!("select owner from run where id = '{run}'")).await;
    if how == How::Claim {
        world.sql.run(&format!("update worker set lease_until = 0 where id = '{}'", owner[0])).await;
    } else {
        b.journal.cancel(&run).await.unwrap();
        if how == How::Resume {
            b.journal.resume(&run, crate::Decision::Ask).await.unwrap();
        }
    }
    let other = b.serve();
    let result = b.journal.handle(&run).result::<Vec<String>>().await;
    let picture = world.picture(&run).await;
    let seen = a.stage.seen();

    // It goes on, and does not know.
    a.stage.open();
    a.stage.left().await;

    let further: Vec<_> = a.stage.seen().split_off(seen.len());
    assert!(further.iter().all(|it| HARMLESS.contains(it)), "{place}: it went on to {further:?}");
    assert_eq!(world.picture(&run).await, picture, "{place}: it left a trace");
    match (how, result) {
        (How::Cancel, result) => {
            let cancelled = matches!(result, Err(crate::RunError::Cancelled { .. }));
            assert!(cancelled, "{place}: {result:?}");
        }
        (_, result) => {
            let values = result.unwrap_or_else(|error| panic!("{place}: {error}"));
            let stopped = POINTS.iter().position(|it| *it == point).unwrap();
            // Up to where it was recorded, the values are the first one's.
            let by_a = ["after one", "after two", "after three"]
                .iter()
                .filter(|after| POINTS.iter().position(|it| it == *after).unwrap() <= stopped);
            let by_a = by_a.count();
            for (index, value) in values.iter().take(3).enumerate() {
                let author = if index < by_a { "a" } else { "b" };
                assert!(value.starts_with(author), "{place}: {values:?}");
            }
            assert_eq!(values.last().map(String::as_str), Some("b"), "{place}");
            let rows = world.sql.lines(&format!("select seq from ledger where run = '{run}'")).await;
            assert_eq!(rows.len(), 1, "{place}: {rows:?}");
        }
    }
    a.leave(serving).await;
    b.leave(other).await;
}

/// A process with the workflow.
struct Actor {
    journal: Journal,
    stage: Arc<Stage>,
}

impl Actor {
    async fn enter(world: &World, who: &'static str, stop_at: Option<&'static str>) -> Self {
        let journal = Journal::builder(&world.url)
            // No heartbeat comes while the test goes on.
            .lease(Duration::from_secs(600))
            .poll(Duration::from_millis(10))
            .open()
            .await
            .unwrap();
        let stage = Arc::new(Stage::new(stop_at));
        let sqlite = world.url.starts_with("sqlite:");
        journal.workflow("actor", "1", {
            let stage = stage.clone();
            move |cx: Ctx, (): ()| act(cx, who, stage.clone(), sqlite)
        });
        Self { journal, stage }
    }

    fn serve(&self) -> JoinHandle<()> {
        let journal = self.journal.clone();
        tokio::spawn(async move { journal.serve(1).await.unwrap() })
    }

    async fn leave(self, serving: JoinHandle<()>) {
        self.journal.shutdown(Duration::ZERO).await;
        serving.await.unwrap();
    }
}

async fn act(cx: Ctx, who: &'static str, stage: Arc<Stage>, sqlite: bool) -> Result<Vec<String>, Failed> {
    let _leaves = Leaves(stage.clone());
    let said = move |what: &str| format!("{who} {what}");
    let at = |place: &'static str| {
        let stage = stage.clone();
        move |_: Op| {
            let stage = stage.clone();
            async move {
                stage.pass(place).await;
                Ok::<_, Failed>(said(place))
            }
        }
    };
    let one = cx.step("one", at("in one")).await?;
    stage.pass("after one").await;
    let probe = |_: Op| async { Ok::<_, Failed>(Probe::Rerun) };
    let two = cx.effect("two", probe, at("in two")).await?;
    stage.pass("after two").await;
    let three = commit(&cx, who, sqlite).await?;
    stage.pass("after three").await;
    let four = {
        let stage = stage.clone();
        let failing = move |_: Op| {
            let stage = stage.clone();
            async move {
                stage.pass("in four").await;
                Err::<String, _>(Failed::new("failed", said("four")))
            }
        };
        cx.step("four", failing).await.unwrap_err().message().to_owned()
    };
    stage.pass("after four").await;
    cx.sleep("five", Duration::from_millis(1)).await;
    stage.pass("after five").await;
    let six: Result<String, _> = cx.wait("topic").await;
    stage.pass("after six").await;
    stage.pass("end").await;
    Ok(vec![one, two, three, four, format!("{six:?}"), who.into()])
}

async fn commit(cx: &Ctx, who: &'static str, sqlite: bool) -> Result<String, Failed> {
    let run = cx.run_id().to_string();
    if sqlite {
        return cx
            .commit("three", move |tx: &rusqlite::Transaction<'_>| {
                tx.execute("insert into ledger (run, seq, who) values (?1, 3, ?2)", (&run, who))?;
                Ok::<_, rusqlite::Error>(format!("{who} three"))
            })
            .await;
    }
    #[cfg(feature = "postgres")]
    {
        cx.commit_postgres("three", |tx| {
            let run = run.clone();
            async move {
                tx.execute("insert into ledger (run, seq, who) values ($1, 3, $2)", &[&run, &who]).await?;
                Ok::<_, tokio_postgres::Error>(format!("{who} three"))
            }
        })
        .await
    }
    #[cfg(not(feature = "postgres"))]
    Err(Failed::new("wrong_engine", "there is no PostgreSQL"))
}

/// Where a workflow is, and where it is held.
struct Stage {
    stop_at: Option<&'static str>,
    seen: Mutex<Vec<&'static str>>,
    reached: watch::Sender<bool>,
    left: watch::Sender<bool>,
    gate: Semaphore,
}

struct Leaves(Arc<Stage>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.left.send_replace(true);
    }
}

impl Stage {
    fn new(stop_at: Option<&'static str>) -> Self {
        let gate = Semaphore::new(0);
        Self { stop_at, seen: Mutex::default(), reached: watch::channel(false).0, left: watch::channel(false).0, gate }
    }

    async fn pass(&self, place: &'static str) {
        self.seen.lock().unwrap().push(place);
        if self.stop_at == Some(place) {
            self.reached.send_replace(true);
            self.gate.acquire().await.unwrap().forget();
        }
    }

    fn seen(&self) -> Vec<&'static str> {
        self.seen.lock().unwrap().clone()
    }

    fn open(&self) {
        self.gate.add_permits(1);
    }

    async fn reached(&self) {
        self.reached.subscribe().wait_for(|reached| *reached).await.unwrap();
    }

    async fn left(&self) {
        self.left.subscribe().wait_for(|left| *left).await.unwrap();
    }
}
