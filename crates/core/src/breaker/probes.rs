//! The probes of a half-open circuit: who is out, and since when.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Instant;

/// The probes that are out, oldest first. Numbers only grow and times never go back, so that both can be searched.
#[derive(Debug, Default)]
pub(super) struct Probes {
    next: u64,
    out: VecDeque<(u64, Instant)>,
    pub(super) successes: u32,
}

impl Probes {
    pub(super) fn take(&mut self, now: Instant) -> u64 {
        // Threads that read a clock and then wait for the lock may come out of order.
        let since = self.out.back().map_or(now, |&(_, newest)| newest.max(now));
        self.next += 1;
        self.out.push_back((self.next, since));
        self.next
    }

    /// Takes a probe off and says since when it was out; `None` if it had already lost its place.
    pub(super) fn give_back(&mut self, probe: u64) -> Option<Instant> {
        let at = self.out.binary_search_by_key(&probe, |&(number, _)| number).ok()?;
        self.out.remove(at).map(|(_, since)| since)
    }

    /// How many are out that have not used up their time.
    pub(super) fn present(&self, now: Instant, timeout: Duration) -> usize {
        self.out.len() - self.out.partition_point(|&(_, since)| now.since(since) >= timeout)
    }

    /// How many are out, those included that have used up their time.
    pub(super) fn out(&self) -> usize {
        self.out.len()
    }

    /// Takes their places from those that have used up their time.
    pub(super) fn drop_lapsed(&mut self, now: Instant, timeout: Duration) {
        let lost = self.out.len() - self.present(now, timeout);
        self.out.drain(..lost);
    }
}
