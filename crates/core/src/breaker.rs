//! The circuit breaker.
//!
//! Owns admission and permits, with and without a permit in the caller's hands. From here down: the machine under the lock
//! in `machine.rs`, the rules that trip it in `rules.rs` and `trip.rs`, its configuration in `config.rs`. Beside them: its
//! states in `transition.rs`, what it shows of itself in `stats.rs`, what outlives a process in `saved.rs`.
//!
//! All truth is under one short mutex. Two atomic words publish what a call can decide without it: *admit* and *a success
//! changes nothing* in one, *refuse until* in the other; so a healthy call never locks. Every transition begins a new
//! generation; a permit carries the generation it was admitted in, and a result from an earlier one never moves the
//! machine.

mod config;
#[cfg(feature = "serde")]
mod document;
mod machine;
mod rules;
mod saved;
mod stats;
mod transition;
mod trip;

use std::time::Duration;

pub use config::{Config, Mode, Scope};
use machine::Machine;
pub use rules::{Count, Counted};
pub use saved::{Loss, Saved};
pub use stats::Stats;
pub use transition::{Cause, Change, State, Transition};
pub use trip::{Trip, Window};

use crate::decision::{Name, Reason, Refusal, Stage};
use crate::invalid::Mistakes;
use crate::outcome::{Outcome, Verdict, is_one_of};
use crate::rng::Rng;
use crate::sync::{AtomicU64, Mutex, Ordering, Padded};
use crate::time::Instant;

/// Stops calling what has been failing, and finds out by probes when it is well again.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{breaker::State, CircuitBreaker, Instant, Verdict};
///
/// let breaker = CircuitBreaker::new("openai"); // opens after 5 failures in a row, for 60 s
/// let t = Instant::ZERO;
/// for _ in 0..5 {
///     let mut permit = breaker.admit(t).expect("closed");
///     breaker.settle(&mut permit, t, &Verdict::failure("TimeoutError"));
/// }
/// let refusal = breaker.admit(t).unwrap_err();
/// assert_eq!(refusal.retry_after, Duration::from_secs(60));
/// assert_eq!(breaker.state(t + Duration::from_secs(60)), State::HalfOpen);
/// ```
#[derive(Debug)]
pub struct CircuitBreaker {
    name: Name,
    rng: Rng,
    published: Padded<Published>,
    counters: Padded<Counters>,
    machine: Mutex<Machine>,
}

/// State that a call reads without the lock. Written only under it. Each decision follows from one of the fields alone, so that
/// a reader between two stores cannot combine an old value with a new one.
#[derive(Debug)]
struct Published {
    /// Generation in the upper bits, the flags below in the lower ones.
    word: AtomicU64,
    /// End of the open wait in nanoseconds, [`FORCED`], or [`UNDECIDED`]. Counts only where `word` does not admit.
    until: AtomicU64,
    /// 1 for [`Scope::Operation`].
    scope: AtomicU64,
}

/// Flag of the word: everything passes.
const ADMIT: u64 = 1;
/// Flag of the word: a success changes nothing but a counter.
const QUIET: u64 = 2;
const FLAG_BITS: u32 = 2;

/// In place of an end: the machine decides.
const UNDECIDED: u64 = 0;
/// In place of an end: an operator holds the circuit open.
const FORCED: u64 = u64::MAX;

#[derive(Debug, Default)]
struct Counters {
    successes: AtomicU64,
    failures: AtomicU64,
    ignored: AtomicU64,
    refused: AtomicU64,
    last_success: AtomicU64,
}

/// The right to one call, to be given back by [`CircuitBreaker::settle`] or [`CircuitBreaker::release`]; the first of
/// them counts, further ones do nothing.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    generation: u64,
    admitted_at: Instant,
    /// The place among the probes; `None` for an ordinary call.
    probe: Option<u64>,
    began_half_open: bool,
    spent: bool,
}

impl Permit {
    fn new(generation: u64, admitted_at: Instant, probe: Option<u64>) -> Self {
        Self { generation, admitted_at, probe, began_half_open: false, spent: false }
    }

    /// Whether this call is a probe of a half-open circuit.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

impl CircuitBreaker {
    /// A breaker with the default [`Config`].
    pub fn new(name: impl Into<Name>) -> Self {
        Self::build(name.into(), Config::default())
    }

    /// A breaker with `config`, or all mistakes in it.
    pub fn with_config(name: impl Into<Name>, config: Config) -> Result<Self, Mistakes> {
        Mistakes::none(config.validate())?;
        Ok(Self::build(name.into(), config))
    }

    fn build(name: Name, config: Config) -> Self {
        let machine = Machine::new(config);
        let zero = || AtomicU64::new(0);
        let published = Published { word: zero(), until: zero(), scope: zero() };
        let breaker = Self {
            name,
            rng: Rng::new(0),
            published: Padded(published),
            counters: Padded::default(),
            machine: Mutex::new(machine),
        };
        breaker.publish(&breaker.machine.lock());
        breaker
    }

    /// Seeds the jitter of the open wait.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.rng = Rng::new(seed);
        self
    }

    /// The breaker's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The present configuration.
    pub fn config(&self) -> Config {
        self.machine.lock().config.clone()
    }

    /// The scope of one outcome in a policy that retries, as configured now.
    #[inline]
    pub fn scope(&self) -> Scope {
        if self.published.0.scope.load(Ordering::Relaxed) == 0 { Scope::Attempt } else { Scope::Operation }
    }

    /// Changes the configuration and keeps state and counts. A trip rule with another threshold goes on with what it has
    /// counted; one that is new or looks at another window starts to count. A mode that an operator set stays, unless
    /// `config` has another one than the configuration before. Returns the transition if the state changed by the mode, or
    /// all mistakes, and nothing has changed.
    pub fn update(&self, now: Instant, config: Config) -> Result<Option<Transition>, Mistakes> {
        Mistakes::none(config.validate())?;
        let mut machine = self.machine.lock();
        let transition = machine.reconfigure(now, config);
        self.publish(&machine);
        Ok(transition)
    }

    /// Lets a call through or refuses it. In half-open this takes a place among the probes.
    #[inline]
    pub fn admit(&self, now: Instant) -> Result<Permit, Refusal<'_>> {
        let word = self.published.0.word.load(Ordering::Acquire);
        // One value from two branches: as two returns, the permit would be put together in memory and copied.
        let permit = if word & ADMIT != 0 {
            Permit::new(word >> FLAG_BITS, now, None)
        } else if let Some(refusal) = self.published_refusal(now) {
            return Err(refusal);
        } else {
            self.admit_by_machine(now)?
        };
        Ok(permit)
    }

    /// The transition from open to half-open, if the admission that gave `permit` made it.
    #[inline]
    pub fn transition(&self, permit: &Permit) -> Option<Transition> {
        permit.began_half_open.then(|| self.half_open(permit))
    }

    #[cold]
    fn half_open(&self, permit: &Permit) -> Transition {
        self.machine.lock().half_open(permit.generation, permit.admitted_at)
    }

    /// Refuses at once what [`admit`](Self::admit) would refuse, and takes nothing.
    #[inline]
    pub fn look(&self, now: Instant) -> Result<(), Refusal<'_>> {
        let word = self.published.0.word.load(Ordering::Acquire);
        if word & ADMIT != 0 { Ok(()) } else { self.look_closer(now) }
    }

    fn look_closer(&self, now: Instant) -> Result<(), Refusal<'_>> {
        if let Some(refusal) = self.published_refusal(now) {
            return Err(refusal);
        }
        let refused = self.machine.lock().refusal(now);
        refused.map_or(Ok(()), |(reason, wait)| Err(self.refuse(reason, wait)))
    }

    /// Whether a call would pass now. Takes and counts nothing.
    pub fn is_available(&self, now: Instant) -> bool {
        self.machine.lock().refusal(now).is_none()
    }

    /// The refusal that follows from the published end alone.
    #[inline]
    fn published_refusal(&self, now: Instant) -> Option<Refusal<'_>> {
        let until = self.published.0.until.load(Ordering::Acquire);
        if until == FORCED {
            return Some(self.refuse(Reason::ForcedOpen, Duration::ZERO));
        }
        let wait = Instant::from_nanos(until).since(now);
        (!wait.is_zero()).then(|| self.refuse(Reason::Open, wait))
    }

    #[inline]
    fn refuse(&self, reason: Reason, retry_after: Duration) -> Refusal<'_> {
        self.counters.0.refused.fetch_add(1, Ordering::Relaxed);
        Refusal { stage: Stage::Breaker, name: &self.name, reason, retry_after, cause: Some(self) }
    }

    #[cold]
    fn admit_by_machine(&self, now: Instant) -> Result<Permit, Refusal<'_>> {
        let mut machine = self.machine.lock();
        let admitted = machine.admit(now);
        self.publish(&machine);
        drop(machine);
        admitted.map_err(|(reason, wait)| self.refuse(reason, wait))
    }

    /// Records the result of an admitted call. Returns what changed by it.
    #[inline]
    pub fn settle(&self, permit: &mut Permit, now: Instant, verdict: &Verdict<'_>) -> Option<Change> {
        if std::mem::replace(&mut permit.spent, true) {
            return None;
        }
        if verdict.outcome == Outcome::Success {
            let quiet = (permit.generation << FLAG_BITS) | ADMIT | QUIET;
            if self.published.0.word.load(Ordering::Acquire) == quiet {
                self.count_success(now);
                return None;
            }
        }
        self.settle_by_machine(permit, now, verdict)
    }

    #[inline]
    fn count_success(&self, now: Instant) {
        // In this order: whoever sees the count sees a time.
        self.counters.0.last_success.store(now.as_nanos().saturating_add(1), Ordering::Relaxed);
        self.counters.0.successes.fetch_add(1, Ordering::Release);
    }

    #[cold]
    fn settle_by_machine(&self, permit: &Permit, now: Instant, verdict: &Verdict<'_>) -> Option<Change> {
        let mut machine = self.machine.lock();
        let ignored = verdict.outcome == Outcome::Failure && is_one_of(verdict.kind, &machine.config.ignore);
        let outcome = if ignored { Outcome::Ignored } else { verdict.outcome };
        if machine.mode != Mode::Disabled {
            match outcome {
                Outcome::Success => self.count_success(now),
                Outcome::Failure => {
                    self.counters.0.failures.fetch_add(1, Ordering::Relaxed);
                    machine.successes_at_failure = self.counters.0.successes.load(Ordering::Relaxed);
                }
                Outcome::Ignored => _ = self.counters.0.ignored.fetch_add(1, Ordering::Relaxed),
            }
        }
        let change = machine.settle(permit, now, &Verdict { outcome, ..*verdict }, &self.rng);
        self.publish(&machine);
        change
    }

    /// Gives a permit back without a result (cancelled, or refused by a later stage): neither success nor failure.
    pub fn release(&self, permit: &mut Permit) {
        if std::mem::replace(&mut permit.spent, true) {
            return;
        }
        let mut machine = self.machine.lock();
        if machine.mode != Mode::Disabled {
            self.counters.0.ignored.fetch_add(1, Ordering::Relaxed);
        }
        machine.return_place(permit);
    }

    /// Whether calls pass and count as usual; takes no lock.
    pub(crate) fn is_closed(&self) -> bool {
        self.published.0.word.load(Ordering::Acquire) & ADMIT != 0
    }

    /// Whether `permit` is a place among the probes of the present half-open circuit.
    pub(crate) fn is_probing(&self, permit: &Permit) -> bool {
        permit.is_probe() && self.published.0.word.load(Ordering::Acquire) >> FLAG_BITS == permit.generation
    }

    /// Asks whether a call may be made: for callers that cannot carry a permit from the question to the answer. In half-open
    /// a yes takes a place until [`record`](Self::record) or, if that never comes, for `half_open_timeout`. Returns the
    /// change that the question made (open to half-open).
    ///
    /// ```
    /// use stormproof_core::{CircuitBreaker, Instant, Verdict};
    ///
    /// let breaker = CircuitBreaker::new("crm");
    /// let now = Instant::ZERO;
    /// if breaker.allow_request(now).is_ok() {
    ///     breaker.record(now, &Verdict::success());
    /// }
    /// assert_eq!(breaker.stats(now).successes, 1);
    /// ```
    pub fn allow_request(&self, now: Instant) -> Result<Option<Change>, Refusal<'_>> {
        let permit = self.admit(now)?;
        let change = self.transition(&permit).map(Change::Moved);
        self.machine.lock().asked(permit);
        Ok(change)
    }

    /// Records a result for the oldest question of the present state that has none, so that answers are matched to
    /// questions in order. Does nothing if there is no such question.
    pub fn record(&self, now: Instant, verdict: &Verdict<'_>) -> Option<Change> {
        let mut permit = self.machine.lock().questions.pop_front()?;
        self.settle(&mut permit, now, verdict)
    }

    /// Sets the mode: [`Mode::ForcedOpen`] opens until another mode is set, every other one closes. Returns the
    /// transition if the state changed by it.
    pub fn set_mode(&self, now: Instant, mode: Mode) -> Option<Transition> {
        self.put_into(now, |_| mode)
    }

    /// Ends an operator's mode, so that the configured one holds, and forgets windows, waits and the last cause. The circuit
    /// closes, unless it is configured to be held open. The totals in [`Stats`] stay, as metrics need them to.
    pub fn reset(&self, now: Instant) -> Option<Transition> {
        self.put_into(now, |config| config.mode)
    }

    fn put_into(&self, now: Instant, mode: impl FnOnce(&Config) -> Mode) -> Option<Transition> {
        let mut machine = self.machine.lock();
        let mode = mode(&machine.config);
        let transition = machine.set_mode(now, mode);
        self.publish(&machine);
        transition
    }

    /// Publishes what calls may decide without the lock. The caller holds it.
    fn publish(&self, machine: &Machine) {
        let published = &self.published.0;
        // The end first: a call that reads it with an older word gets an answer that is right now, or asks the machine.
        published.until.store(machine.published_until(), Ordering::Release);
        let operation = machine.config.scope == Scope::Operation;
        published.scope.store(operation.into(), Ordering::Relaxed);
        published.word.store((machine.generation << FLAG_BITS) | machine.flags(), Ordering::Release);
    }
}

/// Number of transitions that a breaker remembers.
pub const HISTORY: usize = 100;

/// Number of questions that may be without an answer; past it the oldest one is taken as never answered.
const OUTSTANDING: usize = 65_536;

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
