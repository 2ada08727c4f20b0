//! Rate limit and bulkhead (cases 35 to 42).

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use stormproof::{Clock, RateLimiter, Reason, Stage, Trip, bulkhead, config, rate};
use stormproof_sim::{Action, Call, End, Reply, Scenario, Trace};

use crate::given::{F, S, ms, per_second, policy, run, s, slots, trips};

fn limited(rate: rate::Config) -> Scenario {
    Scenario::new(policy(|p| p.rate = Some(rate)))
}

/// A limit of tokens in a second.
fn with_tokens(rate: u32, burst: u32) -> Scenario {
    Scenario::new(policy(|p| p.tokens = Some(per_second(rate, burst))))
}

fn with_slots(slots: bulkhead::Config) -> Scenario {
    Scenario::new(policy(|p| p.bulkhead = Some(slots)))
}

fn costing(tokens: u32) -> Call {
    Call::of([S]).cost(tokens)
}

/// When each call started, all of them having done so.
fn starts(trace: &Trace) -> Vec<Duration> {
    trace.starts().into_iter().map(Option::unwrap).collect()
}

#[test]
fn case_35_a_burst_at_once_and_then_one_each_interval() {
    let trace = run(&limited(per_second(10, 20)).all_at(s(0), [S; 23]));
    let expected: Vec<_> = [s(0); 20].into_iter().chain([ms(100), ms(200), ms(300)]).collect();
    assert_eq!(starts(&trace), expected);
}

#[test]
fn case_35_idling_refills_the_burst_and_no_more() {
    let trace = run(&limited(per_second(10, 20)).all_at(s(0), [S; 20]).all_at(s(1_000), [S; 21]));
    assert_eq!(starts(&trace)[20..40], [s(1_000); 20]);
    assert_eq!(starts(&trace)[40], s(1_000) + ms(100));
}

#[test]
fn case_36_a_hundred_at_once_pass_in_order_the_last_at_nine_seconds() {
    let trace = run(&limited(per_second(10, 10)).all_at(s(0), [S; 100]));
    let expected: Vec<_> = (0..100_u64).map(|n| ms(100 * n.saturating_sub(9))).collect();
    assert_eq!(starts(&trace), expected);
    assert_eq!(starts(&trace)[99], s(9));
}

#[tokio::test(start_paused = true)]
async fn case_36_nobody_is_polled_more_than_a_few_times() {
    let limiter = RateLimiter::with_clock("l", per_second(10, 10), &Clock::tokio()).unwrap();
    let limiter = Rc::new(limiter);
    let local = tokio::task::LocalSet::new();
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let limiter = limiter.clone();
            local.spawn_local(async move {
                let polls = Cell::new(0);
                let mut call = pin!(limiter.acquire(1));
                let counted = poll_fn(|cx| {
                    polls.set(polls.get() + 1);
                    call.as_mut().poll(cx)
                });
                counted.await.unwrap();
                polls.get()
            })
        })
        .collect();
    local.await;
    for caller in callers {
        let polls = caller.await.unwrap();
        assert!(polls <= 3, "polled {polls} times: once, when first in the queue, when its turn has come");
    }
}

#[test]
fn case_37_a_wait_past_the_deadline_is_refused_at_once_and_a_smaller_call_still_fits() {
    let scenario = with_tokens(10, 10).at(s(0), costing(10)).at(s(0), costing(10).deadline(ms(500)));
    let trace = run(&scenario.at(s(0), costing(4).deadline(ms(500))));
    assert_eq!(trace.calls[1].end.reason(), Some(Reason::WaitTooLong));
    assert_eq!(trace.calls[1].end.retry_after(), Some(s(1)));
    assert_eq!(trace.calls[1].ended, s(0));
    assert_eq!(trace.calls[2].attempts, [ms(400)]);
}

#[test]
fn case_38_n_at_once_are_n_times_one() {
    let burst = || with_tokens(10, 10).at(s(0), costing(10));
    let at_once = run(&burst().at(s(0), costing(5)).at(s(0), costing(1)));
    let one_by_one = run(&burst().all_at(s(0), (0..6).map(|_| costing(1))));
    assert_eq!(starts(&at_once)[1..], [ms(500), ms(600)]);
    assert_eq!(starts(&one_by_one)[5..], [ms(500), ms(600)]);
}

#[test]
fn case_38_settling_gives_back_or_charges_the_difference() {
    let used =
        |tokens| with_tokens(1_000, 1_000).at(s(0), Call::of([S.used(tokens)]).cost(1_000)).at(s(0), Action::Look);
    let seen = |scenario: &Scenario, metric| run(scenario).seen(0, Stage::Rate, metric, "");
    assert_eq!((seen(&used(400), "available"), seen(&used(400), "owed")), (600.0, 0.0));
    assert_eq!((seen(&used(1_500), "available"), seen(&used(1_500), "owed")), (0.0, 500.0));

    let trace = run(&used(1_500).at(s(0), costing(100)));
    assert_eq!(starts(&trace)[1], ms(600), "the debt is paid back first");
}

#[test]
fn case_39_a_cancelled_waiter_gives_its_place_to_those_behind() {
    let scenario = limited(per_second(10, 1)).at(s(0), S).at(s(0), Call::of([S]).cancel_at(ms(50)));
    let trace = run(&scenario.all_at(s(0), [S, S]));
    assert_eq!(trace.calls[1].end, End::Cancelled);
    assert_eq!(trace.starts(), [Some(s(0)), None, Some(ms(100)), Some(ms(200))]);

    let scenario = with_slots(slots(1, 2)).at(s(0), S.after(s(1))).at(s(0), Call::of([S]).cancel_at(ms(50)));
    let trace = run(&scenario.at(s(0), S).at(ms(60), S).at(ms(70), S));
    assert_eq!(trace.starts(), [Some(s(0)), None, Some(s(1)), Some(s(1)), None]);
    assert_eq!(trace.calls[4].end.reason(), Some(Reason::QueueFull));
}

#[test]
fn case_40_the_sixth_of_three_slots_and_two_places_is_refused_at_once() {
    let trace = run(&with_slots(slots(3, 2)).all_at(s(0), [S.after(s(1)); 6]));
    let at = |second| Some(s(second));
    assert_eq!(trace.starts(), [at(0), at(0), at(0), at(1), at(1), None]);
    assert_eq!((trace.calls[5].end.reason(), trace.calls[5].ended), (Some(Reason::QueueFull), s(0)));
    assert_eq!(trace.event_names(), ["bulkhead_rejected"]);
}

#[test]
fn case_40_a_caller_past_its_time_in_the_queue_is_refused() {
    let config = bulkhead::Config { queue_timeout: s(2), ..slots(1, 5) };
    let trace = run(&with_slots(config).at(s(0), S.after(s(9))).at(s(1), S).at(s(8), S));
    assert_eq!((trace.calls[1].end.reason(), trace.calls[1].ended), (Some(Reason::QueueTimeout), s(3)));
    assert_eq!(trace.calls[2].attempts, [s(9)]);
    assert_eq!(trace.stat(Stage::Bulkhead, "refused", "queue_timeout"), 1.0);
}

#[test]
fn case_40_without_a_queue_an_idle_bulkhead_admits() {
    let trace = run(&with_slots(slots(1, 0)).at(s(0), S.after(s(1))).at(ms(500), S).at(s(1), S));
    assert_eq!(trace.reasons(), [None, Some(Reason::QueueFull), None]);
}

#[test]
fn case_41_growing_wakes_waiters() {
    let trace = run(&with_slots(slots(1, 9)).all_at(s(0), [S.after(s(4)); 4]).at(s(1), Action::Resize(3)));
    assert_eq!(starts(&trace), [s(0), s(1), s(1), s(4)]);
}

#[test]
fn case_41_shrinking_evicts_nobody() {
    let scenario = with_slots(slots(3, 9)).all_at(s(0), [S.after(s(3)); 3]).at(s(1), Action::Resize(1));
    let trace = run(&scenario.all_at(s(2), [S.after(s(3)); 2]).at(s(2), Action::Look));
    assert_eq!(trace.seen(0, Stage::Bulkhead, "active", ""), 3.0);
    assert!(trace.ends().iter().all(|end| *end == End::Ok));
    assert_eq!(starts(&trace)[3..], [s(3), s(6)]);
}

/// The second call waits for a stage, and the circuit opens meanwhile.
fn refused_behind(change: impl FnOnce(&mut config::Config)) -> Trace {
    let config = policy(|p| {
        p.breaker = Some(trips(Trip::consecutive(1)));
        change(p);
    });
    run(&Scenario::new(config).at(s(0), F.after(ms(50))).at(ms(1), Call::of([S]).cost(7)))
}

#[test]
fn case_42_what_was_taken_for_a_call_refused_further_in_is_back() {
    let trace = refused_behind(|p| p.bulkhead = Some(slots(1, 1)));
    assert_eq!(trace.calls[1].end.reason(), Some(Reason::Open));
    assert_eq!(trace.stat(Stage::Bulkhead, "active", ""), 0.0);

    let trace = refused_behind(|p| p.rate = Some(per_second(10, 1)));
    assert_eq!((trace.calls[1].end.reason(), trace.calls[1].ended), (Some(Reason::Open), ms(100)));
    assert_eq!(trace.stat(Stage::Rate, "available", ""), 1.0, "taken at 100 ms and given back");

    let trace = refused_behind(|p| {
        p.bulkhead = Some(slots(1, 1));
        p.tokens = Some(per_second(1, 10));
    });
    assert_eq!(trace.calls[1].end.reason(), Some(Reason::Open));
    assert_eq!(trace.stat(Stage::Bulkhead, "active", ""), 0.0);
    assert_eq!(trace.stat(Stage::Rate, "available", ""), 10.0);
}

#[test]
fn case_42_a_slot_is_back_when_the_rate_refuses() {
    let config = policy(|p| {
        p.bulkhead = Some(slots(1, 0));
        p.rate = Some(rate::Config { max_wait: Duration::ZERO, ..per_second(1, 1) });
    });
    let trace = run(&Scenario::new(config).every(ms(1), [S, S]).at(s(1), Reply::ok()));
    assert_eq!(trace.reasons(), [None, Some(Reason::WaitTooLong), None]);
    assert_eq!(trace.stat(Stage::Bulkhead, "active", ""), 0.0);
}

#[test]
fn case_42_requests_are_back_when_the_tokens_refuse() {
    let config = policy(|p| {
        p.rate = Some(per_second(10, 10));
        p.tokens = Some(per_second(10, 10));
    });
    let trace = run(&Scenario::new(config).at(s(0), costing(11)));
    assert_eq!(trace.calls[0].end.reason(), Some(Reason::AboveBurst));
    assert_eq!(trace.stat(Stage::Rate, "available", ""), 10.0, "of the first, the requests' limiter");
}
