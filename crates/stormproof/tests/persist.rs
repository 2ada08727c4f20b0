//! The state of a registry across processes: T43, T44, and what a crash leaves.
#![cfg(feature = "persist")]
#![cfg(test)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use stormproof::breaker::{self, Mode, State};
use stormproof::persist::{Config, Error};
use stormproof::{CircuitBreaker, Clock, Registry, Trip, registry};

/// A folder of its own for each test, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("stormproof-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("breakers.json")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A registry of a process of its own, with a clock of its own.
fn process(folder: &Folder) -> (Registry, Clock, usize) {
    let clock = Clock::manual();
    clock.advance(Duration::from_millis(7));
    let registry = Registry::with_clock(registry::Config::default(), &clock).unwrap();
    let taken = registry.persist(Config::new(folder.file())).unwrap();
    (registry, clock, taken)
}

fn fail(breaker: &CircuitBreaker, times: u32) {
    for _ in 0..times {
        breaker.allow_request().unwrap();
        breaker.record_failure("TimeoutError");
    }
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn t_43_the_state_goes_on_in_the_next_process() {
    let folder = Folder::new("t43");
    let (before, clock, taken) = process(&folder);
    assert_eq!(taken, 0);
    fail(&before.breaker("half"), 5);
    clock.advance(s(100));
    fail(&before.breaker("open"), 5);
    fail(&before.breaker("counting"), 4);
    before.breaker("forced").set_mode(Mode::ForcedOpen);
    before.breaker("open").allow_request().unwrap_err();
    clock.advance(s(18));
    let history = before.breaker("open").history();
    assert_eq!(before.save(), Ok(4));
    drop(before);

    let (after, clock, taken) = process(&folder);
    assert_eq!((taken, after.list().len()), (4, 0));
    let open = after.breaker("open");
    let stats = open.stats();
    assert_eq!((stats.state, stats.remaining), (State::Open, s(42)), "time between is not taken off");
    assert_eq!((stats.failures, stats.refused, stats.opened), (5, 1, 1));
    assert_eq!(stats.last_cause.as_deref(), Some("TimeoutError"));
    let ago = stats.last_failure_ago.unwrap();
    assert!(s(18) <= ago && ago <= s(78), "with the time between the processes: {ago:?}");
    assert!(open.history()[0].seq > history[0].seq, "the order of transitions goes on");
    clock.advance(s(42));
    assert_eq!(open.state(), State::HalfOpen);

    let half = after.breaker("half");
    assert_eq!(half.state(), State::HalfOpen, "a wait that is over is not begun again");
    half.allow_request().unwrap();
    half.record_failure("TimeoutError");
    assert_eq!(half.state(), State::Open, "and it still has to prove itself");

    assert_eq!(after.breaker("forced").allow_request().unwrap_err().reason, stormproof::Reason::ForcedOpen);
    let counting = after.breaker("counting");
    assert_eq!(counting.stats().consecutive_failures, 4);
    fail(&counting, 1);
    assert_eq!(counting.state(), State::Open, "the fifth in a row, of two processes");
}

#[test]
fn what_nobody_asks_for_is_kept_for_the_process_after_the_next() {
    let folder = Folder::new("unasked");
    let (first, ..) = process(&folder);
    fail(&first.breaker("a"), 5);
    first.save().unwrap();
    drop(first);
    let (second, ..) = process(&folder);
    second.breaker("b");
    assert_eq!(second.save(), Ok(2));
    drop(second);
    let (third, ..) = process(&folder);
    assert_eq!(third.breaker("a").state(), State::Open);
}

#[test]
fn what_is_there_already_takes_its_state_over_once() {
    let folder = Folder::new("there");
    let (before, ..) = process(&folder);
    fail(&before.breaker("a"), 5);
    before.save().unwrap();
    drop(before);

    let after = Registry::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let events = heard.clone();
    after.breaker("a").policy().on_event(move |event| events.lock().unwrap().push(event.kind.as_str()));
    after.persist(Config::new(folder.file())).unwrap();
    assert_eq!((after.breaker("a").state(), after.breaker("a").stats().failures), (State::Open, 5));
    assert_eq!(*heard.lock().unwrap(), ["circuit_opened"]);
    after.remove("a");
    assert_eq!(after.breaker("a").state(), State::Closed, "forgotten is forgotten");

    let inserted = CircuitBreaker::new("a");
    let (third, again) = (Registry::new(), after);
    again.save().unwrap();
    assert_eq!(again.persist(Config::new(folder.file())), Err(Error::Already { path: folder.file() }));
    drop(again);
    third.persist(Config::new(folder.file())).unwrap();
    third.insert(&inserted).unwrap();
    assert_eq!(third.breaker("a").state(), State::Closed);
}

#[test]
fn t_44_before_it_is_begun_it_does_nothing_and_the_old_is_dropped() {
    let folder = Folder::new("t44");
    let registry = Registry::new();
    fail(&registry.breaker("a"), 5);
    assert_eq!(registry.save(), Ok(0));
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
    registry.persist(Config::new(folder.file())).unwrap();
    registry.save().unwrap();
    drop(registry);
    let text = fs::read_to_string(folder.file()).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let at = text.find("\"saved_at\": ").unwrap() + 12;
    let old = format!("{}{}{}", &text[..at], now - 73 * 3_600, &text[at + 10..]);
    fs::write(folder.file(), old).unwrap();
    let (after, _, taken) = process(&folder);
    assert_eq!((taken, after.breaker("a").state()), (0, State::Closed));
}

fn with_mode(mode: Mode) -> stormproof::config::Config {
    let breaker = breaker::Config { mode, ..Default::default() };
    stormproof::config::Config { breaker: Some(breaker), ..Default::default() }
}

fn apply(registry: &Registry, mode: Mode) -> Option<Mode> {
    registry.apply([("p".to_owned(), with_mode(mode))].into()).unwrap();
    registry.policy("p").breaker().map(|breaker| breaker.stats().mode)
}

#[test]
fn the_mode_of_the_file_holds_after_a_reload_and_a_restart_and_an_operators_word_until_the_file_changes() {
    let folder = Folder::new("mode");
    let (first, ..) = process(&folder);
    assert_eq!(apply(&first, Mode::Normal), Some(Mode::Normal));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let events = heard.clone();
    first.on_event(move |event| events.lock().unwrap().push(event.kind.as_str()));
    assert_eq!(apply(&first, Mode::ForcedOpen), Some(Mode::ForcedOpen));
    assert_eq!(*heard.lock().unwrap(), ["circuit_opened"]);
    assert!(first.policy("p").call_sync(|_| Ok::<_, ()>(())).run().is_err());
    first.save().unwrap();
    drop(first);

    let (second, ..) = process(&folder);
    assert_eq!(apply(&second, Mode::ForcedOpen), Some(Mode::ForcedOpen), "the same file");
    second.breaker("p").set_mode(Mode::Normal);
    assert_eq!(apply(&second, Mode::ForcedOpen), Some(Mode::Normal), "an operator said so later");
    second.save().unwrap();
    drop(second);
    let (third, ..) = process(&folder);
    assert_eq!(apply(&third, Mode::ForcedOpen), Some(Mode::Normal));
    third.save().unwrap();
    drop(third);
    let (fourth, ..) = process(&folder);
    assert_eq!(apply(&fourth, Mode::Disabled), Some(Mode::Disabled), "the file is another one");
}

#[test]
fn a_circuit_that_opened_before_the_file_was_read_stays_open() {
    let folder = Folder::new("after-traffic");
    let (before, ..) = process(&folder);
    let saved = before.breaker("a");
    saved.allow_request().unwrap();
    saved.record_success();
    before.save().unwrap();
    drop((before, saved));

    let after = Registry::new();
    fail(&after.breaker("a"), 5);
    let inserted = CircuitBreaker::new("b");
    fail(&inserted, 5);
    after.persist(Config::new(folder.file())).unwrap();
    after.insert(&inserted).unwrap();
    assert_eq!((after.breaker("a").state(), after.breaker("b").state()), (State::Open, State::Open));
    assert_eq!(after.breaker("a").stats().successes, 1, "the totals go on");
    after.save().unwrap();
    drop((after, inserted));
    assert_eq!(process(&folder).0.breaker("a").state(), State::Open);
}

#[test]
fn a_file_that_cannot_be_read_is_told_of_and_left_alone() {
    let folder = Folder::new("corrupt");
    for text in ["{ \"format\": \"stormproof", "{\"format\":\"stormproof breakers\",\"version\":99,\"breakers\":{}}"] {
        fs::write(folder.file(), text).unwrap();
        let registry = Registry::new();
        registry.breaker("a");
        let error = registry.persist(Config::new(folder.file())).unwrap_err();
        assert!(error.to_string().contains("delete it or move it away"), "{error}");
        assert_eq!(registry.save(), Ok(0), "it was not begun");
        assert_eq!(fs::read_to_string(folder.file()).unwrap(), text);
    }
    let nowhere = Config::new(folder.0.join("no such folder").join("x.json"));
    let error = Registry::new().persist(nowhere).unwrap_err();
    assert!(matches!(error, Error::Io { kind: std::io::ErrorKind::NotFound, .. }), "{error}");
}

#[test]
fn a_file_has_one_owner_and_is_nobody_elses_business() {
    let folder = Folder::new("owner");
    let (first, ..) = process(&folder);
    first.breaker("a");
    first.save().unwrap();
    let second = Registry::new().persist(Config::new(folder.file()));
    assert_eq!(second, Err(Error::InUse { path: folder.file() }));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777, 0o600);
    }
    drop(first);
    assert_eq!(process(&folder).2, 1);
}

#[cfg(unix)]
#[test]
fn a_link_to_the_file_stays_a_link() {
    let (folder, elsewhere) = (Folder::new("link"), Folder::new("link-target"));
    std::os::unix::fs::symlink(elsewhere.file(), folder.file()).unwrap();
    let (first, ..) = process(&folder);
    first.breaker("a");
    first.save().unwrap();
    assert!(fs::symlink_metadata(folder.file()).unwrap().is_symlink());
    // Whatever way there is to the file, it has one owner.
    let second = Registry::new().persist(Config::new(elsewhere.file()));
    assert!(matches!(second, Err(Error::InUse { .. })), "{second:?}");
    drop(first);
    assert_eq!(process(&elsewhere).2, 1);
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let folder = Folder::new("large");
    let (registry, ..) = process(&folder);
    registry.breaker("a");
    registry.save().unwrap();
    for n in 0..65 {
        registry.breaker(&format!("{n}{}", "x".repeat(1 << 20)));
    }
    let refused = registry.save();
    assert!(matches!(refused, Err(Error::Io { kind: std::io::ErrorKind::FileTooLarge, .. })), "{refused:?}");
    drop(registry);
    assert_eq!(process(&folder).2, 1, "what was there before");
}

#[test]
fn windows_and_growing_waits_go_on() {
    let folder = Folder::new("windows");
    let config = breaker::Config {
        trip: vec![
            Trip::ratio(0.5, 4, breaker::Window::Time(s(10))),
            Trip::ratio(1.0, 9, breaker::Window::Calls(9)),
            Trip::within(9, s(10)),
        ],
        open_factor: 2.0,
        ..Default::default()
    };
    let (before, ..) = process(&folder);
    fail(&before.breaker_with("a", config.clone()).unwrap(), 3);
    before.save().unwrap();
    drop(before);
    let (after, clock, _) = process(&folder);
    let breaker = after.breaker_with("a", config.clone()).unwrap();
    assert_eq!(breaker.stats().count.failures, 3);
    fail(&breaker, 1);
    assert_eq!((breaker.state(), breaker.stats().remaining), (State::Open, s(60)));
    clock.advance(s(60));
    fail(&breaker, 1);
    assert_eq!(breaker.stats().remaining, s(120));
    clock.advance(s(120));
    after.save().unwrap();
    drop((after, breaker));
    let (third, ..) = process(&folder);
    let breaker = third.breaker_with("a", config).unwrap();
    fail(&breaker, 1);
    assert_eq!(breaker.stats().remaining, s(240), "it has never been closed since");
}

#[tokio::test]
async fn a_saver_saves_at_an_interval_and_at_the_end_and_tells_of_a_failure_once() {
    let folder = Folder::new("saver");
    let (registry, ..) = process(&folder);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let events = heard.clone();
    registry.on_event(move |event| events.lock().unwrap().push(event.kind.as_str()));
    let saver = registry.save_every(Duration::from_millis(1));
    let written = || fs::read_to_string(folder.file()).unwrap_or_default().contains("\"first\"");
    registry.breaker("first");
    wait_until(written).await;
    // A folder in the way of the new file cannot be removed as a file.
    let in_the_way = folder.0.join("breakers.json.tmp");
    wait_until(|| fs::create_dir(&in_the_way).is_ok()).await;
    wait_until(|| !heard.lock().unwrap().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(*heard.lock().unwrap(), ["state_not_saved"]);
    fs::remove_dir(&in_the_way).unwrap();
    registry.breaker("last");
    assert_eq!(saver.stop().await, Ok(2));
    assert!(fs::read_to_string(folder.file()).unwrap().contains("\"last\""));
}

async fn wait_until(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < s(20), "it never came");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

const CHILDS_FILE: &str = "STORMPROOF_TEST_STATE_FILE";

/// Not a test: what the one below starts as a process of its own, and kills.
#[test]
fn child_that_saves_without_end() {
    let Some(path) = std::env::var_os(CHILDS_FILE) else { return };
    let registry = Registry::new();
    registry.persist(Config::new(path)).unwrap();
    for n in std::process::id().. {
        let breaker = registry.breaker(&format!("agent-{}", n % 300));
        if breaker.allow_request().is_ok() {
            breaker.record_failure("TimeoutError");
        }
        registry.save().unwrap();
        println!("saved");
    }
}

#[test]
fn killed_in_the_middle_the_file_is_always_whole() {
    use std::io::{BufRead, BufReader};

    let folder = Folder::new("killed");
    let (mut breakers, mut killed_midway) = (0, 0);
    for round in 0..40_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_saves_without_end", "--nocapture"])
            .env(CHILDS_FILE, folder.file())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It has read the file and saved it once: from then on it may die at any moment.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let saved = lines.any(|line| line.unwrap().contains("saved"));
        assert!(saved, "round {round}: the child could not take over what the last one left");
        std::thread::sleep(Duration::from_micros(round * 331 % 9_973));
        child.kill().unwrap();
        child.wait().unwrap();
        drop(lines);
        killed_midway += usize::from(folder.0.join("breakers.json.tmp").exists());
        let registry = Registry::new();
        let taken = registry.persist(Config::new(folder.file())).expect("whole");
        assert!(taken >= breakers, "round {round}: nothing that was saved is lost");
        breakers = taken;
    }
    println!("{breakers} breakers, killed {killed_midway} times while a new file was written");
    assert!(breakers > 0);
}
