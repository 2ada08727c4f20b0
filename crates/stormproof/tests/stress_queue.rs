//! The work queue and the executor under many threads: every item exactly once, and nothing lost that is not told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stormproof::WorkQueue;
use stormproof::queue::{Config, Stopped};

const PRODUCERS: u32 = 8;
const EACH: u32 = 2_000;

fn queue() -> WorkQueue<u32> {
    let config = Config { queue_capacity: 7, put_timeout: Duration::from_micros(50), ..Default::default() };
    WorkQueue::new("stress", config).unwrap()
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
            if item % 5 == 0 {
                tokio::task::yield_now().await;
            }
            noted.lock().unwrap().push(item);
            assert!(item % 97 != 0, "now and then it panics");
            if item % 7 == 0 { Err("now and then it fails") } else { Ok(()) }
        }
    };
    queue.start_workers(4, work, |_| {}).unwrap();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let mut refused = Vec::new();
                for item in (0..EACH).map(|n| producer * EACH + n) {
                    let mut put = if item % 3 == 0 { queue.put(item).await } else { queue.put_patiently(item).await };
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
    std::panic::set_hook(Box::new(|_| {}));
    let (queue, seen) = (queue(), Arc::default());
    let (refused, stopped) = storm(&queue, &seen, None).await;
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_unstable();
    assert_eq!(seen, Vec::from_iter(0..PRODUCERS * EACH));
    assert_eq!((refused.len(), stopped.left.len(), stopped.cancelled), (0, 0, 0));
    let stats = queue.stats();
    assert_eq!((stats.enqueued, stats.processed, stats.in_flight), (16_000, 16_000, 0));
    let bad = (0..PRODUCERS * EACH).filter(|item| item % 97 == 0 || item % 7 == 0).count();
    assert_eq!(stats.errors, bad as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_in_the_middle_loses_nothing_that_it_does_not_tell_of() {
    std::panic::set_hook(Box::new(|_| {}));
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
