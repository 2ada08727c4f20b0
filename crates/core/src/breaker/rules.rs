//! The trip rules of one breaker together: each counts by itself, and the first to trip opens the circuit.

use std::time::Duration;

use super::saved::Counted;
use super::trip::{Count, Rule, Trip};
use crate::time::Instant;

#[derive(Debug)]
pub(super) struct Rules(Vec<Rule>);

impl Rules {
    pub(super) fn new(trips: &[Trip]) -> Self {
        Self(trips.iter().map(Rule::new).collect())
    }

    /// Goes over to `trips`. What a rule has counted stays if there is a rule that counts the same.
    pub(super) fn reconfigure(&mut self, trips: &[Trip]) {
        let mut old = std::mem::take(&mut self.0);
        self.0.extend(trips.iter().map(|trip| {
            let alike = old.iter().position(|rule| rule.trip.counts_like(trip));
            alike.map_or_else(|| Rule::new(trip), |at| old.remove(at).with(trip))
        }));
    }

    /// Counts one outcome. Returns the first rule that it trips.
    pub(super) fn record(&mut self, now: Instant, failed: bool, elapsed: Duration) -> Option<Trip> {
        let mut tripped = None;
        for rule in &mut self.0 {
            let trips = rule.record(now, failed, elapsed);
            tripped = tripped.or(trips.then_some(rule.trip));
        }
        tripped
    }

    /// Counts one outcome where nothing opens. Returns what a rule counts that begins to hold.
    pub(super) fn watch(&mut self, now: Instant, failed: bool, elapsed: Duration) -> Option<Count> {
        let mut begun = None;
        for rule in &mut self.0 {
            if rule.watch(now, failed, elapsed, begun.is_none()) {
                begun = Some(rule.count(now));
            }
        }
        begun
    }

    /// Whether a success would change nothing, so that it need not be recorded.
    pub(super) fn quiet(&self) -> bool {
        self.0.iter().all(Rule::quiet)
    }

    /// Whether a call that took `elapsed` is slow by any rule.
    pub(super) fn slow(&self, elapsed: Duration) -> bool {
        self.0.iter().filter_map(|rule| rule.trip.slower_than()).any(|slow| elapsed >= slow)
    }

    /// What the rule counts that holds, or that is nearest to it; the first of several.
    pub(super) fn nearest(&mut self, now: Instant) -> Count {
        let counts = self.0.iter_mut().map(|rule| (rule.is_reached(now), rule.count(now)));
        let nearer = |best: (bool, Count), next: (bool, Count)| {
            let key = |(reached, count): (bool, Count)| (reached, count.nearness());
            if key(next) > key(best) { next } else { best }
        };
        counts.reduce(nearer).map_or_else(Count::default, |(_, count)| count)
    }

    /// What each rule counts now.
    pub(super) fn save(&mut self, now: Instant) -> Vec<Counted> {
        self.0.iter_mut().map(|rule| Counted::new(rule.trip, rule.counts(now))).collect()
    }

    /// Takes over what rules that count the same had counted, each once.
    pub(super) fn restore(&mut self, now: Instant, saved: &[Counted]) {
        let mut saved = saved.to_vec();
        for rule in &mut self.0 {
            if let Some(at) = saved.iter().position(|counted| counted.rule.counts_like(&rule.trip)) {
                rule.restore(now, saved.remove(at).tally());
            }
        }
    }

    /// Whether no rule counts anything against the callee.
    pub(super) fn spotless(&mut self, now: Instant) -> bool {
        self.0.iter_mut().map(|rule| rule.counts(now)).all(|counts| counts.failures == 0 && counts.slow == 0)
    }

    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(Rule::clear);
    }
}
