//! The circuit breaker alone: a call that passes, and one that is refused.
//!
//! All of them open after five failures in a row and stay open for a day. recloser has no such rule, but a ring of the
//! last five calls that opens when all of them failed is the same. Whoever reads a clock of its own does so here too;
//! ours is shown with the time given, and with its clock read at both ends of the call.

use std::hint::black_box;
use std::time::Duration;

use failsafe::CircuitBreaker as _;
use stormproof::{Clock, Instant, Verdict};
use stormproof_core::{CircuitBreaker, breaker};
use tower::{Service, service_fn};
use tower_resilience::circuitbreaker::CircuitBreakerLayer;

use crate::harness::{Case, Contender};
use crate::work::{Broken, drive};

const DAY: Duration = Duration::from_secs(86_400);
const NOW: Instant = Instant::from_nanos(1_000_000_000);

pub fn cases() -> Vec<Case> {
    let case = |name, target, threads, ours, peers| Case { name, target, threads, ours, peers };
    vec![
        case("breaker closed: admit and settle", Some(15.0), 1, passes(), peers(true)),
        case("breaker closed, clock read", None, 1, passes_by_the_clock(), peers(true)),
        case("breaker closed, two threads", Some(100.0), 2, passes(), peers(true)),
        case("breaker closed, two threads, clock read", None, 2, passes_by_the_clock(), peers(true)),
        case("breaker open: refuse", Some(20.0), 1, refuses(), peers(false)),
        case("breaker open, clock read", None, 1, refuses_by_the_clock(), peers(false)),
    ]
}

fn ours(closed: bool) -> CircuitBreaker {
    let config = breaker::Config { open_duration: DAY, ..Default::default() };
    let breaker = CircuitBreaker::with_config("bench", config).expect("valid");
    for _ in 0..if closed { 0 } else { 5 } {
        let mut permit = breaker.admit(NOW).expect("closed");
        breaker.settle(&mut permit, NOW, &Verdict::failure("Broken"));
    }
    breaker
}

/// `now` is asked at both ends.
fn admit_and_settle(breaker: &CircuitBreaker, now: impl Fn() -> Instant) -> bool {
    let Ok(mut permit) = black_box(breaker).admit(now()) else { return false };
    black_box(&mut permit);
    black_box(breaker).settle(&mut permit, now(), &Verdict::success()).is_none()
}

fn passes() -> Contender {
    let breaker = ours(true);
    Contender::calls("stormproof", move || admit_and_settle(&breaker, || black_box(NOW)))
}

fn passes_by_the_clock() -> Contender {
    let (breaker, clock) = (ours(true), Clock::system());
    Contender::calls("stormproof", move || admit_and_settle(&breaker, || clock.now()))
}

fn refuses() -> Contender {
    let breaker = ours(false);
    Contender::calls("stormproof", move || black_box(black_box(&breaker).admit(black_box(NOW))).is_err())
}

fn refuses_by_the_clock() -> Contender {
    let (breaker, clock) = (ours(false), Clock::system());
    Contender::calls("stormproof", move || black_box(black_box(&breaker).admit(clock.now())).is_err())
}

fn peers(closed: bool) -> Vec<Contender> {
    vec![recloser(closed), failsafe(closed), tower_resilience(closed)]
}

fn recloser(closed: bool) -> Contender {
    let breaker = recloser::Recloser::custom().closed_len(5).error_rate(1.0).open_wait(DAY).build();
    for _ in 0..if closed { 0 } else { 6 } {
        let _ = breaker.call(|| Err::<(), _>(Broken));
    }
    Contender::calls("recloser", move || black_box(&breaker).call(|| Ok::<_, Broken>(black_box(1))).is_ok() == closed)
}

fn failsafe(closed: bool) -> Contender {
    let rule = failsafe::failure_policy::consecutive_failures(5, failsafe::backoff::constant(DAY));
    let breaker = failsafe::Config::new().failure_policy(rule).build();
    for _ in 0..if closed { 0 } else { 5 } {
        let _ = breaker.call(|| Err::<(), _>(Broken));
    }
    Contender::calls("failsafe", move || black_box(&breaker).call(|| Ok::<_, Broken>(black_box(1))).is_ok() == closed)
}

fn tower_resilience(closed: bool) -> Contender {
    let layer =
        CircuitBreakerLayer::builder().consecutive_failures(5).wait_duration_in_open(DAY).build().expect("valid");
    let echo = |fails: bool| std::future::ready(if fails { Err(Broken) } else { Ok(()) });
    let service = layer.layer_fn(service_fn(echo));
    let mut first = service.clone();
    for _ in 0..if closed { 0 } else { 5 } {
        let _ = drive(async { first.call(true).await });
    }
    Contender::new("tower-resilience", move |n| {
        let mut service = service.clone();
        drive(async {
            let mut as_meant = true;
            for _ in 0..n {
                let ready = std::future::poll_fn(|cx| Service::<bool>::poll_ready(&mut service, cx)).await.is_ok();
                as_meant &= ready && black_box(black_box(&mut service).call(false).await).is_ok() == closed;
            }
            as_meant
        })
    })
}
