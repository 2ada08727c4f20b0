//! A budget for retries: what keeps a struggling callee from being drowned in them.
//!
//! Owns the count of first attempts and of the retries and hedges they pay for. Whether a failure is worth a retry at
//! all is decided in [`retry`](crate::retry), which asks the budget last.

use std::time::Duration;

use crate::decision::{Name, Stage};
use crate::invalid::{Check, Invalid, Mistakes};
use crate::snapshot::{Sample, Snapshot};
use crate::sync::{AtomicU64, Mutex, Ordering, Padded};
use crate::time::{Instant, nanos};

/// How many retries a load may cause.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields, default))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Config {
    /// Retries allowed for each call, as a fraction. Default 0.2.
    #[cfg_attr(feature = "schema", schemars(range(min = 0.0)))]
    pub ratio: f64,
    /// Retries allowed in a window however few the calls. Default 3.
    pub floor: u32,
    /// How long a call pays for retries, and how long a retry counts against them. Default 10 s. Kept in ten buckets,
    /// so both last for up to a tenth longer, and always for the same time.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { ratio: 0.2, floor: 3, window: Duration::from_secs(10) }
    }
}

impl Config {
    /// What is wrong with the values; empty if nothing is.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        check.that(
            self.ratio.is_finite() && self.ratio >= 0.0,
            "ratio",
            self.ratio,
            "a finite number, 0 or more (0.2 is a retry for five calls)",
        );
        check.that(!self.window.is_zero(), "window", self.window, "more than 0");
        check.done()
    }

    /// Returns the number of retries that `calls` pay for: only whole ones, so that the ratio is never passed.
    fn allowance(&self, calls: u64) -> u64 {
        // A ratio such as 0.29 is a little less in binary, and a hundred calls should still pay for 29.
        const ROUNDING: f64 = 1e-9;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole ones; the cast saturates")]
        let paid = (self.ratio * calls as f64 * (1.0 + ROUNDING)) as u64;
        paid.saturating_add(u64::from(self.floor))
    }

    fn bucket_width(&self) -> u64 {
        nanos(self.window).div_ceil(BUCKETS as u64 - 1).max(1)
    }
}

/// Ten for the window, and one more because the newest has only begun.
const BUCKETS: usize = 11;

/// A retry budget, shared by all who call the same callee.
///
/// Every call deposits, whether it succeeds or not; a retry or a hedge is allowed while those of the window are fewer
/// than the floor plus the ratio times the window's calls. Over any stretch of time, a load of which everything fails
/// is amplified by at most 1 + ratio, plus the floor for each window begun.
///
/// ```
/// use stormproof_core::{budget, Instant, RetryBudget};
///
/// let config = budget::Config { ratio: 0.2, floor: 1, ..Default::default() };
/// let budget = RetryBudget::new("openai", config)?;
/// let now = Instant::ZERO;
/// for _ in 0..10 {
///     budget.deposit(now);
/// }
/// let allowed = (0..10).filter(|_| budget.withdraw(now)).count();
/// assert_eq!(allowed, 1 + 2);
/// # Ok::<(), stormproof_core::Mistakes>(())
/// ```
#[derive(Debug)]
pub struct RetryBudget {
    name: Name,
    hot: Padded<Hot>,
    ledger: Padded<Mutex<Ledger>>,
}

/// What a deposit touches.
#[derive(Debug)]
struct Hot {
    /// Calls since the newest bucket began.
    calls: AtomicU64,
    /// When the newest bucket ends. Written under the ledger's lock.
    end: AtomicU64,
}

#[derive(Debug)]
struct Ledger {
    config: Config,
    width: u64,
    newest: usize,
    epoch: u64,
    /// Calls by bucket; those of the newest are in `Hot`.
    calls: [u64; BUCKETS],
    retries: [u64; BUCKETS],
    withdrawn: u64,
    denied: u64,
}

/// A budget at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// First attempts in the window.
    pub calls: u64,
    /// Retries and hedges in the window.
    pub retries: u64,
    /// How many more are allowed now.
    pub remaining: u64,
    /// All that were ever allowed.
    pub withdrawn: u64,
    /// All that were ever denied.
    pub denied: u64,
}

impl RetryBudget {
    /// A budget with nothing in it but its floor.
    ///
    /// # Errors
    /// All mistakes in `config`.
    pub fn new(name: impl Into<Name>, config: Config) -> Result<Self, Mistakes> {
        let mistakes = config.validate();
        if !mistakes.is_empty() {
            return Err(mistakes.into());
        }
        let ledger = Ledger::new(config);
        let hot = Hot { calls: AtomicU64::new(0), end: AtomicU64::new(ledger.end()) };
        Ok(Self { name: name.into(), hot: Padded(hot), ledger: Padded(Mutex::new(ledger)) })
    }

    /// The budget's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The configuration in force.
    pub fn config(&self) -> Config {
        self.ledger.0.lock().config
    }

    /// Counts the first attempt of a call. Takes no lock but for the first call of a bucket.
    #[inline]
    pub fn deposit(&self, now: Instant) {
        let hot = &self.hot.0;
        // A bucket may change between the two: then the call counts in the newer one, which is as good.
        if now.as_nanos() >= hot.end.load(Ordering::Acquire) {
            self.turn(now);
        }
        hot.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one retry or hedge out of the budget; false if there is none left.
    #[must_use]
    pub fn withdraw(&self, now: Instant) -> bool {
        let mut ledger = self.ledger.0.lock();
        ledger.advance(now, &self.hot.0);
        let allowed = ledger.remaining(ledger.calls(&self.hot.0)) > 0;
        if allowed {
            let newest = ledger.newest;
            ledger.retries[newest] += 1;
            ledger.withdrawn += 1;
        } else {
            ledger.denied += 1;
        }
        allowed
    }

    /// How many retries or hedges are allowed now.
    pub fn remaining(&self, now: Instant) -> u64 {
        self.stats(now).remaining
    }

    /// What the budget holds and what it has done.
    pub fn stats(&self, now: Instant) -> Stats {
        let mut ledger = self.ledger.0.lock();
        ledger.advance(now, &self.hot.0);
        let calls = ledger.calls(&self.hot.0);
        Stats {
            calls,
            retries: ledger.retries.iter().sum(),
            remaining: ledger.remaining(calls),
            withdrawn: ledger.withdrawn,
            denied: ledger.denied,
        }
    }

    /// What the budget shows of itself.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let stats = self.stats(now);
        let samples = vec![
            Sample::gauge("budget_remaining", "Retries and hedges allowed now.", stats.remaining as f64),
            Sample::gauge("budget_window_calls", "First attempts in the window.", stats.calls as f64),
            Sample::gauge("budget_window_retries", "Retries and hedges in the window.", stats.retries as f64),
            Sample::counter("budget_total", "Retries and hedges asked for.", stats.withdrawn)
                .label("result", "allowed"),
            Sample::counter("budget_total", "Retries and hedges asked for.", stats.denied).label("result", "denied"),
        ];
        Snapshot { stage: Stage::Retry, name: self.name.clone(), samples }
    }

    /// Changes the configuration. Counts stay; where the window's length changes, what was counted in the former window
    /// counts for a whole new one.
    ///
    /// # Errors
    /// All mistakes in `config`; then nothing changes.
    pub fn update(&self, config: Config) -> Result<(), Mistakes> {
        Mistakes::none(config.validate())?;
        let mut ledger = self.ledger.0.lock();
        if ledger.config.window == config.window {
            ledger.config = config;
        } else {
            let (mut renewed, retries) = (Ledger::new(config), ledger.retries.iter().sum());
            renewed.epoch = ledger.epoch.saturating_mul(ledger.width) / renewed.width;
            renewed.calls[0] = ledger.calls.iter().sum::<u64>() + self.hot.0.calls.swap(0, Ordering::Relaxed);
            renewed.retries[0] = retries;
            *ledger = Ledger { withdrawn: ledger.withdrawn, denied: ledger.denied, ..renewed };
            self.hot.0.end.store(ledger.end(), Ordering::Release);
        }
        Ok(())
    }

    /// Begins the bucket that `now` is in, out of line: once a bucket.
    #[cold]
    fn turn(&self, now: Instant) {
        self.ledger.0.lock().advance(now, &self.hot.0);
    }
}

impl Ledger {
    fn new(config: Config) -> Self {
        let (calls, retries) = ([0; BUCKETS], [0; BUCKETS]);
        Self { config, width: config.bucket_width(), newest: 0, epoch: 0, calls, retries, withdrawn: 0, denied: 0 }
    }

    /// When the newest bucket ends.
    fn end(&self) -> u64 {
        self.epoch.saturating_add(1).saturating_mul(self.width)
    }

    /// Drops what is too old at `now`. A time that goes back counts as the newest.
    fn advance(&mut self, now: Instant, hot: &Hot) {
        let epoch = now.as_nanos() / self.width;
        if epoch <= self.epoch {
            return;
        }
        // One swap: a deposit that runs at the same time is counted before it or after it, and never lost.
        self.calls[self.newest] += hot.calls.swap(0, Ordering::Relaxed);
        let passed = usize::try_from(epoch - self.epoch).unwrap_or(BUCKETS);
        for _ in 0..passed.min(BUCKETS) {
            self.newest = (self.newest + 1) % BUCKETS;
            (self.calls[self.newest], self.retries[self.newest]) = (0, 0);
        }
        self.epoch = epoch;
        hot.end.store(self.end(), Ordering::Release);
    }

    fn calls(&self, hot: &Hot) -> u64 {
        self.calls.iter().sum::<u64>() + hot.calls.load(Ordering::Relaxed)
    }

    /// Returns the number of retries and hedges that are left after a number of calls.
    fn remaining(&self, calls: u64) -> u64 {
        self.config.allowance(calls).saturating_sub(self.retries.iter().sum())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
