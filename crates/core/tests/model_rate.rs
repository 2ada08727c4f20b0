//! The rate limiter against a model that is obviously right: a list of all that was ever taken, gone through anew for each
//! question, and a list of who waits. What is given back is struck off the list.
#![cfg(not(loom))]
#![cfg(test)]

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use stormproof_core::rate::{Config, Reservation};
use stormproof_core::{Admission, Instant, Progress, RateLimiter, Reason, Ticket};

/// A permit, in the unit in which the model counts.
const PERMIT: i128 = 1 << 60;
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
    Update { rate: u32, burst: u32, max_wait: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    let patience = prop_oneof![Just(u64::MAX), 0..5_000_000_000_u64];
    let time = prop_oneof![
        0..400_000_000_u64,
        (0..8_u64).prop_map(|n| n * 50_000_000),
        0..3_000_000_u64,
        Just(10_000_000_000)
    ];
    let rate = prop_oneof![Just(3_u32), Just(10), Just(70), Just(100)];
    prop_oneof![
        5 => time.prop_map(Op::Pass),
        4 => (0..8_u32).prop_map(Op::Try),
        8 => (0..8_u32, patience).prop_map(|(cost, patience)| Op::Acquire { cost, patience }),
        8 => Just(Op::PollHead),
        2 => any::<usize>().prop_map(Op::Poll),
        2 => any::<usize>().prop_map(Op::Cancel),
        2 => (any::<usize>(), 0..15_u32).prop_map(|(index, used)| Op::Settle(index, used)),
        2 => any::<usize>().prop_map(Op::Release),
        1 => (rate, 1..12_u32, 1..5_u64).prop_map(|(rate, burst, max_wait)| Op::Update { rate, burst, max_wait }),
    ]
}

/// What happened to the bucket.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Permits were taken, of which some were kept: by a newcomer, or (`late`) by one who had waited.
    Taken { cost: u32, kept: u32, late: bool },
    /// The pace became another; `queued`: somebody waited.
    Changed { interval: i128, burst: i128, queued: bool },
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    ticket: Ticket,
    cost: u32,
    end: u64,
}

#[derive(Debug)]
struct Model {
    interval: i128,
    burst: i128,
    max_wait: u64,
    events: Vec<(u64, Event)>,
    waiting: Vec<Waiter>,
    /// Who has passed and has not asked since, with the event.
    granted: Vec<(Ticket, usize)>,
}

/// What is used up when so many permits have come since; less than nothing is what came beyond a full bucket. That is
/// kept for those who wait, and else lapses as fast as time passes.
fn passed(used: i128, came: i128, queued: bool) -> i128 {
    match used {
        _ if queued => used - came,
        0.. => (used - came).max(0),
        _ => (used + came).min(0),
    }
}

impl Model {
    /// The interval of the quickest pace so far.
    fn shortest_interval(&self) -> i128 {
        let intervals = self.events.iter().filter_map(|(_, event)| match event {
            Event::Changed { interval, .. } => Some(*interval),
            Event::Taken { .. } => None,
        });
        intervals.min().unwrap_or(self.interval)
    }

    fn new(config: &Config) -> Self {
        let (interval, burst, max_wait) = Self::pace(config);
        let first = Event::Changed { interval, burst, queued: false };
        Self { interval, burst, max_wait, events: vec![(0, first)], waiting: Vec::new(), granted: Vec::new() }
    }

    fn pace(config: &Config) -> (i128, i128, u64) {
        let interval = config.per.as_nanos().div_ceil(u128::from(config.rate)).cast_signed();
        let burst = config.burst.unwrap_or(config.rate).into();
        (interval, burst, u64::try_from(config.max_wait.as_nanos()).unwrap())
    }

    /// What is used up at `now`.
    fn used(&self, now: u64, queued: bool) -> i128 {
        let (mut used, mut at, mut pace) = (0_i128, 0, (1, 1));
        for &(time, event) in &self.events {
            // Who waited and took nothing in the end was never there.
            if let Event::Taken { kept: 0, late: true, .. } = event {
                continue;
            }
            let (interval, burst) = pace;
            let came = i128::from(time - at) * PERMIT / interval;
            at = time;
            used = match event {
                Event::Taken { kept, late: false, .. } => passed(used, came, false) + i128::from(kept) * PERMIT,
                Event::Taken { cost, kept, late: true } => {
                    let earliest = burst - burst.min(cost.into());
                    // Lateness is credited up to the burst: here it is never less than 10 ms. What is given back makes the
                    // bucket full at most.
                    let before = passed(used, came, true).max((earliest - burst) * PERMIT);
                    let least = (before + i128::from(cost) * PERMIT).min(0);
                    (before + i128::from(kept) * PERMIT).max(least)
                }
                Event::Changed { queued, interval, burst } => {
                    pace = (interval, burst);
                    passed(used, came, queued)
                }
            };
        }
        passed(used, i128::from(now - at) * PERMIT / pace.0, queued)
    }

    /// The time until `cost` may be taken behind so many others; less than nothing: since when.
    fn wait(&self, now: u64, ahead: i128, cost: u32) -> i128 {
        let cost = self.burst.min(cost.into());
        let missing = self.used(now, !self.waiting.is_empty()) + (ahead + cost - self.burst) * PERMIT;
        // Rounded up to nanoseconds, but for what is an error of the model's own.
        (missing * self.interval - PERMIT / 1_000_000).div_euclid(PERMIT) + 1
    }

    /// How long a newcomer would wait, behind all others.
    fn newcomers_wait(&self, now: u64, cost: u32) -> i128 {
        let ahead = self.waiting.iter().map(|waiter| i128::from(waiter.cost)).sum();
        self.wait(now, ahead, cost).max(0)
    }

    fn take(&mut self, now: u64, cost: u32, late: bool) -> usize {
        if cost == 0 {
            return usize::MAX;
        }
        self.events.push((now, Event::Taken { cost, kept: cost, late }));
        self.events.len() - 1
    }

    /// Lets all pass whose turn has come.
    fn advance(&mut self, now: u64) {
        while let Some(&Waiter { ticket, cost, end }) = self.waiting.first() {
            let wait = self.wait(now, 0, cost);
            let is_over = end <= now && i128::from(end) < i128::from(now) + wait;
            if wait > 0 && !is_over {
                return;
            }
            if !is_over {
                let event = self.take(now, cost, true);
                self.granted.push((ticket, event));
            }
            self.waiting.remove(0);
        }
    }

    /// The last moment at which anything was taken.
    fn last(&self) -> u64 {
        self.events.last().map_or(0, |(at, _)| *at)
    }

    fn keep(&mut self, event: usize, used: u32) {
        if let Some((_, Event::Taken { kept, .. })) = self.events.get_mut(event) {
            *kept = used;
        }
    }
}

fn nanos(duration: Duration) -> i128 {
    duration.as_nanos().cast_signed()
}

/// The limiter, its model, and what was got from the limiter so far.
struct Pair {
    limiter: RateLimiter,
    model: Model,
    now: u64,
    reservations: Vec<(Reservation, usize)>,
    tickets: Vec<Ticket>,
    woken: HashSet<Ticket>,
    /// Whether something may still be given back late, after others have taken more. Not where callers queue: those who
    /// waited would have passed sooner, and the model has them where they passed. And once: the limiter does not keep all
    /// that would be needed to know what a second one would have made of the first.
    may_be_late: bool,
    queues: bool,
}

impl Pair {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    /// Nanoseconds that a turn may be late: what is given back after an update may be a nanosecond less at the pace of that
    /// time, which is so much longer at a slower pace since then.
    fn rounding(&self) -> i128 {
        let shortest = self.model.shortest_interval();
        2 * ((self.model.interval + shortest - 1) / shortest)
    }

    fn step(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match *op {
            Op::Pass(time) => self.now += time,
            Op::Try(cost) => self.try_acquire(cost)?,
            Op::Acquire { cost, patience } => self.acquire(cost, patience)?,
            Op::PollHead => {
                if let Some(head) = self.model.waiting.first() {
                    self.poll(head.ticket)?;
                }
            }
            Op::Poll(index) if !self.tickets.is_empty() => self.poll(self.tickets[index % self.tickets.len()])?,
            Op::Cancel(index) if !self.tickets.is_empty() => {
                let ticket = self.tickets[index % self.tickets.len()];
                let granted = self.model.granted.iter().position(|(granted, _)| *granted == ticket);
                if granted.is_some_and(|granted| self.model.granted[granted].1 + 1 < self.model.events.len()) {
                    return Ok(());
                }
                self.model.waiting.retain(|waiter| waiter.ticket != ticket);
                if let Some(granted) = granted {
                    let (_, event) = self.model.granted.remove(granted);
                    self.model.keep(event, 0);
                }
                self.model.advance(self.model.last());
                let woken = self.limiter.cancel(ticket);
                self.woke(woken)?;
            }
            Op::Settle(index, used) if !self.reservations.is_empty() => {
                let Some((mut reservation, event)) = self.pick(index) else { return Ok(()) };
                let cost = reservation.cost();
                if used != cost {
                    self.model.advance(self.now);
                    if used < cost {
                        self.model.keep(event, used);
                    } else {
                        self.model.take(self.now, used - cost, false);
                    }
                    self.model.advance(self.now);
                }
                let woken = self.limiter.settle(self.now(), &mut reservation, used);
                prop_assert_eq!(self.limiter.release(&mut reservation), []);
                if used != cost {
                    self.woke(woken)?;
                }
            }
            Op::Release(index) if !self.reservations.is_empty() => {
                let Some((mut reservation, event)) = self.pick(index) else { return Ok(()) };
                self.model.keep(event, 0);
                self.model.advance(self.model.last());
                let woken = self.limiter.release(&mut reservation);
                prop_assert_eq!(self.limiter.settle(self.now(), &mut reservation, 100), []);
                if reservation.cost() > 0 {
                    self.woke(woken)?;
                }
            }
            Op::Update { rate, burst, max_wait } => self.update(rate, burst, Duration::from_secs(max_wait))?,
            Op::Poll(_) | Op::Cancel(_) | Op::Settle(..) | Op::Release(_) => {}
        }
        self.compare()
    }

    /// A reservation to give back.
    fn pick(&mut self, index: usize) -> Option<(Reservation, usize)> {
        let index = index % self.reservations.len();
        let is_last = self.reservations[index].1.saturating_add(1) >= self.model.events.len();
        let picked = is_last || std::mem::replace(&mut self.may_be_late, false);
        picked.then(|| self.reservations.swap_remove(index))
    }

    /// Whoever has passed is woken.
    fn woke(&mut self, woken: Vec<Ticket>) -> Result<(), TestCaseError> {
        self.woken.extend(woken);
        for (ticket, _) in &self.model.granted {
            prop_assert!(self.woken.contains(ticket), "{ticket:?} sleeps");
        }
        Ok(())
    }

    fn try_acquire(&mut self, cost: u32) -> Result<(), TestCaseError> {
        self.model.advance(self.now);
        let wait = self.model.newcomers_wait(self.now, cost);
        let above = i128::from(cost) > self.model.burst;
        let passes = cost == 0 || !above && self.model.waiting.is_empty() && wait == 0;
        match self.limiter.try_acquire(self.now(), cost) {
            Ok(reservation) => {
                prop_assert!(passes);
                let event = self.model.take(self.now, cost, false);
                self.reservations.push((reservation, event));
            }
            Err(refusal) => {
                // Where rounding puts its turn into the next moment, it is refused for that long.
                let rounded = passes && nanos(refusal.retry_after) <= self.rounding();
                prop_assert!(!passes || rounded, "{refusal:?}");
                prop_assert_eq!(refusal.reason, if above { Reason::AboveBurst } else { Reason::RateExceeded });
                prop_assert!(above || (0..=self.rounding()).contains(&(nanos(refusal.retry_after) - wait)));
            }
        }
        Ok(())
    }

    fn acquire(&mut self, cost: u32, patience: u64) -> Result<(), TestCaseError> {
        self.model.advance(self.now);
        let wait = self.model.newcomers_wait(self.now, cost);
        let above = i128::from(cost) > self.model.burst;
        let patience = if self.queues { patience } else { 0 };
        let deadline = self.now.saturating_add(patience);
        match self.limiter.acquire(self.now(), cost, Instant::from_nanos(deadline)) {
            Admission::Granted(reservation) => {
                prop_assert!(cost == 0 || !above && self.model.waiting.is_empty() && wait == 0);
                let event = self.model.take(self.now, cost, false);
                self.reservations.push((reservation, event));
            }
            Admission::Queued(ticket) => {
                prop_assert!(wait > 0 || !self.model.waiting.is_empty());
                prop_assert!(!above && wait < patience.into() && wait <= self.model.max_wait.into());
                let end = deadline.min(self.now + self.model.max_wait);
                self.model.waiting.push(Waiter { ticket, cost, end });
                self.tickets.push(ticket);
            }
            Admission::Refused(refusal) if refusal.reason == Reason::AboveBurst => prop_assert!(above),
            Admission::Refused(refusal) => {
                prop_assert_eq!(refusal.reason, Reason::WaitTooLong);
                prop_assert!((0..=self.rounding()).contains(&(nanos(refusal.retry_after) - wait)));
                let late = wait + self.rounding();
                prop_assert!(late >= patience.into() || late > self.model.max_wait.into());
            }
        }
        Ok(())
    }

    fn poll(&mut self, ticket: Ticket) -> Result<(), TestCaseError> {
        self.model.advance(self.now);
        let (progress, woken) = self.limiter.poll(self.now(), ticket);
        let granted = self.model.granted.iter().position(|(granted, _)| *granted == ticket);
        let place = self.model.waiting.iter().position(|waiter| waiter.ticket == ticket);
        let waiter = place.map(|place| self.model.waiting[place]);
        match progress {
            Progress::Granted(reservation) => {
                prop_assert!(granted.is_some());
                let (_, event) = self.model.granted.remove(granted.unwrap());
                self.reservations.push((reservation, event));
            }
            Progress::Waiting { until } => {
                let ahead = self.model.waiting.iter().take(place.unwrap()).map(|waiter| i128::from(waiter.cost)).sum();
                let waiter = waiter.unwrap();
                let turn = i128::from(self.now) + self.model.wait(self.now, ahead, waiter.cost);
                prop_assert!(waiter.end > self.now);
                prop_assert_eq!(i128::from(until.as_nanos()), turn.min(waiter.end.into()));
            }
            Progress::Refused(refusal) => {
                prop_assert_eq!(refusal.reason, Reason::WaitTooLong);
                prop_assert!(granted.is_none() && waiter.is_none_or(|waiter| waiter.end <= self.now));
                if let Some(place) = place {
                    self.model.waiting.remove(place);
                    self.model.advance(self.now);
                }
            }
        }
        self.woke(woken)
    }

    fn update(&mut self, rate: u32, burst: u32, max_wait: Duration) -> Result<(), TestCaseError> {
        let config = Config { rate, burst: Some(burst), max_wait, ..self.limiter.config() };
        self.model.advance(self.now);
        let (interval, burst, max_wait) = Model::pace(&config);
        let queued = !self.model.waiting.is_empty();
        if interval != self.model.interval || burst != self.model.burst {
            self.model.events.push((self.now, Event::Changed { interval, burst, queued }));
        }
        (self.model.interval, self.model.burst, self.model.max_wait) = (interval, burst, max_wait);
        self.model.advance(self.now);
        let woken = self.limiter.update(self.now(), config).unwrap();
        self.woke(woken)
    }

    fn compare(&mut self) -> Result<(), TestCaseError> {
        let stats = self.limiter.stats(self.now());
        self.model.advance(self.now);
        prop_assert_eq!(stats.waiting, self.model.waiting.len());
        for cost in 1..=u32::try_from(self.model.burst).unwrap() {
            let (wait, expected) = (self.limiter.peek(self.now(), cost), self.model.newcomers_wait(self.now, cost));
            let late = nanos(wait) - expected;
            prop_assert!((0..=self.rounding()).contains(&late), "{wait:?}, expected {expected} ns");
        }
        Ok(())
    }
}

/// The gate tries the same histories each time; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` give others.
fn histories() -> ProptestConfig {
    let given = ProptestConfig::default();
    let cases = given.cases.max(1_000);
    let rng_seed = if given.rng_seed == RngSeed::Random { RngSeed::Fixed(1) } else { given.rng_seed };
    ProptestConfig { cases, rng_seed, ..given }
}

proptest! {
    #![proptest_config(histories())]

    #[test]
    fn behaves_like_a_bucket_and_a_list(
        rate in prop_oneof![Just(1_u32), Just(3), Just(7), Just(10), Just(100)],
        burst in 1..12_u32,
        start in prop_oneof![Just(0_u64), Just(1), any::<u32>().prop_map(u64::from), Just(1_790_000_000_000_000_000)],
        queues in any::<bool>(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let config = Config { rate, burst: Some(burst), max_wait: Duration::from_secs(4), ..Config::default() };
        let (model, limiter) = (Model::new(&config), RateLimiter::with_config("model", config).unwrap());
        let (reservations, tickets, woken) = (Vec::new(), Vec::new(), HashSet::new());
        let mut pair = Pair { limiter, model, now: start, reservations, tickets, woken, may_be_late: !queues, queues };
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
