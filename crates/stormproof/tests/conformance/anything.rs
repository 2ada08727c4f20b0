//! Any scenario through every door: whatever is called, limited, cancelled and changed, nothing is lost and nobody
//! passes a limit. (That the doors agree to the event is asked of the cases only: here many things happen at one
//! instant, whose order is each door's own.)

use std::time::Duration;

use proptest::prelude::*;
use stormproof::breaker::{Mode, Scope};
use stormproof::{
    Backoff, Caller, Flow, Priority, Stage, Trip, breaker, bulkhead, config, hedge, latency, rate, throttle,
};
use stormproof_sim::trace::stat;
use stormproof_sim::{Action, Call, CoreDoor, Door, End, Reply, Scenario, Trace};

use crate::async_door::AsyncDoor;
use crate::given::{Retries, budget, ms, per_second, retries, slots};
use crate::sync_door::SyncDoor;

/// The longest of the times below.
const LONGEST: Duration = ms(39 * 50);

fn short() -> impl Strategy<Value = Duration> {
    (0..40_u64).prop_map(|n| ms(n * 50))
}

fn reply() -> impl Strategy<Value = Reply> {
    let what = prop_oneof![
        4 => Just(Reply::ok()),
        4 => Just(Reply::fail("ServerError")),
        1 => Just(Reply::ignored("ClientError")),
        1 => Just(Reply::ok_but_failed("Overloaded")),
        1 => Just(Reply::panic()),
        1 => Just(Reply::ok().used(9)),
        1 => Just(Reply::fail("Banned").open_for(ms(300))),
        1 => Just(Reply::fail("RateLimitError").retry_after(ms(700))),
    ];
    (what, short()).prop_map(|(reply, time)| reply.after(time))
}

fn call() -> impl Strategy<Value = Action> {
    let priority = option(proptest::sample::select(&Priority::ALL[..]));
    let flow = (0..3_u32).prop_map(Flow::of);
    let caller = (priority, option(flow)).prop_map(|(priority, flow)| Caller { priority, flow });
    let options = (0..12_u32, caller, option(short()), option(short()), option(short()));
    (proptest::collection::vec(reply(), 1..4), options).prop_map(|(replies, (cost, caller, own, inherited, cancel))| {
        let call = Call { caller, deadline: own, inherited, cancel_at: cancel, ..Call::of(replies).cost(cost) };
        Action::Call(call)
    })
}

fn option<T: Clone + std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    proptest::option::weighted(0.3, value)
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => call(),
        1 => Just(Action::Resize(1)),
        1 => Just(Action::Resize(3)),
        1 => Just(Action::Reset),
        1 => prop_oneof![Just(Mode::ForcedOpen), Just(Mode::Normal), Just(Mode::MetricsOnly)].prop_map(Action::SetMode),
    ]
}

fn config() -> impl Strategy<Value = config::Config> {
    let breaker = (1..4_u32, 1..3_u32, any::<bool>()).prop_map(|(failures, probes, operation)| breaker::Config {
        trip: vec![Trip::consecutive(failures)],
        open_duration: ms(400),
        half_open_max_calls: probes,
        half_open_timeout: Some(ms(3_000)),
        scope: if operation { Scope::Operation } else { Scope::Attempt },
        ..Default::default()
    });
    let bulkhead = (1..4_u32, 0..4_u32)
        .prop_map(|(most, queue)| bulkhead::Config { queue_timeout: ms(600), ..slots(most, queue) });
    let rate =
        (1..8_u32, 1..12_u32).prop_map(|(rate, burst)| rate::Config { max_wait: ms(900), ..per_second(rate, burst) });
    let tokens = (5..30_u32, 9..20_u32).prop_map(|(rate, burst)| per_second(rate, burst));
    let retry = (0..4_u32, any::<bool>())
        .prop_map(|(n, wait_for_half_open)| Retries { wait_for_half_open, ..retries(n, Backoff::exponential(ms(50))) });
    let percentile = (1..5_u32, short()).prop_map(|(minimum_samples, otherwise)| hedge::Delay::Percentile {
        percentile: 0.9,
        minimum_samples,
        at_least: ms(20),
        otherwise,
    });
    let delay = prop_oneof![short().prop_map(hedge::Delay::After), percentile];
    let hedge = (delay, 1..4_u32).prop_map(|(delay, max_hedges)| hedge::Config { delay, max_hedges });
    let throttle = (1.0..2.0, 0..6_u32).prop_map(|(multiplier, min_requests)| throttle::Config {
        multiplier,
        min_requests,
        window: ms(800),
        ..Default::default()
    });
    let limits = (option(short()), option(short()), option(Just(latency::Config::default())), option(throttle));
    let stages = (option(breaker), option(bulkhead), option(rate), option(tokens), option(retry), option(hedge));
    (limits, stages).prop_map(|(limits, (breaker, bulkhead, rate, tokens, retry, hedge))| {
        let (deadline, attempt_timeout, latency, throttle) = limits;
        let positive = |limit: Duration| limit.max(ms(1));
        config::Config {
            deadline: deadline.map(positive),
            attempt_timeout: attempt_timeout.map(positive),
            budget: (retry.is_some() || hedge.is_some()).then(|| budget(0.2, 3)),
            retry,
            hedge,
            throttle,
            breaker,
            bulkhead,
            rate,
            tokens,
            latency,
            priority: None,
        }
    })
}

/// The same with nobody who drops a call.
fn undisturbed(mut scenario: Scenario) -> Scenario {
    for (_, action) in &mut scenario.timeline {
        if let Action::Call(call) = action {
            call.cancel_at = None;
        }
    }
    scenario
}

/// Every call ends in time, or so much late, and at the end nobody holds or waits for anything.
fn check(scenario: &Scenario, trace: &Trace, late: Duration) {
    let rounds = scenario.config.retry.as_ref().map_or(1, |retry| retry.max_retries + 1);
    let most = (rounds * scenario.config.hedge.map_or(1, |hedge| hedge.max_hedges + 1)) as usize;
    for ((began, call), made) in scenario.calls().zip(&trace.calls) {
        let own = call.deadline.or(scenario.config.deadline).unwrap_or(Duration::MAX);
        let limit = own.min(call.inherited.unwrap_or(Duration::MAX));
        assert!(
            made.ended <= began.saturating_add(limit).saturating_add(late),
            "past its deadline: {call:?}: {made:?}"
        );
        assert!(made.attempts.len() <= most, "{made:?}");
        let cancelled = call.cancel_at.unwrap_or(Duration::MAX).max(began);
        assert!(made.ended <= cancelled, "went on after it was dropped: {made:?}");
        assert!(made.end != End::Cancelled || call.cancel_at.is_some());
    }
    let at_rest = [
        (Stage::Bulkhead, "active"),
        (Stage::Bulkhead, "queued"),
        (Stage::Rate, "waiting"),
        (Stage::Breaker, "half_open_calls"),
    ];
    for (stage, metric) in at_rest {
        for snapshot in trace.stages.iter().filter(|snapshot| snapshot.stage == stage) {
            assert_eq!(stat(std::slice::from_ref(snapshot), stage, metric, ""), 0.0, "{stage:?} {metric}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_is_lost_whatever_happens(
        config in config(),
        timeline in proptest::collection::vec((short(), action()), 1..25),
    ) {
        let scenario = timeline.into_iter().fold(Scenario::new(config), |all, (at, action)| all.at(at, action));
        check(&scenario, &CoreDoor::TOKIO.run(&scenario), Duration::ZERO);
        check(&scenario, &AsyncDoor.run(&scenario), Duration::ZERO);
        #[cfg(feature = "tower")]
        check(&scenario, &crate::tower_door::TowerDoor.run(&scenario), Duration::ZERO);
        // The last attempt ends by itself.
        let undisturbed = undisturbed(scenario);
        check(&undisturbed, &SyncDoor.run(&undisturbed), LONGEST);
    }
}
