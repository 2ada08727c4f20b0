//! What a crash does: a test for each line of the table, named after it.

use std::sync::Arc;
use std::time::Duration;

use stormproof::{Backoff, Policy, Retry};
use stormproof_journal::{Ctx, Failed, Journal, Op, Probe, RunId, State};

use crate::bench::{Bench, Calls, Heard, count, look, on_every_store, serve, state, until};

/// Never comes back: the process dies here.
async fn die<T>(dead: &tokio::sync::Notify) -> T {
    dead.notify_one();
    std::future::pending().await
}

/// Two steps, between which a process can die.
fn two_steps(journal: &Journal, calls: &Calls, deadly: Option<(&'static str, Arc<tokio::sync::Notify>)>) {
    let calls = calls.clone();
    journal.workflow("two", "1", move |cx: Ctx, (): ()| {
        let (calls, deadly) = (calls.clone(), deadly.clone());
        async move {
            let here = async |place: &str| match &deadly {
                Some((at, dead)) if *at == place => die::<()>(dead).await,
                _ => {}
            };
            here("before the first").await;
            count(&cx, "one", &calls).await?;
            cx.step("two", |_| async {
                calls.call();
                here("inside the second").await;
                Ok::<_, Failed>(())
            })
            .await?;
            here("after the last").await;
            Ok(calls.count())
        }
    });
}

on_every_store! {
    async fn before_the_run_is_committed_there_is_no_acknowledgement_and_the_same_key_begins_it(bench: &Bench) {
        let (journal, calls) = (bench.open().await, Calls::default());
        two_steps(&journal, &calls, None);
        {
            let start = journal.start("two", "k", &());
            // It was asked for, and nobody waited for the answer.
            let _ = tokio::time::timeout(Duration::ZERO, start).await;
        }
        let run = journal.start("two", "k", &()).await.unwrap();
        let _served = serve(&journal);
        assert_eq!(run.result::<u32>().await.unwrap(), 2);
    }

    async fn after_it_or_claimed_without_a_step_any_worker_takes_it(bench: &Bench) {
        let calls = Calls::default();
        bench.crash(|builder, dead| async move {
            let journal = builder.open().await.unwrap();
            two_steps(&journal, &Calls::default(), None);
            journal.start("two", "started", &()).await.unwrap();
            dead.notify_one();
            std::future::pending::<()>().await;
        }).await;
        bench.crash(|builder, dead| async move {
            let journal = builder.open().await.unwrap();
            two_steps(&journal, &Calls::default(), Some(("before the first", dead)));
            journal.start("two", "claimed", &()).await.unwrap();
            journal.serve(2).await.unwrap();
        }).await;
        let journal = bench.open().await;
        two_steps(&journal, &calls, None);
        let _served = serve(&journal);
        journal.run::<u32>("two", "started", &()).await.unwrap();
        journal.run::<u32>("two", "claimed", &()).await.unwrap();
        assert_eq!(calls.count(), 4);
    }

    async fn inside_a_step_or_before_its_record_the_step_runs_again(bench: &Bench) {
        let calls = Calls::default();
        let counted = calls.clone();
        bench.crash(move |builder, dead| async move {
            let journal = builder.open().await.unwrap();
            two_steps(&journal, &counted, Some(("inside the second", dead)));
            journal.start("two", "k", &()).await.unwrap();
            journal.serve(2).await.unwrap();
        }).await;
        assert_eq!(calls.count(), 2);
        let journal = bench.open().await;
        let heard = Heard::of(&journal);
        two_steps(&journal, &calls, None);
        let _served = serve(&journal);
        assert_eq!(journal.run::<u32>("two", "k", &()).await.unwrap(), 3, "the second again, the first not");
        assert!(heard.has("run_recovered run=two/k attempts=2"), "{:?}", heard.all());
    }

    async fn inside_an_effect_or_before_its_record_the_probe_decides(bench: &Bench) {
        let paid = Calls::default();
        for (key, answer) in [("done", Probe::Done(7)), ("rerun", Probe::Rerun), ("refuse", Probe::Refuse("who knows".into()))] {
            let counted = paid.clone();
            bench.crash(move |builder, dead| async move {
                let journal = builder.open().await.unwrap();
                journal.workflow("pay", "1", move |cx: Ctx, (): ()| {
                    let (calls, dead) = (counted.clone(), dead.clone());
                    async move {
                        let never = |_: Op| async { Err::<Probe<u32>, _>(Failed::new("asked", "too early")) };
                        cx.effect("pay", never, |_| async { calls.call(); die::<Result<u32, Failed>>(&dead).await }).await
                    }
                });
                journal.start("pay", key, &()).await.unwrap();
                journal.serve(1).await.unwrap();
            }).await;
            let journal = bench.open().await;
            let (counted, heard) = (paid.clone(), Heard::of(&journal));
            journal.workflow("pay", "1", move |cx: Ctx, (): ()| {
                let (calls, answer) = (counted.clone(), answer.clone());
                async move {
                    cx.effect("pay", |_| async { Ok::<_, Failed>(answer.clone()) }, |_| async { Ok::<_, Failed>(calls.call()) }).await
                }
            });
            let _served = serve(&journal);
            let result = journal.run::<u32>("pay", key, &()).await;
            assert!(heard.has(&format!("effect_uncertain run=pay/{key} step=1 name=pay")), "{:?}", heard.all());
            match key {
                "done" => assert_eq!((result.unwrap(), paid.count()), (7, 1)),
                "rerun" => assert_eq!((result.unwrap(), paid.count()), (3, 3)),
                _ => {
                    assert_eq!(paid.count(), 4);
                    assert_eq!(
                        result.unwrap_err().to_string(),
                        "pay/refuse is blocked: whether step 1 `pay` happened is not known, and its probe refuses to \
                         guess: who knows"
                    );
                }
            }
        }
    }

    async fn after_the_last_step_replay_runs_nothing_again(bench: &Bench) {
        let calls = Calls::default();
        let counted = calls.clone();
        bench.crash(move |builder, dead| async move {
            let journal = builder.open().await.unwrap();
            two_steps(&journal, &counted, Some(("after the last", dead)));
            journal.start("two", "k", &()).await.unwrap();
            journal.serve(2).await.unwrap();
        }).await;
        let journal = bench.open().await;
        two_steps(&journal, &calls, None);
        let _served = serve(&journal);
        assert_eq!(journal.run::<u32>("two", "k", &()).await.unwrap(), 2);
    }

    async fn of_a_worker_that_was_paused_past_its_lease_the_next_write_is_fenced(bench: &Bench) {
        let (paused, calls) = (bench.open_paused().await, Calls::default());
        let (go_on, inside) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
        let (wait, tell, counted) = (go_on.clone(), inside.clone(), calls.clone());
        paused.workflow("flow", "1", move |cx: Ctx, (): ()| {
            let (wait, tell, calls) = (wait.clone(), tell.clone(), counted.clone());
            async move {
                let _: u32 = cx.step("one", |_| async { tell.notify_one(); wait.notified().await; Ok::<_, Failed>(1) }).await?;
                calls.call();
                Ok("zombie")
            }
        });
        let heard = Heard::of(&paused);
        let run = paused.start("flow", "k", &()).await.unwrap();
        let _paused_serves = serve(&paused);
        inside.notified().await;

        let other = bench.open().await;
        other.workflow("flow", "1", |cx: Ctx, (): ()| async move {
            cx.step("one", |_| async { Ok::<_, Failed>("other".to_owned()) }).await
        });
        let served = serve(&other);
        assert_eq!(other.handle(run.id()).result::<String>().await.unwrap(), "other");
        drop(served);
        go_on.notify_one();
        until("the zombie is fenced", async || heard.has("run_fenced run=flow/k")).await;
        assert_eq!(calls.count(), 0, "its workflow never heard that the step was done");
        assert_eq!(look(&other, run.id()).await.result.as_deref(), Some("\"other\""));
    }

    async fn a_run_that_is_put_back_says_why(bench: &Bench) {
        let later = Backoff::constant(Duration::from_secs(3600));
        let journal = bench.builder().retry_delay(later).open().await.unwrap();
        let heard = Heard::of(&journal);
        journal.workflow("panics", "1", |_: Ctx, (): ()| async move {
            assert!(std::hint::black_box(false), "not today");
            Ok(())
        });
        journal.workflow("asks", "1", |cx: Ctx, (): ()| async move {
            let down = || async { Err::<Probe<u32>, _>(Failed::new("down", "the bank is down")) };
            cx.effect("pay", move |_| down(), |_| async { Err::<u32, _>(Failed::new("reset", "connection reset")) })
                .policy(&Policy::builder("bank").retry(Retry::constant(Duration::ZERO).max_retries(1)).build()?)
                .await
        });
        let _served = serve(&journal);
        for (workflow, kind, message) in [
            ("panics", "panicked", "it panicked: not today"),
            ("asks", "probe_failed", "the probe of step 1 `pay` failed: the bank is down"),
        ] {
            let run = journal.start(workflow, "k", &()).await.unwrap();

            until("it is put back", async || look(&journal, run.id()).await.error.is_some()).await;

            let known = look(&journal, run.id()).await;
            assert_eq!((known.state, known.attempts), (State::Queued, 1));
            assert_eq!(known.error.map(|error| (error.kind, error.message)), Some((kind.into(), message.into())));
            let told = format!("run_put_back run={workflow}/k error={kind} attempts=1");
            until("it is told", async || heard.has(&told)).await;
        }
    }

    async fn a_workflow_that_panics_is_tried_again_and_then_blocked(bench: &Bench) {
        let (journal, calls) = (bench.builder().max_attempts(3).open().await.unwrap(), Calls::default());
        let counted = calls.clone();
        journal.workflow("flow", "1", move |cx: Ctx, until: u32| {
            let calls = counted.clone();
            async move {
                cx.step("one", |_| async {
                    assert!(calls.call() >= until, "not yet");
                    Ok::<_, Failed>(())
                }).await?;
                Ok(calls.count())
            }
        });
        let _served = serve(&journal);
        assert_eq!(journal.run::<u32>("flow", "third", &3).await.unwrap(), 3);
        let error = journal.run::<u32>("flow", "never", &1000).await.unwrap_err();
        assert_eq!(error.to_string(), "flow/never is blocked: given up after 3 attempts: it panicked: not yet");
        let run = look(&journal, &RunId::new("flow", "never")).await;
        assert_eq!((run.state, run.error.unwrap().kind.as_str(), run.attempts), (State::Blocked, "panicked", 3));
        assert_eq!(calls.count(), 6);
    }

    async fn a_run_that_kills_its_worker_each_time_is_blocked(bench: &Bench) {
        for _ in 0..2 {
            bench.crash(|builder, dead| async move {
                let journal = builder.max_attempts(2).open().await.unwrap();
                two_steps(&journal, &Calls::default(), Some(("inside the second", dead)));
                journal.start("two", "k", &()).await.unwrap();
                journal.serve(2).await.unwrap();
            }).await;
        }
        let journal = bench.builder().max_attempts(2).open().await.unwrap();
        two_steps(&journal, &Calls::default(), None);
        let heard = Heard::of(&journal);
        let _served = serve(&journal);
        let id = RunId::new("two", "k");
        until("it is blocked", async || state(&journal, &id).await == State::Blocked).await;
        assert_eq!(look(&journal, &id).await.error.unwrap().kind, "too_many_attempts");
        until("it is told", async || heard.has("run_blocked run=two/k reason=too_many_attempts step=0")).await;
    }
}
