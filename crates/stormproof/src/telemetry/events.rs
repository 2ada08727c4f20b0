//! Passing on events: callbacks at once, subscribers through a bounded queue, buses to all who asked there.
//!
//! What begins with `on_` stays until it is ended. What `subscribe` hands out ends with what it handed out.

mod bus;
mod damped;
#[cfg(feature = "log")]
pub mod log;
#[cfg(feature = "serde")]
mod record;
pub(crate) mod subject;
#[cfg(feature = "tracing")]
mod trace;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use stormproof_core::Event;
use tokio::sync::broadcast;

pub use crate::telemetry::events::subject::Subject;
pub(crate) use bus::sealed::Tells;
pub(crate) use bus::tells;
pub use bus::{EventBus, Queue, Source};
pub use damped::{Damped, Said};
#[cfg(all(feature = "compat", feature = "serde"))]
pub(crate) use record::Written;
#[cfg(feature = "serde")]
pub use record::{Record, timestamp};
pub use stormproof_core::event::damper::{Damper, Suppressed};
#[cfg(feature = "tracing")]
pub use trace::to_tracing;

type Callback = Arc<dyn Fn(&Event) + Send + Sync>;

/// Listeners that were ended, and buses of theirs.
pub(crate) type Ended = (Vec<(u64, Callback)>, Vec<Listeners>);

/// Maximum number of events that wait for a slow subscriber; older ones are dropped and counted for it.
pub const QUEUE: usize = 1024;

/// A listener that was added. Dropping this leaves it where it is: a listener that is to stay needs no handle.
///
/// ```
/// # use stormproof::CircuitBreaker;
/// let breaker = CircuitBreaker::new("openai");
/// let alert = breaker.on_state_change(|_, new| println!("openai is {}", new.as_str()));
/// alert.end();
///
/// let _while_i_live = breaker.on_state_change(|_, _| println!("again")).until_dropped();
/// ```
#[derive(Debug)]
pub struct Listener {
    of: Weak<Shared>,
    id: u64,
}

impl Listener {
    /// Takes the listener away. On another thread it may be running for the last time.
    pub fn end(self) {
        if let Some(shared) = self.of.upgrade() {
            Listeners(shared).remove(self.id);
        }
    }

    /// The same listener, which now ends when what comes back is dropped.
    pub fn until_dropped(self) -> Subscription {
        Subscription(Some(self))
    }
}

/// A listener that ends when this is dropped.
#[derive(Debug)]
#[must_use = "a subscription ends when this is dropped; `detach` makes it stay"]
pub struct Subscription(Option<Listener>);

impl Subscription {
    /// Lets the listener stay for good.
    pub fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(listener) = self.0.take() {
            listener.end();
        }
    }
}

/// The listeners of a policy, a stage or a bus. Cheap to clone; clones share the listeners.
#[derive(Clone, Default)]
pub(crate) struct Listeners(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Whether there is a callback or a subscriber, and whether there is a bus: what a call reads. Written under the lock.
    own: AtomicBool,
    bussed: AtomicBool,
    heard: RwLock<Heard>,
}

#[derive(Default)]
struct Heard {
    callbacks: Vec<(u64, Callback)>,
    subscribers: Option<broadcast::Sender<Event>>,
    buses: Vec<Listeners>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").field("own", &self.own).field("bussed", &self.bussed).finish_non_exhaustive()
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Listeners {
    /// Whether an event would be heard, by these or on a bus.
    pub(crate) fn anybody(&self) -> bool {
        self.0.own.load(Ordering::Relaxed)
            || self.0.bussed.load(Ordering::Relaxed) && self.read().buses.iter().any(Self::anybody)
    }

    pub(crate) fn listen(&self, callback: impl Fn(&Event) + Send + Sync + 'static) -> Listener {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let callback: Callback = Arc::new(callback);
        let mut heard = self.write();
        heard.callbacks.push((id, callback));
        self.0.publish(&heard);
        Listener { of: Arc::downgrade(&self.0), id }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        let mut heard = self.write();
        let receiver = heard.subscribers.get_or_insert_with(|| broadcast::Sender::new(QUEUE)).subscribe();
        self.0.publish(&heard);
        receiver
    }

    /// Sends what is heard here to `bus` too; once, however often it is asked.
    pub(crate) fn attach(&self, bus: &Self) {
        let mut heard = self.write();
        if !heard.buses.iter().any(|known| known.is(bus)) {
            heard.buses.push(bus.clone());
        }
        self.0.publish(&heard);
    }

    /// Sends what `others` hear to all buses that this is attached to.
    pub(crate) fn share_buses(&self, others: &Self) {
        let buses = self.read().buses.clone();
        for bus in &buses {
            others.attach(bus);
        }
    }

    /// Whether only listeners that are kept here may have a reason to keep what is told of: there are callbacks, or buses
    /// that nobody else knows.
    pub(crate) fn may_hold(&self) -> bool {
        let heard = self.read();
        !heard.callbacks.is_empty() || heard.buses.iter().any(|bus| Arc::strong_count(&bus.0) == 1)
    }

    /// Ends all listeners that nobody else can end. What comes back is the user's: to be dropped under no lock.
    pub(crate) fn end_all(&self) -> Ended {
        let mut heard = self.write();
        let (alone, stay) =
            std::mem::take(&mut heard.buses).into_iter().partition(|bus| Arc::strong_count(&bus.0) == 1);
        heard.buses = stay;
        let ended = (std::mem::take(&mut heard.callbacks), alone);
        self.0.publish(&heard);
        ended
    }

    pub(crate) fn detach(&self, bus: &Self) {
        let mut heard = self.write();
        let (gone, stay) = std::mem::take(&mut heard.buses).into_iter().partition(|known| known.is(bus));
        heard.buses = stay;
        self.0.publish(&heard);
        drop(heard);
        // What a bus lets go may be user code: not under the lock.
        drop::<Vec<Self>>(gone);
    }

    fn remove(&self, id: u64) {
        let mut heard = self.write();
        let found = heard.callbacks.iter().position(|(known, _)| *known == id);
        let removed = found.map(|index| heard.callbacks.remove(index));
        self.0.publish(&heard);
        drop(heard);
        // What a callback captured is the user's, and so is what dropping that does.
        drop(removed);
    }

    /// Tells these, and each bus they are attached to.
    pub(crate) fn tell(&self, event: &Event) {
        tell([self], event);
    }

    /// Calls every callback, then queues the event for every subscriber. A callback that panics is passed over: it can
    /// break neither the call nor the next listener. No lock is held meanwhile, so a callback may add and end listeners.
    fn tell_own(&self, event: &Event) {
        let heard = self.read();
        let (callbacks, subscribers) = (heard.callbacks.clone(), heard.subscribers.clone());
        drop(heard);
        for (_, callback) in callbacks {
            // The panic hook has reported it; there is nobody else to tell.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(event)));
        }
        if let Some(sender) = subscribers
            && sender.send(event.clone()).is_err()
        {
            self.forget_subscribers();
        }
    }

    /// The last receiver is gone: unless one came meanwhile, events need not be made for them any more.
    fn forget_subscribers(&self) {
        let mut heard = self.write();
        if heard.subscribers.as_ref().is_some_and(|sender| sender.receiver_count() == 0) {
            heard.subscribers = None;
        }
        self.0.publish(&heard);
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn read(&self) -> RwLockReadGuard<'_, Heard> {
        self.0.heard.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Heard> {
        self.0.heard.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn publish(&self, heard: &Heard) {
        self.own.store(!heard.callbacks.is_empty() || heard.subscribers.is_some(), Ordering::Relaxed);
        self.bussed.store(!heard.buses.is_empty(), Ordering::Relaxed);
    }
}

/// Tells all of these, and each bus that any of them is attached to, once.
pub(crate) fn tell<'a>(all: impl IntoIterator<Item = &'a Listeners>, event: &Event) {
    let mut buses: Vec<Listeners> = Vec::new();
    let find = |of: &Listeners, buses: &mut Vec<Listeners>| {
        for bus in &of.read().buses {
            if !buses.iter().any(|known| known.is(bus)) {
                buses.push(bus.clone());
            }
        }
    };
    for listeners in all {
        listeners.tell_own(event);
        find(listeners, &mut buses);
    }
    // A registry hears what it has made, and may itself be attached to a bus.
    let mut next = 0;
    while let Some(bus) = buses.get(next).cloned() {
        find(&bus, &mut buses);
        next += 1;
    }
    for bus in &buses {
        bus.tell_own(event);
    }
}

#[cfg(test)]
mod tests {
    use stormproof_core::Instant;
    use stormproof_core::event::Kind;
    use stormproof_core::retry::Stop;

    use super::*;

    fn event() -> Event {
        let kind = Kind::GaveUp { stop: Stop::Exhausted, attempts: 1, error: "E".into() };
        Event::new(Instant::ZERO, "p".into(), kind)
    }

    #[test]
    fn when_nobody_listens_any_more_no_events_are_made() {
        let (own, bus) = (Listeners::default(), Listeners::default());
        own.attach(&bus);
        assert!(!own.anybody(), "a bus without subscribers does not listen");
        let on_bus = bus.listen(|_| ());
        assert!(own.anybody());
        on_bus.end();
        let listener = own.listen(|_| ()).until_dropped();
        assert!(own.anybody());
        drop(listener);
        assert!(!own.anybody());

        drop(own.subscribe());
        own.tell(&event());
        assert!(!own.anybody(), "the receiver is gone, as the first event found out");
        let _receiver = own.subscribe();
        own.tell(&event());
        assert!(own.anybody());
    }
}
