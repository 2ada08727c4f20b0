//! The throttle against a model that is obviously right: a list of requests with their times.
#![cfg(not(loom))]
#![cfg(test)]

use std::time::Duration;

use proptest::prelude::*;
use stormproof_core::throttle::Config;
use stormproof_core::{Instant, Throttle, Verdict};

#[derive(Clone, Debug)]
enum Op {
    Ask,
    Answer { accepted: bool, times: u32 },
    Advance(Duration),
    Update { multiplier: f64, min_requests: u32, max_refused: f64, window: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    let settings = (1.0..3.0, 0..30_u32, 0.0..0.99, prop_oneof![Just(10_u64), Just(11)]);
    prop_oneof![
        6 => Just(Op::Ask),
        6 => (any::<bool>(), 1..20_u32).prop_map(|(accepted, times)| Op::Answer { accepted, times }),
        6 => (0..6_000_u64).prop_map(|ms| Op::Advance(Duration::from_millis(ms))),
        1 => settings.prop_map(|(multiplier, min_requests, max_refused, window)| {
            Op::Update { multiplier, min_requests, max_refused, window }
        }),
    ]
}

#[derive(Debug)]
struct Model {
    config: Config,
    /// In which part of the window each request was, and whether it was accepted.
    requests: Vec<(u64, bool)>,
    refused: u64,
}

impl Model {
    fn part(&self, now: Instant) -> u64 {
        now.as_nanos() / (u64::try_from(self.config.window.as_nanos()).unwrap() / 10)
    }

    fn add(&mut self, now: Instant, accepted: bool) {
        self.requests.push((self.part(now), accepted));
    }

    fn counts(&mut self, now: Instant) -> (u32, u32) {
        let part = self.part(now);
        self.requests.retain(|(at, _)| part - at <= 10);
        let accepts = self.requests.iter().filter(|(_, accepted)| *accepted).count();
        (u32::try_from(self.requests.len()).unwrap(), u32::try_from(accepts).unwrap())
    }

    fn probability(&mut self, now: Instant) -> f64 {
        let (requests, accepts) = self.counts(now);
        if requests < self.config.min_requests {
            return 0.0;
        }
        let (requests, accepts) = (f64::from(requests), f64::from(accepts));
        ((requests - self.config.multiplier * accepts) / (requests + 1.0)).max(0.0).min(self.config.max_refused)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn behaves_like_a_list(ops in prop::collection::vec(op(), 1..150), seed in any::<u64>()) {
        let config = Config { window: Duration::from_secs(10), ..Config::default() };
        let throttle = Throttle::with_config("model", config.clone()).unwrap().seed(seed);
        let mut model = Model { config, requests: Vec::new(), refused: 0 };
        let mut now = Instant::ZERO;
        for op in ops {
            match op {
                Op::Ask => {
                    let refused = throttle.ask(now).0.is_err();
                    prop_assert!(!refused || model.probability(now) > 0.0);
                    if refused {
                        model.add(now, false);
                        model.refused += 1;
                    }
                }
                Op::Answer { accepted, times } => for _ in 0..times {
                    let verdict = if accepted { Verdict::failure("ServerError.500") } else { Verdict::failure("TimeoutError") };
                    throttle.settle(now, &verdict);
                    model.add(now, accepted);
                },
                Op::Advance(time) => now = now + time,
                Op::Update { multiplier, min_requests, max_refused, window } => {
                    let window = Duration::from_secs(window);
                    if window != model.config.window {
                        model.requests.clear();
                    }
                    model.config = Config { multiplier, min_requests, max_refused, window, ..model.config };
                    throttle.update(model.config.clone()).unwrap();
                }
            }
            let stats = throttle.stats(now);
            prop_assert_eq!((stats.requests, stats.accepts), model.counts(now));
            prop_assert!((stats.probability - model.probability(now)).abs() < 1e-12);
            prop_assert_eq!(stats.refused, model.refused);
        }
    }
}
