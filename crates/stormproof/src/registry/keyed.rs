//! One stage for each key (an agent's address, a model), in bounded memory.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stormproof_core::breaker::{Loss, State};
use stormproof_core::event::Kind;
use stormproof_core::{Event, Invalid, Mistakes, Name, Snapshot};
use tokio::sync::broadcast;

use super::bounded::{Asked, Bounded, Bounds};
use super::entry::Entry;
use crate::clock::Clock;
use crate::events::{Listener, Listeners};
use crate::policy::Policy;
use crate::stages::{Bulkhead, CircuitBreaker, RateLimiter};

/// A circuit breaker for each key.
pub type KeyedBreakers = Keyed<CircuitBreaker>;
/// A bulkhead for each key.
pub type KeyedBulkheads = Keyed<Bulkhead>;
/// A rate limiter for each key.
pub type KeyedLimiters = Keyed<RateLimiter>;
/// A policy with stages of its own for each key.
pub type KeyedPolicies = Keyed<Policy>;

/// How many keys, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Limits {
    /// So many keys have a stage of their own. Default: 10,000.
    pub max_keys: usize,
    /// A key that was not used for so long may be forgotten with what it has counted. Default: 1 h.
    #[cfg_attr(feature = "serde", serde(with = "stormproof_core::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "stormproof_core::time::duration::Written"))]
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_keys: 10_000, idle: Duration::from_secs(3_600) }
    }
}

/// One stage for each key, made when the key is first asked for, all with the same settings. Cheap to clone; clones are
/// the same map.
///
/// At `max_keys` room is made: first by keys that would be as good as new (closed without failures, full bucket, no call
/// in flight), then by those idle for long. A key that is open or in flight is never forgotten, nor one of which somebody
/// has a handle. If nobody can go, further keys share one stage, called `<name>/(others)`, and an event says so once.
///
/// Keys stand in metrics and events: take care that no secret is in them ([`target`](super::target) does for a URL).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stormproof::{breaker, registry::KeyedBreakers};
///
/// let agents = KeyedBreakers::new("agents", breaker::Config::default())?;
/// agents.get("https://agent-1").call(|_| async { Ok::<_, std::io::Error>(()) }).await?;
/// assert_eq!(agents.filter_available(["https://agent-1", "https://agent-2"]).len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Keyed<S: Entry>(Arc<Inner<S>>);

#[derive(Debug)]
struct Inner<S: Entry> {
    name: Name,
    clock: Clock,
    listeners: Listeners,
    max_keys: usize,
    config: Mutex<S::Config>,
    keys: Bounded<S>,
    others: S,
}

crate::events::tells!([S: Entry] Keyed<S>, 0.listeners);

impl<S: Entry> Keyed<S> {
    /// An empty map on the system's clock, or all that is wrong with `config`.
    pub fn new(name: impl Into<Name>, config: S::Config) -> Result<Self, Mistakes> {
        Self::with_clock(name, config, Limits::default(), &Clock::system())
    }

    /// An empty map with `limits` on `clock`, or all that is wrong with them and `config`.
    pub fn with_clock(
        name: impl Into<Name>,
        config: S::Config,
        limits: Limits,
        clock: &Clock,
    ) -> Result<Self, Mistakes> {
        let mut mistakes = S::validate(&config);
        if limits.max_keys == 0 {
            mistakes.push(Invalid::new("max_keys", "0", "1 or more"));
        }
        Mistakes::none(mistakes)?;
        let name = name.into();
        let listeners = Listeners::default();
        let others = S::make(Name::from(format!("{name}/(others)")), config.clone(), clock)?;
        others.as_policy().0.listeners.attach(&listeners);
        let Limits { max_keys, idle } = limits;
        Ok(Self(Arc::new(Inner {
            name,
            clock: clock.clone(),
            listeners,
            max_keys,
            config: Mutex::new(config),
            keys: Bounded::new(Bounds { most: max_keys, idle, lossless: true }),
            others,
        })))
    }

    /// The stage of `key`, called `<name>/<key>`; made if there is none. The one of all the others if there is no room.
    pub fn get(&self, key: &str) -> S {
        let now = self.0.clock.now();
        if let Some(found) = self.0.keys.get(key, now) {
            return found;
        }
        let made = |key: Name| {
            let config = self.config();
            let stage = S::make(Name::from(format!("{}/{key}", self.0.name)), config.clone(), &self.0.clock)?;
            stage.as_policy().0.listeners.attach(&self.0.listeners);
            Ok::<_, Mistakes>((stage, config))
        };
        let asked = self.0.keys.get_or_make(key, now, || Some(self.0.others.clone()), made);
        // Settings are looked at whenever they are given.
        let Ok(Asked { stage, first_too_many, .. }) = asked else { return self.0.others.clone() };
        if first_too_many {
            self.tell_too_many();
        }
        stage
    }

    /// The stage of `key` if it has one of its own. Does not count as a use.
    pub fn peek(&self, key: &str) -> Option<S> {
        self.0.keys.look(key)
    }

    /// Those of `keys` whose calls would pass now, in their order. Takes nothing and makes nothing.
    pub fn filter_available<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> Vec<K> {
        let full = self.len() >= self.0.max_keys;
        let others = || !full || self.0.others.is_available();
        let available = |key: &K| self.peek(key.as_ref()).map_or_else(others, |stage| stage.is_available());
        keys.into_iter().filter(available).collect()
    }

    /// The keys that have a stage of their own, with it, in order: a copy.
    pub fn list(&self) -> Vec<(Name, S)> {
        self.0.keys.list()
    }

    /// How many keys have a stage of their own.
    pub fn len(&self) -> usize {
        self.0.keys.len()
    }

    /// Whether no key has one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The stage that keys share for which there was no room.
    pub fn others(&self) -> &S {
        &self.0.others
    }

    /// Forgets `key`. Who has a handle goes on with it.
    pub fn remove(&self, key: &str) -> Option<S> {
        self.0.keys.remove(key)
    }

    /// Changes the settings of all keys and keeps their state, or says all that is wrong with them.
    pub fn update(&self, config: &S::Config) -> Result<(), Mistakes> {
        Mistakes::none(S::validate(config))?;
        self.0.keys.while_none_is_made(|| {
            self.0.config.lock().unwrap_or_else(PoisonError::into_inner).clone_from(config);
        });
        // Whoever finds that others were set meanwhile gives those to all keys, too: the last ones stay.
        let mut given = None;
        loop {
            let config = self.config();
            if given.as_ref() == Some(&config) {
                return Ok(());
            }
            self.0.others.change(config.clone())?;
            for (key, stage) in self.list() {
                if let Some(renewed) = stage.change(config.clone())? {
                    self.0.keys.replace(&key, renewed, config.clone());
                }
            }
            given = Some(config);
        }
    }

    /// The stages as data, for metrics and pages: those of at most `most` keys (the ones that are open or in use, then
    /// the ones used last) and the one that is shared.
    pub fn snapshots(&self, most: usize) -> Vec<Snapshot> {
        let now = self.0.clock.now();
        let mut keys = self.0.keys.listed();
        // A listed one has a second handle, which says nothing about calls.
        keys.sort_by_cached_key(|(key, stage, used)| {
            (stage.loss(now) != Loss::State, std::cmp::Reverse(*used), key.clone())
        });
        let shown = keys.iter().take(most).map(|(_, stage, _)| stage).chain([&self.0.others]);
        shown.flat_map(|stage| stage.as_policy().snapshots()).collect()
    }

    /// Calls `listener` for every event: of the stages of all keys, and that there are too many keys. At once, and under
    /// no lock.
    pub fn on_event(&self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Listener {
        self.0.listeners.listen(listener)
    }

    /// The same through a queue of [`QUEUE`](crate::events::QUEUE).
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.listeners.subscribe()
    }

    fn config(&self) -> S::Config {
        self.0.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[cold]
    fn tell_too_many(&self) {
        let kind = Kind::TooManyNames { name: self.0.name.clone(), most: self.0.max_keys };
        self.0.others.as_policy().tell(kind);
    }
}

impl Keyed<CircuitBreaker> {
    /// Closes the circuit of `key` in normal mode; false if the key has none of its own.
    pub fn reset(&self, key: &str) -> bool {
        self.peek(key).map(|breaker| breaker.reset()).is_some()
    }

    /// Closes all circuits in normal mode, that of the others, too. Returns the keys that were open.
    pub fn reset_all(&self) -> Vec<Name> {
        let mut open = Vec::new();
        for (key, breaker) in self.list() {
            if breaker.state() == State::Open {
                open.push(key);
            }
            breaker.reset();
        }
        self.0.others.reset();
        open
    }

    /// How long until probes of `key` pass; zero unless it is open.
    pub fn remaining(&self, key: &str) -> Duration {
        self.peek(key).map_or(Duration::ZERO, |breaker| breaker.stats().remaining)
    }
}
