//! A map by name that is bounded: who may be forgotten to make room, and when it is looked for.
//!
//! Owns the map and the choice of whom to forget; what forgetting would lose is said by the [`Slot`]. Finding a name takes
//! the read lock of one of sixteen parts for the time of a look-up. Making, changing and forgetting is rare and goes one at
//! a time, and what is dropped by it is dropped under no lock: a listener above all may be user code.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use stormproof_core::breaker::Loss;
use stormproof_core::{Instant, Name};

use super::entry::Slot;
use crate::telemetry::events::Ended;

const PARTS: usize = 16;

/// Time after a fruitless search for somebody to forget until the next one: a search looks at every name.
const SEARCH_PAUSE: Duration = Duration::from_secs(1);

/// How many names, and who may go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Maximum number of names.
    pub(super) most: usize,
    /// Time without use after which a name may go with what it has counted.
    pub(super) idle: Duration,
    /// Whether the map stays within its bound: then a name may go at any time if nothing is lost by it, and where nobody
    /// can go, no name is made.
    pub(super) strict: bool,
}

/// What came of making or changing a name.
#[derive(Debug)]
pub(super) struct Changed<R> {
    /// What was read of the entry; nothing if there was no room for it.
    pub(super) read: Option<R>,
    /// Whether there was no room for it, for the first time since there was.
    pub(super) first_too_many: bool,
}

/// Only for the one who makes, changes or forgets.
#[derive(Debug, Default)]
struct Growth {
    search_from: Instant,
    said_full: bool,
}

/// What is to be dropped when all locks are given back.
#[derive(Default)]
struct Dropped {
    slots: Vec<Slot>,
    listeners: Vec<Ended>,
}

/// Who may be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    Yes,
    /// Perhaps, if its listeners are ended: they may be the ones that hold it.
    WithoutListeners,
    No,
}

type Part = HashMap<Name, Slot>;

/// What is kept by name.
#[derive(Debug)]
pub(super) struct Map {
    bounds: Bounds,
    hasher: RandomState,
    parts: [RwLock<Part>; PARTS],
    len: AtomicUsize,
    growth: Mutex<Growth>,
}

impl Map {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            hasher: RandomState::new(),
            parts: std::array::from_fn(|_| RwLock::default()),
            len: AtomicUsize::new(0),
            growth: Mutex::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn most(&self) -> usize {
        self.bounds.most
    }

    /// Reads the entry called `name`, which counts as used by it.
    pub(super) fn get<R>(&self, name: &str, now: Instant, read: impl FnOnce(&Slot) -> Option<R>) -> Option<R> {
        self.look(name, |slot| {
            let found = read(slot)?;
            slot.used.fetch_max(now.as_nanos(), Ordering::Relaxed);
            Some(found)
        })
    }

    /// The same without counting as a use.
    pub(super) fn look<R>(&self, name: &str, read: impl FnOnce(&Slot) -> Option<R>) -> Option<R> {
        self.read(self.part_of(name)).get(name).and_then(read)
    }

    /// Puts what `make` gives, knowing what is there, in the place of `name`; then reads what is there. Both run under
    /// locks of the map.
    pub(super) fn change<R, E>(
        &self,
        name: &str,
        now: Instant,
        make: impl FnOnce(Option<&Slot>) -> Result<Option<Slot>, E>,
        read: impl FnOnce(&Slot) -> R,
    ) -> Result<Changed<R>, E> {
        let part = self.part_of(name);
        let mut dropped = Dropped::default();
        let mut growth = self.lock();
        let mut is_new = !self.read(part).contains_key(name);
        let mut room = !is_new || self.make_room(&mut growth, now, &mut dropped);
        if !room && !dropped.listeners.is_empty() {
            // With their listeners those go that only these held.
            drop(growth);
            drop(std::mem::take(&mut dropped));
            growth = self.lock();
            is_new = !self.read(part).contains_key(name);
            growth.search_from = Instant::ZERO;
            room = !is_new || self.make_room(&mut growth, now, &mut dropped);
        }
        let first_too_many = is_new && !std::mem::replace(&mut growth.said_full, !room) && !room;
        if !room && self.bounds.strict {
            return Ok(Changed { read: None, first_too_many });
        }
        let put = make(self.read(part).get(name))?;
        if let Some(slot) = put {
            let replaced = self.write(part).insert(Name::from(name), slot);
            self.len.fetch_add(usize::from(replaced.is_none()), Ordering::Relaxed);
            dropped.slots.extend(replaced);
        }
        let read = self.read(part).get(name).map(read);
        drop(growth);
        Ok(Changed { read, first_too_many })
    }

    /// Runs `work` while nothing is made, changed or forgotten.
    pub(super) fn while_nothing_changes<R>(&self, work: impl FnOnce() -> R) -> R {
        let _growth = self.lock();
        work()
    }

    /// Forgets `name` and ends its listeners.
    pub(super) fn remove(&self, name: &str) -> Option<Slot> {
        let growth = self.lock();
        let removed = self.write(self.part_of(name)).remove(name);
        if let Some(slot) = &removed {
            self.len.fetch_sub(1, Ordering::Relaxed);
            drop(growth);
            drop(slot.end_listeners());
        }
        removed
    }

    /// What `read` gives of each, in the order of their names.
    pub(super) fn list<R>(&self, read: impl Fn(&Slot) -> Option<R>) -> Vec<(Name, R)> {
        let mut all = Vec::with_capacity(self.len());
        for part in 0..PARTS {
            all.extend(self.read(part).iter().filter_map(|(name, slot)| Some((name.clone(), read(slot)?))));
        }
        all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// Whether there is room for one more, if need be after forgetting some.
    fn make_room(&self, growth: &mut Growth, now: Instant, dropped: &mut Dropped) -> bool {
        if self.len() < self.bounds.most {
            return true;
        }
        if now < growth.search_from {
            return false;
        }
        let excess = (self.len() + 1).saturating_sub(self.bounds.most);
        // All that are idle; of the others some more than needed, so that a stream of new names does not search for each.
        let wanted = excess.max(self.bounds.most / 16);
        let candidates = self.candidates(now);
        for (last_used, part, name, going) in &candidates {
            let idle = now.since(*last_used) >= self.bounds.idle;
            if *going == Going::Yes && (dropped.slots.len() < wanted || idle) {
                dropped.slots.extend(self.forget(*part, name, now));
            }
        }
        let room = dropped.slots.len() >= excess;
        if !room {
            growth.search_from = now + SEARCH_PAUSE;
            for (_, part, name, _) in candidates.iter().filter(|(.., going)| *going == Going::WithoutListeners) {
                dropped.listeners.extend(self.read(*part).get(name).map(Slot::end_listeners).into_iter().flatten());
            }
        }
        room
    }

    /// Who may go, the longest unused first.
    fn candidates(&self, now: Instant) -> Vec<(Instant, usize, Name, Going)> {
        let mut candidates = Vec::new();
        for part in 0..PARTS {
            for (name, slot) in &*self.read(part) {
                let going = self.going(slot, now);
                if going != Going::No {
                    candidates.push((slot.used(), part, name.clone(), going));
                }
            }
        }
        candidates.sort_unstable_by(|(a_used, _, a, _), (b_used, _, b, _)| (a_used, a).cmp(&(b_used, b)));
        candidates
    }

    /// Forgets `name` if it may still go. Handles are given out under this lock alone, so nobody can get one meanwhile.
    fn forget(&self, part: usize, name: &str, now: Instant) -> Option<Slot> {
        let mut part = self.write(part);
        part.get(name).filter(|slot| self.going(slot, now) == Going::Yes)?;
        self.len.fetch_sub(1, Ordering::Relaxed);
        part.remove(name)
    }

    fn going(&self, slot: &Slot, now: Instant) -> Going {
        let idle = slot.idle(now) >= self.bounds.idle;
        let may_go = match slot.loss(now) {
            Loss::State => false,
            Loss::Nothing => idle || self.bounds.strict,
            Loss::Counts => idle,
        };
        match slot.is_held() {
            _ if !may_go => Going::No,
            false => Going::Yes,
            true if idle && slot.may_hold_itself() => Going::WithoutListeners,
            true => Going::No,
        }
    }

    fn part_of(&self, name: &str) -> usize {
        usize::try_from(self.hasher.hash_one(name) % PARTS as u64).unwrap_or(0)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Growth> {
        self.growth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, part: usize) -> RwLockReadGuard<'_, Part> {
        self.parts[part].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, part: usize) -> RwLockWriteGuard<'_, Part> {
        self.parts[part].write().unwrap_or_else(PoisonError::into_inner)
    }
}
