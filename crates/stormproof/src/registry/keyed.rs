//! One stage for each key (an agent's address, a model), in bounded memory.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stormproof_core::breaker::{Loss, State};
use stormproof_core::event::Kind;
use stormproof_core::{Event, Invalid, Mistakes, Name, Snapshot};
use tokio::sync::broadcast;

use super::entry::{Entry, Given, Place, Put, Slot};
use super::map::{Bounds, Map};
use crate::clock::Clock;
use crate::policy::Policy;
use crate::policy::stages::{Bulkhead, CircuitBreaker, RateLimiter};
use crate::telemetry::events::{Listener, Listeners};

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
    /// Maximum number of keys that have a stage of their own. Default: 10,000.
    pub max_keys: usize,
    /// Time without use after which a key may be forgotten with what it has counted. Default: 1 h.
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
struct Inner<S> {
    name: Name,
    clock: Clock,
    listeners: Listeners,
    config: Mutex<Given>,
    keys: Map,
    /// What the keys share for which there was no room.
    others: Mutex<(Slot, S)>,
}

crate::telemetry::events::tells!([S: Entry] Keyed<S>, 0.listeners);

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
        let config = S::alone(config);
        let mut mistakes = config.validate();
        if limits.max_keys == 0 {
            mistakes.push(Invalid::new("max_keys", "0", "1 or more"));
        }
        Mistakes::none(mistakes)?;
        let (name, listeners, config) = (Name::given(&name.into()), Listeners::default(), Given::whole(config));
        let place = Place { clock, bus: &listeners, restore: &|_| None };
        let others = Slot::put::<S>(&name.part("others"), config.clone(), None, None, &place)?.slot;
        let handle = S::of(&others).ok_or_else(|| Mistakes::from(Vec::new()))?;
        let Limits { max_keys, idle } = limits;
        Ok(Self(Arc::new(Inner {
            name,
            clock: clock.clone(),
            listeners,
            config: Mutex::new(config),
            keys: Map::new(Bounds { most: max_keys, idle, strict: true }),
            others: Mutex::new((others, handle)),
        })))
    }

    /// The stage of `key`, called `<name>/<key>`; made if there is none. The one of all the others if there is no room.
    pub fn get(&self, key: &str) -> S {
        let now = self.0.clock.now();
        if let Some(found) = self.0.keys.get(key, now, S::of) {
            return found;
        }
        let make = |former: Option<&Slot>| match former {
            Some(_) => Ok(None),
            None => self.put(&self.name_of(key), None).map(|put| Some(put.slot)),
        };
        // Settings are looked at whenever they are given.
        let Ok(changed) = self.0.keys.change(key, now, make, S::of) else { return self.others() };
        if changed.first_too_many {
            self.tell_too_many();
        }
        changed.read.flatten().unwrap_or_else(|| self.others())
    }

    /// The stage of `key` if it has one of its own. Does not count as a use.
    pub fn peek(&self, key: &str) -> Option<S> {
        self.0.keys.look(key, S::of)
    }

    /// Those of `keys` whose calls would pass now, in their order. Takes nothing and makes nothing.
    pub fn filter_available<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> Vec<K> {
        let now = self.0.clock.now();
        let passes = |slot: &Slot| Some(slot.policy.stages().is_available(now));
        let others = || self.len() < self.0.keys.most() || passes(&self.lock_others().0).unwrap_or_default();
        let available = |key: &K| self.0.keys.look(key.as_ref(), passes).unwrap_or_else(others);
        keys.into_iter().filter(available).collect()
    }

    /// The keys that have a stage of their own, with it, in order: a copy.
    pub fn list(&self) -> Vec<(Name, S)> {
        self.0.keys.list(S::of)
    }

    /// Number of keys that have a stage of their own.
    pub fn len(&self) -> usize {
        self.0.keys.len()
    }

    /// Whether no key has one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The stage that keys share for which there was no room, called `<name>/(others)`.
    pub fn others(&self) -> S {
        self.lock_others().1.clone()
    }

    /// Forgets `key` and ends its listeners. Who has a handle goes on with it.
    pub fn remove(&self, key: &str) -> Option<S> {
        self.0.keys.remove(key).as_ref().and_then(S::of)
    }

    /// Changes the settings of all keys and of the stage they share, and keeps their state; or says all that is wrong with
    /// them.
    pub fn update(&self, config: &S::Config) -> Result<(), Mistakes> {
        let config = S::alone(config.clone());
        Mistakes::none(config.validate())?;
        // What is made later has them, and what was made before is in the list.
        self.0.keys.while_nothing_changes(|| *self.lock_config() = Given::whole(config));
        for (key, ()) in self.0.keys.list(|_| Some(())) {
            let mut after = None;
            let make = |former: Option<&Slot>| {
                let Some(former) = former else { return Ok(None) };
                let Put { slot, after: rest } = self.put(former.policy.name(), Some(former))?;
                after = Some(rest);
                Ok::<_, Mistakes>(Some(slot))
            };
            let changed = self.0.keys.change(&key, self.0.clock.now(), make, |slot| slot.policy.clone())?;
            if let (Some(policy), Some(after)) = (changed.read, after) {
                after.carry_out(&policy);
            }
        }
        let mut others = self.lock_others();
        let Put { slot, after } = self.put(others.0.policy.name(), Some(&others.0))?;
        let handle = S::of(&slot).unwrap_or_else(|| others.1.clone());
        let (policy, former) = (slot.policy.clone(), std::mem::replace(&mut *others, (slot, handle)));
        drop(others);
        drop(former);
        after.carry_out(&policy);
        Ok(())
    }

    /// The stages as data, for metrics and pages: those of at most `most` keys (the ones that are open or in use, then
    /// the ones used last) and the one that is shared.
    pub fn snapshots(&self, most: usize) -> Vec<Snapshot> {
        let now = self.0.clock.now();
        let read = |slot: &Slot| Some((slot.loss(now) != Loss::State, Reverse(slot.used()), slot.kept.clone()));
        let mut keys = self.0.keys.list(read);
        keys.sort_by(|(_, (a_free, a_used, _)), (_, (b_free, b_used, _))| (a_free, a_used).cmp(&(b_free, b_used)));
        let shown = keys.into_iter().take(most).map(|(_, (_, _, stages))| stages);
        shown.chain([self.lock_others().0.kept.clone()]).flat_map(|stages| stages.snapshots(now)).collect()
    }

    /// Calls `listener` for every event: of the stages of all keys, and that there are too many keys. At once, and under
    /// no lock.
    pub fn on_event(&self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Listener {
        self.0.listeners.listen(listener)
    }

    /// The same through a queue of [`QUEUE`](crate::telemetry::events::QUEUE).
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.listeners.subscribe()
    }

    fn name_of(&self, key: &str) -> Name {
        Name::from(format!("{}{}", self.0.name, Name::given(&format!("/{key}"))))
    }

    /// What has this name, with the present settings; another version of `former` if there is one.
    fn put(&self, name: &Name, former: Option<&Slot>) -> Result<Put, Mistakes> {
        let place = Place { clock: &self.0.clock, bus: &self.0.listeners, restore: &|_| None };
        Slot::put::<S>(name, self.lock_config().clone(), former, None, &place)
    }

    fn lock_config(&self) -> MutexGuard<'_, Given> {
        self.0.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_others(&self) -> MutexGuard<'_, (Slot, S)> {
        self.0.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    fn tell_too_many(&self) {
        let kind = Kind::TooManyNames { name: self.0.name.clone(), most: self.0.keys.most() };
        self.others().as_policy().tell(kind);
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
        self.others().reset();
        open
    }

    /// How long until probes of `key` pass; zero unless it is open.
    pub fn remaining(&self, key: &str) -> Duration {
        self.peek(key).map_or(Duration::ZERO, |breaker| breaker.stats().remaining)
    }
}
