//! What a name has in a registry or in a map by key: a policy, and every stage that the name ever had.
//!
//! Owns how such an entry is made or gets other settings, which is one function ([`Slot::put`]), and what of it may be
//! forgotten.

#![allow(private_interfaces, reason = "only this crate can name the sealed trait")]

use std::fmt::Debug;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stormproof_core::breaker::{self, Change, Loss};
use stormproof_core::{self as core, Instant, Mistakes, Name, Ticket, bulkhead, policy, rate};

use crate::clock::Clock;
use crate::clock::waiters;
use crate::policy::stages::{Bulkhead, CircuitBreaker, RateLimiter};
use crate::policy::{Handles, Policy};
use crate::telemetry::events::{Ended, Listeners, Tells};

/// A [`CircuitBreaker`], [`Bulkhead`], [`RateLimiter`] or [`Policy`].
pub trait Entry: sealed::Kept {}

impl<S: sealed::Kept> Entry for S {}

pub(crate) mod sealed {
    use super::{Debug, Handles, Policy, Slot, core, policy};

    /// Sealed: a policy, or a stage as a field of one.
    pub trait Kept: Clone + Debug + Send + Sync + 'static {
        type Config: Clone + Debug + Default + PartialEq + Send + Sync + 'static;

        /// Whether it is a policy, not one stage of it.
        const WHOLE: bool = false;

        /// The settings of a policy that has this alone.
        fn alone(config: Self::Config) -> policy::Config;

        /// The policy of a stage alone, or the policy itself.
        fn as_policy(&self) -> &Policy;

        /// The one that a name has.
        fn of(slot: &Slot) -> Option<Self>;

        /// Puts it among `stages`, and its handle among `handles`.
        fn give(&self, stages: &mut core::Policy, handles: &Handles);
    }
}

macro_rules! kept {
    ($($stage:ident as $field:ident, $within:ident: $config:ty;)*) => {$(
        impl sealed::Kept for $stage {
            type Config = $config;

            fn alone(config: $config) -> policy::Config {
                policy::Config { $field: Some(config), ..Default::default() }
            }

            fn as_policy(&self) -> &Policy {
                self.policy()
            }

                fn of(slot: &Slot) -> Option<Self> {
                slot.policy.$within(&slot.kept)
            }

            fn give(&self, stages: &mut core::Policy, handles: &Handles) {
                stages.$field = Some(self.core().clone());
                // It is empty: there was no such stage.
                let _ = handles.$field.set(self.policy().clone());
            }
        }
    )*};
}

kept! {
    CircuitBreaker as breaker, breaker_in: breaker::Config;
    Bulkhead as bulkhead, bulkhead_in: bulkhead::Config;
    RateLimiter as rate, rate_in: rate::Config;
}

impl sealed::Kept for Policy {
    type Config = policy::Config;

    const WHOLE: bool = true;

    fn alone(config: policy::Config) -> policy::Config {
        config
    }

    fn as_policy(&self) -> &Policy {
        self
    }

    fn of(slot: &Slot) -> Option<Self> {
        Some(slot.policy.clone())
    }

    fn give(&self, stages: &mut core::Policy, _: &Handles) {
        *stages = self.stages().clone();
    }
}

/// What is asked of a name: settings of the whole policy, or of the stages that are set in `config` alone.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ask {
    pub(super) config: policy::Config,
    pub(super) whole: bool,
}

/// The settings of a name.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    /// Of all stages that it ever had, as they were last put in force.
    pub(super) stages: Arc<policy::Config>,
    /// Those of the policy, if somebody gave them as a whole. Else it has all stages.
    pub(super) whole: Option<Arc<policy::Config>>,
}

impl Given {
    pub(super) fn whole(config: policy::Config) -> Self {
        let config = Arc::new(config);
        Self { stages: config.clone(), whole: Some(config) }
    }

    /// Those of the policy that calls go through.
    fn in_force(&self) -> &policy::Config {
        self.whole.as_deref().unwrap_or(&self.stages)
    }

    /// With those of `ask` in place of these. Stages that it does not name stay as they were.
    pub(super) fn with(&self, ask: &Ask) -> Self {
        let mut stages = over(&ask.config, &self.stages);
        if ask.whole {
            return Self { stages: Arc::new(stages), whole: Some(Arc::new(ask.config.clone())) };
        }
        (stages.deadline, stages.attempt_timeout) = (self.stages.deadline, self.stages.attempt_timeout);
        stages.priority = self.stages.priority;
        let whole = self.whole.as_ref().map(|whole| Arc::new(with_settings_of(whole, &ask.config)));
        Self { stages: Arc::new(stages), whole }
    }
}

/// A configuration without limits of time or a class, each stage made of those of two others.
macro_rules! stagewise {
    ($a:expr, $b:expr, $stage:expr) => {
        stagewise!($a, $b, $stage; retry hedge budget throttle breaker bulkhead rate tokens latency)
    };
    ($a:expr, $b:expr, $stage:expr; $($field:ident)*) => {
        policy::Config {
            deadline: None,
            attempt_timeout: None,
            priority: None,
            $($field: $stage($a.$field.clone(), $b.$field.clone()),)*
        }
    };
}

/// `top`, and the stages of `beneath` that it lacks.
fn over(top: &policy::Config, beneath: &policy::Config) -> policy::Config {
    let mut both = stagewise!(top, beneath, Option::or);
    if top.hedge.as_ref().is_some_and(core::hedge::Config::needs_latency) {
        // Latencies that hedges need and nobody set have the default.
        both.latency = top.latency;
    }
    let policy::Config { deadline, attempt_timeout, priority, .. } = *top;
    policy::Config { deadline, attempt_timeout, priority, ..both }
}

/// `config`, its stages as `settings` has them where it does.
pub(super) fn with_settings_of(config: &policy::Config, settings: &policy::Config) -> policy::Config {
    fn newer<C>(own: Option<C>, other: Option<C>) -> Option<C> {
        own.map(|own| other.unwrap_or(own))
    }
    let both = stagewise!(config, settings, newer);
    let policy::Config { deadline, attempt_timeout, priority, .. } = *config;
    policy::Config { deadline, attempt_timeout, priority, ..both }
}

/// The stages of `config` that `other` has, too.
fn common(config: &policy::Config, other: &policy::Config) -> policy::Config {
    fn if_both<C>(own: Option<C>, other: Option<C>) -> Option<C> {
        own.zip(other).map(|(own, _)| own)
    }
    stagewise!(config, other, if_both)
}

/// Where entries are made, and for whom.
pub(super) struct Place<'a> {
    pub(super) clock: &'a Clock,
    /// Hears what entries tell.
    pub(super) bus: &'a Listeners,
    /// Takes over what a former process left of a breaker that is new here.
    pub(super) restore: &'a dyn Fn(&core::CircuitBreaker) -> Option<Change>,
}

/// An entry that was put in its place, and what is to be done about it under no lock.
#[must_use]
pub(super) struct Put {
    pub(super) slot: Slot,
    pub(super) after: After,
}

#[derive(Debug, Default)]
pub(super) struct After {
    wake: Vec<Ticket>,
    changes: [Option<Change>; 2],
}

impl After {
    /// Wakes who may go on, and tells what changed, as `policy` tells it.
    pub(super) fn carry_out(self, policy: &Policy) {
        self.wake.into_iter().for_each(waiters::wake);
        for change in self.changes.into_iter().flatten() {
            let breaker = policy.stages().breaker.as_ref().map_or(policy.name(), |breaker| breaker.name());
            policy.tell(core::event::Kind::of_change(breaker, change));
        }
    }
}

/// What a name has.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) policy: Policy,
    /// Every stage that the name ever had: one that comes back goes on where it was.
    pub(super) kept: core::Policy,
    pub(super) given: Given,
    /// What was last asked for in vain.
    asked: Mutex<Option<Box<Ask>>>,
    /// When it was last asked for, in nanoseconds.
    pub(super) used: AtomicU64,
}

impl Slot {
    /// The entry called `name` with `given` in force: a new one, with the stage `from` if that is given, or another version
    /// of `former`, whose stages keep their state and their counts.
    pub(super) fn put<S: Entry>(
        name: &Name,
        given: Given,
        former: Option<&Self>,
        from: Option<&S>,
        place: &Place<'_>,
    ) -> Result<Put, Mistakes> {
        let (now, nothing) = (place.clock.now(), policy::Config::default());
        let base = match (former, from) {
            (Some(former), _) => former.policy.clone(),
            (None, Some(from)) if S::WHOLE => from.as_policy().clone(),
            (None, _) => Policy::bare(name.clone(), place.clock),
        };
        base.0.listeners.attach(place.bus);
        let (mut present, mut before) = former
            .map_or_else(|| (base.stages().clone(), &nothing), |former| (former.kept.clone(), &*former.given.stages));
        let had_breaker = former.is_some() && present.breaker.is_some();
        if let Some(from) = from {
            from.as_policy().0.listeners.attach(place.bus);
            from.give(&mut present, &base.0.handles);
            before = &given.stages;
        }
        let core::policy::Renewed { policy: kept, wake, moved, .. } =
            present.renewed(now, &given.stages, before, crate::random_seed())?;
        let new = kept.breaker.as_ref().filter(|_| !had_breaker);
        let changes = [moved.map(Change::Moved), new.and_then(|breaker| (place.restore)(breaker))];
        let after = After { wake, changes };
        let as_it_is = former.is_none() && from.is_some() && S::WHOLE;
        let policy = if as_it_is { base } else { base.but(kept.only(given.in_force())) };
        let used = AtomicU64::new(former.map_or(now, Self::used).as_nanos());
        Ok(Put { slot: Self { policy, kept, given, asked: Mutex::default(), used }, after })
    }

    /// How `ask` contradicts what is there: the fields that differ from the settings that were given and from the present
    /// ones; unless `always`, not if the same was asked for just before.
    pub(super) fn contradiction(&self, ask: &Ask, always: bool) -> Option<String> {
        let (given, present, asked) = if ask.whole && self.given.whole.is_some() {
            (self.given.in_force().clone(), self.policy.stages().config(), ask.config.clone())
        } else {
            let asked = common(&ask.config, &self.given.stages);
            (common(&self.given.stages, &asked), common(&self.kept.config(), &asked), asked)
        };
        if given == asked || present == asked {
            return None;
        }
        let mut last = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let again = last.as_deref() == Some(ask);
        *last = Some(Box::new(ask.clone()));
        (always || !again).then(|| present.differences(&asked).join("; "))
    }

    /// Whether anybody else has a handle of the policy, in any version, or of a stage: only then can a call be in flight.
    pub(super) fn is_held(&self) -> bool {
        let (core, handles) = (&self.policy.0.core, &self.policy.0.handles);
        Arc::strong_count(&self.policy.0) > 1
            || Arc::strong_count(handles) > 1
            || is_shared(self.kept.breaker.as_ref(), core.breaker.as_ref(), handles.breaker.get())
            || is_shared(self.kept.bulkhead.as_ref(), core.bulkhead.as_ref(), handles.bulkhead.get())
            || is_shared(self.kept.rate.as_ref(), core.rate.as_ref(), handles.rate.get())
            || is_shared(self.kept.tokens.as_ref(), core.tokens.as_ref(), handles.tokens.get())
            || is_shared(self.kept.budget.as_ref(), core.budget.as_ref(), None)
            || is_shared(self.kept.throttle.as_ref(), core.throttle.as_ref(), None)
    }

    /// Whether it may be that only its own listeners hold it: one that captures what it listens to is such a handle.
    pub(super) fn may_hold_itself(&self) -> bool {
        self.listeners().any(Listeners::may_hold)
    }

    /// Ends all listeners that only this knows. What comes back is the user's, to be dropped under no lock.
    pub(super) fn end_listeners(&self) -> Vec<Ended> {
        self.listeners().map(Listeners::end_all).collect()
    }

    fn listeners(&self) -> impl Iterator<Item = &Listeners> {
        let handles = &self.policy.0.handles;
        let stages = [
            handles.breaker.get().map(Tells::listeners),
            handles.bulkhead.get().map(Tells::listeners),
            handles.rate.get().map(Tells::listeners),
            handles.tokens.get().map(Tells::listeners),
        ];
        stages.into_iter().flatten().chain([&self.policy.0.listeners])
    }

    pub(super) fn loss(&self, now: Instant) -> Loss {
        self.kept.loss(now)
    }

    pub(super) fn used(&self) -> Instant {
        Instant::from_nanos(self.used.load(std::sync::atomic::Ordering::Relaxed))
    }

    pub(super) fn idle(&self, now: Instant) -> Duration {
        now.since(self.used())
    }
}

/// Whether a stage is known in more places than the entry: there it is kept, in the policy, and in what its handle holds.
fn is_shared<T>(kept: Option<&Arc<T>>, in_force: Option<&Arc<T>>, handle: Option<&Policy>) -> bool {
    let own = 1 + usize::from(in_force.is_some()) + usize::from(handle.is_some());
    kept.is_some_and(|stage| Arc::strong_count(stage) > own)
        || handle.is_some_and(|handle| Arc::strong_count(&handle.0) > 1)
}
