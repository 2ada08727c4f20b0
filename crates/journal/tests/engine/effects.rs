//! Effects: never run twice without the probe's word.

use std::time::Duration;

use stormproof::{Policy, Retry, hedge};
use stormproof_journal::{Ctx, Decision, Failed, Journal, Op, Probe, RunId, State};

use crate::bench::{Bench, Calls, Heard, look, on_every_store, serve, until};

/// An effect that fails as often as the input says, and how often it ran and was probed.
fn paying(
    journal: &Journal,
    probed: &Calls,
    ran: &Calls,
    answer: impl Fn() -> Result<Probe<u32>, Failed> + Clone + Send + Sync + 'static,
    policy: Option<Policy>,
) {
    let (probed, ran) = (probed.clone(), ran.clone());
    journal.workflow("pay", "1", move |cx: Ctx, failures: u32| {
        let (probed, ran, answer, policy) = (probed.clone(), ran.clone(), answer.clone(), policy.clone());
        async move {
            let probe = |_: Op| {
                probed.call();
                let answer = answer();
                async move { answer }
            };
            let run = |_: Op| {
                let call = ran.call();
                async move { if call <= failures { Err(Failed::new("down", "the bank is down")) } else { Ok(call) } }
            };
            let effect = cx.effect("pay", probe, run).input(&failures);
            match &policy {
                Some(policy) => effect.policy(policy).await,
                None => effect.await,
            }
        }
    });
}

fn twice() -> Policy {
    Retry::constant(Duration::from_millis(1)).max_retries(2).build("bank").unwrap()
}

on_every_store! {
    async fn an_effect_that_goes_well_is_never_probed(bench: &Bench) {
        let (journal, probed, ran) = (bench.open().await, Calls::default(), Calls::default());
        paying(&journal, &probed, &ran, || Ok(Probe::Rerun), None);
        let _served = serve(&journal);
        assert_eq!(journal.run::<u32>("pay", "k", &0).await.unwrap(), 1);
        assert_eq!(journal.run::<u32>("pay", "k", &0).await.unwrap(), 1);
        assert_eq!((probed.count(), ran.count()), (0, 1));
    }

    async fn before_each_retry_of_its_policy_the_probe_is_asked(bench: &Bench) {
        let (journal, probed, ran) = (bench.open().await, Calls::default(), Calls::default());
        paying(&journal, &probed, &ran, || Ok(Probe::Rerun), Some(twice()));
        let _served = serve(&journal);
        assert_eq!(journal.run::<u32>("pay", "k", &2).await.unwrap(), 3);
        assert_eq!((probed.count(), ran.count()), (2, 3));
    }

    async fn a_probe_that_finds_it_done_ends_the_retries(bench: &Bench) {
        let (journal, probed, ran) = (bench.open().await, Calls::default(), Calls::default());
        paying(&journal, &probed, &ran, || Ok(Probe::Done(77)), Some(twice()));
        let _served = serve(&journal);
        assert_eq!(journal.run::<u32>("pay", "k", &2).await.unwrap(), 77);
        assert_eq!((probed.count(), ran.count()), (1, 1));
    }

    async fn an_effect_that_failed_is_probed_when_the_run_begins_again(bench: &Bench) {
        let (journal, probed, ran) = (bench.open().await, Calls::default(), Calls::default());
        paying(&journal, &probed, &ran, || Ok(Probe::Done(5)), None);
        let _served = serve(&journal);
        let error = journal.run::<u32>("pay", "k", &1).await.unwrap_err();
        assert_eq!(error.to_string(), "pay/k failed at step 1: the bank is down");
        assert_eq!((probed.count(), ran.count()), (0, 1));
        assert_eq!(journal.run::<u32>("pay", "k", &1).await.unwrap(), 5);
        assert_eq!((probed.count(), ran.count()), (1, 1));
    }

    async fn what_a_probe_refuses_an_operator_decides(bench: &Bench) {
        let (journal, probed, ran) = (bench.open().await, Calls::default(), Calls::default());
        paying(&journal, &probed, &ran, || Ok(Probe::Refuse("the bank keeps no list".into())), Some(twice()));
        let heard = Heard::of(&journal);
        let _served = serve(&journal);
        for (key, decision, result, runs) in [("done", Decision::Done("9".into()), 9, 1), ("rerun", Decision::Rerun, 3, 3)] {
            let failures = if key == "done" { 1 } else { 2 };
            let error = journal.run::<u32>("pay", key, &failures).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("pay/{key} is blocked: whether step 1 `pay` happened is not known, and its probe refuses to guess: the bank keeps no list")
            );
            let run = look(&journal, &RunId::new("pay", key)).await;
            let blocked = run.error.unwrap();
            assert_eq!((blocked.kind.as_str(), blocked.seq), ("refused", Some(1)));
            assert!(heard.has(&format!("run_blocked run=pay/{key} reason=refused step=1")), "{:?}", heard.all());
            journal.resume(&run.id, decision).await.unwrap();
            assert_eq!(journal.run::<u32>("pay", key, &failures).await.unwrap(), result);
            assert_eq!(ran.count(), runs);
        }
    }

    async fn a_probe_that_fails_is_asked_again_and_then_the_run_is_blocked(bench: &Bench) {
        let (journal, probed, ran) = (bench.builder().max_attempts(3).open().await.unwrap(), Calls::default(), Calls::default());
        let asked = probed.clone();
        paying(&journal, &probed, &ran, move || if asked.count() < 3 { Err(Failed::new("down", "no list now")) } else { Ok(Probe::Done(1)) }, Some(twice()));
        let _served = serve(&journal);
        assert_eq!(journal.run::<u32>("pay", "k", &1).await.unwrap(), 1);
        assert_eq!((probed.count(), ran.count()), (3, 1));
        let (probed, ran) = (Calls::default(), Calls::default());
        paying(&journal, &probed, &ran, || Err(Failed::new("down", "no list now")), Some(twice()));
        let error = journal.run::<u32>("pay", "never", &1).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "pay/never is blocked: given up after 3 attempts: the probe of step 1 `pay` failed: no list now"
        );
        assert_eq!((probed.count(), ran.count()), (3, 1));
    }

    async fn a_policy_that_hedges_is_refused(bench: &Bench) {
        let (journal, probed, ran) = (bench.open().await, Calls::default(), Calls::default());
        let hedging = Policy::builder("bank").hedge(hedge::Config::default()).build().unwrap();
        paying(&journal, &probed, &ran, || Ok(Probe::Rerun), Some(hedging));
        let _served = serve(&journal);
        let error = journal.run::<u32>("pay", "k", &0).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "pay/k is blocked: the policy `bank` of step 1 `pay` hedges, which would run the effect twice at once: give it one without a hedge"
        );
        assert_eq!(ran.count(), 0);
        paying(&journal, &probed, &ran, || Ok(Probe::Rerun), None);
        journal.resume(&RunId::new("pay", "k"), Decision::Ask).await.unwrap();
        assert_eq!(journal.run::<u32>("pay", "k", &0).await.unwrap(), 1);
    }

    async fn an_effect_cut_off_by_a_time_limit_is_probed_before_it_runs_again(bench: &Bench) {
        let (journal, probed, ran) = (bench.open().await, Calls::default(), Calls::default());
        let counted = (probed.clone(), ran.clone());
        let policy = Policy::builder("bank")
            .attempt_timeout(Duration::from_millis(30))
            .retry(Retry::constant(Duration::from_millis(1)).max_retries(1))
            .build()
            .unwrap();
        journal.workflow("pay", "1", move |cx: Ctx, (): ()| {
            let ((probed, ran), policy) = (counted.clone(), policy.clone());
            async move {
                let probe = |_: Op| { probed.call(); async { Ok::<_, Failed>(Probe::Rerun) } };
                cx.effect("pay", probe, |_| {
                    let call = ran.call();
                    async move {
                        if call == 1 { std::future::pending::<()>().await; }
                        Ok::<_, Failed>(call)
                    }
                }).policy(&policy).await
            }
        });
        let _served = serve(&journal);
        assert_eq!(journal.run::<u32>("pay", "k", &()).await.unwrap(), 2);
        assert_eq!((probed.count(), ran.count()), (1, 2));
    }

    async fn an_effect_is_begun_before_it_runs(bench: &Bench) {
        let journal = bench.open().await;
        let watching = bench.open().await;
        let (inside, go_on) = (std::sync::Arc::new(tokio::sync::Notify::new()), std::sync::Arc::new(tokio::sync::Notify::new()));
        let said = (inside.clone(), go_on.clone());
        journal.workflow("pay", "1", move |cx: Ctx, (): ()| {
            let (inside, go_on) = said.clone();
            async move {
                cx.effect("pay", |_| async { Ok::<_, Failed>(Probe::Rerun) }, |_| async {
                    inside.notify_one();
                    go_on.notified().await;
                    Ok::<_, Failed>(())
                }).await
            }
        });
        let _served = serve(&journal);
        let run = journal.start("pay", "k", &()).await.unwrap();
        inside.notified().await;
        let steps = watching.show(run.id()).await.unwrap().steps;
        assert_eq!((steps.len(), steps[0].state), (1, stormproof_journal::Progress::Begun));
        go_on.notify_one();
        run.result::<()>().await.unwrap();
        until("it is seen elsewhere", async || look(&watching, run.id()).await.state == State::Ok).await;
    }

    async fn a_workflow_does_not_end_well_without_knowing_what_became_of_an_effect(bench: &Bench) {
        let (journal, calls) = (bench.open().await, Calls::default());
        let counted = calls.clone();
        journal.workflow("flow", "1", move |cx: Ctx, (): ()| {
            let calls = counted.clone();
            async move {
                let found = async |_: Op| Ok::<_, Failed>(Probe::Done(77));
                let effect = cx.effect("pay", found, |_| { calls.call(); std::future::pending::<Result<u32, Failed>>() });
                Ok(tokio::time::timeout(Duration::from_millis(50), effect).await.map_or(0, Result::unwrap_or_default))
            }
        });
        let _served = serve(&journal);
        let run = journal.start("flow", "k", &()).await.unwrap();
        assert_eq!(
            run.result::<u32>().await.unwrap_err().to_string(),
            "flow/k is blocked: effect 1 has begun, and the workflow came to its end without its result, so that nobody knows whether it happened: await it, and put its time limit into a policy"
        );
        journal.resume(run.id(), Decision::Ask).await.unwrap();
        assert_eq!((run.result::<u32>().await, calls.count()), (Ok(77), 1), "the probe knows");
    }
}
