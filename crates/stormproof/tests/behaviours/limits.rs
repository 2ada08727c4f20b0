//! T68 to T73: bulkhead and rate limiter. T75: timeouts.

use std::time::Duration;

use stormproof::{Bulkhead, Clock, Limit, Policy, RateLimiter, Reason, Stage, Stop, Timeouts, bulkhead};
use stormproof_sim::{Call, End, Reply, Scenario};

use crate::given::{S, ms, per_second, policy, run, s, slots};

fn with_slots(slots: bulkhead::Config) -> Scenario {
    Scenario::new(policy(|p| p.bulkhead = Some(slots)))
}

#[test]
fn t_68_five_calls_on_two_slots_are_never_more_than_two() {
    let trace = run(&with_slots(slots(2, 9)).all_at(s(0), [S.after(s(1)); 5]));
    let starts: Vec<_> = trace.calls.iter().map(|call| call.attempts[0]).collect();
    assert_eq!(starts, [0, 0, 1, 1, 2].map(s));
}

#[tokio::test]
async fn t_68_the_numbers_of_a_bulkhead() {
    let bulkhead = Bulkhead::with_config("b", slots(2, 9)).unwrap();
    let slot = bulkhead.acquire().await.unwrap();
    let stats = bulkhead.stats();
    assert_eq!((stats.active, stats.queued, stats.max_concurrent, stats.admitted), (1, 0, 2, 1));
    drop(slot);
    assert_eq!(bulkhead.stats().active, 0);
}

#[test]
fn t_69_past_its_time_in_the_queue_a_caller_is_refused_and_counted() {
    let config = bulkhead::Config { queue_timeout: ms(100), ..slots(1, 9) };
    let trace = run(&with_slots(config).all_at(s(0), [S.after(s(1)); 2]));
    assert_eq!((trace.calls[1].end.reason(), trace.calls[1].ended), (Some(Reason::QueueTimeout), ms(100)));
    assert_eq!(trace.stat(Stage::Bulkhead, "refused", "queue_timeout"), 1.0);
}

#[test]
fn t_70_without_a_queue_an_idle_bulkhead_admits_and_a_busy_one_refuses() {
    let trace = run(&with_slots(slots(1, 0)).all_at(s(0), [S.after(s(1)); 2]).at(s(2), S));
    assert_eq!(trace.reasons(), [None, Some(Reason::QueueFull), None]);
}

#[test]
fn t_71_a_cancelled_waiter_frees_its_place() {
    let scenario = with_slots(slots(1, 1)).at(s(0), S.after(s(2))).at(s(0), Call::of([S]).cancel_at(s(1)));
    let trace = run(&scenario.at(ms(1_001), S));
    assert_eq!(trace.calls[2].attempts, [s(2)]);
}

#[test]
fn t_72_try_peek_and_acquire_are_three_methods() {
    let clock = Clock::manual();
    let limiter = RateLimiter::with_clock("l", per_second(10, 5), &clock).unwrap();
    assert!(limiter.try_acquire(2).is_ok());
    assert_eq!(limiter.peek(5), ms(200), "3 are there, 5 are wanted, 10 come a second");
    assert!(limiter.try_acquire(3).is_ok() && limiter.try_acquire(1).is_err());
    clock.advance(ms(100));
    assert!(limiter.try_acquire(1).is_ok() && limiter.try_acquire(1).is_err());
    clock.advance(s(3_600));
    assert_eq!(limiter.stats().available, 5, "refilled up to the burst");
    assert_eq!(limiter.peek(6), Duration::MAX);
}

#[tokio::test(start_paused = true)]
async fn t_72_acquire_waits() {
    let clock = Clock::tokio();
    let limiter = RateLimiter::with_clock("l", per_second(10, 1), &clock).unwrap();
    for _ in 0..3 {
        limiter.acquire(1).await.unwrap();
    }
    assert_eq!(clock.now(), stormproof::Instant::ZERO + ms(200));
}

#[tokio::test]
async fn t_72_a_call_through_a_limiter_costs_one_unless_it_says_otherwise() {
    let limiter = RateLimiter::with_clock("l", per_second(10, 5), &Clock::manual()).unwrap();
    let nothing = |_: stormproof::Cx<'_>| std::future::ready(Ok::<_, &str>(()));
    limiter.call(nothing).await.unwrap();
    assert_eq!(limiter.stats().available, 4);
    limiter.call(nothing).cost(3).await.unwrap();
    assert_eq!(limiter.stats().available, 1);
}

#[test]
fn t_73_a_hundred_at_once_take_nine_seconds_in_order() {
    let limited = Scenario::new(policy(|p| p.rate = Some(per_second(10, 10))));
    let trace = run(&limited.all_at(s(0), [S; 100]));
    let starts: Vec<_> = trace.calls.iter().map(|call| call.attempts[0]).collect();
    assert!(starts.is_sorted());
    assert_eq!((starts[0], starts[99]), (s(0), s(9)));
}

#[test]
fn t_75_within_the_limit_the_value_and_past_it_a_timeout() {
    let limited = Scenario::new(policy(|p| p.deadline = Some(s(10))));
    let trace = run(&limited.at(s(0), S.after(s(10))).at(s(0), Reply::hang()).preempts());
    assert_eq!(trace.calls[0].end, End::Ok);
    assert_eq!(trace.calls[1].end, End::TimedOut { limit: Limit::Call, stop: Stop::NoRetry, last: None });
    assert_eq!(trace.calls[1].ended, s(10));
}

#[tokio::test(start_paused = true)]
async fn t_75_the_error_names_policy_and_seconds_and_a_listener_that_panics_changes_nothing() {
    let policy = Policy::builder("openai").deadline(s(10)).clock(&Clock::tokio()).build().unwrap();
    policy.on_event(|_| panic!("as the case says"));
    let error = policy.call(|_| std::future::pending::<Result<(), &str>>()).await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(error.to_string(), "openai timed out after 10.000 s (limit of the call, attempts: 1)");
}

#[test]
fn t_75_the_table_of_classes() {
    let timeouts = Timeouts::default();
    let classes = ["health_check", "standard_request", "long_operation", "batch_operation", "unknown"];
    assert_eq!(classes.map(|class| timeouts.get(class, None)), [10, 30, 120, 300, 30].map(s));
    assert_eq!(timeouts.get("health_check", Some(s(7))), s(7));
    assert_eq!(timeouts.get("health_check", Some(Duration::ZERO)), Duration::ZERO);
}
