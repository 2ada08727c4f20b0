//! The tower door on tokio's paused clock: each call is a request, and its copies are counted.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use stormproof::service::{Describe, PolicyLayer};
use stormproof::{Caller, Clock, Instant, Policy};
use stormproof_sim::{Call, Door, End, Reply, Scenario, Trace};
use tower::{Layer, Service, ServiceExt};

use crate::async_door::{self, AsScripted, Attempts, end};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TowerDoor;

impl Door for TowerDoor {
    fn run(&self, scenario: &Scenario) -> Trace {
        async_door::run(scenario, |policy, call, attempts| Box::pin(make(policy, call, attempts)))
    }
}

async fn make(policy: Policy, call: Call, attempts: Attempts) -> End {
    let request = Request { call: call.clone(), copies: Arc::default() };
    let copies = request.copies.clone();
    let scripted = Scripted { attempts: attempts.clone(), clock: policy.clock().clone(), is_ready: false };
    let service = PolicyLayer::new(&policy).describe(ByScript).classify(AsScripted).layer(scripted);
    let response = service.oneshot(request);
    let result = match call.inherited {
        None => response.await,
        Some(left) => {
            let outer = Policy::builder("outer").deadline(left).clock(policy.clock()).build().unwrap();
            let mut inner = Some(response);
            let nested = outer.call(|_| {
                let inner = inner.take().unwrap();
                async { Ok::<_, Infallible>(inner.await) }
            });
            nested.await.unwrap()
        }
    };
    let made = attempts.lock().unwrap().len();
    let retries = policy.stages().retry.as_ref().map_or(0, |retry| retry.config().max_retries as usize);
    let hedges = policy.stages().hedge.as_ref().map_or(0, |hedge| hedge.config().max_hedges as usize);
    let repeats = (retries + 1) * (hedges + 1) - 1;
    assert_eq!(copies.load(Ordering::Relaxed), made.min(repeats), "copies for {made} attempts");
    end(result, made)
}

struct Request {
    call: Call,
    copies: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct ByScript;

impl Describe<Request> for ByScript {
    fn copier(&self, _request: &Request) -> Option<fn(&Request) -> Request> {
        Some(|request| {
            request.copies.fetch_add(1, Ordering::Relaxed);
            Request { call: request.call.clone(), copies: request.copies.clone() }
        })
    }

    fn cost(&self, request: &Request) -> u32 {
        request.call.cost
    }

    fn caller(&self, request: &Request) -> Caller {
        request.call.caller
    }

    fn deadline(&self, request: &Request) -> Option<Duration> {
        request.call.deadline
    }
}

/// Answers as the script of the request says, and wants to be asked whether it is ready.
struct Scripted {
    attempts: Attempts,
    clock: Clock,
    is_ready: bool,
}

impl Clone for Scripted {
    fn clone(&self) -> Self {
        Self { attempts: self.attempts.clone(), clock: self.clock.clone(), is_ready: false }
    }
}

impl Service<Request> for Scripted {
    type Response = Reply;
    type Error = Reply;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Reply>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Reply>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called before it was ready");
        let mut attempts = self.attempts.lock().unwrap();
        attempts.push(self.clock.now().since(Instant::ZERO));
        let attempt = u32::try_from(attempts.len()).unwrap();
        Box::pin(async_door::answer(request.call.reply(attempt)))
    }
}
