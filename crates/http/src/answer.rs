//! The response of a server to its client when a call of its own ended without an answer.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use stormproof::{Error, Interrupted, Refused, Stage};

/// The answer of a server whose own call ended without one: a status, a word for programs, and when to come back.
///
/// A refusal is 503 with `Retry-After`, running out of time 504, a failure of the callee 502. Nothing of the callee's
/// error is in it: that may hold what the client must not see.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use stormproof::{CircuitBreaker, breaker::Mode};
/// use stormproof_http::Unanswered;
///
/// let breaker = CircuitBreaker::new("model");
/// breaker.set_mode(Mode::ForcedOpen);
/// let error = breaker.call(|_| async { Ok::<_, std::io::Error>(()) }).await.unwrap_err();
/// let response = Unanswered::from(&error).response();
/// assert_eq!(response.status(), 503);
/// assert_eq!(response.body(), r#"{"error":{"type":"circuit_open","message":"temporarily unavailable"}}"#);
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unanswered {
    /// The status: 502, 503 or 504.
    pub status: StatusCode,
    /// Why, in snake case.
    pub kind: &'static str,
    /// The same in words.
    pub message: &'static str,
    /// Time after which another call could pass; zero if that is not known.
    pub retry_after: Duration,
}

impl Unanswered {
    const fn new(status: StatusCode, kind: &'static str, message: &'static str) -> Self {
        Self { status, kind, message, retry_after: Duration::ZERO }
    }

    const FAILED: Self = Self::new(StatusCode::BAD_GATEWAY, "upstream_failed", "the call behind this one failed");
    const TIMED_OUT: Self = Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "no answer in time");

    fn refused(refused: &Refused) -> Self {
        let (kind, message) = match refused.stage {
            Stage::Breaker => ("circuit_open", "temporarily unavailable"),
            Stage::Rate => ("rate_limited", "too many calls"),
            _ => ("overloaded", "too many calls at a time"),
        };
        Self { retry_after: refused.retry_after, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, message) }
    }

    fn of(refused: Option<&Refused>, timed_out: bool) -> Self {
        match refused {
            Some(refused) => Self::refused(refused),
            None if timed_out => Self::TIMED_OUT,
            None => Self::FAILED,
        }
    }

    /// The whole response: status, `Retry-After` in whole seconds, and the reason as JSON.
    pub fn response(self) -> Response<String> {
        let Self { status, kind, message, retry_after } = self;
        let mut response = Response::new(format!(r#"{{"error":{{"type":"{kind}","message":"{message}"}}}}"#));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = whole_seconds(retry_after) {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// The value of `Retry-After` for a wait: rounded up, since a client that comes too soon is only refused again. `None`
/// for no wait.
pub fn whole_seconds(wait: Duration) -> Option<u64> {
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    (seconds > 0).then_some(seconds)
}

impl<E> From<&Error<E>> for Unanswered {
    fn from(error: &Error<E>) -> Self {
        Self { retry_after: error.retry_after().unwrap_or_default(), ..Self::of(error.refused(), error.is_timeout()) }
    }
}

impl From<&Interrupted> for Unanswered {
    fn from(interrupted: &Interrupted) -> Self {
        Self::of(interrupted.refused(), interrupted.is_timeout())
    }
}

#[cfg(test)]
mod tests {
    use stormproof::{Policy, RateLimiter, rate};

    use super::*;

    #[tokio::test]
    async fn a_refusal_says_when_to_come_back_in_whole_seconds() {
        let slow =
            rate::Config { rate: 1, per: Duration::from_millis(2500), burst: Some(1), ..rate::Config::default() };
        let limiter = RateLimiter::with_config("slow", slow).unwrap();
        let policy = Policy::builder("p").rate(&limiter).deadline(Duration::from_secs(1)).build().unwrap();
        let call = || policy.call(|_| async { Ok::<_, std::io::Error>(()) });
        call().await.unwrap();
        let error = call().await.unwrap_err();
        let response = Unanswered::from(&error).response();
        assert_eq!((response.status().as_u16(), &response.headers()[RETRY_AFTER]), (503, &HeaderValue::from(3)));

        let own: std::io::Error = error.into_own();
        let interrupted = own.get_ref().unwrap().downcast_ref::<Interrupted>().unwrap();
        assert_eq!(Unanswered::from(interrupted).kind, "rate_limited");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_and_a_timeout_say_no_time() {
        let policy = Policy::builder("p").deadline(Duration::from_secs(1)).build().unwrap();
        let failed = policy.call(|_| async { Err::<(), _>("secret") }).await.unwrap_err();
        let response = Unanswered::from(&failed).response();
        assert_eq!((response.status().as_u16(), response.headers().get(RETRY_AFTER)), (502, None));
        assert!(!response.body().contains("secret"));
        let late = policy.call(|_| std::future::pending::<Result<(), &str>>()).await.unwrap_err();
        assert_eq!(Unanswered::from(&late).status, StatusCode::GATEWAY_TIMEOUT);
    }
}
