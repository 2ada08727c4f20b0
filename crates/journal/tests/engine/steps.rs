//! Steps: done once, recorded, and given back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stormproof::{Policy, Retry};
use stormproof_journal::{Ctx, Failed, Op, RunError, State};

use crate::bench::{Bench, Calls, count, look, on_every_store, serve};

/// Does not retry errors of this kind.
struct Unless(&'static str);
impl<T> stormproof::Classify<T, Failed> for Unless {
    fn classify<'a>(&self, result: Result<&'a T, &'a Failed>) -> stormproof::Verdict<'a> {
        match result {
            Ok(_) => stormproof::Verdict::success(),
            Err(failed) if failed.kind() == self.0 => stormproof::Verdict::ignored(failed.kind()),
            Err(failed) => stormproof::Verdict::failure(failed.kind()),
        }
    }
}

/// What a step was told of itself, twice, its run and its attempt.
type Told = ((String, i64), (String, i64), String, u32);

on_every_store! {
    async fn a_workflow_gives_its_result_and_the_same_key_gives_it_again(bench: &Bench) {
        let (journal, calls) = (bench.open().await, Calls::default());
        let counted = calls.clone();
        journal.workflow("double", "1", move |cx: Ctx, number: u32| {
            let calls = counted.clone();
            async move {
                let doubled = cx.step("multiply", |_| async { calls.call(); Ok::<_, Failed>(number * 2) }).await?;
                let text: String = cx.step("write", |_| async { Ok::<_, Failed>(doubled.to_string()) }).await?;
                Ok(text)
            }
        });
        let _served = serve(&journal);
        assert_eq!(journal.run::<String>("double", "k", &21).await.unwrap(), "42");
        assert_eq!(journal.run::<String>("double", "k", &21).await.unwrap(), "42");
        assert_eq!(calls.count(), 1);
        assert_eq!(journal.run::<String>("double", "other key", &21).await.unwrap(), "42");
        assert_eq!(calls.count(), 2);
    }

    async fn what_fails_in_step_two_resumes_at_step_two(bench: &Bench) {
        let (journal, first, second) = (bench.open().await, Calls::default(), Calls::default());
        let counted = (first.clone(), second.clone());
        journal.workflow("flow", "1", move |cx: Ctx, (): ()| {
            let (first, second) = counted.clone();
            async move {
                count(&cx, "one", &first).await?;
                cx.step("two", |_| async {
                    if second.call() == 1 { Err("seven".parse::<u32>().unwrap_err()) } else { Ok(()) }
                }).await?;
                Ok((first.count(), second.count()))
            }
        });
        let _served = serve(&journal);
        let error = journal.run::<(u32, u32)>("flow", "k", &()).await.unwrap_err();
        let RunError::Failed { kind, message, kept, .. } = &error else { panic!("{error:?}") };
        assert_eq!((&**kind, &**message, *kept), ("ParseIntError", "invalid digit found in string", false));
        assert_eq!(error.to_string(), "flow/k failed at step 2: invalid digit found in string");
        assert_eq!(journal.run::<(u32, u32)>("flow", "k", &()).await.unwrap(), (1, 2));
    }

    async fn an_error_that_is_kept_is_the_answer_from_then_on(bench: &Bench) {
        let (journal, calls) = (bench.open().await, Calls::default());
        let counted = calls.clone();
        journal.workflow("flow", "1", move |cx: Ctx, (): ()| {
            let calls = counted.clone();
            async move {
                count(&cx, "one", &calls).await?;
                Err::<(), _>(Failed::new("declined", "the card was declined").keep())
            }
        });
        let _served = serve(&journal);
        for _ in 0..2 {
            let error = journal.run::<()>("flow", "k", &()).await.unwrap_err();
            let RunError::Failed { kind, kept: true, .. } = &error else { panic!("{error:?}") };
            assert_eq!(&**kind, "declined");
        }
        assert_eq!(calls.count(), 1);
    }

    async fn a_failed_step_that_the_workflow_saw_is_replayed_as_failed(bench: &Bench) {
        let (journal, flaky, last) = (bench.open().await, Calls::default(), Calls::default());
        let counted = (flaky.clone(), last.clone());
        journal.workflow("flow", "1", move |cx: Ctx, (): ()| {
            let (flaky, last) = counted.clone();
            async move {
                let tried = cx.step("flaky", |_| async { flaky.call(); Err::<u32, _>(Failed::new("down", "try later")) }).await;
                let plan_b = tried.unwrap_or_else(|failed| {
                    assert_eq!((failed.kind(), failed.message(), failed.step()), ("down", "try later", Some(1)));
                    99
                });
                cx.step("last", |_| async { if last.call() == 1 { Err(Failed::new("down", "")) } else { Ok(()) } }).await?;
                Ok(plan_b)
            }
        });
        let _served = serve(&journal);
        journal.run::<u32>("flow", "k", &()).await.unwrap_err();
        assert_eq!(journal.run::<u32>("flow", "k", &()).await.unwrap(), 99);
        assert_eq!((flaky.count(), last.count()), (1, 2));
    }

    async fn the_step_that_failed_is_found_also_if_the_workflow_changed_its_error(bench: &Bench) {
        let (journal, calls) = (bench.open().await, Calls::default());
        let counted = calls.clone();
        journal.workflow("flow", "1", move |cx: Ctx, (): ()| {
            let calls = counted.clone();
            async move {
                let step = cx.step("one", |_| async { if calls.call() == 1 { Err(Failed::new("down", "")) } else { Ok(5) } }).await;
                step.map_err(|_| Failed::new("other", "said in other words"))
            }
        });
        let _served = serve(&journal);
        journal.run::<u32>("flow", "k", &()).await.unwrap_err();
        assert_eq!(journal.run::<u32>("flow", "k", &()).await.unwrap(), 5);
    }

    async fn a_policy_retries_inside_its_step(bench: &Bench) {
        let journal = bench.open().await;
        let policy = Retry::constant(Duration::from_millis(1)).max_retries(2).build("flaky").unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = seen.clone();
        journal.workflow("flow", "1", move |cx: Ctx, need: u32| {
            let (policy, noted) = (policy.clone(), noted.clone());
            async move {
                let operation = |op: Op| {
                    let noted = noted.clone();
                    async move {
                        noted.lock().unwrap().push((op.attempt(), op.key().to_owned()));
                        if op.attempt() < need { Err(Failed::new("down", "not yet")) } else { Ok(op.attempt()) }
                    }
                };
                cx.step("flaky", operation).policy(&policy).await
            }
        });
        let _served = serve(&journal);
        assert_eq!(journal.run::<u32>("flow", "k", &3).await.unwrap(), 3);
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!(seen.iter().map(|(attempt, _)| *attempt).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(seen.iter().all(|(_, key)| *key == seen[0].1 && key.len() == 32), "one key for all attempts: {seen:?}");
        let error = journal.run::<u32>("flow", "other", &9).await.unwrap_err();
        assert_eq!(error.to_string(), "flow/other failed at step 1: not yet");
    }

    async fn a_classifier_says_what_is_retried_and_what_is_kept_is_final(bench: &Bench) {
        let (journal, calls) = (bench.open().await, Calls::default());
        let policy = Retry::constant(Duration::from_millis(1)).max_retries(2).build("flaky").unwrap();
        let counted = calls.clone();
        journal.workflow("flow", "1", move |cx: Ctx, kind: String| {
            let (calls, policy) = (counted.clone(), policy.clone());
            async move {
                let run = |_| async { calls.call(); Err::<(), _>(Failed::new(kind.clone(), "no")) };
                cx.step("one", run).policy(&policy).classify(Unless("Forbidden")).await.unwrap_err();
                let kept = |_| async { calls.call(); Err::<(), _>(Failed::new("declined", "no").keep()) };
                cx.step("two", kept).policy(&policy).await.unwrap_err();
                let probe = |_| async { Ok::<_, Failed>(stormproof_journal::Probe::Rerun) };
                cx.effect("three", probe, run).policy(&policy).classify(Unless("Forbidden")).await.unwrap_err();
                Ok(())
            }
        });
        let _served = serve(&journal);
        journal.run::<()>("flow", "no", &"Forbidden").await.unwrap();
        assert_eq!(calls.count(), 3);
        journal.run::<()>("flow", "yes", &"Down").await.unwrap();
        assert_eq!(calls.count(), 3 + 7);
    }

    async fn a_policy_that_refuses_or_runs_out_of_time_is_an_error_of_the_step(bench: &Bench) {
        let journal = bench.open().await;
        let policy = Policy::builder("slow").attempt_timeout(Duration::from_millis(10)).build().unwrap();
        journal.workflow("flow", "1", move |cx: Ctx, (): ()| {
            let policy = policy.clone();
            async move {
                let failed = cx.step("slow", |op| async move {
                    assert!(op.remaining().is_some());
                    std::future::pending::<Result<(), Failed>>().await
                }).policy(&policy).await.unwrap_err();
                assert!(failed.is_timeout());
                Ok(failed.kind().to_owned())
            }
        });
        let _served = serve(&journal);
        assert_eq!(journal.run::<String>("flow", "k", &()).await.unwrap(), "timed_out");
    }

    async fn keys_differ_between_steps_runs_and_forks_and_fences_grow(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("flow", "1", |cx: Ctx, (): ()| async move {
            let told = |op: Op| async move { Ok::<_, Failed>((op.key().to_owned(), op.fence())) };
            Ok((cx.step("one", told).await?, cx.step("two", told).await?, cx.run_id().to_string(), cx.attempt()))
        });
        let _served = serve(&journal);
        let (one, two, id, attempt) = journal.run::<Told>("flow", "a", &()).await.unwrap();
        assert_eq!((id.as_str(), attempt), ("flow/a", 1));
        let (other, ..) = journal.run::<Told>("flow", "b", &()).await.unwrap();
        let fork = journal.fork(&stormproof_journal::RunId::new("flow", "a"), 1).await.unwrap();
        let (forked, ..) = journal.handle(&fork.id).result::<Told>().await.unwrap();
        let keys = [&one.0, &two.0, &other.0, &forked.0];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{keys:?}");
        }
        assert_eq!(one.1, two.1);
        assert!(one.1 > 1_600_000_000_000, "an epoch is at least the time in milliseconds");
    }

    async fn a_run_can_begin_later(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("flow", "1", |_: Ctx, (): ()| async move { Ok(()) });
        let _served = serve(&journal);
        let began = std::time::Instant::now();
        let run = journal.start("flow", "k", &()).delay(Duration::from_millis(300)).await.unwrap();
        assert_eq!(look(&journal, run.id()).await.state, State::Queued);
        run.result::<()>().await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(295), "{:?}", began.elapsed());
    }

    async fn a_step_inside_of_a_step_is_refused_the_first_time(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("flow", "1", |cx: Ctx, wrapped: bool| async move {
            let inner = || cx.step("inner", |_| async { Ok::<_, Failed>(1) });
            if wrapped { cx.step("outer", |_| async { inner().await }).await } else { cx.step("outer", |_| inner()).await }
        });
        let _served = serve(&journal);
        for wrapped in [true, false] {
            let error = journal.run::<u32>("flow", &wrapped.to_string(), &wrapped).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("flow/{wrapped} is blocked: step 2 `inner` is called by the operation of step 1, which does not run when it is replayed: call it beside that")
            );
        }
    }
}
