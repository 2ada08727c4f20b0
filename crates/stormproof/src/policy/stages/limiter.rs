//! A rate limiter by itself.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use stormproof_core as core;
use stormproof_core::{Mistakes, Name, Refused, rate};

use crate::call::error::Error;
use crate::call::held::Held;
use crate::clock::Clock;
use crate::clock::waiters;
use crate::policy::Policy;

/// A rate limiter: a number of calls in a time, with a burst; callers wait in order.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stormproof::{rate, RateLimiter};
///
/// let limiter = RateLimiter::with_config("anthropic", rate::Config { rate: 10, burst: Some(20), ..Default::default() })?;
/// limiter.acquire(1).await?; // waits if it must
/// limiter.try_acquire(1)?; // does not wait, and says when to come again
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RateLimiter {
    policy: Policy,
    stage: Arc<core::RateLimiter>,
}

super::stage!(RateLimiter, tokens, rate::Config);

impl RateLimiter {
    /// With the default configuration on the system's clock.
    pub fn new(name: impl Into<Name>) -> Self {
        Self::from_core(core::RateLimiter::new(name), &Clock::system())
    }

    /// With `config` on `clock`, or all that is wrong with it.
    pub fn with_clock(name: impl Into<Name>, config: rate::Config, clock: &Clock) -> Result<Self, Mistakes> {
        core::RateLimiter::with_config(name, config).map(|stage| Self::from_core(stage, clock))
    }

    /// Waits until `cost` is allowed, and takes it.
    pub async fn acquire(&self, cost: u32) -> Result<(), Error<Infallible>> {
        self.reserve(cost).await.map(drop)
    }

    /// Waits until `cost` is allowed, and reserves it. Settle what comes back with
    /// [`Verdict::used`](core::Verdict::used) to correct the cost, or release it to give the cost back. Dropped, the cost
    /// stays taken.
    pub async fn reserve(&self, cost: u32) -> Result<Held, Error<Infallible>> {
        self.policy.admit_cost(cost).await
    }

    /// [`acquire`](Self::acquire) for a thread that may block.
    pub fn acquire_sync(&self, cost: u32) -> Result<(), Error<Infallible>> {
        self.reserve_sync(cost).map(drop)
    }

    /// [`reserve`](Self::reserve) for a thread that may block.
    pub fn reserve_sync(&self, cost: u32) -> Result<Held, Error<Infallible>> {
        self.policy.admit_cost_sync(cost)
    }

    /// Reserves `cost` if that is allowed now, as [`reserve`](Self::reserve) does; else says why not, and in
    /// [`Refused::retry_after`] when it would be. It neither waits nor blocks, so it is for asynchronous and for
    /// synchronous callers.
    pub fn try_acquire(&self, cost: u32) -> Result<Held, Refused> {
        let taken = self.stage.try_acquire(self.policy.clock().now(), cost);
        let reservation = taken.map_err(|refusal| refusal.to_refused())?;
        Ok(Held::new(self.policy.clone(), reservation.into()))
    }

    /// How long a caller would have to wait for `cost` now; takes nothing. [`Duration::MAX`]
    /// if it can never pass.
    pub fn peek(&self, cost: u32) -> Duration {
        self.stage.peek(self.policy.clock().now(), cost)
    }

    /// Changes the configuration and keeps the state, or says all that is wrong with it.
    pub fn update(&self, config: rate::Config) -> Result<(), Mistakes> {
        self.stage.update(self.policy.clock().now(), config)?.into_iter().for_each(waiters::wake);
        Ok(())
    }

    /// Allowed and refused requests, who waits, what is left.
    pub fn stats(&self) -> rate::Stats {
        self.stage.stats(self.policy.clock().now())
    }
}
