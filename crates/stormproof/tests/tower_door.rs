//! What the tower door adds to the core: readiness, copies, bodies that hold, and stacks it fits into.
#![cfg(feature = "http")]
#![cfg(test)]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::error_handling::HandleErrorLayer;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, channel};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use stormproof::service::{PolicyLayer, PolicyService, Repeat};
use stormproof::{Bulkhead, CircuitBreaker, Error, Policy, Reason, Retry, Stop, Trip, Verdict, breaker, bulkhead};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};

fn at_once(max_retries: u32) -> Retry {
    Retry::constant(Duration::ZERO).max_retries(max_retries)
}

fn one_slot() -> Bulkhead {
    let config = bulkhead::Config { max_concurrent: 1, max_queue: 0, ..Default::default() };
    Bulkhead::with_config("one", config).unwrap()
}

/// A request that counts its copies.
#[derive(Debug, Default)]
struct Counted(Arc<AtomicU32>);

impl Repeat for Counted {
    fn copier(&self) -> Option<fn(&Self) -> Self> {
        Some(Self::clone)
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

/// Number of times a request is sent over HTTP to a server that answers 503 or, `hedged`, does not answer in time.
async fn sent<R: Repeat + 'static>(request: R, hedged: bool) -> u32 {
    let retry = Policy::builder("p").retry(at_once(2));
    let hedge = || Policy::builder("p").hedge(Duration::from_millis(10));
    let policy = if hedged { hedge() } else { retry }.build().unwrap();
    let sent = Arc::new(AtomicU32::new(0));
    let counter = sent.clone();
    let server = service_fn(move |_: R| {
        counter.fetch_add(1, Ordering::Relaxed);
        async move {
            let wait = Duration::from_secs(hedged.into());
            tokio::time::sleep(wait).await;
            Ok::<_, Infallible>(Response::builder().status(503).body(()).unwrap())
        }
    });
    let layer =
        PolicyLayer::new(&policy).classify_with(|response: Result<&Response<()>, &Infallible>| match response {
            Ok(response) if response.status().is_server_error() => Verdict::failure("ServiceUnavailable"),
            _ => Verdict::success(),
        });
    let response = layer.layer(server).oneshot(request).await;
    assert_eq!(response.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    sent.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn over_http_only_what_may_be_repeated_is_sent_again() {
    let request = |method: &str| Request::builder().method(method).uri("http://shop/orders");
    for (method, retried, hedged) in [("GET", 3, 2), ("PUT", 3, 2), ("DELETE", 3, 2), ("POST", 1, 1), ("PATCH", 1, 1)] {
        assert_eq!(sent(request(method).body("{}").unwrap(), false).await, retried, "{method}");
        assert_eq!(sent(request(method).body("{}").unwrap(), true).await, hedged, "{method}, hedged");
    }
    let with_key = |key: &str| request("POST").header("Idempotency-Key", key).body("{}").unwrap();
    assert_eq!(sent(with_key("order-17"), false).await, 3);
    assert_eq!(sent(with_key(""), false).await, 1, "an empty key names nothing");
}

#[cfg(feature = "reqwest")]
#[tokio::test(start_paused = true)]
async fn requests_of_reqwest_follow_the_same_rule_and_streams_are_sent_once() {
    let request = |method| reqwest::Request::new(method, "http://shop/orders".parse().unwrap());
    assert_eq!(sent(request(http::Method::GET), false).await, 3);
    assert_eq!(sent(request(http::Method::POST), false).await, 1);
    let mut put = request(http::Method::PUT);
    *put.body_mut() = Some("{}".into());
    assert_eq!(sent(put, false).await, 3);
    let mut streamed = request(http::Method::PUT);
    *streamed.body_mut() = Some(reqwest::Body::wrap(Full::new(Bytes::from_static(b"{}"))));
    assert_eq!(sent(streamed, false).await, 1);
}

#[tokio::test]
async fn case_33_copies_are_made_before_attempts_that_could_be_retried() {
    for (max_retries, failures, expected) in [(0, 9, 0), (3, 0, 1), (3, 1, 2), (3, 2, 3), (3, 3, 3), (3, 9, 3)] {
        let policy = at_once(max_retries).build("p").unwrap();
        let (request, attempts) = (Counted::default(), AtomicU32::new(0));
        let copies = request.0.clone();
        let inner = service_fn(|_: Counted| {
            ready(if attempts.fetch_add(1, Ordering::Relaxed) < failures { Err("no") } else { Ok(()) })
        });
        let result = PolicyService::new(inner, &policy).oneshot(request).await;
        assert_eq!(result.is_ok(), failures <= max_retries);
        assert_eq!(copies.load(Ordering::Relaxed), expected, "{max_retries} retries, {failures} failures");
    }

    let policy = Policy::builder("without retry").breaker(CircuitBreaker::new("b")).build().unwrap();
    let request = Counted::default();
    let copies = request.0.clone();
    PolicyService::new(service_fn(|_| ready(Ok::<_, Infallible>(()))), &policy).oneshot(request).await.unwrap();
    assert_eq!(copies.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_request_that_cannot_be_copied_is_sent_once() {
    struct NotClone;
    let policy = at_once(3).build("p").unwrap();
    let service = PolicyLayer::new(&policy).once().layer(service_fn(|_: NotClone| ready(Err::<(), _>("no"))));
    let error = service.oneshot(NotClone).await.unwrap_err();
    assert!(matches!(error, Error::Failed { error: "no", stop: Stop::NoRetry, attempts: 1, .. }), "{error:?}");
}

#[tokio::test]
async fn case_07_an_ok_that_is_judged_a_failure_is_retried_and_comes_back_as_it_is() {
    let policy = at_once(2).build("p").unwrap();
    let attempts = AtomicU32::new(0);
    let inner = service_fn(|()| ready(Ok::<_, Infallible>(attempts.fetch_add(1, Ordering::Relaxed))));
    let layer = PolicyLayer::new(&policy).classify_with(|_: Result<&u32, &Infallible>| Verdict::failure("Overloaded"));
    assert_eq!(layer.layer(inner).oneshot(()).await.unwrap(), 2);
}

/// A service that is ready only when it was asked twice, and must have been to be called. Clones know nothing of it.
#[derive(Debug, Default)]
struct Shy {
    asked: u32,
    calls: Arc<AtomicU32>,
}

impl Clone for Shy {
    fn clone(&self) -> Self {
        Self { asked: 0, calls: self.calls.clone() }
    }
}

impl Service<()> for Shy {
    type Response = ();
    type Error = &'static str;
    type Future = Ready<Result<(), &'static str>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.asked += 1;
        if self.asked >= 2 {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, (): ()) -> Self::Future {
        assert!(std::mem::take(&mut self.asked) >= 2, "called before it was ready");
        ready(if self.calls.fetch_add(1, Ordering::Relaxed) < 2 { Err("no") } else { Ok(()) })
    }
}

#[tokio::test]
async fn what_was_ready_is_called_and_a_retry_waits_for_readiness() {
    let (policy, inner) = (at_once(3).build("p").unwrap(), Shy::default());
    let calls = inner.calls.clone();
    let mut service = PolicyService::new(inner, &policy);
    service.ready().await.unwrap().call(()).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    service.ready().await.unwrap().call(()).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn readiness_that_is_not_used_is_given_back() {
    let breaker = CircuitBreaker::new("open");
    breaker.set_mode(breaker::Mode::ForcedOpen);
    let policy = Policy::builder("p").breaker(&breaker).build().unwrap();
    let inner = tower::limit::ConcurrencyLimit::new(service_fn(|()| ready(Ok::<_, Infallible>(()))), 1);
    let mut service = PolicyService::new(inner, &policy);
    for _ in 0..3 {
        let error = service.ready().await.unwrap().call(()).await.unwrap_err();
        assert_eq!(error.refused().map(|refused| refused.reason), Some(Reason::ForcedOpen));
    }
    breaker.reset();
    service.ready().await.unwrap().call(()).await.unwrap();
}

#[tokio::test]
async fn it_stands_inside_and_outside_of_services_with_boxed_errors() {
    let policy = at_once(1).build("p").unwrap();
    let failing = || service_fn(|(): ()| ready(Err::<(), _>(std::io::Error::other("broken"))));
    let outside = ServiceBuilder::new().buffer(4).layer(PolicyLayer::new(&policy)).service(failing());
    let error: BoxError = outside.oneshot(()).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Error<std::io::Error>>().unwrap().attempts(), 2);

    let inside = ServiceBuilder::new()
        .map_err(Error::<BoxError>::into_boxed)
        .layer(PolicyLayer::new(&policy))
        .buffer(4)
        .service(failing());
    let error: BoxError = inside.oneshot(()).await.unwrap_err();
    assert!(error.to_string().starts_with("broken (") && error.to_string().contains("attempts: 2"), "{error}");
}

/// Behind one slot, with a breaker that opens at once: answers with the status it is asked for and a body that comes from
/// the sender.
struct Streaming {
    bulkhead: Bulkhead,
    breaker: CircuitBreaker,
    sender: Sender,
}

type Sender = Arc<Mutex<Option<channel::Sender<Bytes, &'static str>>>>;

fn judge<'a, B, E>(result: Result<&'a Response<B>, &'a E>) -> Verdict<'a> {
    match result.map(Response::status) {
        Ok(status) if status.is_server_error() => Verdict::failure("ServerError"),
        Ok(status) if status.is_client_error() => Verdict::ignored("ClientError"),
        Ok(_) => Verdict::success(),
        Err(_) => Verdict::failure("ConnectionError"),
    }
}

impl Streaming {
    fn new() -> Self {
        let config = breaker::Config { trip: vec![Trip::consecutive(1)], ..Default::default() };
        let breaker = CircuitBreaker::with_config("b", config).unwrap();
        Self { bulkhead: one_slot(), breaker, sender: Arc::default() }
    }

    async fn ask(&self, status: u16) -> Response<impl Body<Data = Bytes, Error = &'static str> + Unpin + use<>> {
        let policy = Policy::builder("p").bulkhead(&self.bulkhead).breaker(&self.breaker).build().unwrap();
        let sender = self.sender.clone();
        let inner = service_fn(move |status| {
            let (streams, body) = channel::Channel::<Bytes, &'static str>::new(4);
            *sender.lock().unwrap() = Some(streams);
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            ready(Ok::<_, Infallible>(response))
        });
        let layer = PolicyLayer::new(&policy).classify_with(judge).hold_in_body();
        layer.layer(inner).oneshot(status).await.unwrap()
    }

    fn sender(&self) -> channel::Sender<Bytes, &'static str> {
        self.sender.lock().unwrap().take().unwrap()
    }

    /// Slots taken; successes, failures and neither.
    fn counts(&self) -> (u32, [u64; 3]) {
        let stats = self.breaker.stats();
        (self.bulkhead.stats().active, [stats.successes, stats.failures, stats.ignored])
    }
}

#[tokio::test]
async fn a_body_keeps_its_slot_until_its_end() {
    let streaming = Streaming::new();
    let response = streaming.ask(200).await;
    assert_eq!(streaming.counts(), (1, [0, 0, 0]));
    let mut sender = streaming.sender();
    sender.send_data(Bytes::from_static(b"all")).await.unwrap();
    drop(sender);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "all");
    assert_eq!(streaming.counts(), (0, [1, 0, 0]));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_failure() {
    let streaming = Streaming::new();
    let response = streaming.ask(200).await;
    streaming.sender().abort("broken");
    assert_eq!(response.into_body().collect().await.unwrap_err(), "broken");
    assert_eq!(streaming.counts(), (0, [0, 1, 0]));
    assert_eq!(streaming.breaker.state(), breaker::State::Open);
}

#[tokio::test]
async fn a_body_that_is_dropped_counts_neither_way() {
    let streaming = Streaming::new();
    drop(streaming.ask(200).await);
    assert_eq!(streaming.counts(), (0, [0, 0, 1]));
}

#[tokio::test]
async fn a_failed_response_counts_once_and_its_body_keeps_the_slot() {
    let streaming = Streaming::new();
    let response = streaming.ask(500).await;
    assert_eq!(streaming.counts(), (1, [0, 1, 0]));
    drop(streaming.sender());
    response.into_body().collect().await.unwrap();
    assert_eq!(streaming.counts(), (0, [0, 1, 0]));
}

#[tokio::test]
async fn what_is_the_callers_own_fault_counts_neither_way_at_the_end_of_its_body() {
    let streaming = Streaming::new();
    let response = streaming.ask(404).await;
    drop(streaming.sender());
    response.into_body().collect().await.unwrap();
    assert_eq!(streaming.counts(), (0, [0, 0, 1]));
}

/// Real sockets: an axum server that lets one request in at a time, and a hyper client that retries.
#[tokio::test]
async fn a_client_of_hyper_and_a_router_of_axum() {
    let server_slot = one_slot();
    let server = Policy::builder("server").bulkhead(&server_slot).build().unwrap();
    let refused = |error: Error<Infallible>| async move {
        let status =
            if error.refused().is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::GATEWAY_TIMEOUT };
        (status, error.to_string())
    };
    let stack = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(refused))
        .layer(PolicyLayer::new(&server).once().hold_in_body());
    let router = axum::Router::new().route("/", get(|| async { "hello" })).layer(stack);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });

    let taken = server_slot.acquire().await.unwrap();
    let retry = Retry::constant(Duration::from_millis(20)).max_retries(500);
    let client = Policy::builder("client").retry(retry).attempt_timeout(Duration::from_secs(5)).build().unwrap();
    let (heard, retries) = tokio::sync::oneshot::channel();
    let heard = Mutex::new(Some(heard));
    client.on_event(move |_| {
        if let Some(heard) = heard.lock().unwrap().take() {
            heard.send(()).unwrap();
        }
    });
    let layer = PolicyLayer::new(&client).classify_with(judge).hold_in_body();
    let service = layer.layer(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
    let request = Request::get(format!("http://{address}/")).body(Full::default()).unwrap();
    let response = tokio::spawn(service.oneshot(request));
    retries.await.unwrap();
    drop(taken);
    let body = response.await.unwrap().unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "hello");
    assert!(server_slot.stats().refused >= 1);
}
