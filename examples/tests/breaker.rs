//! The breaker example shows what it says it shows.

use std::process::Command;

#[test]
fn o_1_the_example_goes_through_its_four_states() {
    let output = Command::new(env!("CARGO_BIN_EXE_breaker")).output().expect("the example runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    let transitions: Vec<&str> = text.lines().filter(|line| line.starts_with("    ")).map(str::trim).collect();
    assert_eq!(transitions, ["CLOSED -> OPEN", "OPEN -> HALF_OPEN", "HALF_OPEN -> CLOSED"], "{text}");
    assert!(text.contains("not made, breaker \"weather\" refused: the circuit is open, retry in 0."), "{text}");
    assert!(text.contains("the circuit is closed"), "{text}");
}
