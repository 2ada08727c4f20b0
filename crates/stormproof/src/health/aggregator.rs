//! Several components together, each looked at when it is asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stormproof_core as core;
use stormproof_core::Name;
use stormproof_core::health::{Report, Status};

use super::HealthTracker;
use crate::stages::CircuitBreaker;

/// Whose health is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Source {
    /// That of a component by what became of its calls.
    Tracker(HealthTracker),
    /// That of what stands behind a circuit: closed is healthy, half-open degraded, open circuit-open.
    Breaker(CircuitBreaker),
}

impl From<&HealthTracker> for Source {
    fn from(tracker: &HealthTracker) -> Self {
        Self::Tracker(tracker.clone())
    }
}

impl From<&CircuitBreaker> for Source {
    fn from(breaker: &CircuitBreaker) -> Self {
        Self::Breaker(breaker.clone())
    }
}

impl Source {
    fn name(&self) -> &Name {
        match self {
            Self::Tracker(tracker) => tracker.name(),
            Self::Breaker(breaker) => breaker.name(),
        }
    }

    fn look(&self, critical: bool) -> ServiceHealth {
        match self {
            Self::Tracker(tracker) => {
                let report = tracker.status();
                let (status, success_rate) = (report.status, report.success_rate);
                ServiceHealth { status, critical, success_rate, health_score: None, report: Some(report) }
            }
            Self::Breaker(breaker) => ServiceHealth {
                status: Status::of_circuit(breaker.state()),
                critical,
                success_rate: breaker.stats().success_rate(),
                health_score: Some(breaker.health_score()),
                report: None,
            },
        }
    }
}

/// A component among others.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ServiceHealth {
    /// How well it is.
    pub status: Status,
    /// Whether nothing works without it.
    pub critical: bool,
    /// Successes among its calls, 0 to 1.
    pub success_rate: f64,
    /// A breaker's [`health_score`](CircuitBreaker::health_score).
    pub health_score: Option<f64>,
    /// A tracker's report.
    pub report: Option<Report>,
}

/// The health of a whole at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Overall {
    /// The whole, by the rules of [`stormproof_core::HealthAggregator`].
    pub status: Status,
    /// Its parts.
    pub services: BTreeMap<Name, ServiceHealth>,
}

/// The health of several components together. Clones are the same aggregator.
///
/// ```
/// use stormproof::{CircuitBreaker, HealthAggregator, HealthTracker, health::Status};
///
/// let (openai, search) = (HealthTracker::new("openai"), CircuitBreaker::new("search"));
/// let health = HealthAggregator::new();
/// health.add(&openai);
/// health.add(&search);
/// openai.record_failure("timeout");
/// let overall = health.overall();
/// assert_eq!(overall.status, Status::Degraded);
/// assert_eq!(overall.services["openai"].status, Status::Unhealthy);
/// ```
#[derive(Clone, Debug, Default)]
pub struct HealthAggregator(Arc<Mutex<BTreeMap<Name, (Source, bool)>>>);

impl HealthAggregator {
    /// Without components, which is healthy.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tracker or a breaker: if it alone is down, the whole is degraded. One of the same name is replaced.
    pub fn add(&self, source: impl Into<Source>) {
        self.insert(source.into(), false);
    }

    /// Adds a tracker or a breaker without which nothing works: if it is down, the whole is unhealthy.
    pub fn add_critical(&self, source: impl Into<Source>) {
        self.insert(source.into(), true);
    }

    fn insert(&self, source: Source, critical: bool) {
        let replaced = self.lock().insert(source.name().clone(), (source, critical));
        drop(replaced);
    }

    /// Takes a component out; whether it was there.
    pub fn remove(&self, name: &str) -> bool {
        let removed = self.lock().remove(name);
        removed.is_some()
    }

    /// The whole and its parts, as they are now.
    pub fn overall(&self) -> Overall {
        let members = self.lock().clone();
        let mut whole = core::HealthAggregator::default();
        let services: BTreeMap<_, _> =
            members.into_iter().map(|(name, (source, critical))| (name, source.look(critical))).collect();
        for (name, service) in &services {
            whole.set(name.clone(), service.status, service.critical);
        }
        Overall { status: whole.status(), services }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, (Source, bool)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
