//! Nothing grows without bound.

use std::time::Duration;

use stormproof_journal::{Busy, Ctx, Decision, Failed, Op, Probe, RunError, RunId, State};

use crate::bench::{Bench, Heard, look, on_every_store, serve, until};

on_every_store! {
    async fn for_ever_can_be_said_everywhere(bench: &Bench) {
        let ever = Duration::MAX;
        let builder = bench.builder().poll(ever).retention(ever).gc_interval(ever);
        let journal = builder.open().await.unwrap();
        journal.workflow("flow", "1", move |cx: Ctx, (): ()| async move {
            let answer = cx.wait::<u32>("answer").timeout(ever);
            let asleep = async { cx.sleep("sleep", ever).await; std::future::pending::<()>().await };
            tokio::select! { answer = answer => answer, () = asleep => Err(Failed::new("woke", "")) }
        });
        let _served = serve(&journal);
        let run = journal.start("flow", "k", &()).ttl(ever).await.unwrap();
        let _late = journal.start("flow", "late", &()).delay(ever).await.unwrap();
        until("it is parked", async || look(&journal, run.id()).await.state == State::Queued).await;
        journal.signal(run.id(), "answer", "1", &7).await.unwrap();
        assert_eq!(run.result_within::<u32>(ever).await, Ok(7));
        let probe = async |_: Op| Ok::<_, Failed>(Probe::<u32>::Rerun);
        let once = journal.once("once", "k").ttl(ever).busy(Busy::Join(ever));
        assert_eq!(once.run(probe, |_| async { Ok::<_, Failed>(8) }).await, Ok(8));
        journal.shutdown(ever).await;
    }

    async fn a_run_has_only_so_many_steps(bench: &Bench) {
        let journal = bench.builder().max_steps(5).open().await.unwrap();
        journal.workflow("flow", "1", |cx: Ctx, steps: u32| async move {
            for step in 0..steps {
                cx.step("again", |_| async { Ok::<_, Failed>(step) }).await?;
            }
            Ok(())
        });
        let served = serve(&journal);
        journal.run::<()>("flow", "five", &5).await.unwrap();
        let error = journal.run::<()>("flow", "six", &6).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "flow/six is blocked: step 6 `again` is one too many: a run has at most 5 (max_steps); put parts of it into runs of their own"
        );
        assert_eq!(look(&journal, &RunId::new("flow", "six")).await.error.unwrap().kind, "too_many_steps");
        let larger = bench.builder().max_steps(6).open().await.unwrap();
        larger.workflow("flow", "1", |cx: Ctx, steps: u32| async move {
            for step in 0..steps {
                cx.step("again", |_| async { Ok::<_, Failed>(step) }).await?;
            }
            Ok(())
        });
        drop(served);
        let _served = serve(&larger);
        larger.resume(&RunId::new("flow", "six"), Decision::Ask).await.unwrap();
        larger.handle(&RunId::new("flow", "six")).result::<()>().await.unwrap();
    }

    async fn names_are_checked_and_values_may_hold_anything(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("flow", "1", |cx: Ctx, name: String| async move {
            let told = cx.step(&name, |_| async { Ok::<_, Failed>(format!("{name} and \0")) }).input(&name).await?;
            let heard: String = cx.wait("topic").await?;
            let failed = cx.step("fails", |_| async { Err::<(), _>(Failed::new("k\0", "m\0")) }).await.unwrap_err();
            Ok(format!("{told}, {heard}, {} {}", failed.kind(), failed.message()))
        });
        let _served = serve(&journal);
        for (key, name, shown) in [("nul", "a\0b".to_owned(), r#""a\0b""#), ("line", "a\nb".to_owned(), r#""a\nb""#)] {
            let error = journal.run::<String>("flow", key, &name).await.unwrap_err().to_string();
            let allowed = "a name has at most 1000 bytes and no control characters";
            assert_eq!(error, format!("flow/{key} is blocked: step 1 is called {shown}: {allowed}"));
            assert_eq!(look(&journal, &RunId::new("flow", key)).await.error.unwrap().kind, "invalid_name");
        }
        let long = journal.run::<String>("flow", "long", &"x".repeat(1_001)).await.unwrap_err();
        assert!(matches!(long, RunError::Blocked { .. }), "{long:?}");

        let run = journal.start("flow", "fine", &"ü").await.unwrap();
        for (topic, id) in [("a\0b", "1"), ("topic", "a\0b")] {
            assert!(matches!(journal.signal(run.id(), topic, id, &1).await, Err(RunError::Key { .. })));
        }
        journal.signal(run.id(), "topic", "1", &"\0").await.unwrap();
        assert_eq!(run.result::<String>().await.unwrap(), "ü and \0, \0, k\0 m\0");
    }

    async fn values_have_a_size_that_is_allowed(bench: &Bench) {
        let journal = bench.builder().max_value(100).open().await.unwrap();
        journal.workflow("flow", "1", |cx: Ctx, (step, result): (usize, usize)| async move {
            cx.step("large", |_| async { Ok::<_, Failed>("x".repeat(step)) }).await?;
            Ok("y".repeat(result))
        });
        let _served = serve(&journal);
        let too_large = |what: &str, bytes: usize| format!("{what} has {bytes} bytes, at most 100 are allowed (max_value): keep it elsewhere and its address here");
        journal.run::<String>("flow", "fits", &(98, 98)).await.unwrap();
        let error = journal.run::<String>("flow", "step", &(99, 1)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("flow/step is blocked: {}", too_large("the value of step 1 `large`", 101)));
        let error = journal.run::<String>("flow", "result", &(1, 500)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("flow/result is blocked: {}", too_large("the result", 502)));
        let error = journal.start("flow", "input", &"z".repeat(99)).await.unwrap_err();
        assert!(matches!(error, RunError::TooLarge { bytes: 101, limit: 100, .. }));
        assert_eq!(error.to_string(), "the input of flow/input has 101 bytes, at most 100 are allowed (max_value): keep it elsewhere and its address here");
    }

    async fn who_serves_forgets_what_ended_long_ago(bench: &Bench) {
        let journal = bench.builder().gc_interval(Duration::from_millis(30)).retention(Duration::from_millis(100)).open().await.unwrap();
        let heard = Heard::of(&journal);
        journal.workflow("flow", "1", |cx: Ctx, (): ()| async move { cx.step("one", |_| async { Ok::<_, Failed>(()) }).await });
        let _served = serve(&journal);
        let kept = journal.start("flow", "kept", &()).ttl(Duration::from_secs(3600)).await.unwrap();
        kept.result::<()>().await.unwrap();
        journal.run::<()>("flow", "k", &()).await.unwrap();
        until("it is forgotten", async || heard.has("retention runs=1 steps=1")).await;
        let error = journal.handle(&RunId::new("flow", "k")).look().await.unwrap_err();
        assert_eq!(error.to_string(), "there is no run flow/k");
        kept.look().await.unwrap();
    }
}
