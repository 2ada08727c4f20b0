//! An adaptive throttle by itself.

use std::sync::Arc;

use stormproof_core as core;
use stormproof_core::{Mistakes, Name, Snapshot, throttle};

use crate::clock::Clock;

/// An adaptive throttle: refuses what the callee would refuse anyway. Shared by the policies of one callee. Cheap to clone;
/// clones are the same throttle.
///
/// ```
/// use stormproof::{Policy, Throttle, throttle};
///
/// let throttle = Throttle::new("search", throttle::Config::default())?;
/// let query = Policy::builder("query").throttle(&throttle).build()?;
/// let suggest = Policy::builder("suggest").throttle(&throttle).build()?;
/// assert_eq!(throttle.stats().probability, 0.0);
/// # Ok::<(), stormproof::Mistakes>(())
/// ```
#[derive(Clone, Debug)]
pub struct Throttle {
    stage: Arc<core::Throttle>,
    clock: Clock,
}

impl Throttle {
    /// On the system's clock, or all that is wrong with `config`.
    pub fn new(name: impl Into<Name>, config: throttle::Config) -> Result<Self, Mistakes> {
        Self::with_clock(name, config, &Clock::system())
    }

    /// On `clock`, or all that is wrong with `config`.
    pub fn with_clock(name: impl Into<Name>, config: throttle::Config, clock: &Clock) -> Result<Self, Mistakes> {
        let stage = core::Throttle::with_config(name, config)?.seed(crate::random_seed());
        Ok(Self { stage: Arc::new(stage), clock: clock.clone() })
    }

    /// The name.
    pub fn name(&self) -> &Name {
        self.stage.name()
    }

    /// How it is configured now.
    pub fn config(&self) -> throttle::Config {
        self.stage.config()
    }

    /// Changes the configuration and keeps the counts unless the window changes, or says all that is wrong with it.
    pub fn update(&self, config: throttle::Config) -> Result<(), Mistakes> {
        self.stage.update(config)
    }

    /// Requests and accepts of the window, and how many are refused.
    pub fn stats(&self) -> throttle::Stats {
        self.stage.stats(self.clock.now())
    }

    /// The same as data, for metrics and pages.
    pub fn snapshot(&self) -> Snapshot {
        self.stage.snapshot(self.clock.now())
    }

    pub(crate) fn core(&self) -> &Arc<core::Throttle> {
        &self.stage
    }
}
