//! This process as a worker, and the runs it has.
//!
//! A process has its runs for as long as its heartbeat is written in time. Time is the monotonic clock's, and it is stamped
//! before the write: when two thirds of a lease have passed since the stamp of the last heartbeat that was written, all runs
//! are let go, well before anybody else may take them.

mod heartbeat;
mod live;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stormproof::journal::Told;
use stormproof::{Clock, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;

use self::heartbeat::{Beating, beat};
pub(crate) use self::live::Live;
use crate::error::StoreError;
use crate::journal::Shared;
use crate::patience::Patience;
use crate::run::{Epoch, RunId, State};
use crate::store::{End, Fence, Filter, Keep as _, Worker};
use crate::telling::count;

/// Why a run is not this process's any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Another worker has it, or an operator changed it: the store said so.
    Fenced,
    /// It was cancelled in this process.
    Cancelled,
    /// The lease could not be renewed in time.
    Lease,
}

/// This process, as a worker that the store knows.
pub(crate) struct Member {
    worker: Worker,
    clock: Clock,
    /// Nanoseconds of the clock: the stamp of the last heartbeat that was written.
    renewed_at: AtomicU64,
    /// Set: a claim had no answer, so that the store may count a run as ours that nobody here has.
    doubtful: AtomicBool,
    runtime: Handle,
    runs: Mutex<Runs>,
}

#[derive(Default)]
struct Runs {
    held: HashMap<RunId, (Epoch, watch::Sender<Option<Lost>>)>,
    /// What was cancelled here last, and in which epoch: what is being claimed at that moment is not held yet.
    cancelled: VecDeque<(RunId, Epoch)>,
    over: bool,
}

/// So many cancelled runs are remembered: more than can be claimed and cancelled at the same moment.
const CANCELLED: usize = 64;

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("worker", &self.worker.id).finish_non_exhaustive()
    }
}

impl Member {
    fn new(worker: Worker, clock: &Clock, stamp: Instant) -> Self {
        Self {
            worker,
            clock: clock.clone(),
            renewed_at: AtomicU64::new(stamp.as_nanos()),
            doubtful: AtomicBool::new(false),
            runtime: Handle::current(),
            runs: Mutex::default(),
        }
    }

    /// What the store knows it as.
    pub(crate) fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Where it was made: what is to be said of it is said there, from whichever thread.
    pub(crate) fn runtime(&self) -> Handle {
        self.runtime.clone()
    }

    /// Whether its runs can be relied on to be nobody else's.
    pub(crate) fn is_good(&self) -> bool {
        self.clock.now() < self.good_until()
    }

    fn good_until(&self) -> Instant {
        self.renewed_at() + self.worker.ttl / 3 * 2
    }

    /// A heartbeat that was stamped then is written.
    fn renewed(&self, stamp: Instant) {
        self.renewed_at.fetch_max(stamp.as_nanos(), Ordering::Relaxed);
    }

    /// The stamp of the last heartbeat that was written.
    fn renewed_at(&self) -> Instant {
        Instant::from_nanos(self.renewed_at.load(Ordering::Relaxed))
    }

    /// A claim that had no answer may have happened.
    pub(crate) fn doubt(&self, error: &StoreError) {
        if matches!(error, StoreError::Unavailable { .. } | StoreError::Full { .. }) {
            self.doubtful.store(true, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.lock().over
    }

    fn fences(&self) -> Vec<Fence> {
        let runs = self.lock();
        runs.held.iter().map(|(run, (epoch, _))| Fence { run: run.clone(), epoch: *epoch }).collect()
    }

    /// How many runs it has.
    pub(crate) fn held(&self) -> usize {
        self.lock().held.len()
    }

    /// Whether it has this run, in whatever epoch.
    pub(crate) fn has(&self, run: &RunId) -> bool {
        self.lock().held.contains_key(run)
    }

    /// Lets go of a run, if it has it in this epoch.
    fn lose(&self, run: &RunId, epoch: Epoch, why: Lost) {
        let mut runs = self.lock();
        if let Some((held, lost)) = runs.held.get(run)
            && epoch == *held
        {
            say(lost, why);
            runs.held.remove(run);
        }
    }

    /// Lets go of a run that was cancelled, which began its epoch `epoch`.
    fn cancelled(&self, run: &RunId, epoch: Epoch) {
        let mut runs = self.lock();
        if runs.cancelled.len() >= CANCELLED {
            runs.cancelled.pop_front();
        }
        runs.cancelled.push_back((run.clone(), epoch));
        let held = runs.held.get(run).map(|(held, _)| *held);
        drop(runs);
        if let Some(held) = held.filter(|held| *held < epoch) {
            self.lose(run, held, Lost::Cancelled);
        }
    }

    /// Lets go of everything, for good. So many runs it was; `None`: it was over before.
    fn lose_all(&self, why: Lost) -> Option<usize> {
        let mut runs = self.lock();
        if std::mem::replace(&mut runs.over, true) {
            return None;
        }
        let held = std::mem::take(&mut runs.held);
        for (_, lost) in held.values() {
            say(lost, why);
        }
        Some(held.len())
    }
}

fn say(lost: &watch::Sender<Option<Lost>>, why: Lost) {
    lost.send_if_modified(|known| known.is_none() && known.replace(why).is_none());
}

impl Shared {
    /// This process as a worker, made known to the store if it is not yet.
    pub(crate) async fn member(self: &Arc<Self>) -> Result<Arc<Member>, StoreError> {
        if let Some(member) = self.present() {
            return Ok(member);
        }
        let _turn = self.joining.lock().await;
        if let Some(member) = self.present() {
            return Ok(member);
        }
        let Settled { worker, stamp } = self.join().await?;
        let member = Arc::new(Member::new(worker, &self.settings.clock, stamp));
        *self.member.lock().unwrap_or_else(PoisonError::into_inner) = Some(member.clone());
        tokio::spawn(beat(Beating::new(self, &member), self.settings.heartbeat()));
        Ok(member)
    }

    /// Asks the store for runs, as the worker that this process is. In a task of its own: what the store gives is taken
    /// charge of even if the caller goes away meanwhile, and is then given back. `None`: the runtime ends, or this process
    /// was told to leave meanwhile.
    pub(crate) async fn claiming<T, E, Fut>(
        self: &Arc<Self>,
        claim: impl FnOnce(Arc<Self>, Arc<Member>) -> Fut + Send + 'static,
    ) -> Option<Result<T, E>>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        let (shared, asked) = (self.clone(), self.present());
        let claiming = tokio::spawn(async move {
            // Nobody leaves before what is claimed for it is held, nor comes back for it.
            let _claiming = shared.claims.read().await;
            if asked.is_some_and(|asked| asked.is_over()) && shared.closing.borrow().is_some() {
                return None;
            }
            Some(match shared.member().await {
                Ok(member) => claim(shared.clone(), member).await,
                Err(error) => Err(error.into()),
            })
        });
        claiming.await.ok().flatten()
    }

    /// The worker that this process is, if it is one.
    pub(crate) fn present(&self) -> Option<Arc<Member>> {
        let member = self.member.lock().unwrap_or_else(PoisonError::into_inner).clone();
        member.filter(|member| !member.is_over())
    }

    /// How many runs this process has.
    pub(crate) fn held(&self) -> usize {
        self.present().map_or(0, |member| member.held())
    }

    /// Lets go of a run that was cancelled, if this process has it or is about to.
    pub(crate) fn cancelled(&self, run: &RunId, epoch: Epoch) {
        if let Some(member) = self.present() {
            member.cancelled(run, epoch);
        }
    }

    /// Ends being a worker: what is still under way is given back.
    pub(crate) async fn leave(&self) {
        let member = self.member.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(member) = member {
            member.lose_all(Lost::Lease);
            // What it is still claiming would be the run of a worker that nobody knows.
            let _nobody_claims = self.claims.write().await;
            // If it cannot be written, the lease ends by itself.
            let _ = self.store.leave(member.worker()).await;
        }
    }

    async fn join(&self) -> Result<Settled, StoreError> {
        let Self { settings, rng, .. } = self;
        let worker = Worker {
            id: format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64()),
            host: settings.host.clone(),
            version: settings.worker_version.clone(),
            ttl: settings.lease,
        };
        let stamp = settings.clock.now();
        self.store.join(&worker).await?;
        Ok(Settled { worker, stamp })
    }

    /// Gives back a run that nobody drives any more.
    async fn give_back(&self, member: &Member, fence: &Fence) {
        let end = End::Parked { after: Duration::ZERO };
        let mut patience = Patience::new(self);
        while !member.is_over() {
            match self.store.finish(fence, None, &end).await {
                Ok(_) => break,
                Err(error) => self.store_failed(&error),
            }
            patience.pause().await;
        }
        patience.answered();
        self.woken();
    }

    /// Gives back what the store counts as this worker's though nobody here has it, since the answer to a claim was lost.
    /// While the heartbeat goes on, nobody else would ever take it.
    async fn give_back_strays(&self, member: &Member) {
        // What is about to be held is no stray.
        let _nobody_claims = self.claims.write().await;
        if !member.doubtful.swap(false, Ordering::Relaxed) {
            return;
        }
        let running = Filter::new().states([State::Running]).limit(u32::MAX);
        let runs = self.store.list(&running).await.inspect_err(|error| member.doubt(error));
        for run in runs.unwrap_or_default().into_iter().filter(|run| run.owner.as_deref() == Some(&member.worker.id)) {
            if member.has(&run.id) || member.is_over() {
                continue;
            }
            let fence = Fence { run: run.id, epoch: run.epoch };
            let end = End::Parked { after: Duration::ZERO };
            let _ = self.store.finish(&fence, None, &end).await.inspect_err(|error| member.doubt(error));
            self.woken();
        }
    }

    /// The lease is not to be relied on any more.
    fn lost_lease(&self, member: &Arc<Member>) {
        let Some(runs) = member.lose_all(Lost::Lease) else { return };
        let mut present = self.member.lock().unwrap_or_else(PoisonError::into_inner);
        if present.as_ref().is_some_and(|present| Arc::ptr_eq(present, member)) {
            *present = None;
        }
        drop(present);
        count(&self.counters.leases_lost);
        if runs > 0 {
            let after = member.clock.now().since(member.renewed_at());
            self.tell(|| Told::LeaseLost { runs: u32::try_from(runs).unwrap_or(u32::MAX), after });
        }
        self.woken();
    }
}

struct Settled {
    worker: Worker,
    stamp: Instant,
}
