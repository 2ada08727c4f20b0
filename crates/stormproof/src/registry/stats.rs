//! Statistics in the shapes that other systems' clients read, as data: each shape is a type that serializes.
//!
//! Owns what is read off a breaker once ([`Reading`]); a module a system makes its shapes of that. States are written
//! `closed`, `open`, `half_open`. Times of day are for display: they are worked out from the monotonic clock, and no
//! decision depends on them.

pub mod a2a;
pub mod aragora;
pub mod book;
pub mod khive;
pub mod victor;

use std::time::{Duration, SystemTime};

use stormproof_core::breaker::{self, State, Transition};
use stormproof_core::{Instant, Name};

use super::Registry;
use crate::events::timestamp;
use crate::stages::CircuitBreaker;

/// A circuit breaker at one moment, with all that the shapes tell.
///
/// ```
/// use stormproof::CircuitBreaker;
/// use stormproof::registry::stats::{Reading, a2a};
///
/// let reading = Reading::of(&CircuitBreaker::new("agent-1"));
/// let json = serde_json::to_string(&a2a::Breaker::from(&reading)).unwrap();
/// assert!(json.starts_with(r#"{"name":"agent-1","state":"closed","failure_count":0"#));
/// ```
#[derive(Clone, Debug)]
pub struct Reading {
    name: Name,
    stats: breaker::Stats,
    config: breaker::Config,
    history: Vec<Transition>,
    health_score: f64,
    available: bool,
    now: Instant,
    time: SystemTime,
    used: Instant,
}

impl Reading {
    /// What `breaker` shows now.
    pub fn of(breaker: &CircuitBreaker) -> Self {
        Self::at(breaker, SystemTime::now())
    }

    /// The same if it is now `time`.
    pub fn at(breaker: &CircuitBreaker, time: SystemTime) -> Self {
        Self::of_core(breaker.core(), breaker.policy().clock().now(), time)
    }

    fn of_core(core: &stormproof_core::CircuitBreaker, now: Instant, time: SystemTime) -> Self {
        Self {
            name: core.name().clone(),
            stats: core.stats(now),
            config: core.config(),
            history: core.history(),
            health_score: core.health_score(now),
            available: core.is_available(now),
            now,
            time,
            used: now,
        }
    }

    /// The breaker's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What it has counted.
    pub fn stats(&self) -> &breaker::Stats {
        &self.stats
    }

    /// From 0 to 1, see [`CircuitBreaker::health_score`].
    pub fn health_score(&self) -> f64 {
        self.health_score
    }

    /// What counts towards opening now.
    fn failures(&self) -> u32 {
        self.stats.count.failures
    }

    /// So many failures open it.
    fn threshold(&self) -> u32 {
        self.stats.count.threshold
    }

    /// Calls that have ended, whatever they came to.
    fn calls(&self) -> u64 {
        self.stats.successes.saturating_add(self.stats.failures).saturating_add(self.stats.ignored)
    }

    /// What is left of the wait, while it is open.
    fn remaining(&self) -> Option<f64> {
        (self.stats.state == State::Open).then_some(self.stats.remaining.as_secs_f64())
    }

    fn is_open(&self) -> bool {
        self.stats.state == State::Open
    }

    /// The time of day of an instant.
    fn time_of(&self, at: Instant) -> SystemTime {
        self.time.checked_sub(self.now.since(at)).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    fn unix(&self, at: Option<Instant>) -> Option<f64> {
        at.map(|at| unix(self.time_of(at)))
    }

    fn iso(&self, at: Option<Instant>) -> Option<String> {
        at.map(|at| timestamp(self.time_of(at)))
    }
}

impl Registry {
    /// All circuit breakers as they are now, in the order of their names.
    pub fn readings(&self) -> Vec<Reading> {
        self.readings_at(SystemTime::now())
    }

    /// The same if it is now `time`.
    pub fn readings_at(&self, time: SystemTime) -> Vec<Reading> {
        let readings = self.breakers_used().into_iter();
        readings.map(|(_, breaker, used)| Reading { used, ..Reading::at(&breaker, time) }).collect()
    }
}

/// Seconds since 1970.
fn unix(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

#[cfg(test)]
mod tests;
