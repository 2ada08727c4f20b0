//! The whole stack: deadline, retry, breaker, rate limit, bulkhead and attempt timeout around one operation.
//!
//! Everybody has the same limits, none of which is ever reached, and the same order; where a limit is reached they
//! would wait rather than refuse.

use std::future::{Future, Ready, poll_fn, ready};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use backon::{ConstantBuilder, Retryable};
use governor::DefaultDirectRateLimiter;
use recloser::{AsyncRecloser, Recloser};
use stormproof::service::PolicyLayer;
use stormproof::{Builder, Policy, Retry, breaker, bulkhead};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower::{Layer, Service, ServiceBuilder, service_fn};
use tower_resilience::bulkhead::BulkheadLayer;
use tower_resilience::circuitbreaker::CircuitBreakerLayer;
use tower_resilience::ratelimiter::RateLimiterLayer;
use tower_resilience::retry::RetryLayer;
use tower_resilience::timelimiter::TimeLimiterLayer;

use crate::harness::{Case, Contender};
use crate::rate;
use crate::work::{Broken, PendingOnce, drive};

const DEADLINE: Duration = Duration::from_secs(30);
const ATTEMPT: Duration = Duration::from_secs(10);
const DELAY: Duration = Duration::from_millis(10);
const OPEN: Duration = Duration::from_secs(60);
const HEDGE_AFTER: Duration = Duration::from_secs(5);
const SLOTS: u32 = 64;

pub fn cases() -> Vec<Case> {
    let later = |n| PendingOnce::new(black_box(n));
    vec![
        case("whole stack, ready future", Some(150.0), 1, at_once),
        case("whole stack, ready future, two threads", None, 2, at_once),
        case("whole stack, future pending once", None, 1, later),
        case("whole stack, future pending once, two threads", None, 2, later),
        variant("whole stack, a hedge that is not needed", hedged()),
        variant("whole stack, a fallback that is not needed", with_fallback()),
        variant("whole stack, through the tower door", through_tower()),
        variant("whole stack, through the sync door", sync()),
    ]
}

/// Ours alone: nobody else has the like, and the peers of the plain stack stand beside that.
fn variant(name: &'static str, ours: Contender) -> Case {
    Case { name, target: None, threads: 1, ours, peers: Vec::new() }
}

fn at_once(n: u64) -> Ready<Result<u64, Broken>> {
    ready(Ok(black_box(n)))
}

/// What is protected: made anew from a number for each attempt.
trait Work<Fut>: Fn(u64) -> Fut + Copy + Send + Sync + 'static {}
impl<Fut, F: Fn(u64) -> Fut + Copy + Send + Sync + 'static> Work<Fut> for F {}

fn case<Fut>(name: &'static str, target: Option<f64>, threads: usize, work: impl Work<Fut>) -> Case
where
    Fut: Future<Output = Result<u64, Broken>> + Send + 'static,
{
    Case { name, target, threads, ours: ours(work), peers: vec![by_hand(work), tower_resilience(work)] }
}

fn stack() -> Builder {
    Policy::builder("bench")
        .deadline(DEADLINE)
        .retry(Retry::constant(DELAY).max_retries(3))
        .breaker(breaker::Config { open_duration: OPEN, ..Default::default() })
        .bulkhead(bulkhead::Config { max_concurrent: SLOTS, ..Default::default() })
        .rate(rate::config())
        .attempt_timeout(ATTEMPT)
}

fn ours<Fut>(work: impl Work<Fut>) -> Contender
where
    Fut: Future<Output = Result<u64, Broken>> + 'static,
{
    let policy = stack().build().expect("valid");
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

fn hedged() -> Contender {
    let policy = stack().hedge(HEDGE_AFTER).build().expect("valid");
    Contender::new("stormproof", move |n| {
        drive(async {
            let mut as_meant = true;
            for i in 0..n {
                as_meant &= black_box(black_box(&policy).call(|_| at_once(i)).await).is_ok();
            }
            as_meant
        })
    })
}

fn with_fallback() -> Contender {
    let policy = stack().build().expect("valid");
    Contender::new("stormproof", move |n| {
        drive(async {
            let mut as_meant = true;
            for i in 0..n {
                as_meant &= black_box(black_box(&policy).call(|_| at_once(i)).fallback(0).await).is_ok();
            }
            as_meant
        })
    })
}

fn through_tower() -> Contender {
    let policy = stack().build().expect("valid");
    let service = PolicyLayer::new(&policy).layer(service_fn(at_once));
    Contender::new("stormproof", move |n| {
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

fn sync() -> Contender {
    let policy = stack().build().expect("valid");
    Contender::new("stormproof", move |n| {
        (0..n).fold(true, |all, i| {
            all & black_box(black_box(&policy).call_sync(|_| Ok::<_, Broken>(black_box(i))).run()).is_ok()
        })
    })
}

/// What one would write without a library for the whole: tokio's timeouts and semaphore, backon, recloser, governor.
fn by_hand<Fut>(work: impl Work<Fut>) -> Contender
where
    Fut: Future<Output = Result<u64, Broken>> + 'static,
{
    struct Stack {
        backoff: ConstantBuilder,
        slots: Semaphore,
        limiter: DefaultDirectRateLimiter,
        breaker: AsyncRecloser,
    }

    async fn attempt<Fut>(stack: &Stack, work: Fut) -> Result<u64, Broken>
    where
        Fut: Future<Output = Result<u64, Broken>>,
    {
        let _slot = stack.slots.acquire().await.map_err(|_| Broken)?;
        stack.limiter.until_ready().await;
        let limited = async { timeout(ATTEMPT, work).await.unwrap_or(Err(Broken)) };
        stack.breaker.call(limited).await.map_err(|_| Broken)
    }

    let stack = Stack {
        backoff: ConstantBuilder::default().with_delay(DELAY).with_max_times(3),
        slots: Semaphore::new(SLOTS as usize),
        limiter: DefaultDirectRateLimiter::direct(rate::quota()),
        breaker: Recloser::custom().closed_len(5).error_rate(1.0).open_wait(OPEN).build().into(),
    };
    let stack = Arc::new(stack);
    Contender::new("by hand", move |n| {
        drive(async {
            let mut as_meant = true;
            for i in 0..n {
                let stack = black_box(&*stack);
                let retried = (|| attempt(stack, work(i))).retry(stack.backoff);
                as_meant &= black_box(timeout(DEADLINE, retried).await).is_ok_and(|result| result.is_ok());
            }
            as_meant
        })
    })
}

fn tower_resilience<Fut>(work: impl Work<Fut>) -> Contender
where
    Fut: Future<Output = Result<u64, Broken>> + Send + 'static,
{
    let service = ServiceBuilder::new()
        .layer(TimeLimiterLayer::builder().timeout_duration(DEADLINE).build())
        .layer(RetryLayer::builder().max_attempts(4).fixed_backoff(DELAY).build())
        .layer(BulkheadLayer::builder().max_concurrent_calls(SLOTS as usize).build().expect("valid"))
        .layer(
            RateLimiterLayer::builder()
                .limit_for_period(usize::MAX / 2)
                .refresh_period(Duration::from_secs(1))
                .timeout_duration(Duration::from_secs(60))
                .build()
                .expect("valid"),
        )
        .layer(
            CircuitBreakerLayer::builder().consecutive_failures(5).wait_duration_in_open(OPEN).build().expect("valid"),
        )
        .layer(TimeLimiterLayer::builder().timeout_duration(ATTEMPT).build())
        .service(service_fn(work));
    Contender::new("tower-resilience", move |n| {
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
