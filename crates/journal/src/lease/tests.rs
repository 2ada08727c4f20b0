//! What a worker has, and what the store thinks it has.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Live;
use crate::context::Ctx;
use crate::error::StoreError;
use crate::journal::Journal;
use crate::run::{Run, State};
use crate::store::{Fence, Keep as _, Wanted};

#[tokio::test]
async fn what_is_still_being_claimed_when_a_worker_leaves_is_given_back() {
    let journal = Journal::open("memory:").await.unwrap();
    journal.workflow("flow", "1", |_: Ctx, (): ()| async { Ok(7) });
    let run = journal.start("flow", "k", &()).await.unwrap();
    let (asked, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (asks, goes_on, shared) = (asked.clone(), go_on.clone(), journal.0.clone());
    let claim = tokio::spawn(async move {
        let wanted = Wanted { workflows: shared.wanted().to_vec(), limit: 1, max_attempts: 10 };
        let claim = shared.claiming::<_, StoreError, _>(async move |shared, member| {
            asks.notify_one();
            goes_on.notified().await;
            let claimed = shared.store.claim(member.worker(), &wanted).await?.claimed;
            let fence = |run: &Run| Fence { run: run.id.clone(), epoch: run.epoch };
            Ok(claimed.iter().map(|claimed| Live::new(&shared, &member, fence(&claimed.run))).collect::<Vec<_>>())
        });
        claim.await.unwrap().unwrap()
    });
    asked.notified().await;
    let leaving = tokio::spawn({
        let journal = journal.clone();
        async move { journal.shutdown(Duration::ZERO).await }
    });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    go_on.notify_one();
    let held = claim.await.unwrap();
    leaving.await.unwrap();
    assert_eq!(held.len(), 1);
    let run = run.look().await.unwrap();
    assert_eq!((run.state, run.owner, run.attempts), (State::Queued, None, 0));
}

#[tokio::test]
async fn a_run_is_given_back_if_the_answer_to_its_claim_was_lost() {
    let journal = Journal::builder("memory:").lease(Duration::from_millis(300)).open().await.unwrap();
    journal.workflow("flow", "1", |_: Ctx, (): ()| async { Ok(7) });
    let (held, stray) = (journal.start("flow", "held", &()).await.unwrap(), journal.start("flow", "stray", &()).await);
    let (shared, stray) = (&journal.0, stray.unwrap());
    let member = shared.member().await.unwrap();
    let wanted = Wanted { workflows: shared.wanted().to_vec(), limit: 2, max_attempts: 10 };
    let found = shared.store.claim(member.worker(), &wanted).await.unwrap();
    let run = found.claimed.iter().find(|claimed| claimed.run.id == *held.id()).unwrap().run.clone();
    let _live = Live::new(shared, &member, Fence { run: run.id, epoch: run.epoch });

    member.doubt(&StoreError::Unavailable { at: "here".into(), why: "cut off".into() });

    let serving = journal.clone();
    let served = tokio::spawn(async move { serving.serve(1).await });
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), stray.result()).await, Ok(Ok(7)));
    let still = held.look().await.unwrap();
    assert_eq!((still.state, still.epoch), (State::Running, run.epoch), "what is held is no stray");
    assert!(shared.present().is_some_and(|present| Arc::ptr_eq(&present, &member)), "it is the same worker");
    served.abort();
}
