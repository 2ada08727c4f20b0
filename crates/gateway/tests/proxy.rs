//! What passes through the gateway, and what becomes of an upstream's faults.
#![cfg(test)]

mod support;

use std::time::{Duration, Instant};

use support::{Gateway, Upstream, request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

const RETRYING: &str = "
[upstreams.up]
url = 'http://{up}'
[upstreams.up.policy]
attempt_timeout = '300ms'
bulkhead = { max_concurrent = 10 }
[upstreams.up.policy.retry]
max_retries = 2
backoff = { base_delay = '10ms' }
";

#[tokio::test]
async fn a_call_passes_and_says_where_it_went() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, RETRYING).await;
    let answer = request(gateway.address, "POST", "/up/echo?key=value", "x-own: 1\r\n", b"twelve bytes").await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "received 12"));
    assert_eq!(answer.header("x-stormproof-upstream"), Some("up"));
    assert_eq!(answer.header("x-stormproof-attempts"), Some("1"));
    let seen = &upstream.seen("/echo?key=value")[0];
    assert!(seen.head.starts_with("POST /echo?key=value HTTP/1.1\r\n"), "{}", seen.head);
    assert!(seen.head.contains(&format!("host: {}\r\n", upstream.address)) && seen.head.contains("x-own: 1"));
    // The only upstream answers without its name, too.
    assert_eq!(gateway.get("/other/path").await.status(), 200);
}

#[tokio::test]
async fn headers_of_one_connection_do_not_pass() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, RETRYING).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = "GET /up/headers HTTP/1.1\r\nHost: x\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nProxy-Authorization: s\r\nUpgrade: websocket\r\nAuthorization: Bearer key\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let seen = support::read_answer(&mut stream).await.text().to_ascii_lowercase();
    for gone in ["x-hop", "te:", "proxy-authorization", "upgrade"] {
        assert!(!seen.contains(gone), "{seen}");
    }
    assert!(seen.contains("authorization: bearer key"), "{seen}");

    let answer = gateway.get("/up/hop").await;
    assert_eq!((answer.header("x-secret-hop"), answer.header("x-kept")), (None, Some("2")));
}

#[tokio::test]
async fn faults_become_statuses_that_tell_them_apart() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, RETRYING).await;
    for (path, status, kind) in [
        ("/up/hang", 504, "timeout"),
        ("/up/half-header-hang", 504, "timeout"),
        ("/up/half-header", 502, "upstream_failed"),
        ("/up/nonsense", 502, "upstream_failed"),
        ("/up/reset-now", 502, "upstream_failed"),
    ] {
        let answer = gateway.get(path).await;
        assert_eq!(answer.status(), status, "{path}: {answer:?}");
        let error = &answer.json()["error"];
        assert_eq!((error["type"].as_str(), error["upstream"].as_str()), (Some(kind), Some("up")), "{path}");
        let message = error["message"].as_str().unwrap();
        assert!(!message.contains("attempt") && !message.contains('_'), "{message}");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert_eq!(answer.header("x-stormproof-attempts"), Some("3"), "{path}");
        assert_eq!(upstream.seen(path.trim_start_matches("/up")).len(), 3 + usize::from(path == "/up/half-header") * 3);
    }
    gateway.settled().await;
}

#[tokio::test]
async fn a_refused_connection_is_a_bad_gateway_and_tells_no_secret() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let text = format!(
        "[gateway]\nlisten = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n[upstreams.up]\nurl = 'http://{address}'\n[upstreams.up.policy.breaker]\ntrip = 2\n"
    );
    let gateway = Gateway::from_text(&text).await;
    let secret = "authorization: Bearer secret\r\n";
    for _ in 0..2 {
        let answer = request(gateway.address, "GET", "/up/x?api_key=secret", secret, b"").await;
        assert_eq!(answer.status(), 502);
        assert!(answer.text().contains("the connection was refused"), "{}", answer.text());
        assert!(!answer.text().contains("secret"), "{}", answer.text());
    }
    let answer = request(gateway.address, "GET", "/up/x?api_key=secret", secret, b"").await;
    assert_eq!((answer.status(), answer.json()["error"]["type"].as_str().unwrap()), (503, "circuit_open"));
    assert_eq!(answer.header("retry-after"), Some("60"));
    assert!(answer.text().contains("ConnectionError.ConnectionRefused") && !answer.text().contains("secret"));
}

#[tokio::test]
async fn only_what_may_be_repeated_is_retried() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, RETRYING).await;
    let attempts = async |method: &str, path: &str, headers: &str, body: &[u8]| {
        let answer = request(gateway.address, method, path, headers, body).await;
        (
            answer.status(),
            answer.header("x-stormproof-attempts").unwrap().to_owned(),
            upstream.seen(path.trim_start_matches("/up")),
        )
    };
    let (status, count, _) = attempts("GET", "/up/get/flaky/2", "", b"").await;
    assert_eq!((status, count.as_str()), (200, "3"));
    let (status, count, seen) = attempts("PUT", "/up/put/flaky/1", "", b"body").await;
    assert_eq!((status, count.as_str()), (200, "2"));
    assert!(seen.iter().all(|seen| seen.body == 4), "{seen:?}");
    let (status, count, seen) = attempts("POST", "/up/post/flaky/1", "", b"body").await;
    assert_eq!((status, count.as_str(), seen.len()), (503, "1", 1));
    let (status, count, _) = attempts("POST", "/up/key/flaky/1", "idempotency-key: 7\r\n", b"body").await;
    assert_eq!((status, count.as_str()), (200, "2"));
    // Nor after a time-out, where no answer tells what the upstream has done.
    let (status, count, seen) = attempts("POST", "/up/post/hang", "", b"body").await;
    assert_eq!((status, count.as_str(), seen.len()), (504, "1", 1));
    let (status, count, _) = attempts("GET", "/up/status/404", "", b"").await;
    assert_eq!((status, count.as_str()), (404, "1"));
}

#[tokio::test]
async fn a_body_that_is_too_large_to_keep_streams_and_is_not_retried() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, &format!("max_replay_bytes = 1000\n{RETRYING}")).await;
    let answer = request(gateway.address, "PUT", "/up/kept/flaky/1", "", &[b'x'; 1000]).await;
    assert_eq!((answer.status(), answer.header("x-stormproof-attempts")), (200, Some("2")));
    let answer = request(gateway.address, "PUT", "/up/large/flaky/1", "", &[b'x'; 1001]).await;
    assert_eq!((answer.status(), answer.header("x-stormproof-attempts")), (503, Some("1")));
    assert_eq!(upstream.seen("/large/flaky/1")[0].body, 1001);

    for (size, path, attempts) in [(900, "/up/a/flaky/1", "2"), (9000, "/up/b/flaky/1", "1")] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let head = format!("PUT {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let chunk = format!("64\r\n{}\r\n", "y".repeat(100));
        stream.write_all(chunk.repeat(size / 100).as_bytes()).await.unwrap();
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        let answer = support::read_answer(&mut stream).await;
        assert_eq!(answer.header("x-stormproof-attempts"), Some(attempts), "{path}");
        let seen = upstream.seen(path.trim_start_matches("/up"));
        assert!(seen.iter().all(|seen| seen.body == size), "{seen:?}");
    }
}

#[tokio::test]
async fn the_servers_hint_is_waited_for_in_both_forms() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, RETRYING).await;
    let start = Instant::now();
    let answer = gateway.get("/up/retry-after/1").await;
    assert_eq!((answer.status(), answer.header("x-stormproof-attempts")), (200, Some("2")));
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    // A date is whole seconds, so three seconds ahead are more than two.
    let start = Instant::now();
    assert_eq!(gateway.get("/up/retry-date/3").await.status(), 200);
    assert!(start.elapsed() >= Duration::from_millis(1900), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_slot_is_held_until_the_end_of_the_body_also_of_a_failed_answer() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, &format!("{RETRYING}[upstreams.up.policy.breaker]\n")).await;
    for path in ["slow", "slow-failure"] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let head = format!("POST /up/{path}/30 HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut buffer = Vec::new();
        while support::find(&buffer, b"part0001").is_none() {
            assert!(stream.read_buf(&mut buffer).await.unwrap() > 0);
        }
        assert_eq!(gateway.metric(r#"stormproof_bulkhead_active{name="up"}"#).await, 1, "{path}");
        while support::find(&buffer, b"part0029").is_none() {
            assert!(stream.read_buf(&mut buffer).await.unwrap() > 0);
        }
        gateway.settled().await;
    }
    assert_eq!(gateway.metric(r#"stormproof_breaker_calls_total{name="up",outcome="failure"}"#).await, 1);
}

#[tokio::test]
async fn bodies_that_are_empty_give_back_what_was_taken() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, RETRYING).await;
    let head = request(gateway.address, "HEAD", "/up/echo", "", b"").await;
    assert_eq!((head.status(), head.header("content-length"), head.body.len()), (200, Some("10"), 0));
    assert_eq!(gateway.get("/up/no-content").await.status(), 204);
    assert_eq!(gateway.get("/up/not-modified").await.status(), 304);
    gateway.settled().await;
}

#[tokio::test]
async fn a_cut_stream_is_broken_for_the_client_too_and_counts_as_a_failure() {
    let upstream = Upstream::start().await;
    let more = "
[upstreams.up]
url = 'http://{up}'
stall_timeout = '200ms'
[upstreams.up.policy]
breaker = { trip = 3 }
bulkhead = {}
";
    let gateway = Gateway::start(&upstream, more).await;
    for path in ["/up/cut", "/up/reset/100", "/up/stall"] {
        let answer = gateway.get(path).await;
        assert_eq!(answer.status(), 200);
        assert!(!answer.is_complete(), "{path}: {answer:?}");
    }
    assert_eq!(gateway.metric(r#"stormproof_breaker_calls_total{name="up",outcome="failure"}"#).await, 3);
    assert_eq!(gateway.get("/up/ok").await.status(), 503);
    // The log has each cause, before what came of it.
    let told = gateway.events();
    let expected = ["call_failed", "call_failed", "call_failed", "circuit_opened"];
    assert_eq!(told.iter().map(|event| event["event"].as_str().unwrap()).collect::<Vec<_>>(), expected);
    assert_eq!(told[2]["error"], "TimeoutError.Stalled");
    gateway.settled().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_counts_neither_way() {
    let upstream = Upstream::start().await;
    let more = "
[upstreams.up]
url = 'http://{up}'
[upstreams.up.policy]
breaker = {}
bulkhead = {}
";
    let gateway = Gateway::start(&upstream, more).await;
    for path in ["/up/hang", "/up/slow/100", "/up/stall"] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        assert_eq!(gateway.metric(r#"stormproof_bulkhead_active{name="up"}"#).await, 1, "{path}");
        drop(stream);
        gateway.settled().await;
    }
    for outcome in ["success", "failure"] {
        let line = format!("stormproof_breaker_calls_total{{name=\"up\",outcome=\"{outcome}\"}}");
        assert_eq!(gateway.metric(&line).await, 0, "{outcome}");
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_midway_counts_neither_way() {
    let upstream = Upstream::start().await;
    let more = "max_replay_bytes = 10\n[upstreams.up]\nurl = 'http://{up}'\npolicy = { breaker = {}, bulkhead = {} }";
    let gateway = Gateway::start(&upstream, more).await;
    for reset in [false, true] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let head = "POST /up/x HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\nhalf of it";
        stream.write_all(head.as_bytes()).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        assert_eq!(gateway.metric(r#"stormproof_bulkhead_active{name="up"}"#).await, 1);
        if reset {
            stream.set_zero_linger().unwrap();
        }
        drop(stream);
        gateway.settled().await;
    }
    for outcome in ["success", "failure"] {
        let line = format!("stormproof_breaker_calls_total{{name=\"up\",outcome=\"{outcome}\"}}");
        assert_eq!(gateway.metric(&line).await, 0, "{outcome}");
    }
}

#[tokio::test]
async fn a_peer_without_tls_is_told_as_such() {
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let text =
        format!("[gateway]\nlisten = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n[upstreams.up]\nurl = 'https://{address}'");
    let answer = Gateway::from_text(&text).await.get("/up/x").await;
    assert_eq!(answer.status(), 502);
    assert!(answer.text().contains("the secure connection could not be made"), "{}", answer.text());
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_request_takes_nothing() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::start(&upstream, &format!("client_timeout = '200ms'\nheader_timeout = '300ms'\n{RETRYING}")).await;
    let send = async |text: &str| {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        timeout(Duration::from_secs(5), support::read_answer(&mut stream)).await.unwrap()
    };
    // Half a body: nothing was taken for it and nothing reached the upstream.
    let answer = send("PUT /up/half HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345").await;
    assert_eq!((answer.status(), answer.json()["error"]["type"].as_str().unwrap()), (408, "request_timeout"));
    assert!(upstream.seen("/half").is_empty());
    // A byte now and then does not make it longer: all of it must come in time.
    let mut dripping = TcpStream::connect(gateway.address).await.unwrap();
    dripping.write_all(b"PUT /up/half HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n").await.unwrap();
    let start = Instant::now();
    let drip = async {
        while dripping.write_all(b"x").await.is_ok() && start.elapsed() < Duration::from_secs(3) {
            let mut buffer = [0; 64];
            let answered = timeout(Duration::from_millis(50), dripping.read(&mut buffer)).await;
            if let Ok(Ok(read)) = answered {
                return String::from_utf8_lossy(&buffer[..read]).into_owned();
            }
        }
        String::new()
    };
    assert!(drip.await.starts_with("HTTP/1.1 408 "));
    assert!(upstream.seen("/half").is_empty());
    // Half a header: the connection ends.
    let start = Instant::now();
    send("GET /up/slowloris HTTP/1.1\r\nhost: x\r\nx-slow").await;
    assert!(start.elapsed() < Duration::from_secs(3));
    // Nor does one live that is kept and not used.
    let start = Instant::now();
    let answer = send("GET /up/ok HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(answer.status(), 200);
    assert!((Duration::from_millis(300)..Duration::from_secs(3)).contains(&start.elapsed()), "{:?}", start.elapsed());
    // A header that is too large.
    let answer = send(&format!("GET /up/large HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(100_000))).await;
    assert_eq!(answer.status(), 431);
    gateway.settled().await;
}

#[tokio::test]
async fn paths_do_not_leave_the_base_and_unknown_names_are_told() {
    let upstream = Upstream::start().await;
    let more = "
[upstreams.up]
url = 'http://{up}/base/'
[upstreams.other]
url = 'http://{up}'
";
    let gateway = Gateway::start(&upstream, more).await;
    assert_eq!(gateway.get("/up/x?y=../z").await.status(), 200);
    assert_eq!(upstream.seen("/base/x?y=../z").len(), 1);
    for path in ["/up/../admin", "/up/a/%2e%2E/b", "/up/a%2f..%2fb", "/up/a%2f..%5Cb", "/up/..;x/admin", "/up/.."] {
        let answer = gateway.get(path).await;
        assert_eq!((answer.status(), answer.json()["error"]["type"].as_str().unwrap()), (400, "bad_path"), "{path}");
    }
    let answer = gateway.get("/nobody/x").await;
    assert_eq!((answer.status(), answer.json()["error"]["type"].as_str().unwrap()), (404, "unknown_upstream"));
    assert_eq!(answer.json()["error"]["message"], "no upstream is called \"nobody\"; there are: other, up");
    let message = gateway.get(&format!("/%22~b~{}/x", "x".repeat(100))).await.json()["error"]["message"].to_string();
    assert!(message.contains(&format!("?22?b?{}\\\"; there", "x".repeat(58))), "{message}");
    assert_eq!(gateway.get("/up").await.status(), 200);
    assert_eq!(upstream.seen("/base/ ").len(), 1);
}

#[tokio::test]
async fn refusals_say_which_stage_and_when_to_come_back() {
    let upstream = Upstream::start().await;
    let more = "
[upstreams.full]
url = 'http://{up}'
policy.bulkhead = { max_concurrent = 1, max_queue = 0 }
[upstreams.fast]
url = 'http://{up}'
policy.rate = { rate = 1, per = '10s', max_wait = 0 }
";
    let gateway = Gateway::start(&upstream, more).await;
    let mut busy = TcpStream::connect(gateway.address).await.unwrap();
    busy.write_all(b"GET /full/hang HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    let answer = gateway.get("/full/ok").await;
    assert_eq!((answer.status(), answer.json()["error"]["type"].as_str().unwrap()), (503, "overloaded"));
    assert_eq!(answer.header("x-should-retry"), Some("false"));

    assert_eq!(gateway.get("/fast/ok").await.status(), 200);
    let answer = gateway.get("/fast/ok").await;
    assert_eq!((answer.status(), answer.json()["error"]["type"].as_str().unwrap()), (429, "rate_limited"));
    assert_eq!(answer.header("retry-after"), Some("10"));
}

#[tokio::test]
async fn a_slow_upload_is_not_the_upstreams_fault() {
    let upstream = Upstream::start().await;
    let more = "
client_timeout = '600ms'
[upstreams.up]
url = 'http://{up}'
policy = { attempt_timeout = '300ms', deadline = '400ms', breaker = { trip = 1 }, bulkhead = {} }
";
    let gateway = Gateway::start(&upstream, more).await;
    let failures = r#"stormproof_breaker_calls_total{name="up",outcome="failure"}"#;
    let upload = async |path: &str, parts: usize, pause: u64, finished: bool| {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let (part, length) = (vec![b'x'; 300_000], 3_000_000);
        let head = format!("PUT {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..parts {
            stream.write_all(&part).await.unwrap();
            sleep(Duration::from_millis(pause)).await;
        }
        assert_eq!(finished, parts * part.len() == length);
        timeout(Duration::from_secs(5), support::read_answer(&mut stream)).await.unwrap()
    };
    let answer = upload("/up/slow-client", 10, 100, true).await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "received 3000000"));
    // A client that stalls is told so, and counts neither way.
    let answer = upload("/up/stalled-client", 2, 0, false).await;
    assert_eq!((answer.status(), answer.json()["error"]["type"].as_str().unwrap()), (408, "request_timeout"));
    gateway.settled().await;
    assert_eq!(gateway.metric(failures).await, 0);
    // A hung upstream counts, whether it has taken all of the body or takes none of it.
    for (count, path) in [(1, "/up/hang"), (2, "/up/unread/")] {
        let answer = upload(path, 10, 0, true).await;
        assert_eq!((answer.status(), answer.json()["error"]["type"].as_str().unwrap()), (504, "timeout"), "{path}");
        assert_eq!(gateway.metric(failures).await, count, "{path}");
        gateway.admin("POST", "/api/admin/circuit-breakers/reset").await;
    }
}
