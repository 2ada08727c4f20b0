//! The circuit breaker.
//!
//! Owns admission and permits. The rules that trip it are in `trip.rs`, its configuration in `config.rs`, the machine in
//! `machine.rs`, what it shows of itself in `stats.rs`, the protocol without permits in `manual.rs`, what outlives a
//! process in `saved.rs`.
//!
//! All truth is under one short mutex. One atomic word publishes what a call can decide without it: *admit*, *refuse
//! until*, and *a success changes nothing*; so a healthy call never locks. Every transition begins a new generation; a
//! permit carries the generation it was admitted in, and a result from an earlier one never moves the machine.

mod config;
mod machine;
mod manual;
mod probes;
mod saved;
mod stats;
mod transition;
mod trip;

use std::time::Duration;

pub use config::{Config, Mode, Scope};
use machine::Machine;
pub use saved::{Counted, Loss, Saved};
pub use stats::Stats;
pub use transition::{Cause, Change, State, Transition};
pub use trip::{Count, Trip, Window};

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
    manual: manual::Ledger,
}

/// What a call reads without the lock. Written only under it.
#[derive(Debug)]
struct Published {
    /// Generation in the upper bits, the flags below in the lower ones.
    word: AtomicU64,
    /// While [`REFUSE`] is set: until when.
    until: AtomicU64,
    /// 1 for [`Scope::Operation`].
    scope: AtomicU64,
}

/// Everything passes.
const ADMIT: u64 = 1;
/// A success changes nothing but a counter.
const QUIET: u64 = 2;
/// Nothing passes until `Published::until`.
const REFUSE: u64 = 4;
/// An operator holds the circuit open.
const FORCED: u64 = 8;
const FLAG_BITS: u32 = 4;

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

    /// A breaker with `config`, or all that is wrong with it.
    pub fn with_config(name: impl Into<Name>, config: Config) -> Result<Self, Mistakes> {
        let mistakes = config.validate();
        if mistakes.is_empty() { Ok(Self::build(name.into(), config)) } else { Err(mistakes.into()) }
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
            manual: manual::Ledger::default(),
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

    /// What one outcome is in a policy that retries, as configured now.
    #[inline]
    pub fn scope(&self) -> Scope {
        if self.published.0.scope.load(Ordering::Relaxed) == 0 { Scope::Attempt } else { Scope::Operation }
    }

    /// Changes the configuration and keeps state and counts. A trip rule with another threshold goes on with what it has
    /// counted; one that is new or looks at another window starts to count. The mode is left as an operator set it.
    /// Returns all mistakes and changes nothing if there is one.
    pub fn update(&self, config: Config) -> Result<(), Mistakes> {
        let mistakes = config.validate();
        if !mistakes.is_empty() {
            return Err(mistakes.into());
        }
        let mut machine = self.machine.lock();
        machine.reconfigure(config);
        self.publish(&machine);
        Ok(())
    }

    /// Lets a call through or refuses it. In half-open this takes a place among the probes.
    #[inline]
    pub fn admit(&self, now: Instant) -> Result<Permit, Refusal<'_>> {
        let word = self.published.0.word.load(Ordering::Acquire);
        // One value from two branches: as two returns, the permit would be put together in memory and copied.
        let permit = if word & ADMIT != 0 {
            Permit::new(word >> FLAG_BITS, now, None)
        } else if let Some(refusal) = self.refusal_by_word(word, now) {
            return Err(refusal);
        } else {
            self.admit_by_machine(now)?
        };
        Ok(permit)
    }

    /// The transition from open to half-open, if the admission that gave `permit` made it.
    pub fn transition(&self, permit: &Permit) -> Option<Transition> {
        if !permit.began_half_open {
            return None;
        }
        self.machine.lock().history.iter().rev().find(|transition| transition.seq == permit.generation).copied()
    }

    /// Refuses at once what [`admit`](Self::admit) would refuse, and takes nothing.
    #[inline]
    pub fn look(&self, now: Instant) -> Result<(), Refusal<'_>> {
        let word = self.published.0.word.load(Ordering::Acquire);
        if word & ADMIT != 0 { Ok(()) } else { self.look_closer(word, now) }
    }

    fn look_closer(&self, word: u64, now: Instant) -> Result<(), Refusal<'_>> {
        if let Some(refusal) = self.refusal_by_word(word, now) {
            return Err(refusal);
        }
        let refused = self.machine.lock().refusal(now);
        refused.map_or(Ok(()), |(reason, wait)| Err(self.refuse(reason, wait)))
    }

    /// Whether a call would pass now. Takes and counts nothing.
    pub fn is_available(&self, now: Instant) -> bool {
        self.machine.lock().refusal(now).is_none()
    }

    #[inline]
    fn refusal_by_word(&self, word: u64, now: Instant) -> Option<Refusal<'_>> {
        if word & REFUSE == 0 {
            return None;
        }
        if word & FORCED != 0 {
            return Some(self.refuse(Reason::ForcedOpen, Duration::ZERO));
        }
        let wait = Instant::from_nanos(self.published.0.until.load(Ordering::Relaxed)).since(now);
        (!wait.is_zero()).then(|| self.refuse(Reason::Open, wait))
    }

    #[inline]
    fn refuse(&self, reason: Reason, retry_after: Duration) -> Refusal<'_> {
        self.counters.0.refused.fetch_add(1, Ordering::Relaxed);
        Refusal { stage: Stage::Breaker, name: &self.name, reason, retry_after, breaker: Some(self) }
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
        self.counters.0.successes.fetch_add(1, Ordering::Relaxed);
        self.counters.0.last_success.store(now.as_nanos().saturating_add(1), Ordering::Relaxed);
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
        if let Some(probe) = permit.probe {
            machine.return_probe(permit.generation, probe);
        }
    }

    /// Whether `permit` is a place among the probes of the present half-open circuit.
    pub(crate) fn is_probing(&self, permit: &Permit) -> bool {
        permit.is_probe() && self.published.0.word.load(Ordering::Acquire) >> FLAG_BITS == permit.generation
    }

    /// The state at `now`: half-open as soon as the wait is over, though only an admission makes it so.
    pub fn state(&self, now: Instant) -> State {
        self.machine.lock().state(now)
    }

    /// How well what stands behind the circuit is, as one number from 0 to 1. A measure of our own:
    ///
    /// - closed: 1 less what has failed as a share of what would open the circuit, by the rule that is nearest to it. A
    ///   ratio is that share of the calls in its window, or of `minimum_calls` while there are fewer;
    /// - half-open: half of the successful probes' share of `success_threshold`;
    /// - open: 0.
    pub fn health_score(&self, now: Instant) -> f64 {
        self.machine.lock().health_score(now)
    }

    /// How long until probes pass; zero unless open.
    pub fn remaining(&self, now: Instant) -> Duration {
        self.machine.lock().remaining(now)
    }

    /// When probes will pass, if the circuit is open; [`Instant::FAR_FUTURE`] while an operator holds it open.
    pub fn open_until(&self, now: Instant) -> Option<Instant> {
        let (flags, until) = self.machine.lock().published();
        (flags & REFUSE != 0 && now < until).then_some(until)
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        self.machine.lock().mode
    }

    /// Sets the mode: [`Mode::ForcedOpen`] opens until another mode is set, every other one closes. Returns the
    /// transition if the state changed by it.
    pub fn set_mode(&self, now: Instant, mode: Mode) -> Option<Transition> {
        let mut machine = self.machine.lock();
        let transition = machine.set_mode(now, mode);
        self.publish(&machine);
        transition
    }

    /// Closes the circuit in normal mode and forgets windows, waits and the last cause. The totals in [`Stats`] stay, as
    /// metrics need them to.
    pub fn reset(&self, now: Instant) -> Option<Transition> {
        self.set_mode(now, Mode::Normal)
    }

    /// The kind of the last failure.
    pub fn last_cause(&self) -> Option<Box<str>> {
        self.machine.lock().last_cause()
    }

    /// The last transitions, oldest first, at most [`HISTORY`].
    pub fn history(&self) -> Vec<Transition> {
        self.machine.lock().history.iter().copied().collect()
    }

    /// Publishes what calls may decide without the lock. The caller holds it.
    fn publish(&self, machine: &Machine) {
        let (flags, until) = machine.published();
        self.published.0.until.store(until.as_nanos(), Ordering::Relaxed);
        let operation = machine.config.scope == Scope::Operation;
        self.published.0.scope.store(operation.into(), Ordering::Relaxed);
        self.published.0.word.store((machine.generation << FLAG_BITS) | flags, Ordering::Release);
    }
}

/// So many transitions are remembered.
pub const HISTORY: usize = 100;

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
