//! The admin API: health, circuits, metrics and events, on a listener of its own.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode};
use http_body_util::channel::Channel;
use serde::Serialize;
use serde_json::{Value, json};
use stormproof::breaker::State as Circuit;
use stormproof::metrics::{Exposition, Names};
use stormproof::shapes::{Facts, aragora};
use stormproof::{CircuitBreaker, events, metrics};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::connection::Phase;
use crate::feed::{Feed, Told};
use crate::guard::{Barred, Guard};
use crate::upstreams::Upstreams;

/// So often a follower of events hears that the connection lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What the admin API shows and changes.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) upstreams: Upstreams,
    pub(crate) feed: Feed,
    pub(crate) phase: watch::Receiver<Phase>,
}

impl Admin {
    fn breakers(&self) -> Vec<CircuitBreaker> {
        self.upstreams.present().iter().filter_map(|upstream| upstream.breaker.clone()).collect()
    }
}

/// The routes, behind the guard.
pub(crate) fn router(admin: Arc<Admin>, guard: Guard) -> Router {
    Router::new()
        .route("/api/health", get(health))
        .route("/api/admin/circuit-breakers", get(circuits))
        .route("/api/admin/circuit-breakers/reset", post(reset_all))
        .route("/api/admin/circuit-breakers/{name}/reset", post(reset_one))
        .route("/api/events", get(follow))
        .route("/metrics", get(scrape))
        .fallback(async || refuse(StatusCode::NOT_FOUND, "not_found", "there is no such endpoint"))
        .method_not_allowed_fallback(async || {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this endpoint does not take this method")
        })
        .layer(axum::middleware::from_fn_with_state(Arc::new(guard), let_in))
        .with_state(admin)
}

/// Lets in what the guard allows.
async fn let_in(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let public = request.uri().path() == "/api/health";
    match guard.check(request.uri(), request.headers(), public) {
        Ok(()) => next.run(request).await,
        Err(Barred::Host) => {
            refuse(StatusCode::MISDIRECTED_REQUEST, "foreign_host", "this host name is not served here")
        }
        Err(Barred::Origin) => {
            refuse(StatusCode::FORBIDDEN, "foreign_origin", "web pages of other origins are not let in")
        }
        Err(Barred::Token) => refuse(StatusCode::UNAUTHORIZED, "unauthorized", "the admin token is missing or wrong"),
    }
}

async fn health(State(admin): State<Arc<Admin>>) -> Response {
    let breakers = admin.breakers();
    let open = breakers.iter().filter(|breaker| breaker.state() == Circuit::Open).count();
    let (code, status) = match open {
        _ if *admin.phase.borrow() != Phase::Serving => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        0 => (StatusCode::OK, "healthy"),
        _ if open == breakers.len() && open == admin.upstreams.present().len() => {
            (StatusCode::SERVICE_UNAVAILABLE, "unhealthy")
        }
        _ => (StatusCode::OK, "degraded"),
    };
    answer(code, &json!({ "status": status, "timestamp": events::timestamp(SystemTime::now()) }))
}

async fn circuits(State(admin): State<Arc<Admin>>) -> Response {
    answer(StatusCode::OK, &Facts::of_breakers(&admin.breakers()).shown_as(&aragora::ADMIN))
}

async fn reset_all(State(admin): State<Arc<Admin>>) -> Response {
    answer(StatusCode::OK, &reset(&admin.breakers(), "All circuit breakers have been reset"))
}

async fn reset_one(State(admin): State<Arc<Admin>>, Path(name): Path<String>) -> Response {
    match admin.breakers().into_iter().find(|breaker| breaker.name().as_str() == name) {
        Some(breaker) => {
            let message = format!("Circuit breaker {name} has been reset");
            answer(StatusCode::OK, &reset(&[breaker], &message))
        }
        None => refuse(StatusCode::NOT_FOUND, "not_found", "no circuit breaker has this name"),
    }
}

fn reset(breakers: &[CircuitBreaker], message: &str) -> Value {
    let mut previously_open = Vec::new();
    for breaker in breakers {
        if breaker.state() == Circuit::Open {
            previously_open.push(breaker.name().as_str());
        }
        breaker.reset();
    }
    json!({ "success": true, "previously_open": previously_open, "message": message })
}

/// In the format that `Accept` asks for, under the names that `?names=` lists; ours if it lists none.
async fn scrape(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let accept: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Exposition::accepted_by(&accept.join(","));
    let mut text = metrics::Text::new(format);
    let pairs = query.as_deref().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    if let Some((_, names)) = pairs.into_iter().find(|(key, _)| *key == "names") {
        match names.split([',', '+']).map(str::parse).collect::<Result<Vec<Names>, _>>() {
            Ok(names) => text = text.names(names),
            Err(wrong) => return refuse(StatusCode::BAD_REQUEST, "unknown_names", &wrong.to_string()),
        }
    }
    let snapshots: Vec<_> = admin.upstreams.present().iter().flat_map(|upstream| upstream.policy.snapshots()).collect();
    respond(StatusCode::OK, format.content_type(), Body::from(text.write(&snapshots)))
}

/// All events from now on, as server-sent events; those after `Last-Event-ID` first, as far as they are kept.
async fn follow(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
    let after = headers.get(&LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.trim().parse().ok());
    let (mut sender, body) = Channel::<Bytes>::new(16);
    tokio::spawn(async move {
        let (missed, mut events) = admin.feed.follow(after);
        let mut phase = admin.phase.clone();
        let mut send = async |text: String| sender.send_data(Bytes::from(text)).await;
        // The first bytes go out at once, so that the reader knows that it is connected.
        let mut text: String = ": connected\n\n".into();
        text.extend(missed.iter().map(|told| write_event(told)));
        while send(text).await.is_ok() {
            text = tokio::select! {
                event = events.recv() => match event {
                    Ok(told) => write_event(&told),
                    Err(RecvError::Lagged(lost)) => format!("event: lost\ndata: {}\n\n", json!({ "lost": lost })),
                    Err(RecvError::Closed) => return,
                },
                () = tokio::time::sleep(HEARTBEAT) => ": alive\n\n".into(),
                _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
            };
        }
    });
    respond(StatusCode::OK, "text/event-stream", Body::new(body))
}

fn write_event(told: &Told) -> String {
    format!("id: {}\nevent: {}\ndata: {}\n\n", told.id, told.event.kind.as_str(), told.json())
}

fn answer(status: StatusCode, value: &impl Serialize) -> Response {
    // Keys are texts: it cannot fail.
    let text = serde_json::to_string(value).unwrap_or_default();
    respond(status, "application/json", Body::from(text))
}

/// An error in the shape that the data plane uses too.
fn refuse(status: StatusCode, kind: &str, message: &str) -> Response {
    answer(status, &json!({ "error": { "type": kind, "message": message } }))
}

fn respond(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
