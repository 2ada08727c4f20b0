//! Timeouts (cases 43 to 45). Case 44 here: that the deadline and the caller's cancellation end the call for good, and are
//! told apart; that fallbacks are skipped then, in `tests/fallback.rs`.

use std::cell::Cell;

use stormproof::{Limit, Policy, Reason, Stage, Stop, Trip};
use stormproof_sim::{Call, End, Reply, Scenario};

use crate::given::{F, S, each_second, ms, per_second, policy, retries, run, s, slots, trips};

#[test]
fn case_43_the_attempts_timer_does_not_run_during_backoff() {
    let config = policy(|p| {
        p.retry = Some(retries(1, stormproof::Backoff::constant(s(10))));
        p.attempt_timeout = Some(s(2));
    });
    let trace = run(&Scenario::new(config).at(s(0), Call::of([F.after(s(1)), S.after(ms(1_999))])));
    assert_eq!(trace.calls[0].end, End::Ok);
    assert_eq!((trace.calls[0].attempts[1], trace.calls[0].ended), (s(11), ms(12_999)));
}

#[test]
fn case_43_each_attempt_has_the_whole_attempt_timeout() {
    let config = policy(|p| {
        p.retry = Some(each_second(1));
        p.attempt_timeout = Some(s(2));
    });
    let trace = run(&Scenario::new(config).at(s(0), Reply::hang()).preempts());
    assert_eq!(trace.calls[0].attempts, [s(0), s(3)]);
    assert_eq!(trace.calls[0].end, End::TimedOut { limit: Limit::Attempt, stop: Stop::Exhausted, last: None });
    assert_eq!(trace.calls[0].ended, s(5));
}

/// A backoff that would reach the deadline is not begun at all (case 27): the call is over at once, not at the
/// deadline. One that was begun is interrupted only by an outer deadline that is sooner than what the policy knew, which
/// cannot be: an outer deadline is known when the call begins.
#[test]
fn case_43_the_deadline_of_the_call_ends_a_backoff_before_it_begins() {
    let config = policy(|p| {
        p.retry = Some(retries(3, stormproof::Backoff::constant(s(10))));
        p.deadline = Some(s(15));
    });
    let trace = run(&Scenario::new(config).at(s(0), F));
    assert_eq!(trace.calls[0].attempts, [s(0), s(10)]);
    assert_eq!((trace.calls[0].ended, trace.calls[0].end.stop()), (s(10), Some(Stop::Deadline)));
}

#[test]
fn case_43_the_deadline_of_the_call_cuts_an_attempt_short() {
    let config = policy(|p| {
        p.retry = Some(each_second(3));
        p.attempt_timeout = Some(s(10));
        p.deadline = Some(s(5));
    });
    let trace = run(&Scenario::new(config).at(s(0), Call::of([F.after(s(1)), Reply::hang()])).preempts());
    let last = Some("ServerError");
    assert_eq!(trace.calls[0].end, End::TimedOut { limit: Limit::Call, stop: Stop::Deadline, last });
    assert_eq!(trace.calls[0].ended, s(5));
}

#[test]
fn case_44_a_deadline_is_a_timeout_and_a_cancellation_is_none() {
    let config = policy(|p| {
        p.deadline = Some(s(5));
        p.breaker = Some(trips(Trip::consecutive(1)));
    });
    let trace = run(&Scenario::new(config.clone()).at(s(0), Call::of([Reply::hang()]).cancel_at(s(4))));
    assert_eq!((trace.calls[0].end.clone(), trace.events.len()), (End::Cancelled, 0));
    assert_eq!(trace.stat(Stage::Breaker, "calls", "ignored"), 1.0);

    let trace = run(&Scenario::new(config).at(s(0), Reply::hang()).preempts());
    assert_eq!(trace.calls[0].end, End::TimedOut { limit: Limit::Call, stop: Stop::NoRetry, last: None });
    assert_eq!(trace.events_named("timed_out").len(), 1);
    assert_eq!(trace.stat(Stage::Breaker, "calls", "failure"), 1.0);
}

#[test]
fn case_45_hung_calls_open_the_circuit() {
    let config = policy(|p| {
        p.attempt_timeout = Some(s(1));
        p.breaker = Some(trips(Trip::consecutive(5)));
    });
    let trace = run(&Scenario::new(config).every(s(2), [Reply::hang(); 6]).preempts());
    let timed_out = End::TimedOut { limit: Limit::Attempt, stop: Stop::NoRetry, last: None };
    assert_eq!(trace.ends()[..5], vec![timed_out; 5]);
    assert_eq!(trace.calls[5].end.reason(), Some(Reason::Open));
    assert_eq!(trace.stat(Stage::Breaker, "calls", "failure"), 5.0);
}

#[test]
fn a_deadline_that_comes_with_the_turn_is_no_failure_of_the_callee() {
    let waiting_for = |change: fn(&mut stormproof::config::Config)| {
        let config = policy(|p| {
            p.breaker = Some(trips(Trip::consecutive(1)));
            change(p);
        });
        let first = Scenario::new(config).at(s(0), S.after(s(1)));
        run(&first.at(s(0), Call::of([S.after(ms(1))]).deadline(s(1))))
    };
    let slot = waiting_for(|p| p.bulkhead = Some(slots(1, 1)));
    assert_eq!(slot.calls[1].end, End::TimedOut { limit: Limit::Call, stop: Stop::Deadline, last: None });
    assert_eq!((slot.calls[1].attempts.len(), slot.calls[1].ended), (0, s(1)));
    assert_eq!(slot.stat(Stage::Breaker, "calls", "failure"), 0.0);

    // The turn at a rate is known beforehand, so nobody waits for it in vain.
    let rate = waiting_for(|p| p.rate = Some(per_second(1, 1)));
    assert_eq!((rate.calls[1].end.reason(), rate.calls[1].ended), (Some(Reason::WaitTooLong), s(0)));
}

#[tokio::test(start_paused = true)]
async fn case_34_what_is_inherited_is_measured_even_where_nothing_else_is() {
    let clock = stormproof::Clock::tokio();
    tokio::time::advance(s(3_600)).await;
    let outer = Policy::builder("outer").deadline(s(2)).clock(&clock).build().unwrap();
    let inner = Policy::builder("inner").clock(&clock).build().unwrap();
    let nested = outer.call(|_| async {
        let error = inner.call(|_| std::future::pending::<Result<(), &str>>()).await.unwrap_err();
        Ok::<_, ()>(error.to_string())
    });
    assert_eq!(nested.await.unwrap(), "inner timed out after 2.000 s (limit of the call around it, attempts: 1)");
}

/// What an attempt holds, to see how many are under way when it is dropped.
struct Seen<'a>(&'a Policy, &'a Cell<u32>);

impl Drop for Seen<'_> {
    fn drop(&mut self) {
        self.1.set(self.0.stages().bulkhead.as_ref().unwrap().stats().active);
    }
}

#[tokio::test(start_paused = true)]
async fn case_43_a_timed_out_attempt_is_gone_before_its_slot_is_free() {
    let builder = Policy::builder("p").bulkhead(slots(1, 0)).attempt_timeout(s(1));
    let policy = builder.clock(&stormproof::Clock::tokio()).build().unwrap();
    let active = Cell::new(0);
    let call = policy.call(|_| {
        let seen = Seen(&policy, &active);
        async move {
            let _seen = seen;
            std::future::pending::<Result<(), ()>>().await
        }
    });
    assert!(call.await.unwrap_err().is_timeout());
    assert_eq!((active.get(), policy.stages().bulkhead.as_ref().unwrap().stats().active), (1, 0));
}
