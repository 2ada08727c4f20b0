//! What a journal says of itself: events, counters, its snapshot.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stormproof::event::Kind;
use stormproof::journal::Told;
use stormproof::snapshot::Sample;
use stormproof::{Instant, Snapshot, Stage};

use crate::error::StoreError;
use crate::journal::Shared;
use crate::run::{Failure, RunId, State};
use crate::store::Size;

/// What is counted since the journal was opened here.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) written: AtomicU64,
    pub(crate) replayed: AtomicU64,
    pub(crate) claimed: AtomicU64,
    pub(crate) recovered: AtomicU64,
    pub(crate) fenced: AtomicU64,
    pub(crate) probed: AtomicU64,
    pub(crate) leases_lost: AtomicU64,
    pub(crate) store_errors: AtomicU64,
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Whether the store answers: told when that changes.
#[derive(Debug, Default)]
pub(crate) struct Outage(Mutex<Option<Instant>>);

impl Shared {
    /// Tells an event, made only if somebody listens. Under no lock.
    pub(crate) fn tell(&self, told: impl FnOnce() -> Told) {
        self.subject.tell(self.subject.now(), || Kind::Journal(told()));
    }

    /// Takes notice of an error of the store: an outage is told when it begins, a lack of room each time.
    pub(crate) fn store_failed(&self, error: &StoreError) {
        count(&self.counters.store_errors);
        match error {
            StoreError::Full { why, .. } => self.tell(|| Told::Full { why: why.clone() }),
            StoreError::Unavailable { why, .. } => {
                let now = self.subject.now();
                let mut outage = self.outage.0.lock().unwrap_or_else(PoisonError::into_inner);
                let begins = outage.is_none();
                outage.get_or_insert(now);
                drop(outage);
                if begins {
                    self.tell(|| Told::Unavailable { why: why.clone() });
                }
            }
            _ => {}
        }
    }

    /// Takes notice of an answer of the store that may have been failing.
    pub(crate) fn store_answered(&self) {
        let began = self.outage.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(began) = began {
            let after = self.subject.now().since(began);
            self.tell(|| Told::Available { after });
        }
    }

    /// The probe of an effect is asked whether it happened.
    pub(crate) fn tell_uncertain(&self, run: &RunId, step: u32, name: &str) {
        count(&self.counters.probed);
        self.tell(|| Told::EffectUncertain { run: run.as_str().into(), step, name: name.into() });
    }

    pub(crate) fn tell_blocked(&self, run: &RunId, failure: &Failure) {
        self.tell(|| Told::RunBlocked {
            run: run.as_str().into(),
            kind: failure.kind.as_str().into(),
            step: failure.seq.unwrap_or(0),
        });
    }
}

/// The journal as data.
pub(crate) fn snapshot(shared: &Shared, size: &Size) -> Snapshot {
    let counters = &shared.counters;
    let count = |metric, help, counter: &AtomicU64| Sample::counter(metric, help, counter.load(Ordering::Relaxed));
    let mut samples: Vec<_> = State::ALL
        .iter()
        .zip(size.runs)
        .map(|(state, runs)| Sample::gauge("runs", "Runs by state.", runs as f64).label("state", state.as_str()))
        .collect();
    samples.extend([
        Sample::gauge("workers_alive", "Processes whose lease is good.", size.workers_alive as f64),
        Sample::gauge("size_bytes", "Size of the store.", size.bytes as f64),
        Sample::gauge("oldest_due_seconds", "How long the oldest run that is due waits.", seconds(size.oldest_due)),
        Sample::gauge("runs_held", "Runs that this process has.", shared.held() as f64),
        count("steps_written", "Steps written by this process.", &counters.written),
        count("steps_replayed", "Steps given back from the journal.", &counters.replayed),
        count("runs_claimed", "Runs claimed by this process.", &counters.claimed),
        count("runs_recovered", "Runs taken over from a worker that was gone.", &counters.recovered),
        count("runs_fenced", "Runs that another worker had taken over.", &counters.fenced),
        count("effects_probed", "Effects whose probe was asked.", &counters.probed),
        count("leases_lost", "Leases that could not be renewed in time.", &counters.leases_lost),
        count("store_errors", "Errors of the store.", &counters.store_errors),
    ]);
    Snapshot::new(Stage::Journal, shared.subject.name().clone(), samples)
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
