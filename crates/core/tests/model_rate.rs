//! The rate limiter against a model that is obviously right: a bucket of credit that time fills, and a list of who
//! waits. Credit is counted in nanoseconds: a permit costs one interval.
#![cfg(not(loom))]
#![cfg(test)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use stormproof_core::rate::{Config, Reservation};
use stormproof_core::{Admission, Instant, Progress, RateLimiter, Reason, Ticket};

#[derive(Clone, Debug)]
enum Op {
    Pass(u64),
    Try(u32),
    Acquire { cost: u32, patience: u64 },
    PollHead,
    Poll(usize),
    Cancel(usize),
    Settle(usize, u32),
    Release(usize),
    Update { rate: u32, burst: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    let patience = prop_oneof![Just(u64::MAX), 0..5_000_000_000_u64];
    prop_oneof![
        5 => prop_oneof![0..400_000_000_u64, (0..8_u64).prop_map(|n| n * 50_000_000), Just(10_000_000_000)].prop_map(Op::Pass),
        4 => (0..8_u32).prop_map(Op::Try),
        8 => (0..8_u32, patience).prop_map(|(cost, patience)| Op::Acquire { cost, patience }),
        8 => Just(Op::PollHead),
        2 => any::<usize>().prop_map(Op::Poll),
        2 => any::<usize>().prop_map(Op::Cancel),
        2 => (any::<usize>(), 0..15_u32).prop_map(|(index, used)| Op::Settle(index, used)),
        2 => any::<usize>().prop_map(Op::Release),
        1 => (prop_oneof![Just(3_u32), Just(10), Just(100)], 1..12_u32).prop_map(|(rate, burst)| Op::Update { rate, burst }),
    ]
}

#[derive(Debug)]
struct Model {
    interval: i128,
    burst: u32,
    /// Negative: a debt.
    credit: i128,
    waiting: Vec<(Ticket, u32)>,
    max_wait: i128,
}

impl Model {
    fn new(config: &Config) -> Self {
        let interval = config.per.as_nanos().div_ceil(u128::from(config.rate)).cast_signed();
        let burst = config.burst.unwrap_or(config.rate);
        let full = i128::from(burst) * interval;
        Self { interval, burst, credit: full, waiting: Vec::new(), max_wait: config.max_wait.as_nanos().cast_signed() }
    }

    fn full(&self) -> i128 {
        i128::from(self.burst) * self.interval
    }

    fn price(&self, cost: u32) -> i128 {
        i128::from(cost) * self.interval
    }

    fn add(&mut self, credit: i128) {
        self.credit = (self.credit + credit).min(self.full());
    }

    /// How long a newcomer would wait, behind all others.
    fn wait(&self, cost: u32) -> i128 {
        let queued: i128 = self.waiting.iter().map(|&(_, cost)| self.price(cost)).sum();
        (queued + self.price(cost) - self.credit).max(0)
    }

    /// How long the head must wait by itself. One above a burst that shrank waits for a full bucket.
    fn head_wait(&self) -> Option<i128> {
        let &(_, cost) = self.waiting.first()?;
        Some((self.price(cost).min(self.full()) - self.credit).max(0))
    }

    fn head(&self) -> Option<Ticket> {
        self.waiting.first().map(|&(ticket, _)| ticket)
    }
}

fn nanos(duration: Duration) -> i128 {
    duration.as_nanos().cast_signed()
}

/// The limiter, its model, and what was got from the limiter so far.
struct Pair {
    limiter: RateLimiter,
    model: Model,
    now: Instant,
    reservations: Vec<Reservation>,
    tickets: Vec<Ticket>,
}

impl Pair {
    fn step(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match *op {
            Op::Pass(time) => {
                self.now = self.now + Duration::from_nanos(time);
                self.model.add(time.into());
            }
            Op::Try(cost) => self.try_acquire(cost)?,
            Op::Acquire { cost, patience } => self.acquire(cost, patience)?,
            Op::PollHead => {
                if let Some(head) = self.model.head() {
                    self.poll(head)?;
                }
            }
            Op::Poll(index) if !self.tickets.is_empty() => self.poll(self.tickets[index % self.tickets.len()])?,
            Op::Cancel(index) if !self.tickets.is_empty() => {
                let ticket = self.tickets[index % self.tickets.len()];
                let head = self.model.head();
                self.model.waiting.retain(|&(waiting, _)| waiting != ticket);
                let expected = if head == Some(ticket) { self.model.head() } else { None };
                prop_assert_eq!(self.limiter.cancel(ticket).first().copied(), expected);
            }
            Op::Settle(index, used) if !self.reservations.is_empty() => {
                let index = index % self.reservations.len();
                let mut reservation = self.reservations.swap_remove(index);
                let change = self.model.price(reservation.cost()) - self.model.price(used);
                self.model.add(change);
                let expected = if change == 0 { None } else { self.model.head() };
                prop_assert_eq!(self.limiter.settle(self.now, &mut reservation, used), expected);
                prop_assert_eq!(self.limiter.release(&mut reservation), None);
            }
            Op::Release(index) if !self.reservations.is_empty() => {
                let index = index % self.reservations.len();
                let mut reservation = self.reservations.swap_remove(index);
                self.model.add(self.model.price(reservation.cost()));
                let expected = if reservation.cost() == 0 { None } else { self.model.head() };
                prop_assert_eq!(self.limiter.release(&mut reservation), expected);
                prop_assert_eq!(self.limiter.settle(self.now, &mut reservation, 100), None);
            }
            Op::Update { rate, burst } => self.update(rate, burst)?,
            Op::Poll(_) | Op::Cancel(_) | Op::Settle(..) | Op::Release(_) => {}
        }
        self.compare()
    }

    fn try_acquire(&mut self, cost: u32) -> Result<(), TestCaseError> {
        let wait = self.model.wait(cost);
        let passes = cost == 0 || cost <= self.model.burst && self.model.waiting.is_empty() && wait == 0;
        match self.limiter.try_acquire(self.now, cost) {
            Ok(reservation) => {
                prop_assert!(passes);
                self.model.credit -= self.model.price(cost);
                self.reservations.push(reservation);
            }
            Err(refusal) => {
                prop_assert!(!passes);
                let above = cost > self.model.burst;
                prop_assert_eq!(refusal.reason, if above { Reason::AboveBurst } else { Reason::RateExceeded });
                prop_assert!(above || nanos(refusal.retry_after) == wait);
            }
        }
        Ok(())
    }

    fn acquire(&mut self, cost: u32, patience: u64) -> Result<(), TestCaseError> {
        let wait = self.model.wait(cost);
        let deadline = self.now + Duration::from_nanos(patience);
        match self.limiter.acquire(self.now, cost, deadline) {
            Admission::Granted(reservation) => {
                prop_assert!(cost == 0 || cost <= self.model.burst && self.model.waiting.is_empty() && wait == 0);
                self.model.credit -= self.model.price(cost);
                self.reservations.push(reservation);
            }
            Admission::Queued(ticket) => {
                prop_assert!(wait > 0 || !self.model.waiting.is_empty());
                prop_assert!(cost <= self.model.burst && wait < patience.into() && wait <= self.model.max_wait);
                self.model.waiting.push((ticket, cost));
                self.tickets.push(ticket);
            }
            Admission::Refused(refusal) if refusal.reason == Reason::AboveBurst => {
                prop_assert!(cost > self.model.burst);
            }
            Admission::Refused(refusal) => {
                prop_assert_eq!(refusal.reason, Reason::WaitTooLong);
                prop_assert_eq!(nanos(refusal.retry_after), wait);
                prop_assert!(wait >= patience.into() || wait > self.model.max_wait);
            }
        }
        Ok(())
    }

    fn poll(&mut self, ticket: Ticket) -> Result<(), TestCaseError> {
        let wait = self.model.head_wait().filter(|_| self.model.head() == Some(ticket));
        let (progress, woken) = self.limiter.poll(self.now, ticket);
        match progress {
            Progress::Granted(token) => {
                prop_assert_eq!(wait, Some(0));
                let (_, cost) = self.model.waiting.remove(0);
                self.model.credit -= self.model.price(cost);
                prop_assert_eq!((token.cost(), woken.first().copied()), (cost, self.model.head()));
                self.reservations.push(token);
            }
            Progress::Waiting { until: Instant::FAR_FUTURE } => prop_assert_eq!(wait, None),
            Progress::Waiting { until } => prop_assert_eq!(wait, Some(nanos(until.since(self.now)))),
            Progress::Refused(refusal) => prop_assert!(false, "{refusal:?}"),
        }
        Ok(())
    }

    /// Permits used up stay used up; fractions may be rounded by two nanoseconds, and the model follows.
    fn update(&mut self, rate: u32, burst: u32) -> Result<(), TestCaseError> {
        let config = Config { rate, burst: Some(burst), ..self.limiter.config() };
        prop_assert_eq!(self.limiter.update(self.now, config.clone()).unwrap(), self.model.head());
        let former = std::mem::replace(&mut self.model, Model::new(&config));
        let used = (former.full() - former.credit) * self.model.interval / former.interval;
        self.model.waiting = former.waiting;
        let behind = nanos(self.limiter.peek(self.now, burst)) - self.model.wait(burst);
        prop_assert!((behind - used).abs() <= 2, "{behind} used, expected {used}");
        self.model.credit -= behind;
        Ok(())
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let stats = self.limiter.stats(self.now);
        prop_assert_eq!(stats.waiting, self.model.waiting.len());
        let whole = self.model.credit.div_euclid(self.model.interval);
        prop_assert_eq!(i128::from(stats.available) - i128::from(stats.owed), whole);
        for cost in 1..=self.model.burst {
            prop_assert_eq!(nanos(self.limiter.peek(self.now, cost)), self.model.wait(cost));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn behaves_like_a_bucket_and_a_list(
        rate in prop_oneof![Just(1_u32), Just(3), Just(7), Just(10), Just(1_000)],
        burst in 1..12_u32,
        start in prop_oneof![Just(0_u64), Just(1), any::<u32>().prop_map(u64::from), Just(1_790_000_000_000_000_000)],
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let config = Config { rate, burst: Some(burst), max_wait: Duration::from_secs(4), ..Config::default() };
        let (model, limiter) = (Model::new(&config), RateLimiter::with_config("model", config).unwrap());
        let now = Instant::from_nanos(start);
        let mut pair = Pair { limiter, model, now, reservations: Vec::new(), tickets: Vec::new() };
        for op in &ops {
            pair.step(op)?;
        }
    }

    #[test]
    fn taking_n_is_n_times_taking_one(rate in 1..1_000_000_u32, cost in 1..100_u32, start in any::<u32>()) {
        let config = Config { rate, burst: Some(150), ..Config::default() };
        let [at_once, one_by_one] = [0, 1].map(|_| RateLimiter::with_config("model", config.clone()).unwrap());
        let now = Instant::from_nanos(start.into());
        prop_assert!(at_once.try_acquire(now, cost).is_ok());
        for _ in 0..cost {
            prop_assert!(one_by_one.try_acquire(now, 1).is_ok());
        }
        prop_assert_eq!(at_once.peek(now, 150), one_by_one.peek(now, 150));
    }

    #[test]
    fn no_stretch_of_time_sees_more_than_rate_and_burst(
        rate in 1..2_000_000_u32,
        burst in 1..50_u32,
        calls in prop::collection::vec((0..5_000_000_u64, 1..50_u32), 1..200),
    ) {
        let config = Config { rate, burst: Some(burst), ..Config::default() };
        let limiter = RateLimiter::with_config("model", config).unwrap();
        let mut now = 1_u64 << 40;
        let mut passed: Vec<(u64, u64)> = Vec::new();
        for (pause, cost) in calls {
            now += pause;
            if limiter.try_acquire(Instant::from_nanos(now), cost).is_ok() {
                passed.push((now, cost.into()));
            }
        }
        for first in 0..passed.len() {
            let mut sum = 0;
            for &(at, cost) in &passed[first..] {
                sum += cost;
                let earned = u128::from(at - passed[first].0) * u128::from(rate) / 1_000_000_000;
                prop_assert!(u128::from(sum) <= u128::from(burst) + earned);
            }
        }
    }
}

#[test]
fn threads_together_get_the_rate_and_no_more() {
    // Given: a common clock that goes on a microsecond with each reading.
    let config = Config { rate: 100_000, burst: Some(50), max_wait: Duration::from_millis(1), ..Config::default() };
    let limiter = RateLimiter::with_config("stress", config).unwrap();
    let clock = AtomicU64::new(0);
    let now = || Instant::from_nanos(clock.fetch_add(1_000, Ordering::SeqCst));
    let passed = AtomicU64::new(0);
    let worker = |seed: u64| {
        for round in 0..20_000_u64 {
            let taken = match limiter.acquire(now(), 1, Instant::FAR_FUTURE) {
                Admission::Granted(reservation) => Some(reservation),
                Admission::Refused(_) => None,
                Admission::Queued(ticket) if (round + seed).is_multiple_of(5) => {
                    let _ = limiter.cancel(ticket);
                    None
                }
                Admission::Queued(ticket) => {
                    // Polling without being woken stands for every edge, however it wakes.
                    let mut polls = 0_u64;
                    loop {
                        if let (Progress::Granted(token), _) = limiter.poll(now(), ticket) {
                            break Some(token);
                        }
                        polls += 1;
                        assert!(polls < 50_000_000, "nobody is stranded");
                        std::thread::yield_now();
                    }
                }
            };
            let Some(mut reservation) = taken else { continue };
            if (round + seed).is_multiple_of(3) {
                let _ = limiter.release(&mut reservation);
            } else {
                passed.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    std::thread::scope(|scope| {
        for seed in 0..6 {
            let worker = &worker;
            scope.spawn(move || worker(seed));
        }
    });
    // Then: what passed is at most what time brought, and nobody waits any more.
    let end = clock.load(Ordering::SeqCst);
    assert!(passed.load(Ordering::SeqCst) <= 50 + end / 10_000);
    assert_eq!(limiter.stats(Instant::from_nanos(end)).waiting, 0);
    assert_eq!(limiter.stats(Instant::FAR_FUTURE).available, 50);
}
