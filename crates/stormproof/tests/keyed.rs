//! Maps by key under threads and under random histories: what is open or in use is never forgotten.
#![cfg(test)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use stormproof::breaker::{self, State};
use stormproof::registry::{self, Keyed, KeyedBreakers, Limits};
use stormproof::{Bulkhead, CircuitBreaker, Clock, Registry, Trip, bulkhead};

const MOST: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Op {
    Fail(usize),
    Succeed(usize),
    Hold(usize),
    LetGo(usize),
    Wait(u64),
    Reset(usize),
}

fn history() -> impl Strategy<Value = Vec<Op>> {
    let key = || 0..12_usize;
    let op = prop_oneof![
        6 => key().prop_map(Op::Fail),
        6 => key().prop_map(Op::Succeed),
        2 => key().prop_map(Op::Hold),
        3 => key().prop_map(Op::LetGo),
        2 => prop_oneof![0..2_000_u64, Just(60_000), Just(3_600_000)].prop_map(Op::Wait),
        1 => key().prop_map(Op::Reset),
    ];
    prop::collection::vec(op, 0..200)
}

/// What must be remembered of a key.
#[derive(Debug, Default)]
struct Known {
    opened_until: Option<Duration>,
    held: Vec<CircuitBreaker>,
}

proptest! {
    #[test]
    fn an_open_key_and_one_in_use_are_never_lost(history in history()) {
        let clock = Clock::manual();
        let config = breaker::Config { trip: vec![Trip::consecutive(2)], ..Default::default() };
        let limits = Limits { max_keys: MOST, ..Default::default() };
        let map = KeyedBreakers::with_clock("m", config, limits, &clock).unwrap();
        let mut known: BTreeMap<usize, Known> = BTreeMap::new();
        let mut now = Duration::ZERO;
        for op in history {
            match op {
                Op::Fail(key) | Op::Succeed(key) => {
                    let breaker = map.get(&key.to_string());
                    if breaker.allow_request().is_ok() {
                        if matches!(op, Op::Fail(_)) { breaker.record_failure("E") } else { breaker.record_success() }
                    }
                }
                Op::Hold(key) => known.entry(key).or_default().held.push(map.get(&key.to_string())),
                Op::LetGo(key) => known.entry(key).or_default().held.clear(),
                Op::Wait(ms) => {
                    now += Duration::from_millis(ms);
                    clock.advance(Duration::from_millis(ms));
                }
                Op::Reset(key) => {
                    if map.reset(&key.to_string()) {
                        known.entry(key).or_default().opened_until = None;
                    }
                }
            }
            prop_assert!(map.len() <= MOST);
            for (key, known) in &known {
                let own = map.peek(&key.to_string());
                if known.opened_until.is_some_and(|until| now < until) {
                    prop_assert_eq!(own.as_ref().map(CircuitBreaker::state), Some(State::Open), "key {} was lost", key);
                }
                // Whoever has a handle has the one that the map gives.
                for held in known.held.iter().filter(|held| held.name() != map.others().name()) {
                    let own = own.as_ref().expect("a key in use is there");
                    let seen = |breaker: &CircuitBreaker| (breaker.stats(), breaker.history());
                    prop_assert_eq!(seen(held), seen(own));
                }
            }
            for (key, breaker) in map.list() {
                let key: usize = key.parse().unwrap();
                let stats = breaker.stats();
                let until = (stats.state == State::Open).then(|| now + stats.remaining);
                known.entry(key).or_default().opened_until = until;
            }
        }
    }
}

/// Eight threads, more keys than room: no call is lost or counted twice for a key that somebody holds on to, and never
/// are there two stages for a key in use.
#[test]
fn under_threads_a_key_in_use_is_one_stage() {
    const THREADS: usize = 8;
    let limits = Limits { max_keys: 16, idle: Duration::ZERO };
    let config = bulkhead::Config { max_concurrent: 1, max_queue: 0, ..Default::default() };
    let map: Keyed<Bulkhead> = Keyed::with_clock("m", config, limits, &Clock::system()).unwrap();
    let inside: Vec<AtomicU64> = (0..64).map(|_| AtomicU64::new(0)).collect();
    let calls = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (map, inside, calls) = (&map, &inside, &calls);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                for n in 0..4_000 {
                    let key = (n * 7 + thread * 13 + n / 64) % inside.len();
                    let stage = map.get(&key.to_string());
                    if stage.name() == map.others().name() {
                        continue;
                    }
                    let name = stage.name().clone();
                    assert_eq!(name.as_str(), format!("m/{key}"));
                    // Time for others to have the key forgotten, if they could.
                    std::thread::yield_now();
                    // With one slot a key, a second stage for it would let two in.
                    let Ok(held) = runtime.block_on(stage.acquire()) else { continue };
                    drop(stage);
                    assert_eq!(inside[key].fetch_add(1, Ordering::SeqCst), 0, "two stages for {key}");
                    std::thread::yield_now();
                    inside[key].fetch_sub(1, Ordering::SeqCst);
                    drop(held);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(calls.load(Ordering::Relaxed) > 0);
    assert!(map.len() <= 16, "{}", map.len());
}

/// A registry that is asked for, emptied and filled from all sides counts every name once.
#[test]
fn under_threads_a_registry_keeps_count() {
    let config = registry::Config { max_entries: 8, stale_after: Duration::ZERO, ..Default::default() };
    let registry = Registry::with_clock(config, &Clock::system()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_usize {
            let registry = &registry;
            scope.spawn(move || {
                for n in 0..3_000 {
                    let name = format!("{}", (n * 31 + thread) % 40);
                    match n % 5 {
                        0 => drop(registry.remove(&name)),
                        1 => drop(registry.policy(&name)),
                        _ => assert_eq!(registry.breaker(&name).name().as_str(), name),
                    }
                }
            });
        }
    });
    registry.reset_all();
    let names = registry.all::<stormproof::Policy>();
    assert!(names.len() <= 8 + 8, "{}", names.len());
    for (name, _) in &names {
        registry.remove(name);
    }
    assert!(registry.all::<stormproof::Policy>().is_empty());
    for n in 0..8 {
        registry.breaker(&n.to_string());
    }
    assert_eq!(registry.list().len(), 8, "the count of names is right: all of them have room");
}

#[test]
fn a_key_that_is_made_during_an_update_has_the_new_settings() {
    let (clock, limits) = (Clock::manual(), Limits { max_keys: 1_000_000, idle: Duration::from_secs(1) });
    for round in 1..200_u32 {
        let with = |n: u32| bulkhead::Config { max_concurrent: n, ..Default::default() };
        let keys = Keyed::<Bulkhead>::with_clock("k", with(1), limits, &clock).unwrap();
        let barrier = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let (keys, barrier) = (&keys, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    (0..20).for_each(|key| drop(keys.get(&format!("{thread}-{key}"))));
                });
            }
            barrier.wait();
            keys.update(&with(1 + round)).unwrap();
        });
        for (key, bulkhead) in keys.list() {
            assert_eq!(bulkhead.config().max_concurrent, 1 + round, "{key} in round {round}");
        }
    }
}

/// Whoever asks for a name that is new at the same time as others gets what the others get.
#[test]
fn under_threads_a_new_name_is_made_once() {
    const THREADS: usize = 8;
    let registry = Registry::new();
    let map = KeyedBreakers::new("m", breaker::Config::default()).unwrap();
    for round in 0..300 {
        let (name, start) = (round.to_string(), std::sync::Barrier::new(THREADS));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    for breaker in [registry.breaker(&name), map.get(&name)] {
                        breaker.call_sync(|_| Ok::<_, ()>(())).run().unwrap();
                    }
                });
            }
        });
        assert_eq!([registry.breaker(&name), map.get(&name)].map(|one| one.stats().successes), [THREADS as u64; 2]);
    }
}
