//! The throttle: its formula, its window, and its share of refusals.

use std::time::Duration;

use super::*;

const BUSY: Verdict<'static> = Verdict::failure("ServerError.503");

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

fn throttle(change: impl FnOnce(&mut Config)) -> Throttle {
    let mut config = Config { window: Duration::from_secs(10), ..Config::default() };
    change(&mut config);
    Throttle::with_config("t", config).unwrap().seed(7)
}

/// Answers of which some are accepts.
fn answer(throttle: &Throttle, now: Instant, requests: u32, accepts: u32) {
    (0..accepts).for_each(|_| throttle.settle(now, &Verdict::success()));
    (accepts..requests).for_each(|_| throttle.settle(now, &BUSY));
}

#[test]
fn the_probability_is_that_of_the_book() {
    for (requests, accepts, probability) in [
        (120, 30, 60.0 / 121.0),
        (120, 60, 0.0),
        (120, 59, 2.0 / 121.0),
        (120, 120, 0.0),
        (10, 0, 0.9),
        (9, 0, 0.0),
        (1000, 0, 0.9),
    ] {
        let throttle = throttle(|_| ());
        answer(&throttle, at(0), requests, accepts);
        let stats = throttle.stats(at(0));
        assert_eq!((stats.requests, stats.accepts), (requests, accepts));
        assert!((stats.probability - probability).abs() < 1e-12, "{stats:?}");
    }
}

#[test]
fn the_share_that_is_refused_is_the_probability_and_refusals_count_as_requests() {
    let throttle = throttle(|_| ());
    answer(&throttle, at(0), 120, 30);
    let refused = (0..1_000).filter(|_| throttle.ask(at(1)).0.is_err()).count();
    let stats = throttle.stats(at(1));
    assert_eq!((stats.refused, u64::from(stats.requests)), (refused as u64, 120 + refused as u64));
    // Each refusal makes the next more likely, up to nine in ten.
    assert!((800..=900).contains(&refused), "{refused}");
}

#[test]
fn any_answer_but_overload_and_a_time_out_is_an_accept() {
    let overloaded = [
        Verdict::failure("RateLimitError.429"),
        Verdict::failure("ServerError.503"),
        Verdict::failure("ServerError.529"),
        Verdict::failure("TimeoutError"),
        Verdict::failure("Busy").retry_after(Duration::from_secs(1)),
        Verdict::failure("Busy").overload(true),
        Verdict::ignored("Busy").overload(true),
    ];
    let accepted = [
        Verdict::success(),
        Verdict::failure("ServerError.500"),
        Verdict::ignored("ClientError.404"),
        Verdict::failure("ServerError.503").overload(false),
    ];
    let throttle = throttle(|_| ());
    overloaded.iter().chain(&accepted).for_each(|verdict| throttle.settle(at(0), verdict));
    // A call that had less time than it should have had tells nothing.
    throttle.settle(at(0), &Verdict::ignored("TimeoutError"));
    let stats = throttle.stats(at(0));
    assert_eq!((stats.requests, stats.accepts), (11, 4));
}

#[test]
fn the_window_slides_also_on_read_and_a_time_that_goes_back_is_the_newest() {
    let throttle = throttle(|_| ());
    answer(&throttle, at(500), 20, 0);
    answer(&throttle, at(5_500), 20, 20);
    let requests = |now| throttle.stats(at(now)).requests;
    assert_eq!([500, 9_000, 10_500].map(requests), [40; 3]);
    assert_eq!([11_000, 15_900, 16_000].map(requests), [20, 20, 0]);
    answer(&throttle, at(3), 20, 0);
    assert_eq!([16_000, 26_500, 27_000].map(requests), [20, 20, 0]);
}

#[test]
fn it_tells_when_it_begins_and_when_it_has_ended() {
    let throttle = throttle(|_| ());
    answer(&throttle, at(0), 120, 0);
    let changes = |now| (0..100).filter_map(|_| throttle.ask(at(now)).1).collect::<Vec<_>>();
    assert_eq!(changes(1), [Change::Began { requests: 120, accepts: 0 }]);
    assert_eq!(changes(5_000), []);
    let refused = throttle.stats(at(5_000)).refused;
    assert_eq!(changes(16_000), [Change::Ended { refused }]);
    assert_eq!(changes(30_000), []);
}

#[test]
fn other_settings_keep_the_counts_unless_the_window_is_another() {
    let throttle = throttle(|_| ());
    answer(&throttle, at(0), 100, 50);
    let config = throttle.config();
    throttle.update(Config { multiplier: 1.0, ..config.clone() }).unwrap();
    assert!(throttle.stats(at(0)).probability > 0.4);
    assert!((0..50).any(|_| throttle.ask(at(0)).0.is_err()));
    throttle.update(Config { window: Duration::from_secs(1), ..config }).unwrap();
    answer(&throttle, at(60_000), 10, 10);
    assert_eq!(throttle.stats(at(60_000)).requests, 10);
}

#[test]
fn mistakes_are_named() {
    for number in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
        let config =
            Config { multiplier: number, max_refused: number - 1.5, window: Duration::MAX, ..Config::default() };
        let fields: Vec<String> = config.validate().into_iter().map(|mistake| mistake.field).collect();
        assert_eq!(fields, ["multiplier", "max_refused", "window"], "{number}");
    }
}
