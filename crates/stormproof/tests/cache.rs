//! Answers that are kept (T76, X24, conformance 46): when they are served, and who calls for them.
#![cfg(feature = "cache")]
#![cfg(test)]

use std::future::{Future, pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use stormproof::cache::{AfterFailure, Config};
use stormproof::event::Kind;
use stormproof::{Cache, Clock, Error, Policy, Served, Source, Verdict};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

type Answers<V> = Cache<&'static str, V>;

fn answers<V: Clone + Send + Sync + 'static>(config: Config, clock: &Clock) -> Answers<V> {
    Cache::with_clock("answers", config, clock).unwrap()
}

fn policy(clock: &Clock) -> Policy {
    Policy::builder("p").clock(clock).build().unwrap()
}

fn fresh_for(seconds: u64) -> Config {
    Config { fresh_for: s(seconds), ..Default::default() }
}

#[allow(clippy::unnecessary_wraps, reason = "it is compared with what may be none")]
fn kept<T>(value: T, age: u64, stale: bool) -> Option<(T, Source)> {
    Some((value, Source::Cache { age: s(age), stale }))
}

fn told<T, E>(served: Result<Served<T>, Error<E>>) -> Option<(T, Source)> {
    served.ok().map(|served| (served.value, served.source))
}

#[tokio::test]
async fn t_76_a_success_is_kept_a_failure_is_answered_with_it_and_a_miss_is_the_failure() {
    let clock = Clock::manual();
    let (policy, answers) = (policy(&clock), answers(Config::default(), &clock));
    let uses = std::sync::Arc::new(Mutex::new(Vec::new()));
    let noted = uses.clone();
    policy.on_event(move |event| {
        if let Kind::FallbackUsed(used) = &event.kind {
            noted.lock().unwrap().push((used.to_string(), used.position, used.age));
        }
    });

    let missed = policy.call(|_| ready(Err("down"))).cached(&answers, "key").await;
    assert!(matches!(missed, Err(Error::Failed { error: "down", attempts: 1, .. })));
    let served = policy.call(|_| ready(Ok::<_, &str>(7))).cached(&answers, "key").served().await;
    assert_eq!(told(served), Some((7, Source::Call)));
    clock.advance(s(90));
    let served = policy.call(|_| ready(Err("down"))).cached(&answers, "key").served().await.unwrap();
    assert!(served.is_degraded());
    assert_eq!((served.value, served.source), (7, Source::Cache { age: s(90), stale: true }));
    assert!(policy.call(|_| ready(Err("down"))).cached(&answers, "another").await.is_err());

    let text = "Using cached result due to error: &str".to_owned();
    assert_eq!(*uses.lock().unwrap(), [(text, 1, Some(s(90)))]);
    let stats = answers.stats();
    assert_eq!((stats.fresh, stats.stale, stats.misses, stats.entries), (0, 1, 2, 1));
    let snapshot = answers.snapshot();
    assert_eq!((snapshot.get("hits", "stale"), snapshot.get("entries", "")), (Some(1.0), Some(1.0)));
}

#[tokio::test]
async fn x_24_what_looks_like_nothing_is_an_answer_all_the_same() {
    let clock = Clock::manual();
    let policy = policy(&clock);
    macro_rules! comes_back {
        ($value:expr) => {
            for config in [Config::default(), fresh_for(1)] {
                let answers = answers(config, &clock);
                policy.call(|_| ready(Ok::<_, &str>($value))).cached(&answers, "key").await.unwrap();
                assert_eq!(policy.call(|_| ready(Err("down"))).cached(&answers, "key").await, Ok($value));
            }
        };
    }
    comes_back!(0);
    comes_back!("");
    comes_back!(false);
    comes_back!(());
    comes_back!(Vec::<u8>::new());
    comes_back!(None::<u8>);
}

#[tokio::test]
async fn an_answer_over_its_age_is_not_served() {
    let clock = Clock::manual();
    let (policy, answers) = (policy(&clock), answers(Config { stale_for: s(60), ..Default::default() }, &clock));
    answers.insert("key", 7);
    clock.advance(s(60));
    assert!(policy.call(|_| ready(Err("down"))).cached(&answers, "key").await.is_err());
    assert_eq!(answers.stats().entries, 0);
}

#[tokio::test]
async fn a_fresh_answer_is_served_without_a_call() {
    let clock = Clock::manual();
    let (policy, answers, calls) = (policy(&clock), answers(fresh_for(10), &clock), AtomicU32::new(0));
    let next = |_: stormproof::Cx<'_>| ready(Ok::<_, &str>(calls.fetch_add(1, Ordering::Relaxed)));
    let call = || async { told(policy.call(next).cached(&answers, "key").served().await) };
    assert_eq!(call().await, Some((0, Source::Call)));
    clock.advance(s(9));
    assert_eq!(call().await, kept(0, 9, false));
    clock.advance(s(1));
    assert_eq!(call().await, Some((1, Source::Call)));
    let stats = answers.stats();
    assert_eq!((stats.fresh, stats.stale, stats.misses), (1, 0, 2));
}

#[tokio::test]
async fn in_a_chain_the_cache_has_its_place_and_keeps_only_the_calls_own_answers() {
    let clock = Clock::manual();
    let (policy, answers) = (policy(&clock), answers(Config::default(), &clock));
    let call = |second| {
        policy
            .call(|_| ready(Err("down")))
            .fallback_with(move |_| ready(second))
            .cached(&answers, "key")
            .fallback("last")
    };
    let from = |position| Source::Fallback { position };
    assert_eq!(told(call(Ok("second")).served().await), Some(("second", from(1))));
    assert_eq!(told(call(Err("down, too")).served().await), Some(("last", from(3))));
    answers.insert("key", "kept");
    assert_eq!(told(call(Err("down, too")).served().await), kept("kept", 0, true));
}

#[tokio::test]
async fn a_value_that_is_no_success_is_not_kept() {
    let clock = Clock::manual();
    let (policy, answers) = (policy(&clock), answers(Config::default(), &clock));
    let call = |status: u16| {
        let call = policy.call(move |_| ready(Ok::<_, &str>(status))).classify_with(|result| match result {
            Ok(500..) => Verdict::failure("ServerError"),
            Ok(400..) => Verdict::ignored("ClientError"),
            _ => Verdict::success(),
        });
        call.cached(&answers, "key")
    };
    assert_eq!((call(500).await, call(404).await), (Ok(500), Ok(404)));
    assert!(answers.get(&"key").is_none());
    assert_eq!(call(200).await, Ok(200));
    assert_eq!(answers.get(&"key").unwrap().value, 200);
}

#[tokio::test]
async fn what_was_called_for_before_an_invalidation_is_not_kept_after_it() {
    let clock = Clock::manual();
    let (policy, answers) = (policy(&clock), answers(Config::default(), &clock));
    let late = policy.call(|_| async {
        answers.invalidate(&"key");
        Ok::<_, &str>("old")
    });
    assert_eq!(late.cached(&answers, "key").await, Ok("old"));
    assert!(answers.get(&"key").is_none());
}

#[tokio::test]
async fn invalidation_forgets_one_or_some_or_all() {
    let answers = answers(Config::default(), &Clock::manual());
    let there = || ["one", "two", "three"].map(|key| answers.get(&key).is_some());
    let fill = || ["one", "two", "three"].into_iter().enumerate().for_each(|(n, key)| answers.insert(key, n));
    fill();
    answers.invalidate(&"two");
    assert_eq!(there(), [true, false, true]);
    fill();
    answers.invalidate_if(|key, n| *key == "one" || *n == 2);
    assert_eq!(there(), [false, true, false]);
    fill();
    answers.invalidate_all();
    assert_eq!(there(), [false; 3]);
}

#[test]
fn the_number_of_answers_is_bounded_and_the_newest_stay() {
    let clock = Clock::manual();
    let answers: Cache<u32, u32> =
        Cache::with_clock("few", Config { max_entries: 10, ..Default::default() }, &clock).unwrap();
    (0..1_000).for_each(|n| answers.insert(n, n));
    assert_eq!(answers.stats().entries, 10);
    assert!(answers.get(&999).is_some() && answers.get(&0).is_none());
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let config = Config { max_entries: 0, fresh_for: s(9), stale_for: s(1), ..Default::default() };
    let mistakes = Cache::<u32, u32>::new("c", config).unwrap_err().to_string();
    assert_eq!(mistakes, "max_entries is 0, allowed is 1 or more; stale_for is 1s, allowed is fresh_for or more");
}

#[tokio::test(start_paused = true)]
async fn concurrent_misses_of_one_key_are_one_call() {
    let clock = Clock::tokio();
    let (policy, answers, calls) = (policy(&clock), answers(fresh_for(10), &clock), AtomicU32::new(0));
    let call = |key| {
        let calls = &calls;
        let op = move |_: stormproof::Cx<'_>| async move {
            calls.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(s(1)).await;
            Ok::<_, &str>(key)
        };
        policy.call(op).cached(&answers, key).served()
    };
    let all = tokio::join!(call("a"), call("a"), call("b"), call("a"));
    assert_eq!([told(all.0), told(all.2)], [Some(("a", Source::Call)), Some(("b", Source::Call))]);
    assert_eq!([told(all.1), told(all.3)], [kept("a", 0, false), kept("a", 0, false)]);
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(answers.stats().joined, 2);
}

#[tokio::test(start_paused = true)]
async fn if_the_one_call_fails_those_who_waited_call_one_after_the_other() {
    let clock = Clock::tokio();
    let (policy, answers, calls) = (policy(&clock), answers(fresh_for(10), &clock), AtomicU32::new(0));
    let call = || {
        let op = |_: stormproof::Cx<'_>| async {
            tokio::time::sleep(s(1)).await;
            calls.fetch_add(1, Ordering::Relaxed);
            Err::<u32, _>("down")
        };
        policy.call(op).cached(&answers, "key")
    };
    let all = tokio::join!(call(), call(), call());
    assert!(all.0.is_err() && all.1.is_err() && all.2.is_err());
    assert_eq!((calls.into_inner(), clock.now().as_nanos()), (3, 3_000_000_000));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_anothers_call_keeps_its_own_deadline() {
    let clock = Clock::tokio();
    let (policy, answers) = (policy(&clock), answers(fresh_for(10), &clock));
    let slow = |_: stormproof::Cx<'_>| async {
        tokio::time::sleep(s(5)).await;
        Ok::<_, &str>("slow")
    };
    let patient = policy.call(slow).cached(&answers, "key");
    let hasty = async {
        let result = policy.call(slow).deadline(s(2)).cached(&answers, "key").await;
        (result, clock.now().as_nanos())
    };
    let (patient, (hasty, at)) = tokio::join!(patient, hasty);
    assert_eq!((patient, at), (Ok("slow"), 2_000_000_000));
    assert!(matches!(hasty, Err(Error::TimedOut { attempts: 0, .. })), "{hasty:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_anothers_call_inherits_the_deadline_around_it() {
    let clock = Clock::tokio();
    let (outer, answers) =
        (Policy::builder("outer").deadline(s(2)).clock(&clock).build().unwrap(), answers(fresh_for(10), &clock));
    let policy = policy(&clock);
    let first = policy.call(|_| async {
        tokio::time::sleep(s(5)).await;
        Ok::<_, &str>("slow")
    });
    let second = outer.call(|_| policy.call(|_| pending::<Result<_, &str>>()).cached(&answers, "key"));
    let (first, second) = tokio::join!(first.cached(&answers, "key"), second);
    let Err(Error::Failed { error: Error::TimedOut { limit, attempts: 0, .. }, .. }) = second else {
        panic!("{second:?}")
    };
    assert_eq!((first, limit), (Ok("slow"), stormproof::Limit::Inherited));
}

#[tokio::test(start_paused = true)]
async fn a_call_made_after_waiting_has_only_what_is_left() {
    let clock = Clock::tokio();
    let (policy, answers) = (policy(&clock), answers(fresh_for(10), &clock));
    let fails = policy.call(|_| async {
        tokio::time::sleep(s(2)).await;
        Err::<u32, _>("down")
    });
    let second = policy.call(|_| pending::<Result<_, &str>>()).deadline(s(5)).cached(&answers, "key");
    let (_, second) = tokio::join!(fails.cached(&answers, "key"), second);
    assert!(second.unwrap_err().is_timeout());
    assert_eq!(clock.now().as_nanos(), 5_000_000_000);
}

/// Two calls for one key, of which the `nth` is dropped after so many polls. Returns whether it was over before.
async fn drop_one(dropped: usize, polls: usize) -> bool {
    let clock = Clock::tokio();
    let (policy, answers) = (policy(&clock), answers(fresh_for(10), &clock));
    let mut over = false;
    let call = || {
        let op = |_: stormproof::Cx<'_>| async {
            tokio::time::sleep(s(1)).await;
            tokio::time::sleep(s(1)).await;
            Ok::<_, &str>("answer")
        };
        policy.call(op).cached(&answers, "key")
    };
    {
        type Slot<'a> = Option<Pin<Box<dyn Future<Output = Result<&'static str, Error<&'static str>>> + 'a>>>;
        let mut slots: [Slot<'_>; 3] = [
            Some(Box::pin(call().into_future())),
            Some(Box::pin(call().into_future())),
            Some(Box::pin(call().into_future())),
        ];
        let mut polled = 0;
        let all = poll_fn(|cx| {
            for (at, slot) in slots.iter_mut().enumerate() {
                let Some(call) = slot else { continue };
                polled += usize::from(at == dropped);
                match call.as_mut().poll(cx) {
                    Poll::Ready(answer) => {
                        assert_eq!(answer, Ok("answer"));
                        over |= at == dropped;
                        *slot = None;
                    }
                    Poll::Pending if at == dropped && polled == polls => *slot = None,
                    Poll::Pending => {}
                }
            }
            if slots.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
        });
        let all = tokio::time::timeout(s(60), pin!(all)).await;
        assert!(all.is_ok(), "call {dropped} dropped after {polls} polls left the others waiting");
    }
    assert_eq!(call().await, Ok("answer"));
    over
}

#[test]
fn a_call_dropped_anywhere_leaves_nobody_waiting() {
    for dropped in 0..3 {
        let over = |polls: &usize| {
            let builder = &mut tokio::runtime::Builder::new_current_thread();
            builder.enable_time().start_paused(true).build().unwrap().block_on(drop_one(dropped, *polls))
        };
        let polls = (1..100).find(over).unwrap();
        assert!(polls > 2, "call {dropped} had {polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_hands_over() {
    let clock = Clock::tokio();
    let (policy, answers) = (policy(&clock), answers(fresh_for(10), &clock));
    let first = tokio::spawn({
        let (policy, answers) = (policy.clone(), answers.clone());
        async move {
            let op = |_: stormproof::Cx<'_>| async {
                tokio::time::sleep(s(1)).await;
                if true { panic!("as the test wants") } else { Ok::<_, &str>("never") }
            };
            policy.call(op).cached(&answers, "key").await
        }
    });
    tokio::task::yield_now().await;
    assert_eq!(policy.call(|_| ready(Ok::<_, &str>("second"))).cached(&answers, "key").await, Ok("second"));
    assert!(first.await.unwrap_err().is_panic());
    assert_eq!(clock.now().as_nanos(), 1_000_000_000);
}

/// Many threads, real time: one call at a time for each key, whoever gives up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_threads_and_cancellation_everybody_gets_an_answer() {
    let clock = Clock::system();
    let (policy, answers) = (policy(&clock), answers(fresh_for(3_600), &clock));
    for round in 0..200_u64 {
        answers.invalidate_all();
        let tasks: Vec<_> = (0..8_u64)
            .map(|n| {
                let (policy, answers) = (policy.clone(), answers.clone());
                tokio::spawn(async move {
                    let op = |_: stormproof::Cx<'_>| async {
                        tokio::task::yield_now().await;
                        Ok::<_, &str>(round)
                    };
                    let call = policy.call(op).cached(&answers, "key");
                    // Every third gives up at once or soon.
                    if n % 3 == 0 {
                        let mut call = pin!(call.into_future());
                        let mut left = n / 3;
                        poll_fn(|cx| match call.as_mut().poll(cx) {
                            Poll::Pending if left > 0 => {
                                left -= 1;
                                Poll::Pending
                            }
                            _ => Poll::Ready(()),
                        })
                        .await;
                    } else {
                        assert_eq!(call.await, Ok(round));
                    }
                })
            })
            .collect();
        for task in tasks {
            tokio::time::timeout(s(30), task).await.expect("nobody waits for ever").unwrap();
        }
    }
}

/// What fifty callers of one key came to: the calls that were made, how many at most at once, and the answers.
#[derive(Debug, PartialEq)]
struct Herd {
    calls: u32,
    at_once: u32,
    served: Vec<Result<(u32, bool), String>>,
    seconds: u64,
}

/// Fifty callers at once, whose calls take a second each; the first `failing` calls fail.
async fn herd(
    config: Config,
    failing: u32,
    before: impl FnOnce(&Answers<u32>),
    meanwhile: impl Fn(&Answers<u32>),
) -> Herd {
    let clock = Clock::tokio();
    let (policy, answers) = (policy(&clock), answers(config, &clock));
    before(&answers);
    tokio::time::advance(s(20)).await;
    let began = clock.now();
    let (calls, now, at_once) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let call = || async {
        let op = |_: stormproof::Cx<'_>| async {
            let nth = calls.fetch_add(1, Ordering::Relaxed);
            at_once.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(500)).await;
            meanwhile(&answers);
            tokio::time::sleep(Duration::from_millis(500)).await;
            now.fetch_sub(1, Ordering::Relaxed);
            if nth < failing { Err("down") } else { Ok(nth) }
        };
        let served = policy.call(op).cached(&answers, "a").served().await;
        served.map(|served| (served.value, served.is_degraded())).map_err(|error| error.to_string())
    };
    let mut waiting: Vec<_> = (0..50).map(|_| Box::pin(call())).collect();
    let mut served = Vec::new();
    poll_fn(|cx| {
        waiting.retain_mut(|call| match call.as_mut().poll(cx) {
            Poll::Ready(result) => {
                served.push(result);
                false
            }
            Poll::Pending => true,
        });
        if waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    let seconds = clock.now().since(began).as_secs();
    Herd { calls: calls.load(Ordering::Relaxed), at_once: at_once.load(Ordering::Relaxed), served, seconds }
}

fn after(after_failure: AfterFailure) -> Config {
    Config { after_failure, ..fresh_for(10) }
}

fn nothing(_: &Answers<u32>) {}

#[tokio::test(start_paused = true)]
async fn fifty_callers_whose_leader_fails_are_two_calls_one_after_the_other() {
    for config in [after(AfterFailure::Wait), after(AfterFailure::Stale)] {
        let herd = herd(config, 1, nothing, nothing).await;
        assert_eq!((herd.calls, herd.at_once, herd.seconds), (2, 1, 2));
        assert!(herd.served[0].as_ref().unwrap_err().contains("down"), "the leader's own failure");
        assert!(herd.served[1..].iter().all(|served| *served == Ok((1, false))), "{:?}", herd.served);
    }
    let herd = herd(after(AfterFailure::Wait), 3, nothing, nothing).await;
    assert_eq!((herd.calls, herd.at_once), (4, 1));
    assert_eq!(herd.served.iter().filter(|served| served.is_err()).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn fifty_callers_get_the_stale_answer_when_their_leader_fails() {
    let herd = herd(after(AfterFailure::Stale), 50, |answers| answers.insert("a", 7), nothing).await;
    assert_eq!((herd.calls, herd.at_once, herd.seconds), (2, 1, 2), "and one that calls again");
    assert_eq!(herd.served, vec![Ok((7, true)); 50]);
}

#[tokio::test(start_paused = true)]
async fn fifty_callers_get_the_leaders_failure_if_they_chose_that() {
    let herd = herd(after(AfterFailure::Fail), 50, nothing, nothing).await;
    assert_eq!((herd.calls, herd.at_once), (2, 1));
    let told = herd.served.iter().filter(|served| {
        matches!(served, Err(text) if text.contains("the call whose answer was waited for has failed (last failure: &str)"))
    });
    assert_eq!(told.count(), 48);
}

#[tokio::test(start_paused = true)]
async fn invalidating_another_key_disturbs_nobody() {
    let often = |answers: &Answers<u32>| answers.invalidate(&"b");
    let herd = herd(fresh_for(10), 0, nothing, often).await;
    assert_eq!((herd.calls, herd.seconds), (1, 1));
    assert!(herd.served.iter().all(Result::is_ok));

    let clock = Clock::tokio();
    let (policy, answers) = (policy(&clock), answers(Config::default(), &clock));
    let call = policy.call(|_| async {
        answers.invalidate(&"b");
        Ok::<_, &str>(1)
    });
    call.cached(&answers, "a").await.unwrap();
    assert!(answers.get(&"a").is_some(), "without joining, too");
}

#[tokio::test(start_paused = true)]
async fn invalidating_their_own_key_makes_fifty_callers_one_call_at_a_time() {
    let once = std::cell::Cell::new(false);
    let herd = herd(fresh_for(10), 0, nothing, |answers| {
        if !once.replace(true) {
            answers.invalidate(&"a");
        }
    })
    .await;
    assert_eq!((herd.calls, herd.at_once, herd.seconds), (2, 1, 2));
    assert_eq!(herd.served.iter().filter(|served| **served == Ok((0, false))).count(), 1, "it was called for before");
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_own_deadline_passes_hands_over_to_one() {
    let clock = Clock::tokio();
    let (policy, answers, calls) = (policy(&clock), answers(fresh_for(10), &clock), AtomicU32::new(0));
    let call = |limit| {
        let op = |_: stormproof::Cx<'_>| async {
            calls.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(s(5)).await;
            Ok::<_, &str>(1)
        };
        policy.call(op).deadline(s(limit)).cached(&answers, "a").into_future()
    };
    let all: Vec<_> = std::iter::once(call(1)).chain((0..49).map(|_| call(60))).map(Box::pin).collect();
    let mut results = Vec::new();
    let mut all = all;
    poll_fn(|cx| {
        all.retain_mut(|call| match call.as_mut().poll(cx) {
            Poll::Ready(result) => {
                results.push(result.is_ok());
                false
            }
            Poll::Pending => true,
        });
        if all.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    assert_eq!((calls.load(Ordering::Relaxed), clock.now().as_nanos()), (2, 6_000_000_000));
    assert_eq!(results.iter().filter(|ok| **ok).count(), 49);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_nobody_polls_holds_nobody_up() {
    let clock = Clock::tokio();
    let (policy, answers, calls) = (policy(&clock), answers(fresh_for(60), &clock), AtomicU32::new(0));
    let op = |_: stormproof::Cx<'_>| async {
        calls.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(s(1)).await;
        Ok::<_, &str>(1)
    };
    let mut unpolled = Box::pin(policy.call(op).cached(&answers, "a").into_future());
    assert!(poll_fn(|cx| Poll::Ready(unpolled.as_mut().poll(cx).is_pending())).await);
    // The one that would be next is left, too.
    let mut next = Box::pin(policy.call(op).cached(&answers, "a").into_future());
    assert!(poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending())).await);
    let call = || policy.call(op).cached(&answers, "a");
    let (one, two, three) = tokio::join!(call(), call(), call());
    assert_eq!((one, two, three), (Ok(1), Ok(1), Ok(1)));
    assert_eq!(
        (calls.load(Ordering::Relaxed), clock.now().as_nanos()),
        (2, 11_000_000_000),
        "one after `join_timeout`"
    );
    drop((unpolled, next));
    assert_eq!(call().await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_call_for_a_key_inside_the_call_for_it_does_not_wait_for_itself() {
    let clock = Clock::tokio();
    let (policy, answers) = (policy(&clock), answers(fresh_for(60), &clock));
    let outer = policy.call(|_| async {
        let inner = policy.call(|_| ready(Ok::<_, Error<&str>>(1))).cached(&answers, "a");
        inner.await.map_err(|error| error.into_last().unwrap()).map(|inner| inner + 1)
    });
    assert_eq!(outer.cached(&answers, "a").await.unwrap(), 2);
    assert_eq!(clock.now().as_nanos(), 0);
}

#[test]
fn a_thread_that_waits_for_another_calls_after_the_join_timeout() {
    let config = Config { join_timeout: Duration::from_millis(50), ..fresh_for(60) };
    let (policy, answers) = (policy(&Clock::system()), answers(config, &Clock::system()));
    let (calls, called) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let (policy, answers) = (&policy, &answers);
        let slow = scope.spawn(move || {
            let op = |_: stormproof::Cx<'_>| {
                calls.send(()).unwrap();
                std::thread::sleep(s(2));
                Ok::<_, &str>(1)
            };
            policy.call_sync(op).cached(answers, "a").run()
        });
        called.recv().unwrap();
        let began = std::time::Instant::now();
        assert_eq!(policy.call_sync(|_| Ok::<_, &str>(2)).cached(answers, "a").run(), Ok(2));
        assert!(began.elapsed() < s(2), "{:?}", began.elapsed());
        assert_eq!(slow.join().unwrap(), Ok(1));
    });
}
