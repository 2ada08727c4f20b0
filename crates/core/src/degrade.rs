//! Graceful degradation: how much less than everything a system of several parts gives, as a level from 0 to 4.
//!
//! Owns the live level of a system with its hysteresis, and the limit past which it is more honest to fail. The rule that
//! makes a level of what became of the parts is in `level.rs`, an answer that says so of itself in `response.rs`. Does not
//! own getting substitutes: caches and other sources are the caller's.

mod level;
mod response;

use std::time::Duration;

pub use level::{Level, Parts, Strategy};
pub use response::{Component, Metadata, Response};

use crate::decision::{Name, Stage};
use crate::invalid::{Check, Invalid, Mistakes};
use crate::snapshot::{Sample, Snapshot};
use crate::sync::Mutex;
use crate::time::Instant;

/// More is missing than is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{system} is degraded to {level}, at most {limit} is allowed")]
#[non_exhaustive]
pub struct TooDegraded {
    /// The system that is degraded.
    pub system: Name,
    /// How much is missing.
    pub level: Level,
    /// The worst level that is allowed.
    pub limit: Level,
}

impl TooDegraded {
    /// `level`, unless it is worse than `limit`.
    pub fn check(system: &Name, level: Level, limit: Level) -> Result<Level, Self> {
        if level > limit { Err(Self { system: system.clone(), level, limit }) } else { Ok(level) }
    }
}

/// How a live level moves.
///
/// ```
/// use stormproof_core::degrade::Config;
///
/// assert!(Config::default().validate().is_empty());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Config {
    /// The worst level at which the system still answers. Default: moderate.
    pub max_degradation: Level,
    /// Number of better evaluations in a row after which the level improves. Default: 3.
    pub recovery_evaluations: u32,
    /// Time since the last evaluation that was not better, before which the level does not improve. Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub recovery_dwell: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let recovery_dwell = Duration::from_secs(30);
        Self { max_degradation: Level::Moderate, recovery_evaluations: 3, recovery_dwell }
    }
}

impl Config {
    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        check.that(self.recovery_evaluations >= 1, "recovery_evaluations", self.recovery_evaluations, "1 or more");
        check.done()
    }
}

/// A change of level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shift {
    /// Grows with each shift of this system.
    pub seq: u64,
    /// When.
    pub at: Instant,
    /// The level before.
    pub from: Level,
    /// The level now.
    pub to: Level,
}

impl Shift {
    /// `degraded` if more is missing than before, `healed` if less.
    pub fn as_str(&self) -> &'static str {
        if self.to > self.from { "degraded" } else { "healed" }
    }
}

/// The live level of a system: goes down at once, and comes up only when things have stayed better for a while.
///
/// Of the evaluations that were better, the worst one gives the level it comes up to.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{Degradation, Instant, degrade::{Level, Parts}};
///
/// let search = Degradation::new("search");
/// let parts = |successful| Parts { total: 4, successful, ..Default::default() };
/// let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
/// let shift = search.evaluate(at(0), parts(2)).expect("worse");
/// assert_eq!((shift.to, shift.as_str()), (Level::Minimal, "degraded"));
/// assert!(search.check().is_err(), "at most moderate is allowed");
/// assert_eq!([10, 20].map(|s| search.evaluate(at(s), parts(4))), [None, None]);
/// assert_eq!(search.evaluate(at(30), parts(4)).map(|shift| shift.to), Some(Level::Full));
/// ```
#[derive(Debug)]
pub struct Degradation {
    name: Name,
    state: Mutex<Live>,
}

#[derive(Debug)]
struct Live {
    config: Config,
    level: Level,
    seq: u64,
    /// Evaluations in a row that were better than the level, and the worst of them.
    better: u32,
    reached: Level,
    /// When an evaluation was last not better.
    since: Instant,
    parts: Parts,
    evaluations: u64,
}

impl Degradation {
    /// A system that lacks nothing, with the default [`Config`].
    pub fn new(name: impl Into<Name>) -> Self {
        Self::build(name.into(), Config::default())
    }

    /// The same with `config`, or all that is wrong with it.
    pub fn with_config(name: impl Into<Name>, config: Config) -> Result<Self, Mistakes> {
        Mistakes::none(config.validate())?;
        Ok(Self::build(name.into(), config))
    }

    fn build(name: Name, config: Config) -> Self {
        let live = Live {
            config,
            level: Level::Full,
            seq: 0,
            better: 0,
            reached: Level::Full,
            since: Instant::ZERO,
            parts: Parts::default(),
            evaluations: 0,
        };
        Self { name, state: Mutex::new(live) }
    }

    /// The system's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The configuration.
    pub fn config(&self) -> Config {
        self.state.lock().config
    }

    /// Takes notice of how the parts are now. Returns what changed by it.
    pub fn evaluate(&self, now: Instant, parts: Parts) -> Option<Shift> {
        self.state.lock().evaluate(now, parts)
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.state.lock().level
    }

    /// The level, or the refusal if it is worse than what is allowed.
    ///
    /// # Errors
    /// [`TooDegraded`] past `max_degradation`.
    pub fn check(&self) -> Result<Level, TooDegraded> {
        let (level, limit) = {
            let live = self.state.lock();
            (live.level, live.config.max_degradation)
        };
        TooDegraded::check(&self.name, level, limit)
    }

    /// The same as data, for metrics and pages.
    pub fn snapshot(&self) -> Snapshot {
        const PARTS: &str = "Parts at the last evaluation.";
        let live = self.state.lock();
        let samples = vec![
            Sample::gauge("level", "How much is missing, 0 (nothing) to 4 (failed).", live.level.number().into()),
            Sample::gauge("parts", PARTS, live.parts.total.into()).label("kind", "total"),
            Sample::gauge("parts", PARTS, live.parts.successful.into()).label("kind", "successful"),
            Sample::gauge("parts", PARTS, live.parts.cached.into()).label("kind", "cached"),
            Sample::gauge("parts", PARTS, live.parts.degraded.into()).label("kind", "degraded"),
            Sample::counter("evaluations", "How often the level was evaluated.", live.evaluations),
            Sample::counter("shifts", "How often the level changed.", live.seq),
        ];
        Snapshot { stage: Stage::Degradation, name: self.name.clone(), samples }
    }
}

impl Live {
    fn evaluate(&mut self, now: Instant, parts: Parts) -> Option<Shift> {
        self.parts = parts;
        self.evaluations = self.evaluations.saturating_add(1);
        let found = Level::of(parts);
        if found >= self.level {
            self.better = 0;
            // Threads that read a clock and then wait for the lock may come out of order.
            self.since = self.since.max(now);
            return self.move_to(now, found);
        }
        self.reached = if self.better == 0 { found } else { self.reached.max(found) };
        self.better = self.better.saturating_add(1);
        let enough = self.better >= self.config.recovery_evaluations;
        if !enough || now.since(self.since) < self.config.recovery_dwell {
            return None;
        }
        (self.better, self.since) = (0, now);
        self.move_to(now, self.reached)
    }

    fn move_to(&mut self, now: Instant, to: Level) -> Option<Shift> {
        let from = std::mem::replace(&mut self.level, to);
        (from != to).then(|| {
            self.seq += 1;
            Shift { seq: self.seq, at: now, from, to }
        })
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
