//! What something beside a policy needs to tell of itself: a name, a clock and listeners.

use stormproof_core::event::Kind;
use stormproof_core::{Event, Instant, Name};

use crate::clock::Clock;
use crate::events::Listeners;

/// Who tells, of what time, and to whom.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: Name,
    pub(crate) clock: Clock,
    pub(crate) listeners: Listeners,
}

impl Subject {
    pub(crate) fn new(name: impl Into<Name>, clock: &Clock) -> Self {
        Self { name: name.into(), clock: clock.clone(), listeners: Listeners::default() }
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Tells of something; under no lock of whoever calls.
    pub(crate) fn tell(&self, at: Instant, kind: impl FnOnce() -> Kind) {
        if self.listeners.anybody() {
            self.listeners.tell(&Event::new(at, self.name.clone(), kind()));
        }
    }
}
