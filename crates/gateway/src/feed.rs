//! What happens in all policies, as one numbered stream.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use stormproof::events::{QUEUE, Record};
use stormproof::{Clock, Event, Registry};
use tokio::sync::broadcast;

/// The events of all upstreams, the last [`QUEUE`] of them kept for whoever comes back. Cheap to clone; clones are the
/// same feed.
#[derive(Clone, Debug)]
pub struct Feed(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    last_id: u64,
    recent: VecDeque<Arc<Told>>,
    sender: broadcast::Sender<Arc<Told>>,
}

/// An event with its number and the time of day.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Told {
    /// Grows by one with each event, from 1.
    pub id: u64,
    /// When it was told.
    pub time: SystemTime,
    /// What happened.
    pub event: Event,
}

impl Told {
    /// The event as JSON, on one line.
    pub fn json(&self) -> String {
        serde_json::to_string(&Record::new(&self.event, self.time)).unwrap_or_default()
    }
}

impl Default for Feed {
    fn default() -> Self {
        let sender = broadcast::Sender::new(QUEUE);
        Self(Arc::new(Mutex::new(Kept { last_id: 0, recent: VecDeque::new(), sender })))
    }
}

impl Feed {
    /// Takes in everything that happens to what the registry has. It tells each event once.
    pub(crate) fn listen_to(&self, registry: &Registry) {
        let (feed, clock) = (self.clone(), registry.clock().clone());
        registry.on_event(move |event| feed.tell(event, &clock));
    }

    pub(crate) fn tell(&self, event: &Event, clock: &Clock) {
        let time = Record::told_at(event, clock.now()).time();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last_id += 1;
        let told = Arc::new(Told { id: kept.last_id, time, event: event.clone() });
        if kept.recent.len() == QUEUE {
            kept.recent.pop_front();
        }
        kept.recent.push_back(told.clone());
        // Without a receiver at the moment there is nobody to tell.
        let _ = kept.sender.send(told);
    }

    /// The kept events after number `after` (none if it is `None`), and all that follow.
    pub fn follow(&self, after: Option<u64>) -> (Vec<Arc<Told>>, broadcast::Receiver<Arc<Told>>) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A number that was not given out yet is from an earlier run: all is new to that reader.
        let after = after.map(|id| if id > kept.last_id { 0 } else { id });
        let missed = kept.recent.iter().filter(|told| after.is_some_and(|id| told.id > id)).cloned().collect();
        (missed, kept.sender.subscribe())
    }
}
