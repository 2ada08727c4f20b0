//! A call whose answers are kept.

use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use stormproof_core::flight::{Flights, Place};
use stormproof_core::retry::Stop;
use stormproof_core::{Instant, Limit, Ticket};

use super::{Cache, count};
use crate::call::{Calling, Cx};
use crate::classify::Classify;
use crate::clock::Sleep;
use crate::error::Error;
use crate::fallback::{Always, Awaited, Fallible, Kept, Next, Nothing, Served, Source, Then, WithFallback};
use crate::policy::Policy;
use crate::{inherited, waiters};

/// What [`Calling::cached`] returns: a call, its cache, and the cache as its first fallback.
pub type CachedCall<'c, Call, K, V, E> = WithFallback<Cached<'c, Call, K, V>, Then<Nothing, Kept>, Always, E>;

/// What [`WithFallback::cached`] returns.
pub type AlsoCached<'c, Call, Chain, W, K, V> = Next<Cached<'c, Call, K, V>, Chain, Kept, W>;

impl<'p, F, Fut, T, E, C> Calling<'p, F, Fut, C>
where
    F: FnMut(Cx<'p>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    /// Keeps the answer if the call succeeds, and answers with what was kept if it fails. Without such, the failure is
    /// that of the call.
    ///
    /// With [`fresh_for`](super::Config::fresh_for) an answer that is fresh is served without a call. Calls for one key
    /// at the same time are then one call: the others wait for its answer, no longer than their own deadline. If it
    /// fails, each makes its own call; if it is dropped, the next one calls instead. So an operation must not call for
    /// its own key.
    pub fn cached<K>(self, cache: &Cache<K, T>, key: impl Into<K>) -> CachedCall<'_, Self, K, T, E>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        T: Clone + Send + Sync + 'static,
    {
        WithFallback::new(self, Nothing).cached(cache, key)
    }
}

impl<'p, F, Fut, T, E, C, Chain, W> WithFallback<Calling<'p, F, Fut, C>, Chain, W, E>
where
    F: FnMut(Cx<'p>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    /// Next in the chain: what was kept of earlier answers of the call itself. See [`Calling::cached`]; what fallbacks
    /// answer is not kept.
    pub fn cached<K>(
        self,
        cache: &Cache<K, T>,
        key: impl Into<K>,
    ) -> AlsoCached<'_, Calling<'p, F, Fut, C>, Chain, W, K, T>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        T: Clone + Send + Sync + 'static,
    {
        self.map_call(|call| Cached::new(call, cache, key.into()))
    }
}

pin_project! {
    /// A call that looks into a cache first and keeps its answer there.
    pub struct Cached<'c, Call, K, V> {
        // Dropped before the seat is given up: the call is over when another one begins.
        #[pin]
        call: Call,
        cache: &'c Cache<K, V>,
        key: K,
        stand: Stand<'c, K, V>,
        #[pin]
        timer: Option<Sleep>,
    }
}

/// How far a call has come.
enum Stand<'c, K, V> {
    New,
    /// Somebody else is calling.
    Waiting {
        seat: Seat<'c, K, V>,
        /// On the cache's clock.
        since: Instant,
        /// The call's own deadline, on the policy's clock.
        until: Instant,
    },
    /// Calls, for others too if it has a seat.
    Calling {
        _seat: Option<Seat<'c, K, V>>,
        epoch: u64,
    },
}

/// A place among the calls for one key. Dropping it leaves.
struct Seat<'c, K, V> {
    cache: &'c Cache<K, V>,
    key: K,
    ticket: Ticket,
    // A pointer, because bounds on the types of a future hinder the compiler in seeing that it is `Send`.
    leave: fn(&Flights<K>, &K, Ticket) -> Option<Ticket>,
}

impl<'c, K, V> Seat<'c, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn take(cache: &'c Cache<K, V>, key: &K) -> Self {
        Self { cache, key: key.clone(), ticket: cache.0.flights.join(key), leave: Flights::leave }
    }

    fn place(&self) -> Place {
        self.cache.0.flights.ask(&self.key, self.ticket)
    }

    /// Notes whom to wake, then asks: the place may have changed just before.
    fn wait(&self, cx: &Context<'_>) -> Place {
        waiters::park(self.ticket, cx.waker());
        self.place()
    }

    fn land(self) {
        for ticket in self.cache.0.flights.land(&self.key, self.ticket) {
            waiters::wake(ticket);
        }
    }
}

impl<K, V> Drop for Seat<'_, K, V> {
    fn drop(&mut self) {
        waiters::forget(self.ticket);
        if let Some(next) = (self.leave)(&self.cache.0.flights, &self.key, self.ticket) {
            waiters::wake(next);
        }
    }
}

impl<'c, Call, K, V> Cached<'c, Call, K, V>
where
    Call: Fallible<Value = V>,
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn new(call: Call, cache: &'c Cache<K, V>, key: K) -> Self {
        Self { call, cache, key, stand: Stand::New, timer: None }
    }
}

impl<Call, K, V> Awaited for Cached<'_, Call, K, V>
where
    Call: Awaited<Value = V>,
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
}

impl<Call, K, V> Fallible for Cached<'_, Call, K, V>
where
    Call: Fallible<Value = V>,
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    type Value = V;
    type Error = Call::Error;

    fn poll_served(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Served<V>, Error<Call::Error>>> {
        let mut this = self.project();
        let cache = *this.cache;
        loop {
            match this.stand {
                Stand::New if !cache.0.config.joins() => {
                    *this.stand = Stand::Calling { _seat: None, epoch: cache.epoch() };
                }
                Stand::New => {
                    if let Some(kept) = cache.fresh(this.key, None) {
                        return Poll::Ready(Ok(served(kept)));
                    }
                    count(&cache.0.misses);
                    let (seat, epoch) = (Seat::take(cache, this.key), cache.epoch());
                    *this.stand = if seat.place() == Place::Leads {
                        Stand::Calling { _seat: Some(seat), epoch }
                    } else {
                        count(&cache.0.joined);
                        let until = this.call.limit(this.call.policy().clock().now());
                        Stand::Waiting { seat, since: cache.0.clock.now(), until }
                    };
                }
                Stand::Waiting { seat, since, until } => {
                    let (since, until) = (*since, *until);
                    match seat.wait(cx) {
                        Place::Waits => {
                            let policy = this.call.policy();
                            let around = inherited::deadline(policy.clock());
                            ready!(wait_until(this.timer.as_mut(), policy, until.min(around), cx));
                            let error = Error::TimedOut {
                                policy: policy.name().to_string(),
                                limit: if around < until { Limit::Inherited } else { Limit::Call },
                                stop: Stop::Deadline,
                                last: None,
                                attempts: 0,
                                elapsed: cache.0.clock.now().since(since),
                            };
                            *this.stand = Stand::New;
                            return Poll::Ready(Err(error));
                        }
                        place => {
                            if let Some(kept) = cache.fresh(this.key, Some(since)) {
                                // Dropping the seat hands over, if it leads by now.
                                *this.stand = Stand::New;
                                return Poll::Ready(Ok(served(kept)));
                            }
                            this.timer.set(None);
                            if until != Instant::FAR_FUTURE {
                                let left = until.since(this.call.policy().clock().now());
                                this.call.as_mut().shorten(left);
                            }
                            let former = std::mem::replace(this.stand, Stand::New);
                            let seat = match former {
                                Stand::Waiting { seat, .. } if place == Place::Leads => Some(seat),
                                _ => None,
                            };
                            *this.stand = Stand::Calling { _seat: seat, epoch: cache.epoch() };
                        }
                    }
                }
                Stand::Calling { epoch, .. } => {
                    let epoch = *epoch;
                    let result = ready!(this.call.as_mut().poll_served(cx));
                    if let Ok(served) = &result
                        && this.call.is_success(&served.value)
                    {
                        cache.store(this.key, served.value.clone(), epoch);
                    }
                    if let Stand::Calling { _seat: Some(seat), .. } = std::mem::replace(this.stand, Stand::New) {
                        seat.land();
                    }
                    return Poll::Ready(result);
                }
            }
        }
    }

    fn policy(&self) -> &Policy {
        self.call.policy()
    }

    fn kind(&self, error: &Error<Call::Error>) -> Box<str> {
        self.call.kind(error)
    }

    fn kept(&self) -> Option<(V, Duration, bool)> {
        let kept = self.cache.get(&self.key);
        match &kept {
            Some(_) => count(&self.cache.0.stale),
            None if !self.cache.0.config.joins() => count(&self.cache.0.misses),
            None => {}
        }
        kept.map(|kept| (kept.value, kept.age, kept.stale))
    }

    fn is_success(&self, value: &V) -> bool {
        self.call.is_success(value)
    }

    fn limit(&self, now: Instant) -> Instant {
        self.call.limit(now)
    }

    fn shorten(self: Pin<&mut Self>, limit: Duration) {
        self.project().call.shorten(limit);
    }
}

fn served<V>(kept: super::Kept<V>) -> Served<V> {
    Served::new(kept.value, Source::Cache { age: kept.age, stale: kept.stale })
}

fn wait_until(mut timer: Pin<&mut Option<Sleep>>, policy: &Policy, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
    if until == Instant::FAR_FUTURE {
        return Poll::Pending;
    }
    if timer.is_none() {
        timer.set(Some(policy.clock().sleep_until(until)));
    }
    timer.as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(cx))
}
