//! What is ready at once, again and again, lets the other tasks of its thread run.
#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stormproof::{Executor, Retry, WorkQueue, queue};

const MANY: u32 = 20_000;

/// Runs `busy`, which counts what it does. How much it had done when another task of the thread first ran.
async fn done_before_another_task(done: &Arc<AtomicU32>, busy: impl Future) -> u32 {
    let counter = done.clone();
    let other = tokio::spawn(async move { counter.load(Ordering::Relaxed) });
    busy.await;
    other.await.unwrap()
}

fn count(done: &AtomicU32) -> u32 {
    done.fetch_add(1, Ordering::Relaxed) + 1
}

#[tokio::test]
async fn retries_without_a_wait() {
    let policy = Retry::constant(Duration::ZERO).max_retries(MANY).build("p").unwrap();
    let done = Arc::new(AtomicU32::new(0));
    let call = policy.call(|_| std::future::ready(if count(&done) < MANY { Err("again") } else { Ok(()) }));
    let before = done_before_another_task(&done, call.into_future()).await;
    assert!(before < 1_000, "{before}");
}

#[tokio::test]
async fn lent_retries_without_a_wait() {
    let policy = Retry::constant(Duration::ZERO).max_retries(MANY).build("p").unwrap();
    let done = Arc::new(AtomicU32::new(0));
    let call = policy.call_lent(async |_| if count(&done) < MANY { Err("again") } else { Ok(()) });
    let before = done_before_another_task(&done, call.run()).await;
    assert!(before < 1_000, "{before}");
}

#[tokio::test]
async fn a_worker_whose_work_never_waits_and_brings_more_work() {
    let queue = WorkQueue::new("q", queue::Config::default()).unwrap();
    let done = Arc::new(AtomicU32::new(0));
    let (again, counter) = (queue.clone(), done.clone());
    let work = move |()| {
        if count(&counter) < MANY {
            again.try_put(()).unwrap();
        }
        std::future::ready(Ok::<_, ()>(()))
    };
    queue.start_workers(1, work, |_| ()).unwrap();
    queue.put(()).await.unwrap();
    // The worker runs before the other task.
    let before = done_before_another_task(&done, queue.join()).await;
    assert_eq!(done.load(Ordering::Relaxed), MANY);
    assert!(before < 1_000, "{before}");
}

#[tokio::test]
async fn a_producer_that_always_finds_a_place() {
    let queue = WorkQueue::new("q", queue::Config { queue_capacity: MANY, ..Default::default() }).unwrap();
    queue.start().unwrap();
    let done = Arc::new(AtomicU32::new(0));
    let produce = async {
        while count(&done) < MANY {
            queue.put(()).await.unwrap();
        }
    };
    let before = done_before_another_task(&done, produce).await;
    assert!(before < 1_000, "{before}");
}

#[tokio::test]
async fn an_executor_with_a_slot_for_each_task() {
    let executor = Executor::new(MANY).unwrap();
    let done = Arc::new(AtomicU32::new(0));
    let counter = done.clone();
    let items = (0..MANY).inspect(move |_| _ = count(&counter));
    let before = done_before_another_task(&done, executor.map(items, std::future::ready)).await;
    assert!(before < 1_000, "{before}");
}
