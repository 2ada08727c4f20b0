//! The built program, as a user runs it.
#![cfg(test)]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stormproof");

fn run(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")).output().unwrap()
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn check_names_each_mistake_with_line_and_column() {
    let (code, out, err) = said(&run(&["check", "many_mistakes.toml"]));
    let expected = include_str!("many_mistakes.txt");
    assert!(out == expected, "printed:\n{out}\nexpected:\n{expected}");
    assert_eq!((code, err.as_str()), (1, ""));
    assert!(!out.contains("secret"));
}

#[test]
fn check_says_when_a_file_is_well() {
    let (code, out, _) = said(&run(&["check", "--quiet", "../../../stormproof.sample.toml"]));
    assert_eq!((code, out.as_str()), (0, "../../../stormproof.sample.toml: ok (2 upstreams)\n"));
}

#[test]
fn check_says_where_policies_stand_in_a_file_of_neither_kind() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.toml");
    for command in ["check", "simulate"] {
        std::fs::write(&file, "[policy-a]\nretry.max_retries = 2\n").unwrap();
        let (code, out, err) = said(&run(&[command, file.to_str().unwrap()]));
        assert_eq!(code, 1);
        assert!((out + &err).contains("policies of the library stand in [policies.NAME]"), "{command}");
        std::fs::write(&file, "# nothing\n").unwrap();
        let (code, out, err) = said(&run(&[command, file.to_str().unwrap()]));
        assert_eq!(code, 1);
        assert!((out + &err).contains(":1:1: is empty, allowed is a policy, policies or upstreams"), "{command}");
    }
}

#[test]
fn check_explains_a_policy_that_stands_by_itself_as_simulate_tries_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.toml");
    for text in ["deadline = '5s'\n[breaker]\ntrip = 5\n", "[policy]\ndeadline = '5s'\nbreaker.trip = 5\n"] {
        std::fs::write(&file, text).unwrap();
        let (code, out, err) = said(&run(&["check", file.to_str().unwrap()]));
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        assert!(out.contains(": ok (1 policy)\n\npolicy\n  a call: 5s at most"), "{out}");
    }
    std::fs::write(&file, "deadline = 'soon'\n").unwrap();
    let (code, out, _) = said(&run(&["check", file.to_str().unwrap()]));
    assert!(code == 1 && out.contains("policy.toml:1:12: deadline: is 'soon', allowed is a duration"), "{out}");
}

#[test]
fn check_explains_each_policy_in_numbers() {
    let (code, out, _) = said(&run(&["check", "../../../stormproof.sample.toml"]));
    assert_eq!(code, 0);
    assert!(
        out.contains("\nopenai\n  a call: 120s at most, 4 attempts at most, 16 when nested in a policy like it\n"),
        "{out}"
    );
    assert!(out.contains("if calls hang, after 60s (all at once) to 300s (one after the other)"), "{out}");
    assert!(out.contains("\nsearch\n  a call: 5s at most, 1 attempt at most\n"), "{out}");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.toml");
    std::fs::write(&file, "[policies.local]\npreset = 'victor.ollama'\n").unwrap();
    let (code, out, _) = said(&run(&["check", file.to_str().unwrap()]));
    assert_eq!(code, 0);
    assert!(out.contains(": ok (1 policy)\n\nlocal\n  a call: no limit of time"), "{out}");
    assert!(out.contains("after 10 failures in a row"), "{out}");
    assert!(out.contains("\n  warning: a call that hangs is held for ever"), "{out}");
    std::fs::write(&file, "[policies.local]\npreset = 'x'\n").unwrap();
    let (code, out, _) = said(&run(&["check", file.to_str().unwrap()]));
    assert!(code == 1 && out.contains("settings.toml:2:10: policies.local.preset: no preset is called"), "{out}");
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    for args in [&["check", "no-such.toml"][..], &["serve", "--config", "no-such.toml"]] {
        let (code, out, err) = said(&run(args));
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.starts_with("stormproof: cannot read no-such.toml: "), "{err}");
    }
    assert_eq!(run(&["check", "."]).status.code(), Some(2));
    assert_eq!(run(&["serve"]).status.code(), Some(2));
}

#[test]
fn serve_does_not_start_with_mistakes() {
    let (code, out, err) = said(&run(&["serve", "--config", "many_mistakes.toml"]));
    assert_eq!((code, out.as_str(), err.as_str()), (1, "", include_str!("many_mistakes.txt")));
}

#[test]
fn a_port_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let file = write_config(directory.path(), "http://127.0.0.1:9", "");
    let (code, out, err) = said(&run(&["serve", "--config", &file, "--listen", &address]));
    let expected = format!("stormproof: cannot listen on {address} (calls): the port is in use\n");
    assert_eq!((code, out.as_str(), err), (1, "", expected));
}

#[test]
fn a_public_admin_address_without_a_token_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("public.toml");
    std::fs::write(&file, "[gateway]\nlisten = '127.0.0.1:0'\nadmin = '0.0.0.0:0'\n[upstreams.a]\nurl = 'http://h'\n")
        .unwrap();
    let run = |args: &[&str], token: Option<&str>| {
        let mut command = Command::new(PROGRAM);
        command.args(args).arg(&file).env_remove("STORMPROOF_ADMIN_TOKEN");
        said(&command.envs(token.map(|token| ("STORMPROOF_ADMIN_TOKEN", token))).output().unwrap())
    };
    let place = format!("{}:3:9: gateway.admin: is 0.0.0.0:0, open to everybody", file.display());
    let (code, _, err) = run(&["serve", "--config"], None);
    assert!(code == 1 && err.starts_with(&place) && err.contains("STORMPROOF_ADMIN_TOKEN"), "{err}");
    // What serve refuses, check names; and what it would not, check does not.
    let (code, out, _) = run(&["check"], None);
    assert!(code == 1 && out.starts_with(&place), "{out}");
    assert_eq!(run(&["check"], Some("secret")).0, 0);
}

fn write_config(directory: &Path, upstream: &str, more: &str) -> String {
    let file = directory.join("gateway.toml");
    let text =
        format!("[gateway]\nlisten = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n[upstreams.up]\nurl = '{upstream}'\n{more}");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// An upstream that takes 30 ms for each answer.
fn slow_upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while let Some(Ok(_)) = lines.find(|line| line.as_ref().is_ok_and(String::is_empty)) {
                    thread::sleep(Duration::from_millis(30));
                    if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

struct Running {
    child: Child,
    log: BufReader<ChildStdout>,
    errors: ChildStderr,
    address: SocketAddr,
}

fn serve(file: &str) -> Running {
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--config", file])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let errors = child.stderr.take().unwrap();
    let mut log = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    let started: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((started["event"].as_str(), &started["upstreams"]), (Some("started"), &serde_json::json!(["up"])));
    let address = started["listen"].as_str().unwrap().parse().unwrap();
    assert!(started["admin"].is_string() && started["timestamp"].is_string());
    Running { child, log, errors, address }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

/// Waits until something is so, however busy the machine is.
fn wait_until(is_so: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < patience, "it never came");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until nobody listens at the address any more: the first signal has been heard.
fn wait_until_closed(address: SocketAddr) {
    wait_until(|| TcpStream::connect(address).is_err());
}

/// Sends requests on one connection until it ends, and counts those that were answered; fails if one was begun and lost.
fn keep_asking(address: SocketAddr, answered: &AtomicUsize) {
    while let Ok(mut stream) = TcpStream::connect(address) {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut is_first = true;
        loop {
            stream.write_all(b"GET /up/x HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            let mut text = Vec::new();
            while !text.ends_with(b"done") {
                let mut block = [0; 1024];
                let read = match stream.read(&mut block) {
                    Ok(read) => read,
                    // It came in the instant in which the listener was closed, and was never accepted.
                    Err(error) if error.kind() == ErrorKind::ConnectionReset && is_first => return,
                    Err(error) => panic!("an answer was lost: {error}"),
                };
                assert!(read > 0, "an answer was lost: {}", String::from_utf8_lossy(&text));
                text.extend_from_slice(&block[..read]);
            }
            is_first = false;
            answered.fetch_add(1, Ordering::Relaxed);
            if String::from_utf8_lossy(&text).to_ascii_lowercase().contains("connection: close") {
                break;
            }
        }
    }
}

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

/// A gateway with a call under way that will not end by itself.
fn busy(directory: &Path, settings: &str) -> (Running, TcpStream, TcpStream) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = write_config(directory, &format!("http://{}", silent.local_addr().unwrap()), "");
    let text = std::fs::read_to_string(&file).unwrap().replace("[gateway]\n", &format!("[gateway]\n{settings}\n"));
    std::fs::write(&file, text).unwrap();
    let running = serve(&file);
    let mut hung = TcpStream::connect(running.address).unwrap();
    hung.write_all(b"GET /up/x HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let (upstream, _) = silent.accept().unwrap();
    (running, upstream, hung)
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

/// The answer to `GET path` as text.
fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
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

#[test]
fn schema_prints_that_of_either_file() {
    for (args, table) in [(&["schema"][..], "upstreams"), (&["schema", "settings"], "policies")] {
        let (code, out, err) = said(&run(args));
        let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(code == 0 && err.is_empty() && schema["properties"][table].is_object(), "{out}{err}");
    }
}

#[test]
fn simulate_compares_a_policy_with_none_and_draws_it() {
    let directory = tempfile::tempdir().unwrap();
    let (policy, picture, page) =
        (directory.path().join("policy.toml"), directory.path().join("a.svg"), directory.path().join("a.html"));
    let policy_name = policy.to_str().unwrap();
    std::fs::write(&policy, "attempt_timeout = '1s'\n\n[breaker]\ntrip = 5\n").unwrap();
    let arguments = ["simulate", policy_name, "--fault", "outage@5s+5s", "--duration", "30s"];
    let with = |more: &[&str]| said(&run(&[&arguments[..], more].concat()));
    let (code, out, err) = with(&["--report", picture.to_str().unwrap()]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("without") && out.contains("refused (open)"), "{out}");
    assert_eq!(with(&["--report", page.to_str().unwrap()]).1, out, "the same seed, the same table");
    let picture = std::fs::read_to_string(picture).unwrap();
    assert!(picture.starts_with("<svg ") && picture.len() < 60_000);
    assert!(std::fs::read_to_string(page).unwrap().contains("<pre>"));
    let figures: serde_json::Value = serde_json::from_str(&with(&["--json"]).1).unwrap();
    assert!(figures["sides"][1]["calls"].as_u64().unwrap() > 2000);

    // The same policy in a table of its own, and one of several in a gateway's configuration.
    std::fs::write(&policy, "[policy]\nattempt_timeout = '1s'\n[policy.breaker]\ntrip = 5\n").unwrap();
    assert_eq!(with(&[]).1, out);
    let sample = ["simulate", "../../../stormproof.sample.toml", "--duration", "10s", "--upstream", "openai"];
    assert_eq!(run(&sample).status.code(), Some(0));
}

#[test]
fn simulate_names_what_is_allowed() {
    let cases = [
        (&["no-such.toml"][..], 2, "built-in comparisons are retry-budget, breaker"),
        (&["breaker", "--fault", "outrage"], 2, "allowed are none, outage"),
        (&["breaker", "--clients", "many"], 2, "allowed is a whole number from 0 to 4294967295"),
        (&["breaker", "--duration", "long"], 2, "allowed is a duration such as 250ms"),
        (&["breaker", "--clients", "0"], 2, "--clients is 0, allowed is 1 to 1000000"),
        (&["breaker", "--rate", "0"], 2, "--rate is 0, allowed is above 0"),
        (&["breaker", "--duration", "0s"], 2, "--duration is 0s, allowed is 1 s to 30 days"),
        (&["breaker", "--report", "a.png"], 2, "allowed is a file that ends in .svg or .html"),
        (&["../../../stormproof.sample.toml"], 2, "--upstream is not given, allowed is openai, search"),
        (&["../../../stormproof.sample.toml", "--upstream", "x"], 2, "--upstream is x, allowed is openai, search"),
        (&["many_mistakes.toml"], 1, "many_mistakes.toml:"),
    ];
    for (arguments, expected, text) in cases {
        let (code, out, err) = said(&run(&[&["simulate"], arguments].concat()));
        assert_eq!((code, out.as_str()), (expected, ""), "{arguments:?} {err}");
        assert!(err.contains(text), "{arguments:?}: {err}");
    }
}
