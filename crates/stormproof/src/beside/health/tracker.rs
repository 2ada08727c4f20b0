//! A tracker that several share, with a clock and listeners.

use std::sync::Arc;
use std::time::Duration;

use stormproof_core as core;
use stormproof_core::Snapshot;
use stormproof_core::event::Kind;
use stormproof_core::health::{Config, Report, Transition};

use crate::clock::Clock;
use crate::telemetry::events::Listener;
use crate::telemetry::events::subject::Live;

/// Watches one component: is told what became of its calls, and says how well it is. Clones are the same tracker.
///
/// ```
/// use std::time::Duration;
/// use stormproof::HealthTracker;
///
/// let tracker = HealthTracker::new("openai"); // unhealthy when half of the last 100 calls, at least 10, failed
/// for _ in 0..5 {
///     tracker.record_success(Duration::from_millis(150));
///     tracker.record_failure("timeout");
/// }
/// let report = tracker.status();
/// assert_eq!((report.healthy, report.success_rate), (false, 0.5));
/// assert_eq!(&*report.recent_errors[0].error, "timeout");
/// ```
#[derive(Clone, Debug)]
pub struct HealthTracker(Arc<Live<core::HealthTracker>>);

crate::telemetry::events::subject::live!(HealthTracker, Config, "there is one kind, `health_changed`");

impl HealthTracker {
    pub(super) fn clock(&self) -> &Clock {
        &self.0.subject.clock
    }

    /// Notes a call that succeeded, and how long it took if that is known.
    pub fn record_success(&self, latency: impl Into<Option<Duration>>) {
        let change = self.0.core.record_success(self.0.subject.now(), latency);
        self.tell(change);
    }

    /// Notes a call that failed. The text is kept, up to 200 bytes, and shown to whoever asks: keep secrets out of it.
    pub fn record_failure(&self, error: &str) {
        let change = self.0.core.record_failure(self.0.subject.now(), error);
        self.tell(change);
    }

    /// Whether it is healthy.
    pub fn is_healthy(&self) -> bool {
        self.0.core.is_healthy()
    }

    /// How well it is.
    pub fn status(&self) -> Report {
        self.0.core.status(self.0.subject.now())
    }

    /// Forgets all calls; totals stay.
    pub fn reset(&self) {
        let change = self.0.core.reset(self.0.subject.now());
        self.tell(change);
    }

    /// Calls `listener` with each change of health, once: at once, under no lock. A listener that panics is passed over.
    pub fn on_change(&self, listener: impl Fn(&Transition) + Send + Sync + 'static) -> Listener {
        self.on_event(move |event| {
            if let Kind::Health { transition, .. } = &event.kind {
                listener(transition);
            }
        })
    }

    /// The tracker as data, for metrics and pages.
    pub fn snapshot(&self) -> Snapshot {
        self.0.core.snapshot(self.0.subject.now())
    }

    fn tell(&self, change: Option<Transition>) {
        if let Some(transition) = change {
            let component = self.name().clone();
            self.0.subject.tell(transition.at, || Kind::Health { component, transition });
        }
    }
}
