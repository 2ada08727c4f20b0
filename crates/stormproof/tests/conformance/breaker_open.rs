//! Breaker: open and forced (cases 11 to 18).

use std::time::Duration;

use stormproof::breaker::{Cause, Mode, State, Transition};
use stormproof::event::Kind;
use stormproof::{Event, Instant, Reason, Stage, Trip, Verdict};
use stormproof_core as core;
use stormproof_sim::{Action, Call, End, Reply};

use crate::given::{F, S, ms, run, s, trips, with_breaker};

/// The transition that an event tells of.
fn transition(event: &Event) -> Transition {
    let Kind::Circuit { transition, .. } = event.kind else { panic!("{event:?}") };
    transition
}

#[test]
fn case_11_the_wait_shrinks_and_then_an_admission_takes_a_permit() {
    let scenario =
        with_breaker(Trip::consecutive(1), |_| ()).at(s(0), Action::Look).at(s(0), F).at(s(20), Action::Look);
    let trace = run(&scenario.at(s(60), S.after(s(1))).at(ms(60_500), Action::Look));
    let remaining = |look| trace.seen(look, Stage::Breaker, "open_remaining_seconds", "");
    assert_eq!([0, 1, 2].map(remaining), [0.0, 40.0, 0.0]);
    assert_eq!(trace.seen(2, Stage::Breaker, "state", "half_open"), 1.0);
    assert_eq!(trace.seen(2, Stage::Breaker, "half_open_calls", ""), 1.0);
    assert_eq!(trace.events_named("circuit_half_open")[0].at, Instant::ZERO + s(60));
}

#[test]
fn case_12_a_refusal_says_who_why_and_until_when_and_keeps_one_cause() {
    let scenario = with_breaker(Trip::consecutive(1), |_| ()).at(s(0), Reply::fail("ServerError"));
    let trace = run(&scenario.all_at(s(1), [S; 100]));
    let expected = End::Refused {
        stage: Stage::Breaker,
        name: "p".into(),
        reason: Reason::Open,
        retry_after: s(59),
        cause: Some("ServerError".into()),
        last: None,
        timed_out: None,
    };
    assert_eq!(trace.ends()[1..], vec![expected; 100]);
}

#[test]
fn case_12_the_text_names_the_last_failure_once_however_often_was_refused() {
    let breaker = core::CircuitBreaker::with_config("b", trips(Trip::consecutive(1))).unwrap();
    let mut permit = breaker.admit(Instant::ZERO).unwrap();
    breaker.settle(&mut permit, Instant::ZERO, &Verdict::failure("ServerError"));
    let texts: Vec<_> = (0..100).map(|_| breaker.admit(Instant::ZERO).unwrap_err().to_refused().to_string()).collect();
    assert_eq!(texts[99], texts[0]);
    assert_eq!(texts[99], "breaker \"b\" refused: the circuit is open, retry in 60.000 s (last failure: ServerError)");
}

#[test]
fn case_13_opens_in_a_row_wait_longer_and_closing_resets_that() {
    let scenario = with_breaker(Trip::consecutive(1), |breaker| {
        breaker.open_duration = s(10);
        breaker.open_factor = 2.0;
        breaker.max_open_duration = Some(s(35));
        breaker.success_threshold = 1;
    });
    let trace = run(&scenario.at(s(0), F).at(s(10), F).at(s(30), F).at(s(65), F).at(s(100), S).at(s(101), F));
    let waits: Vec<_> = trace.events_named("circuit_opened").iter().map(|e| transition(e).open_for).collect();
    assert_eq!(waits, [10, 20, 35, 35, 10].map(s));
}

#[test]
fn case_14_a_wait_past_the_end_of_time_saturates() {
    let scenario = with_breaker(Trip::consecutive(1), |breaker| breaker.open_duration = Duration::MAX);
    let trace = run(&scenario.at(s(0), F).at(s(1), S));
    let longest = Instant::FAR_FUTURE.since(Instant::ZERO + s(1));
    assert_eq!(trace.calls[1].end.retry_after(), Some(longest));
}

#[test]
fn case_15_an_outcome_that_names_its_duration_opens_for_that_long() {
    let banned = Reply::fail("RateLimitError").open_for(s(300));
    let trace = run(&with_breaker(Trip::consecutive(5), |_| ()).at(s(0), banned).at(s(299), S).at(s(300), S));
    assert_eq!(trace.reasons(), [None, Some(Reason::Open), None]);
    assert_eq!(transition(trace.events_named("circuit_opened")[0]).cause, Cause::Banned);

    let probe = with_breaker(Trip::consecutive(1), |_| ()).at(s(0), F).at(s(60), banned).at(s(359), S).at(s(360), S);
    assert_eq!(run(&probe).reasons(), [None, None, Some(Reason::Open), None]);
}

#[test]
fn case_16_a_late_failure_neither_opens_again_nor_extends_the_wait() {
    let scenario = with_breaker(Trip::consecutive(1), |_| ()).at(s(0), F.after(s(30))).at(s(1), F);
    let trace = run(&scenario.at(s(60), S).at(s(61), S));
    assert_eq!(trace.events_named("circuit_opened").len(), 1);
    assert_eq!(trace.calls[2].end.retry_after(), Some(s(1)));
    assert_eq!(trace.calls[3].end, End::Ok);
    assert_eq!(trace.stat(Stage::Breaker, "stale", ""), 1.0);

    let forced = with_breaker(Trip::consecutive(1), |_| ()).at(s(0), F.after(s(2))).at(s(1), Mode::ForcedOpen);
    assert_eq!(run(&forced.at(s(3), S)).circuit_events(), ["circuit_opened"]);
}

#[test]
fn case_17_forced_open_outlasts_the_wait() {
    let trace =
        run(&with_breaker(Trip::consecutive(1), |_| ()).at(s(0), Mode::ForcedOpen).at(s(61), S).at(s(6_000), S));
    assert_eq!(trace.reasons(), [Some(Reason::ForcedOpen); 2]);
    assert_eq!(trace.calls[0].end.retry_after(), Some(Duration::ZERO));
    assert_eq!(transition(trace.events_named("circuit_opened")[0]).open_for, Duration::MAX);
}

#[test]
fn case_17_disabled_lets_all_pass_and_records_nothing() {
    let disabled = with_breaker(Trip::consecutive(1), |breaker| breaker.mode = Mode::Disabled);
    let trace = run(&disabled.every(ms(1), [F, F, S]));
    assert_eq!((trace.attempts(), trace.circuit_events().len()), (3, 0));
    let calls = |outcome| trace.stat(Stage::Breaker, "calls", outcome);
    assert_eq!((calls("success"), calls("failure")), (0.0, 0.0));
}

#[test]
fn case_17_metrics_only_records_and_says_each_time_that_it_would_have_opened() {
    let metrics = with_breaker(Trip::consecutive(2), |breaker| breaker.mode = Mode::MetricsOnly);
    let trace = run(&metrics.every(ms(1), [F, F, F, F, S, F, F]));
    assert_eq!((trace.attempts(), trace.circuit_events()), (7, vec!["circuit_would_open"; 2]));
    assert_eq!(trace.stat(Stage::Breaker, "would_open", ""), 2.0);
    assert_eq!(trace.stat(Stage::Breaker, "calls", "failure"), 6.0);
    assert_eq!(trace.stat(Stage::Breaker, "state", "closed"), 1.0);
}

#[test]
fn case_18_a_transition_to_the_same_state_is_silent_and_opening_carries_its_counts() {
    let twice = [Action::Reset, Mode::Disabled.into(), Mode::ForcedOpen.into(), Mode::ForcedOpen.into(), Action::Reset];
    let trace = run(&with_breaker(Trip::consecutive(3), |_| ()).every(ms(1), twice));
    assert_eq!(trace.circuit_events(), ["circuit_opened", "circuit_closed"]);

    let trace = run(&with_breaker(Trip::cumulative(3), |_| ()).every(ms(1), [F, S, F, F]).at(ms(4), Call::of([S])));
    let opened = transition(trace.events_named("circuit_opened")[0]);
    assert_eq!((opened.from, opened.to, opened.count.failures), (State::Closed, State::Open, 3));
    assert_eq!(opened.cause, Cause::Tripped(Trip::cumulative(3)));
}
