//! Reloading: the last good file stays, state and counts stay, watching goes on.

use std::sync::{Arc, Mutex};

use stormproof_core::breaker::State;

use super::*;
use crate::Clock;

/// A file of its own, gone with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("stormproof-{name}-{}.toml", std::process::id())))
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn registry() -> (Registry, Arc<Mutex<Vec<String>>>) {
    let registry = Registry::with_clock(crate::registry::Config::default(), &Clock::manual()).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let writer = told.clone();
    registry.on_event(move |event| {
        let name = event.kind.as_str();
        if name.ends_with("reloaded") {
            assert_eq!(event.policy.as_str(), "", "no policy's");
            writer.lock().unwrap().push(name.to_owned());
        }
    });
    (registry, told)
}

async fn fail(registry: &Registry, times: u32) {
    let policy = registry.policy("p");
    for _ in 0..times {
        let _ = policy.call(|_| async { Err::<(), _>("down") }).await;
    }
}

// Conformance case 55.
#[tokio::test]
async fn a_bad_file_leaves_the_last_good_one_and_a_good_one_keeps_state_and_counts() {
    let (file, (registry, told)) = (File::new("reload"), registry());
    file.write("[policies.p]\nbreaker.trip = 5\n");
    let mut reloader = Reloader::new(&file.0, &registry);
    assert_eq!(reloader.load().unwrap().added, ["p".into()]);
    assert!(reloader.look().is_none(), "nothing has changed");
    fail(&registry, 2).await;

    file.write("[policies.p]\nbreaker.trip = 'x'\nbreaker.nope = 1\n");
    let error = reloader.look().unwrap().unwrap_err();
    assert_eq!(error.to_string().lines().count(), 2, "{error}");
    assert!(error.to_string().contains(":2:16: policies.p.breaker.trip: "), "{error}");
    assert!(Arc::ptr_eq(reloader.error().unwrap(), &error));
    assert!(reloader.look().is_none(), "told once");
    fail(&registry, 1).await;
    let breaker = registry.breaker("p");
    assert_eq!((breaker.state(), breaker.stats().failures), (State::Closed, 3), "the last good file is in force");

    file.write("[policies.p]\nbreaker.trip = 4\n");
    assert_eq!(reloader.look().unwrap().unwrap().changed.len(), 1);
    assert!(reloader.error().is_none());
    assert_eq!(breaker.stats().failures, 3, "counts stay");
    fail(&registry, 1).await;
    assert_eq!(breaker.state(), State::Open, "the fourth in a row, by the new threshold");

    file.write("[policies.p]\nbreaker.trip = 9\n");
    assert!(reloader.look().unwrap().is_ok());
    assert_eq!(breaker.state(), State::Open, "the state stays");
    assert_eq!(*told.lock().unwrap(), ["not_reloaded", "reloaded", "reloaded"]);
}

#[tokio::test]
async fn a_file_that_is_away_is_told_once_and_read_when_it_is_back() {
    let (file, (registry, told)) = (File::new("away"), registry());
    let mut reloader = Reloader::new(&file.0, &registry);
    assert!(reloader.load().unwrap_err().to_string().starts_with("cannot read "));
    assert!(reloader.look().is_none());
    file.write("[policies.p]\n");
    assert!(reloader.look().unwrap().is_ok());
    std::fs::remove_file(&file.0).unwrap();
    assert!(reloader.look().unwrap().is_err());
    assert!(reloader.look().is_none());
    std::fs::write(&file.0, b"\xff").unwrap();
    assert!(reloader.look().unwrap().is_err());
    assert_eq!(*told.lock().unwrap(), ["reloaded", "not_reloaded", "not_reloaded"]);
}

#[tokio::test(start_paused = true)]
async fn the_watch_looks_again_and_again() {
    let (file, (registry, _)) = (File::new("watch"), registry());
    file.write("[policies.p]\nbreaker.trip = 5\n");
    let mut reloader = Reloader::new(&file.0, &registry).every(Duration::from_secs(1));
    reloader.load().unwrap();
    let watch = tokio::spawn(reloader.run());
    for (text, threshold) in
        [("[policies.p]\nbreaker.trip = 2\n", 2), ("bad", 2), ("[policies.p]\nbreaker.trip = 7\n", 7)]
    {
        file.write(text);
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let config = registry.policy("p").stages().breaker.as_ref().unwrap().config();
        assert_eq!(config.trip, [stormproof_core::Trip::consecutive(threshold)], "{text}");
    }
    watch.abort();
}
