//! The service, as a process of its own, before an upstream that fails.
#![cfg(test)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::get;
use http_body_util::BodyExt;
use stormproof_http::{Client, client};
use tokio::net::TcpListener;

/// If what is to come has not come after this time, it does not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// An upstream whose next answers are failures, of which it has this number left.
#[derive(Clone, Default)]
struct Upstream {
    failures: Arc<AtomicU32>,
    calls: Arc<AtomicU32>,
}

impl Upstream {
    async fn start(&self) -> String {
        let this = self.clone();
        let answer = move || {
            this.calls.fetch_add(1, SeqCst);
            let fails = this.failures.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
            async move { if fails { (StatusCode::SERVICE_UNAVAILABLE, "down") } else { (StatusCode::OK, "sunny") } }
        };
        let slow = || async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            "rain"
        };
        let router = Router::new()
            .route("/forecast/slow", get(slow))
            .route("/forecast/nowhere", get(|| async { StatusCode::NOT_FOUND }))
            .route("/forecast/{city}", get(answer));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }
}

struct Service {
    child: Child,
    url: String,
    client: Client<String>,
}

impl Service {
    fn start(settings: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_service"))
            .arg(settings)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("it says where it listens");
        let client = Client::new(&client::Config::default()).unwrap();
        Self { url: format!("http://{address}"), child, client }
    }

    async fn get(&self, path: &str) -> (u16, HeaderMap, String) {
        let request = Request::get(format!("{}{path}", self.url)).body(String::new()).unwrap();
        let (parts, body) = self.client.send(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, String::from_utf8_lossy(&body).into_owned())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(path: &Path, upstream: &str, breaker: &str) {
    let text = format!(
        "[app]\nlisten = '127.0.0.1:0'\nupstream = '{upstream}'\n[policies.forecast]\ndeadline = '5s'\n\
         breaker = {{ failure_threshold = 4, open_duration = '30s', {breaker} }}\n\
         retry = {{ max_retries = 1, backoff = {{ kind = 'constant', delay = '1ms' }} }}\n"
    );
    std::fs::write(path, text).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_retries_serves_what_it_kept_and_says_when_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("service.toml");
    let upstream = Upstream::default();
    let url = upstream.start().await;
    write(&settings, &url, "");
    let mut service = Service::start(&settings);

    assert_eq!(service.get("/healthz").await.0, 200);
    upstream.failures.store(1, SeqCst);
    let (status, headers, body) = service.get("/forecast/bern").await;
    assert_eq!((status, body.as_str(), &headers["x-source"]), (200, "sunny", &"upstream".parse().unwrap()));
    assert_eq!(upstream.calls.load(SeqCst), 2, "one failure, one retry");
    assert_eq!(service.get("/forecast/nowhere").await.0, 404);

    // Down: a city that was asked for before is served from the cache, another one is told why not.
    upstream.failures.store(u32::MAX, SeqCst);
    let (status, headers, body) = service.get("/forecast/bern").await;
    assert_eq!((status, body.as_str(), &headers["x-source"]), (200, "sunny", &"cache".parse().unwrap()));
    let (status, headers, body) = service.get("/forecast/oslo").await;
    assert_eq!((status, headers.get("retry-after").is_some()), (502, false), "{body}");

    // Four failures in a row: the circuit is open.
    let calls = upstream.calls.load(SeqCst);
    let (status, headers, body) = service.get("/forecast/oslo").await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("circuit_open"), "{body}");
    let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(upstream.calls.load(SeqCst), calls, "nothing was sent");
    assert_eq!(service.get("/forecast/bern").await.0, 200, "from the cache");

    let (status, headers, metrics) = service.get("/metrics").await;
    assert_eq!((status, &headers["content-type"]), (200, &"text/plain; version=0.0.4; charset=utf-8".parse().unwrap()));
    assert!(metrics.contains(r#"stormproof_breaker_state{name="forecast",state="open"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"stormproof_cache_hits_total{name="forecasts",answer="stale"} 2"#), "{metrics}");

    // A change of the file is in force without a restart.
    upstream.failures.store(0, SeqCst);
    write(&settings, &url, "mode = 'disabled'");
    let reloaded = async {
        while service.get("/forecast/oslo").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reloaded).await.expect("the file is read again");

    // A request under way is answered before the process ends.
    let stop = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let pid = service.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    };
    let ((status, _, body), ()) = tokio::join!(service.get("/forecast/slow"), stop);
    assert_eq!((status, body.as_str()), (200, "rain"));
    let ended = tokio::task::spawn_blocking(move || service.child.wait().unwrap());
    let status = tokio::time::timeout(PATIENCE, ended).await.expect("it ends").unwrap();
    assert!(status.success(), "{status}");
}
