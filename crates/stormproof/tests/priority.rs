//! Who calls, through the doors: nested calls inherit the class, and nothing else of it.
#![cfg(test)]

use std::convert::Infallible;
use std::future::IntoFuture;
use std::time::Duration;

use stormproof::{Bulkhead, Caller, Clock, Flow, Policy, Priority, Reason, bulkhead};

fn slots(max_queue: u32, clock: &Clock) -> Bulkhead {
    let config = bulkhead::Config { max_concurrent: 1, max_queue, ..Default::default() };
    Bulkhead::with_clock("slots", config, clock).unwrap()
}

fn behind(slots: &Bulkhead) -> Policy {
    Policy::builder("inner").bulkhead(slots).build().unwrap()
}

/// A policy without stages that gives its calls a class, or none.
fn outer(priority: Option<Priority>, clock: &Clock) -> Policy {
    let config = stormproof::config::Config { priority, ..Default::default() };
    Policy::builder("outer").config(config).clock(clock).build().unwrap()
}

/// Whether a caller of this class waits.
fn waits(slots: &Bulkhead, class: Priority) -> bool {
    slots.policy().snapshots()[0].get("waiting", class.as_str()).is_some_and(|count| count > 0.0)
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_is_shed_at_once_for_one_of_a_higher_class() {
    let clock = Clock::tokio();
    let slots = slots(1, &clock);
    let policy = behind(&slots);
    let held = policy.admit().await.unwrap();
    let call = |priority| {
        let policy = policy.clone();
        tokio::spawn(async move { policy.call(|_| async { Ok::<_, Infallible>(priority) }).priority(priority).await })
    };

    let low = call(Priority::Low);
    settle().await;
    let high = call(Priority::High);
    settle().await;

    assert!(low.is_finished());
    assert_eq!(low.await.unwrap().unwrap_err().refused().unwrap().reason, Reason::Shed);
    drop(held);
    assert_eq!(high.await.unwrap(), Ok(Priority::High));
    assert_eq!((slots.stats().active, slots.stats().queued, slots.stats().shed), (0, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn nested_calls_inherit_the_class_unless_they_name_one() {
    use Priority::{Critical, High, Low, Normal};
    let clock = Clock::tokio();
    // Of the policy around, of the call through it, of the policy inside, of the call inside: which one counts.
    let cases = [
        (None, None, None, None, Normal),
        (None, Some(High), None, None, High),
        (Some(Low), None, None, None, Low),
        (Some(Low), Some(High), None, None, High),
        (None, None, Some(Low), None, Low),
        (None, Some(High), Some(Low), None, High),
        (Some(High), None, Some(Low), None, High),
        (Some(Low), Some(High), Some(Low), Some(Critical), Critical),
    ];
    for (around, said_around, inside, said, expected) in cases {
        let slots = slots(9, &clock);
        let _held = slots.acquire().await.unwrap();
        let config = stormproof::config::Config { priority: inside, ..Default::default() };
        let inner = Policy::builder("inner").config(config).bulkhead(&slots).build().unwrap();
        let outer = outer(around, &clock);
        let task = tokio::spawn(async move {
            let within = outer.call(|_| async {
                // Not in the first poll alone.
                settle().await;
                let call = inner.call(|_| async { Ok::<_, Infallible>(()) });
                Ok::<_, Infallible>(call.caller(Caller { priority: said, flow: None }).await.is_ok())
            });
            within.caller(Caller { priority: said_around, flow: Some(Flow::of("a")) }).await
        });
        settle().await;
        settle().await;
        assert!(waits(&slots, expected), "{around:?} {said_around:?} {inside:?} {said:?}");
        task.abort();
        let _ = task.await;
        assert_eq!(slots.stats().queued, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_class_of_a_policy_does_not_lower_that_of_the_call_around_it_for_those_within() {
    let clock = Clock::tokio();
    let slots = slots(9, &clock);
    let _held = slots.acquire().await.unwrap();
    let (outermost, outer, inner) = (outer(None, &clock), outer(Some(Priority::Low), &clock), behind(&slots));
    let waiting = outermost
        .call(|_| async { outer.call(|_| async { inner.call(|_| async { Ok::<_, Infallible>(()) }).await }).await })
        .priority(Priority::High);
    let mut waiting = std::pin::pin!(waiting.into_future());
    tokio::select! {
        _ = &mut waiting => unreachable!("nobody gets a slot"),
        () = settle() => assert!(waits(&slots, Priority::High)),
    }
}

#[tokio::test(start_paused = true)]
async fn two_calls_of_one_task_do_not_see_the_class_of_each_other() {
    let clock = Clock::tokio();
    let slots = slots(9, &clock);
    let _held = slots.acquire().await.unwrap();
    let (outer, inner) = (outer(None, &clock), behind(&slots));
    let nested = |priority: Priority| {
        outer
            .call(|_| async {
                settle().await;
                inner.call(|_| async { Ok::<_, Infallible>(()) }).await
            })
            .priority(priority)
    };
    let all = async {
        tokio::join!(nested(Priority::High), nested(Priority::Low), async {
            settle().await;
            inner.admit().await.is_ok()
        })
    };
    let _ = tokio::time::timeout(Duration::from_millis(100), async {
        tokio::pin!(all);
        tokio::select! {
            _ = &mut all => unreachable!("nobody gets a slot"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {
                let seen = [Priority::High, Priority::Normal, Priority::Low].map(|class| waits(&slots, class));
                assert_eq!((seen, slots.stats().queued), ([true; 3], 3));
            }
        }
    })
    .await;
}

#[test]
fn a_thread_inherits_too_and_a_panic_leaves_nothing_behind() {
    let clock = Clock::system();
    let config = bulkhead::Config { max_concurrent: 1, queue_timeout: Duration::from_millis(20), ..Default::default() };
    let slots = Bulkhead::with_clock("slots", config, &clock).unwrap();
    let _held = slots.acquire_sync().unwrap();
    let (outer, inner) = (outer(None, &clock), behind(&slots));
    let seen = |priority| {
        std::thread::scope(|scope| {
            let watched = scope.spawn(|| {
                while slots.stats().queued == 0 {
                    std::thread::yield_now();
                }
                waits(&slots, priority)
            });
            let _ = inner.admit_sync();
            watched.join().unwrap()
        })
    };
    let class = outer.call_sync(|_| Ok::<_, Infallible>(seen(Priority::High))).priority(Priority::High).run().unwrap();
    assert!(class);
    let panics = || {
        let _ = outer
            .call_sync(|_| -> Result<(), Infallible> { panic!("as the test wants") })
            .priority(Priority::Low)
            .run();
    };
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    assert!(seen(Priority::Normal));
}

#[tokio::test(start_paused = true)]
async fn admissions_are_served_by_class_and_flow() {
    let clock = Clock::tokio();
    let slots = slots(9, &clock);
    let policy = behind(&slots);
    let held = policy.admit().await.unwrap();
    let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
    for (number, key) in ["a", "a", "a", "b"].into_iter().enumerate() {
        let (policy, served) = (policy.clone(), served.clone());
        tokio::spawn(async move {
            let slot = policy.admit_as(Caller::from(Flow::of(key))).await.unwrap();
            served.send(number).unwrap();
            drop(slot);
        });
        settle().await;
    }
    drop((held, served));
    let mut all = Vec::new();
    while let Some(number) = order.recv().await {
        all.push(number);
    }
    assert_eq!(all, [0, 3, 1, 2]);
}
