//! What a worker has, and what the store thinks it has.

use std::sync::Arc;
use std::time::Duration;

use super::Live;
use crate::context::Ctx;
use crate::error::StoreError;
use crate::journal::Journal;
use crate::run::State;
use crate::store::{Fence, Keep as _, Wanted};

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
