//! The adaptive throttle: its formula, what it counts, and its place before all other stages.

use stormproof::{Reason, Stage, Trip, config, throttle};
use stormproof_sim::{Call, End, Reply, Scenario, Trace};

use crate::given::{F, I, S, each_second, ms, policy, run, s, slots, trips};

const BUSY: Reply = Reply::fail("ServerError.503");

fn throttled(change: impl FnOnce(&mut config::Config)) -> Scenario {
    Scenario::new(policy(|p| {
        p.throttle = Some(throttle::Config { min_requests: 120, max_refused: 0.99, ..Default::default() });
        change(p);
    }))
}

fn counts(trace: &Trace) -> [f64; 3] {
    ["window_requests", "window_accepts", "refused"].map(|metric| trace.stat(Stage::Throttle, metric, ""))
}

#[test]
fn of_120_requests_30_are_accepted() {
    let replies = (0..120).map(|n| if n % 4 == 0 { S } else { BUSY });
    let trace = run(&throttled(|_| ()).every(ms(10), replies));
    assert_eq!(counts(&trace), [120.0, 30.0, 0.0]);
    assert_eq!(trace.stat(Stage::Throttle, "refusal_probability", ""), 60.0 / 121.0);
}

#[test]
fn a_refusal_counts_as_a_request_is_not_retried_and_told_once() {
    let scenario = throttled(|p| p.retry = Some(each_second(1))).every(s(0), [BUSY; 60]);
    let trace = run(&scenario.every(s(2), [S; 5]));
    let refused = trace.calls[60..].iter().filter(|call| call.end.reason() == Some(Reason::Throttled));
    let refused: Vec<_> = refused.inspect(|call| assert!(call.attempts.is_empty())).collect();
    assert!(refused.len() >= 4, "{:?}", trace.calls);
    // Given: 60 calls, each tried twice.
    let passed = 5.0 - refused.len() as f64;
    assert_eq!(counts(&trace), [125.0, passed, refused.len() as f64]);
    let told = trace.event_names().into_iter().filter(|name| *name == "throttle_began");
    assert_eq!(told.count(), 1);
}

#[test]
fn any_answer_but_overload_is_an_accept() {
    let answers = [S, F, I, Reply::fail("RateLimitError.429"), BUSY, Reply::fail("Odd").retry_after(s(1))];
    assert_eq!(counts(&run(&throttled(|_| ()).every(ms(10), answers))), [6.0, 3.0, 0.0]);
    // A time-out is none; a call that had less time than it should have had tells nothing.
    let limited = throttled(|p| p.attempt_timeout = Some(s(1))).preempts();
    let hung = [Call::of([Reply::hang()]), Call::of([Reply::hang()]).inherited(ms(500))];
    assert_eq!(counts(&run(&limited.every(s(2), hung))), [1.0, 0.0, 0.0]);
}

#[test]
fn it_is_asked_first_and_what_others_refuse_counts_neither_way() {
    // Given: an open circuit.
    let open = throttled(|p| p.breaker = Some(trips(Trip::consecutive(1)))).at(s(0), BUSY);
    let trace = run(&open.every(ms(1), std::iter::repeat_n(S, 200)));
    assert_eq!(counts(&trace), [1.0, 0.0, 0.0]);
    // Given: a full bulkhead, and a caller that gives up.
    let full = throttled(|p| p.bulkhead = Some(slots(1, 1))).at(s(0), Call::of([S.after(s(5))]).cancel_at(s(3)));
    assert_eq!(counts(&run(&full.every(ms(100), [S; 3]))), [1.0, 1.0, 0.0]);
    // Given: both would refuse.
    let both = throttled(|p| {
        p.throttle = Some(throttle::Config { max_refused: 0.99, ..Default::default() });
        p.breaker = Some(trips(Trip::consecutive(1_000)));
    });
    let trace = run(&both.every(ms(1), std::iter::repeat_n(BUSY, 1_200)));
    let ends =
        trace.calls.iter().filter(|call| matches!(&call.end, End::Refused { stage, .. } if *stage != Stage::Throttle));
    assert_eq!(ends.count(), 0);
    assert_eq!(trace.stat(Stage::Breaker, "refused", ""), 0.0);
    assert!(counts(&trace)[2] > 1_000.0);
}
