//! The protocol without permits: ask, call, then say how it went.
//!
//! For callers that cannot carry a permit from the question to the answer. Answers are matched to questions in order.

use std::collections::VecDeque;

use super::{Change, CircuitBreaker, Permit};
use crate::decision::Refusal;
use crate::outcome::Verdict;
use crate::sync::Mutex;
use crate::time::Instant;

/// Questions that were answered yes and have no result yet, oldest first.
#[derive(Debug)]
pub(super) struct Ledger(Mutex<VecDeque<Permit>>);

/// So many results may be outstanding; past it the oldest question is taken as never answered.
const OUTSTANDING: usize = 65_536;

impl Default for Ledger {
    fn default() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }
}

impl CircuitBreaker {
    /// Asks whether a call may be made. In half-open a yes takes a place until [`record`](Self::record) or, if that
    /// never comes, for `half_open_timeout`. Returns the change that the question made (open to half-open).
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
        let mut ledger = self.manual.0.lock();
        self.drop_lapsed(&mut ledger, now);
        if ledger.len() == OUTSTANDING {
            ledger.pop_front();
        }
        ledger.push_back(permit);
        Ok(change)
    }

    /// Records a result for the oldest question of the present state that has none; does nothing if there is none.
    pub fn record(&self, now: Instant, verdict: &Verdict<'_>) -> Option<Change> {
        let oldest = {
            let mut ledger = self.manual.0.lock();
            self.drop_lapsed(&mut ledger, now);
            ledger.pop_front()
        };
        oldest.and_then(|mut permit| self.settle(&mut permit, now, verdict))
    }

    /// Whether a question was answered yes and has no result yet.
    pub(super) fn has_open_questions(&self, now: Instant) -> bool {
        let mut ledger = self.manual.0.lock();
        self.drop_lapsed(&mut ledger, now);
        !ledger.is_empty()
    }

    /// Forgets the questions of earlier states, and probes whose time is over. An ordinary call holds no place that it
    /// could lose, and its result counts however long it took: above all that of one that hung.
    fn drop_lapsed(&self, ledger: &mut VecDeque<Permit>, now: Instant) {
        let (generation, timeout) = {
            let machine = self.machine.lock();
            (machine.generation, machine.config.probe_timeout())
        };
        let lapsed = |p: &Permit| p.is_probe() && now.since(p.admitted_at) >= timeout;
        while ledger.front().is_some_and(|p| p.generation != generation || lapsed(p)) {
            ledger.pop_front();
        }
    }
}
