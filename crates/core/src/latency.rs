//! How long successful attempts took: of late as quantiles, and since the beginning as a histogram. An attempt that a hedge
//! overtook is one of them, with the time it had taken until then.
//!
//! Owns a fixed table of counters. Recording is a few atomic additions; reading adds the counters up. What is done with a
//! quantile is decided elsewhere: in [`hedge`](crate::hedge), on pages, in metrics.

use std::time::Duration;

use crate::decision::{Name, Stage};
use crate::invalid::{Check, Invalid, Mistakes};
use crate::snapshot::{Sample, Snapshot};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering, Padded};
use crate::time::{Instant, nanos};

/// How long a measurement counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields, default))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Config {
    /// A measurement counts at most this long, and at least three quarters of it. Default 60 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { window: Duration::from_secs(60) }
    }
}

impl Config {
    /// What is wrong with the values; empty if nothing is.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        check.that(self.window >= Duration::from_millis(1), "window", self.window, "1 ms or more");
        check.done()
    }

    /// Length of a slice in nanoseconds.
    fn width(&self) -> u64 {
        (nanos(self.window) / SLICES as u64).max(1)
    }
}

/// Number of slices of the window; the oldest is forgotten as a whole.
const SLICES: usize = 4;

/// Bits of a value that are kept behind its leading one: 16 buckets an octave.
const BITS: u32 = 4;
const PER_OCTAVE: usize = 1 << BITS;

/// Up to 2^10 ns the buckets are all as wide as in the octave above.
const LOWEST: u32 = 10;

/// The last octave ends at 2^43 ns, about two and a half hours.
const OCTAVES: usize = 33;

/// Under loom only as many as are needed to tell them apart: it tries every order of the steps at all of them.
const BUCKETS: usize = if cfg!(loom) { 2 } else { PER_OCTAVE * (OCTAVES + 1) };

/// A table of latencies that forgets, in fixed memory: about 9 kB.
///
/// Quantiles are those of a histogram whose buckets are a sixteenth of an octave wide: from a microsecond to two and a
/// half hours they are wrong by at most 1/32 (3.2 %), below that by at most 32 ns; what is longer counts as that long. A
/// measurement that falls into the moment in which a slice is begun anew may be forgotten.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{latency, Instant, Latency};
///
/// let latency = Latency::new("model", latency::Config::default())?;
/// let now = Instant::ZERO;
/// for n in 1..=100 {
///     latency.record(now, Duration::from_millis(n));
/// }
/// let median = latency.quantile(now, 0.5).expect("there are samples").as_secs_f64();
/// assert!((median / 0.050 - 1.0).abs() <= 1.0 / 32.0);
/// assert_eq!(latency.quantile(now + Duration::from_secs(60), 0.5), None); // forgotten
/// assert_eq!(latency.count(), 100);
/// # Ok::<(), stormproof_core::Mistakes>(())
/// ```
#[derive(Debug)]
pub struct Latency {
    name: Name,
    /// Length of a slice in nanoseconds. Written while `forgotten` is locked.
    width: AtomicU64,
    totals: Padded<Totals>,
    slices: [Slice; SLICES],
    forgotten: Mutex<Forgotten>,
}

/// What slices held that were begun anew, by [`LIMITS`]. Locked while a slice is begun anew.
#[derive(Debug)]
struct Forgotten {
    config: Config,
    counts: [u64; LIMITS.len()],
}

impl Forgotten {
    /// Empties a slice for another time.
    fn take(&mut self, slice: &Slice, epoch: u64) {
        for (at, count) in slice.counts.iter().enumerate() {
            add(&mut self.counts, at, count.swap(0, Ordering::Acquire));
        }
        slice.epoch.store(epoch, Ordering::Release);
    }
}

#[derive(Debug)]
struct Totals {
    count: AtomicU64,
    /// In microseconds: nanoseconds of many calls at once would wrap within months.
    sum: AtomicU64,
}

#[derive(Debug)]
struct Slice {
    /// Which stretch of time it holds, [`NONE`] for none. Written while `forgotten` is locked.
    epoch: AtomicU64,
    counts: Box<[AtomicU32]>,
}

const NONE: u64 = u64::MAX;

/// The buckets of the histogram, in nanoseconds and as metrics write them, in seconds.
const LIMITS: [(u64, &str); 15] = [
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1.0"),
    (2_500_000_000, "2.5"),
    (5_000_000_000, "5.0"),
    (10_000_000_000, "10.0"),
    (30_000_000_000, "30.0"),
    (60_000_000_000, "60.0"),
    (120_000_000_000, "120.0"),
    (300_000_000_000, "300.0"),
];

impl Latency {
    /// An empty table, or all mistakes in `config`.
    pub fn new(name: impl Into<Name>, config: Config) -> Result<Self, Mistakes> {
        Mistakes::none(config.validate())?;
        let slice = || Slice {
            epoch: AtomicU64::new(NONE),
            counts: std::iter::repeat_with(|| AtomicU32::new(0)).take(BUCKETS).collect(),
        };
        Ok(Self {
            name: name.into(),
            width: AtomicU64::new(config.width()),
            totals: Padded(Totals { count: AtomicU64::new(0), sum: AtomicU64::new(0) }),
            slices: std::array::from_fn(|_| slice()),
            forgotten: Mutex::new(Forgotten { config, counts: [0; LIMITS.len()] }),
        })
    }

    /// The name given to `new`.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The configuration.
    pub fn config(&self) -> Config {
        self.forgotten.lock().config
    }

    /// Changes how long a measurement counts, or says all that is wrong with `config`. Totals stay; where the window's
    /// length changes, it begins anew.
    pub fn update(&self, config: Config) -> Result<(), Mistakes> {
        Mistakes::none(config.validate())?;
        let mut forgotten = self.forgotten.lock();
        if forgotten.config != config {
            forgotten.config = config;
            self.width.store(config.width(), Ordering::Relaxed);
            self.slices.iter().for_each(|slice| forgotten.take(slice, NONE));
        }
        Ok(())
    }

    /// How long a measurement counts.
    pub fn window(&self) -> Duration {
        Duration::from_nanos(self.width.load(Ordering::Relaxed).saturating_mul(SLICES as u64))
    }

    /// Counts an attempt that ended at `now` after `took`.
    #[inline]
    pub fn record(&self, now: Instant, took: Duration) {
        let took = nanos(took);
        // In this order, and read in the other one: whoever sees a measurement sees it in what comes before, too.
        self.totals.0.sum.fetch_add(took.saturating_add(500) / 1_000, Ordering::Relaxed);
        self.totals.0.count.fetch_add(1, Ordering::Release);
        let width = self.width.load(Ordering::Relaxed);
        let epoch = now.as_nanos() / width;
        let slice = self.slice(epoch);
        if slice.epoch.load(Ordering::Acquire) == epoch || self.turn(slice, epoch, width) {
            // The index is below the length by construction.
            if let Some(count) = slice.counts.get(bucket(took)) {
                count.fetch_add(1, Ordering::Release);
            }
        }
    }

    fn slice(&self, epoch: u64) -> &Slice {
        let at = usize::try_from(epoch % SLICES as u64).unwrap_or(0);
        &self.slices[at]
    }

    /// Begins `slice` anew, once in its time. False if it already holds a later time, for then `now` is long past, or if
    /// slices have another `width` by now.
    #[cold]
    fn turn(&self, slice: &Slice, epoch: u64, width: u64) -> bool {
        let mut forgotten = self.forgotten.lock();
        if width != self.width.load(Ordering::Relaxed) {
            return false;
        }
        let present = slice.epoch.load(Ordering::Relaxed);
        if present == NONE || present < epoch {
            forgotten.take(slice, epoch);
            return true;
        }
        present == epoch
    }

    /// What the window holds at `now`.
    pub fn recent(&self, now: Instant) -> Recent {
        // So that no slice is begun anew meanwhile: one that is half empty gives wrong quantiles.
        let _whole = self.forgotten.lock();
        let newest = now.as_nanos() / self.width.load(Ordering::Relaxed);
        let mut counts = [0; BUCKETS];
        for slice in &self.slices {
            let epoch = slice.epoch.load(Ordering::Acquire);
            if epoch != NONE && epoch <= newest && newest - epoch < SLICES as u64 {
                for (sum, count) in counts.iter_mut().zip(&slice.counts) {
                    *sum += u64::from(count.load(Ordering::Relaxed));
                }
            }
        }
        Recent { samples: counts.iter().sum(), counts }
    }

    /// The time within which the fraction `q` of the window's attempts were over: 0.95 is the 95th percentile. `None`
    /// without samples.
    pub fn quantile(&self, now: Instant, q: f64) -> Option<Duration> {
        self.recent(now).quantile(q)
    }

    /// All that were ever recorded.
    pub fn count(&self) -> u64 {
        self.totals.0.count.load(Ordering::Acquire)
    }

    /// What all of them took together, each rounded to a microsecond.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.totals.0.sum.load(Ordering::Relaxed))
    }

    /// How many of all that were ever recorded took at most so long, by growing limits in seconds. What is near a limit
    /// may stand on its other side, by as much as quantiles are wrong. The last limits' count may be less than
    /// [`count`](Self::count): some took longer.
    pub fn histogram(&self) -> [(&'static str, u64); LIMITS.len()] {
        let mut counts = {
            let forgotten = self.forgotten.lock();
            let mut counts = forgotten.counts;
            for slice in &self.slices {
                for (at, count) in slice.counts.iter().enumerate() {
                    add(&mut counts, at, count.load(Ordering::Acquire));
                }
            }
            counts
        };
        let mut below = 0_u64;
        for count in &mut counts {
            below = below.saturating_add(*count);
            *count = below;
        }
        std::array::from_fn(|at| (LIMITS[at].1, counts[at]))
    }

    /// The same as data, for metrics and pages. Without samples in the window there are no quantiles.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        const HELP: &str = "How long successful attempts took, of late.";
        const ALL: &str = "How long successful attempts took, in buckets.";
        let recent = self.recent(now);
        let quantile = |(q, label)| Some((label, recent.quantile(q)?.as_secs_f64()));
        let quantiles: Vec<_> =
            [(0.5, "0.5"), (0.95, "0.95"), (0.99, "0.99")].into_iter().filter_map(quantile).collect();
        // In this order, see `record`.
        let buckets = self.histogram();
        let count = self.count();
        let sum = self.sum().as_secs_f64();
        let mut samples = Sample::summary("seconds", HELP, &quantiles, sum, count);
        samples.extend(Sample::histogram("buckets_seconds", ALL, &buckets, sum, count));
        Snapshot { stage: Stage::Latency, name: self.name.clone(), samples }
    }
}

/// The measurements of a window, added up: several quantiles of one reading agree with each other.
#[derive(Clone, Debug)]
pub struct Recent {
    samples: u64,
    counts: [u64; BUCKETS],
}

impl Recent {
    /// How many there are.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The time within which the fraction `q` of them were over, see [`Latency::quantile`]. Below 0 or NaN is the
    /// shortest, above 1 the longest.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let rank = (q * self.samples as f64).ceil() as u64;
        let rank = rank.clamp(1, self.samples.max(1));
        let mut below = 0;
        let found = self.counts.iter().position(|count| {
            below += count;
            below >= rank
        });
        found.map(|at| Duration::from_nanos(middle(at)))
    }
}

/// The bucket of a time in nanoseconds.
#[inline]
fn bucket(nanos: u64) -> usize {
    let octave = nanos.max(1).ilog2();
    let shift = octave.max(LOWEST) - BITS;
    // Below the lowest octave the leading bit is not there to be counted twice.
    let above = octave.saturating_sub(LOWEST) as usize;
    let at = above * PER_OCTAVE + usize::try_from(nanos >> shift).unwrap_or(BUCKETS);
    at.min(BUCKETS - 1)
}

/// Adds what is in a bucket to those of the histogram; what took longer than its last limit stands in none.
fn add(histogram: &mut [u64; LIMITS.len()], bucket: usize, count: u32) {
    if count == 0 {
        return;
    }
    let middle = middle(bucket);
    let found = LIMITS.iter().position(|(limit, _)| middle <= *limit);
    if let Some(sum) = found.and_then(|at| histogram.get_mut(at)) {
        *sum = sum.saturating_add(count.into());
    }
}

/// The time in the middle of a bucket, in nanoseconds.
fn middle(bucket: usize) -> u64 {
    let octave = (bucket / PER_OCTAVE).saturating_sub(1);
    let within = (bucket - octave * PER_OCTAVE) as u64;
    let width = 1u64 << (LOWEST - BITS + u32::try_from(octave).unwrap_or(0));
    within * width + width / 2
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
