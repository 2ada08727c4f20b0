//! Versions, and code that does not do any more what it did.

use stormproof_journal::{Ctx, Decision, Failed, Filter, Journal, RunError, RunId, State};

use crate::bench::{Bench, Calls, Heard, count, look, on_every_store, serve, state, until};

/// Runs `first` until it fails in its last step, then resumes with the code `then`, and gives what that is blocked by.
async fn diverges<F, G>(bench: &Bench, first: F, then: G) -> String
where
    F: FnOnce(&Journal),
    G: FnOnce(&Journal),
{
    let journal = bench.open().await;
    first(&journal);
    let served = serve(&journal);
    journal.run::<u32>("flow", "k", &()).await.unwrap_err();
    drop(served);
    let journal = bench.open().await;
    let heard = Heard::of(&journal);
    then(&journal);
    let _served = serve(&journal);
    let error = journal.run::<u32>("flow", "k", &()).await.unwrap_err();
    assert!(matches!(error, RunError::Blocked { .. }), "{error:?}");
    let run = look(&journal, &RunId::new("flow", "k")).await;
    assert!(
        heard.has(&format!("run_blocked run=flow/k reason={}", run.error.as_ref().unwrap().kind)),
        "{:?}",
        heard.all()
    );
    assert_eq!(run.error.unwrap().kind, "diverged");
    error.to_string()
}

/// `plan`, then `pay`, then an error.
fn original(journal: &Journal) {
    journal.workflow("flow", "1", |cx: Ctx, (): ()| async move {
        cx.step("plan", |_| async { Ok::<_, Failed>(1) }).input(&"a").await?;
        cx.step("pay", |_| async { Ok::<_, Failed>(2) }).await?;
        Err::<u32, _>(Failed::new("down", ""))
    });
}

const REMEDY: &str = "put back the code that began the run and resume it, or fork it before that step";

on_every_store! {
    async fn no_run_has_a_version_that_is_none(bench: &Bench) {
        let journal = bench.open().await;
        for version in ["", "1\n", &"9".repeat(101)] {
            let error = journal.start("flow", "k", &()).version(version).await.unwrap_err();
            assert!(matches!(error, RunError::Key { field: "version", .. }), "{error:?}");
        }
        assert!(journal.list(&Filter::new()).await.unwrap().is_empty());
    }

    async fn another_step_blocks_the_run_and_the_old_code_resumes_it(bench: &Bench) {
        let error = diverges(bench, original, |journal| {
            journal.workflow("flow", "1", |cx: Ctx, (): ()| async move {
                cx.step("plan", |_| async { Ok::<_, Failed>(1) }).input(&"a").await?;
                cx.step("refund", |_| async { Ok::<_, Failed>(2) }).await
            });
        }).await;
        assert_eq!(error, format!("flow/k is blocked: step 2 was `pay`, the code now calls `refund`: {REMEDY}"));
        let journal = bench.open().await;
        journal.workflow("flow", "1", |cx: Ctx, (): ()| async move {
            let one: u32 = cx.step("plan", |_| async { Ok::<_, Failed>(100) }).input(&"a").await?;
            let two: u32 = cx.step("pay", |_| async { Ok::<_, Failed>(100) }).await?;
            Ok(one + two)
        });
        let _served = serve(&journal);
        journal.resume(&RunId::new("flow", "k"), Decision::Ask).await.unwrap();
        assert_eq!(journal.run::<u32>("flow", "k", &()).await.unwrap(), 3);
    }

    async fn a_step_that_became_an_effect_blocks_the_run(bench: &Bench) {
        let error = diverges(bench, original, |journal| {
            journal.workflow("flow", "1", |cx: Ctx, (): ()| async move {
                let probe = |_| async { Ok::<_, Failed>(stormproof_journal::Probe::Rerun) };
                cx.effect("plan", probe, |_| async { Ok::<_, Failed>(1) }).input(&"a").await
            });
        }).await;
        assert_eq!(error, format!("flow/k is blocked: step 1 `plan` was a step, the code now calls it as an effect: {REMEDY}"));
    }

    async fn another_input_of_a_step_blocks_the_run(bench: &Bench) {
        let error = diverges(bench, original, |journal| {
            journal.workflow("flow", "1", |cx: Ctx, (): ()| async move {
                cx.step("plan", |_| async { Ok::<_, Failed>(1) }).input(&"b").await
            });
        }).await;
        assert_eq!(error, format!("flow/k is blocked: step 1 `plan` was called with another input: {REMEDY}"));
    }

    async fn code_that_ends_sooner_blocks_the_run(bench: &Bench) {
        let error = diverges(bench, original, |journal| {
            journal.workflow("flow", "1", |cx: Ctx, (): ()| async move {
                cx.step("plan", |_| async { Ok::<u32, Failed>(1) }).input(&"a").await
            });
        }).await;
        assert_eq!(error, format!("flow/k is blocked: step 2 `pay` is recorded, the code now ends before it: {REMEDY}"));
    }

    async fn only_versions_that_are_registered_are_carried_out(bench: &Bench) {
        let (journal, old, new) = (bench.open().await, Calls::default(), Calls::default());
        let counted = new.clone();
        journal.workflow("flow", "2", move |cx: Ctx, (): ()| {
            let calls = counted.clone();
            async move { count(&cx, "new", &calls).await }
        });
        let _served = serve(&journal);
        let run = journal.start("flow", "old", &()).version("1").await.unwrap();
        journal.run::<u32>("flow", "new", &()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(80)).await;
        assert_eq!((state(&journal, run.id()).await, new.count()), (State::Queued, 1));
        let counted = old.clone();
        journal.workflow("flow", "1", move |cx: Ctx, (): ()| {
            let calls = counted.clone();
            async move { count(&cx, "old", &calls).await }
        });
        run.result::<u32>().await.unwrap();
        assert_eq!((old.count(), new.count()), (1, 1));
    }

    async fn what_is_started_gets_the_version_registered_last_and_what_is_there_keeps_its_own(bench: &Bench) {
        let journal = bench.open().await;
        let run = journal.start("flow", "k", &()).version("1").await.unwrap();
        for version in ["1", "2"] {
            journal.workflow("flow", version, move |_: Ctx, (): ()| async move { Ok(version.to_owned()) });
        }
        let _served = serve(&journal);
        assert_eq!(run.result::<String>().await.unwrap(), "1");
        assert_eq!(journal.run::<String>("flow", "k", &()).await.unwrap(), "1");
        assert_eq!(journal.run::<String>("flow", "other", &()).await.unwrap(), "2");
        let fork = journal.fork(run.id(), 1).version("2").await.unwrap();
        assert_eq!(journal.handle(&fork.id).result::<String>().await.unwrap(), "2");
        until("both are there", async || journal.list(&stormproof_journal::Filter::new()).await.unwrap().len() == 3).await;
    }

    async fn a_workflow_that_went_on_after_an_error_says_why_it_cannot_begin_again(bench: &Bench) {
        let (journal, calls) = (bench.open().await, Calls::default());
        let counted = calls.clone();
        journal.workflow("order", "1", move |cx: Ctx, (): ()| {
            let calls = counted.clone();
            async move {
                let paid = cx.step("pay", |_| async { if calls.call() == 1 { Err(Failed::new("down", "try later")) } else { Ok(()) } }).await;
                match paid {
                    Ok(()) => cx.step("ship", |_| async { Ok::<_, Failed>(()) }).await,
                    Err(failed) => {
                        cx.step("cancel", |_| async { Ok::<_, Failed>(()) }).await?;
                        Err(failed)
                    }
                }
            }
        });
        let _served = serve(&journal);
        let error = journal.run::<()>("order", "k", &()).await.unwrap_err();
        assert_eq!(error.to_string(), "order/k failed at step 1: try later");
        let error = journal.run::<()>("order", "k", &()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "order/k is blocked: step 2 was `cancel`, the code now calls `ship`: step 1 has failed before, and runs again with another result: fork the run before it, and let a workflow that goes on after such an error end with one that is kept"
        );
    }
}
