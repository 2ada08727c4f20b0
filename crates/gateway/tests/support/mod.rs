//! A misbehaving upstream, a plain client and a gateway, all over real sockets.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use stormproof_gateway::{Config, Ended, Feed, Reload, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// A request as the upstream saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: String,
    pub body: usize,
}

/// An upstream that does what the path says.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Bytes of bodies that could be written.
    sent: Arc<AtomicUsize>,
}

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sent = Arc::new(AtomicUsize::new(0));
        let (requests, written) = (seen.clone(), sent.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, requests.clone(), written.clone()));
            }
        });
        Self { address, seen, sent }
    }

    /// How many bytes of large bodies the gateway has taken.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// The requests whose path holds `part`.
    pub fn seen(&self, part: &str) -> Vec<Seen> {
        let first_line = |seen: &Seen| seen.head.lines().next().unwrap_or_default().to_owned();
        self.seen.lock().unwrap().iter().filter(|seen| first_line(seen).contains(part)).cloned().collect()
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<Seen>>>, sent: Arc<AtomicUsize>) {
    let mut buffer = Vec::new();
    while let Some(head) = read_head(&mut stream, &mut buffer).await {
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let before = {
            let mut seen = seen.lock().unwrap();
            let same = seen.iter().filter(|seen| seen.head.split(' ').nth(1) == Some(&path)).count();
            seen.push(Seen { head: head.clone(), body: 0 });
            same
        };
        let at = seen.lock().unwrap().len() - 1;
        if head.contains("/unread/") {
            sleep(Duration::from_secs(2)).await;
        }
        let Some(body) = read_body(&mut stream, &mut buffer, &head).await else { return };
        seen.lock().unwrap()[at].body = body;
        if path.contains("/big/") {
            send_big(&mut stream, path.rsplit('/').next().unwrap().parse().unwrap(), &sent).await;
        } else if !respond(&mut stream, &method, &path, before, body, &head).await {
            return;
        }
    }
}

/// Answers as the path says; false if the connection is over.
async fn respond(stream: &mut TcpStream, method: &str, path: &str, before: usize, body: usize, head: &str) -> bool {
    let mut parts = path.split('?').next().unwrap().rsplit('/');
    let (last, word) = (parts.next().unwrap(), parts.next().unwrap_or_default());
    let number: usize = last.parse().unwrap_or(0);
    let word = if last.parse::<usize>().is_ok() { word } else { last };
    match word {
        "status" => send_status(stream, number, "").await,
        // Fails so many times, then works.
        "flaky" => send_status(stream, if before < number { 503 } else { 200 }, "").await,
        "retry-after" if before == 0 => send_status(stream, 429, &format!("retry-after: {number}\r\n")).await,
        "retry-date" if before == 0 => {
            let date = httpdate(SystemTime::now() + Duration::from_secs(number as u64));
            send_status(stream, 429, &format!("retry-after: {date}\r\n")).await;
        }
        "hang" => sleep(Duration::from_secs(60)).await,
        "half-header" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").await;
            return false;
        }
        "half-header-hang" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").await;
            sleep(Duration::from_secs(60)).await;
        }
        "nonsense" => {
            let _ = stream.write_all(b"\x00\x01 this is not HTTP\r\n\r\n").await;
            return false;
        }
        "reset" => {
            // So many bytes of a longer answer, then RST.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await;
            let _ = stream.write_all(&vec![b'x'; number]).await;
            sleep(Duration::from_millis(20)).await;
            reset(stream);
            return false;
        }
        "reset-now" => {
            reset(stream);
            return false;
        }
        "cut" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
            sleep(Duration::from_millis(50)).await;
            return false;
        }
        "stall" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
            sleep(Duration::from_secs(60)).await;
        }
        "slow" | "slow-failure" => {
            let status = if word == "slow" { "200 OK" } else { "500 Internal Server Error" };
            let head = format!("HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            for n in 0..number {
                sleep(Duration::from_millis(20)).await;
                if stream.write_all(format!("8\r\npart{n:04}\r\n").as_bytes()).await.is_err() {
                    return false;
                }
            }
            let _ = stream.write_all(b"0\r\n\r\n").await;
        }
        "hop" => {
            let headers =
                "connection: x-secret-hop, keep-alive\r\nx-secret-hop: 1\r\nkeep-alive: timeout=5\r\nx-kept: 2\r\n";
            send_status(stream, 200, headers).await;
        }
        "not-modified" => {
            let _ = stream.write_all(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 77\r\netag: \"a\"\r\n\r\n").await;
        }
        "no-content" => {
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
        "headers" => send_body(stream, method, head).await,
        _ => send_body(stream, method, &format!("received {body}")).await,
    }
    true
}

async fn send_big(stream: &mut TcpStream, size: usize, sent: &AtomicUsize) {
    let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n").as_bytes()).await;
    let block = vec![b'x'; 1 << 16];
    let mut left = size;
    while left > 0 {
        let Ok(written) = stream.write(&block[..left.min(block.len())]).await else { return };
        sent.fetch_add(written, Ordering::Relaxed);
        left -= written;
    }
}

async fn send_status(stream: &mut TcpStream, status: usize, headers: &str) {
    let text = format!("HTTP/1.1 {status} Status\r\n{headers}content-length: 2\r\n\r\nok");
    let _ = stream.write_all(text.as_bytes()).await;
}

async fn send_body(stream: &mut TcpStream, method: &str, body: &str) {
    let shown = if method == "HEAD" { "" } else { body };
    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{shown}", body.len());
    let _ = stream.write_all(text.as_bytes()).await;
}

fn httpdate(time: SystemTime) -> String {
    httpdate::fmt_http_date(time)
}

/// The next close of this connection is a reset.
fn reset(stream: &TcpStream) {
    stream.set_zero_linger().unwrap();
}

async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            let rest = buffer.split_off(end + 4);
            let head = String::from_utf8_lossy(buffer).into_owned();
            *buffer = rest;
            return Some(head);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Reads a body and forgets it; how long it was.
async fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, head: &str) -> Option<usize> {
    let header = |name: &str| {
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
        Some(line[name.len()..].trim().to_owned())
    };
    if header("transfer-encoding:").is_some() {
        let mut total = 0;
        loop {
            while find(buffer, b"\r\n").is_none() {
                if stream.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            let end = find(buffer, b"\r\n")?;
            let size = usize::from_str_radix(std::str::from_utf8(&buffer[..end]).ok()?, 16).ok()?;
            while buffer.len() < end + 2 + size + 2 {
                if stream.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            buffer.drain(..end + 2 + size + 2);
            total += size;
            if size == 0 {
                return Some(total);
            }
        }
    }
    let length: usize = header("content-length:").and_then(|value| value.parse().ok()).unwrap_or(0);
    let mut left = length;
    loop {
        let taken = left.min(buffer.len());
        buffer.drain(..taken);
        left -= taken;
        if left == 0 {
            return Some(length);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

pub fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// A gateway that runs until it is told to stop.
pub struct Gateway {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub reload: Reload,
    feed: Feed,
    drain: Option<oneshot::Sender<()>>,
    abort: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Ended>,
}

impl Gateway {
    /// With one upstream called `up`, and further lines of the file; `{up}` is the upstream's address.
    pub async fn start(upstream: &Upstream, more: &str) -> Self {
        let text = format!(
            "[gateway]\nlisten = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n{}\n",
            more.replace("{up}", &upstream.address.to_string())
        );
        Self::from_text(&text).await
    }

    pub async fn from_text(text: &str) -> Self {
        let config = Config::parse(text).unwrap_or_else(|found| panic!("{found:#?}\n{text}"));
        let server = Server::bind(config, None).await.unwrap();
        let (address, admin) = (server.address(), server.admin_address());
        let (feed, reload) = (server.feed().clone(), server.reload());
        let (drain, drains) = oneshot::channel();
        let (abort, aborts) = oneshot::channel();
        let ended = tokio::spawn(server.serve(wait(drains), wait(aborts)));
        Self { address, admin, reload, feed, drain: Some(drain), abort: Some(abort), ended }
    }

    pub fn drain(&mut self) {
        let _ = self.drain.take().unwrap().send(());
    }

    pub fn abort(&mut self) {
        let _ = self.abort.take().unwrap().send(());
    }

    pub async fn ended(self) -> Ended {
        self.ended.await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        request(self.address, "GET", path, "", b"").await
    }

    pub async fn admin(&self, method: &str, path: &str) -> Answer {
        request(self.admin, method, path, "", b"").await
    }

    /// All events so far.
    pub fn events(&self) -> Vec<serde_json::Value> {
        let told = self.feed.follow(Some(0)).0;
        told.iter().map(|told| serde_json::from_str(&told.json()).unwrap()).collect()
    }

    /// A number of `/metrics`.
    pub async fn metric(&self, line: &str) -> u64 {
        let text = self.admin("GET", "/metrics").await.text();
        let found = text.lines().find_map(|known| known.strip_prefix(line)).map(str::trim);
        found.unwrap_or_else(|| panic!("{line} is not in\n{text}")).parse().unwrap()
    }

    /// Waits until nothing is held any more, and fails if that takes more than two seconds.
    pub async fn settled(&self) {
        for _ in 0..100 {
            if self.metric(r#"stormproof_bulkhead_active{name="up"}"#).await == 0 {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(self.metric(r#"stormproof_bulkhead_active{name="up"}"#).await, 0);
        assert_eq!(self.metric(r#"stormproof_bulkhead_queued{name="up"}"#).await, 0);
    }
}

async fn wait(receiver: oneshot::Receiver<()>) {
    if receiver.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// An answer as it came over the wire.
#[derive(Debug)]
pub struct Answer {
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap_or("0").parse().unwrap_or(0)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Whether the answer says of itself that it is whole.
    pub fn is_complete(&self) -> bool {
        match self.header("content-length") {
            Some(length) => length.parse() == Ok(self.body.len()),
            None => self.header("transfer-encoding").is_some() && self.body.ends_with(b"0\r\n\r\n"),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }
}

/// Sends a request on a connection of its own and reads until that ends.
pub async fn request(address: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let host =
        if headers.to_ascii_lowercase().starts_with("host:") { String::new() } else { format!("host: {address}\r\n") };
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let head = format!("{method} {path} HTTP/1.1\r\n{host}connection: close\r\n{length}{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    read_answer(&mut stream).await
}

pub async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let end = find(&bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let body = bytes.split_off(end);
    Answer { head: String::from_utf8_lossy(&bytes).into_owned(), body }
}
