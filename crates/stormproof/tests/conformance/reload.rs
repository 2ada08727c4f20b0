//! 55, 56: settings that change, and settings that contradict.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use stormproof::breaker::State;
use stormproof::event::Kind;
use stormproof::{Clock, Event, Registry, Trip, config, registry};

use crate::given::{per_second, policy, s, slots, trips};

/// In the place of 55 that needs no file; the file itself is watched by the settings.
#[tokio::test]
async fn case_55_a_changed_threshold_keeps_state_and_counts_and_a_mistake_changes_nothing() {
    let clock = Clock::manual();
    let registry = Registry::with_clock(registry::Config::default(), &clock).unwrap();
    let settings = |failures, rate| -> BTreeMap<String, config::Config> {
        let api = policy(|p| {
            p.breaker = Some(trips(Trip::consecutive(failures)));
            p.bulkhead = Some(slots(2, 0));
            p.rate = Some(per_second(rate, 10));
        });
        [("api".to_owned(), api)].into()
    };
    registry.apply(settings(5, 10)).unwrap();
    let fails = async || registry.policy("api").call(|_| async { Err::<(), _>("down") }).await.unwrap_err();
    for _ in 0..2 {
        fails().await;
    }

    assert!(registry.apply(settings(0, 0)).unwrap_err().len() > 1, "all mistakes at once");
    assert_eq!(registry.policy("api").stages().config(), settings(5, 10)["api"], "the last good one stays");

    registry.apply(settings(3, 20)).unwrap();
    let breaker = registry.breaker("api");
    assert_eq!((breaker.state(), breaker.stats().consecutive_failures), (State::Closed, 2));
    let left = registry.find::<stormproof::RateLimiter>("api").unwrap().stats().available;
    assert_eq!(left, 8, "what was used is used");
    fails().await;
    assert_eq!(breaker.state(), State::Open, "the third, under the new threshold");

    registry.apply(settings(9, 20)).unwrap();
    assert_eq!((breaker.state(), breaker.stats().remaining), (State::Open, s(60)), "open it stays");
}

#[test]
fn case_56_a_name_registered_twice_keeps_its_first_settings_and_an_event_says_so() {
    let registry = Registry::new();
    let heard: Arc<Mutex<Vec<Event>>> = Arc::default();
    let events = heard.clone();
    registry.on_event(move |event| events.lock().unwrap().push(event.clone()));
    registry.breaker_with("x", trips(Trip::consecutive(3))).unwrap();
    let second = registry.breaker_with("x", trips(Trip::consecutive(9))).unwrap();
    assert_eq!(second.config(), trips(Trip::consecutive(3)));
    let heard = heard.lock().unwrap();
    let [Event { kind: Kind::RegisteredTwice { name, differs }, .. }] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!((name.as_str(), &**differs), ("x", "breaker.trip is [Consecutive(3)], given [Consecutive(9)]"));
}
