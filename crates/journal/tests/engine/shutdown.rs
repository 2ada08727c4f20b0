//! Ending: what is under way is finished, or given back at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stormproof_journal::{Ctx, Failed, Journal, State};

use crate::bench::{Bench, Calls, LEASE, look, on_every_store, serve, state, until};

/// A run that takes as long as its input says, in milliseconds.
fn taking(journal: &Journal, began: &Calls) {
    let counted = began.clone();
    journal.workflow("flow", "1", move |cx: Ctx, time: u64| {
        let began = counted.clone();
        async move {
            cx.step("wait", |_| async {
                began.call();
                tokio::time::sleep(Duration::from_millis(time)).await;
                Ok::<_, Failed>(())
            })
            .await
        }
    });
}

on_every_store! {
    async fn what_ends_in_time_is_finished_and_the_rest_is_given_back(bench: &Bench) {
        let (journal, began) = (bench.open().await, Calls::default());
        taking(&journal, &began);
        let short = journal.start("flow", "short", &150).await.unwrap();
        let long = journal.start("flow", "long", &60_000).await.unwrap();
        let serving = { let journal = journal.clone(); tokio::spawn(async move { journal.serve(4).await }) };
        until("both run", async || began.count() == 2).await;
        let late = journal.start("flow", "late", &0).await.unwrap();
        until("all three run or ran", async || began.count() == 3).await;
        journal.shutdown(Duration::from_millis(600)).await;
        assert_eq!(serving.await.unwrap(), Ok(()));
        short.result::<()>().await.unwrap();
        late.result::<()>().await.unwrap();
        let run = look(&journal, long.id()).await;
        assert_eq!((run.state, run.owner, run.attempts), (State::Queued, None, 0), "it is anybody's, and that was no attempt");
        assert_eq!(journal.serve(1).await, Ok(()), "it has been shut down");
        assert_eq!(began.count(), 3);
    }

    async fn a_serve_that_nobody_polls_does_not_hold_up_the_end(bench: &Bench) {
        let (journal, began) = (bench.open().await, Calls::default());
        taking(&journal, &began);
        let run = journal.start("flow", "k", &60_000).await.unwrap();
        let mut serving = Box::pin(journal.serve(4));
        // It is kept, though another branch has won.
        tokio::select! {
            ended = &mut serving => panic!("{ended:?}"),
            () = until("it runs", async || began.count() == 1) => {}
        }
        let shutdown = journal.shutdown(Duration::from_millis(100));
        tokio::time::timeout(Duration::from_secs(10), shutdown).await.unwrap();
        assert_eq!(state(&journal, run.id()).await, State::Queued);
        assert_eq!(serving.await, Ok(()));
    }

    async fn dropping_serve_gives_back_at_once(bench: &Bench) {
        let (journal, other) = (bench.builder().lease(LEASE * 100).open().await.unwrap(), bench.open().await);
        let (began, again) = (Calls::default(), Calls::default());
        taking(&journal, &began);
        let counted = again.clone();
        other.workflow("flow", "1", move |_: Ctx, _: u64| { counted.call(); async { Ok(()) } });
        let run = journal.start("flow", "k", &60_000).await.unwrap();
        let served = serve(&journal);
        until("it runs", async || began.count() == 1).await;
        let at = Instant::now();
        drop(served);
        until("it is given back", async || state(&other, run.id()).await == State::Queued).await;
        let _served = serve(&other);
        other.handle(run.id()).result::<()>().await.unwrap();
        assert!(at.elapsed() < LEASE * 10, "no lease is waited for");
    }

    async fn dropping_the_journal_gives_back_at_once(bench: &Bench) {
        let other = bench.open().await;
        let (began, began_again) = (Calls::default(), Calls::default());
        let journal = bench.builder().lease(LEASE * 100).open().await.unwrap();
        taking(&journal, &began);
        taking(&other, &began_again);
        let run = journal.start("flow", "k", &300).await.unwrap();
        let served = serve(&journal);
        until("it runs", async || began.count() == 1).await;
        drop((served, journal));
        let _served = serve(&other);
        other.handle(run.id()).result::<()>().await.unwrap();
        assert_eq!(began_again.count(), 1);
    }

    async fn two_serves_of_one_journal_share_its_runs(bench: &Bench) {
        let (journal, began) = (bench.open().await, Calls::default());
        let go_on = Arc::new(tokio::sync::Semaphore::new(0));
        let (counted, wait) = (began.clone(), go_on.clone());
        journal.workflow("flow", "1", move |_: Ctx, (): ()| {
            let (began, go_on) = (counted.clone(), wait.clone());
            async move {
                began.call();
                let _permit = go_on.acquire().await;
                Ok(())
            }
        });
        let (_one, _two) = (crate::bench::serve_slots(&journal, 1), crate::bench::serve_slots(&journal, 2));
        for number in 0..3 {
            journal.start("flow", &number.to_string(), &()).await.unwrap();
        }
        until("all run", async || began.count() == 3).await;
        go_on.add_permits(3);
    }
}
