//! The bulkhead: a limited number of calls at a time, and a bounded queue.
//!
//! Owns the count of slots and the order in which callers get them. Does not own waiting: a queued caller holds a
//! [`Ticket`], and the edge polls it when it is woken, and gives it up when its time in the queue is over.

mod config;
mod measured;
mod queue;
mod slot;
mod state;

use std::convert::Infallible;
use std::time::Duration;

pub use self::config::Config;
pub use self::slot::Slot;

use self::measured::Measured;
use self::slot::Stay;
use self::state::{State, active, limit};

use crate::adaptive::{self, Limiter};
use crate::caller::{Caller, Priority};
use crate::decision::{Admission, Name, Progress, Reason, Refusal, Stage, Ticket};
use crate::invalid::Mistakes;
use crate::outcome::Verdict;
use crate::snapshot::{Sample, Snapshot};
use crate::sync::{AtomicU64, Mutex, Ordering, Padded};
use crate::time::Instant;
use crate::word::Word;

/// The number of slots may have moved by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adjusted {
    /// Who got a slot by that, and should be polled.
    pub wake: Vec<Ticket>,
    /// From which number to which, if the change since the last one told is considerable: a quarter or more.
    pub told: Option<(u32, u32)>,
}

/// The numbers of a bulkhead at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Slots taken, those included that were granted to a queued caller which has not asked since.
    pub active: u32,
    /// Callers in the queue.
    pub queued: usize,
    /// Calls at a time. Fewer than `active` for a while after it was lowered.
    pub max_concurrent: u32,
    /// Callers that may wait.
    pub max_queue: u32,
    /// Slots given out so far.
    pub admitted: u64,
    /// Calls refused so far, for whatever reason.
    pub refused: u64,
    /// Those of them that were in the queue and made room for others.
    pub shed: u64,
}

/// No slot is free.
#[derive(Clone, Copy)]
struct Full;

/// What every admission writes.
#[derive(Debug)]
struct Hot {
    /// Slots in use and slots there are.
    word: Word,
    admitted: AtomicU64,
}

#[derive(Debug)]
struct Cold {
    state: Mutex<State>,
    queue_full: AtomicU64,
    /// Slots whose holders wait for something else.
    parked: AtomicU64,
}

/// Lets a limited number of calls run at a time; the next ones wait, the rest is refused. Those who wait are served in the order of
/// arrival, unless they say that they differ: see [`acquire_as`](Self::acquire_as).
///
/// With nobody waiting, taking and giving back a slot are one atomic exchange each. With somebody waiting they take a
/// short mutex, a slot that comes free goes straight to the next in the queue, and nobody passes before those who wait.
///
/// ```
/// use stormproof_core::{Admission, Bulkhead, Instant, Progress, bulkhead};
///
/// let config = bulkhead::Config { max_concurrent: 1, max_queue: 1, ..Default::default() };
/// let bulkhead = Bulkhead::with_config("search", config).unwrap();
/// let mut slot = bulkhead.try_acquire().unwrap();
/// let now = Instant::ZERO;
/// let Admission::Queued(ticket) = bulkhead.acquire(now) else { panic!() };
/// assert!(matches!(bulkhead.acquire(now), Admission::Refused(_)));
///
/// assert_eq!(bulkhead.release(&mut slot), [ticket]);
/// assert!(matches!(bulkhead.poll(now, ticket), (Progress::Granted(_), _)));
/// ```
#[derive(Debug)]
pub struct Bulkhead {
    name: Name,
    /// Not zero: calls are measured. Beside what is only read, so that looking at it costs nothing.
    adapts: AtomicU64,
    hot: Padded<Hot>,
    cold: Padded<Cold>,
    measured: Padded<Mutex<Measured>>,
}

impl Bulkhead {
    /// A bulkhead with the default configuration, all slots free.
    pub fn new(name: impl Into<Name>) -> Self {
        Self::valid(name.into(), Config::default())
    }

    /// A bulkhead with all slots free, or all mistakes in `config`.
    pub fn with_config(name: impl Into<Name>, config: Config) -> Result<Self, Mistakes> {
        Mistakes::none(config.validate())?;
        Ok(Self::valid(name.into(), config))
    }

    fn valid(name: Name, config: Config) -> Self {
        let (zero, measured) = (|| AtomicU64::new(0), Measured::new(&config));
        let adapts = AtomicU64::new(config.adaptive.is_some().into());
        let state = State::new(config.max_concurrent, config);
        Self {
            name,
            adapts,
            hot: Padded(Hot { word: Word::new(state.word()), admitted: zero() }),
            cold: Padded(Cold { state: Mutex::new(state), queue_full: zero(), parked: zero() }),
            measured: Padded(Mutex::new(measured)),
        }
    }

    /// The name given to `new`.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The present configuration.
    pub fn config(&self) -> Config {
        self.cold.0.state.lock().config.clone()
    }

    /// Takes a slot now or not at all; never passes those who wait.
    #[inline]
    pub fn try_acquire(&self) -> Result<Slot, Refusal<'_>> {
        self.take().or_else(|full| self.try_again(full))
    }

    /// Takes a slot now, or queues for one, or is refused as [`Reason::QueueFull`]. A queued ticket should be polled once
    /// right away, to learn when to poll again and whom to poll besides.
    #[inline]
    pub fn acquire(&self, now: Instant) -> Admission<'_, Slot> {
        self.acquire_by(now, Caller::default)
    }

    /// [`acquire`](Self::acquire) for a call of a class or of a flow.
    ///
    /// Callers of the highest class are served first; within a class one of each flow in turn, and those of one flow in
    /// the order of arrival. If the queue is full the newest caller of the longest flow of the lowest class makes room, and
    /// is refused as [`Reason::Shed`] when it asks, for a newcomer of a higher class or of a flow that is still shorter
    /// then. Else the newcomer is refused.
    ///
    /// ```
    /// use stormproof_core::{Admission, Bulkhead, Instant, Priority, Progress, bulkhead};
    ///
    /// let config = bulkhead::Config { max_concurrent: 1, max_queue: 1, ..Default::default() };
    /// let bulkhead = Bulkhead::with_config("search", config).unwrap();
    /// let _slot = bulkhead.try_acquire().unwrap();
    /// let now = Instant::ZERO;
    /// let Admission::Queued(batch) = bulkhead.acquire_as(now, Priority::Low.into()) else { panic!() };
    /// let Admission::Queued(user) = bulkhead.acquire_as(now, Priority::High.into()) else { panic!() };
    /// let (Progress::Waiting { .. }, woken) = bulkhead.poll(now, user) else { panic!() };
    /// assert_eq!(woken, [batch]);
    /// assert!(matches!(bulkhead.poll(now, batch), (Progress::Refused(_), _)));
    /// ```
    #[inline]
    pub fn acquire_as(&self, now: Instant, caller: Caller) -> Admission<'_, Slot> {
        self.acquire_by(now, || caller)
    }

    /// The same, of a caller that is asked who it is only if it has to wait.
    #[inline]
    pub(crate) fn acquire_by(&self, now: Instant, caller: impl FnOnce() -> Caller) -> Admission<'_, Slot> {
        self.take().map_or_else(|_| self.enqueue(now, caller()), Admission::Granted)
    }

    /// Asks for a queued caller: granted once a slot was handed to it, refused as [`Reason::Shed`] if it made room for
    /// another, as [`Reason::QueueTimeout`] once its time in the queue is over, and so is a ticket that is not known (any
    /// more). Returns whom to poll besides.
    ///
    /// A slot that was handed to a caller which does not ask for it goes to the next after 10 ms.
    pub fn poll(&self, now: Instant, ticket: Ticket) -> (Progress<'_, Slot>, Vec<Ticket>) {
        let (progress, woken) = self.exclusively(|state| state.poll(now, ticket));
        let progress = match progress {
            Ok(Progress::Granted(slot)) => Progress::Granted(self.counted(slot)),
            Ok(waiting) => waiting,
            Err(reason) => Progress::Refused(self.refusal(reason)),
        };
        (progress, woken)
    }

    /// Leaves the queue without a trace; those behind move up. A slot that was granted meanwhile goes to the next in
    /// the queue. Returns whom to poll. Does nothing for a ticket that is not known (any more).
    pub fn cancel(&self, ticket: Ticket) -> Vec<Ticket> {
        self.exclusively(|state| state.leave(ticket))
    }

    /// Gives a slot back; with somebody waiting it is handed to the next in the queue. Returns whom to poll: that one, and
    /// the one after it. Only the first release of a slot has an effect.
    #[inline]
    pub fn release(&self, slot: &mut Slot) -> Vec<Ticket> {
        if slot.stay == Stay::Released {
            return Vec::new();
        }
        self.unpark(slot);
        slot.stay = Stay::Released;
        let freed = self.hot.0.word.update(|word| Ok::<_, Infallible>(word - active(word).min(1)));
        if freed.is_ok() {
            return Vec::new();
        }
        self.exclusively(State::release)
    }

    /// Notes that the work in a slot has to wait for something else until it [begins](Self::begin), such as its turn at a
    /// rate limiter. Such a slot is not in use: a limit that others impose is no reason for an adaptive bulkhead to grow.
    #[inline]
    pub fn park(&self, slot: &mut Slot) {
        if self.adapts() && slot.stay == Stay::Held {
            slot.stay = Stay::Parked;
            self.cold.0.parked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that the work in a slot begins: what an adaptive bulkhead measures begins here, not when the slot was taken.
    #[inline]
    pub fn begin(&self, now: Instant, slot: &mut Slot) {
        self.unpark(slot);
        slot.began = now;
    }

    #[inline]
    fn unpark(&self, slot: &mut Slot) {
        if slot.stay == Stay::Parked {
            slot.stay = Stay::Held;
            self.cold.0.parked.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether the number of slots moves by itself, so that [`observe`](Self::observe) has to be told of results.
    #[inline]
    pub fn adapts(&self) -> bool {
        self.adapts.load(Ordering::Relaxed) != 0
    }

    /// Takes note of how the work in a slot ended, and moves the number of slots if it is adaptive and a window of
    /// measurements ended. To be called before [`release`](Self::release). Work that did not [`begin`](Self::begin)
    /// is not measured.
    #[inline]
    pub fn observe(&self, now: Instant, slot: &Slot, verdict: &Verdict<'_>) -> Option<Adjusted> {
        (self.adapts() && slot.stay != Stay::Released && slot.began != Instant::FAR_FUTURE)
            .then(|| self.measure(now, slot.began, verdict))
            .flatten()
    }

    #[cold]
    fn measure(&self, now: Instant, began: Instant, verdict: &Verdict<'_>) -> Option<Adjusted> {
        let (word, parked) = (self.hot.0.word.value(), self.cold.0.parked.load(Ordering::Relaxed));
        let full = active(word).saturating_sub(parked) >= limit(word);
        self.adjust(|limiter| limiter.record(now, began, verdict, full))
    }

    /// Takes note that work ended while the circuit of its callee was not closed. An outage says nothing about the
    /// number of slots, so what was measured in the window under way is forgotten.
    #[cold]
    pub fn interrupt(&self, now: Instant) -> Option<Adjusted> {
        self.adjust(|limiter| limiter.interrupt(now))
    }

    fn adjust(&self, change: impl FnOnce(&mut Limiter) -> bool) -> Option<Adjusted> {
        let mut measured = self.measured.0.lock();
        let limiter = measured.limiter.as_mut()?;
        if !change(limiter) {
            return None;
        }
        let limit = limiter.limit();
        let wake = self.exclusively(|state| {
            state.limit = limit;
            state.hand_over()
        });
        Some(Adjusted { wake, told: measured.tell(limit) })
    }

    /// What an adaptive bulkhead has measured; `None` if it is not adaptive.
    pub fn adaptive(&self) -> Option<adaptive::Stats> {
        self.measured.0.lock().limiter.as_ref().map(Limiter::stats)
    }

    /// Changes the number of slots; an adaptive one goes on from there. More slots go to those who wait, who are returned
    /// and should be polled; fewer evict nobody: calls in flight end as they would have. Or all mistakes.
    pub fn resize(&self, max_concurrent: u32) -> Result<Vec<Ticket>, Mistakes> {
        self.change(|present| Config { max_concurrent, ..present.clone() })
    }

    /// Changes the configuration and keeps the state, as [`resize`](Self::resize) does. A shorter queue evicts nobody,
    /// and a new `queue_timeout` holds for those who come. Returns whom to poll, or all mistakes in `config`.
    pub fn update(&self, config: Config) -> Result<Vec<Ticket>, Mistakes> {
        self.change(|_| config)
    }

    /// The numbers now.
    pub fn stats(&self) -> Stats {
        let Cold { state, queue_full, parked: _ } = &self.cold.0;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let state = state.lock();
        Stats {
            active: u32::try_from(active(self.hot.0.word.value())).unwrap_or(u32::MAX),
            queued: state.queue.len(),
            max_concurrent: state.limit,
            max_queue: state.config.max_queue,
            admitted: get(&self.hot.0.admitted),
            refused: get(queue_full).saturating_add(state.timed_out).saturating_add(state.displaced),
            shed: state.displaced,
        }
    }

    /// Callers in the queue by class, the highest first.
    fn waiting(&self) -> [(Priority, usize); 4] {
        let state = self.cold.0.state.lock();
        Priority::ALL.map(|priority| (priority, state.queue.waiting(priority)))
    }

    /// The same as data for metrics, the admin API and the dashboard.
    pub fn snapshot(&self) -> Snapshot {
        const REFUSED: &str = "Calls refused, by reason.";
        let stats = self.stats();
        let queue_full = self.cold.0.queue_full.load(Ordering::Relaxed);
        let refused =
            |count: u64, reason: Reason| Sample::counter("refused", REFUSED, count).label("reason", reason.as_str());
        let mut samples = vec![
            Sample::gauge("active", "Slots taken.", stats.active.into()),
            Sample::gauge("queued", "Calls waiting for a slot.", stats.queued as f64),
            Sample::gauge("max_concurrent", "Slots there are.", stats.max_concurrent.into()),
            Sample::gauge("max_queue", "Calls that may wait for a slot.", stats.max_queue.into()),
            Sample::counter("admitted", "Slots given out.", stats.admitted),
            refused(queue_full, Reason::QueueFull),
            refused(stats.refused.saturating_sub(queue_full).saturating_sub(stats.shed), Reason::QueueTimeout),
            refused(stats.shed, Reason::Shed),
        ];
        let waiting = self.waiting().into_iter();
        samples.extend(waiting.map(|(priority, count)| {
            const WAITING: &str = "Calls waiting for a slot, by class.";
            Sample::gauge("waiting", WAITING, count as f64).label("priority", priority.as_str())
        }));
        if let Some(adaptive) = self.adaptive() {
            let seconds = |metric, help, time: Duration| Sample::gauge(metric, help, time.as_secs_f64());
            samples.extend([
                seconds("baseline_seconds", "What a call takes that does not wait for others.", adaptive.baseline),
                seconds("latency_seconds", "What a call took in the last window.", adaptive.latency),
                Sample::counter("windows", "Windows of measurements that have ended.", adaptive.windows),
            ]);
        }
        Snapshot { stage: Stage::Bulkhead, name: self.name.clone(), samples }
    }

    /// The fast path: one exchange of the word, if a slot is free. Else whether the word was there to look at.
    #[inline]
    fn take(&self) -> Result<Slot, Option<Full>> {
        let taken = |word| if active(word) < limit(word) { Ok(word + 1) } else { Err(Full) };
        self.hot.0.word.update(taken).map(|()| self.counted(Slot::new()))
    }

    #[inline]
    fn counted(&self, slot: Slot) -> Slot {
        self.hot.0.admitted.fetch_add(1, Ordering::Relaxed);
        slot
    }

    /// The rest of `try_acquire`; needs the mutex only if the word was locked.
    #[cold]
    fn try_again(&self, known: Option<Full>) -> Result<Slot, Refusal<'_>> {
        let slot = if known.is_some() { None } else { self.exclusively(State::admit) };
        match slot {
            Some(slot) => Ok(self.counted(slot)),
            None => Err(self.refuse_full()),
        }
    }

    /// The rest of `acquire`.
    #[cold]
    fn enqueue(&self, now: Instant, caller: Caller) -> Admission<'_, Slot> {
        let answer = self.exclusively(|state| match state.admit() {
            Some(slot) => Ok(slot),
            None => Err(state.enqueue(now, caller)),
        });
        match answer {
            Ok(slot) => Admission::Granted(self.counted(slot)),
            Err(Some(ticket)) => Admission::Queued(ticket),
            Err(None) => Admission::Refused(self.refuse_full()),
        }
    }

    fn refuse_full(&self) -> Refusal<'_> {
        self.cold.0.queue_full.fetch_add(1, Ordering::Relaxed);
        self.refusal(Reason::QueueFull)
    }

    /// When a slot comes free depends on others, so no time is named.
    fn refusal(&self, reason: Reason) -> Refusal<'_> {
        Refusal::new(Stage::Bulkhead, &self.name, reason)
    }

    fn change(&self, change: impl FnOnce(&Config) -> Config) -> Result<Vec<Ticket>, Mistakes> {
        let mut measured = self.measured.0.lock();
        self.exclusively(|state| {
            let config = change(&state.config);
            Mistakes::none(config.validate())?;
            state.limit = measured.configure(&config, &state.config);
            self.adapts.store(config.adaptive.is_some().into(), Ordering::Relaxed);
            state.config = config;
            Ok(state.hand_over())
        })
    }

    /// Runs `change` as the only one who may change the word, and leaves it locked if somebody waits then.
    fn exclusively<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.cold.0.state.lock();
        state.active = active(self.hot.0.word.lock());
        let answer = change(&mut state);
        self.hot.0.word.unlock(state.word(), !state.queue.is_empty());
        answer
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
