//! Judgement of an answer: success, failure of the callee, or the caller's own fault.

use std::sync::LazyLock;
use std::time::SystemTime;

use http::{HeaderMap, Response, StatusCode};
use stormproof::{Classify, Verdict};

use crate::error::Error;
use crate::retry_after;

/// Judges answers by their status.
///
/// By default 5xx, 408, 425 and 429 are failures of the callee. Every other 4xx is the caller's fault, which counts
/// neither way. All other statuses are successes.
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

/// What [`Statuses`] reads of an answer. Implemented for [`http::Response`] and, with the feature `reqwest`, for its
/// response.
pub trait Answer {
    /// The status.
    fn status(&self) -> StatusCode;

    /// The headers, for `Retry-After`.
    fn headers(&self) -> &HeaderMap;
}

/// What [`Statuses`] reads of an error of an HTTP client. Implemented for [`Error`](crate::Error), for the errors of hyper
/// and hyper-util, for boxed errors and, with the feature `reqwest`, for its error. Other errors are read by a closure, see [`Statuses::reading`].
pub trait Failure {
    /// The status of the answer that became this error, if it is one that did. Default: none.
    fn status(&self) -> Option<StatusCode> {
        None
    }

    /// The kind of an error without a status, such as `ConnectionError`.
    fn kind(&self) -> &'static str;

    /// Whether an error without a status is the caller's fault: then it counts neither way. Default: no.
    fn is_callers_fault(&self) -> bool {
        false
    }
}

impl<B> Answer for Response<B> {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }
}

impl Failure for hyper_util::client::legacy::Error {
    fn kind(&self) -> &'static str {
        Error::of_client(self, self.is_connect()).kind()
    }

    fn is_callers_fault(&self) -> bool {
        Error::of_client(self, self.is_connect()).is_callers_fault()
    }
}

impl Failure for hyper::Error {
    fn kind(&self) -> &'static str {
        Error::of_exchange(self).kind()
    }

    fn is_callers_fault(&self) -> bool {
        Error::of_exchange(self).is_callers_fault()
    }
}

/// Judged by the innermost error that is known.
impl Failure for Box<dyn std::error::Error + Send + Sync> {
    fn kind(&self) -> &'static str {
        Error::of_exchange(&**self).kind()
    }

    fn is_callers_fault(&self) -> bool {
        Error::of_exchange(&**self).is_callers_fault()
    }
}

impl Failure for Error {
    fn kind(&self) -> &'static str {
        Self::kind(*self)
    }

    fn is_callers_fault(&self) -> bool {
        Self::is_callers_fault(*self)
    }
}

/// An attempt that times out never comes before a classifier: a request that must not be repeated is called through
/// [`Policy::once`](stormproof::Policy::once).
impl<T: Answer, E: Failure> Classify<T, E> for Statuses {
    fn classify<'a>(&self, result: Result<&'a T, &'a E>) -> Verdict<'a> {
        match result {
            Ok(answer) => self.of_answer(answer.status(), answer.headers()),
            Err(error) => match error.status() {
                Some(status) => self.verdict(status),
                None if error.is_callers_fault() => Verdict::ignored(error.kind()),
                None => Verdict::failure(error.kind()),
            },
        }
    }
}

impl Statuses {
    fn of_answer(&self, status: StatusCode, headers: &HeaderMap) -> Verdict<'static> {
        let verdict = self.verdict(status);
        match retry_after::from_headers(headers, SystemTime::now) {
            Some(wait) => verdict.retry_after(wait),
            None => verdict,
        }
    }

    /// Judges the results of any client by a closure that reads their status. What has none is a success if it is `Ok`,
    /// else a failure of the kind `ConnectionError`.
    ///
    /// ```
    /// use http::StatusCode;
    /// use stormproof::{Classify, Outcome};
    /// use stormproof_http::Statuses;
    ///
    /// struct ApiError { status: Option<u16> }
    ///
    /// let judge = Statuses::default().reading(|result: Result<&String, &ApiError>| match result {
    ///     Ok(_) => None,
    ///     Err(error) => StatusCode::from_u16(error.status?).ok(),
    /// });
    /// assert_eq!(judge.classify(Err(&ApiError { status: Some(503) })).kind, "ServerError.503");
    /// assert_eq!(judge.classify(Err(&ApiError { status: Some(400) })).outcome, Outcome::Ignored);
    /// assert_eq!(judge.classify(Err(&ApiError { status: None })).kind, "ConnectionError");
    /// ```
    pub fn reading<T, E, R>(self, read: R) -> Reading<R>
    where
        R: Fn(Result<&T, &E>) -> Option<StatusCode>,
    {
        Reading { statuses: self, read }
    }
}

/// Judges by a status that a closure reads. Made by [`Statuses::reading`].
#[derive(Clone, Debug)]
pub struct Reading<R> {
    statuses: Statuses,
    read: R,
}

impl<T, E, R: Fn(Result<&T, &E>) -> Option<StatusCode>> Classify<T, E> for Reading<R> {
    fn classify<'a>(&self, result: Result<&'a T, &'a E>) -> Verdict<'a> {
        match (self.read)(result) {
            Some(status) => self.statuses.verdict(status),
            None if result.is_ok() => Verdict::success(),
            None => Verdict::failure(Error::Other.kind()),
        }
    }
}

/// Every kind that a failure can have: those of the statuses 400 to 599, and those of errors.
///
/// ```
/// assert!(stormproof_http::kinds().any(|kind| kind == "ServerError.503"));
/// assert!(stormproof_http::kinds().any(|kind| kind == "ConnectionError.ConnectionRefused"));
/// ```
pub fn kinds() -> impl Iterator<Item = &'static str> {
    let statuses = (400..600).filter_map(|status| StatusCode::from_u16(status).ok());
    statuses.map(kind).chain(Error::ALL.iter().filter(|error| !error.is_callers_fault()).map(Failure::kind))
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
    use std::sync::LazyLock;
    use std::time::Duration;

    use stormproof::Outcome;

    use super::*;

    fn verdict(response: &Response<()>) -> Verdict<'_> {
        static STATUSES: LazyLock<Statuses> = LazyLock::new(Statuses::default);
        STATUSES.classify(Ok::<_, &Error>(response))
    }

    fn judge(status: u16) -> (Outcome, String) {
        let response = Response::builder().status(status).body(()).unwrap();
        let verdict = verdict(&response);
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
        let verdict = verdict(&response);
        assert_eq!(verdict.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(verdict.retry, None);
    }

    #[test]
    fn a_request_that_broke_off_is_the_callers_fault() {
        let statuses = Statuses::default();
        let verdict = Classify::<Response<()>, Error>::classify(&statuses, Err(&Error::RequestBroken)).outcome;
        assert_eq!(verdict, Outcome::Ignored);
        let boxed = crate::BrokenRequest.into();
        let verdict = statuses.classify(Err::<&Response<()>, &Box<dyn std::error::Error + Send + Sync>>(&boxed));
        assert_eq!((verdict.outcome, verdict.kind), (Outcome::Ignored, "ClientError.RequestBroken"));
    }

    /// A body that breaks off at once.
    struct Broken;

    impl http_body::Body for Broken {
        type Data = bytes::Bytes;
        type Error = crate::BrokenRequest;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
            std::task::Poll::Ready(Some(Err(crate::BrokenRequest)))
        }
    }

    #[tokio::test]
    async fn the_clients_of_hyper_say_whose_fault_a_broken_request_is() {
        use bytes::Bytes;
        use http::Request;
        use hyper_util::client::legacy::Client;
        use hyper_util::rt::{TokioExecutor, TokioIo};
        use tokio::net::TcpStream;

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new().route("/", axum::routing::post(|_: Bytes| async {}));
        tokio::spawn(async move { axum::serve(listener, router).await });

        let request = || Request::post(format!("http://{address}/")).header("host", "here").body(Broken).unwrap();
        let legacy = Client::builder(TokioExecutor::new()).build_http().request(request()).await.unwrap_err();
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let exchange = tokio::spawn(connection);
        let sent = sender.send_request(request()).await.unwrap_err();
        drop(exchange);

        let statuses = Statuses::default();
        let verdict = statuses.classify(Err::<&Response<()>, _>(&legacy));
        assert_eq!((verdict.outcome, verdict.kind), (Outcome::Ignored, "ClientError.RequestBroken"));
        let verdict = statuses.classify(Err::<&Response<()>, _>(&sent));
        assert_eq!((verdict.outcome, verdict.kind), (Outcome::Ignored, "ClientError.RequestBroken"));
    }
}
