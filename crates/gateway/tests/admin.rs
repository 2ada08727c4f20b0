//! The admin API: what it shows and changes, and whom it lets in.
#![cfg(test)]

mod support;

use std::time::Duration;

use stormproof_gateway::{Config, Server, StartError};
use support::{Gateway, Upstream, request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const TWO: &str = "
[upstreams.up]
url = 'http://{up}'
policy.breaker = { trip = 2, open_duration = '30s' }
policy.bulkhead = {}
[upstreams.well]
url = 'http://{up}'
policy.breaker = {}
";

#[tokio::test]
async fn circuits_are_shown_and_reset() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, TWO).await;
    let health = gateway.admin("GET", "/api/health").await;
    assert_eq!((health.status(), health.json()["status"].as_str().unwrap()), (200, "healthy"));
    assert!(health.json()["timestamp"].as_str().unwrap().ends_with('Z'));

    for _ in 0..2 {
        assert_eq!(gateway.get("/up/status/500").await.status(), 500);
    }
    assert_eq!(gateway.get("/up/ok").await.status(), 503);
    assert_eq!(gateway.admin("GET", "/api/health").await.json()["status"], "degraded");
    let shown = gateway.admin("GET", "/api/admin/circuit-breakers").await.json();
    assert_eq!((shown["total"].as_u64(), shown["available"].as_bool()), (Some(2), Some(true)));
    let up = &shown["breakers"][0];
    assert_eq!((up["name"].as_str(), up["state"].as_str()), (Some("up"), Some("open")));
    assert_eq!((up["failure_count"].as_u64(), up["failure_threshold"].as_u64()), (Some(2), Some(2)));
    assert_eq!((up["cooldown_seconds"].as_f64(), up["success_rate"].as_f64()), (Some(30.0), Some(0.0)));
    assert_eq!((up["health_score"].as_f64(), shown["breakers"][1]["health_score"].as_f64()), (Some(0.0), Some(1.0)));
    assert!(up["last_failure"].is_string() && up["cooldown_remaining"].as_f64().unwrap() > 29.0);

    let reset = gateway.admin("POST", "/api/admin/circuit-breakers/reset").await.json();
    assert_eq!((reset["success"].as_bool(), &reset["previously_open"]), (Some(true), &serde_json::json!(["up"])));
    assert_eq!(reset["message"], "All circuit breakers have been reset");
    assert_eq!(gateway.get("/up/ok").await.status(), 200);
    let one = gateway.admin("POST", "/api/admin/circuit-breakers/up/reset").await.json();
    assert_eq!(one["previously_open"], serde_json::json!([]));
    assert_eq!(gateway.admin("POST", "/api/admin/circuit-breakers/nobody/reset").await.status(), 404);
    assert_eq!(gateway.admin("GET", "/api/admin/circuit-breakers/reset").await.status(), 405);
    assert_eq!(gateway.admin("GET", "/nothing").await.status(), 404);
}

#[tokio::test]
async fn a_circuit_says_what_opened_it_whatever_the_rule() {
    let upstream = Upstream::start().await;
    let rules = "
[upstreams.ratio]
url = 'http://{up}'
policy.breaker.trip = { ratio = { ratio = 0.5, minimum_calls = 5, window = { calls = 10 } } }
[upstreams.slow]
url = 'http://{up}'
policy.breaker.trip = { slow = { ratio = 0.5, slower_than = '1ms', minimum_calls = 2, window = { time = '1m' } } }
[upstreams.within]
url = 'http://{up}'
policy.breaker.trip = { within = { failures = 5, window = '1h' } }
";
    let gateway = Gateway::start(&upstream, rules).await;
    for path in ["ratio/ok", "ratio/ok", "ratio/status/500", "ratio/status/500", "ratio/status/500"] {
        gateway.get(&format!("/{path}")).await;
    }
    for path in ["within/status/500", "within/status/500", "within/ok", "within/status/500"] {
        gateway.get(&format!("/{path}")).await;
    }
    gateway.get("/slow/slow/3").await;
    gateway.get("/slow/slow/3").await;
    let shown = gateway.admin("GET", "/api/admin/circuit-breakers").await.json();
    let said: Vec<_> = shown["breakers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| {
            let number = |field: &str| of[field].as_u64().unwrap();
            (
                of["state"].as_str().unwrap(),
                of["rule"].as_str().unwrap(),
                number("failure_count"),
                number("failure_threshold"),
            )
        })
        .collect();
    assert_eq!(said, [("open", "ratio", 3, 3), ("open", "slow", 2, 1), ("closed", "within", 3, 5)]);
    let scores: Vec<_> = shown["breakers"].as_array().unwrap().iter().map(|of| of["health_score"].as_f64()).collect();
    assert_eq!(scores, [Some(0.0), Some(0.0), Some(0.4)]);
}

#[tokio::test]
async fn everything_down_is_unhealthy() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, "[upstreams.up]\nurl = 'http://{up}'\npolicy.breaker = { trip = 1 }").await;
    gateway.get("/up/status/500").await;
    let health = gateway.admin("GET", "/api/health").await;
    assert_eq!((health.status(), health.json()["status"].as_str().unwrap()), (503, "unhealthy"));
}

#[tokio::test]
async fn events_stream_as_they_happen_and_resume() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, TWO).await;
    let mut follower = follow(&gateway, "").await;
    read_until(&mut follower, ": connected").await;
    for _ in 0..2 {
        gateway.get("/up/status/500").await;
    }
    gateway.admin("POST", "/api/admin/circuit-breakers/reset").await;
    let text = read_until(&mut follower, "circuit_closed\"").await;
    let opened = text.split("\n\n").find(|event| event.contains("event: circuit_opened")).unwrap().to_owned();
    assert!(opened.contains("\"policy\":\"up\"") && opened.contains("\"failures\":2"), "{opened}");
    assert_eq!(text.matches("event: circuit_opened").count(), 1, "told once: {text}");

    let id: u64 = opened.split("id: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    let mut resumed = follow(&gateway, &format!("last-event-id: {}\r\n", id - 1)).await;
    let text = read_until(&mut resumed, "circuit_closed\"").await;
    assert!(text.contains(&format!("id: {id}\nevent: circuit_opened")), "{text}");
    let mut after = follow(&gateway, &format!("last-event-id: {id}\r\n")).await;
    assert!(!read_until(&mut after, "circuit_closed\"").await.contains("circuit_opened\""));
}

#[tokio::test]
async fn metrics_come_in_the_format_and_under_the_names_that_are_asked_for() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, TWO).await;
    gateway.get("/up/status/500").await;
    let get = async |path: &str, accept: &str| request(gateway.admin, "GET", path, accept, b"").await;

    let plain = get("/metrics", "").await;
    assert!(plain.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{}", plain.head);
    assert!(plain.text().contains("stormproof_breaker_calls_total{name=\"up\",outcome=\"failure\"} 1\n"));

    let open = get("/metrics", "accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n").await;
    assert!(open.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", open.head);
    assert!(open.text().ends_with("# EOF\n"));

    let aragora = get("/metrics?names=aragora", "").await.text();
    assert!(aragora.contains("aragora_circuit_breaker_state{name=\"up\"} 0\n"), "{aragora}");
    assert!(aragora.contains("aragora_resilience_requests_total{name=\"up\",outcome=\"failure\"} 1\n"), "{aragora}");
    assert!(!aragora.contains("stormproof_"));
    let both = get("/metrics?x=y&names=stormproof,book", "").await.text();
    assert!(both.contains("stormproof_breaker_state") && both.contains("\ncircuit_breaker_state{"));
    let wrong = get("/metrics?names=nagios", "").await;
    assert_eq!((wrong.status(), wrong.json()["error"]["type"].as_str()), (400, Some("unknown_names")));
}

#[tokio::test]
async fn latency_is_measured_where_it_is_asked_for_and_timeouts_are_counted() {
    let upstream = Upstream::start().await;
    let more = "[upstreams.up]\nurl = 'http://{up}'\npolicy = { latency = {}, attempt_timeout = '200ms' }\n";
    let gateway = Gateway::start(&upstream, more).await;
    for path in ["/up/ok", "/up/status/404", "/up/slow/3", "/up/status/500"] {
        gateway.get(path).await;
    }
    assert_eq!(gateway.get("/up/hang").await.status(), 504);
    let aragora = gateway.admin("GET", "/metrics?names=aragora,aragora_code").await.text();
    for line in [
        "aragora_resilience_latency_seconds_count{name=\"up\"} 2\n",
        "aragora_resilience_latency_seconds{name=\"up\",quantile=\"0.99\"} ",
        "# TYPE aragora_resilience_duration_seconds histogram\n",
        "aragora_resilience_duration_seconds_bucket{name=\"up\",le=\"0.5\"} 2\n",
        "aragora_resilience_duration_seconds_bucket{name=\"up\",le=\"+Inf\"} 2\n",
        "aragora_resilience_duration_seconds_count{name=\"up\"} 2\n",
        "resilience_timeouts_total{operation_name=\"up\"} 1\n",
    ] {
        assert!(aragora.contains(line), "{line} is not in\n{aragora}");
    }
    let own = gateway.admin("GET", "/metrics").await.text();
    assert!(own.contains("stormproof_timeout_timed_out_total{name=\"up\",limit=\"attempt\"} 1\n"), "{own}");
    assert!(own.contains("stormproof_latency_buckets_seconds_bucket{name=\"up\",le=\"0.5\"} 2\n"), "{own}");
}

#[tokio::test]
async fn a_reload_keeps_state_and_the_last_good_configuration() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, TWO).await;
    for _ in 0..2 {
        gateway.get("/up/status/500").await;
    }
    let read = |text: &str| Config::parse(&text.replace("{up}", &upstream.address.to_string())).unwrap();
    let circuit = async |name: &str| {
        let all = gateway.admin("GET", "/api/admin/circuit-breakers").await.json();
        let found = all["breakers"].as_array().unwrap().iter().find(|breaker| breaker["name"] == name).cloned();
        found.map(|breaker| (breaker["state"].as_str().unwrap().to_owned(), breaker["failure_threshold"].as_u64()))
    };

    let new = "[upstreams.new]\nurl = 'http://{up}'\npolicy.breaker = {}\n[upstreams.up]\nurl = 'http://{up}'\n\
               policy.breaker = { trip = 3, open_duration = '30s' }\n";
    let reloaded = gateway.reload.apply(&read(new)).unwrap();
    let names = |names: &[stormproof::Name]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        (names(&reloaded.policies.added), names(&reloaded.policies.missing)),
        (vec!["new".into()], vec!["well".into()])
    );
    assert!(reloaded.needs_restart, "the addresses are others");
    assert_eq!(circuit("up").await, Some(("open".into(), Some(3))));
    assert_eq!((circuit("new").await.is_some(), circuit("well").await), (true, None));
    assert_eq!((gateway.get("/up/ok").await.status(), gateway.get("/new/ok").await.status()), (503, 200));
    assert_eq!(gateway.get("/well/ok").await.status(), 404);

    let mut bad = read(new);
    bad.upstreams.get_mut("up").unwrap().url = "nowhere".into();
    assert!(gateway.reload.apply(&bad).is_err());
    assert_eq!(gateway.get("/new/ok").await.status(), 200);
    let told: Vec<_> = gateway.events().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        told.iter().filter(|event| event.contains("reloaded")).collect::<Vec<_>>(),
        ["reloaded", "not_reloaded"]
    );
    assert_eq!(told.iter().filter(|event| *event == "circuit_opened").count(), 1, "told once: {told:?}");
}

async fn follow(gateway: &Gateway, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.admin).await.unwrap();
    let head = format!("GET /api/events HTTP/1.1\r\nhost: {}\r\n{headers}\r\n", gateway.admin);
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn read_until(stream: &mut TcpStream, part: &str) -> String {
    let mut text = Vec::new();
    while support::find(&text, part.as_bytes()).is_none() {
        let read = timeout(Duration::from_secs(5), stream.read_buf(&mut text)).await;
        assert!(read.is_ok_and(|read| read.unwrap() > 0), "{part} did not come: {}", String::from_utf8_lossy(&text));
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_not_let_in() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, TWO).await;
    for path in ["/api/health", "/metrics", "/api/events", "/nothing"] {
        let answer = request(gateway.admin, "GET", path, "host: evil.example\r\n", b"").await;
        assert_eq!(
            (answer.status(), answer.json()["error"]["type"].as_str().unwrap()),
            (421, "foreign_host"),
            "{path}"
        );
    }
    let reset = "/api/admin/circuit-breakers/reset";
    for origin in ["http://evil.example", "null", "http://localhost:1"] {
        let answer = request(gateway.admin, "POST", reset, &format!("origin: {origin}\r\n"), b"").await;
        assert_eq!((answer.status(), answer.json()["error"]["type"].as_str().unwrap()), (403, "foreign_origin"));
    }
    let own = format!("origin: http://{}\r\n", gateway.admin);
    assert_eq!(request(gateway.admin, "POST", reset, &own, b"").await.status(), 200);
}

#[tokio::test]
async fn everybody_gets_in_only_with_the_token() {
    let config = |admin: &str| {
        let text = format!("[gateway]\nlisten = '127.0.0.1:0'\nadmin = '{admin}'\n[upstreams.a]\nurl = 'http://h'\n");
        Config::parse(&text).unwrap()
    };
    let refused = Server::bind(config("0.0.0.0:0"), None).await.unwrap_err();
    assert!(matches!(refused, StartError::PublicAdmin(_)));
    assert!(refused.to_string().contains("STORMPROOF_ADMIN_TOKEN"), "{refused}");
    let empty = Server::bind(config("0.0.0.0:0"), Some(" ".into())).await.unwrap_err();
    assert_eq!(empty, StartError::EmptyToken);

    let server = Server::bind(config("0.0.0.0:0"), Some(" secret\n".into())).await.unwrap();
    let admin = ([127, 0, 0, 1], server.admin_address().port()).into();
    tokio::spawn(server.serve(std::future::pending(), std::future::pending::<()>()));
    assert_eq!(request(admin, "GET", "/metrics", "", b"").await.status(), 401);
    assert_eq!(request(admin, "GET", "/metrics", "authorization: Bearer wrong\r\n", b"").await.status(), 401);
    assert_eq!(request(admin, "GET", "/metrics", "authorization: Bearer secret\r\n", b"").await.status(), 200);
    // Health is for load balancers and says nothing else.
    assert_eq!(request(admin, "GET", "/api/health", "", b"").await.status(), 200);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let text = format!("[gateway]\nlisten = '127.0.0.1:0'\nadmin = '{address}'\n[upstreams.a]\nurl = 'http://h'\n");
    let error = Server::bind(Config::parse(&text).unwrap(), None).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {address} (admin API): the port is in use"));
}
