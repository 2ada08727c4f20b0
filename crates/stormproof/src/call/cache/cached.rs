//! A call's way to its cache: an answer that is fresh, a place among the calls for one key, and what is kept at the end.

use std::convert::Infallible;
use std::hash::Hash;
use std::task::Waker;

use stormproof_core::flight::Place;
use stormproof_core::retry::Stop;
use stormproof_core::{Instant, Limit, Refused, Ticket};

use super::{Cache, count};
use crate::call::answer::{Served, Source};
use crate::call::error::Error;
use crate::call::inherited;
use crate::call::inside;
use crate::call::{Ask, Asked, Calling, Options};
use crate::clock::waiters;
use crate::policy::Policy;

impl<'p, Op, T, E, C, N, G> Calling<'p, Op, T, E, C, N, G> {
    /// Keeps the answer if the call succeeds, and answers with what was kept if it fails: next in the chain of fallbacks,
    /// whose own answers are not kept. Without a kept answer the failure is that of the call.
    ///
    /// With [`fresh_for`](super::Config::fresh_for) an answer that is fresh is served without a call. Calls for one key
    /// at the same time are then one call: the others wait for its answer, no longer than their own deadline. If it takes
    /// longer than [`join_timeout`](super::Config::join_timeout), or fails, or is dropped, one of them calls too, and the
    /// rest wait for that, or get what [`after_failure`](super::Config::after_failure) says.
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
    /// Calls, for others too if those join.
    Calling {
        seat: Seat<'c, K, V>,
        epoch: u64,
    },
}

/// A place among the calls for one key. Dropping it leaves.
pub(super) struct Seat<'c, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    cache: &'c Cache<K, V>,
    pub(super) key: K,
    pub(super) ticket: Ticket,
}

impl<'c, K, V> Seat<'c, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn take(cache: &'c Cache<K, V>, key: &K) -> Self {
        let (flights, now) = (&cache.0.flights, cache.0.clock.now());
        let ticket = if cache.0.config.joins() {
            flights.join(key, now, |leader| inside::is_inside(id(leader)))
        } else {
            flights.lead(key, now)
        };
        Self { cache, key: key.clone(), ticket }
    }

    fn place(&self) -> Place {
        let inner = &self.cache.0;
        inner.flights.ask(&self.key, self.ticket, inner.clock.now(), inner.config.join_timeout)
    }

    /// Notes whom to wake, then asks: the place may have changed just before.
    fn wait(&self, waker: &Waker) -> Place {
        waiters::park(self.ticket, waker);
        self.place()
    }
}

impl<K, V> Drop for Seat<'_, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        waiters::forget(self.ticket);
        let inner = &self.cache.0;
        if let Some(next) = inner.flights.leave(&self.key, self.ticket, inner.clock.now()) {
            waiters::wake(next);
        }
    }
}

/// What tells a leader from other things that something may run inside of: those have even addresses.
#[allow(clippy::cast_possible_truncation, reason = "the low bits tell tickets of one process apart")]
fn id(leader: Ticket) -> usize {
    leader.number() as usize * 2 + 1
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
            Stand::New => {
                let joins = cache.0.config.joins();
                if joins && let Some(kept) = cache.fresh(&self.key, None) {
                    return Asked::Ended(Ok(served(kept)));
                }
                let (seat, epoch) = (Seat::take(cache, &self.key), cache.epoch());
                if joins {
                    count(&cache.0.misses);
                }
                if seat.place() == Place::Leads {
                    self.stand = Stand::Calling { seat, epoch };
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

    fn leads(&self) -> Option<usize> {
        match &self.stand {
            Stand::Calling { seat, .. } => Some(id(seat.ticket)),
            Stand::New | Stand::Waiting { .. } => None,
        }
    }

    fn ended(&mut self, result: Result<&V, &str>) {
        let Stand::Calling { seat, epoch } = std::mem::replace(&mut self.stand, Stand::New) else { return };
        let inner = &self.cache.0;
        let woken = match result {
            Ok(value) if self.cache.store(&seat, value.clone(), epoch) => inner.flights.land(&seat.key, seat.ticket),
            Err(failure) if inner.config.after_failure.ends_waiting(self.cache.get(&seat.key).is_some()) => {
                inner.flights.fail(&seat.key, seat.ticket, failure, inner.clock.now())
            }
            // Nothing is told to those who wait: dropping the seat lets one of them lead.
            Ok(_) | Err(_) => return,
        };
        woken.into_iter().for_each(waiters::wake);
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
        if let Place::Waits { until: patient } = place {
            let (now, around) = (clock.now(), inherited::deadline(clock));
            if now < until.min(around) {
                let patience = patient.since(cache.0.clock.now());
                return Asked::Wait(until.min(around).min(now + patience));
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
        if let Place::Failed(failure) = place {
            self.stand = Stand::New;
            let refused = Refused::joined(cache.name().clone(), &failure);
            return Asked::Ended(Err(Error::Refused { refused, last: None, timed_out: None, attempts: 0 }));
        }
        if until != Instant::FAR_FUTURE {
            options.deadline = Some(until.since(clock.now()));
        }
        let seat = match std::mem::replace(&mut self.stand, Stand::New) {
            Stand::Waiting { seat, .. } if place == Place::Leads => seat,
            // It has landed, and its answer is gone already.
            _ => Seat::take(cache, &self.key),
        };
        self.stand = if seat.place() == Place::Leads {
            Stand::Calling { seat, epoch: cache.epoch() }
        } else {
            Stand::Waiting { seat, since, until }
        };
        self.wait(policy, options, waker)
    }
}

fn served<V>(kept: super::Kept<V>) -> Served<V> {
    Served::new(kept.value, Source::Cache { age: kept.age, stale: kept.stale })
}
