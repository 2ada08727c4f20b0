//! Policies by name: one instance a name, wherever it is asked for. A stage is a field of the policy of its name.
//!
//! Owns the names and what can be asked of them. What it can be told is in `config.rs`, what a name has and how that is
//! made or changed in `entry.rs`, how many names are kept in `map.rs`, names from addresses in `target.rs`, maps by key in
//! `keyed.rs`.

mod config;
mod entry;
mod keyed;
mod map;
#[cfg(feature = "macros")]
mod named;
mod target;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use stormproof_core::breaker::{self, State};
use stormproof_core::event::Kind;
use stormproof_core::{self as core, Event, Instant, Mistakes, Name, Snapshot, bulkhead, policy, rate};
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::policy::Policy;
use crate::policy::stages::{Bulkhead, CircuitBreaker, RateLimiter};
use crate::telemetry::events::{Listener, Listeners};

pub use config::{Changes, Config, Error};
pub use entry::Entry;
use entry::sealed::Kept;
use entry::{After, Ask, Given, Place, Slot};
pub use keyed::{Keyed, KeyedBreakers, KeyedBulkheads, KeyedLimiters, KeyedPolicies, Limits};
use map::{Bounds, Map};
#[cfg(feature = "macros")]
#[doc(hidden)]
pub use named::Named;
pub use target::{NoTarget, target};

/// Policies, circuit breakers, bulkheads and rate limiters by name. Cheap to clone; clones are the same registry.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stormproof::{Registry, Trip, breaker};
///
/// let registry = Registry::new(); // or Registry::global()
/// let config = breaker::Config { trip: vec![Trip::consecutive(3)], ..Default::default() };
/// registry.breaker_with("openai_api", config)?; // get or create
///
/// let breaker = registry.breaker("openai_api"); // the same
/// breaker.call(|_| async { Ok::<_, std::io::Error>(()) }).await?;
/// for (name, breaker) in registry.list() {
///     println!("{name}: {}", breaker.state().as_str());
/// }
/// registry.reset_all();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    listeners: Listeners,
    strict: AtomicBool,
    settings: Mutex<Settings>,
    names: Map,
    #[cfg(feature = "persist")]
    persistence: crate::persist::Persistence,
}

/// What names are made with.
#[derive(Debug, Default)]
struct Settings {
    defaults: policy::Config,
    named: BTreeMap<Name, policy::Config>,
}

/// How a name was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// As it is, or as the settings of the registry say.
    AsItIs,
    /// With settings, which do not change what is there.
    With,
    /// Puts its settings in force.
    InForce,
}

/// What came of asking for a name.
#[derive(Debug)]
struct Asked<S> {
    given: S,
    policy: Policy,
    after: After,
    /// The settings before, if the name was there, and now.
    before: Option<Given>,
    now: Given,
    contradiction: Option<String>,
}

static GLOBAL: OnceLock<Registry> = OnceLock::new();

impl Default for Registry {
    fn default() -> Self {
        Self::build(Config::default(), &Clock::system())
    }
}

crate::telemetry::events::tells!(Registry, 0.listeners);

impl Registry {
    /// An empty registry on the system's clock.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty registry with `config` on `clock`, or all that is wrong with it.
    pub fn with_clock(config: Config, clock: &Clock) -> Result<Self, Mistakes> {
        Mistakes::none(config.validate())?;
        Ok(Self::build(config, clock))
    }

    /// The registry of the process, whose policies `#[policy("name")]` uses: the one that was
    /// [installed](Self::install), else an empty one on the system's clock.
    pub fn global() -> &'static Self {
        GLOBAL.get_or_init(Self::default)
    }

    /// Makes this the registry of the process: with its own configuration, or with the clock of a test. Once, before
    /// anybody asked for [`global`](Self::global).
    ///
    /// # Errors
    /// This registry, if the process has one already.
    pub fn install(self) -> Result<(), Self> {
        GLOBAL.set(self)
    }

    fn build(config: Config, clock: &Clock) -> Self {
        let bounds = Bounds { most: config.max_entries, idle: config.stale_after, strict: false };
        Self(Arc::new(Inner {
            clock: clock.clone(),
            listeners: Listeners::default(),
            strict: AtomicBool::new(config.strict),
            settings: Mutex::new(Settings { defaults: config.defaults, named: BTreeMap::new() }),
            names: Map::new(bounds),
            #[cfg(feature = "persist")]
            persistence: crate::persist::Persistence::default(),
        }))
    }

    /// Whether other settings for a name that exists are an error from now on.
    pub fn strict(&self, strict: bool) {
        self.0.strict.store(strict, Ordering::Relaxed);
    }

    /// The circuit breaker of the policy called `name`, made if there is none: with the settings of that name
    /// ([`configure`](Self::configure)), else the registry's defaults. Where the settings of the policy have no breaker, it
    /// stands beside the policy, whose calls do not pass it.
    pub fn breaker(&self, name: &str) -> CircuitBreaker {
        if let Some(found) = self.get(name) {
            return found;
        }
        let config = self.settings_of(name).stages.breaker.clone().unwrap_or_default();
        // Settings are looked at when they are given; a breaker there is in any case.
        self.ask(name, Some(CircuitBreaker::alone(config)), Manner::AsItIs, None)
            .map_or_else(|_| CircuitBreaker::on(name, self.clock()), |asked| Self::settle(asked, name))
    }

    /// The circuit breaker of the policy called `name`, made with `config` if there is none. If there is one with other
    /// settings, these stay and an event says what differs; in a strict registry it is an error.
    pub fn breaker_with(&self, name: &str, config: breaker::Config) -> Result<CircuitBreaker, Error> {
        self.find_or_make_with(name, config)
    }

    /// The circuit breaker of the target of `url`: one for a scheme, host and port, see [`target`].
    pub fn breaker_for_url(&self, url: &str) -> Result<CircuitBreaker, NoTarget> {
        Ok(self.breaker(&target(url)?))
    }

    /// The same, with one for each method: `https://agent-1:443 message/send`.
    pub fn breaker_for_method(&self, url: &str, method: &str) -> Result<CircuitBreaker, NoTarget> {
        Ok(self.breaker(&format!("{} {method}", target(url)?)))
    }

    /// The bulkhead of the policy called `name`, made with `config` if there is none, like
    /// [`breaker_with`](Self::breaker_with).
    pub fn bulkhead_with(&self, name: &str, config: bulkhead::Config) -> Result<Bulkhead, Error> {
        self.find_or_make_with(name, config)
    }

    /// The limit of requests of the policy called `name`, made with `config` if there is none, like
    /// [`breaker_with`](Self::breaker_with).
    pub fn limiter_with(&self, name: &str, config: rate::Config) -> Result<RateLimiter, Error> {
        self.find_or_make_with(name, config)
    }

    /// The policy called `name`, made if there is none, like [`breaker`](Self::breaker). A name that has no settings gets
    /// the registry's defaults, with the stages that somebody asked for under this name; the event `unknown_policy` says so.
    pub fn policy(&self, name: &str) -> Policy {
        if let Some(found) = self.find(name) {
            return found;
        }
        let asked = self.ask::<Policy>(name, None, Manner::AsItIs, None);
        if let Ok(Asked { policy, before: None, .. }) = &asked
            && self.settings_of(name).whole.is_none()
        {
            let stages = policy.stages().config() != policy::Config::default();
            self.tell_unknown(Kind::UnknownPolicy { name: policy.name().clone(), stages });
        }
        asked.map_or_else(|_| Policy::bare(name, self.clock()), |asked| Self::settle(asked, name))
    }

    /// The policy called `name`, made with `config` if there is none, like [`breaker_with`](Self::breaker_with).
    pub fn policy_with(&self, name: &str, config: policy::Config) -> Result<Policy, Error> {
        self.find_or_make_with(name, config)
    }

    /// Registers what was made elsewhere under its own name, and gives it back; if the name exists, gives what is there
    /// instead, as [`breaker_with`](Self::breaker_with) does. What has no name of its own is not registered.
    pub fn insert<S: Entry>(&self, stage: &S) -> Result<S, Error> {
        let (name, clock) = (stage.as_policy().name().clone(), stage.as_policy().clock());
        if name.is_anonymous() {
            return Ok(stage.clone());
        }
        if clock.identity() != self.0.clock.identity() {
            return Err(Error::OtherClock { name });
        }
        let config = stage.as_policy().stages().config();
        let asked = self.ask(&name, Some(config), Manner::With, Some(stage))?;
        Ok(Self::settle(asked, &name))
    }

    /// Sets how the policy called `name` and its stages are to be. What is there keeps its state and its counts; calls
    /// under way end as they began.
    ///
    /// A handle of the policy that was taken before shares the stages, so breaker, bulkhead and limits follow; retries,
    /// hedges and time limits are those of the handle. Ask the registry for each call, or again after a reload.
    pub fn configure(&self, name: &str, config: policy::Config) -> Result<(), Error> {
        let invalid = |mistakes| Error::Invalid { name: name.into(), mistakes };
        Mistakes::none(config.validate()).map_err(invalid)?;
        self.settings().named.insert(name.into(), config);
        self.bring_into_force(name, &mut Changes::default())
    }

    /// Sets all settings at once, as after reading a file again; see [`configure`](Self::configure).
    ///
    /// # Errors
    /// All mistakes of all names, and in a strict registry of the process the names that attributes use and that have no
    /// settings; then nothing has changed.
    pub fn apply(&self, configs: BTreeMap<String, policy::Config>) -> Result<Changes, Mistakes> {
        let of_name = |(name, config): (&String, &policy::Config)| {
            config.validate().into_iter().map(|mistake| mistake.under(name)).collect::<Vec<_>>()
        };
        Mistakes::none(configs.iter().flat_map(of_name).collect())?;
        #[cfg(feature = "macros")]
        if self.0.strict.load(Ordering::Relaxed) && GLOBAL.get().is_some_and(|global| Arc::ptr_eq(&global.0, &self.0)) {
            self.check_attributes_with(|name| configs.contains_key(name))?;
        }
        let given: BTreeMap<Name, _> = configs.into_iter().map(|(name, config)| (name.into(), config)).collect();
        let names: Vec<Name> = given.keys().cloned().collect();
        let before = std::mem::replace(&mut self.settings().named, given);
        let missing = before.into_keys().filter(|name| names.binary_search(name).is_err()).collect();
        let mut changes = Changes { missing, ..Changes::default() };
        for name in &names {
            self.bring_into_force(name, &mut changes).map_err(|error| match error {
                Error::Invalid { mistakes, .. } => mistakes,
                other => Mistakes::from(vec![core::Invalid::new(name.as_str(), other.to_string(), "something else")]),
            })?;
        }
        Ok(changes)
    }

    /// Whether every name that `#[policy("name")]` uses anywhere in the program is that of a policy with settings.
    ///
    /// # Errors
    /// The names that are not, with the places where they are used.
    #[cfg(feature = "macros")]
    pub fn check_attributes(&self) -> Result<(), Mistakes> {
        self.check_attributes_with(|_| false)
    }

    #[cfg(feature = "macros")]
    fn check_attributes_with(&self, is_known: impl Fn(&str) -> bool) -> Result<(), Mistakes> {
        let has_settings = |slot: &Slot| slot.given.whole.is_some().then_some(());
        let known = |name: &str| {
            let settings = self.settings().named.contains_key(name);
            is_known(name) || settings || self.0.names.look(name, has_settings).is_some()
        };
        let mistake = |named: &Named| {
            let used = format!("used by an attribute at {}:{}", named.file, named.line);
            core::Invalid::new(named.policy, used, "the name of a policy with settings")
        };
        Mistakes::none(named::unknown(known).into_iter().map(mistake).collect())
    }

    /// All circuit breakers with their names, in order: a copy.
    pub fn list(&self) -> Vec<(Name, CircuitBreaker)> {
        self.all()
    }

    /// The circuit breaker of the policy called `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<CircuitBreaker> {
        self.find(name)
    }

    /// Forgets the policy called `name` with all its stages, and ends their listeners. Who has a handle goes on with it.
    pub fn remove(&self, name: &str) -> Option<Policy> {
        self.0.names.remove(name).map(|slot| slot.policy)
    }

    /// Closes the circuit called `name` in normal mode; false if there is none.
    pub fn reset(&self, name: &str) -> bool {
        self.get(name).map(|breaker| breaker.reset()).is_some()
    }

    /// Closes all circuits in normal mode and keeps all names. Returns those that were open.
    pub fn reset_all(&self) -> Vec<Name> {
        let mut open = Vec::new();
        for (name, breaker) in self.list() {
            if breaker.state() == State::Open {
                open.push(name);
            }
            breaker.reset();
        }
        open
    }

    /// All of one kind: `registry.all::<Policy>()`. Limiters are those of requests; [`Policy::tokens`] gives the others.
    pub fn all<S: Entry>(&self) -> Vec<(Name, S)> {
        self.0.names.list(S::of)
    }

    /// The one of a kind called `name`, if there is one: `registry.find::<Policy>("openai")`.
    pub fn find<S: Entry>(&self, name: &str) -> Option<S> {
        self.0.names.get(name, self.now(), S::of)
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Calls `listener` for every event: of all policies and stages of the registry, and of the registry itself (unknown
    /// names, names registered twice, too many names, state that could not be saved). At once, and under no lock.
    pub fn on_event(&self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Listener {
        self.0.listeners.listen(listener)
    }

    /// The same through a queue of [`QUEUE`](crate::telemetry::events::QUEUE).
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.listeners.subscribe()
    }

    /// All stages as data, for metrics and pages; a stage that several policies share stands there once.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let now = self.now();
        let all = self.0.names.list(|slot| Some(slot.kept.clone()));
        let mut known = HashSet::new();
        let all = all.into_iter().flat_map(|(_, stages)| stages.snapshots(now));
        all.filter(|snapshot| known.insert((snapshot.stage, snapshot.name.clone()))).collect()
    }

    /// All circuit breakers in the order of their names, with the time when each was last asked for.
    #[cfg(all(feature = "compat", feature = "serde"))]
    pub(crate) fn breakers_used(&self) -> Vec<(Name, CircuitBreaker, Instant)> {
        let all = self.0.names.list(|slot| Some((CircuitBreaker::of(slot)?, slot.used())));
        all.into_iter().map(|(name, (breaker, used))| (name, breaker, used)).collect()
    }

    fn find_or_make_with<S: Entry>(&self, name: &str, config: S::Config) -> Result<S, Error> {
        let asked = self.ask(name, Some(S::alone(config)), Manner::With, None)?;
        Ok(Self::settle(asked, name))
    }

    /// Asks for `name`, which is made or changed as [`Slot::put`] does it: under the lock of the names, and what is to be
    /// done about it after that is in the answer. `config` are the settings that are asked for, `from` is what has them.
    fn ask<S: Entry>(
        &self,
        name: &str,
        config: Option<policy::Config>,
        manner: Manner,
        from: Option<&S>,
    ) -> Result<Asked<S>, Error> {
        let ask = config.map(|config| Ask { config, whole: S::WHOLE });
        let (mut after, mut before, mut contradiction) = (After::default(), None, None);
        let invalid = |mistakes| Error::Invalid { name: name.into(), mistakes };
        let make = |former: Option<&Slot>| -> Result<Option<Slot>, Error> {
            before = former.map(|former| former.given.clone());
            let given = match (former, &ask, manner) {
                (Some(former), _, Manner::InForce) => {
                    // Whatever is set now: of two who set something at once, the last one's is in force.
                    let config = self.settings().named.get(name).cloned();
                    let Some(config) = config.filter(|config| former.given.whole.as_deref() != Some(config)) else {
                        return Ok(None);
                    };
                    former.given.with(&Ask { config, whole: true })
                }
                (Some(_), None, _) => return Ok(None),
                (Some(former), Some(ask), _) => {
                    let strict = self.0.strict.load(Ordering::Relaxed);
                    if manner == Manner::With {
                        contradiction = former.contradiction(ask, strict);
                    }
                    if let Some(differs) = contradiction.as_deref().filter(|_| strict) {
                        return Err(Error::Differs { name: name.into(), differs: differs.into() });
                    }
                    if if S::WHOLE { former.given.whole.is_some() } else { S::of(former).is_some() } {
                        return Ok(None);
                    }
                    former
                        .given
                        .with(&Ask { config: entry::with_settings_of(&ask.config, &former.given.stages), ..*ask })
                }
                (None, None, _) => self.settings_of(name),
                (None, Some(Ask { config, whole: true }), _) => Given::whole(config.clone()),
                (None, Some(ask), _) => self.settings_of(name).with(ask),
            };
            let from = from.filter(|_| !S::WHOLE || former.is_none());
            let restore = |breaker: &core::CircuitBreaker| self.take_over(breaker);
            let place = Place { clock: &self.0.clock, bus: &self.0.listeners, restore: &restore };
            let put = Slot::put(&Name::given(name), given, former, from, &place).map_err(invalid)?;
            after = put.after;
            Ok(Some(put.slot))
        };
        let read = |slot: &Slot| Some((S::of(slot)?, slot.policy.clone(), slot.given.clone()));
        let changed = self.0.names.change(name, self.now(), make, read)?;
        if changed.first_too_many {
            self.tell(Kind::TooManyNames { name: "registry".into(), most: self.0.names.most() });
        }
        // What was asked for is there now.
        let (given, policy, now) = changed.read.flatten().ok_or_else(|| invalid(Mistakes::from(Vec::new())))?;
        Ok(Asked { given, policy, after, before, now, contradiction })
    }

    /// Does what is to be done after a name was asked for, under no lock.
    fn settle<S: Entry>(asked: Asked<S>, name: &str) -> S {
        let Asked { given, policy, after, contradiction, .. } = asked;
        after.carry_out(&policy);
        if let Some(differs) = contradiction {
            // It is attached to the registry, which so hears of it, too.
            given.as_policy().tell(Kind::RegisteredTwice { name: name.into(), differs: differs.into() });
        }
        given
    }

    fn bring_into_force(&self, name: &str, changes: &mut Changes) -> Result<(), Error> {
        let asked = self.ask::<Policy>(name, None, Manner::InForce, None)?;
        let before = asked.before.as_ref().and_then(|before| before.whole.as_ref());
        match (before, &asked.now.whole) {
            (Some(before), Some(now)) if before != now => {
                changes.changed.push((name.into(), before.differences(now).join("; ")));
            }
            (Some(_), _) => changes.unchanged.push(name.into()),
            (None, _) => changes.added.push(name.into()),
        }
        Self::settle(asked, name);
        Ok(())
    }

    /// What a name that is not there yet is made with.
    fn settings_of(&self, name: &str) -> Given {
        let settings = self.settings();
        match settings.named.get(name) {
            Some(config) => Given::whole(config.clone()),
            None => Given { stages: Arc::new(settings.defaults.clone()), whole: None },
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.0.clock.now()
    }

    /// Tells an event of the registry itself.
    pub(crate) fn tell(&self, kind: Kind) {
        self.0.listeners.tell(&Event::new(self.now(), "".into(), kind));
    }

    /// Tells that a name is unknown; where nobody listens, in the log at least.
    fn tell_unknown(&self, kind: Kind) {
        #[cfg(feature = "tracing")]
        if !self.0.listeners.anybody() {
            crate::telemetry::events::to_tracing(&Event::new(self.now(), "registry".into(), kind));
            return;
        }
        self.tell(kind);
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.0.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(not(feature = "persist"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    fn take_over(&self, _: &core::CircuitBreaker) -> Option<breaker::Change> {
        None
    }

    #[cfg(feature = "persist")]
    pub(crate) fn while_no_name_changes<R>(&self, work: impl FnOnce() -> R) -> R {
        self.0.names.while_nothing_changes(work)
    }

    #[cfg(feature = "persist")]
    pub(crate) fn persistence(&self) -> &crate::persist::Persistence {
        &self.0.persistence
    }
}
