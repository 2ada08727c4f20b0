//! Connections of clients: accepted, served, and ended in order when the gateway stops.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::config::Settings;
use crate::patient::Patient;

/// What the gateway is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Serving.
    #[default]
    Serving,
    /// Accepts nothing more; what is under way goes on.
    Draining,
    /// Everything ends now.
    Ending,
}

/// While it drains, the gateway leaves a connection that has nothing under way open for so long: the next request may be
/// on its way already, and is answered with `Connection: close`.
const LINGER: Duration = Duration::from_millis(500);

/// A connection that has nothing under way by then, because half a header is all that came, is ended after this.
const FAREWELL: Duration = Duration::from_millis(100);

/// After an error of `accept` that is not about one connection (too many open files), so long until the next try.
const BREATHER: Duration = Duration::from_millis(100);

/// Answers requests.
pub(crate) trait Serve: Send + Sync + 'static {
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static;

    fn serve(&self, request: Request<Incoming>) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// A listener with all that its connections share.
#[derive(Debug)]
pub(crate) struct Door<S> {
    pub(crate) listener: TcpListener,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) room: Room<S>,
}

/// What connections are served with.
#[derive(Debug)]
pub(crate) struct Room<S> {
    pub(crate) service: Arc<S>,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Closed when the last connection has ended.
    pub(crate) alive: mpsc::Sender<()>,
    pub(crate) builder: http1::Builder,
    pub(crate) client_timeout: Duration,
}

/// How connections speak HTTP.
pub(crate) fn builder(settings: &Settings) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_header_size(settings.max_header_bytes)
        .max_buf_size(settings.max_header_bytes.max(64 << 10));
    builder
}

impl<S: Serve> Door<S> {
    /// Accepts and serves until the gateway stops.
    pub(crate) async fn run(mut self) {
        while let Some((stream, slot)) = self.next().await {
            self.room.spawn(stream, slot);
        }
        self.take_waiting();
    }

    /// Serves those whom the kernel has accepted for us: closing the listener would reset them. They are asked for without
    /// the runtime in between, which may not have heard of them yet.
    fn take_waiting(self) {
        let Self { listener, slots, room } = self;
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, _)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                room.spawn(stream, slots.clone().try_acquire_owned().ok());
            }
        }
    }

    /// The next connection; nothing when the gateway stops.
    async fn next(&mut self) -> Option<(TcpStream, Option<OwnedSemaphorePermit>)> {
        let Self { listener, slots, room } = self;
        let mut stops = pin!(room.phase.wait_for(|phase| *phase != Phase::Serving));
        let slot = tokio::select! {
            _ = &mut stops => return None,
            slot = slots.clone().acquire_owned() => slot.ok(),
        };
        loop {
            let accepted = tokio::select! {
                _ = &mut stops => return None,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => return Some((stream, slot)),
                Err(error) if is_about_one_connection(&error) => {}
                Err(_) => tokio::time::sleep(BREATHER).await,
            }
        }
    }
}

impl<S: Serve> Room<S> {
    fn spawn(&self, stream: TcpStream, slot: Option<OwnedSemaphorePermit>) {
        // Small parts of a stream go out as they come.
        let _ = stream.set_nodelay(true);
        let (stream, pressed) = Patient::new(stream, self.client_timeout);
        let (service, alive, mut ends) = (self.service.clone(), self.alive.clone(), self.phase.clone());
        let phase = Arc::new(self.phase.clone());
        let (under_way, mut calls) = watch::channel(0_usize);
        let under_way = Arc::new(under_way);
        let service = service_fn(move |request| {
            let (service, phase, call) = (service.clone(), phase.clone(), UnderWay::begin(&under_way));
            async move {
                let mut response = service.serve(request).await;
                if *phase.borrow() != Phase::Serving {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                // The call is under way until its body is let go.
                let response = response.map(|body| {
                    body.map_err(move |error| {
                        let _during = &call;
                        error
                    })
                });
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            let _held = (slot, alive);
            let mut connection = pin!(connection);
            tokio::select! {
                // How a connection ends is the client's business: an error here has nobody to be told to.
                _ = connection.as_mut() => return,
                () = draining(&mut ends) => connection.as_mut().graceful_shutdown(),
            }
            tokio::select! {
                _ = connection => {}
                () = nothing_left(&mut calls, &pressed) => {}
                _ = ends.wait_for(|phase| *phase == Phase::Ending) => {}
            }
        });
    }
}

/// A call, from its header to the last byte of its answer.
#[derive(Debug)]
struct UnderWay(Arc<watch::Sender<usize>>);

impl UnderWay {
    fn begin(calls: &Arc<watch::Sender<usize>>) -> Self {
        calls.send_modify(|calls| *calls += 1);
        Self(calls.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|calls| *calls -= 1);
    }
}

/// Ready when a connection has no call, and nothing of an answer that its client has yet to take.
async fn nothing_left(calls: &mut watch::Receiver<usize>, pressed: &AtomicBool) {
    while calls.wait_for(|calls| *calls == 0).await.is_ok() {
        tokio::time::sleep(FAREWELL).await;
        if *calls.borrow() == 0 && !pressed.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Ready when connections with nothing under way are to be closed.
async fn draining(phase: &mut watch::Receiver<Phase>) {
    let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
    let ending = phase.wait_for(|phase| *phase == Phase::Ending);
    let _ = tokio::time::timeout(LINGER, ending).await;
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
