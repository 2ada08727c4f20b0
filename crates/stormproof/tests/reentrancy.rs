//! What listeners and wakers do runs under no lock, so they may use whatever told them: those tests would hang if not. And what
//! several do at once ends as if one had done it after the other.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use stormproof::registry::{self, KeyedBulkheads};
use stormproof::{Registry, breaker, bulkhead, config};

/// Fails if `work` does not come to its end.
fn ends(work: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let worker = thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    match is_done.recv_timeout(Duration::from_secs(20)) {
        Ok(()) => worker.join().unwrap(),
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{:?}", worker.join().err()),
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("a listener waits for a lock that its own thread has"),
    }
}

/// Has every listener make and forget what it can; what comes back are the events.
fn meddle_with(registry: &Registry) -> Arc<Mutex<Vec<&'static str>>> {
    let heard = Arc::<Mutex<Vec<_>>>::default();
    let (told, meddled) = (heard.clone(), registry.clone());
    registry.on_event(move |event| {
        told.lock().unwrap().push(event.kind.as_str());
        if told.lock().unwrap().len() < 10 {
            let _ = meddled.policy("another");
            let _ = meddled.breaker("another");
            let _ = meddled.configure("another", config::Config::default());
            let _ = meddled.remove("another");
        }
    });
    heard
}

fn with_breaker(open_duration: Duration) -> config::Config {
    let breaker = breaker::Config { open_duration, ..Default::default() };
    config::Config { breaker: Some(breaker), ..Default::default() }
}

#[test]
fn a_listener_uses_the_registry_that_a_policy_is_made_in() {
    ends(|| {
        let registry = Registry::new();
        let heard = meddle_with(&registry);
        registry.breaker("a");
        registry.policy_with("a", with_breaker(Duration::from_secs(1))).unwrap();
        assert_eq!(heard.lock().unwrap()[0], "registered_twice");
    });
}

#[test]
fn a_listener_uses_the_registry_that_is_reloaded() {
    ends(|| {
        let config = registry::Config { max_entries: 1, ..Default::default() };
        let registry = Registry::with_clock(config, &stormproof::Clock::manual()).unwrap();
        let heard = meddle_with(&registry);
        let _held = registry.breaker("a");
        let configs = BTreeMap::from([("b".to_owned(), with_breaker(Duration::from_secs(1)))]);
        registry.apply(configs).unwrap();
        assert_eq!(heard.lock().unwrap()[0], "too_many_names");
    });
}

#[test]
fn of_two_reloads_at_once_one_is_in_force_as_a_whole() {
    let registry = Registry::new();
    let config = |seconds: u64| {
        let time = Duration::from_secs(seconds);
        config::Config { deadline: Some(time), ..with_breaker(time) }
    };
    for round in 0..300 {
        let start = Barrier::new(2);
        thread::scope(|scope| {
            for seconds in [1 + 2 * round, 2 + 2 * round] {
                let (registry, start) = (&registry, &start);
                scope.spawn(move || {
                    start.wait();
                    registry.configure("p", config(seconds)).unwrap();
                });
            }
        });
        let present = registry.policy("p").stages().config();
        assert_eq!(present.deadline, present.breaker.map(|breaker| breaker.open_duration), "in round {round}");
    }
}

#[test]
fn of_two_updates_at_once_one_is_in_force_for_all_keys() {
    let config = |max_concurrent| bulkhead::Config { max_concurrent, ..Default::default() };
    let keys = KeyedBulkheads::new("k", config(1)).unwrap();
    (0..20).for_each(|key| drop(keys.get(&key.to_string())));
    for round in 0..300 {
        let start = Barrier::new(2);
        thread::scope(|scope| {
            for most in [1 + 2 * round, 2 + 2 * round] {
                let (keys, start) = (&keys, &start);
                scope.spawn(move || {
                    start.wait();
                    keys.update(&config(most)).unwrap();
                });
            }
        });
        let all: BTreeSet<u32> = keys.list().into_iter().map(|(_, stage)| stage.config().max_concurrent).collect();
        assert_eq!(all.len(), 1, "{all:?} in round {round}");
    }
}
