//! The demo's load: agents that call at given times, and what became of their calls.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;

use super::unit;

/// Calls a second, on the average.
const RATE: f64 = 60.0;

/// An agent gives up after so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// When agents call, from the start: the same for the same seed, exponentially spaced.
pub(super) fn arrivals(seed: u64, lasts: Duration) -> Vec<Duration> {
    let space = |number: u64| Duration::from_secs_f64(-(1.0 - unit(seed, number)).ln() / RATE);
    let times = std::iter::successors(Some((0, space(0))), |&(number, at)| Some((number + 1, at + space(number + 1))));
    times.map(|(_, at)| at).take_while(|at| *at < lasts).collect()
}

/// What became of one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// When it began, from the start of the demo.
    pub(super) at: Duration,
    pub(super) answered: bool,
    pub(super) took: Duration,
}

/// Makes all calls against `base`.
pub(super) async fn run(base: Uri, arrivals: Vec<Duration>) -> Vec<Call> {
    let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let start = tokio::time::Instant::now();
    let mut calls = JoinSet::new();
    for at in arrivals {
        tokio::time::sleep_until(start + at).await;
        let (client, base) = (client.clone(), base.clone());
        calls.spawn(async move {
            let begun = Instant::now();
            let answered = tokio::time::timeout(PATIENCE, ask(client, base)).await.unwrap_or(false);
            Call { at, answered, took: begun.elapsed() }
        });
    }
    calls.join_all().await
}

async fn ask(client: Client<HttpConnector, Empty<Bytes>>, uri: Uri) -> bool {
    let Ok(response) = client.get(uri).await else { return false };
    let success = response.status().is_success();
    response.into_body().collect().await.is_ok() && success
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_arrivals() {
        let minute = Duration::from_secs(60);
        assert_eq!(arrivals(7, minute), arrivals(7, minute));
        assert_ne!(arrivals(7, minute), arrivals(8, minute));
        let count = arrivals(7, minute).len();
        assert!((3000..4200).contains(&count), "{count} calls in a minute at {RATE} a second");
    }
}
