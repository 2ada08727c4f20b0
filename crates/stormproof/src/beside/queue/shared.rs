//! What the handles of a work queue and its workers share: the items, the numbers, and who waits for what.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::types::{Config, PutError, State, StateError};
use crate::call::inside;
use crate::telemetry::events::subject::Subject;

pub(super) struct Shared<T> {
    pub(super) subject: Subject,
    pub(super) config: Config,
    pub(super) inner: Mutex<Inner<T>>,
    /// Free places, given out in the order of arrival. Closed once the queue takes no more.
    pub(super) places: Semaphore,
    /// There is something to take, or nothing will come any more.
    pub(super) arrived: Notify,
    /// The last item under way was finished.
    pub(super) drained: Notify,
    pub(super) backpressure: AtomicU64,
}

pub(super) struct Inner<T> {
    pub(super) state: State,
    pub(super) items: VecDeque<T>,
    pub(super) in_flight: usize,
    /// Number of items in flight whose work waits for the others.
    joining: usize,
    pub(super) enqueued: u64,
    pub(super) processed: u64,
    pub(super) errors: u64,
    pub(super) cancelled: u64,
}

impl<T> Shared<T> {
    pub(super) fn new(subject: Subject, config: Config) -> Self {
        let inner = Inner {
            state: State::Idle,
            items: VecDeque::new(),
            in_flight: 0,
            joining: 0,
            enqueued: 0,
            processed: 0,
            errors: 0,
            cancelled: 0,
        };
        Self {
            subject,
            config,
            inner: Mutex::new(inner),
            places: Semaphore::new(config.queue_capacity as usize),
            arrived: Notify::new(),
            drained: Notify::new(),
            backpressure: AtomicU64::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn full(&self, item: T) -> PutError<T> {
        self.backpressure.fetch_add(1, Ordering::Relaxed);
        PutError::Full { item, capacity: self.config.queue_capacity }
    }

    /// Puts an item into its place; there is none if the queue was closed.
    pub(super) fn push(&self, item: T, place: Option<SemaphorePermit<'_>>) -> Result<(), PutError<T>> {
        let mut inner = self.lock();
        if let Err(error) = inner.takes_items() {
            return Err(PutError::State { item, error });
        }
        // The worker that takes the item gives the place back.
        place.into_iter().for_each(SemaphorePermit::forget);
        inner.items.push_back(item);
        inner.enqueued = inner.enqueued.saturating_add(1);
        drop(inner);
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes no more items from now on; idle workers end.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        if inner.state != State::Stopped {
            inner.state = State::Stopping;
        }
        drop(inner);
        self.places.close();
        self.arrived.notify_waiters();
    }

    /// What tells this queue from others.
    pub(super) fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Whether this runs inside the work on an item.
    pub(super) fn is_inside(&self) -> bool {
        inside::is_inside(self.id())
    }

    pub(super) async fn drained(&self) {
        let joins = self.is_inside().then(|| Joins::begin(self));
        loop {
            let mut drained = pin!(self.drained.notified());
            drained.as_mut().enable();
            {
                let inner = self.lock();
                if inner.is_drained() && (joins.is_some() || inner.in_flight == 0) {
                    return;
                }
            }
            drained.await;
        }
    }
}

/// Work on an item that waits until the others are done.
struct Joins<'a, T>(&'a Shared<T>);

impl<'a, T> Joins<'a, T> {
    fn begin(shared: &'a Shared<T>) -> Self {
        let mut inner = shared.lock();
        inner.joining += 1;
        let drained = inner.is_drained();
        drop(inner);
        if drained {
            shared.drained.notify_waiters();
        }
        Self(shared)
    }
}

impl<T> Drop for Joins<'_, T> {
    fn drop(&mut self) {
        self.0.lock().joining -= 1;
    }
}

impl<T> Inner<T> {
    /// Nothing is left but work that waits for this.
    fn is_drained(&self) -> bool {
        self.items.is_empty() && self.in_flight <= self.joining
    }

    fn takes_items(&self) -> Result<(), StateError> {
        if self.state == State::Processing {
            return Ok(());
        }
        Err(StateError { operation: "put", state: self.state, allowed: "processing" })
    }
}

/// The next item; `None` once nothing is left and nothing will come.
pub(super) async fn take<T>(shared: &Arc<Shared<T>>) -> Option<(T, UnderWay<T>)> {
    loop {
        let mut arrived = pin!(shared.arrived.notified());
        arrived.as_mut().enable();
        {
            let mut inner = shared.lock();
            if let Some(item) = inner.items.pop_front() {
                inner.in_flight += 1;
                drop(inner);
                shared.places.add_permits(1);
                return Some((item, UnderWay { shared: shared.clone(), done: false }));
            }
            if inner.state != State::Processing {
                return None;
            }
        }
        arrived.await;
    }
}

/// An item that a worker is at. Dropped before it is done, it was cancelled.
pub(super) struct UnderWay<T> {
    shared: Arc<Shared<T>>,
    done: bool,
}

impl<T> UnderWay<T> {
    pub(super) fn done(&mut self, failed: bool) {
        self.done = true;
        let mut inner = self.shared.lock();
        inner.processed = inner.processed.saturating_add(1);
        inner.errors = inner.errors.saturating_add(u64::from(failed));
    }
}

impl<T> Drop for UnderWay<T> {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        inner.in_flight -= 1;
        if !self.done {
            inner.cancelled = inner.cancelled.saturating_add(1);
        }
        let drained = inner.is_drained();
        drop(inner);
        if drained {
            self.shared.drained.notify_waiters();
        }
    }
}
