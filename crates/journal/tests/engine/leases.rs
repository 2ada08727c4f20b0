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
    async fn a_process_whose_threads_are_blocked_loses_its_runs_and_what_it_has_is_refused(bench: &Bench) {
        let other = bench.open().await;
        let (ran, blocked) = (Calls::default(), Calls::default());
        let flow = |ran: &Calls, block: Option<Calls>| {
            let ran = ran.clone();
            move |cx: Ctx, (): ()| {
                let (ran, block) = (ran.clone(), block.clone());
                async move {
                    cx.step("compute", |_| {
                        let (ran, block) = (ran.clone(), block.clone());
                        async move {
                            if let Some(block) = block {
                                block.call();
                                std::thread::sleep(LEASE * 2);
                            }
                            Ok::<_, Failed>(ran.call())
                        }
                    }).await
                }
            }
        };
        other.workflow("flow", "1", flow(&ran, None));
        let (builder, blocks) = (bench.builder(), flow(&ran, Some(blocked.clone())));
        let process = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async {
                let journal = builder.open().await.unwrap();
                let heard = Heard::of(&journal);
                journal.workflow("flow", "1", blocks);
                journal.start("flow", "k", &()).await.unwrap();
                let _served = serve(&journal);
                // By the clock, or by the store, whichever task comes first when threads are free again.
                until("it is told", async || heard.has("lease_lost") || heard.has("run_fenced")).await;
            });
        });
        until("it is blocked", async || blocked.count() == 1).await;
        let _others = serve(&other);
        let run = other.handle(&stormproof_journal::RunId::new("flow", "k"));
        assert_eq!(run.result::<u32>().await, Ok(1), "the other one is first");
        tokio::task::spawn_blocking(move || process.join().unwrap()).await.unwrap();
        assert_eq!(run.result::<u32>().await, Ok(1), "what the blocked one wrote does not count");
    }
}

/// The locks of workers beside a journal on `SQLite`.
fn locks(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder.join("journal.db-workers")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn a_lost_lease_leaves_no_lock_behind() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("journal.db").display());
    let clock = Clock::manual();
    let journal = Journal::builder(url).clock(&clock).open().await.unwrap();
    let once = async |key: &str| {
        let unasked = |_: Op| async { Err::<Probe<u32>, _>(Failed::new("", "it was asked")) };
        journal.once("pay", key).run(unasked, |_| async { Ok::<_, Failed>(7) }).await
    };
    for key in ["1", "2", "3"] {
        assert_eq!(once(key).await, Ok(7));
        assert_eq!(locks(folder.path()), 1);
        clock.advance(Duration::from_secs(21));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(locks(folder.path()), 1, "for others the lease is not over yet");
        clock.advance(Duration::from_secs(10));
        until("the lock is free", async || locks(folder.path()) == 0).await;
    }
}

#[test]
fn a_journal_goes_on_when_the_runtime_it_began_on_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("journal.db").display());
    for url in ["memory:", &file] {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let first = runtime();
        let journal = first.block_on(Journal::builder(url).lease(Duration::from_millis(300)).open()).unwrap();
        journal.workflow("flow", "1", |cx: Ctx, (): ()| async move {
            cx.step("one", |_| async { Ok::<_, Failed>(7) }).await
        });
        let use_it = async |key: &str| {
            let unasked = |_: Op| async { Err::<Probe<u32>, _>(Failed::new("", "it was asked")) };
            let once = journal.once("pay", key).run(unasked, |_| async { Ok::<_, Failed>(7) }).await;
            let _served = serve(&journal);
            (once, journal.run::<u32>("flow", key, &()).await)
        };
        assert_eq!(first.block_on(use_it("1")), (Ok(7), Ok(7)));
        drop(first);
        std::thread::sleep(Duration::from_millis(400));
        let in_time = async { tokio::time::timeout(Duration::from_secs(10), use_it("2")).await };
        assert_eq!(runtime().block_on(in_time).expect("it does not hang"), (Ok(7), Ok(7)), "{url}");
    }
}
