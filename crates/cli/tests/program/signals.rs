//! Signals: an end that loses nothing, one at once, and a file that is read again.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::ChildStdout;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::serve::*;

#[test]
fn sigterm_under_load_loses_nothing_and_exits_with_zero() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_config(
        directory.path(),
        &format!("http://{}", slow_upstream()),
        "policy.bulkhead = { max_concurrent = 8 }\n",
    );
    let mut running = serve(&file);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| keep_asking(running.address, &answered));
        }
        wait_until(|| answered.load(Ordering::Relaxed) > 50);
        signal(&running.child, "TERM");
    });
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    running.log.read_to_string(&mut rest).unwrap();
    let last: serde_json::Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!((last["event"].as_str(), last["drained"].as_bool()), (Some("stopped"), Some(true)), "{rest}");
}

#[test]
fn a_second_signal_ends_it_at_once_with_its_number() {
    for (first, second, code) in [("TERM", "INT", 130), ("INT", "TERM", 143)] {
        let directory = tempfile::tempdir().unwrap();
        let (mut running, _silent, _hung) = busy(directory.path(), "");
        signal(&running.child, first);
        wait_until_closed(running.address);
        assert_eq!(running.child.try_wait().unwrap(), None, "it waits for what is under way");
        let start = Instant::now();
        signal(&running.child, second);
        assert_eq!(running.child.wait().unwrap().code(), Some(code));
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
}

#[test]
fn a_drain_that_cuts_calls_off_fails_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (mut running, _silent, _hung) = busy(directory.path(), "drain_timeout = '100ms'");
    signal(&running.child, "TERM");
    assert_eq!(running.child.wait().unwrap().code(), Some(1));
    let mut said = String::new();
    running.errors.read_to_string(&mut said).unwrap();
    assert_eq!(said, "stormproof: calls were still under way after drain_timeout and were cut off\n");
}

#[test]
fn sighup_reads_the_file_again_and_a_bad_one_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}");
    let file = write_config(directory.path(), &url, "policy.breaker = { trip = 1 }\n");
    let mut running = serve(&file);
    assert!(get(running.address, "/up/x").starts_with("HTTP/1.1 502 "));
    let line = |log: &mut BufReader<ChildStdout>, wanted: &str| loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "no {wanted}");
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        if told["event"] == wanted {
            return told;
        }
    };
    line(&mut running.log, "circuit_opened");

    std::fs::write(&file, "[upstreams.up]\nurl = 'nowhere'\n").unwrap();
    signal(&running.child, "HUP");
    let told = line(&mut running.log, "not_reloaded");
    assert!(told["error"].as_str().unwrap().contains(".toml:2:7: upstreams.up.url: is "), "{told}");
    assert!(get(running.address, "/up/x").starts_with("HTTP/1.1 503 "), "the circuit is still open");

    let file = write_config(
        directory.path(),
        &url,
        "policy.breaker = { trip = 2 }\n[upstreams.more]\nurl = 'http://127.0.0.1:9'\n",
    );
    let text = std::fs::read_to_string(&file).unwrap().replace("[gateway]\n", "[gateway]\nmax_connections = 7\n");
    std::fs::write(&file, text).unwrap();
    signal(&running.child, "HUP");
    let patience = Instant::now() + Duration::from_secs(10);
    while get(running.address, "/more/x").starts_with("HTTP/1.1 404 ") {
        assert!(Instant::now() < patience, "it is not in force");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(get(running.address, "/up/x").starts_with("HTTP/1.1 503 "), "and it still is");
    signal(&running.child, "TERM");
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    running.log.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\"event\":\"restart_needed\""), "{rest}");
    let told = rest.lines().find(|line| line.contains("\"event\":\"reloaded\"")).unwrap();
    let told: serde_json::Value = serde_json::from_str(told).unwrap();
    assert_eq!((told["added"].as_u64(), told["changed"].as_u64()), (Some(1), Some(1)), "{told}");
}
