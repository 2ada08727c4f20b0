//! The agent's side of each service: what is asked, and the policy it is asked through.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stormproof::{Classify, EventBus, Mistakes, Policy, Retry, Trip, Verdict, breaker};
use stormproof_http::{Client, Statuses, client, retry_after};

use crate::addresses::Addresses;
use crate::incident::Metrics;
use crate::world::Log;

/// All services, each behind a policy of its own: one that is down must not take another one's time.
#[derive(Clone, Debug)]
pub(crate) struct Services {
    at: Addresses,
    client: Client<Full<Bytes>>,
    metrics: Policy,
    model: Policy,
    reading: Policy,
}

/// A call that was not answered, or not well.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("{status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
    #[error(transparent)]
    Http(#[from] stormproof_http::Error),
    #[error("an answer that makes no sense: {0}")]
    Nonsense(Box<str>),
}

/// What the agent's troubles mean to a policy.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Judge;

impl<T> Classify<T, Trouble> for Judge {
    fn classify<'a>(&self, result: Result<&'a T, &'a Trouble>) -> Verdict<'a> {
        match result {
            Ok(_) => Verdict::success(),
            Err(Trouble::Status { status, retry_after }) => {
                let verdict = Statuses::default().verdict(*status);
                retry_after.map_or(verdict, |wait| verdict.retry_after(wait))
            }
            Err(Trouble::Http(error)) if error.is_callers_fault() => Verdict::ignored(error.kind()),
            Err(Trouble::Http(error)) => Verdict::failure(error.kind()),
            Err(Trouble::Nonsense(_)) => Verdict::failure("Nonsense"),
        }
    }
}

/// A call through a policy that was not answered.
pub(crate) type Failed = stormproof::Error<Trouble>;

/// What a component says of itself.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
pub(crate) struct SelfReport {
    pub(crate) fresh: bool,
    pub(crate) tokens_per_minute: u32,
}

/// What is to be done to some replicas of a component.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'a> {
    pub(crate) incident: &'a str,
    pub(crate) component: &'a str,
    pub(crate) action: &'a str,
    pub(crate) replicas: &'a [usize],
}

/// What a person on call answered.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct Reply {
    pub(crate) id: String,
    pub(crate) incident: String,
    pub(crate) by: String,
    pub(crate) says: String,
}

impl Services {
    pub(crate) fn new(at: Addresses, bus: &EventBus) -> crate::Result<Self> {
        let ms = Duration::from_millis;
        let circuit =
            |open| breaker::Config { trip: vec![Trip::consecutive(3)], open_duration: open, ..Default::default() };
        let policy = |name, retry: Retry| Policy::builder(name).attempt_timeout(ms(500)).retry(retry).bus(bus);
        let metrics = policy("metrics", Retry::exponential(ms(50)).max_retries(4)).deadline(ms(2_000));
        // Without an answer within this time the rules decide: an incident does not wait for a model.
        let model =
            policy("model", Retry::exponential(ms(50)).max_retries(2)).attempt_timeout(ms(300)).deadline(ms(900));
        let reading = policy("reading", Retry::exponential(ms(50)).max_retries(6)).deadline(ms(4_000));
        Ok(Self {
            at,
            client: Client::new(&client::Config::default())?,
            metrics: metrics.breaker(circuit(ms(1_000))).build()?,
            model: model.breaker(circuit(ms(2_000))).build()?,
            reading: reading.build()?,
        })
    }

    /// For a request that changes something: repeated only by whoever has asked what became of it.
    pub(crate) fn changing(bus: &EventBus) -> Result<Policy, Mistakes> {
        let ms = Duration::from_millis;
        let retry = Retry::exponential(ms(50)).max_retries(4);
        Policy::builder("changing").attempt_timeout(ms(500)).retry(retry).bus(bus).build()
    }

    /// A component, or one replica of it. Asked once: who watches asks again anyway.
    pub(crate) async fn look(&self, component: &str, replica: Option<usize>) -> Result<SelfReport, Trouble> {
        let path = replica.map_or(format!("/{component}"), |replica| format!("/{component}/{replica}"));
        let answer = self.get(self.at.shop, &path);
        tokio::time::timeout(Duration::from_millis(250), answer)
            .await
            .unwrap_or(Err(stormproof_http::Error::Timeout.into()))
    }

    /// What is measured of a component.
    pub(crate) async fn measure(&self, component: &str) -> Result<Metrics, Failed> {
        let path = format!("/{component}");
        self.metrics.call(|_| self.get(self.at.metrics, &path)).classify(Judge).await
    }

    /// What a component has written last.
    pub(crate) async fn logs(&self, component: &str) -> Result<String, Failed> {
        let path = format!("/{component}/logs");
        self.reading.call(|_| self.get(self.at.shop, &path)).classify(Judge).await
    }

    /// What a model thinks.
    pub(crate) async fn ask_model(&self, question: &Value) -> Result<Value, Failed> {
        self.model.call(|_| self.post(self.at.model, "/diagnose", "", question)).classify(Judge).await
    }

    /// Has something done. Each time it is called it is done.
    pub(crate) async fn order(&self, key: &str, order: &Order<'_>) -> Result<(), Trouble> {
        let Order { incident, component, action, replicas } = order;
        let body = json!({
            "key": key, "incident": incident, "component": component, "action": action, "replicas": replicas,
        });
        self.post::<Value>(self.at.platform, "/actions", "", &body).await.map(|_| ())
    }

    /// Whether what was ordered with `key` is done; nothing if it never arrived.
    pub(crate) async fn ordered(&self, key: &str) -> Result<Option<bool>, Failed> {
        let path = format!("/actions/{key}");
        let answer: Result<Value, Failed> =
            self.reading.call(|_| self.get(self.at.platform, &path)).classify(Judge).await;
        match answer {
            Ok(found) => Ok(Some(found.get("done").and_then(Value::as_bool).unwrap_or_default())),
            Err(error) => match error.last() {
                Some(Trouble::Status { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Sends a ticket, its end, or a page. With the same key it is the same one.
    pub(crate) async fn notify(&self, key: &str, kind: &str, incident: &str, text: &str) -> Result<(), Trouble> {
        let body = json!({ "incident": incident, "text": text });
        self.post::<Value>(self.at.pager, &format!("/{kind}"), key, &body).await.map(|_| ())
    }

    /// All that people have answered.
    pub(crate) async fn replies(&self) -> Result<Vec<Reply>, Failed> {
        self.reading.call(|_| self.get(self.at.pager, "/replies")).classify(Judge).await
    }

    /// Whether the day is over.
    pub(crate) async fn is_over(&self) -> Result<bool, Trouble> {
        let day: Value = self.get(self.at.control, "/day").await?;
        Ok(day.get("over").and_then(Value::as_bool).unwrap_or_default())
    }

    /// What really happened: for whoever tells the story, never for the agent.
    pub(crate) async fn log(&self) -> Result<Log, Trouble> {
        self.get(self.at.control, "/log").await
    }

    async fn get<T: DeserializeOwned>(&self, at: SocketAddr, path: &str) -> Result<T, Trouble> {
        self.exchange(Request::get(format!("http://{at}{path}")).body(Full::default())).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        at: SocketAddr,
        path: &str,
        key: &str,
        body: &Value,
    ) -> Result<T, Trouble> {
        let body = Full::from(body.to_string());
        self.exchange(Request::post(format!("http://{at}{path}")).header("idempotency-key", key).body(body)).await
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        request: hyper::http::Result<Request<Full<Bytes>>>,
    ) -> Result<T, Trouble> {
        let request = request.map_err(|_| stormproof_http::Error::InvalidRequest)?;
        let response = self.client.send(request).await?;
        let (status, retry_after) = (response.status(), retry_after::from_headers(response.headers(), SystemTime::now));
        if !status.is_success() {
            return Err(Trouble::Status { status, retry_after });
        }
        let body = response.into_body().collect().await.map_err(|error| client::body_error(&error))?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| Trouble::Nonsense(error.to_string().into()))
    }
}
