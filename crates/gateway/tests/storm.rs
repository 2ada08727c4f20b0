//! Load, large bodies and the end: whatever happens, everything that was taken comes back.
#![cfg(test)]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use stormproof_gateway::Ended;
use support::{Gateway, Upstream, request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const EVERYTHING: &str = "
[upstreams.up]
url = 'http://{up}'
stall_timeout = '300ms'
[upstreams.up.policy]
deadline = '3s'
attempt_timeout = '200ms'
bulkhead = { max_concurrent = 20, max_queue = 30, queue_timeout = '500ms' }
rate = { rate = 1000, burst = 100, max_wait = '1s' }
breaker = { trip = { ratio = { ratio = 0.6, minimum_calls = 20, window = { calls = 50 } } }, open_duration = '100ms' }
[upstreams.up.policy.retry]
max_retries = 2
backoff = { base_delay = '5ms' }
[upstreams.up.policy.budget]
";

const PATHS: [&str; 14] = [
    "ok",
    "slow/5",
    "status/500",
    "hang",
    "half-header",
    "reset/1000",
    "reset-now",
    "cut",
    "stall",
    "nonsense",
    "retry-after/0",
    "status/404",
    "big/300000",
    "no-content",
];

/// One of many calls: every kind of fault, and every fifth client hangs up midway.
async fn call(address: SocketAddr, n: usize) {
    sleep(Duration::from_millis((n % 97) as u64 * 10)).await;
    let (path, method) = (PATHS[n % PATHS.len()], ["GET", "POST", "PUT"][n / 7 % 3]);
    let path = format!("/up/{n}/{path}");
    let body = vec![b'b'; if method == "GET" { 0 } else { n * 37 % 5000 }];
    if n.is_multiple_of(5) {
        // Hangs up midway: in the queue, in the request, before the header or in the body.
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&body[..body.len() / (n % 2 + 1)]).await;
        let _ = timeout(Duration::from_millis((n % 31) as u64 * 5), stream.read(&mut [0; 512])).await;
        return;
    }
    let answer = timeout(Duration::from_secs(20), request(address, method, &path, "", &body)).await.unwrap();
    assert!(answer.status() >= 200, "{path}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_storm_nothing_is_held() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, EVERYTHING).await;
    let address = gateway.address;
    let calls: Vec<_> = (0..700).map(|n| tokio::spawn(call(address, n))).collect();
    for call in calls {
        call.await.unwrap();
    }
    gateway.settled().await;
    assert_eq!(gateway.metric(r#"stormproof_breaker_half_open_calls{name="up"}"#).await, 0);
    assert!(gateway.metric(r#"stormproof_breaker_opened_total{name="up"}"#).await >= 1);

    // And it is as good as new: the circuit closes, and all slots are there.
    sleep(Duration::from_millis(200)).await;
    for _ in 0..5 {
        assert_eq!(request(address, "GET", "/up/ok", "", b"").await.status(), 200);
    }
    let answers: Vec<_> = (0..50).map(|_| tokio::spawn(request(address, "GET", "/up/slow/2", "", b""))).collect();
    for answer in answers {
        assert_eq!(answer.await.unwrap().status(), 200);
    }
    gateway.settled().await;
}

const LARGE: usize = 100 << 20;
/// More than the sockets' buffers on both sides can hold, and far less than the body.
const BUFFERED: usize = 40 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_is_never_held_in_memory() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, EVERYTHING).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!("GET /up/big/{LARGE} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut block = vec![0; 1 << 16];
    let mut received = stream.read(&mut block).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    assert!(upstream.sent() < BUFFERED, "{} bytes were taken for a client that does not read", upstream.sent());
    loop {
        match stream.read(&mut block).await.unwrap() {
            0 => break,
            more => received += more,
        }
    }
    assert!(received > LARGE && received < LARGE + 1000, "{received}");
    gateway.settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_request_is_never_held_in_memory() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, "[upstreams.up]\nurl = 'http://{up}'\npolicy.bulkhead = {}").await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!("POST /up/unread/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {LARGE}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (start, mut sent, mut while_unread) = (Instant::now(), 0, 0);
    let block = vec![b'x'; 1 << 16];
    while sent < LARGE {
        let written = stream.write(&block[..block.len().min(LARGE - sent)]).await.unwrap();
        sent += written;
        if start.elapsed() < Duration::from_secs(1) {
            while_unread = sent;
        }
    }
    assert!(while_unread < BUFFERED, "{while_unread} bytes were taken for an upstream that does not read");
    let answer = support::read_answer(&mut stream).await;
    assert_eq!(answer.text(), format!("received {LARGE}"));
    gateway.settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_hung_up_on() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, &format!("client_timeout = '300ms'\n{EVERYTHING}")).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(format!("GET /up/big/{LARGE} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    assert_eq!(gateway.metric(r#"stormproof_bulkhead_active{name="up"}"#).await, 1);
    sleep(Duration::from_millis(500)).await;
    gateway.settled().await;
    drop(stream);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_lets_what_is_under_way_end() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream, EVERYTHING).await;
    let address = gateway.address;
    // Unused connections do not hold it up.
    let idle = TcpStream::connect(address).await.unwrap();
    let under_way: Vec<_> = (0..20).map(|_| tokio::spawn(request(address, "GET", "/up/slow/40", "", b""))).collect();
    sleep(Duration::from_millis(200)).await;
    gateway.drain();
    sleep(Duration::from_millis(50)).await;
    assert!(TcpStream::connect(address).await.is_err(), "nothing more is accepted");
    let health = gateway.admin("GET", "/api/health").await;
    assert_eq!((health.status(), health.json()["status"].as_str().unwrap()), (503, "draining"));
    for answer in under_way {
        let answer = answer.await.unwrap();
        assert!(answer.status() == 200 && answer.is_complete(), "{answer:?}");
    }
    assert_eq!(timeout(Duration::from_secs(2), gateway.ended()).await.unwrap(), Ended::Drained);
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_is_bounded_and_a_second_signal_ends_it_at_once() {
    let upstream = Upstream::start().await;
    let more = "drain_timeout = '700ms'\n[upstreams.up]\nurl = 'http://{up}'";
    for (abort, ended, longest) in [(false, Ended::TimedOut, 3000), (true, Ended::Aborted, 500)] {
        let mut gateway = Gateway::start(&upstream, more).await;
        let hung = tokio::spawn(request(gateway.address, "GET", "/up/stall", "", b""));
        sleep(Duration::from_millis(100)).await;
        let start = Instant::now();
        gateway.drain();
        if abort {
            gateway.abort();
        }
        assert_eq!(gateway.ended().await, ended);
        assert!(start.elapsed() < Duration::from_millis(longest), "{:?}", start.elapsed());
        assert!(!hung.await.unwrap().is_complete());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_calls_under_way_hold_up_the_end() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream, "drain_timeout = '20s'\n[upstreams.up]\nurl = 'http://{up}'").await;
    let address = gateway.address;
    let unused = TcpStream::connect(address).await.unwrap();
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET /up/ok HTTP/1.1\r\nhost: x\r\nx-ha").await.unwrap();
    let mut kept = TcpStream::connect(address).await.unwrap();
    kept.write_all(b"GET /up/ok HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(kept.read(&mut [0; 1024]).await.unwrap() > 0);
    kept.write_all(b"GET /up/ok HTTP/1.1\r\nhost: x\r\nx-ha").await.unwrap();
    // A client that takes its answer slowly is not cut off, though the upstream has sent all of it.
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /up/big/20000000 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(200)).await;

    let start = Instant::now();
    gateway.drain();
    sleep(Duration::from_millis(1500)).await;
    let mut answer = Vec::new();
    timeout(Duration::from_secs(5), slow.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.len() > 20_000_000, "{}", answer.len());
    assert_eq!(gateway.ended().await, Ended::Drained);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop((unused, half, kept));
}
