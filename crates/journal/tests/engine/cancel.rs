//! Cancelling: at once in this process, by the next heartbeat or write elsewhere.

use stormproof_journal::{Ctx, Decision, Failed, RunError, State};

use crate::bench::{Bench, Calls, Heard, on_every_store, serve, state, until};

struct Dropped(Calls);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.call();
    }
}

on_every_store! {
    async fn a_run_is_cancelled_at_once_and_can_be_resumed(bench: &Bench) {
        let (journal, elsewhere) = (bench.open().await, bench.open().await);
        let (inside, dropped, heard) = (Calls::default(), Calls::default(), Heard::of(&journal));
        let said = (inside.clone(), dropped.clone());
        journal.workflow("flow", "1", move |cx: Ctx, (): ()| {
            let (inside, dropped) = said.clone();
            async move {
                let _dropped = Dropped(dropped);
                cx.step("one", |_| async { Ok::<_, Failed>(()) }).await?;
                cx.step("two", |_| async {
                    if inside.call() < 3 { std::future::pending::<()>().await; }
                    Ok::<_, Failed>(())
                }).await
            }
        });
        let _served = serve(&journal);
        let run = journal.start("flow", "k", &()).await.unwrap();
        until("it runs", async || inside.count() == 1).await;
        let began = std::time::Instant::now();
        assert_eq!(journal.cancel(run.id()).await.unwrap().state, State::Cancelled);
        until("it is dropped", async || dropped.count() == 1).await;
        assert!(began.elapsed() < std::time::Duration::from_millis(250), "no heartbeat is waited for");
        let error = run.result::<()>().await.unwrap_err();
        assert_eq!(error, RunError::Cancelled { run: run.id().clone() });
        assert_eq!(error.to_string(), "flow/k was cancelled");
        until("it is told", async || heard.has("run_cancelled run=flow/k")).await;

        journal.resume(run.id(), Decision::Ask).await.unwrap();
        until("it runs again", async || inside.count() == 2).await;
        elsewhere.cancel(run.id()).await.unwrap();
        until("the next heartbeat finds out", async || dropped.count() == 2).await;
        until("it is told", async || heard.all().iter().filter(|event| event.starts_with("run_cancelled")).count() == 2).await;

        elsewhere.resume(run.id(), Decision::Ask).await.unwrap();
        run.result::<()>().await.unwrap();
        let error = journal.cancel(run.id()).await.unwrap_err();
        assert_eq!(error.to_string(), "flow/k is ok: only a run that has not ended can be cancelled");
        assert_eq!(state(&journal, run.id()).await, State::Ok);
    }
}
