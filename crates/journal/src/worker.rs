//! Claiming runs for as long as this process serves, and forgetting what is old.

mod turn;

use std::sync::Arc;
use std::time::Duration;

use stormproof::journal::Told;
use tokio::task::JoinSet;

use crate::error::{RunError, StoreError};
use crate::journal::Shared;
use crate::lease::{Live, Member};
use crate::own_task::own;
use crate::patience::Patience;
use crate::run::{Failure, RunId};
use crate::store::{Claimed, Fence, Forgotten, Found, Keep as _, Retention, Wanted};
use crate::telling::count;
use crate::watch::Watch;

/// For so long after its time a `serve` is waited for that has been told to end.
const LATE: Duration = Duration::from_millis(500);

/// How often a store is looked at that no other process can have.
const ALONE: Duration = Duration::from_secs(3600);

impl Shared {
    /// Something may be there to be claimed.
    pub(crate) fn woken(&self) {
        self.work.notify_one();
    }

    /// Something happened to a run: whoever waits for it in this process looks again.
    pub(crate) fn stir(&self, run: &RunId) {
        self.watched.stir(run);
    }

    pub(crate) fn watch(&self, run: &RunId) -> Watch {
        self.watched.watch(run)
    }

    /// How long until other processes are looked at again: the same on average, and never in step with others.
    pub(crate) fn poll_interval(&self) -> Duration {
        // Nobody else can have a store in memory; clocks of tests can be fast.
        let poll = if self.store.is_alone() { ALONE } else { self.settings.poll };
        let seconds = poll.as_secs_f64() * (0.8 + 0.4 * self.rng.unit());
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// Claims runs and carries them out until it is said that no more are to be claimed.
    pub(crate) async fn serve(self: &Arc<Self>, runs: u32) -> Result<(), RunError> {
        if let Some(error) = self.invalid_workflow() {
            return Err(error);
        }
        let _serving = Serving::new(self);
        let (clock, slots) = (&self.settings.clock, usize::try_from(runs.max(1)).unwrap_or(usize::MAX));
        let mut closing = self.closing.subscribe();
        let mut tasks = JoinSet::new();
        let mut forgetting = JoinSet::new();
        let mut patience = Patience::new(self);
        let mut next_gc = clock.now() + self.settings.gc_interval.mul_f64(self.rng.unit());
        while closing.borrow_and_update().is_none() {
            while tasks.try_join_next().is_some() {}
            let free = slots.saturating_sub(tasks.len());
            let mut pause = self.poll_interval();
            if free > 0 {
                match self.claim(u32::try_from(free).unwrap_or(u32::MAX)).await {
                    Ok((claimed, next_due)) => {
                        patience.answered();
                        pause = next_due.map_or(pause, |due| due.min(pause));
                        if claimed.len() == free {
                            // There may be more, for another `serve` of this process.
                            self.woken();
                        }
                        for (live, claimed) in claimed {
                            tasks.spawn(own(self.clone().carry_out(live, claimed)));
                        }
                    }
                    Err(error) => {
                        self.store_failed(&error);
                        patience.pause().await;
                        continue;
                    }
                }
            }
            let full = tasks.len() >= slots;
            tokio::select! {
                _ = closing.changed() => {}
                Some(_) = tasks.join_next() => {}
                () = self.work.notified(), if !full => {}
                () = clock.wait(pause), if !full => {}
                () = clock.wait(next_gc.since(clock.now())) => {
                    next_gc = clock.now() + self.settings.gc_interval;
                    // Beside the runs: it takes none of their places, and ends with `serve`.
                    while forgetting.try_join_next().is_some() {}
                    if forgetting.is_empty() {
                        forgetting.spawn(self.clone().forget());
                    }
                }
            }
        }
        let until = closing.borrow().unwrap_or(clock.now());
        tokio::select! {
            () = clock.wait(until.since(clock.now())) => {}
            () = async { while tasks.join_next().await.is_some() {} } => {}
        }
        // What is left is dropped where it is, and gives its run back.
        tasks.shutdown().await;
        Ok(())
    }

    /// Ends all `serve`s, and being a worker.
    pub(crate) async fn shutdown(&self, grace: Duration) {
        let until = self.settings.clock.now() + grace;
        self.closing.send_modify(|closing| *closing = Some(closing.map_or(until, |known| known.min(until))));
        let mut serving = self.serving.subscribe();
        let clock = &self.settings.clock;
        // A `serve` that is neither polled nor dropped, or whose workflows block, does not end.
        tokio::select! {
            _ = serving.wait_for(|serving| *serving == 0) => {}
            () = clock.wait(until.since(clock.now()).saturating_add(LATE)) => {}
        }
        self.leave().await;
    }

    /// Claims up to `limit` runs, and says when the next one is due.
    async fn claim(self: &Arc<Self>, limit: u32) -> Result<(Vec<(Live, Claimed)>, Option<Duration>), StoreError> {
        let workflows = self.wanted();
        if workflows.is_empty() {
            return Ok((Vec::new(), None));
        }
        let wanted = Wanted { workflows: workflows.to_vec(), limit, max_attempts: self.settings.max_attempts };
        let claimed = self.claiming(async move |shared, member| {
            let found = shared.store.claim(member.worker(), &wanted).await.inspect_err(|error| member.doubt(error));
            found.map(|found| shared.take_charge(&member, found))
        });
        claimed.await.unwrap_or_else(|| Ok((Vec::new(), None)))
    }

    fn take_charge(self: &Arc<Self>, member: &Arc<Member>, found: Found) -> (Vec<(Live, Claimed)>, Option<Duration>) {
        let with_live = |claimed: Claimed| {
            count(&self.counters.claimed);
            let fence = Fence { run: claimed.run.id.clone(), epoch: claimed.run.epoch };
            (Live::new(self, member, fence), claimed)
        };
        let claimed: Vec<_> = found.claimed.into_iter().map(with_live).collect();
        for run in &found.blocked {
            let kind = "too_many_attempts".into();
            self.tell_blocked(run, &Failure { kind, ..Failure::default() });
            self.stir(run);
        }
        for (_, Claimed { run, .. }) in claimed.iter().filter(|(_, claimed)| found.recovered.contains(&claimed.run.id))
        {
            count(&self.counters.recovered);
            self.tell(|| Told::RunRecovered { run: run.id.as_str().into(), attempts: run.attempts });
        }
        (claimed, found.next_due)
    }

    /// Forgets what may be forgotten, one batch after another.
    async fn forget(self: Arc<Self>) {
        let Retention { batch, dry_run, .. } = Retention::default();
        let retention = Retention { ended: self.settings.retention, most: self.settings.most_ended, batch, dry_run };
        let (mut runs, mut steps) = (0_u64, 0_u64);
        loop {
            match self.store.forget(&retention).await {
                Ok(forgotten) if forgotten != Forgotten::default() => {
                    runs = runs.saturating_add(forgotten.runs);
                    steps = steps.saturating_add(forgotten.steps);
                }
                Ok(_) => break,
                Err(error) => {
                    self.store_failed(&error);
                    break;
                }
            }
        }
        if runs > 0 {
            self.tell(|| Told::Retention { runs, steps });
        }
    }
}

/// A `serve` that goes on.
struct Serving<'a>(&'a Shared);

impl<'a> Serving<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.serving.send_modify(|serving| *serving += 1);
        Self(shared)
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.serving.send_modify(|serving| *serving -= 1);
    }
}
