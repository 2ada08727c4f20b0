//! T83: what is opened is closed once, tasks keep their order, and nothing is retained.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stormproof::executor::TaskError;
use stormproof::{Bulkhead, Clock, Executor, Reason, Resource};

use crate::given::{ms, s, slots};

/// A resource, how often it was closed, and a mark that lives as long as it does.
fn resource() -> (Resource<Arc<()>>, Arc<AtomicU32>, Arc<()>) {
    let (closed, mark) = (Arc::new(AtomicU32::new(0)), Arc::new(()));
    let count = closed.clone();
    let close = |mark: Arc<()>| async move {
        tokio::time::sleep(ms(10)).await;
        count.fetch_add(1, Ordering::Relaxed);
        drop(mark);
        Ok::<_, &str>(())
    };
    (Resource::new(mark.clone(), close), closed, mark)
}

fn count(closed: &AtomicU32) -> u32 {
    closed.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn t_83_a_scope_closes_once_on_success_on_an_error_and_on_a_panic() {
    for result in [Ok(1), Err("no")] {
        let (resource, closed, mark) = resource();
        let (done, closing) = resource.scope(|_lease| async move { result }).await.unwrap();
        assert_eq!((done, closing, count(&closed)), (result, Ok(()), 1));
        assert_eq!(Arc::strong_count(&mark), 1, "nothing is kept");
    }
    let (resource, closed, mark) = resource();
    let task = tokio::spawn(resource.scope(|_lease| async { panic!("inside") as () }));
    let panic = task.await.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"inside"), "it goes on, unchanged");
    assert_eq!((count(&closed), Arc::strong_count(&mark)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn t_83_what_nobody_waits_for_any_more_is_closed_too() {
    let (resource, closed, mark) = resource();
    let kept = resource.clone();
    assert!(
        tokio::time::timeout(
            ms(5),
            resource.scope(|lease| async move {
                let _lease = lease;
                pending::<()>().await;
            })
        )
        .await
        .is_err()
    );
    assert_eq!(count(&closed), 0, "somebody still holds it");
    drop(kept);
    tokio::time::sleep(ms(20)).await;
    assert_eq!((count(&closed), Arc::strong_count(&mark)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn t_83_a_scope_that_nobody_waits_for_closes_what_others_still_know() {
    let (resource, closed, mark) = resource();
    let other = resource.clone();
    let scope = resource.scope(|_lease| pending::<()>());
    assert!(tokio::time::timeout(ms(1), scope).await.is_err());
    tokio::time::sleep(ms(20)).await;
    assert_eq!((count(&closed), Arc::strong_count(&mark)), (1, 1));
    assert!(other.lease().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn t_83_ten_users_at_once_close_it_once_after_the_last_has_given_it_back() {
    let (resource, closed, mark) = resource();
    let users: Vec<_> = (0..10)
        .map(|n| {
            let (resource, closed) = (resource.clone(), closed.clone());
            tokio::spawn(async move {
                let lease = resource.lease().await.unwrap();
                tokio::time::sleep(ms(n + 1)).await;
                assert_eq!(count(&closed), 0, "in use");
                drop(lease);
                resource.close().await.unwrap();
                assert_eq!(count(&closed), 1, "closed when anybody's close is over");
            })
        })
        .collect();
    for user in users {
        user.await.unwrap();
    }
    assert!(resource.lease().await.is_err());
    assert!(resource.clone().scope(|_| async {}).await.is_err());
    drop(resource);
    tokio::time::sleep(s(1)).await;
    assert_eq!((count(&closed), Arc::strong_count(&mark)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn t_83_a_failure_to_close_is_told_beside_the_result() {
    let failing = Resource::new((), |()| async { Err("still busy") });
    let (value, closing) = failing.scope(|_| async { 7 }).await.unwrap();
    assert_eq!((value, closing.unwrap_err().to_string().as_str()), (7, "closing failed: still busy"));
    let panicking = Resource::new((), |()| async { panic!("odd") as Result<(), &str> });
    assert_eq!(&*panicking.close().await.unwrap_err().message, "odd");
    assert_eq!(panicking.close().await, Ok(()), "it is gone all the same");
}

#[tokio::test(start_paused = true)]
async fn t_83_a_map_keeps_the_order_and_the_limit() {
    let clock = Clock::tokio();
    let executor = Executor::with_clock(3, &clock).unwrap();
    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (now, peak) = (running.clone(), most.clone());
    let results = executor
        .map(0..10_u32, move |n| {
            let (now, peak) = (now.clone(), peak.clone());
            async move {
                peak.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                tokio::time::sleep(ms(100 - u64::from(n) * 10)).await;
                now.fetch_sub(1, Ordering::Relaxed);
                assert!(n != 4, "four is bad");
                n * n
            }
        })
        .await;
    let expected = (0..10).map(|n| if n == 4 { Err(TaskError::Panicked("four is bad".into())) } else { Ok(n * n) });
    assert_eq!(results, expected.collect::<Vec<_>>());
    assert_eq!((most.load(Ordering::Relaxed), executor.bulkhead().stats().active), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn t_83_a_shutdown_waits_then_cancels_and_nothing_begins_any_more() {
    let clock = Clock::tokio();
    let (executor, mark) = (Executor::with_clock(2, &clock).unwrap(), Arc::new(()));
    let (mapping, kept) = (executor.clone(), mark.clone());
    let map = tokio::spawn(async move {
        let task = move |n: u32| {
            let _kept = kept.clone();
            async move {
                if n == 1 {
                    pending::<()>().await;
                } else {
                    tokio::time::sleep(s(1)).await;
                }
                n
            }
        };
        mapping.map(0..5, task).await
    });
    tokio::time::sleep(ms(1)).await;
    assert_eq!(executor.shutdown(s(5)).await, 1);
    assert_eq!(clock.now(), stormproof::Instant::ZERO + s(5) + ms(1));
    let shut = || Err(TaskError::ShutDown);
    assert_eq!(map.await.unwrap(), [Ok(0), Err(TaskError::Cancelled), shut(), shut(), shut()]);
    assert_eq!(executor.execute(async { 0 }).await, shut());
    assert_eq!((executor.shutdown(s(5)).await, executor.bulkhead().stats().active), (0, 0));
    assert_eq!(Arc::strong_count(&mark), 1, "nothing is kept");
}

#[tokio::test(start_paused = true)]
async fn t_83_a_shutdown_in_time_cancels_nothing() {
    let clock = Clock::tokio();
    let executor = Executor::with_clock(2, &clock).unwrap();
    let (running, shutdown) = (executor.execute(tokio::time::sleep(s(1))), executor.shutdown(s(5)));
    let (result, cancelled) = tokio::join!(running, shutdown);
    assert_eq!((result, cancelled, clock.now()), (Ok(()), 0, stormproof::Instant::ZERO + s(1)));
}

#[tokio::test(start_paused = true)]
async fn t_83_a_task_whose_caller_goes_away_is_cancelled() {
    let executor = Executor::with_clock(1, &Clock::tokio()).unwrap();
    let mark = Arc::new(());
    let kept = mark.clone();
    let task = executor.execute(async move {
        pending::<()>().await;
        drop(kept);
    });
    assert!(tokio::time::timeout(ms(10), task).await.is_err());
    assert_eq!(executor.execute(async { 1 }).await, Ok(1), "the slot is free again");
    assert_eq!((Arc::strong_count(&mark), executor.shutdown(Duration::ZERO).await), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn t_83_in_a_shared_bulkhead_its_limits_hold() {
    let bulkhead = Bulkhead::with_clock("shared", slots(1, 0), &Clock::tokio()).unwrap();
    let executor = Executor::with_bulkhead(&bulkhead);
    let slot = bulkhead.acquire().await.unwrap();
    let refused = executor.execute(async {}).await.unwrap_err();
    assert!(matches!(refused, TaskError::Refused(refused) if refused.reason == Reason::QueueFull));
    drop(slot);
    assert_eq!(executor.execute(async { 1 }).await, Ok(1));

    assert!(Executor::new(0).is_err());
}

/// Fails if `work` does not come to its end within an hour of virtual time.
async fn ends<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(s(3_600), work).await.expect("it waits for itself")
}

#[tokio::test(start_paused = true)]
async fn a_lease_while_a_close_waits_is_refused_and_not_waited_for() {
    let (resource, closed, _mark) = resource();
    let first = resource.lease().await.unwrap();
    let waits_for_it = tokio::spawn({
        let resource = resource.clone();
        async move { resource.close().await }
    });
    tokio::time::sleep(ms(1)).await;
    assert!(ends(resource.lease()).await.is_err());
    assert!(ends(resource.clone().scope(|_| async {})).await.is_err());
    drop(first);
    assert_eq!((ends(waits_for_it).await.unwrap(), count(&closed)), (Ok(()), 1));

    let (resource, closed, _mark) = self::resource();
    let first = resource.lease().await.unwrap();
    assert!(tokio::time::timeout(ms(1), resource.close()).await.is_err(), "asked for, and given up");
    assert!(resource.lease().await.is_err());
    drop(first);
    assert_eq!((ends(resource.close()).await, count(&closed)), (Ok(()), 1));
}

#[tokio::test(start_paused = true)]
async fn a_close_inside_a_scope_or_a_close_does_not_wait_for_itself() {
    let (resource, closed, _mark) = resource();
    let same = resource.clone();
    let scope = resource.scope(|_lease| async move {
        same.close().await.unwrap();
        assert!(same.lease().await.is_err(), "from now on");
    });
    assert_eq!((ends(scope).await.unwrap(), count(&closed)), (((), Ok(())), 1));

    let slot = Arc::new(std::sync::OnceLock::<Resource<()>>::new());
    let same = slot.clone();
    let resource = Resource::new((), |()| async move {
        same.get().unwrap().close().await.unwrap();
        assert!(same.get().unwrap().lease().await.is_err());
        Ok::<_, &str>(())
    });
    slot.set(resource.clone()).unwrap();
    assert_eq!(ends(resource.close()).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_gives_its_executor_tasks_runs_them_in_place_at_capacity() {
    for slots in [1, 2] {
        let executor = Executor::with_clock(slots, &Clock::tokio()).unwrap();
        let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let leaf = {
            let (running, most) = (running.clone(), most.clone());
            move |n: u32| {
                let (running, most) = (running.clone(), most.clone());
                async move {
                    most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    tokio::time::sleep(ms(10)).await;
                    running.fetch_sub(1, Ordering::Relaxed);
                    assert_ne!(n, 3, "three is bad");
                    n
                }
            }
        };
        let inner = executor.clone();
        let outer = executor.map(0..4_u32, move |n| {
            let (inner, leaf) = (inner.clone(), leaf.clone());
            async move {
                let deep = inner.clone();
                let one = inner.execute(async move { deep.execute(async move { n }).await }).await;
                (one, inner.map(0..5_u32, leaf).await)
            }
        });
        for (n, result) in (0..).zip(Box::pin(ends(outer)).await) {
            let (one, five) = result.unwrap();
            assert_eq!(one, Ok(Ok(n)));
            let expected = (0..5).map(|n| if n == 3 { Err(TaskError::Panicked("assertion".into())) } else { Ok(n) });
            for (found, expected) in five.into_iter().zip(expected) {
                assert_eq!(found.is_ok(), expected.is_ok(), "{found:?}");
                assert_eq!(found.ok(), expected.ok());
            }
        }
        assert!(most.load(Ordering::Relaxed) <= slots, "no more than slots at a time");
        assert_eq!(executor.bulkhead().stats().active, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn executors_that_share_a_bulkhead_run_each_others_tasks_in_place() {
    let shared = Bulkhead::with_clock("shared", slots(1, 10), &Clock::tokio()).unwrap();
    let (outer, inner) = (Executor::with_bulkhead(&shared), Executor::with_bulkhead(&shared));
    let began = tokio::time::Instant::now();
    let nested = outer.execute(async move { inner.execute(async { 7 }).await });
    assert_eq!((Box::pin(ends(nested)).await, began.elapsed()), (Ok(Ok(7)), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_shuts_its_executor_down_ends_by_itself() {
    let executor = Executor::with_clock(1, &Clock::tokio()).unwrap();
    let same = executor.clone();
    let task = executor.execute(async move {
        let cancelled = same.shutdown(Duration::MAX).await;
        (cancelled, same.execute(async {}).await)
    });
    assert_eq!(Box::pin(ends(task)).await, Ok((0, Err(TaskError::ShutDown))));
    assert_eq!(ends(executor.shutdown(Duration::MAX)).await, 0);
}
