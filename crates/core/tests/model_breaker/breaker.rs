//! The breaker and the model side by side.

use std::time::Duration;

use proptest::prelude::*;
use stormproof_core::breaker::{Change, Config, Count, HISTORY, Permit, Transition};
use stormproof_core::{CircuitBreaker, Instant};

use crate::model::{Counted, Expected, Given, Model, Move, Phase};
use crate::operations::{Op, config, history};

#[derive(Debug)]
struct Pair {
    breaker: CircuitBreaker,
    model: Model,
    out: Vec<(Permit, Given)>,
    spent: Vec<Permit>,
    history: Vec<Transition>,
}

impl Pair {
    fn new(config: Config, seed: u64) -> Self {
        let breaker = CircuitBreaker::with_config("model", config.clone()).unwrap().seed(seed);
        let history = breaker.history();
        Self { breaker, model: Model::new(config), out: Vec::new(), spent: Vec::new(), history }
    }

    fn take(&mut self, at: usize) -> Option<(Permit, Given)> {
        (!self.out.is_empty()).then(|| self.out.swap_remove(at % self.out.len()))
    }

    fn run(&mut self, op: Op) {
        let now = self.model.now;
        match op {
            Op::Advance(by) => self.model.now = now + by,
            Op::AdvanceToEnd(before) => {
                if let Phase::Open(until) = self.model.phase {
                    let to = Instant::from_nanos(until.as_nanos().saturating_sub(u64::from(before)));
                    self.model.now = now.max(to);
                }
            }
            Op::Admit => self.admit(),
            Op::Look => {
                let expected = self.model.refusal();
                let looked = self.breaker.look(now).map_err(|refusal| (refusal.reason, refusal.retry_after));
                self.model.refused += u64::from(expected.is_some());
                assert_eq!(looked.err(), expected);
            }
            Op::Settle(at, judged) => {
                if let Some((mut permit, given)) = self.take(at) {
                    let change = self.breaker.settle(&mut permit, now, &judged.verdict());
                    let expected = self.model.settle(&given, &judged);
                    self.adopt(change, expected);
                    self.spent.push(permit);
                }
            }
            Op::Release(at) => {
                if let Some((mut permit, given)) = self.take(at) {
                    self.breaker.release(&mut permit);
                    self.model.release(&given);
                    self.spent.push(permit);
                }
            }
            Op::Leak(at) => _ = self.take(at),
            Op::Again(at, judged) => {
                if !self.spent.is_empty() {
                    let at = at % self.spent.len();
                    assert_eq!(self.breaker.settle(&mut self.spent[at], now, &judged.verdict()), None);
                    self.breaker.release(&mut self.spent[at]);
                }
            }
            Op::Allow => self.allow(),
            Op::Record(judged) => {
                let change = self.breaker.record(now, &judged.verdict());
                let given = self.model.questions.pop_front();
                let expected = given.map_or(Expected::Nothing, |given| self.model.settle(&given, &judged));
                self.adopt(change, expected);
            }
            Op::SetMode(mode) => {
                let (transition, expected) = (self.breaker.set_mode(now, mode), self.model.set_mode(mode));
                self.adopt(transition.map(Change::Moved), expected);
            }
            Op::Reset => {
                let (transition, expected) = (self.breaker.reset(now), self.model.set_mode(self.model.config.mode));
                self.adopt(transition.map(Change::Moved), expected);
            }
            Op::Update(config) => {
                let transition = self.breaker.update(now, (*config).clone()).unwrap();
                let expected = self.model.update(*config);
                self.adopt(transition.map(Change::Moved), expected);
            }
        }
    }

    fn admit(&mut self) {
        let admitted = self.breaker.admit(self.model.now).map_err(|refusal| (refusal.reason, refusal.retry_after));
        match (admitted, self.model.admit()) {
            (Ok(permit), Ok((given, began))) => {
                assert_eq!(permit.is_probe(), given.probe.is_some());
                let transition = self.breaker.transition(&permit).map(Change::Moved);
                self.out.push((permit, given));
                let expected = self.model.half_open(began);
                self.adopt(transition, expected);
            }
            (Err(refusal), Err(expected)) => assert_eq!(refusal, expected),
            (admitted, expected) => panic!("{admitted:?}, expected {expected:?}"),
        }
    }

    fn allow(&mut self) {
        let asked = self.breaker.allow_request(self.model.now).map_err(|refusal| (refusal.reason, refusal.retry_after));
        match (asked, self.model.admit()) {
            (Ok(change), Ok((given, began))) => {
                let expected = self.model.half_open(began);
                self.adopt(change, expected);
                self.model.questions.push_back(given);
            }
            (Err(refusal), Err(expected)) => assert_eq!(refusal, expected),
            (asked, expected) => panic!("{asked:?}, expected {expected:?}"),
        }
    }

    /// Compares a change with what was expected, and takes over the wait that chance decided.
    fn adopt(&mut self, change: Option<Change>, expected: Expected) {
        match (change, expected) {
            (None, Expected::Nothing) => {}
            (Some(Change::WouldOpen(count)), Expected::Would(expected)) => assert_eq!(told(&count), expected),
            (Some(Change::Moved(transition)), Expected::Moved(expected)) => {
                let Transition { seq, at, from, to, cause, count, last_failure, open_for, .. } = transition;
                let waits = expected.waits;
                assert_eq!(at, self.model.now);
                assert_eq!(Move { from, to, cause, count: told(&count), waits }, expected);
                assert_eq!(last_failure, self.model.last_failure);
                // Seconds as floating point: a relative error, and rounding to nanoseconds.
                let slack = Duration::from_nanos(2) + waits.1.min(Duration::from_secs(u64::MAX / 2)).mul_f64(1e-12);
                assert!(waits.0 <= open_for.saturating_add(slack), "{open_for:?} {waits:?}");
                assert!(open_for <= waits.1.saturating_add(slack), "{open_for:?} {waits:?}");
                if let Phase::Open(until) = &mut self.model.phase {
                    *until = at + open_for;
                }
                if let Some(last) = self.history.last() {
                    assert!(last.seq < seq && last.to == from, "{last:?} {transition:?}");
                }
                self.history.push(transition);
            }
            (change, expected) => panic!("{change:?}, expected {expected:?}"),
        }
    }

    fn compare(&self) {
        let (breaker, model) = (&self.breaker, &self.model);
        let stats = breaker.stats(model.now);
        assert_eq!((breaker.state(model.now), breaker.mode()), (model.state(), model.mode));
        assert_eq!((stats.state, stats.mode), (model.state(), model.mode));
        assert_eq!((breaker.remaining(model.now), stats.remaining), (model.remaining(), model.remaining()));
        assert_eq!(breaker.is_available(model.now), model.refusal().is_none());
        assert_eq!(told(&stats.count), model.count());
        let totals = [stats.successes, stats.failures, stats.ignored, stats.refused, stats.stale, stats.opened];
        let expected = [model.successes, model.failures, model.ignored, model.refused, model.stale, model.opened];
        assert_eq!(totals, expected, "successes, failures, ignored, refused, stale, opened");
        assert_eq!((stats.consecutive_failures, stats.would_open), (model.in_a_row, model.would_open));
        let (score, expected) = (breaker.health_score(model.now), model.health_score());
        assert!((score - expected).abs() < 1e-9, "{score}, expected {expected}");
        let (out, successes) = match &model.phase {
            Phase::HalfOpen { out, successes } => (out.len() as u32, *successes),
            _ => (0, 0),
        };
        assert_eq!((stats.half_open_calls, stats.half_open_successes), (out, successes));
        // Kept as one more than its nanoseconds, zero for never.
        let last_success = model.last_success.map(|at| at.min(Instant::from_nanos(u64::MAX - 1)));
        assert_eq!((stats.last_failure, stats.last_success), (model.last_failure, last_success));
        assert_eq!(breaker.last_cause().as_deref().unwrap_or(""), model.cause);
        let kept = self.history.len().saturating_sub(HISTORY);
        assert_eq!(breaker.history(), self.history[kept..]);
    }
}

/// A count as the model writes it.
fn told(count: &Count) -> Counted {
    (count.rule, count.calls, count.failures, count.threshold)
}

/// Another process takes over what this one leaves: it counts the same, and decides the same at once.
fn restart(breaker: &CircuitBreaker, now: Instant) {
    let saved = breaker.export(now);
    let restarted = CircuitBreaker::with_config("model", breaker.config()).unwrap();
    restarted.import(now, &saved);
    let again = restarted.export(now);
    assert_eq!((&again.rules, again.state, again.mode), (&saved.rules, saved.state, saved.mode));
    assert_eq!((again.consecutive_failures, again.would_open), (saved.consecutive_failures, saved.would_open));
    assert_eq!((again.remaining, again.opened_in_a_row), (saved.remaining, saved.opened_in_a_row));
}

proptest! {
    #[test]
    fn the_breaker_does_what_the_model_does(config in config(), seed in any::<u64>(), history in history()) {
        let mut pair = Pair::new(config, seed);
        pair.compare();
        for op in history {
            pair.run(op);
            pair.compare();
        }
        restart(&pair.breaker, pair.model.now);
    }
}
