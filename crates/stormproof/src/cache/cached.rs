//! A call's way to its cache: an answer that is fresh, a place among the calls for one key, and what is kept at the end.

use std::convert::Infallible;
use std::hash::Hash;
use std::task::Waker;

use stormproof_core::flight::Place;
use stormproof_core::retry::Stop;
use stormproof_core::{Instant, Limit, Ticket};

use super::{Cache, count};
use crate::answer::{Served, Source};
use crate::call::{Asked, Calling, Options};
use crate::error::Error;
use crate::policy::Policy;
use crate::{inherited, waiters};

impl<'p, Op, T, E, C, N, G> Calling<'p, Op, T, E, C, N, G> {
    /// Keeps the answer if the call succeeds, and answers with what was kept if it fails: next in the chain of fallbacks,
    /// whose own answers are not kept. Without a kept answer the failure is that of the call.
    ///
    /// With [`fresh_for`](super::Config::fresh_for) an answer that is fresh is served without a call. Calls for one key
    /// at the same time are then one call: the others wait for its answer, no longer than their own deadline. If it
    /// fails, each makes its own call; if it is dropped, the next one calls instead. So an operation must not call for
    /// its own key.
    pub fn cached<K>(mut self, cache: &'p Cache<K, T>, key: impl Into<K>) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        T: Clone + Send + Sync + 'static,
    {
        self.after.cache = Some(Box::new(Lookup { cache, key: key.into(), stand: Stand::New }));
        self.after.chain.kept();
        self
    }
}

/// What a call asks of its cache, whatever the cache's keys are.
pub(crate) trait Ask<T> {
    /// What the call does next. To be asked again when it has waited.
    fn ask(&mut self, policy: &Policy, options: &mut Options, waker: &Waker) -> Asked<T, Infallible>;

    /// Keeps the value of a call that succeeded, and lets those that wait for it know.
    fn ended(&mut self, success: Option<&T>);

    /// An earlier answer that may be served after a failure.
    fn kept(&self) -> Option<Served<T>>;
}

/// A call's place at its cache.
struct Lookup<'c, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    cache: &'c Cache<K, V>,
    key: K,
    stand: Stand<'c, K, V>,
}

/// How far a call has come.
enum Stand<'c, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
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
        seat: Option<Seat<'c, K, V>>,
        epoch: u64,
    },
}

/// A place among the calls for one key. Dropping it leaves.
struct Seat<'c, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    cache: &'c Cache<K, V>,
    key: K,
    ticket: Ticket,
}

impl<'c, K, V> Seat<'c, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn take(cache: &'c Cache<K, V>, key: &K) -> Self {
        Self { cache, key: key.clone(), ticket: cache.0.flights.join(key) }
    }

    fn place(&self) -> Place {
        self.cache.0.flights.ask(&self.key, self.ticket)
    }

    /// Notes whom to wake, then asks: the place may have changed just before.
    fn wait(&self, waker: &Waker) -> Place {
        waiters::park(self.ticket, waker);
        self.place()
    }

    fn land(self) {
        for ticket in self.cache.0.flights.land(&self.key, self.ticket) {
            waiters::wake(ticket);
        }
    }
}

impl<K, V> Drop for Seat<'_, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        waiters::forget(self.ticket);
        if let Some(next) = self.cache.0.flights.leave(&self.key, self.ticket) {
            waiters::wake(next);
        }
    }
}

impl<K, V> Ask<V> for Lookup<'_, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn ask(&mut self, policy: &Policy, options: &mut Options, waker: &Waker) -> Asked<V, Infallible> {
        let cache = self.cache;
        match &self.stand {
            Stand::Calling { .. } => return Asked::Call,
            Stand::New if !cache.0.config.joins() => {
                self.stand = Stand::Calling { seat: None, epoch: cache.epoch() };
                return Asked::Call;
            }
            Stand::New => {
                if let Some(kept) = cache.fresh(&self.key, None) {
                    return Asked::Ended(Ok(served(kept)));
                }
                count(&cache.0.misses);
                let (seat, epoch) = (Seat::take(cache, &self.key), cache.epoch());
                if seat.place() == Place::Leads {
                    self.stand = Stand::Calling { seat: Some(seat), epoch };
                    return Asked::Call;
                }
                count(&cache.0.joined);
                let until = policy.deadline_at(policy.clock().now(), options.deadline);
                self.stand = Stand::Waiting { seat, since: cache.0.clock.now(), until };
            }
            Stand::Waiting { .. } => {}
        }
        self.wait(policy, options, waker)
    }

    fn ended(&mut self, success: Option<&V>) {
        let Stand::Calling { seat, epoch } = std::mem::replace(&mut self.stand, Stand::New) else { return };
        if let Some(value) = success {
            self.cache.store(&self.key, value.clone(), epoch);
        }
        if let Some(seat) = seat {
            seat.land();
        }
    }

    fn kept(&self) -> Option<Served<V>> {
        let kept = self.cache.get(&self.key);
        match &kept {
            Some(_) => count(&self.cache.0.stale),
            None if !self.cache.0.config.joins() => count(&self.cache.0.misses),
            None => {}
        }
        kept.map(served)
    }
}

impl<K, V> Lookup<'_, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Waits for the answer of the call that leads, or leads, or calls beside it.
    fn wait(&mut self, policy: &Policy, options: &mut Options, waker: &Waker) -> Asked<V, Infallible> {
        let (cache, clock) = (self.cache, policy.clock());
        let Stand::Waiting { seat, since, until } = &self.stand else { return Asked::Call };
        let (since, until) = (*since, *until);
        let place = seat.wait(waker);
        if place == Place::Waits {
            let around = inherited::deadline(clock);
            if clock.now() < until.min(around) {
                return Asked::Wait(until.min(around));
            }
            self.stand = Stand::New;
            return Asked::Ended(Err(Error::TimedOut {
                policy: policy.name().to_string(),
                limit: if around < until { Limit::Inherited } else { Limit::Call },
                stop: Stop::Deadline,
                last: None,
                attempts: 0,
                elapsed: cache.0.clock.now().since(since),
            }));
        }
        if let Some(kept) = cache.fresh(&self.key, Some(since)) {
            // Dropping the seat hands over, if it leads by now.
            self.stand = Stand::New;
            return Asked::Ended(Ok(served(kept)));
        }
        if until != Instant::FAR_FUTURE {
            options.deadline = Some(until.since(clock.now()));
        }
        let seat = match std::mem::replace(&mut self.stand, Stand::New) {
            Stand::Waiting { seat, .. } if place == Place::Leads => Some(seat),
            _ => None,
        };
        self.stand = Stand::Calling { seat, epoch: cache.epoch() };
        Asked::Call
    }
}

fn served<V>(kept: super::Kept<V>) -> Served<V> {
    Served::new(kept.value, Source::Cache { age: kept.age, stale: kept.stale })
}
