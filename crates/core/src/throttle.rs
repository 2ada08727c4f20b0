//! The adaptive throttle: refuses here what the callee would refuse anyway ("Handling Overload", chapter 21 of the book
//! *Site Reliability Engineering*).
//!
//! Owns the count of requests and of those that the callee accepted, and the chance by which it refuses. Does not judge
//! answers: a verdict says what was overload.

mod config;
mod ledger;

pub use self::config::Config;

use self::ledger::{ACCEPT, Ledger, MOST, REQUEST};

use crate::decision::{Name, Reason, Refusal, Stage};
use crate::invalid::Mistakes;
use crate::outcome::{Outcome, Verdict, is_one_of};
use crate::rng::Rng;
use crate::snapshot::{Sample, Snapshot};
use crate::sync::{AtomicU64, Mutex, Ordering, Padded};
use crate::time::Instant;

/// The throttle began to refuse, or refuses nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It refused a request, the first one for the length of a window or longer.
    Began {
        /// Requests in the window.
        requests: u32,
        /// Requests in the window that the callee accepted.
        accepts: u32,
    },
    /// It has refused nothing for the length of a window.
    Ended {
        /// Requests refused since it began.
        refused: u64,
    },
}

/// The numbers of a throttle at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Requests in the window that were answered, timed out or were refused here.
    pub requests: u32,
    /// Requests in the window that the callee accepted.
    pub accepts: u32,
    /// The probability by which the next request is refused.
    pub probability: f64,
    /// Requests refused so far.
    pub refused: u64,
}

/// What every request touches.
#[derive(Debug)]
struct Hot {
    /// Requests and accepts of the window in one word, so that they belong together.
    counts: AtomicU64,
    /// When the newest part of the window ends. Written under the ledger's lock.
    end: AtomicU64,
    /// The multiplier, as bits.
    multiplier: AtomicU64,
}

/// Refuses requests with the probability (requests − K · accepts) / (requests + 1) over a sliding window.
///
/// As long as the callee accepts a share of 1/K or more, every request passes. A refused request counts as one that was
/// not accepted, so refusals grow until the callee sees about K times as many requests as it accepts.
///
/// ```
/// use stormproof_core::{Instant, Throttle, Verdict};
///
/// let throttle = Throttle::new("search");
/// let now = Instant::ZERO;
/// for request in 0..120 {
///     let verdict = if request % 4 == 0 { Verdict::success() } else { Verdict::failure("ServerError.503") };
///     throttle.settle(now, &verdict);
/// }
/// assert_eq!(throttle.stats(now).probability, 60.0 / 121.0);
/// ```
#[derive(Debug)]
pub struct Throttle {
    name: Name,
    rng: Rng,
    hot: Padded<Hot>,
    ledger: Padded<Mutex<Ledger>>,
}

impl Throttle {
    /// A throttle with the default configuration.
    pub fn new(name: impl Into<Name>) -> Self {
        Self::valid(name.into(), Config::default())
    }

    /// A throttle that has seen nothing yet, or all mistakes in `config`.
    pub fn with_config(name: impl Into<Name>, config: Config) -> Result<Self, Mistakes> {
        Mistakes::none(config.validate())?;
        Ok(Self::valid(name.into(), config))
    }

    fn valid(name: Name, config: Config) -> Self {
        let multiplier = AtomicU64::new(config.multiplier.to_bits());
        let ledger = Ledger::new(config);
        let hot = Hot { counts: AtomicU64::new(0), end: AtomicU64::new(ledger.end()), multiplier };
        Self { name, rng: Rng::new(0), hot: Padded(hot), ledger: Padded(Mutex::new(ledger)) }
    }

    /// Seeds the chance by which requests are refused.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.rng = Rng::new(seed);
        self
    }

    /// The name given to `new`.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The present configuration.
    pub fn config(&self) -> Config {
        self.ledger.0.lock().config.clone()
    }

    /// Asks whether a request may be made, and returns what changed by the question. A request that may be made counts
    /// when it is [settled](Self::settle); one that is never settled counts neither way.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "each half of the word is a number of 32 bits")]
    pub fn ask(&self, now: Instant) -> (Result<(), Refusal<'_>>, Option<Change>) {
        let Hot { counts, end, multiplier } = &self.hot.0;
        let counts = counts.load(Ordering::Relaxed);
        let accepted = f64::from_bits(multiplier.load(Ordering::Relaxed)) * f64::from(counts as u32);
        if now.as_nanos() < end.load(Ordering::Acquire) && f64::from((counts >> 32) as u32) <= accepted {
            return (Ok(()), None);
        }
        self.ask_otherwise(now)
    }

    #[cold]
    fn ask_otherwise(&self, now: Instant) -> (Result<(), Refusal<'_>>, Option<Change>) {
        let mut ledger = self.ledger.0.lock();
        self.advance(&mut ledger, now);
        let counts = self.hot.0.counts.load(Ordering::Relaxed);
        let probability = ledger.config.probability(counts);
        // Nothing is drawn where nothing is refused: a calm time changes no seeded run.
        if probability <= 0.0 || self.rng.unit() >= probability {
            return (Ok(()), ledger.calm(now));
        }
        self.add(REQUEST);
        let refusal = Refusal::new(Stage::Throttle, &self.name, Reason::Throttled);
        (Err(refusal), ledger.refuse(now, counts))
    }

    /// Counts a request with its answer: accepted, unless that was overload or a time-out. An ignored one of these kinds
    /// counts neither way, such as a call that had less time than its policy means it to have.
    #[inline]
    pub fn settle(&self, now: Instant, verdict: &Verdict<'_>) {
        if verdict.outcome == Outcome::Success && verdict.overload.is_none() {
            return self.accept(now);
        }
        self.settle_otherwise(now, verdict);
    }

    /// Counts a request that was accepted.
    #[inline]
    pub fn accept(&self, now: Instant) {
        self.count(now, REQUEST + ACCEPT);
    }

    #[cold]
    fn settle_otherwise(&self, now: Instant, verdict: &Verdict<'_>) {
        let (overload, ignored) = {
            let kinds = &self.ledger.0.lock().config.overload;
            (verdict.is_overload(kinds), verdict.outcome == Outcome::Ignored && is_one_of(verdict.kind, kinds))
        };
        if overload || !ignored {
            self.count(now, REQUEST + if overload { 0 } else { ACCEPT });
        }
    }

    #[inline]
    fn count(&self, now: Instant, request: u64) {
        if now.as_nanos() >= self.hot.0.end.load(Ordering::Acquire) {
            self.advance(&mut self.ledger.0.lock(), now);
        }
        self.add(request);
    }

    /// Adds to the newest part of the window. At 2^31 requests in one window further ones do not count.
    #[inline]
    fn add(&self, request: u64) {
        if self.hot.0.counts.load(Ordering::Relaxed) < MOST {
            self.hot.0.counts.fetch_add(request, Ordering::Relaxed);
        }
    }

    #[cold]
    fn advance(&self, ledger: &mut Ledger, now: Instant) {
        // What is added at the same time belongs to the newest part, before as after.
        let expired = ledger.advance(now, self.hot.0.counts.load(Ordering::Relaxed));
        self.hot.0.counts.fetch_sub(expired, Ordering::Relaxed);
        self.hot.0.end.store(ledger.end(), Ordering::Release);
    }

    /// The numbers at `now`.
    pub fn stats(&self, now: Instant) -> Stats {
        let mut ledger = self.ledger.0.lock();
        self.advance(&mut ledger, now);
        let counts = self.hot.0.counts.load(Ordering::Relaxed);
        let (requests, accepts) = ledger::parts(counts);
        Stats { requests, accepts, probability: ledger.config.probability(counts), refused: ledger.refused }
    }

    /// The same as data for metrics, the admin API and the dashboard.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let stats = self.stats(now);
        let samples = vec![
            Sample::gauge(
                "window_requests",
                "Requests in the window, those refused here included.",
                stats.requests.into(),
            ),
            Sample::gauge("window_accepts", "Requests in the window that the callee accepted.", stats.accepts.into()),
            Sample::gauge(
                "refusal_probability",
                "Probability by which the next request is refused.",
                stats.probability,
            ),
            Sample::counter("refused", "Requests refused.", stats.refused),
        ];
        Snapshot { stage: Stage::Throttle, name: self.name.clone(), samples }
    }

    /// Changes the configuration. Counts stay, unless the window's length changes: then the window begins anew. Or all
    /// mistakes in `config`.
    pub fn update(&self, config: Config) -> Result<(), Mistakes> {
        Mistakes::none(config.validate())?;
        let mut ledger = self.ledger.0.lock();
        self.hot.0.multiplier.store(config.multiplier.to_bits(), Ordering::Relaxed);
        let expired = ledger.configure(config, self.hot.0.counts.load(Ordering::Relaxed));
        self.hot.0.counts.fetch_sub(expired, Ordering::Relaxed);
        self.hot.0.end.store(ledger.end(), Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
