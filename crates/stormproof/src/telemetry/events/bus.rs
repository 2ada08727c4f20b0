//! One place to hear of many policies, sorted by how grave an event is.

use std::fmt;
use std::sync::OnceLock;

use stormproof_core::Event;
use stormproof_core::event::Category;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::{Listeners, Subscription};

/// The events of all policies that are attached. Cheap to clone; clones are the same bus.
///
/// A policy is attached when it is built, by [`Builder::bus`](crate::Builder::bus), or later, and so is every other
/// [`Source`]. An event comes once, also if a policy and a stage of it are attached both. While nobody has subscribed, an
/// attached policy makes no events.
///
/// ```
/// use stormproof::event::Category;
/// use stormproof::{CircuitBreaker, EventBus, breaker::Mode};
///
/// let bus = EventBus::global();
/// let breaker = CircuitBreaker::new("openai");
/// bus.attach(&breaker);
///
/// let _alerts = bus.subscribe(Category::Error, |e| {
///     if e.event_type() == "circuit_opened" {
///         println!("Circuit opened: {}", e.data()["breaker_name"]);
///     }
/// });
/// breaker.set_mode(Mode::ForcedOpen);
/// ```
#[derive(Clone, Debug, Default)]
pub struct EventBus(Listeners);

impl EventBus {
    /// A bus of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bus of this process. Nothing is attached to it by itself.
    pub fn global() -> &'static Self {
        static GLOBAL: OnceLock<EventBus> = OnceLock::new();
        GLOBAL.get_or_init(Self::default)
    }

    /// Brings the events of `source` here from now on.
    pub fn attach(&self, source: &impl Source) {
        source.listeners().attach(&self.0);
    }

    /// Brings them here no longer.
    pub fn detach(&self, source: &impl Source) {
        source.listeners().detach(&self.0);
    }

    /// Calls `listener` for every event of this category, at once and under no lock, until what comes back is dropped.
    /// A listener that panics is passed over.
    pub fn subscribe(&self, category: Category, listener: impl Fn(&Event) + Send + Sync + 'static) -> Subscription {
        let listener = self.0.listen(move |event| {
            if category.covers(event.category()) {
                listener(event);
            }
        });
        listener.until_dropped()
    }

    /// The events of this category from now on, through a queue: who falls behind loses the oldest, and they are
    /// counted. `capacity` is rounded up to a power of two, and is at least 1 and at most 65 536.
    pub fn queue(&self, category: Category, capacity: usize) -> Queue {
        let (sender, events) = broadcast::channel(capacity.clamp(1, 1 << 16));
        let subscription = self.subscribe(category, move |event| {
            // Fails only while the receiver is being dropped.
            let _ = sender.send(event.clone());
        });
        Queue { events, lost: 0, _subscription: subscription }
    }

    /// Tells the bus of something that no policy told: an event of your own making.
    pub fn publish(&self, event: &Event) {
        self.0.tell(event);
    }
}

/// What tells of events: policies, stages, registries, and what watches health.
pub trait Source: sealed::Tells {}

impl<T: sealed::Tells> Source for T {}

/// Sealed: only this crate names it.
pub(crate) mod sealed {
    use super::Listeners;

    pub trait Tells {
        #[allow(private_interfaces, reason = "only this crate can name the trait")]
        fn listeners(&self) -> &Listeners;
    }
}

/// Makes a type a [`Source`] by the path to its listeners.
macro_rules! tells {
    ([$($generics:tt)*] $source:ty, $($path:tt)+) => {
        impl<$($generics)*> $crate::telemetry::events::Tells for $source {
            #[allow(private_interfaces, reason = "only this crate can name the trait")]
            fn listeners(&self) -> &$crate::telemetry::events::Listeners {
                &self.$($path)+
            }
        }
    };
    ($source:ty, $($path:tt)+) => { $crate::telemetry::events::tells!([] $source, $($path)+); };
}
pub(crate) use tells;

/// Events of a bus that wait to be read; dropping it ends the subscription.
pub struct Queue {
    events: broadcast::Receiver<Event>,
    lost: u64,
    _subscription: Subscription,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.events.len()).field("lost", &self.lost).finish_non_exhaustive()
    }
}

impl Queue {
    /// The next event, waiting for it; `None` when the bus is gone. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            match self.events.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(lost)) => self.lost = self.lost.saturating_add(lost),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// The next event, if one waits.
    pub fn try_recv(&mut self) -> Option<Event> {
        loop {
            match self.events.try_recv() {
                Ok(event) => return Some(event),
                Err(TryRecvError::Lagged(lost)) => self.lost = self.lost.saturating_add(lost),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    /// How many events were dropped, as far as the reader has come.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}
