//! Operations that lend what they have captured to one attempt after the other.
#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stormproof::{Clock, Error, Policy, Retry, Verdict, bulkhead, hedge};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn retrying(name: &str) -> stormproof::Builder {
    Policy::builder(name).clock(&Clock::tokio()).retry(Retry::constant(ms(10)).max_retries(2))
}

#[tokio::test(start_paused = true)]
async fn each_attempt_has_the_state_and_all_can_be_said_of_the_call() {
    let policy = retrying("p").attempt_timeout(ms(50)).build().unwrap();
    let (mut log, mut heard) = (Vec::new(), 0);
    let call = policy
        .call_lent(async |cx| {
            log.push(cx.attempt());
            if cx.attempt() == 1 {
                tokio::time::sleep(ms(500)).await; // runs out of its time
            }
            let sum: u32 = log.iter().sum();
            Ok::<_, &str>(sum)
        })
        .classify_with(|result| match result {
            Ok(3) => Verdict::failure("TooLittle"),
            _ => Verdict::success(),
        })
        .on_retry(|_, _, _| heard += 1)
        .fallback(0);
    assert_eq!(call.run().await, Ok(6));
    assert_eq!((log, heard), (vec![1, 2, 3], 2));
}

#[tokio::test(start_paused = true)]
async fn no_hedge_runs_beside_an_attempt_or_follows_one() {
    let hedge = hedge::Config { max_hedges: 3, ..ms(1).into() };
    let policy = Policy::builder("p").clock(&Clock::tokio()).hedge(hedge).build().unwrap();
    let mut attempts = 0;
    let error = policy.call_lent(async |_| {
        attempts += 1;
        tokio::time::sleep(ms(100)).await;
        Err::<(), _>("no")
    });
    let error = error.run().await.unwrap_err();
    assert_eq!((error.attempts(), attempts), (1, 1));
    let hedged = policy.call(|_| async {
        tokio::time::sleep(ms(100)).await;
        Err::<(), _>("no")
    });
    assert_eq!(hedged.await.unwrap_err().attempts(), 4);
}

#[tokio::test(start_paused = true)]
async fn it_can_be_spawned_and_dropping_it_gives_everything_back() {
    let slots = bulkhead::Config { max_concurrent: 1, max_queue: 0, ..Default::default() };
    let policy = retrying("p").bulkhead(slots).build().unwrap();
    let spawned = policy.clone();
    let seen = Arc::new(AtomicU32::new(0));
    let counter = seen.clone();
    let task = tokio::spawn(async move {
        let mut buffer = String::new();
        let call = spawned.call_lent(async move |_| {
            buffer.push('x');
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(ms(1_000)).await;
            Err::<(), _>(buffer.len())
        });
        call.run().await.map(|()| 0)
    });
    tokio::time::sleep(ms(1)).await;
    assert!(matches!(policy.call(|_| async { Ok::<_, ()>(()) }).await, Err(Error::Refused { .. })));
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!((seen.load(Ordering::Relaxed), policy.call(|_| async { Ok::<_, ()>(()) }).await), (1, Ok(())));
}
