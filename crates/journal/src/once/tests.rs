//! Each state that a key can be found in.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::convert::Infallible;
use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::json;
use stormproof::{Policy, Retry};
use tokio::sync::Notify;

use super::*;
use crate::Decision;
use crate::store::Worker;

const SECOND: Duration = Duration::from_secs(1);

/// The same test on each store.
macro_rules! on_every_store {
    (async fn $name:ident($journal:ident: Journal) $body:block) => {
        mod $name {
            use super::*;

            async fn case($journal: Journal) $body

            #[tokio::test]
            async fn memory() {
                case(Journal::open("memory:").await.unwrap()).await;
            }

            #[tokio::test]
            async fn sqlite() {
                let folder = tempfile::tempdir().unwrap();
                let file = folder.path().join("agent.db");
                case(Journal::open(format!("sqlite:{}", file.display())).await.unwrap()).await;
            }

            #[cfg(feature = "postgres")]
            #[tokio::test]
            async fn postgres() {
                let database = stormproof_testpg::Database::create().unwrap();
                case(Journal::open(database.url()).await.unwrap()).await;
            }
        }
    };
}

/// A probe that must not be asked.
async fn unasked(_: Op) -> Result<Probe<u32>, Infallible> {
    panic!("the probe was asked")
}

/// A call that must not be made.
async fn uncalled(_: Op) -> Result<u32, Failed> {
    panic!("it was called")
}

fn probe(answer: Probe<u32>) -> impl Fn(Op) -> std::future::Ready<Result<Probe<u32>, Infallible>> {
    move |_| ready(Ok(answer.clone()))
}

fn value(value: u32) -> impl Fn(Op) -> std::future::Ready<Result<u32, Failed>> {
    move |_| ready(Ok(value))
}

fn error(error: Failed) -> impl Fn(Op) -> std::future::Ready<Result<u32, Failed>> {
    move |_| ready(Err(error.clone()))
}

/// As if a process had died while it made the call with this key and the input null.
async fn leave_begun(journal: &Journal, name: &str, key: &str) {
    let dead = Worker { id: "dead".into(), host: String::new(), version: String::new(), ttl: Duration::ZERO };
    let new = journal.once(name, key).new_run(&RunId::new(name, key)).unwrap();
    journal.0.store.start_claimed(&new, &dead, &begun(&journal.0, name)).await.unwrap().unwrap();
}

async fn state(journal: &Journal, run: &str) -> State {
    journal.show(&RunId::parse(run)).await.unwrap().run.state
}

on_every_store! {
    async fn a_new_key_is_called_and_its_value_is_the_answer_from_then_on(journal: Journal) {
        let answer = journal.once("pay", "18").input(&json!({ "to": "x", "sum": 1 })).run(unasked, value(7)).await;
        assert_eq!(answer, Ok(7));
        let again = journal.once("pay", "18").input(&json!({ "sum": 1, "to": "x" })).run(unasked, uncalled).await;
        assert_eq!(again, Ok(7), "the order of keys is no difference");
        let other = journal.once("pay", "19").input(&json!({ "to": "x", "sum": 1 })).run(unasked, value(8)).await;
        assert_eq!(other, Ok(8), "another key is another call");
    }
}

on_every_store! {
    async fn a_key_with_another_input_is_refused(journal: Journal) {
        journal.once("pay", "18").input(&1).run(unasked, value(7)).await.unwrap();
        let reused = journal.once("pay", "18").input(&2).run(unasked, uncalled).await.unwrap_err();
        assert_eq!(reused.to_string(), "pay/18 was started with another input: use another key, or what it was started with");
        assert!(matches!(reused, RunError::KeyReused { .. }));
        let float = journal.once("pay", "18").input(&1.0).run(unasked, uncalled).await;
        assert!(matches!(float, Err(RunError::KeyReused { .. })), "1 and 1.0 are two");
    }
}

on_every_store! {
    async fn an_empty_key_or_name_is_refused(journal: Journal) {
        for (name, key, field) in
            [("pay", "", "key"), ("pay", " ", "key"), ("", "18", "workflow"), ("a/b", "18", "workflow")]
        {
            let refused = journal.once(name, key).run(unasked, uncalled).await.unwrap_err();
            assert!(matches!(refused, RunError::Key { field: named, .. } if named == field), "{refused}");
        }
    }
}

#[tokio::test]
async fn a_key_whose_time_is_over_is_new() {
    let wall = Arc::new(AtomicU64::new(1_700_000_000));
    let now = wall.clone();
    let clock = move || SystemTime::UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed));
    let journal = Journal::builder("memory:").wall_clock(clock).open().await.unwrap();
    let once = || journal.once("pay", "18").ttl(10 * SECOND);
    assert_eq!(once().run(unasked, value(1)).await, Ok(1));
    wall.fetch_add(9, Ordering::Relaxed);
    assert_eq!(once().run(unasked, uncalled).await, Ok(1));
    wall.fetch_add(2, Ordering::Relaxed);
    assert_eq!(once().input(&"another").run(unasked, value(2)).await, Ok(2));
}

on_every_store! {
    async fn after_an_error_that_is_not_kept_the_probe_decides(journal: Journal) {
        let failed = journal.once("pay", "18").run(unasked, error(Failed::new("declined", "no money"))).await;
        let expected = RunError::Failed {
            run: RunId::new("pay", "18"),
            kind: "declined".into(),
            message: "no money".into(),
            step: None,
        kept: false,
        };
        assert_eq!(failed, Err(expected));
        assert_eq!(journal.once("pay", "18").run(probe(Probe::Rerun), value(7)).await, Ok(7));

        journal.once("pay", "19").run(unasked, error(Failed::new("lost", "no answer"))).await.unwrap_err();
        assert_eq!(journal.once("pay", "19").run(probe(Probe::Done(9)), uncalled).await, Ok(9));
        assert_eq!(journal.once("pay", "19").run(unasked, uncalled).await, Ok(9), "what the probe found is kept");
    }
}

on_every_store! {
    async fn an_error_is_kept_by_its_own_word_or_the_callers(journal: Journal) {
        for (key, once, said) in [
            ("18", journal.once("pay", "18"), Failed::new("declined", "no").keep()),
            ("19", journal.once("pay", "19").keep_errors(), Failed::new("declined", "no")),
        ] {
            let first = once.run(unasked, error(said)).await.unwrap_err();
            assert!(matches!(&first, RunError::Failed { kept: true, .. }), "{first}");
            assert_eq!(journal.once("pay", key).run(unasked, uncalled).await, Err(first));
        }
    }
}

on_every_store! {
    async fn a_duplicate_in_flight_is_refused_or_joins(journal: Journal) {
        let go = Arc::new(Notify::new());
        let (first, free) = (journal.clone(), go.clone());
        let running = tokio::spawn(async move {
            let call = |_| async {
                free.notified().await;
                Ok::<u32, Failed>(7)
            };
            first.once("pay", "18").run(unasked, call).await
        });
        while journal.show(&RunId::new("pay", "18")).await.is_err() {
            tokio::task::yield_now().await;
        }
        let refused = journal.once("pay", "18").busy(Busy::Refuse).run(unasked, uncalled).await.unwrap_err();
        let RunError::InFlight { retry_after, .. } = refused else { panic!("{refused}") };
        assert!(retry_after > Duration::ZERO && retry_after <= 30 * SECOND, "{retry_after:?}");
        let patient = Busy::Join(Duration::from_millis(30));
        let late = journal.once("pay", "18").busy(patient).run(unasked, uncalled).await.unwrap_err();
        assert!(matches!(late, RunError::InFlight { .. }), "{late}");
        let other = journal.once("pay", "18").input(&1).run(unasked, uncalled).await.unwrap_err();
        assert!(matches!(other, RunError::KeyReused { .. }), "another input is told at once: {other}");

        let joins = [journal.clone(), journal.clone()].map(|journal| {
            tokio::spawn(
                async move { journal.once("pay", "18").busy(Busy::Join(30 * SECOND)).run(unasked, uncalled).await },
            )
        });
        tokio::task::yield_now().await;
        go.notify_one();
        for join in joins {
            assert_eq!(join.await.unwrap(), Ok(7));
        }
        assert_eq!(running.await.unwrap(), Ok(7));
    }
}

on_every_store! {
    async fn what_a_dead_process_left_open_is_for_the_probe_to_say(journal: Journal) {
        leave_begun(&journal, "pay", "done").await;
        assert_eq!(journal.once("pay", "done").run(probe(Probe::Done(5)), uncalled).await, Ok(5));

        leave_begun(&journal, "pay", "rerun").await;
        assert_eq!(journal.once("pay", "rerun").run(probe(Probe::Rerun), value(6)).await, Ok(6));

        leave_begun(&journal, "pay", "refused").await;
        let refuse = probe(Probe::Refuse("the bank does not say".into()));
        let blocked = journal.once("pay", "refused").run(refuse, uncalled).await.unwrap_err();
        assert!(blocked.to_string().contains("the bank does not say"), "{blocked}");
        assert_eq!(state(&journal, "pay/refused").await, State::Blocked);
        let again = journal.once("pay", "refused").run(unasked, uncalled).await;
        assert_eq!(again, Err(blocked), "until an operator decides, nobody is asked");
    }
}

on_every_store! {
    async fn a_probe_that_fails_decides_nothing(journal: Journal) {
        leave_begun(&journal, "pay", "18").await;
        let broken = |_| ready(Err::<Probe<u32>, _>(Failed::new("timeout", "no answer")));
        for _ in 0..2 {
            let failed = journal.once("pay", "18").keep_errors().run(broken, uncalled).await.unwrap_err();
            assert_eq!(failed.to_string(), "pay/18 failed: its probe failed: no answer");
            assert!(matches!(failed, RunError::Failed { kept: false, .. }));
        }
        assert_eq!(journal.once("pay", "18").run(probe(Probe::Done(5)), uncalled).await, Ok(5));
    }
}

on_every_store! {
    async fn dropped_midway_it_is_open_and_free_at_once(journal: Journal) {
        let call = journal.once("pay", "18");
        let hangs = |_| pending::<Result<u32, Failed>>();
        assert!(tokio::time::timeout(Duration::from_millis(50), call.run(unasked, hangs)).await.is_err());
        let began = std::time::Instant::now();
        let answer = journal.once("pay", "18").busy(Busy::Join(10 * SECOND)).run(probe(Probe::Done(5)), uncalled).await;
        assert_eq!(answer, Ok(5));
        assert!(began.elapsed() < 5 * SECOND, "long before the lease is over");
    }
}

on_every_store! {
    async fn an_operators_word_counts(journal: Journal) {
        let refuse = || probe(Probe::Refuse("who knows".into()));
        for key in ["done", "rerun", "ask", "cancel"] {
            leave_begun(&journal, "pay", key).await;
            journal.once("pay", key).run(refuse(), uncalled).await.unwrap_err();
        }
        let run = |key| RunId::new("pay", key);
        journal.resume(&run("done"), Decision::Done("\"41\"".into())).await.unwrap();
        let wrong = journal.once("pay", "done").run(unasked, uncalled).await.unwrap_err().to_string();
        assert!(wrong.contains("the result that an operator gave is no u32: "), "{wrong}");
        journal.resume(&run("done"), Decision::Done("41".into())).await.unwrap();
        assert_eq!(journal.once("pay", "done").run(unasked, uncalled).await, Ok(41));
        journal.resume(&run("rerun"), Decision::Rerun).await.unwrap();
        assert_eq!(journal.once("pay", "rerun").run(unasked, value(42)).await, Ok(42));
        journal.resume(&run("ask"), Decision::Ask).await.unwrap();
        assert_eq!(journal.once("pay", "ask").run(probe(Probe::Done(43)), uncalled).await, Ok(43));
        journal.cancel(&run("cancel")).await.unwrap();
        let cancelled = journal.once("pay", "cancel").run(unasked, uncalled).await;
        assert_eq!(cancelled, Err(RunError::Cancelled { run: run("cancel") }));
    }
}

on_every_store! {
    async fn cancelled_while_it_runs_it_stops_at_once(journal: Journal) {
        let first = journal.clone();
        let running =
            tokio::spawn(async move { first.once("pay", "18").run(unasked, |_| pending::<Result<u32, Failed>>()).await });
        let run = RunId::new("pay", "18");
        while journal.cancel(&run).await.is_err() {
            tokio::task::yield_now().await;
        }
        let answer = tokio::time::timeout(10 * SECOND, running).await.unwrap().unwrap();
        assert_eq!(answer, Err(RunError::Cancelled { run }));
    }
}

on_every_store! {
    async fn before_each_retry_of_a_policy_the_probe_is_asked(journal: Journal) {
        let policy =
            Policy::builder("bank").retry(Retry::constant(Duration::from_millis(1)).max_retries(3)).build().unwrap();
        let (asked, called) = (AtomicU32::new(0), AtomicU32::new(0));
        let probe = |_| {
            asked.fetch_add(1, Ordering::Relaxed);
            ready(Ok::<Probe<u32>, Infallible>(Probe::Rerun))
        };
        let call = |op: Op| {
            let before = called.fetch_add(1, Ordering::Relaxed);
            assert_eq!(op.attempt(), before + 1);
            ready(if before < 2 { Err(Failed::new("busy", "")) } else { Ok(7) })
        };
        assert_eq!(journal.once("pay", "18").policy(&policy).run(&probe, &call).await, Ok(7));
        assert_eq!((asked.into_inner(), called.into_inner()), (2, 3));

        let called = AtomicU32::new(0);
        let call = |_| {
            called.fetch_add(1, Ordering::Relaxed);
            ready(Err::<u32, _>(Failed::new("busy", "")))
        };
        let refuse = |_| ready(Ok::<Probe<u32>, Infallible>(Probe::Refuse("unknown".into())));
        let blocked = journal.once("pay", "19").policy(&policy).run(refuse, &call).await.unwrap_err();
        assert!(matches!(blocked, RunError::Blocked { .. }) && called.into_inner() == 1, "{blocked}");

        let called = AtomicU32::new(0);
        let call = |_| {
            called.fetch_add(1, Ordering::Relaxed);
            ready(Err::<u32, _>(Failed::new("declined", "").keep()))
        };
        let kept = journal.once("pay", "20").policy(&policy).run(unasked, &call).await.unwrap_err();
        assert!(matches!(kept, RunError::Failed { kept: true, .. }) && called.into_inner() == 1, "{kept}");
    }
}

/// What was not found is the caller's mistake.
struct NotFound;

impl Classify<u32, std::io::Error> for NotFound {
    fn classify<'a>(&self, result: Result<&'a u32, &'a std::io::Error>) -> stormproof::Verdict<'a> {
        match result {
            Ok(_) => stormproof::Verdict::success(),
            Err(_) => stormproof::Verdict::ignored("NotFound"),
        }
    }
}

on_every_store! {
    async fn the_callers_classifier_says_what_is_retried(journal: Journal) {
        let policy =
            Policy::builder("bank").retry(Retry::constant(Duration::from_millis(1)).max_retries(3)).build().unwrap();
        let called = AtomicU32::new(0);
        let call = |_| {
            called.fetch_add(1, Ordering::Relaxed);
            ready(Err::<u32, _>(std::io::Error::other("404")))
        };
        let failed = journal.once("pay", "18").policy(&policy).classify(NotFound).run(unasked, &call).await.unwrap_err();
        assert_eq!(failed.to_string(), "pay/18 failed: 404");
        assert_eq!(called.into_inner(), 1);
    }
}

on_every_store! {
    async fn what_a_policy_cuts_off_is_open(journal: Journal) {
        let policy = Policy::builder("bank").attempt_timeout(Duration::from_millis(20)).build().unwrap();
        let hangs = |_| pending::<Result<u32, Failed>>();
        let late = journal.once("pay", "18").keep_errors().policy(&policy).run(unasked, hangs).await.unwrap_err();
        let RunError::Failed { kind, kept, .. } = &late else { panic!("{late}") };
        assert_eq!((&**kind, *kept), ("timed_out", false), "nobody knows, so it cannot be the answer");
        assert_eq!(journal.once("pay", "18").run(probe(Probe::Done(5)), uncalled).await, Ok(5));
    }
}

#[tokio::test]
async fn a_result_that_cannot_be_kept_blocks() {
    let journal = Journal::builder("memory:").max_value(10).open().await.unwrap();
    let long = |_: Op| ready(Ok::<_, Failed>("x".repeat(100)));
    let unasked = |_: Op| ready(Err::<Probe<String>, _>(Failed::new("", "asked")));
    let error = journal.once("ask", "18").run(unasked, long).await.unwrap_err();
    let RunError::Blocked { why, .. } = &error else { panic!("{error}") };
    assert!(why.contains("has 102 bytes, at most 10 are allowed (max_value)"), "{why}");
    assert_eq!(state(&journal, "ask/18").await, State::Blocked, "it happened: it must not happen again");
    let error = journal.once("ask", "19").input(&"x".repeat(100)).run(unasked, long).await.unwrap_err();
    assert!(matches!(error, RunError::TooLarge { .. }), "{error}");
    assert!(journal.show(&RunId::new("ask", "19")).await.is_err(), "nothing was begun");
}

on_every_store! {
    async fn a_result_of_another_type_is_told_with_its_place(journal: Journal) {
        journal.once("pay", "18").run(unasked, value(7)).await.unwrap();
        let unasked = |_: Op| ready(Err::<Probe<String>, _>(Failed::new("", "asked")));
        let uncalled = |_: Op| ready(Err::<String, _>(Failed::new("", "called")));
        let wrong = journal.once("pay", "18").run(unasked, uncalled).await.unwrap_err().to_string();
        assert!(wrong.contains("String") && wrong.contains("line 1 column 1"), "{wrong}");
        assert_eq!(state(&journal, "pay/18").await, State::Ok);
    }
}

on_every_store! {
    async fn the_second_caller_gets_no_other_number_than_the_first(journal: Journal) {
        let nan = |_: Op| ready(Ok::<_, Failed>(Some(f64::NAN)));
        let unasked = |_: Op| ready(Err::<Probe<Option<f64>>, _>(Failed::new("", "asked")));
        let first = journal.once("mean", "18").run(unasked, nan).await.unwrap_err();
        let why = "mean/18 is blocked: the result holds a number that JSON cannot hold (NaN or infinite)";
        assert_eq!(first.to_string(), why);
        assert_eq!(journal.once("mean", "18").run(unasked, nan).await, Err(first), "it was called: it is not called again");
    }
}

/// 100 duplicates by one journal, and by two on one database, as two processes have it.
async fn hundred(url: &str) {
    let journals = [Journal::open(url).await.unwrap(), Journal::open(url).await.unwrap()];
    for (key, journals) in [("one journal", &journals[..1]), ("two journals", &journals[..])] {
        let calls = Arc::new(AtomicU32::new(0));
        let all: Vec<_> = (0..100)
            .map(|at| {
                let (journal, calls) = (journals[at % journals.len()].clone(), calls.clone());
                tokio::spawn(async move {
                    let call = |_| async {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        Ok::<u32, Failed>(calls.fetch_add(1, Ordering::Relaxed) + 1)
                    };
                    journal.once("pay", key).run(unasked, call).await
                })
            })
            .collect();
        for one in all {
            assert_eq!(one.await.unwrap(), Ok(1), "{key}");
        }
        assert_eq!(calls.load(Ordering::Relaxed), 1, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_duplicates_one_calls_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    hundred(&format!("sqlite:{}", folder.path().join("agent.db").display())).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_duplicates_one_calls_on_postgres() {
    hundred(stormproof_testpg::Database::create().unwrap().url()).await;
}
