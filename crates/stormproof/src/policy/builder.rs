//! Putting a policy together.

use std::sync::OnceLock;
use std::time::Duration;

use stormproof_core as core;
use stormproof_core::{
    Invalid, Mistakes, Name, Priority, breaker, budget, bulkhead, hedge, latency, rate, retry, throttle,
};

use crate::clock::Clock;
use crate::policy::stages::{Bulkhead, CircuitBreaker, RateLimiter, RetryBudget, Throttle};
use crate::policy::{Handles, Policy};
use crate::telemetry::events::EventBus;

/// A stage for a policy: one of its own from a configuration, or one that others share.
#[derive(Debug)]
pub enum Part<C, S> {
    /// Made for this policy.
    Own(C),
    /// Shared.
    Shared(S),
}

impl<C, S> Part<C, S> {
    /// One of the two, and nothing for the other: whichever was given last holds.
    fn split(self) -> (Option<C>, Option<S>) {
        match self {
            Self::Own(config) => (Some(config), None),
            Self::Shared(stage) => (None, Some(stage)),
        }
    }
}

macro_rules! part {
    ($config:ty, $stage:ty) => {
        impl From<$config> for Part<$config, $stage> {
            fn from(config: $config) -> Self {
                Self::Own(config)
            }
        }

        impl From<$stage> for Part<$config, $stage> {
            fn from(stage: $stage) -> Self {
                Self::Shared(stage)
            }
        }

        impl From<&$stage> for Part<$config, $stage> {
            fn from(stage: &$stage) -> Self {
                Self::Shared(stage.clone())
            }
        }
    };
}

part!(breaker::Config, CircuitBreaker);
part!(bulkhead::Config, Bulkhead);
part!(rate::Config, RateLimiter);
part!(budget::Config, RetryBudget);
part!(throttle::Config, Throttle);

impl Policy {
    /// Starts a policy without stages.
    pub fn builder(name: impl Into<Name>) -> Builder {
        Builder::new(name.into())
    }
}

/// Puts a policy together; see [`Policy::builder`]. What is not set does not run.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    name: Name,
    own: core::policy::Config,
    breaker: Option<CircuitBreaker>,
    bulkhead: Option<Bulkhead>,
    rate: Option<RateLimiter>,
    tokens: Option<RateLimiter>,
    budget: Option<RetryBudget>,
    throttle: Option<Throttle>,
    clock: Option<Clock>,
    seed: Option<u64>,
    buses: Vec<EventBus>,
}

impl Builder {
    pub(crate) fn new(name: Name) -> Self {
        Self {
            name,
            own: core::policy::Config::default(),
            breaker: None,
            bulkhead: None,
            rate: None,
            tokens: None,
            budget: None,
            throttle: None,
            clock: None,
            seed: None,
            buses: Vec::new(),
        }
    }

    /// All stages from a configuration, instead of those that were set before.
    pub fn config(self, config: core::policy::Config) -> Self {
        Self { own: config, clock: self.clock, seed: self.seed, buses: self.buses, ..Self::new(self.name) }
    }

    /// The longest the whole call may take, waits and retries included. Default: no limit of its own.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.own.deadline = Some(limit);
        self
    }

    /// The longest one attempt may take. Default: no limit of its own.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.own.attempt_timeout = Some(limit);
        self
    }

    /// Class of calls that name none and are not made within a call that has one. Default: [`Priority::Normal`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.own.priority = Some(priority);
        self
    }

    /// Repeats failed attempts. Default: none.
    pub fn retry(mut self, retry: impl Into<retry::Config>) -> Self {
        self.own.retry = Some(retry.into());
        self
    }

    /// Starts a second attempt beside one that is slow, or at once when one fails: after a
    /// [`Duration`], or as a [`hedge::Config`] says. The first result that is no failure counts. Default: none.
    pub fn hedge(mut self, hedge: impl Into<hedge::Config>) -> Self {
        self.own.hedge = Some(hedge.into());
        self
    }

    /// Measures how long successful attempts take. Default: only if the hedge's delay is a percentile.
    pub fn latency(mut self, latency: latency::Config) -> Self {
        self.own.latency = Some(latency);
        self
    }

    /// Limits what all retries and hedges together may cost. Default: no limit.
    pub fn budget(mut self, budget: impl Into<Part<budget::Config, RetryBudget>>) -> Self {
        (self.own.budget, self.budget) = budget.into().split();
        self
    }

    /// Refuses a share of the calls that the callee would refuse anyway. Default: none.
    pub fn throttle(mut self, throttle: impl Into<Part<throttle::Config, Throttle>>) -> Self {
        (self.own.throttle, self.throttle) = throttle.into().split();
        self
    }

    /// Stops calling what has been failing.
    pub fn breaker(mut self, breaker: impl Into<Part<breaker::Config, CircuitBreaker>>) -> Self {
        (self.own.breaker, self.breaker) = breaker.into().split();
        self
    }

    /// Limits how many calls are under way at once.
    pub fn bulkhead(mut self, bulkhead: impl Into<Part<bulkhead::Config, Bulkhead>>) -> Self {
        (self.own.bulkhead, self.bulkhead) = bulkhead.into().split();
        self
    }

    /// Limits how many requests start in a time.
    pub fn rate(mut self, rate: impl Into<Part<rate::Config, RateLimiter>>) -> Self {
        (self.own.rate, self.rate) = rate.into().split();
        self
    }

    /// Limits how many tokens are used in a time; a call says its cost by [`Calling::cost`](crate::Calling::cost).
    pub fn tokens(mut self, tokens: impl Into<Part<rate::Config, RateLimiter>>) -> Self {
        (self.own.tokens, self.tokens) = tokens.into().split();
        self
    }

    /// Where time comes from. Default: that of the first shared stage, else the system.
    pub fn clock(mut self, clock: &Clock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// Seeds jitter, so that a run can be repeated. Default: different in each process.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Brings the policy's events to `bus`; more than one bus is possible. Default: none.
    pub fn bus(mut self, bus: &EventBus) -> Self {
        self.buses.push(bus.clone());
        self
    }

    /// The policy, or all that is wrong with it.
    pub fn build(self) -> Result<Policy, Mistakes> {
        let breaker = self.breaker.as_ref().map(CircuitBreaker::policy);
        let bulkhead = self.bulkhead.as_ref().map(Bulkhead::policy);
        let [rate, tokens] = [&self.rate, &self.tokens].map(|limiter| limiter.as_ref().map(RateLimiter::policy));
        let shared = || [breaker, bulkhead, rate, tokens].into_iter().flatten().map(Policy::clock);
        let clock = self.clock.or_else(|| shared().next().cloned()).unwrap_or_default();

        let mut mistakes = self.own.validate();
        if self.budget.is_some() && self.own.retry.is_none() && self.own.hedge.is_none() {
            mistakes.push(Invalid::new("budget", "set without retry", "only together with retry or hedge"));
        }
        if shared().any(|other| other.identity() != clock.identity()) {
            mistakes.push(Invalid::new("clock", "not that of a shared stage", "one clock for a policy and its stages"));
        }
        if !mistakes.is_empty() {
            return Err(mistakes.into());
        }
        let mut core = self.own.build(self.name, self.seed.unwrap_or_else(crate::random_seed))?;
        core.breaker = self.breaker.as_ref().map(|stage| stage.core().clone()).or(core.breaker);
        core.bulkhead = self.bulkhead.as_ref().map(|stage| stage.core().clone()).or(core.bulkhead);
        core.rate = self.rate.as_ref().map(|stage| stage.core().clone()).or(core.rate);
        core.tokens = self.tokens.as_ref().map(|stage| stage.core().clone()).or(core.tokens);
        core.budget = self.budget.as_ref().map(|stage| stage.core().clone()).or(core.budget);
        core.throttle = self.throttle.as_ref().map(|stage| stage.core().clone()).or(core.throttle);
        let handles = Handles {
            breaker: handle(breaker),
            bulkhead: handle(bulkhead),
            rate: handle(rate),
            tokens: handle(tokens),
        };
        let policy = Policy::with_handles(core, clock, handles);
        self.buses.iter().for_each(|bus| bus.attach(&policy));
        Ok(policy)
    }
}

/// What the handle of a stage from outside holds.
fn handle(stage: Option<&Policy>) -> OnceLock<Policy> {
    stage.cloned().map_or_else(OnceLock::new, OnceLock::from)
}
