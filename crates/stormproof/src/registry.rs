//! Policies and stages by name: one instance a name, wherever it is asked for.
//!
//! Owns the names and what can be asked of them. What it can be told is in `config.rs`, how one is made in `making.rs`, how
//! many may be kept in `bounded.rs`, what is common to all that is kept in `entry.rs`, reloading in `reload.rs`, names from
//! addresses in `target.rs`, maps by key in `keyed.rs`.

mod bounded;
mod config;
mod difference;
mod entry;
mod keyed;
mod making;
mod reload;
#[cfg(feature = "serde")]
pub mod stats;
mod target;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use stormproof_core::breaker::{self, State};
use stormproof_core::event::Kind;
use stormproof_core::{Event, Instant, Mistakes, Name, Snapshot, bulkhead, policy, rate};
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::events::{Listener, Listeners};
use crate::policy::Policy;
use crate::stages::{Bulkhead, CircuitBreaker, RateLimiter};

use bounded::{Bounds, Shelves};
pub use config::{Config, Error};
pub use entry::Entry;
pub use keyed::{Keyed, KeyedBreakers, KeyedBulkheads, KeyedLimiters, KeyedPolicies, Limits};
use making::no_room;
pub use reload::Changes;
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
    max_entries: usize,
    settings: Mutex<Settings>,
    shelves: Shelves,
    #[cfg(feature = "persist")]
    persistence: crate::persist::Persistence,
}

/// What names are made with.
#[derive(Debug, Default)]
struct Settings {
    defaults: policy::Config,
    named: BTreeMap<Name, policy::Config>,
}

impl Settings {
    fn of(&self, name: &str) -> &policy::Config {
        self.named.get(name).unwrap_or(&self.defaults)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::build(Config::default(), &Clock::system())
    }
}

crate::events::tells!(Registry, 0.listeners);

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

    /// The registry of the process, on the system's clock.
    pub fn global() -> &'static Self {
        static GLOBAL: LazyLock<Registry> = LazyLock::new(Registry::default);
        &GLOBAL
    }

    fn build(config: Config, clock: &Clock) -> Self {
        let bounds = Bounds { most: config.max_entries, idle: config.stale_after, lossless: false };
        Self(Arc::new(Inner {
            clock: clock.clone(),
            listeners: Listeners::default(),
            strict: AtomicBool::new(config.strict),
            max_entries: config.max_entries,
            settings: Mutex::new(Settings { defaults: config.defaults, named: BTreeMap::new() }),
            shelves: Shelves::new(bounds),
            #[cfg(feature = "persist")]
            persistence: crate::persist::Persistence::default(),
        }))
    }

    /// Whether other settings for a name that exists are an error from now on.
    pub fn strict(&self, strict: bool) {
        self.0.strict.store(strict, Ordering::Relaxed);
    }

    /// The circuit breaker called `name`, made if there is none: with the settings of that name
    /// ([`configure`](Self::configure)), else the registry's defaults.
    pub fn breaker(&self, name: &str) -> CircuitBreaker {
        if let Some(found) = self.get(name) {
            return found;
        }
        let config = self.settings().of(name).breaker.clone().unwrap_or_default();
        // They were looked at when they were given; a breaker there is in any case.
        self.breaker_made_with(name, config).unwrap_or_else(|_| CircuitBreaker::on(name, self.clock()))
    }

    /// The circuit breaker called `name`, made with `config` if there is none. If there is one with other settings,
    /// these stay and an event says what differs; in a strict registry it is an error.
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

    /// The bulkhead called `name`, made with `config` if there is none, like [`breaker_with`](Self::breaker_with).
    pub fn bulkhead_with(&self, name: &str, config: bulkhead::Config) -> Result<Bulkhead, Error> {
        self.find_or_make_with(name, config)
    }

    /// The rate limiter called `name`, made with `config` if there is none, like [`breaker_with`](Self::breaker_with).
    pub fn limiter_with(&self, name: &str, config: rate::Config) -> Result<RateLimiter, Error> {
        self.find_or_make_with(name, config)
    }

    /// The policy called `name`, made if there is none, like [`breaker`](Self::breaker). Its stages are those of the
    /// registry with the same name; the limiter of tokens is called `<name>-tokens`.
    pub fn policy(&self, name: &str) -> Policy {
        if let Some(found) = self.find(name) {
            return found;
        }
        let config = self.settings().of(name).clone();
        let policy = self.policy_made_with(name, config).and_then(|asked| self.welcome(name, asked, None));
        policy.unwrap_or_else(|_: Error| Policy::bare(name, self.clock()))
    }

    /// The policy called `name`, made with `config` if there is none, like [`breaker_with`](Self::breaker_with).
    pub fn policy_with(&self, name: &str, config: policy::Config) -> Result<Policy, Error> {
        if let Some(policy) = self.find(name) {
            self.compare(name, &policy, &config)?;
            return Ok(policy);
        }
        let asked_for = config.clone();
        let asked = self.policy_made_with(name, config)?;
        self.welcome(name, asked, Some(&asked_for))
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
        let given = stage.config();
        let mut restored = None;
        let made = |_| {
            self.attach(stage.as_policy());
            restored = stage.restore(self);
            Ok::<_, Error>((stage.clone(), given.clone()))
        };
        let asked = S::shelf(&self.0.shelves).get_or_make(&name, self.now(), no_room, made)?;
        if let Some(kind) = restored {
            stage.as_policy().tell(kind);
        }
        self.welcome(&name, asked, Some(&given))
    }

    /// All circuit breakers with their names, in order: a copy.
    pub fn list(&self) -> Vec<(Name, CircuitBreaker)> {
        self.0.shelves.breakers.list()
    }

    /// The circuit breaker called `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<CircuitBreaker> {
        self.0.shelves.breakers.get(name, self.now())
    }

    /// Forgets the circuit breaker called `name`. Who has a handle goes on with it.
    pub fn remove(&self, name: &str) -> Option<CircuitBreaker> {
        self.0.shelves.breakers.remove(name)
    }

    /// Closes the circuit called `name` in normal mode; false if there is none.
    pub fn reset(&self, name: &str) -> bool {
        let breaker = self.0.shelves.breakers.get(name, self.now());
        breaker.map(|breaker| breaker.reset()).is_some()
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

    /// All of one kind: `registry.all::<Policy>()`.
    pub fn all<S: Entry>(&self) -> Vec<(Name, S)> {
        S::shelf(&self.0.shelves).list()
    }

    /// The one of a kind called `name`, if there is one: `registry.find::<Policy>("openai")`.
    pub fn find<S: Entry>(&self, name: &str) -> Option<S> {
        S::shelf(&self.0.shelves).get(name, self.now())
    }

    /// Forgets the one of a kind called `name`. Who has a handle goes on with it.
    pub fn forget<S: Entry>(&self, name: &str) -> Option<S> {
        S::shelf(&self.0.shelves).remove(name)
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Calls `listener` for every event: of all stages and policies of the registry, and of the registry itself (names
    /// registered twice, too many names, state that could not be saved). At once, and under no lock.
    pub fn on_event(&self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Listener {
        self.0.listeners.listen(listener)
    }

    /// The same through a queue of [`QUEUE`](crate::events::QUEUE).
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.listeners.subscribe()
    }

    /// All stages as data, for metrics and pages; a stage that a policy shares stands there once.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let breakers = self.0.shelves.breakers.list().into_iter().flat_map(|(_, stage)| stage.policy().snapshots());
        let bulkheads = self.0.shelves.bulkheads.list().into_iter().flat_map(|(_, stage)| stage.policy().snapshots());
        let limiters = self.0.shelves.limiters.list().into_iter().flat_map(|(_, stage)| stage.policy().snapshots());
        let mut all: Vec<Snapshot> = breakers.chain(bulkheads).chain(limiters).collect();
        let mut known: HashSet<_> = all.iter().map(|snapshot| (snapshot.stage, snapshot.name.clone())).collect();
        let of_policies = self.0.shelves.policies.list().into_iter().flat_map(|(_, policy)| policy.snapshots());
        all.extend(of_policies.filter(|snapshot| known.insert((snapshot.stage, snapshot.name.clone()))));
        all
    }

    pub(crate) fn now(&self) -> Instant {
        self.0.clock.now()
    }

    /// Tells an event of the registry itself.
    pub(crate) fn tell(&self, kind: Kind) {
        self.0.listeners.tell(&Event::new(self.now(), "registry".into(), kind));
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.0.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "persist")]
    pub(crate) fn persistence(&self) -> &crate::persist::Persistence {
        &self.0.persistence
    }
}
