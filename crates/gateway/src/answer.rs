//! What the gateway says for itself: refusals and failures, in words that carry nothing of the request.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::json;
use stormproof::{Error, Stage};
use stormproof_http as upstream;

use crate::body::Reply;

/// Tells the SDKs of model providers not to retry what was retried here.
pub(crate) static SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// The name of the upstream that a call went to.
pub(crate) static UPSTREAM: HeaderName = HeaderName::from_static("x-stormproof-upstream");
/// How many attempts a call took.
pub(crate) static ATTEMPTS: HeaderName = HeaderName::from_static("x-stormproof-attempts");

/// An answer with an error.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: StatusCode,
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    pub(crate) upstream: Option<&'a str>,
    pub(crate) retry_after: Duration,
}

impl<'a> Answer<'a> {
    pub(crate) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), upstream: None, retry_after: Duration::ZERO }
    }

    pub(crate) fn from(mut self, upstream: &'a str) -> Self {
        self.upstream = Some(upstream);
        self
    }

    /// What became of a call that has no answer of its own.
    pub(crate) fn of(error: &Error<upstream::Error>) -> Self {
        // Without the words for whoever wrote the policy: why there was no further attempt, and whose limit it was.
        let message = match error {
            Error::Failed { error, .. } => error.to_string(),
            Error::TimedOut { elapsed, .. } => format!("no answer within {:.3} s", elapsed.as_secs_f64()),
            refused => refused.to_string(),
        };
        match error {
            Error::Refused { refused, .. } => {
                let (status, kind) = match refused.stage {
                    Stage::Breaker => (StatusCode::SERVICE_UNAVAILABLE, "circuit_open"),
                    Stage::Rate => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
                    _ => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
                };
                Self { retry_after: refused.retry_after, ..Self::new(status, kind, message) }
            }
            Error::Failed { error, .. } if error.is_callers_fault() => {
                Self::new(StatusCode::BAD_REQUEST, "request_broken", message)
            }
            Error::Failed { error: upstream::Error::Timeout, .. } => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message)
            }
            Error::Failed { .. } => Self::new(StatusCode::BAD_GATEWAY, "upstream_failed", message),
            _ => Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message),
        }
    }

    /// The client did not send the body of its request in time.
    pub(crate) fn slow_request() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the body of the request did not come in time")
    }

    pub(crate) fn response(self) -> Response<Reply> {
        let mut error = json!({ "type": self.kind, "message": self.message });
        if let Some(name) = self.upstream {
            error["upstream"] = name.into();
        }
        let text = json!({ "error": error }).to_string();
        let mut response = Response::new(Reply::Own(Full::new(Bytes::from(text))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(&SHOULD_RETRY, HeaderValue::from_static("false"));
        if let Some(seconds) = upstream::whole_seconds(self.retry_after) {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// Marks where an answer comes from and what it took.
pub(crate) fn mark(response: &mut Response<Reply>, upstream: &HeaderValue, attempts: u32) {
    response.headers_mut().insert(&UPSTREAM, upstream.clone());
    response.headers_mut().insert(&ATTEMPTS, attempts.into());
}
