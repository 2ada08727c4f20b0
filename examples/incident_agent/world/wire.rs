//! HTTP as the world's services speak it: JSON in, JSON out, and now and then nothing at all.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpListener;

/// What a service is asked.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    /// The header `Idempotency-Key`.
    pub(super) key: Option<String>,
    pub(super) body: Value,
}

impl Call {
    /// A text in the body; empty if there is none.
    pub(super) fn text(&self, field: &str) -> &str {
        self.body.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

/// What it answers.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Body(StatusCode, Bytes),
    /// 429, with so many seconds in `Retry-After`.
    Throttled(u16),
    /// The connection is closed without an answer.
    HangUp,
}

impl Answer {
    pub(super) fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(text) => Self::Body(StatusCode::OK, text.into()),
            Err(_) => Self::status(500),
        }
    }

    pub(super) fn status(code: u16) -> Self {
        Self::Body(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Bytes::new())
    }
}

/// Answers on a port of loopback for as long as the process lives.
pub(super) async fn listen<F, Fut>(answer: F) -> io::Result<SocketAddr>
where
    F: Fn(Call) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| reply(request, answer.clone()));
                // A caller who hangs up, or is killed, is no event here.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(address)
}

/// What is under way is finished, even if the caller is gone: a request that has arrived lands.
async fn reply<F, Fut>(request: Request<Incoming>, answer: F) -> Result<Response<Full<Bytes>>, io::Error>
where
    F: Fn(Call) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    let call = read(request).await.map_err(io::Error::other)?;
    let answer = tokio::spawn(answer(call)).await.map_err(io::Error::other)?;
    let (status, body) = match answer {
        Answer::Body(status, body) => (status, body),
        Answer::Throttled(seconds) => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            return Ok(response);
        }
        Answer::HangUp => return Err(io::ErrorKind::ConnectionAborted.into()),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    Ok(response)
}

async fn read(request: Request<Incoming>) -> Result<Call, hyper::Error> {
    let (head, body) = request.into_parts();
    let key = head.headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    let body = body.collect().await?.to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Call { method: head.method, path: head.uri.path().to_owned(), key, body })
}

/// For an answer that never comes.
pub(super) async fn never() -> Answer {
    let nothing: Infallible = std::future::pending().await;
    match nothing {}
}
