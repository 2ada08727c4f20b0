//! The heartbeat of a worker: a task of the runtime that the journal is used on.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Lost, Member};
use crate::journal::Shared;
use crate::store::Keep as _;
use crate::store::dispatch::Store;

/// The heartbeat of a worker goes on. However it ends, be it with the runtime that it was made on, the lease is not to be
/// relied on afterwards: whoever needs one joins anew.
pub(super) struct Beating {
    shared: Weak<Shared>,
    store: Weak<Store>,
    member: Arc<Member>,
}

impl Beating {
    pub(super) fn new(shared: &Arc<Shared>, member: &Arc<Member>) -> Self {
        Self { shared: Arc::downgrade(shared), store: Arc::downgrade(&shared.store), member: member.clone() }
    }

    fn lost(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.lost_lease(&self.member);
        }
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.lost();
        if let Some(store) = self.store.upgrade() {
            store.forsake(self.member.worker());
        }
    }
}

/// Renews the lease until it is lost, or the journal is gone.
pub(super) async fn beat(beating: Beating, interval: Duration) {
    let member = &beating.member;
    let clock = &member.clock;
    let mut pause = interval;
    loop {
        // Also woken late, by a process that stood still, it finds out below.
        clock.wait(pause).await;
        let Some(store) = beating.store.upgrade().filter(|_| !member.is_over()) else { break };
        let (stamp, until) = (clock.now(), member.good_until());
        let mine = member.fences();
        let answer = tokio::select! {
            biased;
            () = clock.wait(until.since(stamp)) => None,
            answer = store.beat(member.worker(), &mine) => Some(answer),
        };
        let Some(shared) = beating.shared.upgrade() else { break };
        match answer {
            Some(Ok(Some(lost))) => {
                member.renewed(stamp);
                shared.store_answered();
                for fence in mine.iter().filter(|fence| lost.contains(&fence.run)) {
                    member.lose(&fence.run, fence.epoch, Lost::Fenced);
                }
                if member.doubtful.load(Ordering::Relaxed) {
                    let (shared, member) = (shared.clone(), member.clone());
                    tokio::spawn(async move { shared.give_back_strays(&member).await });
                }
                pause = interval.saturating_sub(clock.now().since(stamp));
            }
            Some(Err(error)) if clock.now() < until => {
                shared.store_failed(&error);
                pause = interval / 8;
            }
            // Out of time, or not known any more.
            _ => break,
        }
    }
    beating.lost();
    // Until then the store counts it as alive, and what it had under way may take notice late.
    let over = member.renewed_at() + member.worker.ttl;
    clock.wait(over.since(clock.now())).await;
}
