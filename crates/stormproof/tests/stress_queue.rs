//! The work queue, the executor and resources under many threads: every item exactly once, and nothing lost that is not told.
#![cfg(test)]

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use stormproof::executor::TaskError;
use stormproof::queue::{Config, Stopped};
use stormproof::{Executor, Resource, WorkQueue};

const PRODUCERS: u32 = 8;
const EACH: u32 = 2_000;

fn queue() -> WorkQueue<u32> {
    let config = Config { queue_capacity: 7, put_timeout: Duration::from_micros(50), ..Default::default() };
    WorkQueue::new("stress", config).unwrap()
}

/// Keeps the panics that are part of the test out of its output.
fn expect_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref::<&str>() != Some(&"now and then it panics") {
                report(panic);
            }
        }));
    });
}

/// Starts workers, and producers that each put their items until the queue takes none; gives what was not taken.
async fn storm(
    queue: &WorkQueue<u32>,
    seen: &Arc<Mutex<Vec<u32>>>,
    stop_after: Option<Duration>,
) -> (Vec<u32>, Stopped<u32>) {
    let noted = seen.clone();
    let work = move |item: u32| {
        let noted = noted.clone();
        async move {
            if item.is_multiple_of(5) {
                tokio::task::yield_now().await;
            }
            noted.lock().unwrap().push(item);
            assert!(!item.is_multiple_of(97), "now and then it panics");
            if item.is_multiple_of(7) { Err("now and then it fails") } else { Ok(()) }
        }
    };
    queue.start_workers(4, work, |_| {}).unwrap();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let mut refused = Vec::new();
                for item in (0..EACH).map(|n| producer * EACH + n) {
                    let mut put =
                        if item.is_multiple_of(3) { queue.put(item).await } else { queue.put_patiently(item).await };
                    while let Err(error) = put {
                        if !error.is_full() {
                            refused.push(error.into_item());
                            break;
                        }
                        put = queue.put(error.into_item()).await;
                    }
                }
                refused
            })
        })
        .collect();
    let stopped = match stop_after {
        Some(wait) => {
            tokio::time::sleep(wait).await;
            Some(queue.stop(Duration::ZERO).await)
        }
        None => None,
    };
    let mut refused = Vec::new();
    for producer in producers {
        refused.extend(producer.await.unwrap());
    }
    let stopped = match stopped {
        Some(stopped) => stopped,
        None => queue.stop(Duration::from_secs(60)).await,
    };
    (refused, stopped)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_producers_and_workers_do_each_item_exactly_once() {
    expect_panics();
    let (queue, seen) = (queue(), Arc::default());
    let (refused, stopped) = storm(&queue, &seen, None).await;
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_unstable();
    assert_eq!(seen, (0..PRODUCERS * EACH).collect::<Vec<_>>());
    assert_eq!((refused.len(), stopped.left.len(), stopped.cancelled), (0, 0, 0));
    let stats = queue.stats();
    assert_eq!((stats.enqueued, stats.processed, stats.in_flight), (16_000, 16_000, 0));
    let bad = (0..PRODUCERS * EACH).filter(|item| item.is_multiple_of(97) || item.is_multiple_of(7)).count();
    assert_eq!(stats.errors, bad as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_in_the_middle_loses_nothing_that_it_does_not_tell_of() {
    expect_panics();
    for round in 0..40 {
        let (queue, seen) = (queue(), Arc::default());
        let (refused, stopped) = storm(&queue, &seen, Some(Duration::from_micros(50 * round))).await;
        let seen = seen.lock().unwrap().clone();
        let done: HashSet<_> = seen.iter().copied().collect();
        assert_eq!(done.len(), seen.len(), "nothing twice");
        let told: HashSet<_> = refused.iter().chain(&stopped.left).copied().collect();
        assert!(done.is_disjoint(&told), "nothing both done and given back");
        let missing = (PRODUCERS * EACH) as usize - done.len() - told.len();
        assert!(missing as u64 <= stopped.cancelled, "{missing} missing, {} cancelled", stopped.cancelled);
        let stats = queue.stats();
        assert_eq!(stats.enqueued, stats.processed + stats.cancelled + stopped.left.len() as u64);
        assert_eq!(stats.in_flight, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_maps_share_an_executor_within_its_limit() {
    let executor = Executor::new(3).unwrap();
    let running = Arc::new(AtomicU32::new(0));
    let maps: Vec<_> = (0..8_u32)
        .map(|map| {
            let (executor, running) = (executor.clone(), running.clone());
            tokio::spawn(async move {
                let work = move |n: u32| {
                    let running = running.clone();
                    async move {
                        assert!(running.fetch_add(1, Ordering::SeqCst) < 3, "never more than three");
                        tokio::task::yield_now().await;
                        running.fetch_sub(1, Ordering::SeqCst);
                        map * 1_000 + n
                    }
                };
                executor.map(0..500, work).await
            })
        })
        .collect();
    for (map, results) in (0..8_u32).zip(maps) {
        let expected: Vec<_> = (0..500).map(|n| Ok(map * 1_000 + n)).collect();
        assert_eq!(results.await.unwrap(), expected);
    }
    assert_eq!((executor.bulkhead().stats().active, executor.bulkhead().stats().queued), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shutdown_in_the_middle_ends_with_nothing_under_way() {
    for round in 0..40 {
        let executor = Executor::new(3).unwrap();
        let map = tokio::spawn({
            let executor = executor.clone();
            async move {
                executor
                    .map(0..2_000_u32, |n| async move {
                        tokio::task::yield_now().await;
                        n
                    })
                    .await
            }
        });
        tokio::time::sleep(Duration::from_micros(50 * round)).await;
        let cancelled = executor.shutdown(Duration::ZERO).await;
        assert_eq!(executor.bulkhead().stats().active, 0, "nothing runs when it is over");
        let results = map.await.unwrap();
        assert_eq!(results.len(), 2_000);
        for (n, result) in (0..).zip(&results) {
            assert!(result.as_ref().map_or_else(|e| *e != TaskError::Cancelled || cancelled > 0, |got| *got == n));
        }
        let told = results.iter().filter(|result| **result == Err(TaskError::Cancelled)).count();
        assert_eq!(told as u64, cancelled);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_users_of_a_resource_close_it_once_and_never_while_it_is_used() {
    for _ in 0..200 {
        let (users, closed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (using, count) = (users.clone(), closed.clone());
        let resource = Resource::new((), move |()| async move {
            assert_eq!(using.load(Ordering::SeqCst), 0, "still used");
            count.fetch_add(1, Ordering::SeqCst);
            Ok::<_, &str>(())
        });
        let tasks: Vec<_> = (0..10)
            .map(|n| {
                let (resource, users, closed) = (resource.clone(), users.clone(), closed.clone());
                tokio::spawn(async move {
                    if let Ok(lease) = resource.lease().await {
                        users.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        assert_eq!(closed.load(Ordering::SeqCst), 0, "closed while it is used");
                        users.fetch_sub(1, Ordering::SeqCst);
                        drop(lease);
                    }
                    if n % 2 == 0 { resource.close().await } else { Ok(()) }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(closed.load(Ordering::SeqCst), 1);
    }
}
