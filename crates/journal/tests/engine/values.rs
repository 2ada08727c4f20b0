//! What was recorded is what comes back.

use std::time::Duration;

use stormproof_journal::{CheckpointedAgent, Ctx, Failed, Probe};

use crate::bench::{Bench, Calls, on_every_store, serve};

/// A number that a parser which is only almost exact reads as its neighbour.
const SCORE: f64 = 0.985_690_694_632_869_5;

on_every_store! {
    async fn a_number_is_replayed_as_it_was(bench: &Bench) {
        let (journal, calls) = (bench.open().await, Calls::default());
        let crashes = calls.clone();
        journal.workflow("score", "1", move |cx: Ctx, (): ()| {
            let crashes = crashes.clone();
            async move {
                let score: f64 = cx.step("score", |_| async { Ok::<_, Failed>(SCORE) }).await?;
                let seen: bool = cx.step("use", |_| async { Ok::<_, Failed>(score.to_bits() == SCORE.to_bits()) }).input(&score).await?;
                assert!(crashes.call() > 1, "the first attempt ends here");
                Ok((score, seen))
            }
        });
        let _served = serve(&journal);

        let replayed: (f64, bool) = journal.run("score", "k", &()).await.unwrap();

        assert_eq!(replayed, (SCORE, true));
        assert_eq!(calls.count(), 2);
    }

    async fn a_duplicate_gets_the_very_number(bench: &Bench) {
        let journal = bench.open().await;
        let once = || async {
            let rerun = |_| async { Ok::<Probe<f64>, Failed>(Probe::Rerun) };
            journal.once("score", "k").run(rerun, |_| async { Ok::<_, Failed>(SCORE) }).await
        };

        assert_eq!((once().await, once().await), (Ok(SCORE), Ok(SCORE)));
    }

    async fn a_state_with_numbers_is_taken_up_again(bench: &Bench) {
        let (journal, calls) = (bench.builder().poll(Duration::from_millis(5)).open().await.unwrap(), Calls::default());
        let agent = CheckpointedAgent::with(&journal)
            .named("scores")
            .step("score", |mut scores: Vec<f64>| async move {
                scores.push(SCORE);
                Ok::<_, Failed>(scores)
            })
            .step("keep", |scores: Vec<f64>| async move { Ok::<_, Failed>(scores) })
            .step("end", move |scores: Vec<f64>| {
                let first = calls.call() == 1;
                async move { if first { Err(Failed::new("down", "it is down")) } else { Ok(scores) } }
            });

        assert!(agent.run("k", vec![]).await.is_err());
        assert_eq!(agent.run("k", vec![]).await, Ok(vec![SCORE]), "not `diverged` at its second step");
    }
}
