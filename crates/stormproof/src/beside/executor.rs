//! Running a limited number of tasks at a time, their results in the order of what they were made of.
//!
//! Owns starting, order and shutdown. How many run at a time is a [`Bulkhead`]'s, which others may share.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use stormproof_core::{Mistakes, Name, Refused, bulkhead};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::task::coop::consume_budget;

use crate::beside::caught::{caught, text};
use crate::call::error::Error;
use crate::call::inside::{self, inside, is_inside};
use crate::clock::Clock;
use crate::policy::stages::Bulkhead;

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// It panicked with this text, up to 200 bytes of it.
    #[error("the task panicked: {0}")]
    Panicked(Box<str>),
    /// It was cancelled by a shutdown.
    #[error("the task was cancelled by a shutdown")]
    Cancelled,
    /// It was not started, because the executor was shut down.
    #[error("the executor was shut down")]
    ShutDown,
    /// It was not started, because a shared bulkhead refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It was not started before the deadline of the call around it.
    #[error("no slot came free before the deadline")]
    TimedOut,
}

/// Runs a limited number of tasks at a time. Clones are the same executor. Needs a tokio runtime.
///
/// A task may give further tasks to the executor it runs in. Where no slot is free for one of those, it runs in place: as a
/// part of the task that waits for it, in the slot of that one, as a wait for a slot might then have no end. This holds
/// for what a task awaits, not for what it spawns.
///
/// A task whose caller goes away is cancelled. Nothing of a task is kept once its result was handed over.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use stormproof::Executor;
///
/// let executor = Executor::new(2)?;
/// let squares = executor.map([3, 1, 2], |n| async move { n * n }).await;
/// assert_eq!(squares, [Ok(9), Ok(1), Ok(4)]);
/// assert_eq!(executor.execute(async { "done" }).await, Ok("done"));
/// executor.shutdown(Duration::from_secs(5)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Executor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bulkhead: Bulkhead,
    /// Whoever starts or runs a task has a receiver: when the last is dropped, nothing is under way.
    phase: watch::Sender<Phase>,
    cancelled: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// What runs may end, nothing new begins.
    Closing,
    /// What runs is cancelled.
    Cancelled,
}

impl Executor {
    /// Runs `max_concurrency` tasks at a time on the system's clock; what is more waits, however much.
    ///
    /// # Errors
    /// If `max_concurrency` is zero or above 2,147,483,647.
    pub fn new(max_concurrency: u32) -> Result<Self, Mistakes> {
        Self::with_clock(max_concurrency, &Clock::system())
    }

    /// [`new`](Self::new) on `clock`.
    pub fn with_clock(max_concurrency: u32, clock: &Clock) -> Result<Self, Mistakes> {
        let (max_queue, queue_timeout) = (u32::MAX, Duration::MAX);
        let config = bulkhead::Config { max_concurrent: max_concurrency, max_queue, queue_timeout, adaptive: None };
        Bulkhead::with_clock(Name::anonymous(), config, clock).map(|bulkhead| Self::with_bulkhead(&bulkhead))
    }

    /// Runs tasks in the slots of a bulkhead that others may use, too. Its queue's limits hold for tasks as for calls.
    pub fn with_bulkhead(bulkhead: &Bulkhead) -> Self {
        let (bulkhead, phase) = (bulkhead.clone(), watch::Sender::new(Phase::Open));
        Self(Arc::new(Shared { bulkhead, phase, cancelled: AtomicU64::new(0) }))
    }

    /// The bulkhead, for its numbers.
    pub fn bulkhead(&self) -> &Bulkhead {
        &self.0.bulkhead
    }

    /// Runs one task when a slot is free.
    ///
    /// # Errors
    /// Why it has no result.
    pub async fn execute<Fut>(&self, task: Fut) -> Result<Fut::Output, TaskError>
    where
        Fut: Future<Output: Send + 'static> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        if let Some(result) = self.start(&mut tasks, 0, task).await {
            return result;
        }
        match tasks.join_next().await {
            Some(Ok((_, result))) => result,
            Some(Err(_)) | None => Err(TaskError::Cancelled),
        }
    }

    /// Runs `work` on each item, a limited number at a time, begun in the items' order, and returns the results in that order. One
    /// that fails leaves the others alone.
    pub async fn map<I, F, Fut>(&self, items: I, work: F) -> Vec<Result<Fut::Output, TaskError>>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(I::Item) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: Send + 'static> + Send,
    {
        let work = Arc::new(work);
        let mut tasks = JoinSet::new();
        let mut results: Vec<Result<Fut::Output, TaskError>> = Vec::new();
        for (at, item) in items.into_iter().enumerate() {
            let work = work.clone();
            let ended = self.start(&mut tasks, at, async move { work(item).await }).await;
            // Until its result comes: what a task says that a vanishing runtime cancelled.
            results.push(ended.unwrap_or(Err(TaskError::Cancelled)));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Ok((at, result)) = ended
                && let Some(place) = results.get_mut(at)
            {
                *place = result;
            }
        }
        results
    }

    /// Begins no more tasks, waits up to `timeout` until those that run have ended, then cancels them. Returns how many were
    /// cancelled. A task that never waits cannot be cancelled: it is waited for. Called from inside a task of this executor
    /// it does not wait, and cancels nothing.
    pub async fn shutdown(&self, timeout: Duration) -> u64 {
        let Shared { bulkhead, phase, cancelled } = &*self.0;
        let before = cancelled.load(Ordering::Relaxed);
        phase.send_modify(|phase| {
            if *phase == Phase::Open {
                *phase = Phase::Closing;
            }
        });
        if is_inside(inside::id(&self.0)) {
            return 0;
        }
        let clock = bulkhead.policy().clock();
        let in_time = first(phase.closed(), clock.sleep_until(clock.now() + timeout)).await;
        if in_time.is_none() {
            phase.send_replace(Phase::Cancelled);
            phase.closed().await;
        }
        cancelled.load(Ordering::Relaxed) - before
    }

    /// Waits for a slot and begins a task in it. Returns the result of one that was not begun or has run in place.
    async fn start<Fut>(
        &self,
        tasks: &mut JoinSet<(usize, Result<Fut::Output, TaskError>)>,
        at: usize,
        task: Fut,
    ) -> Option<Result<Fut::Output, TaskError>>
    where
        Fut: Future<Output: Send + 'static> + Send + 'static,
    {
        // Tasks that find a slot at once let others run, too.
        consume_budget().await;
        // From here on a shutdown waits for `phase` to be dropped; whatever came before is seen below.
        let mut phase = self.0.phase.subscribe();
        if *phase.borrow() != Phase::Open {
            return Some(Err(TaskError::ShutDown));
        }
        let (executor, slots) = (inside::id(&self.0), inside::id(&self.0.bulkhead.policy().0));
        let slot = if is_inside(slots) {
            // Has a slot, and must not wait for another one.
            first(self.0.bulkhead.acquire(), std::future::ready(())).await.and_then(Result::ok)
        } else {
            let closed = phase.wait_for(|phase| *phase != Phase::Open);
            let closed = async { drop(closed.await) };
            match first(self.0.bulkhead.acquire(), closed).await {
                Some(Ok(slot)) => Some(slot),
                Some(Err(error)) => return Some(Err(not_started(error))),
                None => return Some(Err(TaskError::ShutDown)),
            }
        };
        // Asked once more, because both may have come at the same time.
        if *phase.borrow() != Phase::Open {
            return Some(Err(TaskError::ShutDown));
        }
        let task = inside(executor, inside(slots, caught(task)));
        let Some(slot) = slot else {
            return Some(task.await.map_err(|panic| TaskError::Panicked(text(&*panic))));
        };
        let shared = self.0.clone();
        tasks.spawn(async move {
            let result = {
                let cancel = phase.wait_for(|phase| *phase == Phase::Cancelled);
                first(task, async { drop(cancel.await) }).await
            };
            // The task is gone by now: first its slot, then the mark that something is under way.
            drop(slot);
            let result = match result {
                Some(Ok(value)) => Ok(value),
                Some(Err(panic)) => Err(TaskError::Panicked(text(&*panic))),
                None => {
                    shared.cancelled.fetch_add(1, Ordering::Relaxed);
                    Err(TaskError::Cancelled)
                }
            };
            drop(phase);
            (at, result)
        });
        None
    }
}

fn not_started(error: Error<std::convert::Infallible>) -> TaskError {
    match error {
        Error::Refused { refused, .. } => TaskError::Refused(refused),
        Error::Failed { error, .. } => match error {},
        // There is no fallback around a slot, so only time can have run out.
        Error::TimedOut { .. } | Error::AllFailed { .. } => TaskError::TimedOut,
    }
}

/// What `wanted` gives, or `None` if `end` comes first.
async fn first<F: Future, E: Future<Output = ()>>(wanted: F, end: E) -> Option<F::Output> {
    let (mut wanted, mut end) = (pin!(wanted), pin!(end));
    std::future::poll_fn(|cx| match wanted.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => end.as_mut().poll(cx).map(|()| None),
    })
    .await
}
