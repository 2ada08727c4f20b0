//! The trip rules of one breaker together: each counts by itself, and the first to trip opens the circuit.

use std::time::Duration;

use super::trip::{Memory, Trip};
use crate::time::Instant;
use crate::window::Tally;

/// Count against a callee: by the rule that opened the circuit, or while it is closed by the one that is nearest to
/// opening it. Every page, log line and metric that names a number of failures has this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// The rule in snake case, as [`Trip::as_str`] writes it.
    pub rule: &'static str,
    /// Calls that the rule looked at.
    pub calls: u32,
    /// Failures among them, or slow calls if the rule counts those, and the failed probes since the circuit opened.
    pub failures: u32,
    /// Number of failures that opens the circuit, see [`Trip::failures_among`].
    pub threshold: u32,
}

impl Count {
    /// The share of what opens the circuit: 0 is far, 1 is there.
    pub fn nearness(&self) -> f64 {
        (f64::from(self.failures) / f64::from(self.threshold.max(1))).min(1.0)
    }
}

/// Contents of the window of a trip rule.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Counted {
    /// The rule.
    pub rule: Trip,
    /// Calls.
    pub calls: u32,
    /// Failures among them.
    pub failures: u32,
    /// Slow ones among them.
    pub slow: u32,
}

impl Counted {
    fn new(rule: Trip, tally: Tally) -> Self {
        let Tally { calls, failures, slow } = tally;
        Self { rule, calls, failures, slow }
    }

    fn tally(&self) -> Tally {
        Tally { calls: self.calls, failures: self.failures, slow: self.slow }
    }
}

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
        self.0.iter().all(|rule| rule.memory.quiet())
    }

    /// Whether a call that took `elapsed` is slow by any rule.
    pub(super) fn slow(&self, elapsed: Duration) -> bool {
        self.0.iter().filter_map(|rule| rule.trip.slower_than()).any(|slow| elapsed >= slow)
    }

    /// Count of the rule that holds, or that is nearest to it; the first of several.
    pub(super) fn nearest(&mut self, now: Instant) -> Count {
        let counts = self.0.iter_mut().map(|rule| (rule.holds(now), rule.count(now)));
        let nearer = |best: (bool, Count), next: (bool, Count)| {
            let key = |(reached, count): (bool, Count)| (reached, count.nearness());
            if key(next) > key(best) { next } else { best }
        };
        counts.reduce(nearer).map_or_else(Count::default, |(_, count)| count)
    }

    /// Contents of each rule's window now.
    pub(super) fn save(&mut self, now: Instant) -> Vec<Counted> {
        self.0.iter_mut().map(|rule| Counted::new(rule.trip, rule.memory.tally(now))).collect()
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
        self.0.iter_mut().map(|rule| rule.memory.tally(now)).all(|counts| counts.failures == 0 && counts.slow == 0)
    }

    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(Rule::clear);
    }
}

/// A rule with what it remembers of the present closed state.
#[derive(Debug)]
struct Rule {
    trip: Trip,
    memory: Memory,
    /// Whether [`watch`](Self::watch) said that it holds.
    told: bool,
}

impl Rule {
    fn new(trip: &Trip) -> Self {
        Self { trip: *trip, memory: Memory::new(trip), told: false }
    }

    /// The same counts under another threshold.
    fn with(mut self, trip: &Trip) -> Self {
        self.memory.resize(trip.failures_needed());
        Self { trip: *trip, ..self }
    }

    /// Counts one outcome. Returns whether it trips the rule: a success does so only by making up a share.
    fn record(&mut self, now: Instant, failed: bool, elapsed: Duration) -> bool {
        let slow = self.trip.slower_than().is_some_and(|slow| elapsed >= slow);
        self.memory.record(now, failed, slow);
        (failed || !self.trip.counts_failures()) && self.holds(now)
    }

    /// Counts one outcome. Returns whether the rule begins to hold by it, and it is `asked` for that; one that is not tells
    /// it after the next outcome.
    fn watch(&mut self, now: Instant, failed: bool, elapsed: Duration, asked: bool) -> bool {
        // What the passing of time alone has ended can begin anew with this outcome.
        self.told &= self.holds(now);
        let begins = self.record(now, failed, elapsed) && asked && !self.told;
        self.told = begins || self.told && self.holds(now);
        begins
    }

    fn holds(&mut self, now: Instant) -> bool {
        self.trip.is_reached(self.memory.tally(now))
    }

    fn count(&mut self, now: Instant) -> Count {
        let Tally { calls, failures, slow } = self.memory.tally(now);
        let failures = if self.trip.slower_than().is_some() { slow } else { failures };
        Count { rule: self.trip.as_str(), calls, failures, threshold: self.trip.failures_among(calls) }
    }

    /// Counts as if all of it had happened now. If it holds by that, this was told before.
    fn restore(&mut self, now: Instant, saved: Tally) {
        self.memory.restore(now, saved, self.trip.failures_needed());
        self.told = self.holds(now);
    }

    fn clear(&mut self) {
        self.told = false;
        self.memory.clear();
    }
}
