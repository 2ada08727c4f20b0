//! Leases: who has a run, for how long, and how it notices that it has it no more.

use std::sync::Arc;
use std::time::Duration;

use stormproof::Clock;
use stormproof_journal::{Ctx, Failed, Journal, Op, Probe, RunId, State};

use crate::bench::{Bench, Calls, Heard, LEASE, look, on_every_store, serve, serve_slots, state, until};

/// Says when it is dropped.
struct Dropped(Calls);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.call();
    }
}

/// A workflow with one step that never ends, and says when it is dropped.
fn endless(journal: &Journal, inside: &Calls, dropped: &Calls) {
    let said = (inside.clone(), dropped.clone());
    journal.workflow("endless", "1", move |cx: Ctx, (): ()| {
        let (inside, dropped) = said.clone();
        async move {
            let _dropped = Dropped(dropped);
            cx.step("one", |_| async {
                inside.call();
                std::future::pending::<Result<(), Failed>>().await
            })
            .await
        }
    });
}

on_every_store! {
    async fn what_is_dropped_on_a_thread_without_a_runtime_is_given_back(bench: &Bench) {
        let (journal, inside) = (bench.open().await, Calls::default());
        let probe = async |_| Ok::<_, Failed>(Probe::Rerun);
        let call = |_: Op| { inside.call(); std::future::pending::<Result<u32, Failed>>() };
        let mut once = Box::pin(journal.once("pay", "k").run(probe, call));
        tokio::select! {
            ended = &mut once => panic!("{ended:?}"),
            () = until("it is called", async || inside.count() == 1) => {}
        }
        std::thread::scope(|threads| { threads.spawn(move || drop(once)); });
        until("it is given back", async || state(&journal, &RunId::new("pay", "k")).await == State::Queued).await;
    }

    async fn heartbeats_keep_a_run_over_many_leases(bench: &Bench) {
        let (journal, other) = (bench.open().await, bench.open().await);
        let (inside, dropped, stolen) = (Calls::default(), Calls::default(), Calls::default());
        endless(&journal, &inside, &dropped);
        endless(&other, &stolen, &Calls::default());
        let run = journal.start("endless", "k", &()).await.unwrap();
        let _served = serve(&journal);
        until("it runs", async || inside.count() == 1).await;
        let _waits = serve(&other);
        tokio::time::sleep(LEASE * 3).await;
        assert_eq!((inside.count(), dropped.count(), stolen.count()), (1, 0, 0));
        assert_eq!((state(&journal, run.id()).await, look(&journal, run.id()).await.attempts), (State::Running, 1));
    }

    async fn a_busy_process_keeps_its_lease(bench: &Bench) {
        let (journal, other) = (bench.open().await, bench.open().await);
        let heard = Heard::of(&journal);
        let flow = |cx: Ctx, (): ()| async move {
            let began = std::time::Instant::now();
            let mut steps = 0_u32;
            while began.elapsed() < LEASE * 2 {
                steps += cx.step("write", |_| async { Ok::<_, Failed>(1) }).await?;
            }
            Ok(steps)
        };
        for journal in [&journal, &other] {
            journal.workflow("busy", "1", flow);
        }
        let served = serve_slots(&journal, 64);
        let mut runs = Vec::new();
        for number in 0..64 {
            runs.push(journal.start("busy", &number.to_string(), &()).await.unwrap());
        }
        let _others = serve(&other);
        for run in &runs {
            assert!(run.result::<u32>().await.unwrap() > 0);
            assert_eq!(look(&journal, run.id()).await.attempts, 1, "{:?}", heard.all());
        }
        assert!(!heard.has("lease_lost") && !heard.has("run_fenced"), "{:?}", heard.all());
        drop(served);
    }

    async fn when_two_thirds_of_a_lease_have_passed_without_a_heartbeat_all_runs_are_let_go(bench: &Bench) {
        let clock = Clock::manual();
        let journal = bench.builder().clock(&clock).lease(Duration::from_secs(30)).open().await.unwrap();
        let (inside, dropped, heard) = (Calls::default(), Calls::default(), Heard::of(&journal));
        endless(&journal, &inside, &dropped);
        journal.start("endless", "a", &()).await.unwrap();
        journal.start("endless", "b", &()).await.unwrap();
        let served = serve(&journal);
        until("both run", async || inside.count() == 2).await;
        // In good time: long enough for a heartbeat to get through on a busy machine.
        for _ in 0..5 {
            clock.advance(Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        assert_eq!(dropped.count(), 0, "{:?}", heard.all());
        // As a process sees it that stood still.
        clock.advance(Duration::from_secs(31));
        until("they are let go", async || dropped.count() == 2).await;
        assert!(heard.has("lease_lost runs=2 after=31.0"), "{:?}", heard.all());
        drop(served);
    }

    async fn a_worker_that_lost_its_lease_joins_anew(bench: &Bench) {
        let clock = Clock::manual();
        let journal = bench.builder().clock(&clock).lease(Duration::from_secs(3)).open().await.unwrap();
        let (inside, dropped) = (Calls::default(), Calls::default());
        endless(&journal, &inside, &dropped);
        journal.workflow("quick", "1", |_: Ctx, (): ()| async move { Ok(()) });
        journal.start("endless", "k", &()).await.unwrap();
        let _served = serve(&journal);
        until("it runs", async || inside.count() == 1).await;
        clock.advance(Duration::from_secs(60));
        until("it is let go", async || dropped.count() == 1).await;
        journal.start("quick", "k", &()).await.unwrap();
        until("others are carried out", async || {
            state(&journal, &stormproof_journal::RunId::new("quick", "k")).await == State::Ok
        }).await;
    }

    async fn a_call_is_not_begun_after_the_lease(bench: &Bench) {
        let clock = Clock::manual();
        let journal = bench.builder().clock(&clock).lease(Duration::from_secs(30)).open().await.unwrap();
        let (inside, go_on) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
        let calls = Calls::default();
        let said = (inside.clone(), go_on.clone(), calls.clone());
        journal.workflow("flow", "1", move |cx: Ctx, (): ()| {
            let (inside, go_on, calls) = said.clone();
            async move {
                inside.notify_one();
                go_on.notified().await;
                cx.step("call", |_| async { calls.call(); Ok::<_, Failed>(()) }).await
            }
        });
        journal.start("flow", "k", &()).await.unwrap();
        let served = serve(&journal);
        inside.notified().await;
        // No heartbeat is woken in between: the workflow goes on first.
        go_on.notify_one();
        clock.advance(Duration::from_secs(21));
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(served);
        assert!(calls.count() <= 1, "either it began before the clock was moved, or not at all");
    }
}
