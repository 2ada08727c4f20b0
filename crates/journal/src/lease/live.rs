//! A run that this process has.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Lost, Member, say};
use crate::journal::Shared;
use crate::patience::Patience;
use crate::run::Step;
use crate::store::{End, Fence, Keep as _, Written};

/// A run that this process has. Dropped before it has [ended](Self::ended), it is given back.
#[derive(Debug)]
pub(crate) struct Live {
    shared: Arc<Shared>,
    member: Arc<Member>,
    fence: Fence,
    lost: watch::Receiver<Option<Lost>>,
    ended: bool,
}

impl Live {
    /// Takes charge of a run that the store has just given to `member`.
    pub(crate) fn new(shared: &Arc<Shared>, member: &Arc<Member>, fence: Fence) -> Self {
        let (sender, lost) = watch::channel(None);
        let mut runs = member.lock();
        if runs.over {
            say(&sender, Lost::Lease);
        } else if runs.cancelled.iter().any(|(run, epoch)| *run == fence.run && *epoch > fence.epoch) {
            say(&sender, Lost::Cancelled);
        } else if let Some((_, before)) = runs.held.insert(fence.run.clone(), (fence.epoch, sender)) {
            say(&before, Lost::Fenced);
        }
        drop(runs);
        Self { shared: shared.clone(), member: member.clone(), fence, lost, ended: false }
    }

    pub(crate) fn fence(&self) -> &Fence {
        &self.fence
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Ready when the run is lost, and why.
    pub(crate) async fn lost(&self) -> Lost {
        let mut lost = self.lost.clone();
        let why = lost.wait_for(Option::is_some).await.ok().and_then(|why| *why);
        why.unwrap_or(Lost::Lease)
    }

    /// There is nothing to give back any more: its end is written, or somebody else has it.
    pub(crate) fn ended(mut self) {
        self.ended = true;
    }

    /// Writes how the run is left, asking for as long as the run is not lost.
    pub(crate) async fn finish(&self, end: &End) -> Result<Written, Lost> {
        self.finish_with(None, end).await
    }

    /// The same with a last step in the same transaction.
    pub(crate) async fn finish_with(&self, last: Option<&Step>, end: &End) -> Result<Written, Lost> {
        let write = async {
            let mut patience = Patience::new(&self.shared);
            loop {
                match self.shared.store.finish(&self.fence, last, end).await {
                    Ok(written) => {
                        patience.answered();
                        break written;
                    }
                    // Whatever it is: this process has the run, and nobody else will do it.
                    Err(error) => {
                        self.shared.store_failed(&error);
                        patience.pause().await;
                    }
                }
            }
        };
        let given_up = async {
            let why = self.lost().await;
            // A heartbeat cannot tell a run that is lost from one that has just been left: the write can.
            if why != Lost::Lease {
                self.shared.settings.clock.wait(self.shared.settings.lease).await;
            }
            why
        };
        tokio::select! {
            biased;
            written = write => Ok(written),
            why = given_up => Err(why),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.member.lose(&self.fence.run, self.fence.epoch, Lost::Fenced);
        if self.ended || self.member.is_over() {
            return;
        }
        let (shared, member, fence) = (self.shared.clone(), self.member.clone(), self.fence.clone());
        member.runtime().spawn(async move { shared.give_back(&member, &fence).await });
    }
}
