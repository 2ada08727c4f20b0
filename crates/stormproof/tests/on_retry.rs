//! Who asked hears of each retry: whatever else is said of the call, in whichever order, through each door.
#![cfg(test)]

use std::future::{pending, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stormproof::{Clock, Cx, Jitter, Policy, Retry, Verdict};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn policy() -> Policy {
    let retry = Retry::constant(ms(10)).jitter(Jitter::None).max_retries(2);
    Policy::builder("p").clock(&Clock::tokio()).retry(retry).build().unwrap()
}

fn judge<'a>(result: Result<&'a (), &'a u32>) -> Verdict<'a> {
    result.map_or_else(|_| Verdict::failure("Busy"), |()| Verdict::success())
}

/// What is heard: the retry, the error, the wait.
type Heard = Mutex<Vec<(u32, Option<u32>, Duration)>>;

fn hear(heard: &Heard) -> impl Fn(u32, Option<Result<&(), &u32>>, Duration) + Clone {
    |retry, result, delay| heard.lock().unwrap().push((retry, result.and_then(|result| result.err().copied()), delay))
}

const TWICE: [(u32, Option<u32>, Duration); 2] = [(1, Some(1), ms(10)), (2, Some(2), ms(10))];

#[tokio::test(start_paused = true)]
async fn in_every_order_awaited() {
    let (policy, heard) = (policy(), Heard::default());
    let fails = |cx: Cx<'_>| ready(Err::<(), _>(cx.attempt()));
    let call = || policy.call(fails);
    assert!(call().on_retry(hear(&heard)).await.is_err());
    assert!(call().on_retry(hear(&heard)).classify_with(judge).await.is_err());
    assert!(call().classify_with(judge).on_retry(hear(&heard)).await.is_err());
    assert!(call().on_retry(hear(&heard)).cost(1).classify_with(judge).deadline(ms(999)).hold().await.is_err());
    assert!(call().hold().deadline(ms(999)).on_retry(hear(&heard)).classify_with(judge).await.is_err());
    assert_eq!(call().fallback(()).on_retry(hear(&heard)).classify_with(judge).await, Ok(()));
    assert_eq!(
        call().on_retry(hear(&heard)).served().fallback(()).classify_with(judge).await.map(|it| it.value),
        Ok(())
    );
    assert_eq!(heard.into_inner().unwrap(), TWICE.repeat(7));
}

#[test]
fn in_every_order_run() {
    let heard = Heard::default();
    let retry = Retry::constant(ms(1)).jitter(Jitter::None).max_retries(2).build("p").unwrap();
    let call = || retry.call_sync(|cx| Err::<(), _>(cx.attempt()));
    assert!(call().on_retry(hear(&heard)).run().is_err());
    assert!(call().on_retry(hear(&heard)).classify_with(judge).run().is_err());
    assert!(call().classify_with(judge).on_retry(hear(&heard)).run().is_err());
    assert!(call().on_retry(hear(&heard)).deadline(ms(9_999)).classify_with(judge).hold().run().is_err());
    assert_eq!(call().on_retry(hear(&heard)).fallback(()).classify_with(judge).run(), Ok(()));
    let heard: Vec<_> = heard.into_inner().unwrap().into_iter().map(|(retry, error, _)| (retry, error)).collect();
    assert_eq!(heard, [(1, Some(1)), (2, Some(2))].repeat(5));
}

#[cfg(feature = "tower")]
#[tokio::test(start_paused = true)]
async fn in_every_order_around_a_service() {
    use std::sync::atomic::{AtomicU32, Ordering};
    use stormproof::service::PolicyLayer;
    use tower::{Layer, ServiceExt, service_fn};

    let (policy, heard) = (policy(), Arc::new(Heard::default()));
    let noted = heard.clone();
    let hear = move |retry: u32, result: Option<Result<&(), &u32>>, delay: Duration| hear(&noted)(retry, result, delay);
    let fails = || {
        let attempts = Arc::new(AtomicU32::new(0));
        service_fn(move |()| ready(Err::<(), _>(attempts.fetch_add(1, Ordering::Relaxed) + 1)))
    };
    let layer = || PolicyLayer::new(&policy);
    assert!(layer().on_retry(hear.clone()).layer(fails()).oneshot(()).await.is_err());
    assert!(layer().on_retry(hear.clone()).classify_with(judge).layer(fails()).oneshot(()).await.is_err());
    assert!(layer().classify_with(judge).on_retry(hear).layer(fails()).oneshot(()).await.is_err());
    assert_eq!(*heard.lock().unwrap(), TWICE.repeat(3));
}

/// They have no result, and are retried all the same.
#[tokio::test(start_paused = true)]
async fn also_of_attempts_that_ran_out_of_time() {
    let retry = Retry::constant(ms(10)).jitter(Jitter::None).max_retries(2);
    let limited = Policy::builder("p").clock(&Clock::tokio()).retry(retry).attempt_timeout(ms(100)).build().unwrap();
    let (heard, limited) = (Heard::default(), &limited);
    let call = limited.call(|cx| async move { if cx.attempt() == 2 { Err::<(), _>(2) } else { pending().await } });
    assert!(call.on_retry(hear(&heard)).await.unwrap_err().is_timeout());
    assert_eq!(heard.into_inner().unwrap(), [(1, None, ms(10)), (2, Some(2), ms(10))]);
}

#[tokio::test(start_paused = true)]
async fn a_note_may_change_what_it_has_borrowed() {
    let (policy, mut retries) = (policy(), 0);
    let call = policy.call(|cx| ready(Err::<(), _>(cx.attempt())));
    assert!(call.on_retry(|retry, _, _| retries = retry).await.is_err());
    assert_eq!(retries, 2);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_knows_its_retries_and_whether_it_is_a_hedge() {
    let retry = Retry::constant(ms(10)).jitter(Jitter::None).max_retries(1);
    let hedged = Policy::builder("p").clock(&Clock::tokio()).retry(retry).hedge(ms(5)).build().unwrap();
    let seen = Mutex::new(Vec::new());
    let see = |cx: Cx<'_>| seen.lock().unwrap().push((cx.attempt(), cx.retries(), cx.is_hedge()));
    let call = hedged.call(|cx| {
        see(cx);
        async {
            tokio::time::sleep(ms(8)).await;
            Err::<(), _>("no")
        }
    });
    assert!(call.await.is_err());
    let expected = [(1, 0, false), (2, 0, true), (3, 1, false), (4, 1, true)];
    assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), expected);
    let policy = policy();
    let call = policy.call(|cx| {
        see(cx);
        ready(Err::<(), _>("no"))
    });
    assert!(call.await.is_err());
    assert_eq!(*seen.lock().unwrap(), [(1, 0, false), (2, 1, false), (3, 2, false)]);
}
