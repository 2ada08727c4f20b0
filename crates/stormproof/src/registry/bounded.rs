//! A map by name that is bounded: who may be forgotten to make room, and when it is looked for.
//!
//! Owns the map, the time of last use of each name, and the choice of whom to forget. What forgetting would lose is said
//! by the stage itself ([`Entry::loss`]). Finding a name takes the read lock of one of sixteen parts for the time of a
//! look-up; making or forgetting one is rare and goes one at a time.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use stormproof_core::breaker::Loss;
use stormproof_core::{Instant, Name};

use super::entry::Entry;
use crate::policy::Policy;
use crate::stages::{Bulkhead, CircuitBreaker, RateLimiter};

const PARTS: usize = 16;

/// After a fruitless search for somebody to forget, the next one waits so long: a search looks at every name.
const SEARCH_PAUSE: Duration = Duration::from_secs(1);

/// How many names, and who may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// So many names.
    pub(crate) most: usize,
    /// A name that was not used for so long may go with what it has counted.
    pub(crate) idle: Duration,
    /// Whether a name may go at any time if nothing is lost by it.
    pub(crate) lossless: bool,
}

/// What asking for a name came to.
#[derive(Debug)]
pub(crate) struct Asked<S> {
    pub(crate) stage: S,
    /// Whether it was not there before.
    pub(crate) made: bool,
    /// Whether there was no room for it, for the first time since there was.
    pub(crate) first_too_many: bool,
}

#[derive(Debug)]
struct Slot<S: Entry> {
    stage: S,
    given: S::Config,
    /// The settings that were last asked for in vain.
    asked: Mutex<Option<S::Config>>,
    used: AtomicU64,
}

/// Only for the one who makes or forgets.
#[derive(Debug, Default)]
struct Growth {
    search_from: Instant,
    said_full: bool,
}

/// The maps of a registry, one for each kind.
#[derive(Debug)]
pub struct Shelves {
    pub(crate) breakers: Bounded<CircuitBreaker>,
    pub(crate) bulkheads: Bounded<Bulkhead>,
    pub(crate) limiters: Bounded<RateLimiter>,
    pub(crate) policies: Bounded<Policy>,
}

impl Shelves {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            breakers: Bounded::new(bounds),
            bulkheads: Bounded::new(bounds),
            limiters: Bounded::new(bounds),
            policies: Bounded::new(bounds),
        }
    }
}

type Part<S> = HashMap<Name, Slot<S>>;

/// What is kept by name.
#[derive(Debug)]
pub struct Bounded<S: Entry> {
    bounds: Bounds,
    hasher: RandomState,
    parts: [RwLock<Part<S>>; PARTS],
    len: AtomicUsize,
    growth: Mutex<Growth>,
}

impl<S: Entry> Bounded<S> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            hasher: RandomState::new(),
            parts: std::array::from_fn(|_| RwLock::default()),
            len: AtomicUsize::new(0),
            growth: Mutex::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// The stage called `name`, which counts as used by it.
    pub(crate) fn get(&self, name: &str, now: Instant) -> Option<S> {
        let part = self.read(self.part_of(name));
        let slot = part.get(name)?;
        slot.used.fetch_max(now.as_nanos(), Ordering::Relaxed);
        Some(slot.stage.clone())
    }

    /// The same without counting as a use.
    pub(crate) fn look(&self, name: &str) -> Option<S> {
        self.read(self.part_of(name)).get(name).map(|slot| slot.stage.clone())
    }

    /// The stage called `name`, made if there is none. Where there is no room for it, the one that `full` gives, or
    /// else it is made all the same.
    pub(crate) fn get_or_make<E>(
        &self,
        name: &str,
        now: Instant,
        full: impl FnOnce() -> Option<S>,
        make: impl FnOnce(Name) -> Result<(S, S::Config), E>,
    ) -> Result<Asked<S>, E> {
        if let Some(found) = self.get(name, now) {
            return Ok(Asked { stage: found, made: false, first_too_many: false });
        }
        // Dropped after the lock is given back: what a stage lets go, a listener above all, may be user code.
        let mut forgotten = Vec::new();
        let mut growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = self.get(name, now) {
            return Ok(Asked { stage: found, made: false, first_too_many: false });
        }
        let room = self.make_room(&mut growth, now, &mut forgotten);
        let first_too_many = !std::mem::replace(&mut growth.said_full, !room) && !room;
        if !room && let Some(stage) = full() {
            return Ok(Asked { stage, made: false, first_too_many });
        }
        let (stage, given) = make(Name::from(name))?;
        let slot = Slot { stage: stage.clone(), given, asked: Mutex::default(), used: AtomicU64::new(now.as_nanos()) };
        self.write(self.part_of(name)).insert(Name::from(name), slot);
        self.len.fetch_add(1, Ordering::Relaxed);
        Ok(Asked { stage, made: true, first_too_many })
    }

    /// Makes `change` while none is made: what is made later sees it, what was made before is there.
    pub(crate) fn while_none_is_made(&self, change: impl FnOnce()) {
        let _growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        change();
    }

    /// The present settings, if `config` is other than they and those given first, and unless `always` also other than
    /// what was asked for just before.
    pub(crate) fn differs(&self, name: &str, config: &S::Config, always: bool) -> Option<S::Config> {
        let part = self.read(self.part_of(name));
        let slot = part.get(name)?;
        if slot.given == *config {
            return None;
        }
        let present = slot.stage.config();
        if present == *config {
            return None;
        }
        let mut asked = slot.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let again = asked.as_ref() == Some(config);
        *asked = Some(config.clone());
        (always || !again).then_some(present)
    }

    /// Puts another stage in the place of one that is there.
    pub(crate) fn replace(&self, name: &str, stage: S, given: S::Config) {
        let replaced = self.write(self.part_of(name)).get_mut(name).map(|slot| {
            let former = std::mem::replace(&mut slot.stage, stage);
            (former, std::mem::replace(&mut slot.given, given))
        });
        drop(replaced);
    }

    pub(crate) fn remove(&self, name: &str) -> Option<S> {
        let _growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = self.write(self.part_of(name)).remove(name);
        removed.map(|slot| {
            self.len.fetch_sub(1, Ordering::Relaxed);
            slot.stage
        })
    }

    /// All, in the order of their names.
    pub(crate) fn list(&self) -> Vec<(Name, S)> {
        let mut all: Vec<_> = self.listed().into_iter().map(|(name, stage, _)| (name, stage)).collect();
        all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// All with the time of their last use.
    pub(crate) fn listed(&self) -> Vec<(Name, S, Instant)> {
        let mut all = Vec::with_capacity(self.len());
        for part in 0..PARTS {
            for (name, slot) in &*self.read(part) {
                all.push((name.clone(), slot.stage.clone(), used(slot)));
            }
        }
        all
    }

    /// Whether there is room for one more, if need be after forgetting some.
    fn make_room(&self, growth: &mut Growth, now: Instant, forgotten: &mut Vec<Slot<S>>) -> bool {
        if self.len() < self.bounds.most {
            return true;
        }
        if now < growth.search_from {
            return false;
        }
        let excess = (self.len() + 1).saturating_sub(self.bounds.most);
        // All that are idle; of the others some more than needed, so that a stream of new names does not search for each.
        let wanted = excess.max(self.bounds.most / 16);
        for (last_used, part, name) in self.candidates(now) {
            if forgotten.len() < wanted || now.since(last_used) >= self.bounds.idle {
                forgotten.extend(self.forget(part, &name, now));
            }
        }
        let room = forgotten.len() >= excess;
        if !room {
            growth.search_from = now + SEARCH_PAUSE;
        }
        room
    }

    /// Who may go, the longest unused first.
    fn candidates(&self, now: Instant) -> Vec<(Instant, usize, Name)> {
        let mut candidates = Vec::new();
        for part in 0..PARTS {
            for (name, slot) in &*self.read(part) {
                if self.may_go(slot, now) {
                    candidates.push((used(slot), part, name.clone()));
                }
            }
        }
        candidates.sort_unstable();
        candidates
    }

    /// Forgets `name` if it may still go. Handles are given out under this lock alone, so nobody can get one meanwhile.
    fn forget(&self, part: usize, name: &str, now: Instant) -> Option<Slot<S>> {
        let mut part = self.write(part);
        part.get(name).filter(|slot| self.may_go(slot, now))?;
        let forgotten = part.remove(name);
        self.len.fetch_sub(1, Ordering::Relaxed);
        forgotten
    }

    fn may_go(&self, slot: &Slot<S>, now: Instant) -> bool {
        if slot.stage.is_held() {
            return false;
        }
        match slot.stage.loss(now) {
            Loss::State => false,
            Loss::Nothing if self.bounds.lossless => true,
            Loss::Nothing | Loss::Counts => now.since(used(slot)) >= self.bounds.idle,
        }
    }

    fn part_of(&self, name: &str) -> usize {
        usize::try_from(self.hasher.hash_one(name) % PARTS as u64).unwrap_or(0)
    }

    fn read(&self, part: usize) -> RwLockReadGuard<'_, Part<S>> {
        self.parts[part].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, part: usize) -> RwLockWriteGuard<'_, Part<S>> {
        self.parts[part].write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn used<S: Entry>(slot: &Slot<S>) -> Instant {
    Instant::from_nanos(slot.used.load(Ordering::Relaxed))
}
