//! Case 54 for what stands beside or around the stages: waits of other kinds, fallbacks, health checks, the work queue, the
//! executor, keyed maps. The stages themselves, hedges and bodies through tower are in `dropping.rs`; the one call that
//! answers for all is in `tests/cache.rs`.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use stormproof::health::{Checks, Registration, Status};
use stormproof::queue::{self, State};
use stormproof::registry::{Keyed, Limits};
use stormproof::{
    Bulkhead, CircuitBreaker, Clock, Executor, HealthChecker, Policy, Trip, WorkQueue, adaptive, breaker, bulkhead,
};
use tokio::time::sleep;

use crate::given::{Retries, budget, each_second, ms, s, slots, trips};

type Call = Pin<Box<dyn Future<Output = ()>>>;

/// Makes the call in a new world and drops it after one poll; the same with two, and so on until it is over before. Each
/// time `check` looks at the world that is left. Gives the number of await points.
fn drop_everywhere<W>(world: impl AsyncFn() -> W, call: impl Fn(&W) -> Call, check: impl AsyncFn(W, &str)) -> usize {
    let over = |polls: &usize| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = world().await;
            let over = {
                let (mut call, mut polled) = (call(&world), 0);
                let until = poll_fn(|cx| {
                    polled += 1;
                    match call.as_mut().poll(cx) {
                        Poll::Ready(()) => Poll::Ready(true),
                        Poll::Pending if polled == *polls => Poll::Ready(false),
                        Poll::Pending => Poll::Pending,
                    }
                });
                until.await
            };
            check(world, &format!("dropped after {polls} polls")).await;
            over
        })
    };
    (1..100).find(over).unwrap() - 1
}

/// Something that is under way for a second, and is counted as long as it is there.
struct Guest(Arc<AtomicU32>);

impl Guest {
    fn of(house: &Arc<AtomicU32>) -> Self {
        house.fetch_add(1, Ordering::Relaxed);
        Self(house.clone())
    }

    async fn stays(self) {
        sleep(s(1)).await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A bulkhead whose only slot is taken for a second.
async fn busy(config: bulkhead::Config, clock: &Clock) -> Bulkhead {
    let bulkhead = Bulkhead::with_clock("b", config, clock).unwrap();
    let taken = bulkhead.acquire().await.unwrap();
    tokio::spawn(async move {
        sleep(s(1)).await;
        drop(taken);
    });
    bulkhead
}

/// After two seconds nobody is there, and the slots are free.
async fn assert_free(bulkhead: &Bulkhead, slots: u32, context: &str) {
    sleep(s(2)).await;
    let stats = bulkhead.stats();
    assert_eq!((stats.active, stats.queued, stats.max_concurrent), (0, 0, slots), "{context}");
    let all: Vec<_> = (0..slots).map(|_| bulkhead.policy().admit_sync().unwrap()).collect();
    assert_eq!(bulkhead.stats().active, slots, "{context}");
    drop(all);
}

#[test]
fn case_54_an_adaptive_bulkhead_loses_no_slot() {
    let world = async || {
        let adaptive = adaptive::Config { max: 1, window: ms(1), min_samples: 5, ..Default::default() };
        let bulkhead = busy(bulkhead::Config { adaptive: Some(adaptive), ..slots(1, 1) }, &Clock::tokio()).await;
        // Measured all the while.
        let other = bulkhead.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                sleep(ms(170)).await;
                let _ = other.call(|_| async { Ok::<_, ()>(sleep(ms(1)).await) }).await;
            }
        });
        bulkhead
    };
    let call = |bulkhead: &Bulkhead| -> Call {
        let bulkhead = bulkhead.clone();
        Box::pin(async move { bulkhead.call(|_| async { Ok::<_, ()>(sleep(s(1)).await) }).await.unwrap() })
    };
    let check = async |bulkhead: Bulkhead, context: &str| {
        sleep(s(4)).await;
        assert_free(&bulkhead, 1, context).await;
    };
    assert_eq!(drop_everywhere(world, call, check), 2, "the queue, the call");
}

#[test]
fn case_54_a_wait_for_half_open_holds_nothing() {
    let world = async || {
        let clock = Clock::tokio();
        let config = breaker::Config { half_open_max_calls: 1, open_duration: s(5), ..trips(Trip::consecutive(1)) };
        let breaker = CircuitBreaker::with_clock("b", config, &clock).unwrap();
        let bulkhead = busy(slots(1, 1), &clock).await;
        let retry = Retries { wait_for_half_open: true, ..each_second(1) };
        let builder = Policy::builder("p").retry(retry).budget(budget(0.0, 1)).breaker(&breaker).bulkhead(&bulkhead);
        let policy = builder.clock(&clock).build().unwrap();
        // Opens while the call is queued, so that it holds a slot when it is told to wait.
        let other = breaker.clone();
        tokio::spawn(async move {
            sleep(ms(500)).await;
            other.call(|_| async { Err::<(), _>("down") }).await.unwrap_err();
        });
        (policy, breaker, bulkhead)
    };
    let call = |(policy, ..): &(Policy, CircuitBreaker, Bulkhead)| -> Call {
        let policy = policy.clone();
        Box::pin(async move { policy.call(|_| async { Ok::<_, ()>(sleep(s(1)).await) }).await.unwrap() })
    };
    let check = async |(policy, breaker, bulkhead): (Policy, CircuitBreaker, Bulkhead), context: &str| {
        sleep(s(10)).await;
        assert_eq!(breaker.stats().half_open_calls, 0, "{context}");
        let again = policy.call(|_| async { Ok::<_, ()>(()) }).await;
        assert!(again.is_ok(), "{context}: {again:?}");
        assert_free(&bulkhead, 1, context).await;
    };
    assert_eq!(drop_everywhere(world, call, check), 3, "the queue, the wait, the probe");
}

#[test]
fn case_54_a_chain_of_fallbacks_is_gone_with_the_call() {
    type World = (Bulkhead, Bulkhead, Arc<AtomicU32>);
    let world = async || {
        let clock = Clock::tokio();
        let bulkhead = |name| Bulkhead::with_clock(name, slots(1, 0), &clock).unwrap();
        (bulkhead("first"), bulkhead("second"), Arc::default())
    };
    let call = |(first, second, house): &World| -> Call {
        let (first, second, house) = (first.clone(), second.clone(), house.clone());
        Box::pin(async move {
            let fails = |guest: Guest| async move {
                guest.stays().await;
                Err::<(), _>("down")
            };
            let last = |_: stormproof::Cx<'_>| {
                let guest = Guest::of(&house);
                async { Ok(guest.stays().await) }
            };
            let call = first.call(|_| fails(Guest::of(&house))).fallback_with(|_| fails(Guest::of(&house)));
            call.fallback_to(|_| second.call(last)).await.unwrap();
        })
    };
    let check = async |(first, second, house): World, context: &str| {
        assert_eq!(house.load(Ordering::Relaxed), 0, "{context}");
        assert_free(&first, 1, context).await;
        assert_free(&second, 1, context).await;
    };
    assert_eq!(drop_everywhere(world, call, check), 3, "the call, the first fallback, the second");
}

#[test]
fn case_54_health_checks_are_gone_and_leave_the_next_their_turn() {
    type World = (HealthChecker, Arc<AtomicU32>);
    let world = async || {
        let checker = HealthChecker::with_clock("health", Checks::default(), &Clock::tokio()).unwrap();
        let house = Arc::<AtomicU32>::default();
        for (name, timeout) in [("quick", s(9)), ("slow", ms(500))] {
            let counted = house.clone();
            let check = move || {
                let guest = Guest::of(&counted);
                async {
                    guest.stays().await;
                    Status::Healthy
                }
            };
            checker.register_with(name, Registration { timeout: Some(timeout), ..Default::default() }, check).unwrap();
        }
        (checker, house)
    };
    let call = |(checker, _): &World| -> Call {
        let checker = checker.clone();
        Box::pin(async move { drop(checker.check_all().await) })
    };
    let check = async |(checker, house): World, context: &str| {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert_eq!(house.load(Ordering::Relaxed), 0, "{context}");
        let found = checker.check_all().await;
        let found = ["quick", "slow"].map(|name| found[name].status);
        assert_eq!(found, [Status::Healthy, Status::Unhealthy], "{context}");
    };
    assert!(drop_everywhere(world, call, check) >= 2, "a check, another one that is late");
}

/// A queue with one place, and a worker that takes a second for each item.
async fn working() -> WorkQueue<u32> {
    let config = queue::Config { queue_capacity: 1, put_timeout: s(9), ..Default::default() };
    let queue = WorkQueue::with_clock("q", config, &Clock::tokio()).unwrap();
    queue.start_workers(1, |_| async { Ok::<_, ()>(sleep(s(1)).await) }, |_| ()).unwrap();
    queue.put(1).await.unwrap();
    tokio::task::yield_now().await;
    queue.put(2).await.unwrap();
    queue
}

/// All items are accounted for, and there is one place.
async fn assert_works(queue: WorkQueue<u32>, context: &str) {
    queue.join().await;
    let stats = queue.stats();
    assert_eq!((stats.enqueued, stats.queued, stats.in_flight), (stats.processed, 0, 0), "{context}");
    queue.try_put(7).unwrap();
    assert!(queue.try_put(8).unwrap_err().is_full(), "{context}");
    let stopped = queue.stop(Duration::MAX).await;
    assert_eq!((stopped.left, stopped.cancelled), (Vec::new(), 0), "{context}");
}

#[test]
fn case_54_a_producer_and_one_who_waits_for_the_queue_leave_no_trace() {
    let put = |queue: &WorkQueue<u32>| -> Call {
        let queue = queue.clone();
        Box::pin(async move { queue.put(3).await.unwrap() })
    };
    assert_eq!(drop_everywhere(working, put, assert_works), 1, "a place");
    let put_patiently = |queue: &WorkQueue<u32>| -> Call {
        let queue = queue.clone();
        Box::pin(async move { queue.put_patiently(3).await.unwrap() })
    };
    assert_eq!(drop_everywhere(working, put_patiently, assert_works), 1, "a place");
    let join = |queue: &WorkQueue<u32>| -> Call {
        let queue = queue.clone();
        Box::pin(async move { queue.join().await })
    };
    assert_eq!(drop_everywhere(working, join, assert_works), 1, "the last item");
}

#[test]
fn case_54_a_stop_that_is_dropped_is_taken_up_by_the_next() {
    let check = async |queue: WorkQueue<u32>, context: &str| {
        let stopped = queue.stop(Duration::MAX).await;
        let stats = queue.stats();
        assert_eq!((stats.state, stats.in_flight, stats.queued), (State::Stopped, 0, 0), "{context}");
        // What the one that is over has told of, it has told of.
        let told = stats.processed + stats.cancelled + stopped.left.len() as u64;
        assert!(told == 2 || (stats.cancelled == 1 && told == 1), "{context}: {stats:?}, {stopped:?}");
    };
    for timeout in [Duration::ZERO, ms(1_500), Duration::MAX] {
        let stop = |queue: &WorkQueue<u32>| -> Call {
            let queue = queue.clone();
            Box::pin(async move { drop(queue.stop(timeout).await) })
        };
        assert!(drop_everywhere(working, stop, check) >= 1, "the workers");
    }
}

#[test]
fn case_54_an_executor_ends_its_tasks_with_their_caller() {
    type World = (Executor, Arc<AtomicU32>);
    let world = async || {
        let executor = Executor::with_bulkhead(&busy(slots(1, 9), &Clock::tokio()).await);
        (executor, Arc::<AtomicU32>::default())
    };
    let check = async |(executor, house): World, context: &str| {
        sleep(ms(1)).await;
        assert_eq!(house.load(Ordering::Relaxed), 0, "{context}");
        assert_free(executor.bulkhead(), 1, context).await;
        assert_eq!(executor.shutdown(Duration::ZERO).await, 0, "{context}");
    };
    let execute = |(executor, house): &World| -> Call {
        let (executor, house) = (executor.clone(), house.clone());
        Box::pin(async move { executor.execute(Guest::of(&house).stays()).await.unwrap() })
    };
    assert_eq!(drop_everywhere(world, execute, check), 2, "a slot, the task");
    let map = |(executor, house): &World| -> Call {
        let (executor, house) = (executor.clone(), house.clone());
        Box::pin(async move { drop(executor.map(0..2, move |_| Guest::of(&house).stays()).await) })
    };
    assert!(drop_everywhere(world, map, check) >= 3, "a slot, another slot, the last task");
}

#[test]
fn case_54_a_shutdown_that_is_dropped_is_taken_up_by_the_next() {
    type World = (Executor, tokio::task::JoinHandle<()>);
    let world = async || {
        let executor = Executor::with_clock(1, &Clock::tokio()).unwrap();
        let other = executor.clone();
        let task = tokio::spawn(async move { drop(other.execute(sleep(s(1))).await) });
        tokio::task::yield_now().await;
        (executor, task)
    };
    let check = async |(executor, task): World, context: &str| {
        executor.shutdown(Duration::ZERO).await;
        assert_eq!(executor.bulkhead().stats().active, 0, "{context}");
        task.await.unwrap();
        assert_eq!(executor.execute(async {}).await, Err(stormproof::executor::TaskError::ShutDown), "{context}");
    };
    for timeout in [Duration::ZERO, Duration::MAX] {
        let shutdown = |(executor, _): &World| -> Call {
            let executor = executor.clone();
            Box::pin(async move { _ = executor.shutdown(timeout).await })
        };
        assert!(drop_everywhere(world, shutdown, check) >= 1, "the task");
    }
}

#[test]
fn case_54_a_key_is_free_again_when_its_caller_is_gone() {
    let world = async || {
        let limits = Limits { max_keys: 1, idle: Duration::ZERO };
        let keyed: Keyed<Bulkhead> = Keyed::with_clock("k", slots(1, 1), limits, &Clock::tokio()).unwrap();
        let taken = keyed.get("one").acquire().await.unwrap();
        tokio::spawn(async move {
            sleep(s(1)).await;
            drop(taken);
        });
        keyed
    };
    let call = |keyed: &Keyed<Bulkhead>| -> Call {
        let bulkhead = keyed.get("one");
        Box::pin(async move { bulkhead.call(|_| async { Ok::<_, ()>(sleep(s(1)).await) }).await.unwrap() })
    };
    let check = async |keyed: Keyed<Bulkhead>, context: &str| {
        if let Some(bulkhead) = keyed.peek("one") {
            assert_free(&bulkhead, 1, context).await;
        }
        sleep(s(2)).await;
        let other = keyed.get("two");
        assert_eq!((other.name().as_str(), keyed.len()), ("k/two", 1), "{context}: the key that nobody uses gave way");
    };
    assert_eq!(drop_everywhere(world, call, check), 2, "the queue, the call");
}
