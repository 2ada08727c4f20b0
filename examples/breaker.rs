//! The circuit breaker in its four states: closed, open, half-open, closed.
//!
//! A service is down for its first calls and then well again. The breaker opens at the third failure, refuses without
//! calling while it waits, lets probes through when the wait is over, and closes when two of them succeed.
//!
//! Run it with `cargo run -p stormproof-examples --bin breaker`.

use std::cell::Cell;
use std::time::Duration;

use stormproof::{CircuitBreaker, Error, Trip, breaker};

/// The service is down for so many calls.
const DOWN: u32 = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let breaker = CircuitBreaker::with_config(
        "weather",
        breaker::Config {
            trip: vec![Trip::consecutive(3)],
            open_duration: Duration::from_millis(500),
            success_threshold: 2,
            ..Default::default()
        },
    )?;
    breaker.on_state_change(|old, new| {
        println!("    {} -> {}", old.as_str().to_uppercase(), new.as_str().to_uppercase());
    });

    let calls_received = Cell::new(0);
    for attempt in 1..=12 {
        let answer = breaker.call(|_| service(&calls_received)).await;
        match answer {
            Ok(weather) => println!("call {attempt:2}: {weather}"),
            Err(Error::Failed { error, .. }) => println!("call {attempt:2}: failed, {error}"),
            Err(Error::Refused { refused, .. }) => println!("call {attempt:2}: not made, {refused}"),
            Err(other) => println!("call {attempt:2}: {other}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!(
        "the service was called {} times of 12, the circuit is {}",
        calls_received.get(),
        breaker.state().as_str()
    );
    Ok(())
}

async fn service(calls_received: &Cell<u32>) -> Result<&'static str, ServiceUnavailable> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    calls_received.set(calls_received.get() + 1);
    if calls_received.get() <= DOWN { Err(ServiceUnavailable) } else { Ok("sunny, 22 °C") }
}

#[derive(Debug)]
struct ServiceUnavailable;

impl std::fmt::Display for ServiceUnavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("503 service unavailable")
    }
}
