//! Case 54: the future dropped at every await point in turn. Every stage alone and all together; in every phase: the
//! bulkhead's queue, that of the requests, that of the tokens, an attempt, the backoff, a body that is held.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use stormproof::event::Kind;
use stormproof::{Bulkhead, CircuitBreaker, Clock, Cx, Instant, Policy, Trip, Verdict, breaker, hedge, rate};
use stormproof_core as core;
use tokio::time::sleep;

use crate::given::{budget, each_second, ms, s, slots, trips};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Breaker,
    Bulkhead,
    Rate,
    Tokens,
    Retry,
    Hedge,
}

const ALL: [Part; 6] = [Part::Breaker, Part::Bulkhead, Part::Rate, Part::Tokens, Part::Retry, Part::Hedge];

const COST: u32 = 10;

const FOR_EVER: std::time::Duration = s(1_000_000);

fn requests() -> rate::Config {
    rate::Config { rate: 1, per: s(3), ..Default::default() }
}

fn tokens() -> rate::Config {
    rate::Config { rate: COST, per: s(5), ..Default::default() }
}

/// A busy policy: the circuit is about to be half-open, the slot is taken for a second, and no requests or tokens are
/// left.
struct Busy {
    policy: Policy,
    clock: Clock,
    mirrors: Vec<Mirror>,
    /// Retries and hedges that were told of.
    repeats: Arc<AtomicU64>,
}

/// Beside a limiter of the policy another one, from which the same is taken at the same time, and to which is given back
/// what should be.
struct Mirror {
    limiter: Arc<core::RateLimiter>,
    twin: core::RateLimiter,
    cost: u32,
    taken: Vec<core::rate::Reservation>,
}

impl Mirror {
    /// Both have nothing left.
    fn empty(limiter: Arc<core::RateLimiter>, cost: u32, now: Instant) -> Self {
        let twin = core::RateLimiter::with_config("twin", limiter.config()).unwrap();
        for limiter in [&limiter, &twin] {
            let _spent = limiter.try_acquire(now, cost).unwrap();
        }
        Self { limiter, twin, cost, taken: Vec::new() }
    }

    /// Takes what was taken since.
    fn follow(&mut self, now: Instant) {
        while self.twin.stats(now).allowed < self.limiter.stats(now).allowed {
            self.taken.push(self.twin.try_acquire(now, self.cost).unwrap());
        }
        // A hedge that could not have everything has given it back at once.
        if self.limiter.peek(now, self.cost) < self.twin.peek(now, self.cost) {
            self.twin.release(&mut self.taken.pop().unwrap());
        }
    }

    /// Each attempt has spent its cost, and what was taken for one that did not begin is back.
    fn assert_all_back(mut self, now: Instant, attempts: usize, context: &str) {
        assert!(self.taken.len() <= attempts + 1, "{context}");
        if let Some(unused) = self.taken.get_mut(attempts) {
            self.twin.release(unused);
        }
        assert_eq!(self.limiter.peek(now, self.cost), self.twin.peek(now, self.cost), "{context}");
        assert_eq!(self.limiter.stats(now).waiting, 0, "{context}");
    }
}

impl Busy {
    async fn new(stages: &[Part]) -> Self {
        let has = |stage| stages.contains(&stage);
        let clock = Clock::tokio();
        let mut builder = Policy::builder("p").clock(&clock).attempt_timeout(s(1));
        if has(Part::Breaker) {
            let config = breaker::Config { open_duration: ms(500), ..trips(Trip::consecutive(1)) };
            let breaker = CircuitBreaker::with_clock("b", config, &clock).unwrap();
            breaker.call(|_| async { Err::<(), _>("down") }).await.unwrap_err();
            sleep(ms(500)).await;
            builder = builder.breaker(&breaker);
        }
        if has(Part::Bulkhead) {
            let bulkhead = Bulkhead::with_clock("b", slots(1, 1), &clock).unwrap();
            let taken = bulkhead.acquire().await.unwrap();
            tokio::spawn(async move {
                sleep(s(1)).await;
                drop(taken);
            });
            builder = builder.bulkhead(&bulkhead);
        }
        if has(Part::Rate) {
            builder = builder.rate(requests());
        }
        if has(Part::Tokens) {
            builder = builder.tokens(tokens());
        }
        if has(Part::Retry) {
            builder = builder.retry(each_second(1)).budget(budget(0.2, 3));
        }
        if has(Part::Hedge) {
            builder = builder.hedge(hedge::Config { max_hedges: 2, ..ms(300).into() }).budget(budget(0.2, 3));
        }
        let policy = builder.build().unwrap();
        let repeats = Arc::new(AtomicU64::new(0));
        let counted = repeats.clone();
        policy.on_event(move |event| {
            let repeats = matches!(event.kind, Kind::RetryAttempted { .. } | Kind::HedgeStarted { .. });
            counted.fetch_add(u64::from(repeats), Ordering::Relaxed);
        });
        let (core, now) = (policy.stages(), clock.now());
        let limiters = [(core.rate.clone(), 1), (core.tokens.clone(), COST)];
        let mirror = |(limiter, cost): (Option<_>, _)| limiter.map(|limiter| Mirror::empty(limiter, cost, now));
        let mirrors = limiters.into_iter().filter_map(mirror).collect();
        Self { policy, clock, mirrors, repeats }
    }

    /// Nothing is taken but what was called for.
    async fn assert_all_back(self, attempts: u64, context: &str) {
        let (stages, now) = (self.policy.stages(), self.clock.now());
        for mirror in self.mirrors {
            mirror.assert_all_back(now, usize::try_from(attempts).unwrap(), context);
        }
        if let Some(breaker) = &stages.breaker {
            assert_eq!(breaker.stats(now).half_open_calls, 0, "{context}");
        }
        if let Some(budget) = &stages.budget {
            let (withdrawn, repeats) = (budget.stats(now).withdrawn, self.repeats.load(Ordering::Relaxed));
            assert_eq!((withdrawn, budget.stats(now).calls), (repeats, attempts.min(1)), "{context}");
        }
        if let Some(bulkhead) = &stages.bulkhead {
            assert_eq!(bulkhead.stats().queued, 0, "{context}");
            sleep(s(2)).await; // until the other one has given its slot back
            assert_eq!(bulkhead.stats().active, 0, "{context}");
        }
    }
}

/// A way to make the call: its first attempt hangs, and its second one gives a body that takes a second.
type Make = for<'a> fn(&'a Policy, &'a AtomicU64) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

const DOORS: &[Make] = &[
    |policy, attempts| Box::pin(call(policy, attempts)),
    #[cfg(feature = "http")]
    |policy, attempts| Box::pin(through_tower::call(policy, attempts)),
];

async fn call(policy: &Policy, attempts: &AtomicU64) {
    let op = |cx: Cx<'_>| {
        attempts.fetch_add(1, Ordering::Relaxed);
        let hangs = cx.attempt() == 1;
        async move {
            let time = if hangs { FOR_EVER } else { ms(100) };
            sleep(time).await;
            Ok::<_, Infallible>(())
        }
    };
    if let Ok(((), held)) = policy.call(op).cost(COST).hold().await {
        sleep(s(1)).await;
        held.settle(&Verdict::success());
    }
}

/// The same as a request whose response's body holds what was taken.
#[cfg(feature = "http")]
mod through_tower {
    use std::task::{Context, ready};

    use http::Response;
    use http_body::{Body, Frame};
    use http_body_util::BodyExt;
    use stormproof::service::{Describe, PolicyLayer};
    use tower::{Layer, ServiceExt, service_fn};

    use super::*;

    #[derive(Clone)]
    struct Get;

    impl Describe<()> for Get {
        fn copier(&self, (): &()) -> Option<fn(&())> {
            Some(|()| ())
        }

        fn cost(&self, (): &()) -> u32 {
            COST
        }
    }

    /// A body that ends after a second.
    struct Slow(Pin<Box<tokio::time::Sleep>>);

    impl Body for Slow {
        type Data = bytes::Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
            ready!(self.0.as_mut().poll(cx));
            Poll::Ready(None)
        }
    }

    pub(super) async fn call(policy: &Policy, attempts: &AtomicU64) {
        let service = service_fn(|()| {
            let hangs = attempts.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                sleep(if hangs { FOR_EVER } else { ms(100) }).await;
                Ok::<_, Infallible>(Response::new(Slow(Box::pin(sleep(s(1))))))
            }
        });
        let service = PolicyLayer::new(policy).describe(Get).hold_in_body().layer(service);
        if let Ok(response) = service.oneshot(()).await {
            response.into_body().collect().await.unwrap();
        }
    }
}

/// Drops the call after so many polls. Returns whether it was over before.
async fn drop_after(polls: usize, stages: &[Part], make: Make) -> bool {
    let mut busy = Busy::new(stages).await;
    let (policy, attempts) = (busy.policy.clone(), AtomicU64::new(0));
    let over = {
        let mut call = make(&policy, &attempts);
        let mut polled = 0;
        let until = poll_fn(|cx| {
            polled += 1;
            let poll = call.as_mut().poll(cx);
            busy.mirrors.iter_mut().for_each(|mirror| mirror.follow(busy.clock.now()));
            match poll {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending if polled == polls => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
            }
        });
        until.await
    };
    busy.assert_all_back(attempts.into_inner(), &format!("{stages:?} dropped after {polls} polls")).await;
    over
}

/// How many await points there were, the same through every door.
fn drop_everywhere(stages: &[Part]) -> usize {
    let points: Vec<_> = DOORS.iter().map(|make| drop_everywhere_through(*make, stages)).collect();
    assert!(points.iter().all(|number| *number == points[0]), "{points:?}");
    points[0]
}

fn drop_everywhere_through(make: Make, stages: &[Part]) -> usize {
    let over = |polls: &usize| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(drop_after(*polls, stages, make))
    };
    (1..100).find(over).unwrap() - 1
}

#[test]
fn case_54_every_stage_alone_dropped_anywhere_loses_nothing() {
    assert_eq!(drop_everywhere(&[]), 1, "the attempt that hangs");
    assert_eq!(drop_everywhere(&[Part::Breaker]), 1, "the probe");
    assert_eq!(drop_everywhere(&[Part::Bulkhead]), 2, "the queue");
    assert_eq!(drop_everywhere(&[Part::Rate]), 2, "the queue");
    assert_eq!(drop_everywhere(&[Part::Tokens]), 2, "the queue");
    assert_eq!(drop_everywhere(&[Part::Retry]), 4, "the backoff, another attempt, the body");
    assert_eq!(drop_everywhere(&[Part::Hedge]), 3, "beside the hedge, the body");
}

#[test]
fn case_54_all_stages_together_dropped_anywhere_lose_nothing() {
    let points = "slot, requests, tokens, attempt, no hedge, backoff, tokens, attempt, body";
    assert_eq!(drop_everywhere(&ALL), 9, "{points}");
}

#[test]
fn case_54_two_stages_together_dropped_anywhere_lose_nothing() {
    for (at, first) in ALL.into_iter().enumerate() {
        for second in ALL.into_iter().skip(at + 1) {
            assert!(drop_everywhere(&[first, second]) >= 2, "{first:?}, {second:?}");
        }
    }
}

#[tokio::test]
async fn case_54_a_call_that_would_hold_but_has_nothing_to_hold_gives_all_back() {
    for verdict in [Verdict::ignored("ClientError"), Verdict::failure("ServerError"), Verdict::success()] {
        let policy = Policy::builder("p").bulkhead(slots(1, 0)).build().unwrap();
        let call = policy.call(|_| async { Err::<(), _>("no") }).classify_with(move |_| verdict);
        assert_eq!(call.hold().await.unwrap_err().into_last(), Some("no"));
        assert_eq!(policy.stages().bulkhead.as_ref().unwrap().stats().active, 0, "{verdict:?}");
    }
}
