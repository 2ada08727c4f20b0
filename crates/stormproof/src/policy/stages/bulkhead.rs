//! A bulkhead by itself.

use std::convert::Infallible;
use std::sync::Arc;

use stormproof_core as core;
use stormproof_core::{Mistakes, Name, bulkhead};

use crate::call::error::Error;
use crate::call::held::Held;
use crate::clock::Clock;
use crate::clock::waiters;
use crate::policy::Policy;

/// A bulkhead: a limited number of calls at once, a bounded queue behind them, first come first served.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stormproof::{bulkhead, Bulkhead};
///
/// let bulkhead = Bulkhead::with_config("api", bulkhead::Config { max_concurrent: 10, ..Default::default() })?;
/// let slot = bulkhead.acquire().await?;
/// assert_eq!(bulkhead.stats().active, 1);
/// drop(slot);
/// assert_eq!(bulkhead.stats().active, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Bulkhead {
    policy: Policy,
    stage: Arc<core::Bulkhead>,
}

super::stage!(Bulkhead, bulkhead, bulkhead::Config);

impl Bulkhead {
    /// With the default configuration on the system's clock.
    pub fn new(name: impl Into<Name>) -> Self {
        Self::from_core(core::Bulkhead::new(name), &Clock::system())
    }

    /// With `config` on `clock`, or all that is wrong with it.
    pub fn with_clock(name: impl Into<Name>, config: bulkhead::Config, clock: &Clock) -> Result<Self, Mistakes> {
        core::Bulkhead::with_config(name, config).map(|stage| Self::from_core(stage, clock))
    }

    /// Waits for a slot. Dropping what comes back frees it.
    pub async fn acquire(&self) -> Result<Held, Error<Infallible>> {
        self.policy.admit().await
    }

    /// [`acquire`](Self::acquire) for a thread that may block.
    pub fn acquire_sync(&self) -> Result<Held, Error<Infallible>> {
        self.policy.admit_sync()
    }

    /// Takes a slot now or not at all, and never one that somebody waits for.
    ///
    /// ```
    /// # use stormproof::{Bulkhead, Reason, bulkhead};
    /// let one = bulkhead::Config { max_concurrent: 1, ..Default::default() };
    /// let bulkhead = Bulkhead::with_config("gpu", one).unwrap();
    /// let slot = bulkhead.try_acquire().unwrap();
    /// assert_eq!(bulkhead.try_acquire().unwrap_err().refused().unwrap().reason, Reason::QueueFull);
    /// drop(slot);
    /// assert!(bulkhead.try_acquire().is_ok());
    /// ```
    pub fn try_acquire(&self) -> Result<Held, Error<Infallible>> {
        self.policy.try_admit()
    }

    /// Active, queued and refused callers.
    pub fn stats(&self) -> bulkhead::Stats {
        self.stage.stats()
    }

    /// Changes the configuration and keeps the state, or says all that is wrong with it.
    pub fn update(&self, config: bulkhead::Config) -> Result<(), Mistakes> {
        self.stage.update(config)?.into_iter().for_each(waiters::wake);
        Ok(())
    }

    /// Changes the number of slots. Growing lets waiters in, shrinking sends nobody away.
    pub fn resize(&self, max_concurrent: u32) -> Result<(), Mistakes> {
        self.stage.resize(max_concurrent)?.into_iter().for_each(waiters::wake);
        Ok(())
    }
}
