//! Forecasts: asked of the upstream through a policy, kept, and served from there when the upstream fails.

use axum::extract::State;
use axum::http::{Request, Response, StatusCode, Uri};
use axum::response::IntoResponse;
use http_body_util::BodyExt;
use stormproof::{Cache, Classify, Mistakes, Registry, Snapshot, Source, Verdict, cache};
use stormproof_http::{Client, Statuses, Unanswered, client};

/// Where forecasts come from. Cheap to clone; clones share everything.
#[derive(Clone)]
pub(crate) struct Forecasts {
    registry: Registry,
    upstream: String,
    client: Client<String>,
    statuses: Statuses,
    kept: Cache<String, String>,
}

/// Why there is no forecast.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The upstream answered with a status that is no success.
    #[error("the upstream answered {}", .0.status())]
    Status(Response<()>),
    /// The upstream did not answer.
    #[error(transparent)]
    Exchange(#[from] stormproof_http::Error),
    /// The address in the settings, with the path behind it, is none.
    #[error(transparent)]
    Address(#[from] axum::http::Error),
}

impl Forecasts {
    pub(crate) fn new(registry: &Registry, upstream: String, cache: cache::Config) -> Result<Self, Startup> {
        let client = Client::new(&client::Config::default())?;
        let (registry, statuses) = (registry.clone(), Statuses::default());
        Ok(Self { registry, upstream, client, statuses, kept: Cache::new("forecasts", cache)? })
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.kept.snapshot()
    }

    // ANCHOR: ask
    /// One attempt, with the body: so its time limit holds for both. A fallback follows an `Err` only, so a status that
    /// is no success becomes one.
    async fn ask(&self, path: &str) -> Result<String, Failure> {
        let request = Request::get(format!("{}{path}", self.upstream)).body(String::new())?;
        let (parts, body) = self.client.send(request).await?.into_parts();
        if !parts.status.is_success() {
            return Err(Failure::Status(Response::from_parts(parts, ())));
        }
        let bytes = body.collect().await.map_err(|error| client::body_error(&error))?.to_bytes();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
    // ANCHOR_END: ask
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Startup {
    #[error("no client: {0}")]
    Client(#[from] stormproof_http::Error),
    #[error("settings of the cache: {0}")]
    Cache(#[from] Mistakes),
}

// ANCHOR: judge
/// What an attempt means to the policy: its status, and how long the upstream asks to wait.
impl Classify<String, Failure> for Forecasts {
    fn classify<'a>(&'a self, result: Result<&'a String, &'a Failure>) -> Verdict<'a> {
        match result {
            Ok(_) => Verdict::success(),
            Err(Failure::Status(answer)) => self.statuses.classify(Ok::<_, &stormproof_http::Error>(answer)),
            Err(Failure::Exchange(error)) => self.statuses.classify(Err::<&Response<()>, _>(error)),
            Err(Failure::Address(_)) => Verdict::ignored("ClientError"),
        }
    }
}
// ANCHOR_END: judge

// ANCHOR: show
/// The handler.
pub(crate) async fn show(State(forecasts): State<Forecasts>, uri: Uri) -> axum::response::Response {
    let path = uri.path();
    // By name at each call: a reload may have put another policy in its place.
    let policy = forecasts.registry.policy("forecast");
    let call = policy.call(|_| forecasts.ask(path)).classify(&forecasts);
    match call.cached(&forecasts.kept, path).served().await {
        Ok(served) => {
            let source = if matches!(served.source, Source::Cache { .. }) { "cache" } else { "upstream" };
            ([("x-source", source)], served.value).into_response()
        }
        Err(error) => match error.last() {
            Some(Failure::Status(answer)) if answer.status() == StatusCode::NOT_FOUND => {
                (StatusCode::NOT_FOUND, "no such place\n").into_response()
            }
            _ => Unanswered::from(&error).response().into_response(),
        },
    }
}
// ANCHOR_END: show
