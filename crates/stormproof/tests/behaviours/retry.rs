//! T47 to T67: retry and backoff.

use std::time::Duration;

use stormproof::breaker::Scope;
use stormproof::event::Kind;
use stormproof::{Backoff, Jitter, Reason, Stage, Stop, Trip, breaker};
use stormproof_sim::{Call, End, Reply, Scenario, Trace};

use crate::given::{F, I, Retries, S, each_second, ms, policy, retries, run, s, trips};

fn retrying(retry: Retries) -> Scenario {
    Scenario::new(policy(|p| p.retry = Some(retry)))
}

fn doubling(max_retries: u32) -> Scenario {
    retrying(retries(max_retries, Backoff::exponential(s(1))))
}

/// A scenario that retries only what `change` says.
fn filtered(change: impl FnOnce(&mut Retries)) -> Scenario {
    let mut retry = each_second(1);
    change(&mut retry);
    retrying(retry)
}

fn attempts(trace: &Trace) -> Vec<Duration> {
    trace.calls[0].attempts.clone()
}

fn waits(backoff: Backoff) -> Vec<Duration> {
    backoff.jitter(Jitter::None).iter(0).take(4).collect()
}

#[test]
fn t_47_success_at_first_is_one_call_without_a_wait() {
    let trace = run(&doubling(3).at(s(0), S));
    assert_eq!((attempts(&trace), trace.calls[0].ended), (vec![s(0)], s(0)));
}

#[test]
fn t_48_two_failures_wait_one_and_two_seconds() {
    let trace = run(&doubling(3).at(s(0), Call::of([F, F, S])));
    assert_eq!((attempts(&trace), trace.calls[0].end.clone()), (vec![s(0), s(1), s(3)], End::Ok));
}

#[test]
fn t_49_three_retries_are_four_calls_and_the_original_error() {
    let trace = run(&doubling(3).at(s(0), F));
    assert_eq!(attempts(&trace), [0, 1, 3, 7].map(s));
    assert_eq!(trace.calls[0].end, End::Failed { kind: "ServerError", stop: Stop::Exhausted });
}

#[test]
fn t_50_zero_retries_are_one_call() {
    assert_eq!(attempts(&run(&doubling(0).at(s(0), F))), [s(0)]);
}

#[test]
fn t_51_the_schedules_and_their_cap() {
    assert_eq!(waits(Backoff::exponential(s(1))), [1, 2, 4, 8].map(s));
    assert_eq!(waits(Backoff::linear(s(1))), [1, 2, 3, 4].map(s));
    assert_eq!(waits(Backoff::constant(s(5))), [5; 4].map(s));
    assert_eq!(waits(Backoff::fibonacci(s(1))), [1, 1, 2, 3].map(s));
    assert_eq!(waits(Backoff::exponential(s(1)).max_delay(s(3))), [1, 2, 3, 3].map(s));
}

/// Waits of 10 s with this jitter: the least and the most of a thousand.
fn spread(jitter: Jitter) -> (Duration, Duration) {
    let backoff = Backoff::constant(s(10)).max_delay(s(100)).jitter(jitter);
    let waits: Vec<_> = backoff.iter(1).take(1_000).collect();
    (waits.iter().min().copied().unwrap(), waits.iter().max().copied().unwrap())
}

#[test]
fn t_52_jitter_stays_in_its_range_and_uses_it() {
    assert_eq!(spread(Jitter::None), (s(10), s(10)));
    let (least, most) = spread(Jitter::Symmetric(0.2));
    assert!((s(8)..ms(8_100)).contains(&least) && (ms(11_900)..=s(12)).contains(&most), "{least:?} to {most:?}");
    let (least, most) = spread(Jitter::Full);
    assert!(least < ms(100) && (ms(9_900)..=s(10)).contains(&most), "{least:?} to {most:?}");
}

#[test]
fn t_53_jitter_never_passes_the_cap() {
    let backoff = Backoff::constant(s(30)).max_delay(s(30)).jitter(Jitter::Symmetric(0.5));
    let mut waits: Vec<_> = backoff.iter(1).take(1_000).collect();
    waits.sort();
    assert!((s(15)..ms(15_100)).contains(&waits[0]) && (ms(29_900)..=s(30)).contains(&waits[999]));
    assert!((s(22)..s(23)).contains(&waits[500]), "and half of them do not meet there");
}

#[test]
fn t_54_a_range_of_a_half_to_one_and_a_half() {
    let (least, most) = spread(Jitter::Range(0.5, 1.5));
    assert!((s(5)..ms(5_100)).contains(&least) && (ms(14_900)..s(15)).contains(&most), "{least:?} to {most:?}");
}

#[test]
fn t_55_exclusion_wins_over_the_list() {
    let both = filtered(|retry| {
        retry.retry_on = vec!["ServerError".into()];
        retry.never_on = vec!["ServerError".into()];
    });
    assert_eq!(run(&both.at(s(0), F)).attempts(), 1);
}

#[test]
fn t_56_a_particular_case_of_a_listed_kind_is_retried() {
    let listed = filtered(|retry| retry.retry_on = vec!["ConnectionError".into()]);
    assert_eq!(run(&listed.at(s(0), Reply::fail("ConnectionError.ConnectionReset"))).attempts(), 2);
}

#[test]
fn t_57_any_part_of_a_kind_can_be_named() {
    let listed = |name: &str| filtered(|retry| retry.retry_on = vec![name.into()]);
    let kind = Reply::fail("OSError.ConnectionError.ConnectionReset");
    for (name, attempts) in [("OSError", 2), ("ConnectionError", 2), ("ConnectionReset", 2), ("Connection", 1)] {
        assert_eq!(run(&listed(name).at(s(0), kind)).attempts(), attempts, "{name}");
    }
}

#[test]
fn t_58_what_is_not_listed_fails_at_once() {
    let listed = filtered(|retry| retry.retry_on = vec!["ConnectionError".into(), "TimeoutError".into()]);
    let trace = run(&listed.at(s(0), Reply::fail("ValueError")));
    assert_eq!(trace.calls[0].end, End::Failed { kind: "ValueError", stop: Stop::NotRetryable });
    assert_eq!(trace.calls[0].ended, s(0));
}

#[test]
fn t_59_a_classifier_that_says_no_stops_the_retries() {
    assert_eq!(run(&doubling(3).at(s(0), F.permanent())).calls[0].end.stop(), Some(Stop::NotRetryable));
}

#[test]
fn t_60_each_retry_is_told_of_before_its_wait_counted_from_one() {
    let trace = run(&doubling(2).at(s(0), F));
    let told: Vec<_> =
        trace.events_named("retry_attempted").iter().map(|event| (event.at, event.kind.clone())).collect();
    let retry = |retry, at, delay| {
        let error = "ServerError".into();
        (stormproof::Instant::ZERO + s(at), Kind::RetryAttempted { retry, delay: s(delay), error })
    };
    assert_eq!(told, [retry(1, 0, 1), retry(2, 1, 2)]);
}

#[test]
fn t_61_no_attempt_whose_wait_would_cross_the_deadline() {
    let config = policy(|p| {
        p.deadline = Some(s(30));
        p.retry = Some(retries(9, Backoff::constant(s(12))));
    });
    let trace = run(&Scenario::new(config).at(s(0), F));
    assert_eq!(attempts(&trace), [0, 12, 24].map(s));
    assert_eq!(trace.calls[0].end, End::Failed { kind: "ServerError", stop: Stop::Deadline });
}

#[test]
fn t_62_a_servers_hint_is_a_minimum() {
    let hinted = |hint| Call::of([F.retry_after(hint), S]);
    assert_eq!(attempts(&run(&doubling(1).at(s(0), hinted(s(10))))), [0, 10].map(s));
    assert_eq!(attempts(&run(&doubling(1).at(s(0), hinted(ms(10))))), [0, 1].map(s));
    let capped = filtered(|retry| retry.retry_after_cap = Some(s(5)));
    assert_eq!(attempts(&run(&capped.at(s(0), hinted(s(10))))), [0, 5].map(s));
}

#[test]
fn t_66_one_failure_for_an_operation_or_one_for_each_attempt() {
    for (scope, failures) in [(Scope::Operation, 1.0), (Scope::Attempt, 3.0)] {
        let config = policy(|p| {
            p.retry = Some(each_second(2));
            p.breaker = Some(breaker::Config { scope, ..Default::default() });
        });
        let trace = run(&Scenario::new(config).at(s(0), F));
        assert_eq!(trace.stat(Stage::Breaker, "calls", "failure"), failures, "{scope:?}");
    }
}

#[test]
fn t_67_an_open_circuit_is_not_retried() {
    let config = policy(|p| {
        p.retry = Some(each_second(9));
        p.breaker = Some(trips(Trip::consecutive(1)));
    });
    let trace = run(&Scenario::new(config).at(s(0), F.permanent()).at(s(1), S));
    assert_eq!((trace.calls[1].attempts.len(), trace.calls[1].ended), (0, s(1)));
    assert_eq!(trace.calls[1].end.reason(), Some(Reason::Open));
}

#[test]
fn t_58_an_ignored_outcome_is_not_retried_either() {
    assert_eq!(run(&doubling(3).at(s(0), I)).attempts(), 1);
}
