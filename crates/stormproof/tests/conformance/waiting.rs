//! Waiting for a half-open circuit in place of a refusal (T67), the answers that come back although their retry did
//! not take place, and whose fault it is when inherited time runs out.

use stormproof::breaker::{self, Mode, Scope};
use stormproof::{Jitter, Limit, Reason, Stage, Stop, Trip, config, rate};
use stormproof_sim::{Call, End, Reply, Scenario};

use crate::given::{F, Retries, S, budget, each_second, ms, per_second, policy, run, s, slots, trips};

/// A circuit that opens for a minute at the first failure, and calls that wait for it.
fn waits(max_retries: u32, change: impl FnOnce(&mut config::Config)) -> config::Config {
    policy(|p| {
        p.retry = Some(Retries { wait_for_half_open: true, ..each_second(max_retries) });
        p.breaker = Some(trips(Trip::consecutive(1)));
        change(p);
    })
}

#[test]
fn t_67_a_call_waits_until_the_circuit_is_half_open() {
    for scope in [Scope::Attempt, Scope::Operation] {
        let config = waits(1, |p| p.breaker = Some(breaker::Config { scope, ..trips(Trip::consecutive(1)) }));
        let trace = run(&Scenario::new(config).at(s(0), F.permanent()).at(s(20), S));
        assert_eq!((&trace.calls[1].end, &trace.calls[1].attempts[..]), (&End::Ok, &[s(60)][..]));
        assert_eq!(trace.events_named("half_open_awaited").len(), 1);
        assert_eq!(trace.stat(Stage::Retry, "half_open_waits", ""), 1.0);
    }
}

#[test]
fn t_67_a_retry_waits_too_and_for_the_price_of_one() {
    let trace = run(&Scenario::new(waits(1, |_| ())).at(s(0), Call::of([F, S])));
    assert_eq!((&trace.calls[0].end, &trace.calls[0].attempts[..]), (&End::Ok, &[s(0), s(60)][..]));
    assert_eq!(trace.event_names(), ["circuit_opened", "retry_attempted", "circuit_half_open"]);

    let trace = run(&Scenario::new(waits(1, |_| ())).at(s(0), F));
    assert_eq!(trace.calls[0].end, End::Failed { kind: "ServerError", stop: Stop::Exhausted });
}

#[test]
fn t_67_who_finds_all_probes_out_asks_again_after_the_backoff() {
    let config = waits(2, |p| {
        p.breaker =
            Some(breaker::Config { half_open_max_calls: 1, success_threshold: 1, ..trips(Trip::consecutive(1)) });
    });
    let probe = S.after(ms(1_500));
    let trace = run(&Scenario::new(config).at(s(0), F.permanent()).at(s(60), probe).at(s(61), S));
    assert_eq!((&trace.calls[2].end, &trace.calls[2].attempts[..]), (&End::Ok, &[s(62)][..]));

    // Every wait uses up a retry, so it ends.
    let config = waits(2, |p| {
        p.breaker = Some(breaker::Config { half_open_max_calls: 1, ..trips(Trip::consecutive(1)) });
    });
    let trace = run(&Scenario::new(config).at(s(0), F.permanent()).at(s(60), S.after(s(9))).at(s(61), S));
    assert_eq!((trace.calls[2].end.reason(), trace.calls[2].ended), (Some(Reason::HalfOpenLimit), s(63)));
}

#[test]
fn t_67_nobody_waits_past_the_deadline_the_budget_or_for_an_operator() {
    let refused = |config, reason| {
        let trace = run(&Scenario::new(config).at(s(0), F.permanent()).at(s(20), S));
        assert_eq!((trace.calls[1].end.reason(), trace.calls[1].ended), (Some(reason), s(20)));
    };
    refused(waits(3, |p| p.deadline = Some(s(40))), Reason::Open);
    refused(waits(3, |p| p.budget = Some(budget(0.0, 0))), Reason::Open);
    refused(waits(0, |_| ()), Reason::Open);
    let forced = breaker::Config { mode: Mode::ForcedOpen, ..trips(Trip::consecutive(1)) };
    refused(waits(3, |p| p.breaker = Some(forced)), Reason::ForcedOpen);
}

#[test]
fn t_67_what_was_taken_before_the_circuit_opened_is_given_back_for_the_wait() {
    let config = waits(1, |p| p.bulkhead = Some(slots(1, 1)));
    // The second call gets the slot when the first one has opened the circuit.
    let trace = run(&Scenario::new(config).at(s(0), F.permanent().after(s(1))).at(ms(500), S));
    assert_eq!((&trace.calls[1].end, &trace.calls[1].attempts[..]), (&End::Ok, &[s(61)][..]));
    assert_eq!(trace.stat(Stage::Bulkhead, "admitted", ""), 3.0);
}

#[test]
fn t_67_those_who_wait_do_not_come_back_together() {
    let config = waits(1, |p| {
        if let Some(retry) = &mut p.retry {
            retry.backoff.jitter = Jitter::Symmetric(0.2);
        }
        p.breaker = Some(breaker::Config { half_open_max_calls: 50, ..trips(Trip::consecutive(1)) });
    });
    let trace = run(&Scenario::new(config).at(s(0), F.permanent()).all_at(s(10), [S; 20]));
    let starts: Vec<_> = trace.calls[1..].iter().map(|call| call.attempts[0]).collect();
    assert!(starts.iter().all(|start| (s(60)..=s(70)).contains(start)) && starts.iter().min() < starts.iter().max());
}

const OVERLOADED: Reply = Reply::ok_but_failed("Overloaded");

#[test]
fn an_answer_whose_retry_is_refused_comes_back() {
    // At once, because the circuit has opened; and later, because the rate does not allow it.
    let opens = policy(|p| {
        p.retry = Some(each_second(3));
        p.breaker = Some(trips(Trip::consecutive(1)));
    });
    let trace = run(&Scenario::new(opens).at(s(0), OVERLOADED));
    assert_eq!((&trace.calls[0].end, trace.calls[0].ended), (&End::Ok, s(0)));
    assert_eq!(trace.event_names(), ["circuit_opened", "call_failed"]);

    let limited = policy(|p| {
        p.retry = Some(each_second(3));
        p.rate = Some(rate::Config { max_wait: s(0), per: s(60), ..per_second(1, 1) });
    });
    let trace = run(&Scenario::new(limited).at(s(0), OVERLOADED));
    assert_eq!((&trace.calls[0].end, trace.calls[0].ended), (&End::Ok, s(1)));
    assert_eq!(trace.event_names(), ["retry_attempted", "rate_limited", "call_failed"]);
}

#[test]
fn an_answer_that_came_while_a_hedge_hung_is_better_than_a_timeout() {
    let config = policy(|p| {
        p.hedge = Some(s(1).into());
        p.deadline = Some(s(5));
    });
    let trace = run(&Scenario::new(config).at(s(0), Call::of([OVERLOADED.after(s(2)), Reply::hang()])));
    assert_eq!((&trace.calls[0].end, trace.calls[0].ended), (&End::Ok, s(5)));
}

#[test]
fn running_out_of_inherited_time_is_no_failure_of_a_callee_that_had_less_than_its_policy_gives_it() {
    let breaker = |p: &mut config::Config| p.breaker = Some(trips(Trip::consecutive(1)));
    let limit = |inherited: bool| if inherited { Limit::Inherited } else { Limit::Attempt };
    let own_limit: fn(&mut config::Config) = |p| p.attempt_timeout = Some(s(10));
    let own_deadline: fn(&mut config::Config) = |p| p.deadline = Some(s(10));
    for (change, left, inherited, counted) in [
        (own_limit, s(2), true, "ignored"),
        (own_deadline, s(2), true, "ignored"),
        // Where nothing else limits the callee, what is inherited does.
        (|_: &mut config::Config| (), s(2), true, "failure"),
        (own_limit, s(20), false, "failure"),
    ] {
        let config = policy(|p| {
            breaker(p);
            change(p);
        });
        let trace = run(&Scenario::new(config).at(s(0), Call::of([Reply::hang()]).inherited(left)).preempts());
        let limit = limit(inherited);
        assert_eq!(trace.calls[0].end, End::TimedOut { limit, stop: Stop::NoRetry, last: None });
        assert_eq!(trace.stat(Stage::Breaker, "calls", counted), 1.0, "{counted}");
    }
}
