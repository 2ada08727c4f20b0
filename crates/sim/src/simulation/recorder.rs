//! Counts what happens in a run.

use std::time::Duration;

use stormproof_core::breaker::State;

use super::Setup;
use super::histogram::Histogram;
use super::outcome::{Bin, Circuit, Outcome};

/// Parts of a run, at the most; none is shorter than a second.
const BINS: u64 = 3600;
/// Number of parts in a row that must be well again.
const WELL: usize = 3;
/// The share of the former successes that is well again.
const AS_BEFORE: f64 = 0.95;

#[derive(Debug)]
pub(super) struct Recorder {
    outcome: Outcome,
    span: Option<(Duration, Duration)>,
    bin: usize,
    successes: Histogram,
    failures: Histogram,
    of_bin: Histogram,
    by_client: Vec<u64>,
    /// Number of clients that are eager: the first ones.
    eager: u32,
    of_tenants: [Histogram; 2],
}

impl Recorder {
    pub(super) fn new(setup: &Setup) -> Self {
        let seconds = setup.duration.as_secs().max(1);
        let width = Duration::from_secs(seconds.div_ceil(BINS));
        let bins = usize::try_from(setup.duration.as_nanos().div_ceil(width.as_nanos())).unwrap_or(1);
        let outcome = Outcome { bins: vec![Bin::default(); bins], width, ..Outcome::default() };
        let clients = setup.clients.unwrap_or(0);
        Self {
            outcome,
            span: setup.fault.span(setup),
            bin: 0,
            successes: Histogram::new(),
            failures: Histogram::new(),
            of_bin: Histogram::new(),
            by_client: vec![0; clients as usize],
            eager: (0..clients).find(|client| !setup.is_eager(*client)).unwrap_or(clients),
            of_tenants: [Histogram::new(), Histogram::new()],
        }
    }

    pub(super) fn width(&self) -> Duration {
        self.outcome.width
    }

    /// The present part; what comes after the last one is not in any.
    fn bin(&mut self) -> Option<&mut Bin> {
        self.outcome.bins.get_mut(self.bin)
    }

    fn tenant(&self, client: Option<u32>) -> usize {
        usize::from(client.is_none_or(|client| client >= self.eager))
    }

    pub(super) fn call(&mut self, client: Option<u32>) {
        self.outcome.calls += 1;
        let tenant = self.tenant(client);
        self.outcome.tenants[tenant].calls += 1;
        if let Some(bin) = self.bin() {
            bin.calls += 1;
        }
    }

    pub(super) fn attempt(&mut self) {
        self.outcome.attempts += 1;
        if let Some(bin) = self.bin() {
            bin.attempts += 1;
        }
    }

    pub(super) fn worked(&mut self, time: Duration, wanted: bool) {
        self.outcome.work += time;
        if !wanted {
            self.outcome.wasted += time;
        }
    }

    pub(super) fn succeeded(&mut self, client: Option<u32>, took: Duration) {
        self.outcome.succeeded += 1;
        let tenant = self.tenant(client);
        self.outcome.tenants[tenant].succeeded += 1;
        self.of_tenants[tenant].add(took);
        self.successes.add(took);
        self.of_bin.add(took);
        if let Some(bin) = self.bin() {
            bin.ended += 1;
            bin.succeeded += 1;
            bin.of_others += u32::from(tenant == 1);
        }
        if let Some(count) = client.and_then(|client| self.by_client.get_mut(client as usize)) {
            *count += 1;
        }
    }

    pub(super) fn failed(&mut self, why: (&'static str, &'static str), took: Duration) {
        self.failures.add(took);
        if let Some(bin) = self.bin() {
            bin.ended += 1;
        }
        match self.outcome.failures.iter_mut().find(|(other, _)| *other == why) {
            Some((_, count)) => *count += 1,
            None => self.outcome.failures.push((why, 1)),
        }
    }

    pub(super) fn moved(&mut self, at: Duration, to: State) {
        let [opened, half_open, closed] = &mut self.outcome.transitions;
        match to {
            State::Open => *opened += 1,
            State::HalfOpen => *half_open += 1,
            State::Closed => *closed += 1,
        }
        if let (State::Open, Some((start, _))) = (to, self.span)
            && at >= start
        {
            self.outcome.detected.get_or_insert(at.saturating_sub(start));
        }
    }

    /// Ends a part and reads what is shown of its end.
    pub(super) fn turn(&mut self, busy: u32, waiting: usize, circuit: Circuit, limit: Option<u32>) {
        let p95 = self.of_bin.quantile(0.95);
        self.of_bin.clear();
        if let Some(bin) = self.bin() {
            let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
            *bin = Bin { p95, busy, waiting, circuit, limit, ..*bin };
        }
        self.bin += 1;
    }

    pub(super) fn finish(mut self) -> Outcome {
        let of = |times: &Histogram| [0.5, 0.95, 0.99].map(|share| times.quantile(share));
        self.outcome.latency = of(&self.successes);
        self.outcome.failure_latency = of(&self.failures);
        self.outcome.failures.sort_by_key(|&(why, count)| (std::cmp::Reverse(count), why));
        self.outcome.recovered = self.span.and_then(|span| recovery(&self.outcome, span));
        for (tenant, times) in self.outcome.tenants.iter_mut().zip(&self.of_tenants) {
            tenant.p95 = times.quantile(0.95);
        }
        self.outcome.fairness = jain(&self.by_client);
        self.outcome
    }
}

/// From the end of the fault to the first part from which on all is as before.
fn recovery(outcome: &Outcome, (start, end): (Duration, Duration)) -> Option<Duration> {
    let at = |time: Duration| usize::try_from(time.as_nanos() / outcome.width.as_nanos().max(1)).unwrap_or(usize::MAX);
    let before = outcome.bins.get(..at(start))?;
    let (ended, succeeded) = before.iter().fold((0_u64, 0_u64), |(ended, succeeded), bin| {
        (ended + u64::from(bin.ended), succeeded + u64::from(bin.succeeded))
    });
    let usual = if ended == 0 { 1.0 } else { succeeded as f64 / ended as f64 };
    let is_well = |bin: &Bin| bin.ended > 0 && f64::from(bin.succeeded) >= f64::from(bin.ended) * usual * AS_BEFORE;
    let after = outcome.bins.get(at(end)..)?;
    let well = after.windows(WELL).position(|bins| bins.iter().all(is_well))?;
    Some(outcome.width * u32::try_from(well).unwrap_or(u32::MAX))
}

fn jain(counts: &[u64]) -> Option<f64> {
    let sum: f64 = counts.iter().map(|&count| count as f64).sum();
    let squares: f64 = counts.iter().map(|&count| (count as f64).powi(2)).sum();
    (squares > 0.0).then(|| sum * sum / (counts.len() as f64 * squares))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fairness_is_one_for_equals_and_small_for_one_who_gets_all() {
        assert_eq!(jain(&[5, 5, 5, 5]), Some(1.0));
        assert_eq!(jain(&[8, 0, 0, 0]), Some(0.25));
        assert_eq!(jain(&[]), None);
    }

    #[test]
    fn recovery_is_counted_from_the_end_of_the_fault() {
        let second = Duration::from_secs(1);
        let bin = |succeeded| Bin { ended: 100, succeeded, ..Bin::default() };
        let bins = [100, 100, 0, 0, 50, 99, 50, 98, 97, 100].map(bin).to_vec();
        let outcome = Outcome { bins, width: second, ..Outcome::default() };
        assert_eq!(recovery(&outcome, (2 * second, 4 * second)), Some(3 * second));
        assert_eq!(recovery(&outcome, (2 * second, 9 * second)), None);
    }
}
