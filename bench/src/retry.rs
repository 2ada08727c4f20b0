//! Retry alone, around a ready future whose first try works: what it costs to be prepared.

use std::future::{Ready, poll_fn, ready};
use std::hint::black_box;
use std::time::Duration;

use backon::{ConstantBuilder, Retryable};
use stormproof::{Policy, Retry};
use tower::{Service, ServiceBuilder, service_fn};
use tower_resilience::retry::RetryLayer;

use crate::harness::{Case, Contender};
use crate::work::{Broken, drive};

const DELAY: Duration = Duration::from_millis(10);

pub fn cases() -> Vec<Case> {
    let peers = vec![backon(), tower(), tower_resilience()];
    vec![Case { name: "retry, first try works", target: None, threads: 1, ours: ours(), peers }]
}

fn work(n: u64) -> Ready<Result<u64, Broken>> {
    ready(Ok(black_box(n)))
}

fn ours() -> Contender {
    let policy = Policy::builder("bench").retry(Retry::constant(DELAY).max_retries(3)).build().expect("valid");
    Contender::new("stormproof", move |n| {
        drive(async {
            let mut as_meant = true;
            for i in 0..n {
                as_meant &= black_box(black_box(&policy).call(|_| work(i)).await).is_ok();
            }
            as_meant
        })
    })
}

fn backon() -> Contender {
    let backoff = ConstantBuilder::default().with_delay(DELAY).with_max_times(3);
    Contender::new("backon", move |n| {
        drive(async {
            let mut as_meant = true;
            for i in 0..n {
                as_meant &= black_box((|| work(i)).retry(*black_box(&backoff)).await).is_ok();
            }
            as_meant
        })
    })
}

/// Up to three retries, as tower's users write it.
#[derive(Clone)]
struct Three(u32);

impl tower::retry::Policy<u64, u64, Broken> for Three {
    type Future = tokio::time::Sleep;

    fn retry(&mut self, _: &mut u64, result: &mut Result<u64, Broken>) -> Option<Self::Future> {
        self.0 = if result.is_err() { self.0.checked_sub(1)? } else { return None };
        Some(tokio::time::sleep(DELAY))
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

fn tower() -> Contender {
    services("tower", ServiceBuilder::new().retry(Three(3)).service(service_fn(work)))
}

fn tower_resilience() -> Contender {
    let layer = RetryLayer::<u64, u64, Broken>::builder().max_attempts(4).fixed_backoff(DELAY).build();
    services("tower-resilience", ServiceBuilder::new().layer(layer).service(service_fn(work)))
}

fn services<S>(name: &'static str, service: S) -> Contender
where
    S: Service<u64, Response = u64> + Clone + Send + Sync + 'static,
{
    Contender::new(name, move |n| {
        let mut service = service.clone();
        drive(async {
            let mut as_meant = true;
            for i in 0..n {
                as_meant &= poll_fn(|cx| service.poll_ready(cx)).await.is_ok();
                as_meant &= black_box(black_box(&mut service).call(i).await).is_ok();
            }
            as_meant
        })
    })
}
