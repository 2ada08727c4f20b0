//! Tasks that a workflow has spawned with a clone of its context, and that go on when it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stormproof_journal::{Ctx, Failed, Journal, Op, Probe};
use tokio::sync::Notify;

use crate::bench::{Bench, Calls, on_every_store, serve, until};

/// What a task says when it comes to its end.
type End = tokio::sync::mpsc::UnboundedSender<Result<(), Failed>>;

/// A workflow that spawns `task` and waits for ever itself. The task gets a word when it is to go on.
fn spawning<Fut>(
    journal: &Journal,
    end: &End,
    task: impl Fn(Ctx, Arc<Notify>) -> Fut + Send + Sync + 'static,
) -> Arc<Notify>
where
    Fut: Future<Output = Result<(), Failed>> + Send + 'static,
{
    let (go_on, end) = (Arc::new(Notify::new()), end.clone());
    let said = go_on.clone();
    journal.workflow("flow", "1", move |cx: Ctx, (): ()| {
        let (task, end) = (task(cx.clone(), said.clone()), end.clone());
        async move {
            tokio::spawn(async move { end.send(task.await).unwrap() });
            cx.wait::<()>("never").await
        }
    });
    go_on
}

struct Dropped(Calls);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.call();
    }
}

on_every_store! {
    async fn after_its_workflow_a_task_begins_no_operation_and_its_steps_end_with_an_error(bench: &Bench) {
        let journal = bench.open().await;
        let (calls, (end, mut ended)) = (Calls::default(), tokio::sync::mpsc::unbounded_channel());
        let (counted, waits) = (calls.clone(), Calls::default());
        let waiting = waits.clone();
        let go_on = spawning(&journal, &end, move |cx, go_on| {
            let (calls, waiting) = (counted.clone(), waiting.clone());
            async move {
                waiting.call();
                go_on.notified().await;
                let call = |_: Op| async { calls.call(); Ok::<_, Failed>(()) };
                let probe = |_: Op| async { calls.call(); Ok::<Probe<()>, Failed>(Probe::Rerun) };
                let effect = cx.effect("pay", probe, call).await;
                assert_eq!(effect.unwrap_err().kind(), "outlived");
                let waited = cx.wait::<()>("word").await;
                assert_eq!(waited.unwrap_err().kind(), "outlived");
                let child = cx.start("flow", "child", &()).await;
                assert_eq!(child.unwrap_err().kind(), "outlived");
                cx.step("call", call).await
            }
        });
        let _served = serve(&journal);
        let run = journal.start("flow", "k", &()).await.unwrap();
        until("the task waits", async || waits.count() == 1).await;
        journal.cancel(run.id()).await.unwrap();
        go_on.notify_one();
        let error = ended.recv().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "step 5 `call` belongs to a task that outlived its workflow, flow/k");
        let steps = journal.show(run.id()).await.unwrap().steps;
        assert!(calls.count() == 0 && steps.iter().all(|step| step.seq == 1), "{steps:?}");
    }

    async fn what_a_task_has_under_way_is_dropped_with_its_workflow(bench: &Bench) {
        let journal = bench.open().await;
        let (inside, dropped, (end, mut ended)) = (Calls::default(), Calls::default(), tokio::sync::mpsc::unbounded_channel());
        let said = (inside.clone(), dropped.clone());
        spawning(&journal, &end, move |cx, _| {
            let (inside, dropped) = said.clone();
            async move {
                cx.step("call", |_| async {
                    let _dropped = Dropped(dropped.clone());
                    inside.call();
                    std::future::pending::<Result<(), Failed>>().await
                }).await
            }
        });
        let _served = serve(&journal);
        let run = journal.start("flow", "k", &()).await.unwrap();
        until("it is under way", async || inside.count() == 1).await;
        journal.cancel(run.id()).await.unwrap();
        assert_eq!(ended.recv().await.unwrap().unwrap_err().kind(), "outlived");
        assert_eq!(dropped.count(), 1);
    }

    async fn a_sleep_of_a_task_is_never_over_before_its_time(bench: &Bench) {
        let journal = bench.open().await;
        let (asleep, awake) = (Calls::default(), Arc::new(AtomicBool::new(false)));
        let said = (asleep.clone(), awake.clone());
        let (end, _ended) = tokio::sync::mpsc::unbounded_channel();
        spawning(&journal, &end, move |cx, _| {
            let (asleep, awake) = said.clone();
            async move {
                asleep.call();
                cx.sleep("pause", Duration::from_millis(200)).await;
                awake.store(true, Ordering::Relaxed);
                Ok(())
            }
        });
        let _served = serve(&journal);
        let run = journal.start("flow", "k", &()).await.unwrap();
        until("it sleeps", async || asleep.count() == 1).await;
        journal.cancel(run.id()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(!awake.load(Ordering::Relaxed), "nobody has waited that long for the run");
    }
}
