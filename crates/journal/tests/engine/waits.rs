//! Sleeps, messages and children: waits that outlive the process and hold no slot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stormproof_journal::{Ctx, Decision, Failed, Journal, Kind, Progress, RunError, RunId, State};

use crate::bench::{Bench, Calls, count, look, on_every_store, serve, serve_slots, state, until};

/// Longer than what is waited for in the process.
const LONG: Duration = Duration::from_millis(1500);
/// Clocks differ a little.
const ALMOST: Duration = Duration::from_millis(1490);

async fn is_parked(journal: &Journal, run: &RunId) -> bool {
    let run = look(journal, run).await;
    run.state == State::Queued && run.attempts == 0
}

/// So many of its steps are done.
async fn done(journal: &Journal, run: &RunId) -> usize {
    let steps = journal.show(run).await.unwrap().steps;
    steps.iter().filter(|step| step.state == Progress::Done).count()
}

/// A workflow that fails so often before it gives 7.
fn fails(journal: &Journal, name: &str, times: u32) -> Calls {
    let calls = Calls::default();
    let counted = calls.clone();
    journal.workflow(name, "1", move |cx: Ctx, (): ()| {
        let calls = counted.clone();
        async move {
            cx.step("one", |_| async {
                if calls.call() > times { Ok(7) } else { Err(Failed::new("down", "try later")) }
            })
            .await
        }
    });
    calls
}

on_every_store! {
    async fn a_short_sleep_is_made_in_the_process(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("flow", "1", |cx: Ctx, (): ()| async move {
            let began = Instant::now();
            cx.sleep("nap", Duration::from_millis(80)).await;
            Ok(began.elapsed())
        });
        let _served = serve(&journal);
        assert!(journal.run::<Duration>("flow", "k", &()).await.unwrap() >= Duration::from_millis(78));
        let steps = journal.show(&RunId::new("flow", "k")).await.unwrap().steps;
        assert_eq!((steps[0].kind, steps[0].state, steps[0].name.as_str()), (Kind::Sleep, Progress::Done, "nap"));
    }

    async fn a_long_sleep_holds_no_slot_and_costs_no_attempt(bench: &Bench) {
        let (journal, calls) = (bench.open().await, Calls::default());
        let counted = calls.clone();
        journal.workflow("sleeper", "1", move |cx: Ctx, (): ()| {
            let calls = counted.clone();
            async move {
                count(&cx, "before", &calls).await?;
                cx.sleep("an hour", LONG).await;
                Ok(cx.attempt())
            }
        });
        journal.workflow("quick", "1", |_: Ctx, (): ()| async move { Ok(()) });
        let _served = serve_slots(&journal, 1);
        let began = Instant::now();
        let run = journal.start("sleeper", "k", &()).await.unwrap();
        until("it is put away", async || calls.count() == 1 && is_parked(&journal, run.id()).await).await;
        journal.run::<()>("quick", "k", &()).await.unwrap();
        assert!(began.elapsed() < LONG, "the only slot was free");
        assert_eq!(run.result::<u32>().await.unwrap(), 1, "waiting was no attempt");
        assert!(began.elapsed() >= ALMOST);
        assert_eq!(calls.count(), 1);
    }

    async fn a_sleep_does_not_begin_anew_after_a_crash(bench: &Bench) {
        let began = Instant::now();
        let flow = |cx: Ctx, (): ()| async move {
            cx.sleep("long", LONG).await;
            Ok(())
        };
        bench.crash(move |builder, dead| async move {
            let journal = builder.open().await.unwrap();
            journal.workflow("flow", "1", flow);
            let run = journal.start("flow", "k", &()).await.unwrap();
            let _served = serve(&journal);
            while !is_parked(&journal, run.id()).await || journal.show(run.id()).await.unwrap().steps.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            dead.notify_one();
            std::future::pending::<()>().await;
        }).await;
        tokio::time::sleep_until((began + Duration::from_secs(1)).into()).await;
        let journal = bench.open().await;
        journal.workflow("flow", "1", flow);
        let _served = serve(&journal);
        journal.handle(&RunId::new("flow", "k")).result::<()>().await.unwrap();
        assert!(began.elapsed() >= ALMOST);
        assert!(began.elapsed() < Duration::from_secs(1) + LONG, "{:?}", began.elapsed());
    }

    async fn a_message_is_waited_for_and_taken_once(bench: &Bench) {
        let (journal, elsewhere) = (bench.open().await, bench.open().await);
        journal.workflow("flow", "1", |cx: Ctx, (): ()| async move {
            let first: String = cx.wait("approval").await?;
            let second: String = cx.wait("approval").await?;
            let other: u32 = cx.wait("number").await?;
            Ok((first, second, other))
        });
        let _served = serve_slots(&journal, 1);
        let run = journal.start("flow", "k", &()).await.unwrap();
        until("it is put away", async || is_parked(&journal, run.id()).await).await;
        elsewhere.signal(run.id(), "approval", "1", "yes").await.unwrap();
        elsewhere.signal(run.id(), "approval", "1", "the same message again").await.unwrap();
        elsewhere.signal(run.id(), "number", "1", &5).await.unwrap();
        until("the first is taken", async || done(&journal, run.id()).await == 1).await;
        journal.signal(run.id(), "approval", "2", "no").await.unwrap();
        assert_eq!(run.result::<(String, String, u32)>().await.unwrap(), ("yes".into(), "no".into(), 5));
        let error = journal.signal(run.id(), "approval", "3", "late").await.unwrap_err();
        assert_eq!(error.to_string(), "flow/k is ok: only a run that has not ended takes messages");
    }

    async fn what_a_run_waits_for_can_be_seen_and_is_compared_when_it_is_replayed(bench: &Bench) {
        let journal = bench.open().await;
        let waits_for = |journal: &Journal, topic: &'static str| {
            journal.workflow("flow", "1", move |cx: Ctx, (): ()| async move { cx.wait::<u32>(topic).await });
        };
        waits_for(&journal, "approval");
        let served = serve(&journal);
        let run = journal.start("flow", "k", &()).await.unwrap();
        let steps = async || journal.show(run.id()).await.unwrap().steps;
        until("it is put away", async || is_parked(&journal, run.id()).await && !steps().await.is_empty()).await;
        let steps = steps().await;
        let seen: Vec<_> = steps.iter().map(|step| (step.name.as_str(), step.kind, step.state)).collect();
        assert_eq!(seen, [("approval", Kind::Wait, Progress::Begun)]);
        drop(served);
        let journal = bench.open().await;
        waits_for(&journal, "permission");
        let _served = serve(&journal);
        journal.signal(run.id(), "permission", "1", &7).await.unwrap();
        let error = journal.handle(run.id()).result::<u32>().await.unwrap_err().to_string();
        assert!(error.contains("step 1 was `approval`, the code now calls `permission`"), "{error}");
    }

    async fn a_message_that_came_first_is_there(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("flow", "1", |cx: Ctx, (): ()| async move { cx.wait::<u32>("number").await });
        let run = journal.start("flow", "k", &()).await.unwrap();
        journal.signal(run.id(), "number", "1", &5).await.unwrap();
        let _served = serve(&journal);
        assert_eq!(run.result::<u32>().await.unwrap(), 5);
    }

    async fn no_message_is_slept_through(bench: &Bench) {
        let (journal, elsewhere) = (bench.open().await, bench.open().await);
        journal.workflow("flow", "1", |cx: Ctx, (): ()| async move {
            let mut sum = 0;
            for _ in 0..5 {
                sum += cx.wait::<u32>("number").await?;
            }
            Ok(sum)
        });
        let _served = serve(&journal);
        let runs: Vec<_> = (0..6).map(|run| {
            let (journal, elsewhere) = (journal.clone(), elsewhere.clone());
            tokio::spawn(async move {
                let run = journal.start("flow", &run.to_string(), &()).await.unwrap();
                for message in 1..=5_u32 {
                    // Now and then in the very moment in which the run is being put away.
                    tokio::time::sleep(Duration::from_micros(u64::from(message) * 700)).await;
                    elsewhere.signal(run.id(), "number", &message.to_string(), &message).await.unwrap();
                }
                run.result::<u32>().await.unwrap()
            })
        }).collect();
        for run in runs {
            assert_eq!(run.await.unwrap(), 15);
        }
    }

    async fn a_wait_ends_when_its_time_is_over(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("flow", "1", |cx: Ctx, (): ()| async move {
            let failed = cx.wait::<u32>("number").timeout(LONG).await.unwrap_err();
            Ok((failed.kind().to_owned(), failed.message().to_owned()))
        });
        let _served = serve(&journal);
        let began = Instant::now();
        let run = journal.start("flow", "k", &()).await.unwrap();
        until("it is put away", async || is_parked(&journal, run.id()).await).await;
        let (kind, message) = run.result::<(String, String)>().await.unwrap();
        assert_eq!((kind.as_str(), message.as_str()), ("timed_out", "step 1 `number` had no answer in time"));
        assert!(began.elapsed() >= ALMOST);
    }

    async fn while_a_step_is_under_way_the_run_is_not_put_away(bench: &Bench) {
        let journal = bench.open().await;
        let go_on = Arc::new(tokio::sync::Notify::new());
        let (calls, waited) = (Calls::default(), go_on.clone());
        let counted = calls.clone();
        journal.workflow("flow", "1", move |cx: Ctx, (): ()| {
            let (go_on, calls) = (waited.clone(), counted.clone());
            async move {
                let step = cx.step("slow", |_| async { calls.call(); go_on.notified().await; Ok::<_, Failed>(1) });
                let (one, two) = tokio::join!(step, cx.wait::<u32>("number"));
                Ok(one? + two?)
            }
        });
        let _served = serve(&journal);
        let run = journal.start("flow", "k", &()).await.unwrap();
        until("the step runs", async || calls.count() == 1).await;
        journal.signal(run.id(), "number", "1", &5).await.unwrap();
        until("the message is taken", async || done(&journal, run.id()).await == 1).await;
        assert_eq!(state(&journal, run.id()).await, State::Running);
        go_on.notify_one();
        assert_eq!(run.result::<u32>().await.unwrap(), 6);
        assert_eq!(calls.count(), 1);
    }

    async fn a_parent_waits_for_its_children_in_one_slot(bench: &Bench) {
        let (journal, began) = (bench.open().await, Calls::default());
        let counted = began.clone();
        journal.workflow("child", "1", move |cx: Ctx, number: u32| {
            let calls = counted.clone();
            async move {
                count(&cx, "one", &calls).await?;
                if number == 3 { Err(Failed::new("odd", "three is odd")) } else { Ok(number * 10) }
            }
        });
        journal.workflow("parent", "1", |cx: Ctx, (): ()| async move {
            let mut children = Vec::new();
            for number in 1..=3_u32 {
                children.push(cx.start("child", &number.to_string(), &number).await?);
            }
            let mut sum = 0;
            for child in &children {
                sum += match child.result::<u32>().await {
                    Ok(value) => value,
                    Err(failed) => {
                        assert_eq!((failed.kind(), failed.message()), ("odd", "child/3 is err: three is odd"));
                        1
                    }
                };
            }
            Ok(sum)
        });
        let _served = serve_slots(&journal, 1);
        assert_eq!(journal.run::<u32>("parent", "k", &()).await.unwrap(), 31);
        assert_eq!(began.count(), 3);
        let child = look(&journal, &RunId::new("child", "1")).await;
        assert_eq!(child.parent, Some(RunId::new("parent", "k")));
    }

    async fn a_parent_that_begins_again_lets_its_child_begin_again(bench: &Bench) {
        let journal = bench.open().await;
        let calls = fails(&journal, "child", 1);
        journal.workflow("parent", "1", |cx: Ctx, (): ()| async move {
            cx.start("child", "k", &()).await?.result::<u32>().await
        });
        let _served = serve(&journal);
        let error = journal.run::<u32>("parent", "k", &()).await.unwrap_err();
        assert_eq!(error.to_string(), "parent/k failed at step 2: child/k is err: try later");
        assert_eq!(journal.run::<u32>("parent", "k", &()).await.unwrap(), 7);
        assert_eq!(calls.count(), 2);
    }

    async fn all_that_failed_below_a_run_begins_again_with_it(bench: &Bench) {
        let journal = bench.open().await;
        let calls = fails(&journal, "leaf", 2);
        // Two runs share the leaf, and neither hands on its error as it is.
        for (name, leaf) in [("branch", "k"), ("other", "k")] {
            journal.workflow(name, "1", move |cx: Ctx, (): ()| async move {
                let leaf = cx.start("leaf", leaf, &()).await?;
                leaf.result::<u32>().await.map_err(|failed| Failed::new("no leaf", failed.message()))
            });
        }
        journal.workflow("root", "1", |cx: Ctx, (): ()| async move {
            cx.start("branch", "k", &()).await?.result::<u32>().await
        });
        let _served = serve(&journal);
        let error = journal.run::<u32>("root", "k", &()).await.unwrap_err();
        assert_eq!(error.to_string(), "root/k failed at step 2: branch/k is err: leaf/k is err: try later");
        journal.run::<u32>("other", "k", &()).await.unwrap_err();
        assert_eq!(calls.count(), 2, "when it is started again, a leaf that failed begins again");

        // What it did not start as the first begins again as well.
        assert_eq!(journal.run::<u32>("other", "k", &()).await, Ok(7));
        assert_eq!(journal.run::<u32>("root", "k", &()).await, Ok(7));
        assert_eq!(calls.count(), 3);
    }

    async fn what_an_operator_resumes_lets_its_child_begin_again(bench: &Bench) {
        let journal = bench.open().await;
        let calls = fails(&journal, "child", 1);
        journal.workflow("parent", "1", |cx: Ctx, (): ()| async move {
            cx.start("child", "k", &()).await?.result::<u32>().await
        });
        let _served = serve(&journal);
        let parent = journal.start("parent", "k", &()).await.unwrap();
        parent.result::<u32>().await.unwrap_err();
        journal.resume(parent.id(), Decision::Ask).await.unwrap();
        assert_eq!(parent.result::<u32>().await, Ok(7));
        assert_eq!(calls.count(), 2);
    }

    async fn a_child_that_is_cancelled_is_an_error_at_once(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("child", "1", |cx: Ctx, (): ()| async move { cx.wait::<u32>("never").await });
        journal.workflow("parent", "1", |cx: Ctx, (): ()| async move {
            let failed = cx.start("child", "k", &()).await?.result::<u32>().await.unwrap_err();
            Ok(failed.kind().to_owned())
        });
        let _served = serve_slots(&journal, 2);
        let run = journal.start("parent", "k", &()).await.unwrap();
        until("the parent waits", async || is_parked(&journal, run.id()).await && journal.show(run.id()).await.unwrap().steps.len() == 2).await;
        bench.open().await.cancel(&RunId::new("child", "k")).await.unwrap();
        let began = Instant::now();
        assert_eq!(run.result::<String>().await.unwrap(), "cancelled");
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    async fn a_message_ends_a_wait_that_has_a_time(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("flow", "1", |cx: Ctx, (): ()| async move {
            cx.wait::<u32>("number").timeout(Duration::from_secs(3600)).await
        });
        let _served = serve(&journal);
        let run = journal.start("flow", "k", &()).await.unwrap();
        until("it is put away", async || is_parked(&journal, run.id()).await).await;
        journal.signal(run.id(), "number", "1", &5).await.unwrap();
        assert_eq!(run.result::<u32>().await.unwrap(), 5);
    }

    async fn a_child_with_another_input_is_an_error_of_its_step(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("child", "1", |_: Ctx, number: u32| async move { Ok(number) });
        journal.workflow("parent", "1", |cx: Ctx, (): ()| async move {
            cx.start("child", "k", &1).await?;
            let failed = cx.start("child", "k", &2).await.unwrap_err();
            Ok(failed.message().to_owned())
        });
        let _served = serve(&journal);
        assert_eq!(
            journal.run::<String>("parent", "k", &()).await.unwrap(),
            "child/k was started with another input: use another key, or what it was started with"
        );
    }

    async fn a_message_to_nobody_is_an_error(bench: &Bench) {
        let journal = bench.open().await;
        let error = journal.signal(&RunId::new("flow", "k"), "topic", "1", &1).await.unwrap_err();
        assert_eq!(error, RunError::Missing { run: RunId::new("flow", "k") });
        assert_eq!(error.to_string(), "there is no run flow/k");
        let error = journal.signal(&RunId::new("flow", "k"), "", "1", &1).await.unwrap_err();
        assert_eq!(error.to_string(), "topic \"\" is not valid: 1 to 400 bytes without control characters");
    }
}
