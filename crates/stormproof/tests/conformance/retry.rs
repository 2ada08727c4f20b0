//! Retry (cases 25 to 34).

use std::cell::Cell;
use std::time::Duration;

use stormproof::event::Kind;
use stormproof::{Backoff, Instant, Jitter, Limit, Policy, Retry, Stage, Stop, config};
use stormproof_core::Rng;
use stormproof_sim::scenario::SEED;
use stormproof_sim::{Action, Call, End, Reply, Scenario, Trace};

use crate::given::{F, I, Retries, S, budget, each_second, ms, policy, retries, run, s};

/// A scenario that only retries.
fn retrying(retry: Retries) -> Scenario {
    Scenario::new(policy(|p| p.retry = Some(retry)))
}

/// The waits that the events announce.
fn waits(trace: &Trace) -> Vec<Duration> {
    let wait = |event: &stormproof::Event| match event.kind {
        Kind::RetryAttempted { delay, .. } => Some(delay),
        _ => None,
    };
    trace.events.iter().filter_map(wait).collect()
}

#[test]
fn case_25_the_schedules() {
    let schedules: [(Backoff, [u64; 6]); 5] = [
        (Backoff::exponential(ms(1)).max_delay(ms(10)), [1, 2, 4, 8, 10, 10]),
        (Backoff::linear(ms(1)).max_delay(ms(5)), [1, 2, 3, 4, 5, 5]),
        (Backoff::constant(ms(5)), [5; 6]),
        (Backoff::fibonacci(ms(1)), [1, 1, 2, 3, 5, 8]),
        (Backoff::custom(|retry, _| ms(10 - u64::from(retry))), [10, 9, 8, 7, 6, 5]),
    ];
    for (backoff, expected) in schedules {
        let trace = run(&retrying(retries(6, backoff)).at(ms(0), F));
        let starts: Vec<_> = trace.calls[0].attempts.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
        assert_eq!((waits(&trace), starts), (expected.map(ms).to_vec(), expected.map(ms).to_vec()));
    }
}

#[test]
fn case_25_each_random_wait_starts_from_the_one_before() {
    let backoff = Backoff::decorrelated(ms(100));
    let trace = run(&retrying(retries(6, backoff.clone())).at(ms(0), F));
    assert_eq!(waits(&trace), backoff.iter(SEED).take(6).collect::<Vec<_>>());
}

#[test]
fn case_26_three_retries_are_four_calls_and_three_waits() {
    let trace = run(&retrying(each_second(3)).at(s(0), F.after(ms(10))));
    assert_eq!(trace.calls[0].attempts, [ms(0), ms(1_010), ms(2_020), ms(3_030)]);
    assert_eq!(trace.calls[0].end, End::Failed { kind: "ServerError", stop: Stop::Exhausted });
    assert_eq!(waits(&trace).len(), 3);
    assert_eq!(trace.calls[0].ended, ms(3_040));
}

#[tokio::test(start_paused = true)]
async fn case_26_the_error_knows_attempts_and_elapsed_time() {
    let clock = stormproof::Clock::tokio();
    let policy = Policy::builder("p").retry(each_second(3)).clock(&clock).build().unwrap();
    let error = policy.call(|cx| async move { Err::<(), _>(cx.attempt()) }).await.unwrap_err();
    let expected = stormproof::Error::Failed { error: 4, stop: Stop::Exhausted, attempts: 4, elapsed: s(3) };
    assert_eq!(error, expected);
}

#[test]
fn case_27_a_wait_past_the_deadline_is_not_begun() {
    let config = policy(|p| {
        p.retry = Some(each_second(9));
        p.deadline = Some(ms(2_500));
    });
    let trace = run(&Scenario::new(config).at(s(0), F));
    assert_eq!(trace.calls[0].attempts, [s(0), s(1), s(2)]);
    assert_eq!(trace.calls[0].end, End::Failed { kind: "ServerError", stop: Stop::Deadline });
    assert_eq!(trace.calls[0].ended, s(2));
}

#[test]
fn case_28_a_wait_is_never_out_of_range() {
    let max = s(60);
    let jitters = [
        Jitter::None,
        Jitter::Symmetric(1.0),
        Jitter::Range(0.5, 1.5),
        Jitter::Full,
        Jitter::Equal,
        Jitter::Additive(9.0),
    ];
    let schedules = [
        Backoff::exponential(ms(1)).factor(1e300),
        Backoff::exponential(s(1)),
        Backoff::linear(s(1)),
        Backoff::constant(s(60)),
        Backoff::fibonacci(ms(1)),
        Backoff::decorrelated(s(1)),
        Backoff::custom(|_, _| Duration::MAX),
    ];
    let rng = Rng::new(1);
    for backoff in schedules {
        for jitter in jitters {
            for retry in (0..100).chain([1_000, u32::MAX / 2, u32::MAX - 1, u32::MAX]) {
                let delay = backoff.clone().max_delay(max).jitter(jitter).delay(retry, max, &rng);
                assert!(delay <= max, "{delay:?} for retry {retry} of {backoff:?} with {jitter:?}");
            }
        }
    }
}

#[test]
fn case_29_cancelled_during_backoff() {
    let trace = run(&retrying(each_second(3)).at(s(0), Call::of([F]).cancel_at(ms(500))).at(s(9), S));
    assert_eq!((trace.calls[0].end.clone(), trace.calls[0].attempts.len()), (End::Cancelled, 1));
}

/// A header's date is read by the HTTP layer of a later stage; here a hint is a duration already.
#[test]
fn case_30_a_hint_is_a_minimum_with_jitter_only_upward() {
    let hinted = F.retry_after(s(10));
    let trace = run(&retrying(each_second(1)).at(s(0), Call::of([hinted, S])));
    assert_eq!(trace.calls[0].attempts, [s(0), s(10)]);

    let longer = retries(1, Backoff::constant(s(20)));
    assert_eq!(run(&retrying(longer).at(s(0), Call::of([hinted, S]))).calls[0].attempts, [s(0), s(20)]);

    let spread = Retry::constant(s(1)).max_retries(1).max_delay(s(2)).jitter(Jitter::Symmetric(0.2));
    let trace = run(&retrying(spread.into()).all_at(s(0), (0..50).map(|_| Call::of([hinted, S]))));
    let waits = waits(&trace);
    assert!(waits.iter().all(|wait| (s(10)..=s(12)).contains(wait)), "{waits:?}");
    assert!(waits.iter().max() > waits.iter().min());
}

#[test]
fn case_30_a_hint_over_the_deadline_fails_now() {
    let config = policy(|p| {
        p.retry = Some(each_second(3));
        p.deadline = Some(s(9));
    });
    let trace = run(&Scenario::new(config).at(s(0), F.retry_after(s(10))));
    assert_eq!(trace.calls[0].end, End::Failed { kind: "ServerError", stop: Stop::Deadline });
    assert_eq!(trace.calls[0].ended, s(0));
}

#[test]
fn case_30_a_hint_over_the_longest_fails_now_and_says_when_to_come_back() {
    let config = |change: fn(&mut stormproof::retry::Config)| {
        let mut config = each_second(3);
        change(&mut config);
        retrying(config).at(s(0), F.retry_after(s(3_600)))
    };
    let trace = run(&config(|retry| retry.max_retry_after = Some(s(60))));
    assert_eq!(trace.calls[0].end, End::Failed { kind: "ServerError", stop: Stop::RetryAfter(s(3_600)) });
    assert_eq!((trace.calls[0].ended, trace.stat(Stage::Retry, "gave_up", "retry_after")), (s(0), 1.0));
    assert_eq!(trace.event_names(), ["call_failed"]);
    assert_eq!(run(&config(|retry| retry.max_retry_after = Some(s(3_600)))).attempts(), 4);
    assert_eq!(run(&config(|retry| retry.retry_after_cap = Some(s(60)))).attempts(), 4);
}

#[test]
fn case_31_without_a_hint_the_backoff_and_nothing_after_a_permanent_failure() {
    let trace = run(&retrying(each_second(3)).at(s(0), Call::of([F, F.permanent()])));
    assert_eq!(trace.calls[0].attempts, [s(0), s(1)]);
    assert_eq!(trace.calls[0].end, End::Failed { kind: "ServerError", stop: Stop::NotRetryable });
    assert_eq!(trace.event_names(), ["retry_attempted", "call_failed"]);

    assert_eq!(run(&retrying(each_second(3)).at(s(0), I)).attempts(), 1);
}

fn budgeted(ratio: f64, floor: u32, max_retries: u32) -> config::Config {
    policy(|p| {
        p.retry = Some(each_second(max_retries));
        p.budget = Some(budget(ratio, floor));
    })
}

#[test]
fn case_32_past_the_budget_there_is_no_retry_but_one_event() {
    let trace = run(&Scenario::new(budgeted(0.2, 3, 9)).at(s(0), F));
    assert_eq!(trace.calls[0].attempts.len(), 4);
    assert_eq!(trace.calls[0].end, End::Failed { kind: "ServerError", stop: Stop::BudgetDenied });
    assert_eq!(trace.events_named("budget_exhausted").len(), 1);
    assert_eq!(trace.stat(Stage::Retry, "budget_total", "denied"), 1.0);
}

#[test]
fn case_32_calls_deposit_whether_they_succeed_or_not() {
    for reply in [S, F] {
        let without_floor = Scenario::new(budgeted(0.2, 0, 0)).every(ms(1), [reply; 10]).at(ms(10), Action::Look);
        assert_eq!(run(&without_floor).seen(0, Stage::Retry, "budget_remaining", ""), 2.0);
    }
}

#[test]
fn case_32_an_all_failing_load_is_amplified_by_the_ratio_and_the_floor() {
    let load = Scenario::new(budgeted(0.2, 3, 3)).every(ms(10), std::iter::repeat_n(F, 900));
    let trace = run(&load);
    let retries = trace.attempts() - 900;
    assert!((180..=183).contains(&retries), "{retries} retries in one window");
}

/// The core and its doors never copy; a door that must copy a request asks this before each attempt.
#[test]
fn case_33_a_copy_is_needed_only_before_an_attempt_that_could_be_retried() {
    let needed = |config: config::Config| {
        let policy = config.build("p", 7).unwrap();
        [1, 2, 3, 4, u32::MAX].map(|attempt| policy.may_repeat_after(attempt))
    };
    assert_eq!(needed(config::Config::default()), [false; 5]);
    assert_eq!(needed(policy(|p| p.retry = Some(each_second(0)))), [false; 5]);
    assert_eq!(needed(policy(|p| p.retry = Some(each_second(3)))), [true, true, true, false, false]);
}

#[tokio::test]
async fn case_33_the_async_door_copies_nothing() {
    struct NotClone(Cell<u32>);
    let request = NotClone(Cell::new(0));
    let policy = Policy::builder("p").retry(retries(2, Backoff::constant(Duration::ZERO))).build().unwrap();
    let call = policy.call(|_| async {
        request.0.set(request.0.get() + 1);
        Err::<(), _>("no")
    });
    assert_eq!(call.await.unwrap_err().attempts(), 3);
    assert_eq!(request.0.get(), 3);
}

#[test]
fn case_34_an_inner_policy_has_no_more_than_what_is_left() {
    let inner = policy(|p| p.deadline = Some(s(30)));
    let trace = run(&Scenario::new(inner).at(s(0), Call::of([Reply::hang()]).inherited(s(2))).preempts());
    assert_eq!(trace.calls[0].end, End::TimedOut { limit: Limit::Inherited, stop: Stop::NoRetry, last: None });
    assert_eq!(trace.calls[0].ended, s(2));
}

#[test]
fn case_34_an_inner_policy_waits_no_longer_than_what_is_left() {
    let inner = policy(|p| {
        p.deadline = Some(s(30));
        p.retry = Some(each_second(9));
    });
    let trace = run(&Scenario::new(inner).at(s(0), Call::of([F]).inherited(ms(2_500))));
    assert_eq!(trace.calls[0].attempts, [s(0), s(1), s(2)]);
    assert_eq!((trace.calls[0].end.stop(), trace.calls[0].ended), (Some(Stop::Deadline), s(2)));
}

#[tokio::test(start_paused = true)]
async fn case_34_the_inner_attempt_sees_what_is_left() {
    let clock = stormproof::Clock::tokio();
    let build = |limit| Policy::builder("p").deadline(limit).clock(&clock).build().unwrap();
    let (outer, inner) = (build(s(2)), build(s(30)));
    let left = outer.call(|_| inner.call(|cx| async move { Ok::<_, ()>(cx.remaining()) }));
    assert_eq!(left.await.unwrap(), Some(s(2)));
    assert_eq!(clock.now(), Instant::ZERO);
}
