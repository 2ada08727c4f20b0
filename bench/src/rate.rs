//! The rate limiter alone: one permit, never refused.
//!
//! Ten million a second with the largest burst, so that nobody waits however long it runs.

use std::hint::black_box;
use std::num::NonZeroU32;

use governor::clock::{FakeRelativeClock, QuantaClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter as Governor};
use stormproof::{Clock, Instant};
use stormproof_core::{RateLimiter, rate};

use crate::harness::{Case, Contender};

const PER_SECOND: u32 = 10_000_000;
const NOW: Instant = Instant::from_nanos(1_000_000_000);

pub fn cases() -> Vec<Case> {
    let case = |name, target, threads, ours, peers| Case { name, target, threads, ours, peers };
    let fake = || vec![governor("governor, fake clock", FakeRelativeClock::default())];
    let real = || vec![governor("governor", QuantaClock::default())];
    vec![
        case("rate permit", Some(20.0), 1, ours(), fake()),
        case("rate permit, clock read", None, 1, ours_by_the_clock(), real()),
        case("rate permit, two threads", None, 2, ours(), fake()),
        case("rate permit, two threads, clock read", None, 2, ours_by_the_clock(), real()),
    ]
}

pub fn config() -> rate::Config {
    rate::Config { rate: PER_SECOND, burst: Some(u32::MAX), ..Default::default() }
}

pub fn quota() -> Quota {
    let per_second = NonZeroU32::new(PER_SECOND).expect("not zero");
    Quota::per_second(per_second).allow_burst(NonZeroU32::MAX)
}

fn ours() -> Contender {
    let limiter = RateLimiter::with_config("bench", config()).expect("valid");
    Contender::calls("stormproof", move || black_box(black_box(&limiter).try_acquire(black_box(NOW), 1)).is_ok())
}

fn ours_by_the_clock() -> Contender {
    let (limiter, clock) = (RateLimiter::with_config("bench", config()).expect("valid"), Clock::system());
    Contender::calls("stormproof", move || black_box(black_box(&limiter).try_acquire(clock.now(), 1)).is_ok())
}

type Direct<C> = Governor<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as governor::clock::Clock>::Instant>>;

fn governor<C>(name: &'static str, clock: C) -> Contender
where
    C: governor::clock::Clock + Send + Sync + 'static,
    C::Instant: Send + Sync,
{
    let limiter: Direct<C> = Governor::direct_with_clock(quota(), clock);
    Contender::calls(name, move || black_box(black_box(&limiter).check()).is_ok())
}
