//! Retry: behaviour of the stage alone.

use super::*;
use crate::backoff::Jitter;

const NEVER: Instant = Instant::FAR_FUTURE;

fn at(seconds: u64) -> Instant {
    Instant::ZERO + secs(seconds)
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn after(seconds: u64) -> Decision {
    Decision::Retry { delay: secs(seconds), until: at(seconds) }
}

fn retry(change: impl FnOnce(&mut Config)) -> Retry {
    let mut config = Config { backoff: Backoff::default().jitter(Jitter::None), ..Config::default() };
    change(&mut config);
    Retry::new(config).unwrap_or_else(|_| unreachable!())
}

fn decide(retry: &Retry, retries: u32, verdict: Verdict<'_>, deadline: Instant) -> Decision {
    retry.decide(Instant::ZERO, retries, Duration::ZERO, &verdict, deadline)
}

#[test]
fn three_retries_are_four_calls_and_three_waits() {
    let retry = retry(|_| ());
    let decisions = [0, 1, 2, 3].map(|done| decide(&retry, done, Verdict::failure("E"), NEVER));
    assert_eq!(decisions, [after(1), after(2), after(4), Decision::Stop(Stop::Exhausted)]);
    assert_eq!([2, 3, u32::MAX].map(|done| retry.may_retry_after(done)), [true, false, false]);
}

#[test]
fn deny_list_before_classifier_before_allow_list() {
    let retry = retry(|config| {
        config.retry_on = vec!["ConnectionError".into(), "RateLimitError".into()];
        config.never_on = vec!["AuthenticationError".into(), "RateLimitError.Quota".into()];
    });
    let retried = |verdict: Verdict<'_>| retry.is_retryable(&verdict);
    assert!(retried(Verdict::failure("ConnectionError.ConnectionReset")));
    assert!(!retried(Verdict::failure("ValueError")));
    assert!(retried(Verdict::failure("ValueError").retry(true)));
    assert!(!retried(Verdict::failure("ConnectionError").retry(false)));
    assert!(!retried(Verdict::failure("AuthenticationError").retry(true)));
    assert!(!retried(Verdict::failure("RateLimitError.Quota")));
    assert!(!retried(Verdict::ignored("ConnectionError").retry(true)));
    assert!(!retried(Verdict::success().retry(true)));
}

#[test]
fn a_wait_that_reaches_the_deadline_stops_before_waiting() {
    let retry = retry(|_| ());
    assert_eq!(decide(&retry, 1, Verdict::failure("E"), at(2)), Decision::Stop(Stop::Deadline));
    assert_eq!(decide(&retry, 1, Verdict::failure("E"), at(3)), after(2));
}

#[test]
fn a_hint_is_a_minimum_that_jitter_only_lengthens() {
    let hint = |seconds| Verdict::failure("E").retry_after(secs(seconds));
    let exact = retry(|config| config.retry_after_cap = Some(secs(100)));
    assert_eq!(decide(&exact, 2, hint(3), NEVER), after(4));
    assert_eq!(decide(&exact, 2, hint(90), NEVER), after(90));
    assert_eq!(decide(&exact, 2, hint(90), at(90)), Decision::Stop(Stop::Deadline));
    assert_eq!(decide(&exact, 2, hint(u64::MAX), NEVER), after(100));

    let spread = retry(|config| config.backoff.jitter = Jitter::Symmetric(0.2));
    for _ in 0..1_000 {
        let Decision::Retry { delay, .. } = decide(&spread, 0, hint(10), NEVER) else { unreachable!() };
        assert!(secs(10) <= delay && delay <= secs(12), "{delay:?}");
        let tight = at(10) + Duration::from_nanos(1);
        assert_eq!(decide(&spread, 0, hint(10), tight), after(10));
    }
}

#[test]
fn a_hint_that_is_too_long_ends_the_call_and_says_until_when() {
    let hint = |seconds| Verdict::failure("E").retry_after(secs(seconds));
    let retry = retry(|config| config.max_retry_after = Some(secs(100)));
    assert_eq!(decide(&retry, 0, hint(100), NEVER), after(100));
    let long = Decision::Stop(Stop::RetryAfter(secs(101)));
    assert_eq!(decide(&retry, 0, hint(101), NEVER), long);
    assert_eq!([decide(&retry, 3, hint(101), NEVER), decide(&retry, 0, hint(101), at(5))], [long; 2]);
    assert_eq!(decide(&retry, 0, hint(101).retry(false), NEVER), Decision::Stop(Stop::NotRetryable));
    retry.count_stop(Stop::RetryAfter(secs(101)));
    assert_eq!(retry.snapshot(&"r".into()).get("gave_up", "retry_after"), Some(1.0));
}

#[test]
fn a_hint_is_cut_or_ends_the_call_not_both() {
    let both = Config { retry_after_cap: Some(secs(60)), max_retry_after: Some(secs(60)), ..Config::default() };
    let found: Vec<_> = both.validate().iter().map(ToString::to_string).collect();
    assert_eq!(found, ["max_retry_after is 60s, allowed is only without retry_after_cap: set one of them"]);
}

#[test]
fn mistakes_are_named_by_their_path() {
    let wrong =
        Config { backoff: Backoff::default().factor(f64::NAN), never_on: vec![String::new()], ..Config::default() };
    let fields: Vec<_> = wrong.validate().into_iter().map(|mistake| mistake.field).collect();
    assert_eq!(fields, ["backoff.factor", "never_on"]);
    assert!(Retry::new(wrong).is_err());
}
