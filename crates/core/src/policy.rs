//! A policy: the stages that a call passes, each optional, as data.
//!
//! Owns which stages there are and how they are configured together. The order they run in is in [`crate::call`].

mod calls;

use std::sync::Arc;
use std::time::Duration;

use crate::breaker::{self, CircuitBreaker, Loss, Scope};
use crate::budget::{self, RetryBudget};
use crate::bulkhead::{self, Bulkhead};
use crate::caller::Priority;
use crate::decision::{Name, Ticket};
use crate::hedge::{self, Hedge};
use crate::invalid::{Check, Invalid, Mistakes};
use crate::latency::{self, Latency};
use crate::rate::{self, RateLimiter};
use crate::retry::{self, Retry};
use crate::snapshot::Snapshot;
use crate::throttle::{self, Throttle};
use crate::time::Instant;
use crate::timeout::TimedOut;

pub use self::calls::Calls;

/// The stages of a call. Stages are shared, so several policies can hold the same breaker, limiter or budget, and a
/// reloaded policy keeps the state of the one before.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Policy {
    /// The policy's name.
    pub name: Name,
    /// The longest the whole call may take, waits and retries included. A nested call can only have less.
    pub deadline: Option<Duration>,
    /// The class of calls that name none and are not within a call that has one.
    pub priority: Option<Priority>,
    /// Whether and when failed attempts are repeated.
    pub retry: Option<Arc<Retry>>,
    /// Whether a slow attempt is doubled.
    pub hedge: Option<Arc<Hedge>>,
    /// What all retries and hedges together may cost.
    pub budget: Option<Arc<RetryBudget>>,
    /// Refuses what the callee would refuse anyway.
    pub throttle: Option<Arc<Throttle>>,
    /// Stops calling what has been failing.
    pub breaker: Option<Arc<CircuitBreaker>>,
    /// How many may be at it at once.
    pub bulkhead: Option<Arc<Bulkhead>>,
    /// How many requests may start in a time.
    pub rate: Option<Arc<RateLimiter>>,
    /// How many tokens may be used in a time; a call says its cost.
    pub tokens: Option<Arc<RateLimiter>>,
    /// The longest one attempt may take.
    pub attempt_timeout: Option<Duration>,
    /// How long successful attempts took.
    pub latency: Option<Arc<Latency>>,
    /// How often its calls ran out of time.
    pub timed_out: Arc<TimedOut>,
    /// Number of its calls by outcome, however many attempts each had.
    pub calls: Arc<Calls>,
}

impl Policy {
    /// A policy without stages: every call passes.
    pub fn new(name: impl Into<Name>) -> Self {
        Self {
            name: name.into(),
            deadline: None,
            priority: None,
            retry: None,
            hedge: None,
            budget: None,
            throttle: None,
            breaker: None,
            bulkhead: None,
            rate: None,
            tokens: None,
            attempt_timeout: None,
            latency: None,
            timed_out: Arc::default(),
            calls: Arc::default(),
        }
    }

    /// When a call that begins at `now` must be over, as far as this policy says; [`Instant::FAR_FUTURE`] for never.
    #[inline]
    pub fn deadline_at(&self, now: Instant) -> Instant {
        self.deadline.map_or(Instant::FAR_FUTURE, |limit| now + limit)
    }

    /// What the breaker counts as one outcome, as it is configured now.
    #[inline]
    pub fn scope(&self) -> Scope {
        self.breaker.as_ref().map_or(Scope::Attempt, |breaker| breaker.scope())
    }

    /// How the policy and its stages are configured now.
    pub fn config(&self) -> Config {
        Config {
            deadline: self.deadline,
            attempt_timeout: self.attempt_timeout,
            priority: self.priority,
            retry: self.retry.as_ref().map(|stage| stage.config().clone()),
            hedge: self.hedge.as_ref().map(|stage| stage.config()),
            latency: self.own_latency().map(Latency::config),
            budget: self.budget.as_ref().map(|stage| stage.config()),
            throttle: self.throttle.as_ref().map(|stage| stage.config()),
            breaker: self.breaker.as_ref().map(|stage| stage.config()),
            bulkhead: self.bulkhead.as_ref().map(|stage| stage.config()),
            rate: self.rate.as_ref().map(|stage| stage.config()),
            tokens: self.tokens.as_ref().map(|stage| stage.config()),
        }
    }

    /// The measurements, unless they are only there because hedging needs some.
    fn own_latency(&self) -> Option<&Latency> {
        let needed = self.hedge.as_ref().is_some_and(|hedge| hedge.config().needs_latency());
        self.latency.as_deref().filter(|latency| !needed || latency.config() != latency::Config::default())
    }

    fn limits_time(&self) -> bool {
        self.deadline.is_some() || self.attempt_timeout.is_some()
    }

    /// Whether any stage asks when a call succeeded. If not, the time of its start does as well.
    #[inline]
    pub fn success_needs_time(&self) -> bool {
        self.breaker.is_some()
            || self.tokens.is_some()
            || self.hedge.is_some()
            || self.throttle.is_some()
            || self.latency.is_some()
            || self.bulkhead.as_ref().is_some_and(|stage| stage.adapts())
    }

    /// Whether the call's `attempt`-th attempt (from 1) could be followed by another, be it a retry or a hedge. A door
    /// that must copy a request copies it only then.
    pub fn may_repeat_after(&self, attempt: u32) -> bool {
        let rounds = self.retry.as_ref().map_or(0, |retry| retry.config().max_retries).saturating_add(1);
        let each = self.hedge.as_ref().map_or(0, |hedge| hedge.config().max_hedges).saturating_add(1);
        attempt < rounds.saturating_mul(each)
    }

    /// Whether a call would pass all stages now. Takes and counts nothing.
    pub fn is_available(&self, now: Instant) -> bool {
        let has_slot = |stage: &Bulkhead| {
            let stats = stage.stats();
            stats.queued == 0 && stats.active < stats.max_concurrent
        };
        self.breaker.as_ref().is_none_or(|stage| stage.is_available(now))
            && self.bulkhead.as_ref().is_none_or(|stage| has_slot(stage))
            && [&self.rate, &self.tokens].into_iter().flatten().all(|stage| stage.peek(now, 1).is_zero())
    }

    /// What would be lost if the policy were forgotten and made anew. Ordinary calls in flight leave no trace in it:
    /// whoever forgets it has to know that there are none.
    pub fn loss(&self, now: Instant) -> Loss {
        let of_slots = |stage: &Bulkhead| match stage.stats() {
            stats if stats.active > 0 || stats.queued > 0 => Loss::State,
            // The number of slots that suits the callee was learned.
            _ if stage.adapts() => Loss::Counts,
            _ => Loss::Nothing,
        };
        let of_permits = |stage: &RateLimiter| {
            // A limiter that is not full would, made anew, let a whole burst through.
            let stats = stage.stats(now);
            if stats.waiting > 0 || stats.available < stats.burst { Loss::State } else { Loss::Nothing }
        };
        let of_budget = |stage: &RetryBudget| match stage.stats(now) {
            stats if stats.retries > 0 => Loss::State,
            stats if stats.calls > 0 => Loss::Counts,
            _ => Loss::Nothing,
        };
        let measured = |stage: &Latency| if stage.recent(now).samples() > 0 { Loss::Counts } else { Loss::Nothing };
        [
            self.breaker.as_ref().map(|stage| stage.loss(now)),
            self.bulkhead.as_ref().map(|stage| of_slots(stage)),
            self.rate.as_ref().map(|stage| of_permits(stage)),
            self.tokens.as_ref().map(|stage| of_permits(stage)),
            self.budget.as_ref().map(|stage| of_budget(stage)),
            self.latency.as_ref().map(|stage| measured(stage)),
        ]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or(Loss::Nothing)
    }

    /// The stages as data.
    pub fn snapshots(&self, now: Instant) -> Vec<Snapshot> {
        [
            self.throttle.as_ref().map(|stage| stage.snapshot(now)),
            self.breaker.as_ref().map(|stage| stage.snapshot(now)),
            self.bulkhead.as_ref().map(|stage| stage.snapshot()),
            self.rate.as_ref().map(|stage| stage.snapshot(now)),
            self.tokens.as_ref().map(|stage| stage.snapshot(now)),
            self.retry.as_ref().map(|stage| stage.snapshot(&self.name)),
            self.hedge.as_ref().map(|stage| stage.snapshot(&self.name)),
            self.budget.as_ref().map(|stage| stage.snapshot(now)),
            self.latency.as_ref().map(|stage| stage.snapshot(now)),
            self.limits_time().then(|| self.timed_out.snapshot(&self.name)),
            Some(self.calls.snapshot(&self.name)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// How a policy is configured. A stage that is absent does not run.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{policy, retry};
///
/// let config = policy::Config {
///     deadline: Some(Duration::from_secs(30)),
///     retry: Some(retry::Config::default()),
///     ..Default::default()
/// };
/// let policy = config.build("openai", 7).expect("valid");
/// assert!(policy.may_repeat_after(1));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Config {
    /// The longest the whole call may take. Default: no limit of its own.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration::option"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::time::duration::Written>"))]
    pub deadline: Option<Duration>,
    /// The longest one attempt may take. Default: no limit of its own.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration::option"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::time::duration::Written>"))]
    pub attempt_timeout: Option<Duration>,
    /// Class of calls that name none and are not made within a call that has one: "low", "normal", "high" or "critical". A
    /// bulkhead's queue serves the highest class first and sheds the lowest first. Default: normal, and nested calls inherit
    /// nothing.
    pub priority: Option<Priority>,
    /// Retries. Default: none.
    pub retry: Option<retry::Config>,
    /// Hedges. Default: none.
    pub hedge: Option<hedge::Config>,
    /// The budget of retries and hedges. Default: none.
    pub budget: Option<budget::Config>,
    /// The adaptive throttle. Default: none.
    pub throttle: Option<throttle::Config>,
    /// The circuit breaker. Default: none.
    pub breaker: Option<breaker::Config>,
    /// The bulkhead. Default: none.
    pub bulkhead: Option<bulkhead::Config>,
    /// The limit of requests. Default: none.
    pub rate: Option<rate::Config>,
    /// The limit of tokens. Default: none.
    pub tokens: Option<rate::Config>,
    /// Measures how long successful attempts take. Default: only if the hedge's delay is a percentile.
    pub latency: Option<latency::Config>,
}

impl Config {
    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        for (field, limit) in [("deadline", self.deadline), ("attempt_timeout", self.attempt_timeout)] {
            if let Some(limit) = limit {
                check.that(!limit.is_zero(), field, limit, "more than zero");
            }
        }
        if self.budget.is_some() {
            let repeats = self.retry.is_some() || self.hedge.is_some();
            check.that(repeats, "budget", format_args!("set without retry"), "only together with retry or hedge");
        }
        check.part("retry", self.retry.as_ref().map_or_else(Vec::new, retry::Config::validate));
        check.part("hedge", self.hedge.as_ref().map_or_else(Vec::new, hedge::Config::validate));
        check.part("budget", self.budget.as_ref().map_or_else(Vec::new, budget::Config::validate));
        check.part("throttle", self.throttle.as_ref().map_or_else(Vec::new, throttle::Config::validate));
        check.part("breaker", self.breaker.as_ref().map_or_else(Vec::new, breaker::Config::validate));
        check.part("bulkhead", self.bulkhead.as_ref().map_or_else(Vec::new, bulkhead::Config::validate));
        check.part("rate", self.rate.as_ref().map_or_else(Vec::new, rate::Config::validate));
        check.part("tokens", self.tokens.as_ref().map_or_else(Vec::new, rate::Config::validate));
        check.part("latency", self.latency.as_ref().map_or_else(Vec::new, latency::Config::validate));
        check.done()
    }

    /// The policy with stages of its own, each named like the policy, their chance seeded with `seed`.
    pub fn build(self, name: impl Into<Name>, seed: u64) -> Result<Policy, Mistakes> {
        Policy::new(name).renewed(Instant::ZERO, &self, &Self::default(), seed).map(|renewed| renewed.policy)
    }
}

/// A policy with other settings, and what came of them.
#[derive(Debug)]
#[must_use = "who waits must be polled"]
#[non_exhaustive]
pub struct Renewed {
    /// The policy.
    pub policy: Policy,
    /// Whom to poll, under no lock.
    pub wake: Vec<Ticket>,
    /// The transition of the breaker, if another mode made one.
    pub moved: Option<breaker::Transition>,
}

impl Policy {
    /// The policy of this name with `config`, and what is to be done afterwards; or all mistakes, and nothing has changed.
    ///
    /// Stages that this policy has go on: breaker, bulkhead, limiters, budget and latencies are shared by both, retries and
    /// hedges count where they counted. A shared stage gets its new settings at once, unless they are those of `before`,
    /// which were in force last: then what was changed at the stage itself since (its number of slots, its mode) stays.
    pub fn renewed(&self, now: Instant, config: &Config, before: &Config, seed: u64) -> Result<Renewed, Mistakes> {
        Mistakes::none(config.validate())?;
        let (name, mut wake, mut moved) = (&self.name, Vec::new(), None);
        let needed = config.hedge.as_ref().is_some_and(hedge::Config::needs_latency).then(latency::Config::default);
        let policy = Self {
            name: name.clone(),
            deadline: config.deadline,
            attempt_timeout: config.attempt_timeout,
            priority: config.priority,
            retry: match (&config.retry, &self.retry) {
                (None, _) => None,
                (Some(new), Some(present)) if before.retry.as_ref() == Some(new) => Some(present.clone()),
                (Some(new), Some(present)) => Some(Arc::new(present.renewed(new.clone())?.seed(seed))),
                (Some(new), None) => Some(Arc::new(Retry::new(new.clone())?.seed(seed))),
            },
            hedge: match (config.hedge, &self.hedge) {
                (None, _) => None,
                (Some(new), Some(present)) if before.hedge == Some(new) => Some(present.clone()),
                (Some(new), Some(present)) => Some(Arc::new(present.renewed(new)?)),
                (Some(new), None) => Some(Arc::new(Hedge::new(new)?)),
            },
            budget: shared(
                (self.budget.as_ref(), config.budget, before.budget),
                |new| RetryBudget::new(name.clone(), new),
                RetryBudget::update,
            )?,
            throttle: shared(
                (self.throttle.as_ref(), config.throttle.clone(), before.throttle.clone()),
                |new| Throttle::with_config(name.clone(), new).map(|stage| stage.seed(seed)),
                Throttle::update,
            )?,
            breaker: shared(
                (self.breaker.as_ref(), config.breaker.clone(), before.breaker.clone()),
                |new| CircuitBreaker::with_config(name.clone(), new).map(|stage| stage.seed(seed)),
                |stage, new| stage.update(now, new).map(|transition| moved = transition),
            )?,
            bulkhead: shared(
                (self.bulkhead.as_ref(), config.bulkhead.clone(), before.bulkhead.clone()),
                |new| Bulkhead::with_config(name.clone(), new),
                |stage, mut new| {
                    // An operator may have resized it.
                    if before.bulkhead.as_ref().is_some_and(|before| before.max_concurrent == new.max_concurrent) {
                        new.max_concurrent = stage.config().max_concurrent;
                    }
                    stage.update(new).map(|tickets| wake.extend(tickets))
                },
            )?,
            rate: shared(
                (self.rate.as_ref(), config.rate.clone(), before.rate.clone()),
                |new| RateLimiter::with_config(name.clone(), new),
                |stage, new| stage.update(now, new).map(|ticket| wake.extend(ticket)),
            )?,
            tokens: shared(
                (self.tokens.as_ref(), config.tokens.clone(), before.tokens.clone()),
                |new| RateLimiter::with_config(name.part("tokens"), new),
                |stage, new| stage.update(now, new).map(|ticket| wake.extend(ticket)),
            )?,
            latency: shared(
                (self.latency.as_ref(), config.latency.or(needed), before.latency),
                |new| Latency::new(name.clone(), new),
                Latency::update,
            )?,
            timed_out: self.timed_out.clone(),
            calls: self.calls.clone(),
        };
        Ok(Renewed { policy, wake, moved })
    }

    /// The policy with those of its stages that `config` has, and the limits of time of `config`.
    #[must_use]
    pub fn only(&self, config: &Config) -> Self {
        let measures = config.latency.is_some() || config.hedge.as_ref().is_some_and(hedge::Config::needs_latency);
        Self {
            name: self.name.clone(),
            deadline: config.deadline,
            attempt_timeout: config.attempt_timeout,
            priority: config.priority,
            retry: self.retry.clone().filter(|_| config.retry.is_some()),
            hedge: self.hedge.clone().filter(|_| config.hedge.is_some()),
            budget: self.budget.clone().filter(|_| config.budget.is_some()),
            throttle: self.throttle.clone().filter(|_| config.throttle.is_some()),
            breaker: self.breaker.clone().filter(|_| config.breaker.is_some()),
            bulkhead: self.bulkhead.clone().filter(|_| config.bulkhead.is_some()),
            rate: self.rate.clone().filter(|_| config.rate.is_some()),
            tokens: self.tokens.clone().filter(|_| config.tokens.is_some()),
            latency: self.latency.clone().filter(|_| measures),
            timed_out: self.timed_out.clone(),
            calls: self.calls.clone(),
        }
    }
}

/// The stage that is there, with its new settings if they are others than before; else a new one.
fn shared<S, C: PartialEq>(
    (present, config, before): (Option<&Arc<S>>, Option<C>, Option<C>),
    make: impl FnOnce(C) -> Result<S, Mistakes>,
    update: impl FnOnce(&S, C) -> Result<(), Mistakes>,
) -> Result<Option<Arc<S>>, Mistakes> {
    let Some(config) = config else { return Ok(None) };
    let Some(present) = present else { return make(config).map(Arc::new).map(Some) };
    if before.as_ref() != Some(&config) {
        update(present, config)?;
    }
    Ok(Some(present.clone()))
}
