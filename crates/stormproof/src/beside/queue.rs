//! A bounded work queue: producers are held back when it is full, workers take from it in order, and a shutdown says what
//! it left undone.
//!
//! Owns the queue and its workers. Its configuration, numbers and errors are in `types.rs`. Does not own what the work
//! is, nor retrying it: give the work a policy.

mod shared;
mod types;

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use stormproof_core::snapshot::Sample;
use stormproof_core::{Mistakes, Name, Snapshot, Stage};
use tokio::sync::TryAcquireError;
use tokio::task::JoinSet;
use tokio::task::coop::consume_budget;

use crate::beside::caught::{caught, text};
use crate::call::inside::inside;
use crate::clock::Clock;
use crate::telemetry::events::subject::Subject;
use shared::{Shared, take};
pub use types::{Config, PutError, State, StateError, Stats, Stopped, WorkError};

/// A bounded queue with workers. Clones are the same queue; when the last one is dropped the workers are cancelled, so
/// stop it first to lose nothing.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use stormproof::{WorkQueue, queue};
///
/// let queue = WorkQueue::new("mails", queue::Config { queue_capacity: 10, ..Default::default() })?;
/// let work = |n: u32| async move { if n == 3 { Err("no such address") } else { Ok(()) } };
/// queue.start_workers(2, work, |error| println!("{error}"))?;
/// for n in 0..5 {
///     queue.put(n).await?; // waits while the queue is full, 100 ms at most
/// }
/// queue.join().await;
/// assert_eq!((queue.stats().processed, queue.stats().errors), (5, 1));
/// let stopped = queue.stop(Duration::from_secs(1)).await;
/// assert!(stopped.left.is_empty());
/// # Ok(())
/// # }
/// ```
pub struct WorkQueue<T>(Arc<Owner<T>>);

/// What the handles own together: workers hold the shared part alone, so that they do not keep the queue alive.
struct Owner<T> {
    shared: Arc<Shared<T>>,
    workers: Mutex<JoinSet<()>>,
    /// Held by whoever stops the queue.
    turn: tokio::sync::Mutex<()>,
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for WorkQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, stats) = (&self.0.shared.subject.name, self.stats());
        f.debug_struct("WorkQueue").field("name", name).field("stats", &stats).finish_non_exhaustive()
    }
}

crate::telemetry::events::tells!([T] WorkQueue<T>, 0.shared.subject.listeners);

impl<T> WorkQueue<T> {
    /// An idle queue on the system's clock, or all that is wrong with `config`.
    pub fn new(name: impl Into<Name>, config: Config) -> Result<Self, Mistakes> {
        Self::with_clock(name, config, &Clock::system())
    }

    /// An idle queue on `clock`, or all that is wrong with `config`.
    pub fn with_clock(name: impl Into<Name>, config: Config, clock: &Clock) -> Result<Self, Mistakes> {
        Mistakes::none(config.validate())?;
        let shared = Shared::new(Subject::new(name, clock), config);
        let (workers, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self(Arc::new(Owner { shared: Arc::new(shared), workers, turn })))
    }

    /// The queue's name.
    pub fn name(&self) -> &Name {
        &self.0.shared.subject.name
    }

    /// What the queue does at present.
    pub fn state(&self) -> State {
        self.0.shared.lock().state
    }

    /// Lets an idle queue take items before it has workers. Does nothing if it takes them already.
    ///
    /// # Errors
    /// If it is being stopped or was stopped.
    pub fn start(&self) -> Result<(), StateError> {
        let mut inner = self.0.shared.lock();
        match inner.state {
            State::Idle | State::Processing => inner.state = State::Processing,
            state => return Err(StateError { operation: "start", state, allowed: "idle or processing" }),
        }
        Ok(())
    }

    /// Puts an item into the queue, waiting at most `put_timeout` for a place; who came first gets the first place.
    ///
    /// # Errors
    /// [`PutError::Full`], which is backpressure and is counted, or [`PutError::State`] unless the queue is processing.
    /// Both give the item back.
    pub async fn put(&self, item: T) -> Result<(), PutError<T>> {
        let until = self.0.shared.subject.now() + self.0.shared.config.put_timeout;
        let mut sleep = pin!(self.0.shared.subject.clock.sleep_until(until));
        self.put_unless(item, |cx| sleep.as_mut().poll(cx)).await
    }

    /// Puts an item into the queue, waiting for a place for as long as it takes.
    ///
    /// # Errors
    /// [`PutError::State`] unless the queue is processing. [`PutError::Full`] from inside the work on an item, if there is
    /// no place: a worker that waited for one might wait for itself.
    pub async fn put_patiently(&self, item: T) -> Result<(), PutError<T>> {
        if self.0.shared.is_inside() {
            return self.try_put(item);
        }
        self.put_unless(item, |_| Poll::Pending).await
    }

    /// Puts an item into the queue if there is a place now.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
        let shared = &*self.0.shared;
        match shared.places.try_acquire() {
            Err(TryAcquireError::NoPermits) => Err(shared.full(item)),
            place => shared.push(item, place.ok()),
        }
    }

    async fn put_unless(
        &self,
        item: T,
        mut too_late: impl FnMut(&mut Context<'_>) -> Poll<()>,
    ) -> Result<(), PutError<T>> {
        let shared = &*self.0.shared;
        // Before anything is taken, so that being dropped here loses nothing.
        consume_budget().await;
        let place = match shared.places.try_acquire() {
            Err(TryAcquireError::NoPermits) => {
                let mut waiting = pin!(shared.places.acquire());
                let first_of_both = |cx: &mut Context<'_>| match waiting.as_mut().poll(cx) {
                    Poll::Ready(place) => Poll::Ready(Some(place.ok())),
                    Poll::Pending => too_late(cx).map(|()| None),
                };
                std::future::poll_fn(first_of_both).await
            }
            place => Some(place.ok()),
        };
        match place {
            None => Err(shared.full(item)),
            Some(place) => shared.push(item, place),
        }
    }

    /// Waits until nothing is queued and nothing is under way. Without workers that is when the queue is empty. From inside
    /// the work on an item it waits for all but those that wait here.
    pub async fn join(&self) {
        self.0.shared.drained().await;
    }

    /// Takes no more items, waits up to `timeout` until what is there is done, then cancels the workers. Says what was not
    /// done. Work that never waits cannot be cancelled: it is waited for, so that what is said is true.
    ///
    /// Who calls while the queue is being stopped waits for that; a queue that is stopped has nothing to say. From inside the
    /// work on an item it only closes the queue: the workers finish what is there, and the next stop tells of the rest.
    pub async fn stop(&self, timeout: Duration) -> Stopped<T> {
        let shared = &*self.0.shared;
        shared.close();
        if shared.is_inside() {
            return Stopped { left: Vec::new(), cancelled: 0 };
        }
        let _turn = self.0.turn.lock().await;
        let cancelled_before = shared.lock().cancelled;
        let mut sleep = pin!(shared.subject.clock.sleep_until(shared.subject.now() + timeout));
        // All workers end by themselves when nothing is left.
        self.0.ended(|cx| sleep.as_mut().poll(cx)).await;
        self.0.workers().abort_all();
        self.0.ended(|_| Poll::Pending).await;
        let mut inner = shared.lock();
        inner.state = State::Stopped;
        let left = std::mem::take(&mut inner.items).into();
        let cancelled = inner.cancelled - cancelled_before;
        drop(inner);
        shared.drained.notify_waiters();
        Stopped { left, cancelled }
    }

    /// What the queue has done and holds.
    pub fn stats(&self) -> Stats {
        let backpressure_events = self.0.shared.backpressure.load(Ordering::Relaxed);
        let inner = self.0.shared.lock();
        Stats {
            state: inner.state,
            capacity: self.0.shared.config.queue_capacity,
            queued: inner.items.len(),
            in_flight: inner.in_flight,
            enqueued: inner.enqueued,
            processed: inner.processed,
            errors: inner.errors,
            cancelled: inner.cancelled,
            backpressure_events,
        }
    }

    /// The same as data, for metrics and pages.
    pub fn snapshot(&self) -> Snapshot {
        let stats = self.stats();
        let samples = vec![
            Sample::counter("enqueued", "Items taken.", stats.enqueued),
            Sample::counter("processed", "Items finished, errors included.", stats.processed),
            Sample::counter("errors", "Items whose work failed or panicked.", stats.errors),
            Sample::counter("cancelled", "Items whose work was cancelled by a stop.", stats.cancelled),
            Sample::counter("backpressure_events", "Items not taken for want of a place.", stats.backpressure_events),
            Sample::gauge("queued", "Items that wait for a worker.", stats.queued as f64),
            Sample::gauge("in_flight", "Items a worker is at.", stats.in_flight as f64),
            Sample::gauge("capacity", "Items that may wait.", stats.capacity.into()),
        ];
        Snapshot::new(Stage::Queue, self.name().clone(), samples)
    }
}

impl<T: Send + 'static> WorkQueue<T> {
    /// Starts workers that each take an item, do `work` on it, and take the next; the queue is processing from now on.
    /// Work that fails or panics counts as processed and as an error, and `on_error` is told; an `on_error` that panics
    /// is passed over. Needs a tokio runtime.
    ///
    /// # Errors
    /// If the queue is being stopped or was stopped.
    pub fn start_workers<F, Fut, E>(
        &self,
        workers: u32,
        work: F,
        on_error: impl Fn(WorkError<E>) + Send + Sync + 'static,
    ) -> Result<(), StateError>
    where
        F: Fn(T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Send + 'static,
    {
        let mut started = self.0.workers();
        // Under the lock with which a stop looks for workers: none is started behind its back.
        self.start()?;
        let job = Arc::new((work, on_error));
        for _ in 0..workers {
            let (shared, job) = (self.0.shared.clone(), job.clone());
            started.spawn(async move {
                while let Some((item, mut under_way)) = take(&shared).await {
                    let done = inside(shared.id(), caught(async { (job.0)(item).await })).await;
                    let error = match done {
                        Ok(Ok(())) => None,
                        Ok(Err(error)) => Some(WorkError::Failed(error)),
                        Err(panic) => Some(WorkError::Panicked(text(&*panic))),
                    };
                    under_way.done(error.is_some());
                    if let Some(error) = error {
                        // The panic hook has reported it; there is nobody else to tell.
                        let _ = catch_unwind(AssertUnwindSafe(|| (job.1)(error)));
                    }
                    drop(under_way);
                    // Work that never waits lets other tasks run, too.
                    consume_budget().await;
                }
            });
        }
        Ok(())
    }

    /// Does `work` on all `items`, however many, and stops: as many workers as `concurrency_limit` says, or one. The queue
    /// must be idle or processing.
    ///
    /// # Errors
    /// If the queue is being stopped or was stopped, and from inside the work on one of its items.
    pub async fn batch<F, Fut, E>(
        &self,
        items: impl IntoIterator<Item = T>,
        work: F,
        on_error: impl Fn(WorkError<E>) + Send + Sync + 'static,
    ) -> Result<Stats, StateError>
    where
        F: Fn(T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Send + 'static,
    {
        if self.0.shared.is_inside() {
            return Err(StateError {
                operation: "do a batch inside its own work",
                state: self.state(),
                allowed: "none",
            });
        }
        self.start_workers(self.0.shared.config.concurrency_limit.unwrap_or(1), work, on_error)?;
        for item in items {
            if let Err(PutError::State { error, .. }) = self.put_patiently(item).await {
                return Err(error);
            }
        }
        // Without an end to its patience it leaves nothing.
        let _ = self.stop(Duration::MAX).await;
        Ok(self.stats())
    }
}

impl<T> Owner<T> {
    fn workers(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all workers have ended, or it is too late.
    async fn ended(&self, mut too_late: impl FnMut(&mut Context<'_>) -> Poll<()>) {
        let ended = |cx: &mut Context<'_>| loop {
            let next = self.workers().poll_join_next(cx);
            match next {
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Ready(Some(_)) => {}
                Poll::Pending => return too_late(cx),
            }
        };
        std::future::poll_fn(ended).await;
    }
}
