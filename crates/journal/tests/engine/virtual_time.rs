//! Workflows under a clock of their own: a week passes in no time.

use std::time::Duration;

use stormproof::Clock;
use stormproof_journal::{Ctx, Failed, Journal};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(start_paused = true)]
async fn a_week_of_sleep_and_a_day_of_waiting() {
    let clock = Clock::tokio();
    let journal = Journal::builder("memory:").clock(&clock).open().await.unwrap();
    let time = clock.clone();
    journal.workflow("flow", "1", move |cx: Ctx, (): ()| {
        let clock = time.clone();
        async move {
            let began = cx.step("begin", |_| async { Ok::<_, Failed>(clock.now().as_nanos()) }).await?;
            cx.sleep("a week", 7 * DAY).await;
            let failed = cx.wait::<u32>("approval").timeout(DAY).await.unwrap_err();
            assert_eq!(failed.kind(), "timed_out");
            Ok(clock.now().as_nanos() - began)
        }
    });
    let serving = journal.clone();
    tokio::spawn(async move { serving.serve(1).await });
    let took = Duration::from_nanos(journal.run::<u64>("flow", "k", &()).await.unwrap());
    assert!(took >= 8 * DAY && took < 8 * DAY + Duration::from_secs(5), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_panics_is_tried_again_after_a_growing_pause() {
    let clock = Clock::tokio();
    let journal = Journal::builder("memory:").clock(&clock).max_attempts(5).open().await.unwrap();
    let (began, calls) = (clock.now(), crate::bench::Calls::default());
    let counted = calls.clone();
    journal.workflow("flow", "1", move |_: Ctx, (): ()| {
        let calls = counted.clone();
        async move {
            assert!(calls.call() > 10, "not yet");
            Ok(())
        }
    });
    let serving = journal.clone();
    tokio::spawn(async move { serving.serve(1).await });
    let error = journal.run::<()>("flow", "k", &()).await.unwrap_err();
    assert_eq!(error.to_string(), "flow/k is blocked: given up after 5 attempts: it panicked: not yet");
    let took = clock.now().since(began);
    assert!(took > Duration::from_secs(10) && took < Duration::from_secs(25), "1 + 2 + 4 + 8 s, spread: {took:?}");
}
