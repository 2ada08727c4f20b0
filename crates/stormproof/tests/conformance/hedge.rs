//! Hedges (cases 47 and 48): when they start, which result counts, what they may cost, what becomes of the losers.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use stormproof::breaker::Scope;
use stormproof::{Clock, Limit, Policy, Stage, Stop, Trip, Verdict, breaker, bulkhead, config, hedge, rate};
use stormproof_sim::{Action, Call, End, Reply, Scenario, Trace};
use tokio::time::sleep;

use crate::given::{F, I, S, budget, each_second, ms, per_second, policy, run, s, slots, trips};

/// A policy that hedges after a second, and what else it has.
fn hedged(change: impl FnOnce(&mut config::Config)) -> config::Config {
    policy(|p| {
        p.hedge = Some(s(1).into());
        change(p);
    })
}

fn up_to(max_hedges: u32) -> hedge::Config {
    hedge::Config { max_hedges, ..s(1).into() }
}

/// One call at the beginning.
fn one(config: config::Config, replies: impl IntoIterator<Item = Reply>) -> Trace {
    run(&Scenario::new(config).at(s(0), Call::of(replies)))
}

/// How the call ended, when its attempts began, and when it was over.
fn told(trace: &Trace) -> (&End, &[Duration], Duration) {
    (&trace.calls[0].end, &trace.calls[0].attempts, trace.calls[0].ended)
}

#[test]
fn case_47_a_quick_attempt_has_no_hedge() {
    let trace = one(hedged(|_| ()), [S.after(ms(999))]);
    assert_eq!(told(&trace), (&End::Ok, &[s(0)][..], ms(999)));
    assert!(trace.events.is_empty());
}

#[test]
fn case_47_a_slow_attempt_is_doubled_and_the_first_result_counts() {
    let trace = one(hedged(|_| ()), [S.after(s(5)), S.after(s(2))]);
    assert_eq!(told(&trace), (&End::Ok, &[s(0), s(1)][..], s(3)));
    assert_eq!(trace.event_names(), ["hedge_started", "hedge_won"]);
    assert_eq!(trace.stat(Stage::Hedge, "started", "delay"), 1.0);
    assert_eq!(trace.stat(Stage::Hedge, "won", ""), 1.0);

    let trace = one(hedged(|_| ()), [S.after(s(2)), S.after(s(5))]);
    assert_eq!((told(&trace), trace.event_names()), ((&End::Ok, &[s(0), s(1)][..], s(2)), vec!["hedge_started"]));
}

#[test]
fn case_47_a_fast_failing_hedge_never_beats_a_slow_succeeding_primary() {
    for max_hedges in 1..4 {
        let config = hedged(|p| {
            p.hedge = Some(up_to(max_hedges));
            p.retry = Some(each_second(3));
        });
        let trace = one(config, [S.after(s(9)), F]);
        assert_eq!((&trace.calls[0].end, trace.calls[0].ended), (&End::Ok, s(9)));
        assert_eq!(trace.calls[0].attempts.len(), 1 + usize::try_from(max_hedges).unwrap());
        assert!(trace.events_named("retry_attempted").is_empty());
    }
}

#[test]
fn case_47_a_failing_primary_starts_the_hedge_at_once() {
    let trace = one(hedged(|_| ()), [F.after(ms(300)), S.after(ms(500))]);
    assert_eq!(told(&trace), (&End::Ok, &[s(0), ms(300)][..], ms(800)));
    assert_eq!(trace.event_names(), ["hedge_started", "hedge_won"]);
    assert_eq!(trace.stat(Stage::Hedge, "started", "failure"), 1.0);
}

#[test]
fn case_47_a_timed_out_primary_starts_the_hedge_at_once() {
    let config = hedged(|p| {
        p.hedge = Some(Duration::MAX.into());
        p.attempt_timeout = Some(s(2));
    });
    let trace = one(config, [Reply::hang(), S.after(s(1))]);
    assert_eq!(told(&trace), (&End::Ok, &[s(0), s(2)][..], s(3)));
    assert_eq!(trace.event_names(), ["timed_out", "hedge_started", "hedge_won"]);
}

#[test]
fn case_47_a_budget_denial_leaves_the_running_attempt_alone() {
    let config = hedged(|p| p.budget = Some(budget(0.0, 0)));
    let trace = one(config.clone(), [S.after(s(5)), S]);
    assert_eq!(told(&trace), (&End::Ok, &[s(0)][..], s(5)));
    assert!(trace.events.is_empty());
    assert_eq!(trace.stat(Stage::Hedge, "skipped", "budget_denied"), 1.0);

    let trace = one(config, [F.after(ms(10)), S]);
    assert_eq!(told(&trace), (&End::Failed { kind: "ServerError", stop: Stop::NoRetry }, &[s(0)][..], ms(10)));
}

#[test]
fn case_47_hedges_and_retries_draw_on_one_budget() {
    let config = hedged(|p| {
        p.retry = Some(each_second(5));
        p.budget = Some(budget(0.0, 2));
    });
    // A hedge after 1 s, both fail at 2 s, one retry at 3 s; then the budget is used up.
    let trace = one(config, [F.after(s(2)), F.after(s(1)), F.after(s(5))]);
    assert_eq!(trace.calls[0].attempts, [s(0), s(1), s(3)]);
    assert_eq!(trace.calls[0].end.stop(), Some(Stop::BudgetDenied));
    assert_eq!(trace.stat(Stage::Retry, "budget_total", "allowed"), 2.0);
}

#[test]
fn case_47_an_ignored_answer_is_definite() {
    let trace = one(hedged(|p| p.retry = Some(each_second(3))), [S.after(s(5)), I]);
    assert_eq!(told(&trace), (&End::Failed { kind: "ClientError", stop: Stop::NotRetryable }, &[s(0), s(1)][..], s(1)));
}

#[test]
fn a_hedged_probe_has_one_place() {
    let config = hedged(|p| {
        p.hedge = Some(up_to(2));
        p.breaker = Some(breaker::Config { half_open_max_calls: 2, ..trips(Trip::consecutive(1)) });
    });
    // The circuit opens at 0 (the hedge after the failure finds it open); the call at 60 is hedged at 61 and 62, and
    // another one passes beside it.
    let scenario = Scenario::new(config).at(s(0), F).at(s(60), Call::of([S.after(s(9)), S.after(s(5)), S.after(s(3))]));
    let trace = run(&scenario.at(s(63), Action::Look).at(s(64), S.after(ms(500))).at(s(66), Action::Look));
    assert_eq!(told(&trace).1.len(), 1);
    assert_eq!((&trace.calls[1].attempts[..], trace.calls[1].ended), (&[s(60), s(61), s(62)][..], s(65)));
    assert_eq!(trace.seen(0, Stage::Breaker, "half_open_calls", ""), 1.0);
    assert_eq!(trace.calls[2].end, End::Ok);
    // One success of each: the winner's is that of its call.
    assert_eq!(trace.stat(Stage::Breaker, "calls", "success"), 2.0);
    assert_eq!(trace.circuit_events(), ["circuit_opened", "circuit_half_open", "circuit_closed"]);
}

#[test]
fn a_hedge_that_fails_in_place_of_its_probe_reopens_the_circuit() {
    let config = hedged(|p| p.breaker = Some(trips(Trip::consecutive(1))));
    let scenario = Scenario::new(config).at(s(0), F).at(s(60), Call::of([S.after(s(9)), F.after(s(1))]));
    let trace = run(&scenario.at(s(63), Action::Look));
    // What the slow attempt answers later is no longer heard by the breaker, but by the caller.
    assert_eq!((&trace.calls[1].end, trace.calls[1].ended), (&End::Ok, s(69)));
    assert_eq!(trace.circuit_events(), ["circuit_opened", "circuit_half_open", "circuit_opened"]);
    assert_eq!(trace.stat(Stage::Breaker, "calls", "failure"), 2.0);
    assert_eq!(trace.stat(Stage::Breaker, "half_open_calls", ""), 0.0);
}

#[test]
fn a_hedge_after_a_failure_has_the_slot_of_the_attempt_that_failed() {
    let config = hedged(|p| {
        p.hedge = Some(Duration::MAX.into());
        p.bulkhead = Some(slots(1, 5));
    });
    // Another caller waits for the one slot; the first call keeps it until it is over.
    let scenario = Scenario::new(config).at(s(0), Call::of([F.after(s(2)), S.after(s(3))])).at(s(1), S.after(s(1)));
    let trace = run(&scenario);
    assert_eq!((&trace.calls[0].end, &trace.calls[0].attempts[..]), (&End::Ok, &[s(0), s(2)][..]));
    assert_eq!(trace.calls[1].attempts, [s(5)]);
    assert_eq!(trace.stat(Stage::Hedge, "skipped", "busy"), 0.0);
}

#[test]
fn case_47_what_would_not_help_starts_no_hedge() {
    let trace = one(hedged(|_| ()), [F.permanent(), S]);
    assert_eq!(told(&trace), (&End::Failed { kind: "ServerError", stop: Stop::NoRetry }, &[s(0)][..], s(0)));

    // A server that asks for patience gets it, from retry.
    let config = hedged(|p| p.retry = Some(each_second(1)));
    let trace = one(config, [F.retry_after(s(7)), S]);
    assert_eq!(told(&trace), (&End::Ok, &[s(0), s(7)][..], s(7)));
}

#[test]
fn case_47_the_patience_that_was_asked_for_holds_for_the_whole_round() {
    let config = hedged(|p| {
        p.hedge = Some(up_to(2));
        p.retry = Some(each_second(1));
    });
    let replies = [F.after(s(3)), F.retry_after(s(9)), S];
    // The hedge at 1 s asks for 9 s: no hedge is due at 2 s, none at once at 3 s, and the retry comes at 10 s.
    let trace = one(config, replies);
    assert_eq!(told(&trace), (&End::Ok, &[s(0), s(1), s(10)][..], s(10)));
}

#[test]
fn case_47_when_all_have_failed_retry_decides_from_the_last_failure() {
    let config = hedged(|p| p.retry = Some(each_second(1)));
    let trace = one(config, [F.after(s(4)), F.after(s(2)), S]);
    // The hedge fails at 3 s and no other is left; the primary fails at 4 s, and a second later there is a new round.
    assert_eq!(told(&trace), (&End::Ok, &[s(0), s(1), s(5)][..], s(5)));
    assert_eq!(trace.event_names(), ["hedge_started", "retry_attempted"]);
    assert_eq!(trace.stat(Stage::Retry, "retries", ""), 1.0);
}

#[test]
fn case_47_each_round_has_its_hedges() {
    let config = hedged(|p| p.retry = Some(each_second(1)));
    let trace = one(config, [F.after(s(2)), F.after(s(1)), F.after(s(2)), F.after(s(1))]);
    assert_eq!(trace.calls[0].attempts, [s(0), s(1), s(3), s(4)]);
    assert_eq!(trace.calls[0].end, End::Failed { kind: "ServerError", stop: Stop::Exhausted });
    assert_eq!(trace.stat(Stage::Retry, "gave_up", "exhausted"), 1.0);
}

#[test]
fn case_47_several_hedges_follow_each_other_after_the_delay() {
    let trace =
        one(hedged(|p| p.hedge = Some(up_to(3))), [Reply::hang(), Reply::hang(), Reply::hang(), S.after(ms(100))]);
    assert_eq!(told(&trace), (&End::Ok, &[s(0), s(1), s(2), s(3)][..], ms(3_100)));
}

#[test]
fn case_47_a_hedge_never_waits() {
    let busy: [fn(&mut config::Config); 4] = [
        |p| p.bulkhead = Some(slots(1, 9)),
        |p| p.rate = Some(rate::Config { per: s(60), ..per_second(1, 1) }),
        |p| p.tokens = Some(rate::Config { per: s(60), ..per_second(1, 1) }),
        |p| {
            p.breaker = Some(stormproof::breaker::Config { half_open_max_calls: 1, ..trips(Trip::consecutive(1)) });
        },
    ];
    for (number, change) in busy.into_iter().enumerate() {
        let scenario = Scenario::new(hedged(change));
        let (scenario, call, at) = if number == 3 {
            // Half-open: the attempt is the only probe.
            (scenario.at(s(0), F.permanent()), 1, s(60))
        } else {
            (scenario, 0, s(0))
        };
        let trace = run(&scenario.at(at, Call::of([S.after(s(5)), S]).cost(1)));
        assert_eq!((trace.calls[call].attempts.len(), trace.calls[call].ended), (1, at + s(5)), "{number}");
        assert_eq!(trace.stat(Stage::Hedge, "skipped", "busy"), 1.0, "{number}");
        assert!(trace.events_named("rate_limited").is_empty() && trace.events_named("bulkhead_rejected").is_empty());
    }
}

#[test]
fn case_47_each_attempt_has_its_own_timeout() {
    let config = hedged(|p| p.attempt_timeout = Some(s(3)));
    let trace = one(config, [Reply::hang()]);
    assert_eq!(trace.calls[0].end, End::TimedOut { limit: Limit::Attempt, stop: Stop::NoRetry, last: None });
    assert_eq!((trace.calls[0].attempts.len(), trace.calls[0].ended), (2, s(4)));
    assert_eq!(trace.event_names(), ["hedge_started", "timed_out", "timed_out", "call_failed"]);
}

#[test]
fn case_47_the_deadline_of_the_call_ends_all_attempts() {
    let config = hedged(|p| {
        p.deadline = Some(s(3));
        p.breaker = Some(trips(Trip::consecutive(9)));
        p.bulkhead = Some(slots(2, 0));
    });
    let trace = one(config, [Reply::hang()]);
    assert_eq!(trace.calls[0].end, End::TimedOut { limit: Limit::Call, stop: Stop::NoRetry, last: None });
    assert_eq!((trace.calls[0].ended, trace.events_named("timed_out").len()), (s(3), 1));
    assert_eq!(trace.stat(Stage::Breaker, "calls", "failure"), 2.0);
    assert_eq!(trace.stat(Stage::Bulkhead, "active", ""), 0.0);
}

#[test]
fn case_47_with_the_operations_scope_there_is_one_permit_for_all() {
    let breaker = stormproof::breaker::Config { scope: Scope::Operation, ..trips(Trip::consecutive(1)) };
    let config = hedged(|p| {
        p.breaker = Some(breaker);
        p.retry = Some(each_second(1));
    });
    for (replies, counted) in [
        ([S.after(s(5)), S.after(s(1)), S, S], "success"),
        ([F.after(s(5)), S.after(s(1)), S, S], "success"),
        ([F.after(ms(1)), F.after(ms(1)), S.after(s(3)), F], "success"),
        ([F.after(s(2)), F.after(s(1)), F.after(ms(1)), F], "failure"),
        ([S.after(s(5)), I, S, S], "ignored"),
    ] {
        let trace = one(config.clone(), replies);
        let count = |outcome| trace.stat(Stage::Breaker, "calls", outcome);
        let counts = ["success", "failure", "ignored"].map(|outcome| (count(outcome), outcome == counted));
        assert!(counts.iter().all(|(count, wanted)| *count == f64::from(u8::from(*wanted))), "{replies:?}: {counts:?}");
    }
}

#[test]
fn case_47_the_delay_can_be_a_percentile() {
    let delay = hedge::Delay::Percentile { percentile: 0.5, minimum_samples: 3, at_least: ms(10), otherwise: s(30) };
    let scenario = Scenario::new(policy(|p| p.hedge = Some(delay.into())));
    let scenario = scenario.every(s(1), [S.after(ms(100)); 3]).at(s(5), Call::of([S.after(s(9)), S.after(ms(100))]));
    let trace = run(&scenario);
    let hedged = &trace.calls[3].attempts;
    assert!(hedged.len() == 2 && (s(5) + ms(97)..s(5) + ms(105)).contains(&hedged[1]), "{hedged:?}");
    assert_eq!(trace.stat(Stage::Latency, "seconds", ""), 5.0, "the attempt that was overtaken counts, too");
}

#[test]
fn case_48_losers_are_gone_and_their_permits_are_back() {
    let config = hedged(|p| {
        p.bulkhead = Some(bulkhead::Config { max_queue: 1, ..slots(2, 1) });
        p.breaker = Some(trips(Trip::consecutive(1)));
    });
    // The second call waits for the slot of the loser.
    let scenario = Scenario::new(config).at(s(0), Call::of([Reply::hang(), S.after(s(1))])).at(ms(1_500), S);
    let trace = run(&scenario);
    assert_eq!(trace.calls[1].attempts, [s(2)]);
    assert_eq!(trace.stat(Stage::Bulkhead, "active", ""), 0.0);
    assert_eq!(trace.stat(Stage::Breaker, "calls", "ignored"), 1.0);
    assert_eq!(trace.stat(Stage::Breaker, "calls", "success"), 2.0);
}

/// What an attempt holds: sees how many slots are taken when it is dropped.
struct Seen {
    policy: Policy,
    active: Rc<Cell<Vec<u32>>>,
}

impl Drop for Seen {
    fn drop(&mut self) {
        let mut all = self.active.take();
        all.push(self.policy.stages().bulkhead.as_ref().unwrap().stats().active);
        self.active.set(all);
    }
}

#[tokio::test(start_paused = true)]
async fn case_48_a_loser_is_dropped_before_its_slot_is_free() {
    let builder = Policy::builder("p").bulkhead(slots(3, 0)).hedge(hedge::Config { max_hedges: 2, ..s(1).into() });
    let policy = builder.clock(&Clock::tokio()).build().unwrap();
    let active = Rc::new(Cell::new(Vec::new()));
    let call = policy.call(|cx| {
        let seen = Seen { policy: policy.clone(), active: active.clone() };
        let time = if cx.attempt() == 2 { s(5) } else { s(100) };
        async move {
            sleep(time).await;
            drop(seen);
            Ok::<_, ()>(time)
        }
    });
    assert_eq!(call.await, Ok(s(5)));
    // The winner ends with all three taken; its slot is free when the losers go, one after the other.
    assert_eq!(active.take(), [3, 2, 1]);
    assert_eq!(policy.stages().bulkhead.as_ref().unwrap().stats().active, 0);
}

#[tokio::test(start_paused = true)]
async fn case_48_what_a_winner_took_can_be_held() {
    for scope in [Scope::Attempt, Scope::Operation] {
        let clock = Clock::tokio();
        let breaker = stormproof::breaker::Config { scope, ..trips(Trip::consecutive(1)) };
        let policy = Policy::builder("p").bulkhead(slots(3, 0)).breaker(breaker).hedge(s(1)).clock(&clock);
        let policy = policy.build().unwrap();
        let (bulkhead, breaker) = (policy.stages().bulkhead.clone().unwrap(), policy.stages().breaker.clone().unwrap());
        let call = policy.call(|cx| async move {
            sleep(if cx.attempt() == 1 { s(9) } else { s(1) }).await;
            Ok::<_, ()>(cx.attempt())
        });
        let (winner, held) = call.hold().await.unwrap();
        assert_eq!((winner, bulkhead.stats().active, breaker.stats(clock.now()).successes), (2, 1, 0));
        held.settle(&Verdict::success());
        assert_eq!((bulkhead.stats().active, breaker.stats(clock.now()).successes), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_must_not_repeat_does_not_hedge() {
    let policy = Policy::builder("p").hedge(s(1)).clock(&Clock::tokio()).build().unwrap();
    assert_eq!([1, 2].map(|attempt| policy.stages().may_repeat_after(attempt)), [true, false]);
    let once = policy.once();
    let call = once.call(|cx| async move {
        sleep(s(3)).await;
        Ok::<_, ()>(cx.attempt())
    });
    assert_eq!(call.await, Ok(1));
    assert!(!once.stages().may_repeat_after(1));
}
