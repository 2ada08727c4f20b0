//! Events and the snapshot.

use std::sync::{Arc, Mutex};

use stormproof::{EventBus, Stage, event::Category};
use stormproof_journal::{Ctx, Failed};

use crate::bench::{Bench, Heard, on_every_store, serve, until};

on_every_store! {
    async fn the_snapshot_counts_runs_and_steps(bench: &Bench) {
        let journal = bench.builder().name("agents").open().await.unwrap();
        journal.workflow("flow", "1", |cx: Ctx, fails: bool| async move {
            cx.step("one", |_| async { Ok::<_, Failed>(()) }).await?;
            if fails { Err(Failed::new("down", "")) } else { Ok(()) }
        });
        let _served = serve(&journal);
        journal.run::<()>("flow", "a", &false).await.unwrap();
        journal.run::<()>("flow", "b", &true).await.unwrap_err();
        journal.run::<()>("flow", "b", &true).await.unwrap_err();
        let snapshot = journal.snapshot().await.unwrap();
        assert_eq!((snapshot.stage, snapshot.name.as_str()), (Stage::Journal, "agents"));
        let seen = |metric, label| snapshot.get(metric, label);
        assert_eq!((seen("runs", "ok"), seen("runs", "err"), seen("runs", "queued")), (Some(1.0), Some(1.0), Some(0.0)));
        assert_eq!(seen("steps_written", ""), Some(2.0));
        assert_eq!((seen("steps_replayed", ""), seen("runs_claimed", "")), (Some(1.0), Some(3.0)));
        assert_eq!(seen("workers_alive", ""), Some(1.0));
    }

    async fn events_come_to_listeners_and_buses(bench: &Bench) {
        let journal = bench.builder().name("agents").open().await.unwrap();
        let (heard, bus, on_bus) = (Heard::of(&journal), EventBus::new(), Arc::new(Mutex::new(Vec::new())));
        bus.attach(journal.events());
        let told = on_bus.clone();
        let _subscription = bus.subscribe(Category::Error, move |event| told.lock().unwrap().push((event.policy.to_string(), event.event_type())));
        let mut received = journal.subscribe();
        journal.workflow("flow", "1", |_: Ctx, (): ()| async move { Err::<(), _>(Failed::new("Secret", "a password")) });
        let _served = serve(&journal);
        journal.run::<()>("flow", "k", &()).await.unwrap_err();
        until("it is heard", async || heard.has("run_failed")).await;
        assert_eq!(heard.all(), ["run_failed run=flow/k error=Secret"], "what the error says is nobody's business");
        assert_eq!(*on_bus.lock().unwrap(), [("agents".to_owned(), "run_failed")]);
        assert_eq!(received.recv().await.unwrap().event_type(), "run_failed");
    }
}
