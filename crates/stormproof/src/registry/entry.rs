//! What a registry and the maps by key keep: the stages and whole policies.
//!
//! Owns what these have in common: how one is made, updated, and whether it can be forgotten.

use std::fmt::Debug;
use std::sync::Arc;

use stormproof_core::breaker::{self, Loss};
use stormproof_core::event::Kind;
use stormproof_core::{Instant, Invalid, Mistakes, Name, bulkhead, policy, rate};

use super::bounded::{Bounded, Shelves};
use super::{Error, Registry, reload};
use crate::clock::Clock;
use crate::policy::Policy;
use crate::stages::{Bulkhead, CircuitBreaker, RateLimiter};

/// A [`CircuitBreaker`], [`Bulkhead`], [`RateLimiter`] or [`Policy`].
pub trait Entry: sealed::Kept {}

impl<S: sealed::Kept> Entry for S {}

pub(crate) mod sealed {
    use super::{
        Bounded, Clock, Debug, Error, Instant, Invalid, Kind, Loss, Mistakes, Name, Policy, Registry, Shelves,
    };

    /// Sealed: what is needed of one that is kept.
    pub trait Kept: Clone + Debug + Send + Sync + 'static {
        type Config: Clone + Debug + Default + PartialEq + Send + Sync + 'static;

        fn make(name: Name, config: Self::Config, clock: &Clock) -> Result<Self, Mistakes>;

        fn validate(config: &Self::Config) -> Vec<Invalid>;

        /// The policy of a stage alone, or the policy itself.
        fn as_policy(&self) -> &Policy;

        /// The present settings.
        fn config(&self) -> Self::Config;

        /// Changes the settings and keeps the state. If that cannot be done in place, gives what is to take its place.
        fn change(&self, config: Self::Config) -> Result<Option<Self>, Mistakes>;

        /// Whether anybody but the map has a handle: only then can a call be in flight.
        fn is_held(&self) -> bool;

        /// What would be lost if it were forgotten, provided that nobody has a handle.
        fn loss(&self, now: Instant) -> Loss;

        /// Whether a call would pass now.
        fn is_available(&self) -> bool;

        /// Where a registry keeps it.
        fn shelf(registry: &Shelves) -> &Bounded<Self>;

        /// Makes one for a registry, under the lock of its shelf.
        fn make_in(registry: &Registry, name: Name, config: Self::Config) -> Result<Self, Error> {
            let made = Self::make(name.clone(), config, registry.clock());
            let made = made.map_err(|mistakes| Error::Invalid { name, mistakes })?;
            registry.attach(made.as_policy());
            made.restore(registry);
            Ok(made)
        }

        /// Takes over what a former process left of it, before it is in the registry. Returns what there is to tell.
        fn restore(&self, _registry: &Registry) -> Option<Kind> {
            None
        }

        /// Called once it is in the registry.
        fn welcome(&self, _registry: &Registry) {}
    }
}

impl sealed::Kept for CircuitBreaker {
    type Config = breaker::Config;

    fn make(name: Name, config: breaker::Config, clock: &Clock) -> Result<Self, Mistakes> {
        Self::with_clock(name, config, clock)
    }

    fn validate(config: &breaker::Config) -> Vec<Invalid> {
        config.validate()
    }

    fn as_policy(&self) -> &Policy {
        self.policy()
    }

    fn shelf(registry: &Shelves) -> &Bounded<Self> {
        &registry.breakers
    }

    fn config(&self) -> breaker::Config {
        self.core().config()
    }

    fn change(&self, config: breaker::Config) -> Result<Option<Self>, Mistakes> {
        self.update(config).map(|()| None)
    }

    fn is_held(&self) -> bool {
        // Its own policy has the stage, too.
        is_shared(self.policy(), self.core(), 2)
    }

    fn loss(&self, now: Instant) -> Loss {
        self.core().loss(now)
    }

    fn is_available(&self) -> bool {
        Self::is_available(self)
    }

    #[cfg(feature = "persist")]
    fn restore(&self, registry: &Registry) -> Option<Kind> {
        registry.take_over(self)
    }

    #[cfg(feature = "persist")]
    fn welcome(&self, registry: &Registry) {
        registry.persistence().taken(self.name());
    }
}

impl sealed::Kept for Bulkhead {
    type Config = bulkhead::Config;

    fn make(name: Name, config: bulkhead::Config, clock: &Clock) -> Result<Self, Mistakes> {
        Self::with_clock(name, config, clock)
    }

    fn validate(config: &bulkhead::Config) -> Vec<Invalid> {
        config.validate()
    }

    fn as_policy(&self) -> &Policy {
        self.policy()
    }

    fn shelf(registry: &Shelves) -> &Bounded<Self> {
        &registry.bulkheads
    }

    fn config(&self) -> bulkhead::Config {
        self.core().config()
    }

    fn change(&self, config: bulkhead::Config) -> Result<Option<Self>, Mistakes> {
        self.update(config).map(|()| None)
    }

    fn is_held(&self) -> bool {
        is_shared(self.policy(), self.core(), 2)
    }

    fn loss(&self, _: Instant) -> Loss {
        loss_of_slots(self.core())
    }

    fn is_available(&self) -> bool {
        has_slots(self.core())
    }
}

impl sealed::Kept for RateLimiter {
    type Config = rate::Config;

    fn make(name: Name, config: rate::Config, clock: &Clock) -> Result<Self, Mistakes> {
        Self::with_clock(name, config, clock)
    }

    fn validate(config: &rate::Config) -> Vec<Invalid> {
        config.validate()
    }

    fn as_policy(&self) -> &Policy {
        self.policy()
    }

    fn shelf(registry: &Shelves) -> &Bounded<Self> {
        &registry.limiters
    }

    fn config(&self) -> rate::Config {
        self.core().config()
    }

    fn change(&self, config: rate::Config) -> Result<Option<Self>, Mistakes> {
        self.update(config).map(|()| None)
    }

    fn is_held(&self) -> bool {
        is_shared(self.policy(), self.core(), 2)
    }

    fn loss(&self, now: Instant) -> Loss {
        loss_of_permits(self.core(), now)
    }

    fn is_available(&self) -> bool {
        self.peek(1).is_zero()
    }
}

impl sealed::Kept for Policy {
    type Config = policy::Config;

    fn make(name: Name, config: policy::Config, clock: &Clock) -> Result<Self, Mistakes> {
        Self::builder(name).config(config).clock(clock).build()
    }

    fn validate(config: &policy::Config) -> Vec<Invalid> {
        config.validate()
    }

    fn as_policy(&self) -> &Policy {
        self
    }

    fn shelf(registry: &Shelves) -> &Bounded<Self> {
        &registry.policies
    }

    fn config(&self) -> policy::Config {
        self.stages().config()
    }

    fn change(&self, config: policy::Config) -> Result<Option<Self>, Mistakes> {
        reload::renewed(self, &config).map(Some)
    }

    fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    fn loss(&self, now: Instant) -> Loss {
        let stages = self.stages();
        [
            stages.breaker.as_ref().map(|stage| stage.loss(now)),
            stages.bulkhead.as_ref().map(|stage| loss_of_slots(stage)),
            stages.rate.as_ref().map(|stage| loss_of_permits(stage, now)),
            stages.tokens.as_ref().map(|stage| loss_of_permits(stage, now)),
            stages.budget.as_ref().map(|_| Loss::Counts),
        ]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or(Loss::Nothing)
    }

    fn is_available(&self) -> bool {
        let (stages, now) = (self.stages(), self.clock().now());
        let limiters = [&stages.rate, &stages.tokens];
        stages.breaker.as_ref().is_none_or(|stage| stage.is_available(now))
            && stages.bulkhead.as_ref().is_none_or(|stage| has_slots(stage))
            && limiters.into_iter().flatten().all(|stage| stage.peek(now, 1).is_zero())
    }
}

/// Whether there are handles besides the one that is looked at, whose own stage is known in `own` places.
fn is_shared<T>(policy: &Policy, stage: &Arc<T>, own: usize) -> bool {
    Arc::strong_count(&policy.0) > 1 || Arc::strong_count(stage) > own
}

fn loss_of_slots(bulkhead: &stormproof_core::Bulkhead) -> Loss {
    let stats = bulkhead.stats();
    match (stats.active, stats.queued) {
        // How many slots suit the callee was learned.
        (0, 0) if bulkhead.adapts() => Loss::Counts,
        (0, 0) => Loss::Nothing,
        _ => Loss::State,
    }
}

fn has_slots(bulkhead: &stormproof_core::Bulkhead) -> bool {
    let stats = bulkhead.stats();
    stats.queued == 0 && stats.active < stats.max_concurrent
}

/// A limiter that is not full would, made anew, let a whole burst through.
fn loss_of_permits(limiter: &stormproof_core::RateLimiter, now: Instant) -> Loss {
    let stats = limiter.stats(now);
    match (stats.waiting, stats.available >= stats.burst) {
        (0, true) => Loss::Nothing,
        (0, false) => Loss::Counts,
        _ => Loss::State,
    }
}
