//! A call as a whole, where the random model would take long to get to.
#![cfg(not(loom))]
#![cfg(test)]

use std::time::Duration;

use stormproof_core::breaker::{self, Scope};
use stormproof_core::retry::Stop;
use stormproof_core::{
    Backoff, Call, Edge, End, Input, Instant, Jitter, Limit, NoEdge, Outcome, Policy, Step, Ticket, Trip, Verdict,
    budget, bulkhead, latency, policy, rate, retry,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn at(n: u64) -> Instant {
    Instant::ZERO + ms(n)
}

fn policy(config: policy::Config) -> Policy {
    config.build("tests", 7).unwrap()
}

fn begin(policy: &Policy, now: Instant) -> Call {
    Call::new(now, policy.deadline_at(now))
}

fn resume<'p>(call: &mut Call, policy: &'p Policy, now: Instant) -> Step<'p> {
    call.next(policy, now, Input::Resume, &mut NoEdge)
}

fn one_at_a_time() -> bulkhead::Config {
    bulkhead::Config { max_concurrent: 1, ..Default::default() }
}

#[test]
fn a_slot_that_comes_after_the_deadline_starts_nothing() {
    let policy = policy(policy::Config {
        deadline: Some(ms(10)),
        bulkhead: Some(one_at_a_time()),
        rate: Some(rate::Config::default()),
        ..Default::default()
    });
    let (mut first, mut second) = (begin(&policy, at(0)), begin(&policy, at(0)));
    assert!(matches!(resume(&mut first, &policy, at(0)), Step::Attempt { .. }));
    assert!(matches!(resume(&mut second, &policy, at(0)), Step::Queued { .. }));
    let _ = first.next(&policy, at(10), Input::Finished(1, Verdict::success()), &mut NoEdge);
    assert!(matches!(resume(&mut second, &policy, at(10)), Step::Done(End::TimedOut(..))));
    assert_eq!(second.attempts(), 0);
    assert_eq!(policy.bulkhead.unwrap().stats().active, 0);
    assert_eq!(policy.rate.unwrap().stats(at(10)).available, 9);
}

#[test]
fn a_turn_that_comes_after_the_deadline_starts_nothing() {
    let policy = policy(policy::Config {
        deadline: Some(ms(150)),
        bulkhead: Some(one_at_a_time()),
        rate: Some(rate::Config { burst: Some(1), ..Default::default() }),
        ..Default::default()
    });
    assert!(policy.rate.as_ref().unwrap().try_acquire(at(0), 1).is_ok());
    let mut call = begin(&policy, at(0));
    assert!(matches!(resume(&mut call, &policy, at(0)), Step::Queued { .. }));
    assert!(matches!(resume(&mut call, &policy, at(150)), Step::Done(End::TimedOut(..))), "whoever woke it was late");
    assert_eq!(policy.bulkhead.unwrap().stats().active, 0);
    assert_eq!(policy.rate.unwrap().stats(at(150)).available, 1);
}

#[test]
fn there_is_nothing_to_hold_outside_an_attempt() {
    let policy = policy(policy::Config { bulkhead: Some(one_at_a_time()), ..Default::default() });
    let (mut first, mut second) = (begin(&policy, at(0)), begin(&policy, at(0)));
    assert!(matches!(resume(&mut first, &policy, at(0)), Step::Attempt { .. }));
    assert!(matches!(resume(&mut second, &policy, at(0)), Step::Queued { .. }));
    assert!(second.hold().is_empty());
    second.abandon(&policy, &mut NoEdge);
    assert!(first.hold().is_empty(), "it is not over");
    assert!(matches!(first.next(&policy, at(1), Input::Answered(1, Outcome::Success), &mut NoEdge), Step::Done(_)));
    first.hold().settle(&policy, at(1), &Verdict::success(), &mut NoEdge);
    let stats = policy.bulkhead.unwrap().stats();
    assert_eq!((stats.active, stats.queued), (0, 0));
}

#[test]
fn an_answer_that_is_judged_later_is_measured_to_its_beginning() {
    let policy = policy(policy::Config { latency: Some(latency::Config::default()), ..Default::default() });
    for (took, outcome) in [(20, Outcome::Success), (500, Outcome::Ignored)] {
        let mut call = begin(&policy, at(0));
        assert!(matches!(resume(&mut call, &policy, at(0)), Step::Attempt { .. }));
        assert!(matches!(call.next(&policy, at(took), Input::Answered(1, outcome), &mut NoEdge), Step::Done(_)));
        call.hold().settle(&policy, at(9_000), &Verdict::failure("broken"), &mut NoEdge);
    }
    let measured = policy.latency.as_ref().unwrap();
    assert_eq!((measured.count(), measured.sum()), (1, ms(20)));
}

#[test]
fn time_that_runs_out_is_counted_by_limit() {
    let limits = policy::Config { deadline: Some(ms(100)), attempt_timeout: Some(ms(40)), ..Default::default() };
    let retry = retry::Config { backoff: Backoff::constant(ms(5)).jitter(Jitter::None), ..Default::default() };
    let policy = policy(policy::Config { retry: Some(retry), ..limits });
    let (mut call, mut now, mut inherited) = (begin(&policy, at(0)), at(0), begin(&policy, at(0)));
    let until = |step: &Step<'_>| match *step {
        Step::Attempt { until, .. } | Step::BackOff { until } => Some(until),
        _ => None,
    };
    let mut step = resume(&mut call, &policy, now);
    while !matches!(step, Step::Done(_)) {
        now = until(&step).unwrap_or(now);
        step = resume(&mut call, &policy, now);
    }
    inherited.inherit(at(0));
    assert!(matches!(resume(&mut inherited, &policy, at(0)), Step::Done(End::TimedOut(Limit::Inherited, _))));
    let times = [Limit::Attempt, Limit::Call, Limit::Inherited].map(|limit| policy.timed_out.times(limit));
    assert_eq!(times, [2, 1, 1]);
    let snapshots = policy.snapshots(now);
    let snapshot = snapshots.iter().find(|snapshot| snapshot.stage.as_str() == "timeout").unwrap();
    assert_eq!(snapshot.get("timed_out", "attempt"), Some(2.0));
}

#[test]
fn an_operation_that_failed_between_attempts_names_a_cause() {
    let backoff = Backoff::constant(ms(1)).jitter(Jitter::None);
    let breaker = breaker::Config { trip: vec![Trip::consecutive(1)], scope: Scope::Operation, ..Default::default() };
    let config = policy::Config {
        deadline: Some(ms(10)),
        retry: Some(retry::Config { backoff, ..Default::default() }),
        breaker: Some(breaker),
        rate: Some(rate::Config { rate: 1, max_wait: Duration::ZERO, ..Default::default() }),
        ..Default::default()
    };
    for (back, cause) in [(1, "wait_too_long"), (10, "TimeoutError")] {
        let policy = policy(config.clone());
        let mut call = begin(&policy, at(0));
        let _ = resume(&mut call, &policy, at(0));
        let _ = call.next(&policy, at(0), Input::Finished(1, Verdict::failure("E")), &mut NoEdge);
        assert!(matches!(resume(&mut call, &policy, at(back)), Step::Done(_)));
        assert_eq!(policy.breaker.unwrap().last_cause().as_deref(), Some(cause));
    }
}

#[test]
fn a_call_that_runs_out_of_time_between_attempts_has_given_up() {
    let backoff = Backoff::constant(ms(1)).jitter(Jitter::None);
    let policy = policy(policy::Config {
        deadline: Some(ms(10)),
        retry: Some(retry::Config { backoff, ..Default::default() }),
        ..Default::default()
    });
    let mut call = begin(&policy, at(0));
    let _ = resume(&mut call, &policy, at(0));
    let _ = call.next(&policy, at(0), Input::Finished(1, Verdict::failure("E")), &mut NoEdge);
    assert!(matches!(resume(&mut call, &policy, at(10)), Step::Done(End::TimedOut(..))), "whoever woke it was late");
    let snapshot = policy.retry.unwrap().snapshot(&"tests".into());
    assert_eq!(snapshot.get("gave_up", "deadline"), Some(1.0));
}

#[test]
fn an_answer_whose_retry_would_be_refused_keeps_its_slot() {
    let breaker = breaker::Config { trip: vec![Trip::consecutive(1)], ..Default::default() };
    let policy = policy(policy::Config {
        retry: Some(retry::Config::default()),
        breaker: Some(breaker),
        bulkhead: Some(one_at_a_time()),
        rate: Some(rate::Config { per: Duration::from_secs(86_400), ..Default::default() }),
        ..Default::default()
    });
    let mut call = begin(&policy, at(0));
    call.keep();
    let _ = resume(&mut call, &policy, at(0));
    let step = call.next(&policy, at(1), Input::Finished(1, Verdict::failure("E")), &mut NoEdge);
    assert!(matches!(step, Step::Done(End::Refused(_))));
    let bulkhead = policy.bulkhead.as_ref().unwrap();
    assert_eq!(bulkhead.stats().active, 1, "its body is still to come");
    call.hold().abandon(&policy, &mut NoEdge);
    assert_eq!((bulkhead.stats().active, policy.rate.as_ref().unwrap().stats(at(1)).available), (0, 9));
}

#[test]
fn what_is_inherited_twice_is_inherited_once() {
    let breaker = breaker::Config { trip: vec![Trip::consecutive(1)], ..Default::default() };
    let policy = policy(policy::Config { breaker: Some(breaker), ..Default::default() });
    let mut call = begin(&policy, at(0));
    call.inherit(at(20));
    call.inherit(at(10));
    let _ = resume(&mut call, &policy, at(0));
    assert!(matches!(resume(&mut call, &policy, at(10)), Step::Cancel { number: 1 }));
    assert!(matches!(resume(&mut call, &policy, at(10)), Step::Done(End::TimedOut(..))));
    assert_eq!(policy.breaker.unwrap().stats(at(10)).failures, 1, "it is the only limit there is");
}

/// Notes who was woken.
#[derive(Default)]
struct Woken(Vec<Ticket>);

impl Edge for Woken {
    fn wake(&mut self, ticket: Ticket) {
        self.0.push(ticket);
    }
}

#[test]
fn a_head_of_the_queue_that_runs_out_of_time_moves_the_next_up() {
    let tokens = rate::Config { rate: 10, burst: Some(10), ..Default::default() };
    let policy = policy(policy::Config { tokens: Some(tokens), ..Default::default() });
    let limiter = policy.tokens.as_ref().unwrap();
    let mut dear = limiter.try_acquire(at(0), 10).unwrap();
    let (mut head, mut next) = (Call::new(at(0), at(200)), begin(&policy, at(0)));
    let mut edge = Woken::default();
    head.cost(1);
    next.cost(1);
    assert!(matches!(head.next(&policy, at(0), Input::Resume, &mut edge), Step::Queued { .. }));
    let Step::Queued { until, .. } = next.next(&policy, at(0), Input::Resume, &mut edge) else { panic!() };
    assert_eq!(until, at(200), "each waiter knows its own turn");
    // A debt puts off the turn that was computed for the head.
    let _ = limiter.settle(at(0), &mut dear, 20);
    assert!(matches!(head.next(&policy, at(200), Input::Resume, &mut edge), Step::Done(End::TimedOut(..))));
    let Step::Queued { until, .. } = next.next(&policy, at(200), Input::Resume, &mut edge) else { panic!() };
    assert_eq!(until, at(1_100), "it has the turn of the head that left");
}

/// A policy of which everything can be seen to be taken.
fn everything() -> Policy {
    policy(policy::Config {
        deadline: Some(ms(1_000)),
        attempt_timeout: Some(ms(100)),
        retry: Some(retry::Config { backoff: Backoff::constant(ms(1)).jitter(Jitter::None), ..Default::default() }),
        budget: Some(budget::Config::default()),
        breaker: Some(breaker::Config { trip: vec![Trip::consecutive(1)], ..Default::default() }),
        bulkhead: Some(one_at_a_time()),
        rate: Some(rate::Config { per: Duration::from_secs(86_400), ..Default::default() }),
        latency: Some(latency::Config::default()),
        ..Default::default()
    })
}

fn readying(policy: &Policy) -> Call {
    let mut call = begin(policy, at(0));
    call.readies();
    assert!(matches!(resume(&mut call, policy, at(0)), Step::Ready { number: 1, until } if until == at(1_000)));
    call
}

#[test]
fn an_attempt_begins_when_what_it_calls_is_ready() {
    let policy = everything();
    let mut call = readying(&policy);
    assert_eq!((call.attempts(), policy.bulkhead.as_ref().unwrap().stats().active), (0, 1), "it has its slot");
    let (breaker, budget) = (policy.breaker.as_ref().unwrap(), policy.budget.as_ref().unwrap());
    assert_eq!((breaker.stats(at(0)).ignored, budget.stats(at(0)).calls), (0, 0));
    // The wait is no part of the attempt: its time begins now.
    let Step::Attempt { number: 1, limit, .. } = resume(&mut call, &policy, at(500)) else { panic!() };
    assert_eq!(limit, at(600));
    assert_eq!(budget.stats(at(500)).calls, 1);
    let done = call.next(&policy, at(510), Input::Finished(1, Verdict::success()), &mut NoEdge);
    assert!(matches!(done, Step::Done(End::Finished(None))));
    assert_eq!(policy.latency.as_ref().unwrap().sum(), ms(10));
}

#[test]
fn what_cannot_be_called_costs_nothing() {
    let policy = everything();
    let mut call = readying(&policy);
    let done = call.next(&policy, at(3), Input::Unready(1), &mut NoEdge);
    assert!(matches!(done, Step::Done(End::Finished(Some(Stop::Unready)))));
    let stats = policy.breaker.as_ref().unwrap().stats(at(3));
    assert_eq!((call.attempts(), stats.successes + stats.failures + stats.ignored), (0, 0));
    assert_eq!(policy.budget.as_ref().unwrap().stats(at(3)).calls, 0);
    let slots = policy.bulkhead.as_ref().unwrap().stats();
    assert_eq!((slots.active, policy.rate.as_ref().unwrap().stats(at(3)).available), (0, 10));
    assert_eq!(policy.latency.as_ref().unwrap().count(), 0);
}

#[test]
fn a_wait_to_be_ready_ends_with_the_call() {
    let policy = everything();
    let mut call = readying(&policy);
    assert!(matches!(resume(&mut call, &policy, at(1_000)), Step::Done(End::TimedOut(Limit::Call, Stop::Deadline))));
    assert_eq!((call.attempts(), policy.breaker.as_ref().unwrap().stats(at(1_000)).failures), (0, 0));
    assert_eq!(policy.bulkhead.as_ref().unwrap().stats().active, 0);

    let mut dropped = readying(&policy);
    dropped.abandon(&policy, &mut NoEdge);
    assert_eq!(policy.bulkhead.as_ref().unwrap().stats().active, 0);
    assert_eq!(policy.rate.as_ref().unwrap().stats(at(0)).available, 10, "nothing was called");
}

#[test]
fn a_circuit_that_opens_during_the_wait_to_be_ready_refuses() {
    let policy = everything();
    let mut call = readying(&policy);
    let breaker = policy.breaker.as_ref().unwrap();
    let mut permit = breaker.admit(at(1)).unwrap();
    breaker.settle(&mut permit, at(1), &Verdict::failure("E"));
    assert!(matches!(resume(&mut call, &policy, at(2)), Step::Done(End::Refused(_))));
    assert_eq!((call.attempts(), policy.bulkhead.as_ref().unwrap().stats().active), (0, 0));
}

#[test]
fn an_answer_that_counts_neither_way_is_counted_as_not_retryable() {
    let policy = policy(policy::Config { retry: Some(retry::Config::default()), ..Default::default() });
    for input in [Input::Finished(1, Verdict::ignored("ClientError")), Input::Answered(1, Outcome::Ignored)] {
        let mut call = begin(&policy, at(0));
        let _ = resume(&mut call, &policy, at(0));
        let done = call.next(&policy, at(0), input, &mut NoEdge);
        assert!(matches!(done, Step::Done(End::Finished(Some(Stop::NotRetryable)))));
    }
    let snapshot = policy.retry.unwrap().snapshot(&"tests".into());
    assert_eq!(snapshot.get("gave_up", "not_retryable"), Some(2.0));
}
