//! Composition and misuse (cases 51 to 53, 57 and 58). Case 53 here: that the breaker has all failures under a retry; with
//! a fallback around it, in `fallback.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use stormproof::breaker::{Mode, Scope};
use stormproof::{Error, Limit, Policy, Reason, Stage, Stop, Trip, config, rate};
use stormproof_sim::{Call, End, Reply, Scenario};

use crate::given::{F, S, each_second, ms, per_second, policy, run, s, slots, trips};

fn retry_and_breaker(failures: u32, max_retries: u32, scope: Scope) -> Scenario {
    let breaker = stormproof::breaker::Config { scope, ..trips(Trip::consecutive(failures)) };
    Scenario::new(policy(|p| {
        p.retry = Some(each_second(max_retries));
        p.breaker = Some(breaker);
    }))
}

#[test]
fn case_51_retry_around_a_breaker_that_opens() {
    let trace = run(&retry_and_breaker(1, 3, Scope::Attempt).at(s(0), F));
    let End::Refused { reason, last, .. } = &trace.calls[0].end else { panic!("{:?}", trace.calls[0]) };
    assert_eq!((*reason, *last), (Reason::Open, Some("ServerError")));
    assert_eq!(trace.calls[0].attempts, [s(0)]);
    // The backoff would have ended in the open wait, so nobody waits for that refusal.
    assert_eq!(trace.calls[0].ended, s(0));
    assert_eq!(trace.event_names(), ["circuit_opened", "call_failed"]);
}

/// What makes a policy refuse.
type Change = fn(&mut config::Config);

/// What ended last, and who refuses what would have come next: the caller can see both.
#[test]
fn a_refused_retry_says_whether_the_attempt_before_it_ran_out_of_time() {
    let refusals: [(&str, Change); 3] = [
        ("breaker", |p| p.breaker = Some(trips(Trip::consecutive(1)))),
        ("rate", |p| p.rate = Some(rate::Config { max_wait: s(0), per: s(60), ..per_second(1, 1) })),
        ("both", |p| {
            p.breaker = Some(stormproof::breaker::Config { scope: Scope::Operation, ..trips(Trip::consecutive(9)) });
            p.rate = Some(rate::Config { max_wait: s(0), per: s(60), ..per_second(1, 1) });
        }),
    ];
    for (who, refusal) in refusals {
        for (last, kind, limit) in [(F, Some("ServerError"), None), (Reply::hang(), None, Some(Limit::Attempt))] {
            let scenario = Scenario::new(policy(|p| {
                p.retry = Some(each_second(3));
                p.attempt_timeout = Some(s(5));
                refusal(p);
            }));
            let scenario = if limit.is_some() { scenario.preempts() } else { scenario };
            let trace = run(&scenario.at(s(0), last));
            let End::Refused { last, timed_out, .. } = &trace.calls[0].end else { panic!("{who}: {trace:?}") };
            assert_eq!((*last, *timed_out), (kind, limit), "{who}");
        }
    }
}

#[test]
fn a_refused_retry_tells_of_the_last_attempt_and_of_the_error_before_it() {
    let config = policy(|p| {
        p.retry = Some(each_second(3));
        p.attempt_timeout = Some(s(5));
        p.breaker = Some(trips(Trip::consecutive(2)));
    });
    for (replies, limit) in [([F, Reply::hang()], Some(Limit::Attempt)), ([Reply::hang(), F], None)] {
        let trace = run(&Scenario::new(config.clone()).preempts().at(s(0), Call::of(replies)));
        let End::Refused { last, timed_out, .. } = &trace.calls[0].end else { panic!("{trace:?}") };
        assert_eq!((*last, *timed_out), (Some("ServerError"), limit));
    }
}

#[test]
fn case_51_a_retry_that_comes_after_the_open_wait_is_a_probe() {
    let Scenario { mut config, .. } = retry_and_breaker(1, 1, Scope::Attempt);
    config.breaker.as_mut().unwrap().open_duration = ms(500);
    let trace = run(&Scenario::new(config).at(s(0), Call::of([F, S])));
    assert_eq!((&trace.calls[0].end, &trace.calls[0].attempts[..]), (&End::Ok, &[s(0), s(1)][..]));
}

#[test]
fn case_52_breaker_around_a_retry() {
    let trace = run(&retry_and_breaker(2, 2, Scope::Operation).at(s(0), F));
    assert_eq!(trace.calls[0].attempts, [s(0), s(1), s(2)]);
    assert_eq!(trace.stat(Stage::Breaker, "calls", "failure"), 1.0);
    assert!(trace.circuit_events().is_empty());

    let trace = run(&retry_and_breaker(1, 2, Scope::Operation).at(s(0), F).at(s(3), S));
    assert_eq!(trace.calls[1].end.reason(), Some(Reason::Open));
}

#[test]
fn case_52_an_operation_whose_retry_is_refused_has_failed() {
    let Scenario { mut config, .. } = retry_and_breaker(1, 2, Scope::Operation);
    config.rate = Some(rate::Config { max_wait: s(0), per: s(60), ..per_second(1, 1) });
    let trace = run(&Scenario::new(config).at(s(0), F));
    assert_eq!((trace.calls[0].end.reason(), trace.calls[0].ended), (Some(Reason::WaitTooLong), s(1)));
    assert_eq!(trace.stat(Stage::Breaker, "calls", "failure"), 1.0);
    assert_eq!(trace.circuit_events(), ["circuit_opened"]);
}

#[test]
fn an_open_circuit_refuses_before_any_wait() {
    for (rate, bulkhead) in [(Some(per_second(1, 1)), None), (None, Some(slots(1, 1)))] {
        let breaker = Some(trips(Trip::consecutive(1)));
        let config = config::Config { breaker, rate, bulkhead, ..Default::default() };
        let trace = run(&Scenario::new(config).at(s(0), S.after(s(9))).at(s(0), Mode::ForcedOpen).at(ms(1), S));
        assert_eq!((trace.calls[1].end.reason(), trace.calls[1].ended), (Some(Reason::ForcedOpen), ms(1)));
    }
}

#[test]
fn case_53_the_breaker_has_all_failures_of_a_retry() {
    let trace = run(&retry_and_breaker(9, 2, Scope::Attempt).at(s(0), F));
    assert_eq!(trace.stat(Stage::Breaker, "calls", "failure"), 3.0);
    assert_eq!(trace.calls[0].end, End::Failed { kind: "ServerError", stop: Stop::Exhausted });
}

/// What is wrong with a policy in which one field of one part has this value, as an operator reads it.
fn mistake(part: &str, field: &str, value: &str) -> Option<String> {
    let (table, others) = if part.is_empty() { (String::new(), "") } else { (format!("[{part}]\n"), "[retry]\n") };
    let others = if part.starts_with("retry") { "" } else { others };
    match toml::from_str::<config::Config>(&format!("{others}{table}{field} = {value}\n")) {
        Err(unread) => Some(unread.to_string()),
        Ok(config) => Policy::from_config("p", config).err().map(|mistakes| mistakes.to_string()),
    }
}

/// A value that is allowed.
const FINE: &str = "";
const DURATION: &str = "a duration such as";
const MAX: &str = "9223372036854775807";
const MAX_U32: &str = "4294967295";

/// A value, and what the message says is allowed.
type Value = (&'static str, &'static str);

/// Part, field, and its values.
#[rustfmt::skip]
const FIELDS: &[(&str, &str, &[Value])] = &[
    ("", "deadline", &[("0", "more than zero"), (MAX, FINE), ("nan", DURATION), ("-1", DURATION), ("-0.5", DURATION)]),
    ("", "priority", &[("\"low\"", FINE), ("\"urgent\"", "critical")]),
    ("", "attempt_timeout", &[("0", "more than zero"), (MAX, FINE), ("nan", DURATION), ("-1", DURATION)]),
    ("retry", "max_retries", &[("0", FINE), (MAX_U32, FINE), (MAX, "u32"), ("nan", "u32"), ("-1", "u32")]),
    ("retry", "max_attempts", &[("0", "nonzero u32"), ("1", FINE), (MAX_U32, FINE), ("-1", "u32")]),
    ("retry", "retry_on", &[("[]", FINE), ("[\"\"]", "none of them empty")]),
    ("retry", "never_on", &[("[]", FINE), ("[\"\"]", "none of them empty")]),
    ("retry", "retry_after_cap", &[("0", FINE), (MAX, FINE), ("nan", DURATION), ("-1", DURATION)]),
    ("retry.backoff", "base_delay", &[("0", FINE), (MAX, FINE), ("nan", DURATION), ("-1", DURATION)]),
    ("retry.backoff", "max_delay = 0.5\nbase_delay", &[("1", "at most max_delay")]),
    ("retry.backoff", "base_delay = 0\nmax_delay", &[("0", FINE), (MAX, FINE), ("nan", DURATION), ("-1", DURATION)]),
    ("retry.backoff", "factor", &[("0", "1 or more"), ("1.7e308", FINE), ("inf", "finite"), ("nan", "finite"), ("-1", "1 or more")]),
    ("retry.backoff", "kind = \"linear\"\nincrement", &[("0", FINE), (MAX, FINE), ("nan", DURATION), ("-1", DURATION)]),
    ("retry.backoff.jitter", "symmetric", &[("0", FINE), ("1.1", "from 0 to 1"), ("nan", "from 0 to 1"), ("-0.1", "from 0 to 1")]),
    ("retry.backoff.jitter", "additive", &[("0", FINE), ("1.7e308", FINE), ("inf", "finite"), ("nan", "finite"), ("-0.1", "0 or more")]),
    ("retry.backoff.jitter", "range", &[("[0, 0]", FINE), ("[2, 1]", "the lower one first"), ("[nan, 1]", "finite"), ("[-1, 1]", "0 or more"), ("[0, inf]", "finite")]),
    ("retry", "wait_for_half_open", &[("true", FINE), ("1", "a boolean")]),
    ("throttle", "multiplier", &[("1", FINE), ("0.9", "1 to 1000"), ("1001", "1 to 1000"), ("nan", "1 to 1000"), ("-1", "1 to 1000")]),
    ("throttle", "max_refused", &[("0", FINE), ("0.99", FINE), ("1", "0 to 0.99"), ("nan", "0 to 0.99"), ("-0.1", "0 to 0.99")]),
    ("throttle", "min_requests", &[("0", FINE), (MAX_U32, FINE), (MAX, "u32"), ("-1", "u32")]),
    ("throttle", "window", &[("0", "10 ms to 1 day"), (MAX, "10 ms to 1 day"), ("nan", DURATION), ("-1", DURATION)]),
    ("throttle", "overload", &[("[]", FINE), ("[\"\"]", "none of them empty")]),
    ("hedge", "delay", &[("0", FINE), (MAX, FINE), ("\"800ms\"", FINE), ("nan", DURATION), ("-1", DURATION)]),
    ("hedge.delay", "percentile", &[("0", "above 0 and below 1"), ("1", "above 0 and below 1"), ("nan", "above 0 and below 1"), ("-0.5", "above 0 and below 1"), ("0.99", FINE)]),
    ("hedge.delay", "minimum_samples", &[("0", "1 or more"), (MAX_U32, FINE), ("-1", "u32")]),
    ("hedge.delay", "at_least", &[("0", FINE), (MAX, FINE), ("nan", DURATION), ("-1", DURATION)]),
    ("hedge.delay", "otherwise", &[("0", FINE), (MAX, FINE), ("nan", DURATION), ("-1", DURATION)]),
    ("hedge", "max_hedges", &[("0", "1 to 8"), ("8", FINE), ("9", "1 to 8"), ("-1", "u32")]),
    ("latency", "window", &[("0", "1 ms or more"), (MAX, FINE), ("nan", DURATION), ("-1", DURATION)]),
    ("budget", "ratio", &[("0", FINE), ("1.7e308", FINE), ("inf", "finite"), ("nan", "finite"), ("-0.2", "0 or more")]),
    ("budget", "floor", &[("0", FINE), (MAX_U32, FINE), (MAX, "u32"), ("-1", "u32")]),
    ("budget", "window", &[("0", "more than 0"), (MAX, FINE), ("nan", DURATION), ("-1", DURATION)]),
    ("breaker", "trip", &[("0", "1 or more"), (MAX_U32, FINE), (MAX, "1 to 4294967295"), ("-1", "1 to 4294967295"), ("[]", "at least one rule")]),
    ("breaker", "open_duration", &[("0", "more than zero"), (MAX, FINE), ("nan", DURATION), ("-1", DURATION)]),
    ("breaker", "open_factor", &[("0", "1 or more"), ("1.7e308", FINE), ("inf", "finite"), ("nan", "finite"), ("-1", "1 or more")]),
    ("breaker", "max_open_duration", &[("0", "open_duration or more"), (MAX, FINE), ("nan", DURATION), ("-1", DURATION)]),
    ("breaker.open_jitter", "symmetric", &[("0", FINE), ("2", "from 0 to 1"), ("nan", "from 0 to 1"), ("-1", "from 0 to 1")]),
    ("breaker", "success_threshold", &[("0", "1 or more"), (MAX_U32, FINE), (MAX, "u32"), ("nan", "u32"), ("-1", "u32")]),
    ("breaker", "half_open_max_calls", &[("0", "1 or more"), (MAX_U32, FINE), (MAX, "u32"), ("nan", "u32"), ("-1", "u32")]),
    ("breaker", "half_open_timeout", &[("0", "more than zero"), (MAX, FINE), ("nan", DURATION), ("-1", DURATION)]),
    ("breaker.trip", "consecutive", &[("0", "1 or more"), (MAX_U32, FINE), ("-1", "u32")]),
    ("breaker.trip", "cumulative", &[("0", "1 or more"), (MAX_U32, FINE), ("-1", "u32")]),
    ("breaker.trip", "within", &[
        ("{ failures = 0, window = 1 }", "1 to 65536"), ("{ failures = 4294967295, window = 1 }", "1 to 65536"),
        ("{ failures = -1, window = 1 }", "u32"), ("{ failures = 1, window = 0 }", "more than zero"),
        ("{ failures = 1, window = 9223372036854775807 }", FINE), ("{ failures = 1, window = nan }", DURATION),
        ("{ failures = 1, window = -1 }", DURATION)]),
    ("breaker.trip", "ratio", &[
        ("{ ratio = 0, minimum_calls = 1, window = { calls = 9 } }", "above 0 and at most 1"),
        ("{ ratio = 1.5, minimum_calls = 1, window = { calls = 9 } }", "above 0 and at most 1"),
        ("{ ratio = nan, minimum_calls = 1, window = { calls = 9 } }", "above 0 and at most 1"),
        ("{ ratio = -0.5, minimum_calls = 1, window = { calls = 9 } }", "above 0 and at most 1"),
        ("{ ratio = 0.5, minimum_calls = 0, window = { calls = 9 } }", "1 or more"),
        ("{ ratio = 0.5, minimum_calls = 10, window = { calls = 9 } }", "at most window.calls"),
        ("{ ratio = 0.5, minimum_calls = -1, window = { calls = 9 } }", "u32"),
        ("{ ratio = 0.5, minimum_calls = 1, window = { calls = 0 } }", "1 to 1000000"),
        ("{ ratio = 0.5, minimum_calls = 1, window = { calls = 4294967295 } }", "1 to 1000000"),
        ("{ ratio = 0.5, minimum_calls = 1, window = { calls = -1 } }", "u32"),
        ("{ ratio = 0.5, minimum_calls = 1, window = { time = 0 } }", "1 ms or more"),
        ("{ ratio = 0.5, minimum_calls = 1, window = { time = 9223372036854775807 } }", FINE),
        ("{ ratio = 0.5, minimum_calls = 4294967295, window = { time = 1 } }", FINE),
        ("{ ratio = 0.5, minimum_calls = 1, window = { time = nan } }", DURATION),
        ("{ ratio = 0.5, minimum_calls = 1, window = { time = -1 } }", DURATION)]),
    ("breaker.trip", "slow", &[
        ("{ ratio = 0, slower_than = 1, minimum_calls = 1, window = { calls = 9 } }", "above 0 and at most 1"),
        ("{ ratio = nan, slower_than = 1, minimum_calls = 1, window = { calls = 9 } }", "above 0 and at most 1"),
        ("{ ratio = 0.5, slower_than = 0, minimum_calls = 1, window = { calls = 9 } }", "more than zero"),
        ("{ ratio = 0.5, slower_than = 9223372036854775807, minimum_calls = 1, window = { calls = 9 } }", FINE),
        ("{ ratio = 0.5, slower_than = nan, minimum_calls = 1, window = { calls = 9 } }", DURATION),
        ("{ ratio = 0.5, slower_than = -1, minimum_calls = 1, window = { calls = 9 } }", DURATION),
        ("{ ratio = 0.5, slower_than = 1, minimum_calls = 0, window = { calls = 9 } }", "1 or more"),
        ("{ ratio = 0.5, slower_than = 1, minimum_calls = 1, window = { calls = 0 } }", "1 to 1000000")]),
    ("bulkhead", "max_concurrent", &[("0", "1 to 2147483647"), ("2147483647", FINE), (MAX_U32, "1 to 2147483647"), (MAX, "u32"), ("nan", "u32"), ("-1", "u32")]),
    ("bulkhead", "max_queue", &[("0", FINE), (MAX_U32, FINE), (MAX, "u32"), ("nan", "u32"), ("-1", "u32")]),
    ("bulkhead", "queue_timeout", &[("0", FINE), (MAX, FINE), ("nan", DURATION), ("-1", DURATION)]),
    ("rate", "rate", &[("0", "1 up to 10 for each microsecond"), (MAX_U32, "1 up to 10 for each microsecond"), (MAX, "u32"), ("nan", "u32"), ("-1", "u32")]),
    ("rate", "per", &[("0", "1 ms to 1 day"), (MAX, "1 ms to 1 day"), ("nan", DURATION), ("-1", DURATION)]),
    ("rate", "burst", &[("0", "1 up to"), (MAX_U32, "ten years"), (MAX, "u32"), ("nan", "u32"), ("-1", "u32")]),
    ("rate", "max_wait", &[("0", FINE), (MAX, FINE), ("nan", DURATION), ("-1", DURATION)]),
    ("tokens", "rate", &[("0", "1 up to 10 for each microsecond"), ("-1", "u32")]),
];

#[test]
fn case_57_a_mistake_names_the_field_its_value_and_what_is_allowed() {
    for (part, field, values) in FIELDS {
        for (value, allowed) in *values {
            let found = mistake(part, field, value);
            let Some(message) = found else {
                assert_eq!(*allowed, FINE, "{part}.{field} = {value} was accepted");
                continue;
            };
            assert!(!allowed.is_empty(), "{part}.{field} = {value}: {message}");
            let name = field.split('\n').next_back().unwrap();
            let number = value.trim_start_matches(['[', '{', '"']).split([',', ']', '"']).next().unwrap();
            let named =
                if value.starts_with('{') { message.contains(name) } else { message.to_lowercase().contains(number) };
            assert!(named && message.contains(allowed), "{part}.{field} = {value}: {message}");
            assert!(message.contains(name), "{part}.{field} = {value}: {message}");
        }
    }
}

#[test]
fn case_57_all_mistakes_are_named_at_once() {
    let text = "deadline = 0\n[bulkhead]\nmax_concurrent = 0\n[breaker]\ntrip = 0\nopen_duration = 0\n";
    let mistakes = toml::from_str::<config::Config>(text).unwrap().validate();
    let fields: Vec<_> = mistakes.iter().map(|mistake| mistake.field.as_str()).collect();
    assert_eq!(fields, ["deadline", "breaker.trip.consecutive", "breaker.open_duration", "bulkhead.max_concurrent"]);
}

#[test]
fn case_57_two_rules_in_one_table_are_not_taken_for_one() {
    let text = "[breaker]\ntrip = { consecutive = 5, cumulative = 2 }\n";
    let error = toml::from_str::<config::Config>(text).unwrap_err().to_string();
    assert!(error.contains("put `consecutive` and `cumulative` into a list"), "{error}");
}

#[test]
fn case_57_a_field_that_does_not_exist_is_named() {
    let error = toml::from_str::<config::Config>("[breaker]\ntresholt = 5\n").unwrap_err().to_string();
    assert!(error.contains("tresholt") && error.contains("open_duration"), "{error}");
}

#[tokio::test]
async fn case_58_a_listener_that_panics_breaks_nothing() {
    let policy = Policy::builder("p").breaker(trips(Trip::consecutive(3))).build().unwrap();
    let heard = Arc::new(AtomicU32::new(0));
    let noted = heard.clone();
    policy.on_event(|_| panic!("as the case says"));
    policy.on_event(move |_| _ = noted.fetch_add(1, Ordering::Relaxed));
    let error = policy.call(|_| async { Err::<(), _>("down") }).await.unwrap_err();
    assert_eq!((error.into_last(), heard.swap(0, Ordering::Relaxed)), (Some("down"), 1), "the call failed");
    let error = policy.call_sync(|_| Err::<(), _>("down")).run().unwrap_err();
    assert_eq!((error.into_last(), heard.swap(0, Ordering::Relaxed)), (Some("down"), 1), "in the sync door, too");
    let error = by_request(&policy).await.unwrap_err();
    assert_eq!((error.into_last(), heard.swap(0, Ordering::Relaxed)), (Some("down"), 2), "and the circuit opened");
    assert_eq!(policy.stages().breaker.as_ref().unwrap().stats(policy.clock().now()).failures, 3);
}

/// A call that fails, as a request through tower if that is there.
async fn by_request(policy: &Policy) -> Result<(), Error<&'static str>> {
    #[cfg(feature = "tower")]
    {
        use tower::{Layer, ServiceExt, service_fn};
        let service = service_fn(|()| async { Err::<(), _>("down") });
        stormproof::service::PolicyLayer::new(policy).layer(service).oneshot(()).await
    }
    #[cfg(not(feature = "tower"))]
    policy.call(|_| async { Err("down") }).await
}
