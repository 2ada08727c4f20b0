//! A gateway that runs: how it is started, asked, and sent signals.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::PROGRAM;

pub(crate) fn write_config(directory: &Path, upstream: &str, more: &str) -> String {
    let file = directory.join("gateway.toml");
    let text =
        format!("[gateway]\nlisten = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n[upstreams.up]\nurl = '{upstream}'\n{more}");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// An upstream that takes 30 ms for each answer.
pub(crate) fn slow_upstream() -> SocketAddr {
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

pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) log: BufReader<ChildStdout>,
    pub(crate) errors: ChildStderr,
    pub(crate) address: SocketAddr,
}

pub(crate) fn serve(file: &str) -> Running {
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

pub(crate) fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

/// Waits until something is so, however busy the machine is.
pub(crate) fn wait_until(is_so: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < patience, "it never came");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until nobody listens at the address any more: the first signal has been heard.
pub(crate) fn wait_until_closed(address: SocketAddr) {
    wait_until(|| TcpStream::connect(address).is_err());
}

/// Sends requests on one connection until it ends, and counts those that were answered; fails if one was begun and lost.
pub(crate) fn keep_asking(address: SocketAddr, answered: &AtomicUsize) {
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

/// A gateway with a call under way that will not end by itself.
pub(crate) fn busy(directory: &Path, settings: &str) -> (Running, TcpStream, TcpStream) {
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

/// The answer to `GET path` as text.
pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
