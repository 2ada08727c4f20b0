//! The demo, as a person runs it: it shows what it promises, within a minute, and leaves nothing running.
#![cfg(test)]

use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn t_86_the_demo_shows_the_circuit_open_probe_and_close_under_a_real_outage() {
    let began = Instant::now();
    let output =
        Command::new(env!("CARGO_BIN_EXE_stormproof")).args(["demo", "--once", "--seed", "3"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);

    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(began.elapsed() < Duration::from_secs(60));
    let mut lines = text.lines();
    for next in
        ["its process is killed", "CLOSED -> OPEN", "OPEN -> HALF_OPEN", "HALF_OPEN -> CLOSED", "with stormproof"]
    {
        assert!(lines.any(|line| line.contains(next)), "{next} comes next in\n{text}");
    }
    let made = text.lines().find(|line| line.starts_with("calls made")).unwrap();
    let numbers: Vec<&str> = made.split_whitespace().skip(2).collect();
    assert_eq!(numbers[0], numbers[1], "both sides make the same calls");
}
