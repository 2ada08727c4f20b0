//! Several components together, each looked at when it is asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stormproof_core::health::{Report, Status};
use stormproof_core::{Name, Stage};

use super::HealthTracker;
use crate::policy::stages::CircuitBreaker;

/// What an aggregator looks at.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Source {
    /// A tracker: the health of a component by the outcomes of its calls.
    Tracker(HealthTracker),
    /// A circuit: closed is healthy, half-open degraded, open circuit-open.
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
    /// A tracker and a breaker of one name are two sources.
    fn key(&self) -> (Name, &'static str) {
        match self {
            Self::Tracker(tracker) => (tracker.name().clone(), Stage::Health.as_str()),
            Self::Breaker(breaker) => (breaker.name().clone(), Stage::Breaker.as_str()),
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

/// The health of a component among others. One that has a tracker and a breaker shows the worse of the two.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ServiceHealth {
    /// Its status.
    pub status: Status,
    /// Whether nothing works without it.
    pub critical: bool,
    /// Share of successes among its calls, 0 to 1.
    pub success_rate: f64,
    /// A breaker's [`health_score`](CircuitBreaker::health_score).
    pub health_score: Option<f64>,
    /// A tracker's report.
    pub report: Option<Report>,
}

impl ServiceHealth {
    /// Both sources of one component.
    fn with(self, other: Self) -> Self {
        Self {
            status: self.status.worse(other.status),
            critical: self.critical || other.critical,
            success_rate: self.success_rate.min(other.success_rate),
            health_score: self.health_score.or(other.health_score),
            report: self.report.or(other.report),
        }
    }
}

/// The health of a whole at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Overall {
    /// The whole, by the rules of [`Status::of_parts`]. Each tracker and each breaker is a part.
    pub status: Status,
    /// The components by name.
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
/// for _ in 0..10 {
///     openai.record_failure("timeout");
/// }
/// let overall = health.overall();
/// assert_eq!(overall.status, Status::Degraded);
/// assert_eq!(overall.services["openai"].status, Status::Unhealthy);
/// ```
#[derive(Clone, Debug, Default)]
pub struct HealthAggregator(Arc<Mutex<Members>>);

/// Sources by name and kind, each with whether it is critical.
type Members = BTreeMap<(Name, &'static str), (Source, bool)>;

impl HealthAggregator {
    /// Without components, which is healthy.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tracker or a breaker: if it alone is down, the whole is degraded. Replaces one of the same name and kind.
    pub fn add(&self, source: impl Into<Source>) {
        self.insert(source.into(), false);
    }

    /// Adds a tracker or a breaker without which nothing works: if it is down, the whole is unhealthy.
    pub fn add_critical(&self, source: impl Into<Source>) {
        self.insert(source.into(), true);
    }

    fn insert(&self, source: Source, critical: bool) {
        let replaced = self.lock().insert(source.key(), (source, critical));
        drop(replaced);
    }

    /// Removes the tracker and the breaker of this name; returns whether there was one.
    pub fn remove(&self, name: &str) -> bool {
        let mut members = self.lock();
        let (removed, left): (Members, Members) =
            std::mem::take(&mut *members).into_iter().partition(|((known, _), _)| known.as_str() == name);
        *members = left;
        drop(members);
        !removed.is_empty()
    }

    /// The whole and its parts, as they are now.
    pub fn overall(&self) -> Overall {
        let members = self.lock().clone();
        let parts: Vec<_> =
            members.into_iter().map(|((name, _), (source, critical))| (name, source.look(critical))).collect();
        let status = Status::of_parts(parts.iter().map(|(_, part)| (part.status, part.critical)));
        let mut services: BTreeMap<Name, ServiceHealth> = BTreeMap::new();
        for (name, part) in parts {
            let known = services.remove(&name);
            services.insert(name, known.map_or(part.clone(), |known| known.with(part)));
        }
        Overall { status, services }
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
