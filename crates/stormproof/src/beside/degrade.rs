//! Graceful degradation at the edge: a live level with a clock and listeners.

use std::sync::Arc;

use stormproof_core as core;
use stormproof_core::Snapshot;
use stormproof_core::event::Kind;

pub use stormproof_core::degrade::{Component, Config, Level, Metadata, Parts, Response, Shift, Strategy, TooDegraded};

use crate::telemetry::events::Listener;
use crate::telemetry::events::subject::Live;

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
pub struct Degradation(Arc<Live<core::Degradation>>);

crate::telemetry::events::subject::live!(Degradation, Config, "`degraded` and `healed`");

impl Degradation {
    /// Takes notice of how the parts are now, and gives the level.
    pub fn evaluate(&self, parts: Parts) -> Level {
        let Live { core, subject } = &*self.0;
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

    /// The level as data, for metrics and pages.
    pub fn snapshot(&self) -> Snapshot {
        self.0.core.snapshot()
    }
}
