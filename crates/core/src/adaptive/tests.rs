//! Adaptive concurrency: the limit against servers whose best limit is known.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;
use crate::Rng;

const SUCCESS: Verdict<'static> = Verdict::success();
const BUSY: Verdict<'static> = Verdict::failure("ServerError.503");

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn config() -> Config {
    Config { window: ms(200), ..Config::default() }
}

/// A server with so many workers and a queue, and always more clients than it can take.
struct Server {
    limiter: Limiter,
    rng: Rng,
    /// When each worker is free.
    workers: BinaryHeap<Reverse<u64>>,
    /// When each call ends, and when it began.
    calls: BinaryHeap<Reverse<(u64, u64)>>,
    now: u64,
    waits: Vec<u64>,
    /// Calls that are worked on, and the most there may be: further ones are answered 503 at once.
    working: usize,
    most: usize,
    /// The time of an answer that costs no work, in nanoseconds.
    fast: u64,
}

impl Server {
    fn new(workers: usize, start: u32) -> Self {
        let workers = std::iter::repeat_n(Reverse(0), workers).collect();
        let limiter = Limiter::new(config(), start);
        Self {
            limiter,
            rng: Rng::new(7),
            workers,
            calls: BinaryHeap::new(),
            now: 0,
            waits: Vec::new(),
            working: 0,
            most: usize::MAX,
            fast: 1_000_000,
        }
    }

    /// Serves until so many windows have ended; the limit at the end of each.
    fn serve(&mut self, windows: usize, service: impl Fn(&Rng) -> f64) -> Vec<u32> {
        let mut limits = Vec::new();
        self.waits.clear();
        while limits.len() < windows {
            while self.calls.len() < self.limiter.limit() as usize {
                if self.working >= self.most {
                    self.calls.push(Reverse((self.now + self.fast, self.now)));
                    continue;
                }
                self.working += 1;
                let Reverse(free) = self.workers.pop().unwrap();
                let begins = free.max(self.now);
                let ends = begins + saturating(service(&self.rng) * 1e6).max(1);
                self.workers.push(Reverse(ends));
                self.waits.push(begins - self.now);
                self.calls.push(Reverse((ends, self.now)));
            }
            let Reverse((ends, began)) = self.calls.pop().unwrap();
            self.now = ends;
            let verdict = if ends - began == self.fast { BUSY } else { SUCCESS };
            self.working -= usize::from(verdict == SUCCESS);
            if self.limiter.record(Instant::from_nanos(ends), Instant::from_nanos(began), &verdict, true) {
                limits.push(self.limiter.limit());
            }
        }
        limits
    }

    /// Answers 503 at once for so long, to as many as there may be. What was called before ends meanwhile.
    fn is_out(&mut self, lasts: Duration, breaker: bool) {
        let end = self.now + nanos(lasts);
        let mut interrupted = 0;
        while self.now < end {
            while self.calls.len() < self.limiter.limit() as usize {
                self.calls.push(Reverse((self.now + self.fast, self.now)));
            }
            let Reverse((ends, began)) = self.calls.pop().unwrap();
            self.now = ends;
            let (now, began) = (Instant::from_nanos(ends), Instant::from_nanos(began));
            let verdict = if now.since(began) == Duration::from_nanos(self.fast) { BUSY } else { SUCCESS };
            self.working -= usize::from(verdict == SUCCESS);
            // Given a breaker: it opens at the hundredth failure, and asks once in a while.
            if breaker && verdict == BUSY && interrupted >= 100 {
                self.limiter.interrupt(now);
                self.now += 1_000_000_000;
            } else {
                self.limiter.record(now, began, &verdict, true);
            }
            interrupted += usize::from(verdict == BUSY);
        }
        self.workers = std::iter::repeat_n(Reverse(self.now), self.workers.len()).collect();
    }

    /// The 99th percentile of the waits in the server's queue in milliseconds.
    fn p99_wait(&mut self) -> f64 {
        self.waits.sort_unstable();
        self.waits[self.waits.len() * 99 / 100] as f64 / 1e6
    }
}

fn is_near(limits: &[u32], best: u32) -> bool {
    limits.iter().all(|&limit| limit * 5 >= best * 4 && limit * 5 <= best * 6)
}

fn steps(workers: usize, start: u32, spread: f64) {
    let best = u32::try_from(workers).unwrap();
    let mut server = Server::new(workers, start);
    for millis in [10.0, 100.0, 10.0] {
        let service = |rng: &Rng| millis * (1.0 - spread + 2.0 * spread * rng.unit());
        let limits = server.serve(20, service);
        let after = server.serve(20, service);
        assert!(is_near(&after, best), "{workers} workers at {millis} ms: {limits:?} {after:?}");
        let wait = server.p99_wait();
        assert!(wait <= millis, "calls of {millis} ms wait for {wait} ms");
    }
}

#[test]
fn the_limit_follows_steps_of_the_service_time_within_twenty_windows() {
    for (workers, start) in [(10, 10), (20, 5), (50, 20), (100, 10), (200, 50)] {
        steps(workers, start, 0.0);
        steps(workers, start, 0.3);
    }
}

#[test]
fn a_limit_that_starts_far_too_high_comes_down() {
    steps(20, 100, 0.2);
}

#[test]
fn a_limit_that_is_not_used_does_not_grow() {
    let mut limiter = Limiter::new(config(), 10);
    for call in 0..10_000 {
        let began = Instant::ZERO + ms(20 * call);
        limiter.record(began + ms(20), began, &SUCCESS, false);
    }
    assert!(limiter.stats().windows > 100);
    assert_eq!(limiter.limit(), 10);
}

#[test]
fn one_lucky_sample_does_not_collapse_the_limit() {
    for full in [false, true] {
        let mut limiter = Limiter::new(config(), 10);
        let mut now = Instant::ZERO;
        let mut lowest = 10;
        for call in 0..10_000 {
            let time = if call == 0 { Duration::from_micros(50) } else { ms(20) };
            limiter.record(now + time, now, &SUCCESS, full);
            now = now + time;
            lowest = lowest.min(limiter.limit());
        }
        assert!(lowest >= 8, "{lowest}");
    }
}

#[test]
fn overload_lowers_the_limit_and_what_is_the_callers_fault_does_not() {
    let after = |verdict: Verdict<'_>| {
        let mut limiter = Limiter::new(config(), 100);
        for call in 0..1_000 {
            let began = Instant::ZERO + ms(call);
            let verdict = if call % 4 == 0 { verdict } else { SUCCESS };
            limiter.record(began + ms(10), began, &verdict, false);
        }
        limiter.limit()
    };
    assert!(after(Verdict::failure("TimeoutError")) < 60);
    assert!(after(Verdict::failure("RateLimitError.429")) < 60);
    assert!(after(Verdict::failure("Busy").retry_after(ms(1))) < 60);
    assert_eq!(after(Verdict::failure("ConnectionError")), 100);
    assert_eq!(after(Verdict::ignored("ClientError.404")), 100);
}

#[test]
fn after_an_outage_the_limit_is_back_within_twenty_windows_however_long_a_call_takes() {
    for (workers, seconds) in [(20, 0.1), (20, 1.0), (20, 30.0), (200, 1.0), (200, 60.0), (10, 600.0)] {
        for breaker in [false, true] {
            let best = u32::try_from(workers).unwrap();
            let mut server = Server::new(workers, best);
            server.fast = saturating(seconds * 1e7);
            let service = |rng: &Rng| 1e3 * seconds * (0.7 + 0.6 * rng.unit());
            server.serve(30, service);
            let before = server.limiter.limit();
            // Given: as long as sixty calls take, 503s that are a hundred times as fast.
            server.is_out(Duration::from_secs_f64(seconds * 60.0), breaker);
            if breaker {
                assert_eq!(server.limiter.limit(), before, "{workers} workers, {seconds} s");
            }
            let out = server.now;
            let limits = server.serve(20, service);
            let time = (server.now - out) as f64 / 1e9;
            assert!(limits.iter().any(|&limit| limit * 5 >= best * 4), "{workers} workers, {seconds} s: {limits:?}");
            assert!(is_near(&limits[15..], best), "{workers} workers, {seconds} s: {limits:?}");
            // A window is five calls long where there are many, and on the way back with few.
            assert!(time <= 25.0 * 5.0 * seconds, "{time} s for calls of {seconds} s: {limits:?}");
        }
    }
}

#[test]
fn an_outage_neither_hides_a_limit_that_was_too_high_nor_a_callee_that_comes_back_slower() {
    for (learns, after) in [(0, 1.0), (30, 2.0), (30, 5.0), (30, 0.3)] {
        let mut server = Server::new(20, 200);
        server.fast = 10_000_000;
        server.serve(learns, |rng| 1e3 * (0.7 + 0.6 * rng.unit()));
        server.is_out(Duration::from_secs(60), false);
        let limits = server.serve(25, |rng| 1e3 * after * (0.7 + 0.6 * rng.unit()));
        assert!(is_near(&limits[20..], 20), "{learns} {after}: {limits:?}");
    }
}

#[test]
fn a_server_that_refuses_what_is_too_much_teaches_its_number() {
    for (start, most) in [(200, 20), (10, 20), (1000, 7)] {
        let mut server = Server::new(1000, start);
        server.most = most;
        server.serve(20, |_| 100.0);
        let limits = server.serve(100, |_| 100.0);
        let best = u32::try_from(most).unwrap();
        // A step up from time to time is how more room would be found.
        assert!(limits.iter().all(|&limit| limit * 2 >= best && limit <= best * 2), "{limits:?}");
        let near = limits.iter().filter(|&&limit| limit.abs_diff(best) * 4 <= best).count();
        assert!(near >= 80, "{limits:?}");
    }
}

#[test]
fn a_window_of_long_calls_does_not_hold_up_those_after_it() {
    let mut limiter = Limiter::new(config(), 10);
    let mut now = Instant::ZERO;
    for time in [ms(60_000); 20].into_iter().chain([ms(20); 500]) {
        limiter.record(now + time, now, &SUCCESS, true);
        now = now + time;
    }
    // A window of a second has fifty of these.
    assert!(limiter.stats().windows > 10, "{:?}", limiter.stats());
}

#[test]
fn a_circuit_that_opens_again_and_again_teaches_that_the_limit_is_too_high() {
    let mut limiter = Limiter::new(config(), 100);
    let mut limits = Vec::new();
    for round in 0..5 {
        let now = Instant::ZERO + ms(10_000 * round);
        for _ in 0..3 {
            limiter.record(now + ms(1), now, &BUSY, true);
        }
        // Each probe that fails asks again.
        for probe in 0..3 {
            limiter.interrupt(now + ms(2_000 * probe));
        }
        limits.push(limiter.limit());
    }
    assert_eq!(limits, [100, 50, 25, 13, 6]);
}

#[test]
fn the_baseline_follows_a_slower_callee_though_the_limit_is_not_used() {
    let mut limiter = Limiter::new(config(), 10);
    let mut now = Instant::ZERO;
    for time in [ms(10), ms(50)] {
        for _ in 0..2_000 {
            limiter.record(now + time, now, &SUCCESS, false);
            now = now + time;
        }
        let baseline = limiter.stats().baseline;
        assert!(baseline.abs_diff(time) < ms(2), "{baseline:?}");
    }
}

#[test]
fn mistakes_are_named() {
    let config = Config { min: 5, max: 4, window: Duration::ZERO, min_samples: 0, ..Config::default() };
    let fields: Vec<String> = config.validate().into_iter().map(|mistake| mistake.field).collect();
    assert_eq!(fields, ["min", "window", "min_samples"]);
}

proptest! {
    #[test]
    fn the_limit_stays_within_its_bounds_whatever_is_measured(
        bounds in (1_u32..200, 0_u32..200),
        start in any::<u32>(),
        calls in prop::collection::vec((any::<u64>(), any::<u64>(), 0..4_u8, any::<bool>()), 0..400),
        near in any::<bool>(),
    ) {
        let config = Config { min: bounds.0, max: bounds.0 + bounds.1, min_samples: 5, window: ms(1), ..Config::default() };
        let mut limiter = Limiter::new(config.clone(), start);
        let mut origin = 0_u64;
        for (now, began, verdict, full) in calls {
            origin = origin.saturating_add(if near { now % 5_000_000 } else { 0 });
            let (now, began) = if near { (origin, origin.saturating_sub(began % 5_000_000)) } else { (now, began) };
            let verdict = [SUCCESS, SUCCESS, Verdict::failure("TimeoutError"), Verdict::ignored("X")][verdict as usize];
            limiter.record(Instant::from_nanos(now), Instant::from_nanos(began), &verdict, full);
            prop_assert!((config.min..=config.max).contains(&limiter.limit()));
            prop_assert!(limiter.limit.is_finite() && limiter.latency.is_finite());
            prop_assert!(limiter.baseline.is_none_or(f64::is_finite));
        }
    }
}
