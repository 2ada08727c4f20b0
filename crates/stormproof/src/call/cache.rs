//! Answers that are kept: served when a call fails, or, while they are fresh, instead of it.
//!
//! Owns the answers and who waits for one that is on its way. How long an answer may be served is decided in
//! [`core::cache`](stormproof_core::cache), who calls for one in [`core::flight`](stormproof_core::flight).

mod cached;

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use stormproof_core::flight::Flights;
use stormproof_core::{Instant, Mistakes, Name, Snapshot};

use crate::clock::Clock;

pub use stormproof_core::cache::{AfterFailure, Config, Decision, Stats};

/// Answers by key, each with its age. Cheap to clone; clones share the answers.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stormproof::{cache, Cache, Policy, Source};
///
/// let answers: Cache<String, u32> = Cache::new("prices", cache::Config::default())?;
/// let policy = Policy::builder("shop").build()?;
///
/// policy.call(|_| async { Ok::<_, &str>(42) }).cached(&answers, "apples").await.unwrap();
/// let served = policy.call(|_| async { Err("down") }).cached(&answers, "apples").served().await.unwrap();
/// assert_eq!(served.value, 42);
/// assert!(matches!(served.source, Source::Cache { stale: true, .. }));
/// # Ok(())
/// # }
/// ```
pub struct Cache<K, V>(Arc<Inner<K, V>>);

struct Inner<K, V> {
    name: Name,
    config: Config,
    clock: Clock,
    kept: moka::sync::Cache<K, Arc<Entry<V>>>,
    flights: Flights<K>,
    /// Grows with every invalidation of more than one key, so that what was called for before is not kept after.
    epoch: AtomicU64,
    /// Answers of an epoch before this one are forgotten.
    valid_from: AtomicU64,
    fresh: AtomicU64,
    stale: AtomicU64,
    misses: AtomicU64,
    joined: AtomicU64,
}

struct Entry<V> {
    value: V,
    stored: Instant,
    /// That of the time it was called for.
    epoch: u64,
}

/// An answer that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept<V> {
    /// The answer.
    pub value: V,
    /// How long ago it was stored.
    pub age: Duration,
    /// Whether it is past the time in which it is served without a call.
    pub stale: bool,
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// An empty cache on the system's clock, or all that is wrong with `config`.
    pub fn new(name: impl Into<Name>, config: Config) -> Result<Self, Mistakes> {
        Self::with_clock(name, config, &Clock::system())
    }

    /// An empty cache on `clock`, or all that is wrong with `config`.
    pub fn with_clock(name: impl Into<Name>, config: Config, clock: &Clock) -> Result<Self, Mistakes> {
        Mistakes::none(config.validate())?;
        let kept = moka::sync::Cache::builder()
            .max_capacity(config.max_entries)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        let zero = || AtomicU64::new(0);
        Ok(Self(Arc::new(Inner {
            name: name.into(),
            config,
            clock: clock.clone(),
            kept,
            flights: Flights::default(),
            epoch: zero(),
            valid_from: zero(),
            fresh: zero(),
            stale: zero(),
            misses: zero(),
            joined: zero(),
        })))
    }

    /// The name.
    pub fn name(&self) -> &Name {
        &self.0.name
    }

    /// The limits in force.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The answer for `key`, unless there is none or its time is over. Counts nothing.
    pub fn get(&self, key: &K) -> Option<Kept<V>> {
        let entry = self.entry(key)?;
        let now = self.0.clock.now();
        let stale = match self.0.config.decide(entry.stored, now) {
            Decision::Fresh => false,
            Decision::Stale => true,
            Decision::Expired => {
                self.0.kept.invalidate(key);
                return None;
            }
        };
        Some(Kept { value: entry.value.clone(), age: now.since(entry.stored), stale })
    }

    /// Keeps an answer, as a call that succeeds does.
    pub fn insert(&self, key: impl Into<K>, value: V) {
        self.put(key.into(), value, self.epoch());
    }

    /// Forgets the answer for `key`, also one that is on its way.
    pub fn invalidate(&self, key: &K) {
        self.0.flights.spoil(key);
        self.0.kept.invalidate(key);
    }

    /// Forgets all answers, also those that are on their way.
    pub fn invalidate_all(&self) {
        // The library's own invalidation may miss what was stored in the same instant; it frees the memory.
        self.0.valid_from.fetch_max(self.next_epoch(), Ordering::AcqRel);
        self.0.kept.invalidate_all();
    }

    /// Forgets the answers for which `unwanted` is true, and all that are on their way: nobody can look at those.
    ///
    /// ```
    /// # use stormproof::{cache, Cache};
    /// let answers: Cache<String, u32> = Cache::new("prices", cache::Config::default())?;
    /// answers.insert("apples", 42);
    /// answers.insert("pears", 0);
    /// answers.invalidate_if(|_, price| *price == 0);
    /// assert!(answers.get(&"pears".to_owned()).is_none() && answers.get(&"apples".to_owned()).is_some());
    /// # Ok::<(), stormproof::Mistakes>(())
    /// ```
    pub fn invalidate_if(&self, unwanted: impl Fn(&K, &V) -> bool) {
        self.next_epoch();
        for (key, entry) in &self.0.kept {
            if unwanted(&key, &entry.value) {
                self.0.kept.invalidate(&*key);
            }
        }
    }

    /// The numbers now.
    pub fn stats(&self) -> Stats {
        self.0.kept.run_pending_tasks();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut stats = Stats::default();
        stats.fresh = get(&self.0.fresh);
        stats.stale = get(&self.0.stale);
        stats.misses = get(&self.0.misses);
        stats.joined = get(&self.0.joined);
        stats.entries = self.0.kept.entry_count();
        stats
    }

    /// The same as data for metrics and pages.
    pub fn snapshot(&self) -> Snapshot {
        self.stats().snapshot(self.0.name.clone())
    }

    fn epoch(&self) -> u64 {
        self.0.epoch.load(Ordering::Acquire)
    }

    /// Begins another epoch.
    fn next_epoch(&self) -> u64 {
        self.0.epoch.fetch_add(1, Ordering::AcqRel).saturating_add(1)
    }

    fn entry(&self, key: &K) -> Option<Arc<Entry<V>>> {
        let entry = self.0.kept.get(key)?;
        (entry.epoch >= self.0.valid_from.load(Ordering::Acquire)).then_some(entry)
    }

    /// Keeps what was called for in `epoch`, unless it was invalidated since. Returns whether it did.
    fn store(&self, seat: &cached::Seat<'_, K, V>, value: V, epoch: u64) -> bool {
        let wanted = || epoch == self.epoch() && self.0.flights.is_wanted(&seat.key, seat.ticket);
        if !wanted() {
            return false;
        }
        self.put(seat.key.clone(), value, epoch);
        // An invalidation in between saw nothing to forget.
        let wanted = wanted();
        if !wanted {
            self.0.kept.invalidate(&seat.key);
        }
        wanted
    }

    fn put(&self, key: K, value: V, epoch: u64) {
        let stored = self.0.clock.now();
        self.0.kept.insert(key, Arc::new(Entry { value, stored, epoch }));
    }

    /// An answer to serve without a call; one stored since `asked` will do whatever its age.
    fn fresh(&self, key: &K, asked: Option<Instant>) -> Option<Kept<V>> {
        let entry = self.entry(key)?;
        let now = self.0.clock.now();
        let wanted = self.0.config.decide(entry.stored, now) == Decision::Fresh
            || asked.is_some_and(|asked| entry.stored >= asked);
        wanted.then(|| {
            count(&self.0.fresh);
            Kept { value: entry.value.clone(), age: now.since(entry.stored), stale: false }
        })
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("name", &self.0.name).field("config", &self.0.config).finish_non_exhaustive()
    }
}
