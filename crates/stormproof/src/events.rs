//! Passing on events: callbacks at once, subscribers through a bounded queue.

#[cfg(feature = "serde")]
mod record;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use stormproof_core::Event;
use tokio::sync::broadcast;

#[cfg(feature = "serde")]
pub use record::{Record, timestamp};

type Callback = Arc<dyn Fn(&Event) + Send + Sync>;

/// So many events wait for a slow subscriber; older ones are dropped and the subscriber is told how many.
pub const QUEUE: usize = 1024;

/// The listeners of a policy or stage. Cheap to clone; clones share the listeners.
#[derive(Clone)]
pub(crate) struct Listeners(Arc<Shared>);

struct Shared {
    anybody: AtomicBool,
    callbacks: RwLock<Vec<Callback>>,
    subscribers: RwLock<Option<broadcast::Sender<Event>>>,
}

impl Default for Listeners {
    fn default() -> Self {
        Self(Arc::new(Shared {
            anybody: AtomicBool::new(false),
            callbacks: RwLock::default(),
            subscribers: RwLock::default(),
        }))
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").field("anybody", &self.anybody()).finish_non_exhaustive()
    }
}

impl Listeners {
    pub(crate) fn anybody(&self) -> bool {
        self.0.anybody.load(Ordering::Relaxed)
    }

    pub(crate) fn listen(&self, callback: impl Fn(&Event) + Send + Sync + 'static) {
        self.0.callbacks.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(callback));
        self.0.anybody.store(true, Ordering::Relaxed);
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        let mut subscribers = self.0.subscribers.write().unwrap_or_else(PoisonError::into_inner);
        let sender = subscribers.get_or_insert_with(|| broadcast::Sender::new(QUEUE));
        self.0.anybody.store(true, Ordering::Relaxed);
        sender.subscribe()
    }

    /// Calls every callback, then queues the event for every subscriber. A callback that panics is passed over: it can
    /// break neither the call nor the next listener. No lock is held meanwhile, so a callback may add listeners.
    pub(crate) fn tell(&self, event: &Event) {
        let callbacks = self.0.callbacks.read().unwrap_or_else(PoisonError::into_inner).clone();
        for callback in callbacks {
            // The panic hook has reported it; there is nobody else to tell.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(event)));
        }
        let sender = self.0.subscribers.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(sender) = sender {
            // Without a receiver at the moment there is nobody to tell.
            let _ = sender.send(event.clone());
        }
    }
}
