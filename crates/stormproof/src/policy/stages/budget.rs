//! A retry budget by itself.

use std::sync::Arc;

use stormproof_core as core;
use stormproof_core::{Mistakes, Name, Snapshot, budget};

use crate::clock::Clock;

/// A retry budget: what all retries and hedges together may cost. Shared by the policies of one callee, or asked by a loop
/// of one's own. Cheap to clone; clones are the same budget.
///
/// ```
/// use stormproof::{RetryBudget, budget};
///
/// let budget = RetryBudget::new("openai", budget::Config { ratio: 0.2, floor: 1, ..Default::default() })?;
/// for _ in 0..10 {
///     budget.deposit(); // a first attempt
/// }
/// let allowed = (0..10).filter(|_| budget.withdraw()).count();
/// assert_eq!(allowed, 1 + 2);
/// # Ok::<(), stormproof::Mistakes>(())
/// ```
#[derive(Clone, Debug)]
pub struct RetryBudget {
    stage: Arc<core::RetryBudget>,
    clock: Clock,
}

impl RetryBudget {
    /// On the system's clock, or all that is wrong with `config`.
    pub fn new(name: impl Into<Name>, config: budget::Config) -> Result<Self, Mistakes> {
        Self::with_clock(name, config, &Clock::system())
    }

    /// On `clock`, or all that is wrong with `config`.
    pub fn with_clock(name: impl Into<Name>, config: budget::Config, clock: &Clock) -> Result<Self, Mistakes> {
        Ok(Self { stage: Arc::new(core::RetryBudget::new(name, config)?), clock: clock.clone() })
    }

    /// The name.
    pub fn name(&self) -> &Name {
        self.stage.name()
    }

    /// How it is configured now.
    pub fn config(&self) -> budget::Config {
        self.stage.config()
    }

    /// Counts the first attempt of a call. The calls of a policy do so by themselves.
    pub fn deposit(&self) {
        self.stage.deposit(self.clock.now());
    }

    /// Takes one retry or hedge out of the budget; false if there is none left.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        self.stage.withdraw(self.clock.now())
    }

    /// Number of retries and hedges allowed now.
    pub fn remaining(&self) -> u64 {
        self.stage.remaining(self.clock.now())
    }

    /// Changes the configuration and keeps the counts, or says all that is wrong with it. Where the window changes, what was
    /// counted in the former one counts for a whole new one.
    pub fn update(&self, config: budget::Config) -> Result<(), Mistakes> {
        self.stage.update(config)
    }

    /// Calls and retries of the window, and what was allowed and denied so far.
    pub fn stats(&self) -> budget::Stats {
        self.stage.stats(self.clock.now())
    }

    /// The same as data, for metrics and pages.
    pub fn snapshot(&self) -> Snapshot {
        self.stage.snapshot(self.clock.now())
    }

    pub(crate) fn core(&self) -> &Arc<core::RetryBudget> {
        &self.stage
    }
}
