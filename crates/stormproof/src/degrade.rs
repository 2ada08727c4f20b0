//! Graceful degradation at the edge: a live level with a clock and listeners.

use std::sync::Arc;

use stormproof_core as core;
use stormproof_core::event::Kind;
use stormproof_core::{Event, Mistakes, Name, Snapshot};
use tokio::sync::broadcast;

pub use stormproof_core::degrade::{Component, Config, Level, Metadata, Parts, Response, Shift, Strategy, TooDegraded};

use crate::clock::Clock;
use crate::events::Listener;
use crate::subject::Subject;

/// The live level of a system of several parts. Clones are the same system.
///
/// ```
/// use stormproof::{Degradation, degrade::{Component, Level, Response}};
///
/// let shop = Degradation::new("shop");
/// shop.on_shift(|shift| println!("{}: {} -> {}", shift.as_str(), shift.from, shift.to));
/// let response = Response::new([("orders", Component::fresh(3)), ("prices", Component::failed("down"))]);
/// assert_eq!(shop.evaluate(response.parts()), Level::Minimal);
/// assert!(shop.check().is_err(), "more is missing than is allowed");
/// ```
#[derive(Clone, Debug)]
pub struct Degradation(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    core: core::Degradation,
    subject: Subject,
}

crate::events::tells!(Degradation, 0.subject.listeners);

impl Degradation {
    /// A system that lacks nothing, with the default configuration on the system's clock.
    pub fn new(name: impl Into<Name>) -> Self {
        Self::from_core(core::Degradation::new(name), &Clock::system())
    }

    /// With `config` on the system's clock, or all that is wrong with it.
    pub fn with_config(name: impl Into<Name>, config: Config) -> Result<Self, Mistakes> {
        Self::with_clock(name, config, &Clock::system())
    }

    /// With `config` on `clock`, or all that is wrong with it.
    pub fn with_clock(name: impl Into<Name>, config: Config, clock: &Clock) -> Result<Self, Mistakes> {
        core::Degradation::with_config(name, config).map(|core| Self::from_core(core, clock))
    }

    fn from_core(core: core::Degradation, clock: &Clock) -> Self {
        let subject = Subject::new(core.name().clone(), clock);
        Self(Arc::new(Shared { core, subject }))
    }

    /// The system's name.
    pub fn name(&self) -> &Name {
        self.0.core.name()
    }

    /// Takes notice of how the parts are now, and gives the level.
    pub fn evaluate(&self, parts: Parts) -> Level {
        let Shared { core, subject } = &*self.0;
        if let Some(shift) = core.evaluate(subject.now(), parts) {
            subject.tell(shift.at, || Kind::Degradation { system: core.name().clone(), shift });
        }
        core.level()
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.0.core.level()
    }

    /// The level, or the refusal if more is missing than `max_degradation` allows.
    ///
    /// # Errors
    /// [`TooDegraded`].
    pub fn check(&self) -> Result<Level, TooDegraded> {
        self.0.core.check()
    }

    /// Calls `listener` with each change of level: at once, under no lock. A listener that panics is passed over.
    pub fn on_shift(&self, listener: impl Fn(&Shift) + Send + Sync + 'static) -> Listener {
        self.on_event(move |event| {
            if let Kind::Degradation { shift, .. } = &event.kind {
                listener(shift);
            }
        })
    }

    /// Calls `listener` for every event: `degraded` and `healed`.
    pub fn on_event(&self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Listener {
        self.0.subject.listeners.listen(listener)
    }

    /// The events from now on, through a queue of [`QUEUE`](crate::events::QUEUE).
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subject.listeners.subscribe()
    }

    /// The level as data, for metrics and pages.
    pub fn snapshot(&self) -> Snapshot {
        self.0.core.snapshot()
    }
}
