//! What a gateway that runs writes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::serve::*;

#[test]
fn events_are_logged_as_lines_of_json() {
    let directory = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = write_config(directory.path(), &format!("http://{closed}"), "policy.breaker = { trip = 1 }\n");
    let mut running = serve(&file);
    let mut stream = TcpStream::connect(running.address).unwrap();
    stream
        .write_all(
            b"GET /up/x?key=secret HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\nconnection: close\r\n\r\n",
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    signal(&running.child, "TERM");
    let mut rest = String::new();
    running.log.read_to_string(&mut rest).unwrap();
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    let events: Vec<serde_json::Value> = rest.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().any(|event| event["event"] == "circuit_opened" && event["policy"] == "up"), "{rest}");
    assert!(!rest.contains("secret") && !answer.contains("secret"));
}

#[test]
fn a_storm_of_refusals_is_one_line_and_a_count() {
    let directory = tempfile::tempdir().unwrap();
    let refuse = "policy.rate = { rate = 1, per = '1h', burst = 1, max_wait = 0 }\n";
    let file = write_config(directory.path(), "http://127.0.0.1:9", refuse);
    let mut running = serve(&file);
    let mut stream = TcpStream::connect(running.address).unwrap();
    for _ in 0..50 {
        stream.write_all(b"GET /up/x HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    }
    stream.write_all(b"GET /up/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    signal(&running.child, "TERM");
    let mut rest = String::new();
    running.log.read_to_string(&mut rest).unwrap();
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    let lines: Vec<serde_json::Value> = rest.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let limited: Vec<_> = lines.iter().filter(|line| line["event"] == "rate_limited").collect();
    assert_eq!(limited.len(), 2, "{rest}");
    assert_eq!((limited[0]["reason"].as_str(), limited[1]["suppressed"].as_u64()), (Some("wait_too_long"), Some(49)));
}

#[test]
fn a_log_that_nobody_reads_does_not_keep_it_from_ending() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_config(
        directory.path(),
        "http://127.0.0.1:9",
        "policy.rate = { rate = 1, per = '1h', burst = 1, max_wait = 0 }\n",
    );
    let text = std::fs::read_to_string(&file).unwrap().replace("[gateway]\n", "[gateway]\nlog_interval = 0\n");
    std::fs::write(&file, text).unwrap();
    let mut running = serve(&file);
    let mut stream = TcpStream::connect(running.address).unwrap();
    // Each of them but the first is refused, which is an event; more than a pipe and its reader hold.
    let requests = 2_000;
    let mut reader = BufReader::new(stream.try_clone().unwrap()).lines();
    let reading =
        thread::spawn(move || reader.by_ref().map_while(Result::ok).filter(|line| line.contains("HTTP/1.1 ")).count());
    for _ in 1..requests {
        stream.write_all(b"GET /up/x HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    }
    stream.write_all(b"GET /up/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let answers = reading.join().unwrap();

    signal(&running.child, "TERM");
    let patience = Instant::now() + Duration::from_secs(10);
    while running.child.try_wait().unwrap().is_none() {
        if Instant::now() > patience {
            running.child.kill().unwrap();
            panic!("it did not end");
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((answers, running.child.wait().unwrap().code()), (requests, Some(0)));
}
