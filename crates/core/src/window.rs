//! The recent past, in constant memory: what the breaker's trip rules look at.
//!
//! Owns three windows: [`RecentTimes`] (exact, "k in a window"), [`CountWindow`] (exact, the last n outcomes) and
//! [`TimeWindow`] (bucketed, the outcomes of a number of seconds). All of their memory is allocated when they are
//! built. They are plain values: whoever shares one brings the lock, and rules about what the numbers mean live there.
//!
//! Threads that read a clock and then wait for that lock may arrive out of order. A time before the newest one seen
//! counts as the newest, so a sample may live longer by the length of the race, and never shorter.

use std::time::Duration;

use crate::time::{Instant, nanos};

/// The most samples a window holds; more are cut to this.
pub const MAX_SAMPLES: usize = 1_000_000;

/// The most buckets of a [`TimeWindow`]; more are cut to this.
pub const MAX_BUCKETS: usize = 10_000;

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All calls, failed or not.
    pub calls: u32,
    /// Those that failed.
    pub failures: u32,
    /// Those that were slow, failed or not.
    pub slow: u32,
}

impl Tally {
    /// Failures over calls, in `[0, 1]`; 0 without calls.
    pub fn failure_ratio(&self) -> f64 {
        f64::from(self.failures) / f64::from(self.calls.max(1))
    }

    /// Slow calls over calls, in `[0, 1]`; 0 without calls.
    pub fn slow_ratio(&self) -> f64 {
        f64::from(self.slow) / f64::from(self.calls.max(1))
    }

    fn add(&mut self, failed: bool, slow: bool) {
        self.calls += 1;
        self.failures += u32::from(failed);
        self.slow += u32::from(slow);
    }

    /// Takes away what `add` has put in.
    fn subtract(&mut self, part: Tally) {
        self.calls -= part.calls;
        self.failures -= part.failures;
        self.slow -= part.slow;
    }
}

/// The times of the last k samples: answers exactly whether k of them lie within a window.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{Instant, window::RecentTimes};
///
/// let ms = |n| Instant::ZERO + Duration::from_millis(n);
/// let mut failures = RecentTimes::new(2, Duration::from_millis(200));
/// failures.record(ms(0));
/// failures.record(ms(150));
/// assert_eq!(failures.count(ms(199)), 2);
/// assert_eq!(failures.count(ms(200)), 1);
/// ```
#[derive(Clone, Debug)]
pub struct RecentTimes {
    window: Duration,
    /// A ring: `[next..filled]` is the older part and `[..next]` the newer one, each in order of time.
    times: Box<[Instant]>,
    next: usize,
    filled: usize,
    newest: Instant,
}

impl RecentTimes {
    /// Remembers `k` samples (at most [`MAX_SAMPLES`]), each for `window`.
    pub fn new(k: usize, window: Duration) -> Self {
        let times = vec![Instant::ZERO; k.min(MAX_SAMPLES)].into_boxed_slice();
        Self { window, times, next: 0, filled: 0, newest: Instant::ZERO }
    }

    /// Notes a sample at `now`; with k there already, the oldest one goes.
    pub fn record(&mut self, now: Instant) {
        self.newest = self.newest.max(now);
        if let Some(slot) = self.times.get_mut(self.next) {
            *slot = self.newest;
            self.filled = self.filled.max(self.next + 1);
            self.next = (self.next + 1) % self.times.len();
        }
    }

    /// Remembers `k` samples from here on (at most [`MAX_SAMPLES`]). Of those that are there the newest stay.
    pub fn resize(&mut self, k: usize) {
        let mut resized = Self::new(k, self.window);
        for &time in self.times[self.next..self.filled].iter().chain(&self.times[..self.next]) {
            resized.record(time);
        }
        *self = resized;
    }

    /// How many samples are younger than the window at `now`, at most k.
    pub fn count(&self, now: Instant) -> usize {
        let young = |part: &[Instant]| part.len() - part.partition_point(|&time| now.since(time) >= self.window);
        young(&self.times[self.next..self.filled]) + young(&self.times[..self.next])
    }

    /// Forgets all samples.
    pub fn clear(&mut self) {
        (self.next, self.filled) = (0, 0);
    }
}

/// The outcomes of the last n calls, two bits each.
///
/// ```
/// use stormproof_core::window::CountWindow;
///
/// let mut window = CountWindow::new(2);
/// window.record(true, false);
/// window.record(false, true);
/// window.record(false, false);
/// let tally = window.tally();
/// assert_eq!((tally.calls, tally.failures, tally.slow), (2, 0, 1));
/// ```
#[derive(Clone, Debug)]
pub struct CountWindow {
    size: usize,
    next: usize,
    /// Bit 2i: the call in place i failed. Bit 2i + 1: it was slow.
    bits: Box<[u64]>,
    tally: Tally,
}

impl CountWindow {
    /// Remembers the last `n` calls (at most [`MAX_SAMPLES`]).
    pub fn new(n: usize) -> Self {
        let size = n.min(MAX_SAMPLES);
        Self { size, next: 0, bits: vec![0; size.div_ceil(32)].into_boxed_slice(), tally: Tally::default() }
    }

    /// Notes a call; with n there already, the oldest one goes.
    pub fn record(&mut self, failed: bool, slow: bool) {
        let shift = self.next % 32 * 2;
        let Some(word) = self.bits.get_mut(self.next / 32) else { return };
        if self.tally.calls as usize == self.size {
            let old = *word >> shift;
            self.tally.subtract(Tally { calls: 1, failures: (old & 1) as u32, slow: (old >> 1 & 1) as u32 });
        }
        *word = *word & !(0b11 << shift) | (u64::from(failed) | u64::from(slow) << 1) << shift;
        self.tally.add(failed, slow);
        self.next = (self.next + 1) % self.size;
    }

    /// The calls in the window.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Holds `tally` instead of what is there, as far as there is room, failed and slow calls first.
    pub(crate) fn restore(&mut self, tally: Tally) {
        self.clear();
        for n in 0..u32::try_from(self.size).unwrap_or(u32::MAX).min(tally.calls) {
            self.record(n < tally.failures, n < tally.slow);
        }
    }

    /// Forgets all calls.
    pub fn clear(&mut self) {
        // The bits may stay: a place is only read once the window is full again.
        (self.next, self.tally) = (0, Tally::default());
    }
}

/// The outcomes of the last seconds, counted in buckets.
///
/// A call stays for at least the window, and is gone no later than window + window / buckets after it was recorded
/// (window / buckets is rounded up to a nanosecond), also when nobody records.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{Instant, window::TimeWindow};
///
/// let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
/// let mut window = TimeWindow::new(Duration::from_secs(10), 10);
/// window.record(at(5), true, false);
/// assert_eq!(window.tally(at(15)).failures, 1);
/// assert_eq!(window.tally(at(16)).failures, 0);
/// ```
#[derive(Clone, Debug)]
pub struct TimeWindow {
    /// One more than the window has, because the newest one has only begun.
    buckets: Box<[Tally]>,
    /// A bucket's length in nanoseconds, at least 1.
    width: u64,
    /// The place of the newest bucket, its number since the origin, and where it ends.
    newest: usize,
    epoch: u64,
    end: u64,
    total: Tally,
}

impl TimeWindow {
    /// How many buckets a window has unless told otherwise.
    pub const DEFAULT_BUCKETS: usize = 10;

    /// Remembers the calls of the last `window`, in `buckets` parts (1 to [`MAX_BUCKETS`]).
    pub fn new(window: Duration, buckets: usize) -> Self {
        let buckets = buckets.clamp(1, MAX_BUCKETS);
        let width = nanos(window).div_ceil(buckets as u64).max(1);
        let buckets = vec![Tally::default(); buckets + 1].into_boxed_slice();
        Self { buckets, width, newest: 0, epoch: 0, end: width, total: Tally::default() }
    }

    /// Notes a call at `now`. At `u32::MAX` calls in one window, further ones are not counted.
    pub fn record(&mut self, now: Instant, failed: bool, slow: bool) {
        self.advance(now);
        // No part exceeds the total, so that this one test keeps every sum exact.
        if self.total.calls < u32::MAX {
            self.buckets[self.newest].add(failed, slow);
            self.total.add(failed, slow);
        }
    }

    /// The calls in the window at `now`.
    pub fn tally(&mut self, now: Instant) -> Tally {
        self.advance(now);
        self.total
    }

    /// Holds `tally` instead of what is there, as if all of it had happened at `now`.
    pub fn restore(&mut self, now: Instant, tally: Tally) {
        self.clear();
        self.advance(now);
        // A call is counted at most once each way.
        let tally = Tally { failures: tally.failures.min(tally.calls), slow: tally.slow.min(tally.calls), ..tally };
        self.buckets[self.newest] = tally;
        self.total = tally;
    }

    /// Forgets all calls.
    pub fn clear(&mut self) {
        self.buckets.fill(Tally::default());
        self.total = Tally::default();
    }

    /// Drops what is too old at `now`.
    fn advance(&mut self, now: Instant) {
        // Most calls come within the newest bucket: no division for those, nor for a time that went back.
        if now.as_nanos() < self.end {
            return;
        }
        let epoch = now.as_nanos() / self.width;
        let passed = usize::try_from(epoch - self.epoch).unwrap_or(usize::MAX);
        for _ in 0..passed.min(self.buckets.len()) {
            self.newest = (self.newest + 1) % self.buckets.len();
            self.total.subtract(std::mem::take(&mut self.buckets[self.newest]));
        }
        self.epoch = epoch;
        self.end = epoch.saturating_add(1).saturating_mul(self.width);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(n)
    }

    #[test]
    fn k_in_a_window_ages_exactly_and_counts_no_more_than_k() {
        let mut times = RecentTimes::new(3, Duration::from_millis(100));
        for at in [0, 10, 20, 30] {
            times.record(ms(at));
        }
        assert_eq!(times.count(ms(30)), 3);
        assert_eq!(times.count(ms(109)), 3);
        assert_eq!(times.count(ms(110)), 2);
        assert_eq!(times.count(ms(130)), 0);
        times.clear();
        assert_eq!(times.count(ms(0)), 0);
    }

    #[test]
    fn a_count_window_forgets_the_oldest() {
        let mut window = CountWindow::new(100);
        for _ in 0..10_000 {
            window.record(false, false);
        }
        for failures in 1..=50 {
            window.record(true, true);
            assert_eq!(window.tally(), Tally { calls: 100, failures, slow: failures });
        }
        assert!((window.tally().failure_ratio() - 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn a_cleared_count_window_does_not_see_its_former_bits() {
        let mut window = CountWindow::new(2);
        window.record(true, true);
        window.record(true, true);
        window.clear();
        for _ in 0..5 {
            window.record(false, false);
        }
        assert_eq!(window.tally(), Tally { calls: 2, failures: 0, slow: 0 });
    }

    #[test]
    fn a_time_that_goes_back_counts_in_the_newest_bucket() {
        let mut window = TimeWindow::new(Duration::from_millis(100), TimeWindow::DEFAULT_BUCKETS);
        window.record(ms(55), true, false);
        window.record(ms(49), true, false);
        assert_eq!(window.tally(ms(159)).failures, 2);
        assert_eq!(window.tally(ms(160)).failures, 0);
    }

    #[test]
    fn extremes_neither_panic_nor_lie() {
        for (size, window) in [(0, Duration::ZERO), (usize::MAX, Duration::MAX), (1, Duration::from_nanos(1))] {
            let mut times = RecentTimes::new(size, window);
            let mut count = CountWindow::new(size);
            let mut time = TimeWindow::new(window, size);
            for now in [Instant::FAR_FUTURE, Instant::ZERO, ms(1), Instant::FAR_FUTURE] {
                times.record(now);
                count.record(true, true);
                time.record(now, true, true);
            }
            assert!(times.count(Instant::FAR_FUTURE) <= size.min(4));
            assert_eq!(count.tally().calls as usize, size.min(4));
            assert_eq!(time.tally(Instant::FAR_FUTURE).calls, 4);
        }
    }
}
