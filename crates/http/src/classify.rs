//! What an answer means: success, failure of the callee, or the caller's own fault.

use std::sync::LazyLock;
use std::time::SystemTime;

use http::{Method, Response, StatusCode};
use stormproof::{Classify, Verdict};

use crate::error::Error;
use crate::retry_after;

/// Which statuses are failures of the callee.
///
/// By default 5xx, 408, 425 and 429; every other 4xx is the caller's fault, which counts neither way, and all the rest is
/// success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statuses {
    failures: Option<Vec<u16>>,
}

impl Statuses {
    /// These, and no others, are failures.
    pub fn only(failures: impl IntoIterator<Item = u16>) -> Self {
        Self { failures: Some(failures.into_iter().collect()) }
    }

    /// Whether a status is a failure.
    pub fn is_failure(&self, status: StatusCode) -> bool {
        self.failures.as_ref().map_or_else(
            || status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429),
            |failures| failures.contains(&status.as_u16()),
        )
    }

    /// A judgement of a status alone, without a hint from the headers.
    pub fn verdict(&self, status: StatusCode) -> Verdict<'static> {
        if self.is_failure(status) {
            Verdict::failure(kind(status))
        } else if status.is_client_error() {
            Verdict::ignored(kind(status))
        } else {
            Verdict::success()
        }
    }
}

/// Time-outs never come before a classifier: a request that must not be repeated is called through
/// [`Policy::once`](stormproof::Policy::once).
impl<B> Classify<Response<B>, Error> for Statuses {
    fn classify<'a>(&self, result: Result<&'a Response<B>, &'a Error>) -> Verdict<'a> {
        match result {
            Ok(response) => {
                let verdict = self.verdict(response.status());
                match retry_after::from_headers(response.headers(), SystemTime::now) {
                    Some(wait) => verdict.retry_after(wait),
                    None => verdict,
                }
            }
            Err(error) if error.is_callers_fault() => Verdict::ignored(error.kind()),
            Err(error) => Verdict::failure(error.kind()),
        }
    }
}

/// Whether a method promises that doing it twice is doing it once (RFC 9110, section 9.2.2).
pub fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}

/// Every kind that a failure can have: those of the statuses 400 to 599, and those of errors.
///
/// ```
/// assert!(stormproof_http::kinds().any(|kind| kind == "ServerError.503"));
/// assert!(stormproof_http::kinds().any(|kind| kind == "ConnectionError.ConnectionRefused"));
/// ```
pub fn kinds() -> impl Iterator<Item = &'static str> {
    let statuses = (400..600).filter_map(|status| StatusCode::from_u16(status).ok());
    statuses.map(kind).chain(Error::ALL.iter().filter(|error| !error.is_callers_fault()).map(|error| error.kind()))
}

/// The kind of a status: a word for its class, a dot, the number.
fn kind(status: StatusCode) -> &'static str {
    static KINDS: LazyLock<Vec<String>> = LazyLock::new(|| (100..1000).map(spell).collect());
    let index = usize::from(status.as_u16()).saturating_sub(100);
    KINDS.get(index).map_or("HttpError", String::as_str)
}

fn spell(status: u16) -> String {
    let class = match status {
        408 => "TimeoutError",
        425 => "TooEarlyError",
        429 => "RateLimitError",
        401 | 403 => "AuthenticationError",
        400..500 => "ClientError",
        500..600 => "ServerError",
        _ => "HttpError",
    };
    format!("{class}.{status}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stormproof::Outcome;

    use super::*;

    fn judge(status: u16) -> (Outcome, String) {
        let response = Response::builder().status(status).body(()).unwrap();
        let verdict = Statuses::default().classify(Ok(&response));
        (verdict.outcome, verdict.kind.to_owned())
    }

    /// X18, X23: by the number of the status, and before anything else.
    #[test]
    fn servers_fail_and_callers_err() {
        for (status, outcome, kind) in [
            (200, Outcome::Success, ""),
            (304, Outcome::Success, ""),
            (400, Outcome::Ignored, "ClientError.400"),
            (401, Outcome::Ignored, "AuthenticationError.401"),
            (404, Outcome::Ignored, "ClientError.404"),
            (408, Outcome::Failure, "TimeoutError.408"),
            (425, Outcome::Failure, "TooEarlyError.425"),
            (429, Outcome::Failure, "RateLimitError.429"),
            (503, Outcome::Failure, "ServerError.503"),
            (999, Outcome::Success, ""),
        ] {
            assert_eq!(judge(status), (outcome, kind.to_owned()), "{status}");
        }
    }

    #[test]
    fn the_statuses_that_fail_can_be_chosen() {
        let statuses = Statuses::only([404]);
        assert_eq!(statuses.verdict(StatusCode::NOT_FOUND), Verdict::failure("ClientError.404"));
        assert_eq!(statuses.verdict(StatusCode::SERVICE_UNAVAILABLE).outcome, Outcome::Success);
    }

    #[test]
    fn the_servers_hint_is_passed_on() {
        let response = Response::builder().status(429).header("retry-after", "7").body(()).unwrap();
        let verdict = Statuses::default().classify(Ok(&response));
        assert_eq!(verdict.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(verdict.retry, None);
    }

    #[test]
    fn methods_say_whether_twice_is_once() {
        assert!(is_idempotent(&Method::GET) && is_idempotent(&Method::DELETE));
        assert!(!is_idempotent(&Method::POST) && !is_idempotent(&Method::PATCH));
    }

    #[test]
    fn a_request_that_broke_off_is_the_callers_fault() {
        let statuses = Statuses::default();
        let verdict = Classify::<Response<()>, Error>::classify(&statuses, Err(&Error::RequestBroken)).outcome;
        assert_eq!(verdict, Outcome::Ignored);
    }
}
