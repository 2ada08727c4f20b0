//! A clock that moves on by itself when all who share it wait, and the turns that its threads take.
//!
//! One thread runs at a time, the others stand in a queue ordered by when they are due and, for one instant, by when they
//! began to wait. Whoever begins to wait passes the turn on to the first, and the time jumps to when that one is due: a
//! run with the same code is the same run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use stormproof_core::Instant;

use super::{Clock, Source};

/// Who waits: a thread, for as long as it makes one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u64);

#[derive(Debug, Default)]
pub(crate) struct Stepping {
    state: Mutex<State>,
    passed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    now: Instant,
    numbers: u64,
    queue: BTreeMap<(Instant, u64), Place>,
    /// Who may go on and has not noticed yet.
    chosen: BTreeSet<Place>,
    /// Nobody runs, and nobody is ever due: the next one that is woken goes on at once.
    idle: bool,
}

impl State {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn enqueue(&mut self, place: Place, at: Instant) {
        let number = self.number();
        self.queue.insert((at, number), place);
    }

    /// Lets the first in the queue go on.
    fn pass(&mut self) {
        let first = self.queue.first_entry().filter(|first| first.key().0 != Instant::FAR_FUTURE);
        self.idle = first.is_none();
        if let Some(first) = first {
            self.now = self.now.max(first.key().0);
            self.chosen.insert(first.remove());
        }
    }

    /// Is due now, if it waits for something later.
    fn wake(&mut self, place: Place) {
        let later = self.queue.iter().find(|((at, _), waiting)| **waiting == place && *at > self.now);
        let Some(key) = later.map(|(key, _)| *key) else { return };
        self.queue.remove(&key);
        self.enqueue(place, self.now);
        if self.idle {
            self.pass();
        }
    }
}

impl Stepping {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Instant {
        self.lock().now
    }

    pub(super) fn move_to(&self, time: Instant) {
        let mut state = self.lock();
        state.now = state.now.max(time);
    }

    pub(super) fn place(&self) -> Place {
        Place(self.lock().number())
    }

    pub(super) fn wake(&self, place: Place) {
        self.lock().wake(place);
        self.passed.notify_all();
    }

    /// Waits until `until` or until it is woken, which it says and which `take_woken` knows.
    pub(super) fn wait(&self, place: Place, until: Instant, take_woken: impl Fn() -> bool) -> bool {
        let mut state = self.lock();
        // Under the lock: who wakes it from now on finds it in the queue.
        if take_woken() {
            return true;
        }
        state.enqueue(place, until);
        state.pass();
        self.until_chosen(state, place);
        take_woken()
    }

    fn until_chosen(&self, mut state: MutexGuard<'_, State>, place: Place) {
        self.passed.notify_all();
        while !state.chosen.remove(&place) {
            state = self.passed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Clock {
    /// Starts a thread. On a [stepping](Self::stepping) clock the threads take turns: it runs as soon as the present one
    /// waits or [joins](Joined::join) it. On other clocks it is a thread like any other.
    ///
    /// ```
    /// use std::time::Duration;
    /// use stormproof::{Bulkhead, Clock, bulkhead};
    ///
    /// let clock = Clock::stepping();
    /// let config = bulkhead::Config { max_concurrent: 1, ..Default::default() };
    /// let bulkhead = Bulkhead::with_clock("one", config, &clock).expect("a valid configuration");
    /// let work = |at_work: Clock, bulkhead: Bulkhead| move || {
    ///     bulkhead.call_sync(|_| Ok::<_, ()>(at_work.sleep(Duration::from_secs(1)))).run()
    /// };
    /// let threads = [1, 2, 3].map(|_| clock.spawn(work(clock.clone(), bulkhead.clone())));
    /// threads.map(|thread| thread.join().expect("no panic").expect("a slot"));
    /// assert_eq!(clock.now().as_nanos(), 3_000_000_000); // one after the other, in no time
    /// ```
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Joined<T> {
        let Source::Stepping(stepping) = &self.0 else {
            return Joined { thread: std::thread::spawn(work), end: None };
        };
        let mut state = stepping.lock();
        let (begin, end) = (Place(state.number()), Place(state.number()));
        let now = state.now;
        state.enqueue(begin, now);
        if state.idle {
            state.pass();
        }
        drop(state);
        let turns = Turns { stepping: stepping.clone(), end: Arc::default(), joins: end };
        let joined = Some((stepping.clone(), turns.end.clone(), end));
        let thread = std::thread::spawn(move || {
            turns.stepping.until_chosen(turns.stepping.lock(), begin);
            let _turns = turns;
            work()
        });
        Joined { thread, end: joined }
    }
}

/// Passes the turn on when a thread ends, by a panic as well.
struct Turns {
    stepping: Arc<Stepping>,
    end: Arc<Mutex<bool>>,
    joins: Place,
}

impl Drop for Turns {
    fn drop(&mut self) {
        let mut state = self.stepping.lock();
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = true;
        state.wake(self.joins);
        state.pass();
        drop(state);
        self.stepping.passed.notify_all();
    }
}

/// A thread that was started by [`Clock::spawn`].
#[derive(Debug)]
#[must_use = "on a stepping clock a thread that nobody waits for may not get its turn"]
pub struct Joined<T> {
    thread: std::thread::JoinHandle<T>,
    end: Option<(Arc<Stepping>, Arc<Mutex<bool>>, Place)>,
}

impl<T> Joined<T> {
    /// Waits for its end. An error is what it panicked with.
    pub fn join(self) -> std::thread::Result<T> {
        if let Some((stepping, end, place)) = &self.end {
            let mut state = stepping.lock();
            if !*end.lock().unwrap_or_else(PoisonError::into_inner) {
                state.enqueue(*place, Instant::FAR_FUTURE);
                state.pass();
                stepping.until_chosen(state, *place);
            }
        }
        self.thread.join()
    }
}
