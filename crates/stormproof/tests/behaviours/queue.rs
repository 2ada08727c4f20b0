//! T74: the work queue.

use std::future::{pending, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stormproof::queue::{Config, PutError, State, WorkError};
use stormproof::{Clock, WorkQueue};

use crate::given::{ms, s};

fn queue<T: Send + 'static>(queue_capacity: u32) -> WorkQueue<T> {
    WorkQueue::with_clock("q", Config { queue_capacity, ..Default::default() }, &Clock::tokio()).unwrap()
}

type Log<T> = Arc<Mutex<Vec<T>>>;

/// Notes what it worked on, a second for each.
fn noting(
    log: &Log<u32>,
) -> impl Fn(u32) -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + use<> {
    let log = log.clone();
    move |item| {
        let log = log.clone();
        Box::pin(async move {
            tokio::time::sleep(s(1)).await;
            log.lock().unwrap().push(item);
            if item % 10 == 3 { Err(format!("{item} is bad")) } else { Ok(()) }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn t_74_a_full_queue_holds_back_and_counts_it() {
    let (queue, began) = (queue(1), tokio::time::Instant::now());
    queue.start().unwrap();
    queue.put(1).await.unwrap();
    let refused = queue.put(2).await.unwrap_err();
    assert_eq!(began.elapsed(), ms(100));
    assert!(refused.is_full());
    assert_eq!(refused.to_string(), "the queue is full (1 items wait)");
    assert_eq!(refused.into_item(), 2, "nothing is lost");
    assert!(queue.try_put(2).unwrap_err().is_full());
    let stats = queue.stats();
    assert_eq!((stats.enqueued, stats.queued, stats.backpressure_events), (1, 1, 2));
    assert_eq!(queue.snapshot().get("backpressure_events", ""), Some(2.0));
}

#[tokio::test(start_paused = true)]
async fn t_74_a_producer_that_waits_gets_the_first_place_that_comes_free() {
    let (queue, log) = (queue(1), Log::default());
    queue.start().unwrap();
    queue.put(1).await.unwrap();
    let (waiting, work) = (queue.clone(), noting(&log));
    let producer = tokio::spawn(async move { waiting.put_patiently(2).await });
    tokio::time::sleep(s(5)).await;
    queue.start_workers(1, work, |_| {}).unwrap();
    producer.await.unwrap().unwrap();
    queue.join().await;
    assert_eq!(*log.lock().unwrap(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn t_74_the_wrong_state_is_named_with_what_is_allowed() {
    let queue = queue(9);
    assert_eq!(queue.state(), State::Idle);
    let error = queue.put(1).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot put when the queue is idle, allowed is processing");
    queue.start_workers(1, |_| ready(Ok::<(), ()>(())), |_| {}).unwrap();
    queue.put(1).await.unwrap();
    assert_eq!(queue.state(), State::Processing);
    let stopped = queue.stop(s(1)).await;
    assert_eq!((stopped.left, stopped.cancelled, queue.state()), (vec![], 0, State::Stopped));
    let PutError::State { item: 7, error } = queue.put(7).await.unwrap_err() else { panic!() };
    assert_eq!(error.to_string(), "cannot put when the queue is stopped, allowed is processing");
    assert_eq!((error.state, queue.start().unwrap_err().operation), (State::Stopped, "start"));
    assert!(queue.start_workers(1, |_| ready(Ok::<(), ()>(())), |_| {}).is_err());
    assert!(queue.stop(s(1)).await.left.is_empty(), "stopping again says nothing new");
}

#[tokio::test(start_paused = true)]
async fn t_74_errors_and_panics_count_as_processed_and_a_handler_that_fails_is_survived() {
    let (queue, errors) = (queue(9), Log::default());
    let told = errors.clone();
    let work = |n: u32| async move {
        match n {
            0 => panic!("no {n}"),
            1 => Err("one"),
            _ => Ok(()),
        }
    };
    let handler = move |error: WorkError<&str>| {
        told.lock().unwrap().push(error.to_string());
        panic!("the handler fails, too");
    };
    queue.start_workers(1, work, handler).unwrap();
    for n in 0..4 {
        queue.put(n).await.unwrap();
    }
    queue.join().await;
    let stats = queue.stats();
    assert_eq!((stats.processed, stats.errors, stats.in_flight, stats.queued), (4, 2, 0, 0));
    assert_eq!(*errors.lock().unwrap(), ["the work panicked: no 0", "one"]);
}

#[tokio::test(start_paused = true)]
async fn t_74_workers_share_the_work_and_a_stop_in_time_finishes_it() {
    let (queue, log, began) = (queue(9), Log::default(), tokio::time::Instant::now());
    queue.start_workers(2, noting(&log), |_| {}).unwrap();
    for n in 0..4 {
        queue.put(n).await.unwrap();
    }
    let stopped = queue.stop(s(60)).await;
    assert_eq!((stopped.left, stopped.cancelled, began.elapsed()), (vec![], 0, s(2)));
    assert_eq!(log.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn t_74_a_stop_past_its_time_cancels_and_says_what_was_left() {
    let (queue, log, began) = (queue(1), Log::default(), tokio::time::Instant::now());
    let work = noting(&log);
    let slow = move |n| {
        let work = work(n);
        async move { if n == 2 { pending().await } else { work.await } }
    };
    queue.start_workers(1, slow, |_| {}).unwrap();
    for n in 1..=3 {
        queue.put_patiently(n).await.unwrap();
    }
    let producer = tokio::spawn({
        let queue = queue.clone();
        async move { queue.put_patiently(4).await }
    });
    tokio::time::sleep(ms(1)).await;
    let (stopped, again) = tokio::join!(queue.stop(s(5)), queue.stop(Duration::MAX));
    assert_eq!((stopped.left, stopped.cancelled), (vec![3], 1));
    assert_eq!((again.left, again.cancelled), (vec![], 0));
    assert_eq!(began.elapsed(), s(6) + ms(1), "a second of work for the first item");
    assert_eq!(producer.await.unwrap().unwrap_err().into_item(), 4, "who waited for a place gets it back");
    assert_eq!(*log.lock().unwrap(), [1]);
    let stats = queue.stats();
    assert_eq!((stats.enqueued, stats.processed, stats.cancelled, stats.in_flight), (3, 1, 1, 0));
    queue.join().await;
}

#[tokio::test(start_paused = true)]
async fn t_74_who_waits_for_the_work_hears_that_there_is_nobody_to_do_it() {
    let queue = queue(9);
    queue.start().unwrap();
    queue.put(1).await.unwrap();
    let waiting = queue.clone();
    let join = tokio::spawn(async move { waiting.join().await });
    tokio::time::sleep(ms(1)).await;
    assert!(!join.is_finished());
    assert_eq!(queue.stop(s(5)).await.left, [1]);
    tokio::time::timeout(s(1), join).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn t_74_a_stop_that_is_given_up_leaves_the_workers_at_it() {
    let (queue, log) = (queue(9), Log::default());
    queue.start_workers(1, noting(&log), |_| {}).unwrap();
    for n in 0..2 {
        queue.put(n).await.unwrap();
    }
    assert!(tokio::time::timeout(ms(10), queue.stop(s(60))).await.is_err());
    assert_eq!(queue.state(), State::Stopping);
    let stopped = queue.stop(s(60)).await;
    assert_eq!((stopped.left, stopped.cancelled, log.lock().unwrap().len()), (vec![], 0, 2));
}

#[tokio::test(start_paused = true)]
async fn t_74_a_batch_may_be_larger_than_the_queue() {
    let (queue, log) = (queue(2), Log::default());
    let stats = queue.batch(0..25, noting(&log), |_| {}).await.unwrap();
    assert_eq!((stats.state, stats.processed, stats.errors), (State::Stopped, 25, 3));
    assert_eq!(*log.lock().unwrap(), (0..25).collect::<Vec<_>>(), "one worker keeps the order");
}

#[tokio::test(start_paused = true)]
async fn t_74_a_queue_that_nobody_holds_any_more_cancels_its_workers() {
    let alive = Arc::new(());
    let (queue, kept) = (queue(2), alive.clone());
    queue
        .start_workers(
            1,
            move |()| {
                let () = *kept;
                pending::<Result<(), ()>>()
            },
            |_| {},
        )
        .unwrap();
    queue.put(()).await.unwrap();
    tokio::task::yield_now().await;
    drop(queue);
    tokio::time::sleep(ms(1)).await;
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn t_74_a_configuration_is_checked() {
    let config = Config { queue_capacity: 0, concurrency_limit: Some(0), ..Default::default() };
    assert_eq!(WorkQueue::<()>::new("q", config).unwrap_err().len(), 2);
    assert_eq!((Config::default().queue_capacity, Config::default().put_timeout), (100, ms(100)));
}

#[tokio::test(start_paused = true)]
async fn work_that_uses_its_own_queue_does_not_wait_for_itself() {
    let (queue, log) = (queue::<u32>(2), Log::<(u32, &str)>::default());
    let (same, noted) = (queue.clone(), log.clone());
    let work = move |item: u32| {
        let (same, log) = (same.clone(), noted.clone());
        async move {
            let note = |what| log.lock().unwrap().push((item, what));
            if item == 0 {
                same.put_patiently(1).await.unwrap();
                same.put_patiently(2).await.unwrap();
                let full = same.put_patiently(3).await.unwrap_err();
                note(if full.is_full() { "full" } else { "?" });
                let batch = same.batch([9], |_| ready(Ok::<(), ()>(())), |_| ()).await;
                note(if batch.is_err() { "no batch" } else { "?" });
            }
            same.join().await;
            note("joined");
            if item == 0 {
                let stopped = same.stop(Duration::MAX).await;
                assert!(stopped.left.is_empty());
                note("stopped");
            }
            Ok::<(), ()>(())
        }
    };
    queue.start_workers(3, work, |_| ()).unwrap();
    queue.put_patiently(0).await.unwrap();
    let all = async {
        queue.join().await;
        assert_eq!(queue.stats().processed, 3, "whoever waits outside waits for all of them");
        queue.stop(Duration::MAX).await
    };
    let stopped = tokio::time::timeout(s(3_600), all).await.expect("it waits for itself");
    assert!(stopped.left.is_empty() && stopped.cancelled == 0);
    let mut log = log.lock().unwrap().clone();
    log.sort_unstable();
    assert_eq!(log, [(0, "full"), (0, "joined"), (0, "no batch"), (0, "stopped"), (1, "joined"), (2, "joined")]);
}
