//! The breaker under real threads: nothing is lost, and half-open never lets in too many.
#![cfg(not(loom))]
#![cfg(test)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use stormproof_core::breaker::{Change, Config, Mode, State, Transition, Window};
use stormproof_core::{CircuitBreaker, Instant, Reason, Trip, Verdict};

const THREADS: u64 = 8;

fn breaker(config: Config) -> CircuitBreaker {
    CircuitBreaker::with_config("stress", config).unwrap()
}

fn on_all_threads(work: impl Fn(u64) + Sync) {
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });
}

#[test]
fn totals_are_exact() {
    const CALLS: u64 = 5_000;
    // The first rule never trips; with the second every success is counted under the lock, with the first alone on the
    // fast path.
    let never = Trip::consecutive(u32::MAX);
    for trip in [vec![never], vec![never, Trip::ratio(1.0, 1_000_000, Window::Calls(1_000_000))]] {
        let breaker = breaker(Config { trip, ..Config::default() });
        on_all_threads(|thread| {
            for n in 0..CALLS {
                let now = Instant::from_nanos(n);
                let mut permit = breaker.admit(now).unwrap();
                match (n + thread) % 5 {
                    0 => assert_eq!(breaker.settle(&mut permit, now, &Verdict::failure("E")), None),
                    1 => breaker.release(&mut permit),
                    _ => assert_eq!(breaker.settle(&mut permit, now, &Verdict::success()), None),
                }
            }
        });
        let stats = breaker.stats(Instant::from_nanos(CALLS));
        let fifth = THREADS * CALLS / 5;
        assert_eq!([stats.successes, stats.failures, stats.ignored, stats.stale], [3 * fifth, fifth, fifth, 0]);
    }
}

#[test]
fn one_of_many_gets_the_only_probe() {
    let config = Config { trip: vec![Trip::consecutive(1)], half_open_max_calls: 1, ..Config::default() };
    for _ in 0..200 {
        let breaker = breaker(config.clone());
        let mut permit = breaker.admit(Instant::ZERO).unwrap();
        assert!(breaker.settle(&mut permit, Instant::ZERO, &Verdict::failure("E")).is_some());
        let (now, won) = (Instant::ZERO + config.open_duration, AtomicUsize::new(0));
        on_all_threads(|_| _ = won.fetch_add(usize::from(breaker.admit(now).is_ok()), Ordering::Relaxed));
        assert_eq!(won.into_inner(), 1);
    }
}

/// A refusal is one of those that there were, and never made of two of them.
#[test]
fn a_circuit_forced_open_while_others_look_tells_no_wait_that_there_was_not() {
    const ROUNDS: u64 = 20_000;
    let config = Config { trip: vec![Trip::consecutive(1)], ..Config::default() };
    let (breaker, running) = (breaker(config.clone()), AtomicUsize::new(1));
    let (now, longest) = (Instant::ZERO, config.open_duration);
    let force = || {
        for _ in 0..ROUNDS {
            let _ = breaker.reset(now);
            let mut permit = breaker.admit(now).unwrap();
            assert!(breaker.settle(&mut permit, now, &Verdict::failure("E")).is_some());
            let _ = breaker.set_mode(now, Mode::ForcedOpen);
        }
        running.store(0, Ordering::Relaxed);
    };
    let look = || {
        while running.load(Ordering::Relaxed) == 1 {
            if let Err(refusal) = breaker.look(now) {
                let expected = if refusal.reason == Reason::ForcedOpen { Duration::ZERO } else { longest };
                assert_eq!(refusal.retry_after, expected, "{:?}", refusal.reason);
            }
            let stats = breaker.stats(now);
            assert!(stats.successes == 0 || stats.last_success.is_some());
        }
    };
    thread::scope(|scope| {
        let looking = [(); 3].map(|()| scope.spawn(look));
        force();
        for thread in looking {
            thread.join().unwrap();
        }
    });
}

/// Calls, failures, probes and lost probes without end, while a shared clock goes on.
#[test]
fn every_transition_is_told_once_and_in_order() {
    const CALLS: u64 = 4_000;
    const PROBES: usize = 3;
    let config = Config {
        trip: vec![Trip::consecutive(3), Trip::ratio(0.6, 5, Window::Time(Duration::from_millis(1)))],
        open_duration: Duration::from_nanos(200),
        half_open_max_calls: u32::try_from(PROBES).unwrap(),
        // So long that no probe loses its place, and the count of those out is exact.
        half_open_timeout: Some(Duration::from_secs(1)),
        ..Config::default()
    };
    let breaker = breaker(config);
    let (clock, told) = (AtomicU64::new(1), Mutex::new(Vec::<Transition>::new()));
    on_all_threads(|thread| {
        let mut mine = Vec::new();
        for n in 0..CALLS {
            let now = Instant::from_nanos(clock.fetch_add(10, Ordering::Relaxed));
            let Ok(mut permit) = breaker.admit(now) else { continue };
            mine.extend(breaker.transition(&permit));
            let out = breaker.stats(now).half_open_calls as usize;
            assert!(out <= PROBES, "{out} probes are out");
            // Failures come in runs, so that now it opens and now it recovers.
            let verdict = match (n + thread) % 16 {
                0..5 => Verdict::failure("E"),
                5 => {
                    breaker.release(&mut permit);
                    continue;
                }
                _ => Verdict::success(),
            };
            if let Some(Change::Moved(transition)) = breaker.settle(&mut permit, now, &verdict) {
                mine.push(transition);
            }
        }
        assert!(mine.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        told.lock().unwrap().extend(mine);
    });
    let mut told = told.into_inner().unwrap();
    told.sort_by_key(|transition| transition.seq);
    assert!(told.len() > 100, "{} transitions are too few to show anything", told.len());
    assert_eq!(told[0].from, State::Closed);
    assert!(told.windows(2).all(|pair| pair[0].seq < pair[1].seq && pair[0].to == pair[1].from));
    let history = breaker.history();
    assert!(told.ends_with(&history));
    let opened = told.iter().filter(|transition| transition.to == State::Open).count();
    let stats = breaker.stats(Instant::FAR_FUTURE);
    assert_eq!((stats.opened, stats.half_open_calls), (opened as u64, 0));
}
