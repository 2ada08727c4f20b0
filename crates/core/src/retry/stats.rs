//! What has become of retries.

use super::{Retry, Stop};
use crate::decision::{Name, Stage};
use crate::snapshot::{Sample, Snapshot};
use crate::sync::{AtomicU64, Ordering};

/// Written only when something went wrong.
#[derive(Debug)]
pub(super) struct Counters {
    calls: AtomicU64,
    retries: AtomicU64,
    half_open_waits: AtomicU64,
    stopped: [AtomicU64; Stop::COUNTED.len()],
}

impl Counters {
    pub(super) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self { calls: zero(), retries: zero(), half_open_waits: zero(), stopped: std::array::from_fn(|_| zero()) }
    }
}

/// What has become of retries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that were tried again at least once.
    pub calls: u64,
    /// Retries, waits for a half-open circuit among them.
    pub retries: u64,
    /// Waits for a half-open circuit.
    pub half_open_waits: u64,
    /// Calls that failed with all retries used up.
    pub exhausted: u64,
    /// Calls that failed because the budget was used up.
    pub budget_denied: u64,
}

impl Retry {
    pub(crate) fn count_retry(&self, first: bool) {
        // What is part of something else is counted after it, and read before it.
        self.counters.retries.fetch_add(1, Ordering::Relaxed);
        self.counters.calls.fetch_add(u64::from(first), Ordering::Release);
    }

    pub(crate) fn count_wait(&self) {
        self.counters.half_open_waits.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn count_stop(&self, stop: Stop) {
        let counter = Stop::COUNTED.iter().position(|counted| counted.as_str() == stop.as_str());
        if let Some(counter) = counter.and_then(|at| self.counters.stopped.get(at)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn stopped(&self, stop: Stop) -> u64 {
        let counters = Stop::COUNTED.iter().zip(&self.counters.stopped);
        counters.filter(|(counted, _)| **counted == stop).map(|(_, counter)| counter.load(Ordering::Relaxed)).sum()
    }

    /// What has become of retries so far.
    pub fn stats(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let half_open_waits = get(&self.counters.half_open_waits);
        Stats {
            calls: get(&self.counters.calls),
            retries: get(&self.counters.retries),
            half_open_waits,
            exhausted: self.stopped(Stop::Exhausted),
            budget_denied: self.stopped(Stop::BudgetDenied),
        }
    }

    /// The same as data, under the name of the policy.
    pub fn snapshot(&self, name: &Name) -> Snapshot {
        let stats = self.stats();
        let mut samples = vec![
            Sample::counter("calls", "Calls that were tried again at least once.", stats.calls),
            Sample::counter("retries", "Retries, waits for a half-open circuit among them.", stats.retries),
            Sample::counter("half_open_waits", "Waits for a half-open circuit.", stats.half_open_waits),
        ];
        samples.extend(Stop::COUNTED.map(|stop| {
            Sample::counter(
                "gave_up",
                "Calls that ended without a success and were not tried again, by reason.",
                self.stopped(stop),
            )
            .label("reason", stop.as_str())
        }));
        Snapshot { stage: Stage::Retry, name: name.clone(), samples }
    }
}
