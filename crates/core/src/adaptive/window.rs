//! What was measured since the limit last moved.

use crate::time::Instant;

/// Number of calls of a window that are kept, the latest ones.
const SAMPLES: usize = 256;

#[derive(Debug)]
pub(super) struct Window {
    pub(super) began: Option<Instant>,
    /// Calls that ended, well or by overload.
    pub(super) ended: u32,
    pub(super) succeeded: u32,
    pub(super) overloaded: u32,
    pub(super) full: u32,
    /// What the calls that succeeded took together.
    time: f64,
    latencies: Box<[u64; SAMPLES]>,
}

impl Window {
    pub(super) fn new() -> Self {
        let latencies = Box::new([0; SAMPLES]);
        Self { began: None, ended: 0, succeeded: 0, overloaded: 0, full: 0, time: 0.0, latencies }
    }

    pub(super) fn count(&mut self, latency: u64, overloaded: bool, full: bool) {
        self.ended = self.ended.saturating_add(1);
        self.full = self.full.saturating_add(full.into());
        if overloaded {
            self.overloaded = self.overloaded.saturating_add(1);
        } else {
            self.time += latency as f64;
            self.latencies[self.succeeded as usize % SAMPLES] = latency;
            self.succeeded = self.succeeded.saturating_add(1);
        }
    }

    /// The mean of those that succeeded, the extreme twentieths taken for the nearest of the others (Winsor's mean): a
    /// lucky one counts for nothing, and the few that waited count.
    pub(super) fn typical(&mut self) -> Option<f64> {
        let count = (self.succeeded as usize).min(SAMPLES);
        let samples = &mut self.latencies[..count];
        samples.sort_unstable();
        let cut = count.div_ceil(20).min(count.saturating_sub(1) / 2);
        let (&low, &high) = (samples.get(cut)?, samples.get(count - 1 - cut)?);
        let sum: f64 = samples.iter().map(|&nanos| nanos.clamp(low, high) as f64).sum();
        Some((sum / count as f64).max(1.0))
    }

    /// The plain mean of all that succeeded.
    pub(super) fn mean(&self) -> Option<f64> {
        (self.succeeded > 0).then(|| self.time / f64::from(self.succeeded))
    }

    /// The number of calls that were served at a time, on the average of the window (Little's law).
    pub(super) fn served(&self, elapsed: f64) -> f64 {
        // Only calls that began in the window are counted, and those of the last call's length have not ended yet.
        self.mean().map_or(0.0, |call| self.time / (elapsed - call).max(call))
    }

    pub(super) fn restart(&mut self, now: Instant) {
        self.began = Some(now);
        (self.ended, self.succeeded, self.overloaded, self.full, self.time) = (0, 0, 0, 0, 0.0);
    }
}
