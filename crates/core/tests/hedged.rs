//! Hedges and what is measured about attempts, in whole calls.
#![cfg(not(loom))]
#![cfg(test)]

use std::time::Duration;

use stormproof_core::{
    Call, Input, Instant, NoEdge, Outcome, Policy, Step, Verdict, adaptive, bulkhead, hedge, latency, policy,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Drives a call whose attempts take as long as `takes` says, one after the other, and says when it was over.
fn drive(policy: &Policy, begun: Instant, mut takes: impl FnMut(u32) -> Duration) -> (Instant, u32) {
    let mut call = Call::new(begun, policy.deadline_at(begun));
    let (mut now, mut input) = (begun, Input::Resume);
    let mut running: Vec<(u32, Instant)> = Vec::new();
    loop {
        match call.next(policy, now, input, &mut NoEdge) {
            Step::Attempt { number, until, .. } => {
                if number == call.attempts() && running.iter().all(|(known, _)| *known < number) {
                    running.push((number, now + takes(number)));
                }
                let (first, ends) = *running.iter().min_by_key(|(_, ends)| *ends).unwrap();
                now = ends.min(until).max(now);
                input = Input::Resume;
                if ends <= now {
                    running.retain(|(number, _)| *number != first);
                    input = Input::Finished(first, Verdict::success());
                }
            }
            Step::Cancel { number } => {
                running.retain(|(running, _)| *running != number);
                input = Input::Resume;
            }
            Step::Queued { until, .. } | Step::BackOff { until } | Step::Ready { until, .. } => {
                (now, input) = (until, Input::Resume);
            }
            Step::Done(_) => return (now, call.attempts()),
        }
    }
}

#[test]
fn a_percentile_does_not_run_away_because_of_the_hedges_it_starts() {
    let hedge = hedge::Config::from(hedge::Delay::percentile(0.95));
    let policy = policy::Config { hedge: Some(hedge), ..Default::default() }.build("tests", 7).unwrap();
    let (mut now, mut seed) = (Instant::ZERO, 7u64);
    let mut hedged = 0;
    for number in 0..40_000 {
        // 10 ms and then a long tail, 100 ms on average.
        let mut draw = |_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let share = ((seed >> 33) as f64 + 1.0) / f64::from(1u32 << 31);
            ms(10) + ms(100).mul_f64(-share.ln())
        };
        let (over, attempts) = drive(&policy, now, &mut draw);
        now = over;
        hedged += u32::from(number >= 20_000 && attempts > 1);
    }
    assert!((500..=1_400).contains(&hedged), "{hedged} of 20000 calls were hedged, 5 % are meant to be");
}

#[test]
fn an_answer_that_is_judged_later_is_measured() {
    let config = policy::Config { latency: Some(latency::Config::default()), ..Default::default() };
    let policy = config.build("tests", 7).unwrap();
    let mut call = Call::new(Instant::ZERO, Instant::FAR_FUTURE);
    let _ = call.next(&policy, Instant::ZERO, Input::Resume, &mut NoEdge);
    let _ = call.next(&policy, Instant::ZERO + ms(30), Input::Answered(1, Outcome::Success), &mut NoEdge);
    call.hold().settle(&policy, Instant::ZERO + ms(9_000), &Verdict::success(), &mut NoEdge);
    let latency = policy.latency.unwrap();
    assert_eq!((latency.count(), latency.sum()), (1, ms(30)));
}

/// A call around this one that leaves less time than an attempt needs.
#[test]
fn a_time_that_was_inherited_does_not_lower_an_adaptive_limit() {
    let adaptive = adaptive::Config { window: ms(1), min_samples: 5, ..Default::default() };
    let bulkhead = bulkhead::Config { max_concurrent: 100, adaptive: Some(adaptive), ..Default::default() };
    let config = policy::Config { attempt_timeout: Some(ms(1_000)), bulkhead: Some(bulkhead), ..Default::default() };
    let policy = config.build("tests", 7).unwrap();
    for number in 0..200 {
        let now = Instant::ZERO + ms(number * 10);
        let mut call = Call::new(now, policy.deadline_at(now));
        call.inherit(now + ms(10));
        let _ = call.next(&policy, now, Input::Resume, &mut NoEdge);
        assert!(matches!(call.next(&policy, now + ms(10), Input::Resume, &mut NoEdge), Step::Cancel { .. }));
        assert!(matches!(call.next(&policy, now + ms(10), Input::Resume, &mut NoEdge), Step::Done(_)));
    }
    assert_eq!(policy.bulkhead.unwrap().stats().max_concurrent, 100);
}
