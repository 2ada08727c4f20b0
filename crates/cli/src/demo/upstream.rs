//! The demo's upstream: a process of its own, so that it can really die.
//!
//! It listens on loopback, behaves as the lines on its standard input say, prints a line for each call it receives, and
//! ends when its input ends.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket};
use tokio::process::{Child, ChildStdin, Command};

use super::script::Behaviour;
use super::unit;

/// How long a healthy answer takes.
const SERVICE_TIME: Duration = Duration::from_millis(15);

/// The upstream's own process: `stormproof demo-upstream`.
pub(crate) async fn serve(port: u16, seed: u64) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let listener = socket.listen(1024)?;
    say(&format!("listening {}", listener.local_addr()?.port()))?;

    let behaviour = Arc::new(Mutex::new(Behaviour::Healthy));
    tokio::spawn(accept(listener, behaviour.clone(), seed));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some(new) = Behaviour::from_line(&line) {
            *behaviour.lock().unwrap_or_else(PoisonError::into_inner) = new;
        }
    }
    Ok(())
}

async fn accept(listener: TcpListener, behaviour: Arc<Mutex<Behaviour>>, seed: u64) {
    let calls = Arc::new(AtomicU64::new(0));
    while let Ok((stream, _)) = listener.accept().await {
        let (behaviour, calls) = (behaviour.clone(), calls.clone());
        tokio::spawn(async move {
            let service = service_fn(|_| {
                let behaviour = *behaviour.lock().unwrap_or_else(PoisonError::into_inner);
                let number = calls.fetch_add(1, Ordering::Relaxed);
                async move { Ok::<_, Infallible>(answer(behaviour, unit(seed, number)).await) }
            });
            // A caller who hangs up is no event for the demo.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(behaviour: Behaviour, chance: f64) -> Response<Full<Bytes>> {
    // If nobody reads any more, the process is about to end.
    let _ = say("call");
    let unlucky = |percent: u8| chance < f64::from(percent) / 100.0;
    tokio::time::sleep(SERVICE_TIME).await;
    let status = match behaviour {
        Behaviour::Errors(percent) if unlucky(percent) => StatusCode::INTERNAL_SERVER_ERROR,
        Behaviour::Throttles(percent) if unlucky(percent) => StatusCode::TOO_MANY_REQUESTS,
        Behaviour::Stalls => std::future::pending().await,
        _ => StatusCode::OK,
    };
    let mut response = Response::new(Full::new(Bytes::from_static(b"an answer\n")));
    *response.status_mut() = status;
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert("retry-after", hyper::header::HeaderValue::from_static("1"));
    }
    response
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// The upstream as the demo holds it.
#[derive(Debug)]
pub(super) struct Upstream {
    seed: u64,
    port: u16,
    process: Option<(Child, ChildStdin)>,
    received: Arc<AtomicU64>,
}

impl Upstream {
    pub(super) async fn start(seed: u64) -> io::Result<Self> {
        let mut upstream = Self { seed, port: 0, process: None, received: Arc::default() };
        upstream.spawn().await?;
        Ok(upstream)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Calls received by all its processes.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) async fn behave(&mut self, behaviour: Behaviour) -> io::Result<()> {
        if behaviour == Behaviour::Dead {
            if let Some((mut child, _)) = self.process.take() {
                child.kill().await?;
            }
            return Ok(());
        }
        if self.process.is_none() {
            self.spawn().await?;
        }
        if let Some((_, stdin)) = &mut self.process {
            stdin.write_all(format!("{}\n", behaviour.to_line()).as_bytes()).await?;
        }
        Ok(())
    }

    /// Starts the process, on the port it had before if there was one.
    async fn spawn(&mut self) -> io::Result<()> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("demo-upstream")
            .args(["--port", &self.port.to_string(), "--seed", &self.seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the upstream's pipes are missing"));
        };
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next_line().await?.unwrap_or_default();
        self.port = first
            .strip_prefix("listening ")
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| io::Error::other("the upstream did not start"))?;
        let received = self.received.clone();
        tokio::spawn(async move {
            while let Ok(Some(_)) = lines.next_line().await {
                received.fetch_add(1, Ordering::Relaxed);
            }
        });
        self.process = Some((child, stdin));
        Ok(())
    }
}
