//! The health of several components together.

use std::collections::BTreeMap;

use super::Status;
use crate::decision::Name;

/// A component among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// How well it is.
    pub status: Status,
    /// Whether nothing works without it.
    pub critical: bool,
}

/// The health of a whole from that of its parts.
///
/// - All healthy: healthy. So is a whole without parts.
/// - A critical part down, or all parts down: unhealthy. Down is unhealthy, circuit open or critical.
/// - No part looked at yet: unknown.
/// - Otherwise: degraded.
///
/// ```
/// use stormproof_core::{HealthAggregator, health::Status};
///
/// let mut whole = HealthAggregator::default();
/// whole.set("database", Status::Healthy, true);
/// whole.set("search", Status::Unhealthy, false);
/// assert_eq!(whole.status(), Status::Degraded);
/// whole.set("database", Status::CircuitOpen, true);
/// assert_eq!(whole.status(), Status::Unhealthy);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthAggregator {
    services: BTreeMap<Name, Service>,
}

impl HealthAggregator {
    /// Adds a component, or says anew how it is.
    pub fn set(&mut self, name: impl Into<Name>, status: Status, critical: bool) {
        self.services.insert(name.into(), Service { status, critical });
    }

    /// Forgets a component; whether it was known.
    pub fn remove(&mut self, name: &Name) -> bool {
        self.services.remove(name).is_some()
    }

    /// The components by name.
    pub fn services(&self) -> &BTreeMap<Name, Service> {
        &self.services
    }

    /// The whole.
    pub fn status(&self) -> Status {
        let all = |is: fn(Status) -> bool| self.services.values().all(|service| is(service.status));
        let critical_down = self.services.values().any(|service| service.critical && service.status.is_down());
        if all(|status| status == Status::Healthy) {
            Status::Healthy
        } else if critical_down || all(Status::is_down) {
            Status::Unhealthy
        } else if all(|status| status == Status::Unknown) {
            Status::Unknown
        } else {
            Status::Degraded
        }
    }
}
