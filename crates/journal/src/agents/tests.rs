//! T80: an idempotent agent gives again what it gave, a checkpointed one goes on at the step that a crash cut off.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::future::ready;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use super::*;
use crate::{Decision, Failed, Op, Probe, RunId, State};

async fn memory() -> Journal {
    Journal::open("memory:").await.unwrap()
}

#[tokio::test]
async fn t80_a_second_run_with_the_same_name_and_parameters_returns_the_stored_result() {
    let agent = IdempotentAgent::with(&memory().await);
    let calls = AtomicU32::new(0);
    let insert = |_: Op| ready(Ok::<_, Failed>(calls.fetch_add(1, Ordering::Relaxed)));
    assert_eq!(agent.run("insert", &json!({ "a": 1, "b": { "c": 2, "d": 3 } }), insert).await, Ok(0));
    assert_eq!(agent.run("insert", &json!({ "b": { "d": 3, "c": 2 }, "a": 1 }), insert).await, Ok(0), "key order");
    assert_eq!(agent.run("insert", &json!({ "a": 2, "b": { "c": 2, "d": 3 } }), insert).await, Ok(1), "parameters");
    assert_eq!(agent.run("update", &json!({ "a": 1, "b": { "c": 2, "d": 3 } }), insert).await, Ok(2), "name");
    assert_eq!(agent.run("insert", &json!([1, 2]), insert).await, Ok(3));
    assert_eq!(agent.run("insert", &json!([2, 1]), insert).await, Ok(4), "the order in lists matters");
    assert_eq!(agent.run("insert", &json!([2.0, 1.0]), insert).await, Ok(5), "1 and 1.0 are two numbers");
}

#[tokio::test]
async fn t80_failures_are_not_stored() {
    let journal = memory().await;
    let agent = IdempotentAgent::with(&journal);
    let calls = AtomicU32::new(0);
    let third_time = |_: Op| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        ready(if call < 2 { Err(Failed::new("declined", "no")) } else { Ok(call) })
    };
    for _ in 0..2 {
        agent.run("pay", &1, third_time).await.unwrap_err();
    }
    assert_eq!(agent.run("pay", &1, third_time).await, Ok(2));
    assert_eq!(agent.run("pay", &1, third_time).await, Ok(2));

    let keeping = IdempotentAgent::with(&journal).keep_errors();
    let calls = AtomicU32::new(0);
    let fails =
        |_: Op| ready(Err::<u32, _>(Failed::new("declined", calls.fetch_add(1, Ordering::Relaxed).to_string())));
    let first = keeping.run("pay", &2, fails).await;
    assert_eq!(keeping.run("pay", &2, fails).await, first, "unless that is said");
    assert_eq!(calls.into_inner(), 1);
}

#[tokio::test]
async fn without_a_probe_an_action_that_was_cut_off_waits_for_an_operator() {
    let journal = memory().await;
    let agent = IdempotentAgent::with(&journal);
    let hangs = |_: Op| std::future::pending::<Result<u32, Failed>>();
    let cut = std::time::Duration::from_millis(20);
    assert!(tokio::time::timeout(cut, agent.run("pay", &1, hangs)).await.is_err());
    let call = |_: Op| ready(Ok::<u32, Failed>(7));
    let blocked = agent.run("pay", &1, call).await.unwrap_err();
    let AgentError::Run(RunError::Blocked { run, .. }) = blocked else { panic!("{blocked}") };
    journal.resume(&run, Decision::Rerun).await.unwrap();
    assert_eq!(agent.run("pay", &1, call).await, Ok(7));
    // With one, it decides.
    assert!(tokio::time::timeout(cut, agent.run("pay", &2, hangs)).await.is_err());
    let found = |_: Op| ready(Ok::<_, Failed>(Probe::Done(9)));
    assert_eq!(agent.run_with("pay", &2, found, call).await, Ok(9));
}

#[tokio::test]
async fn cut_off_after_an_error_it_is_open_again() {
    let agent = IdempotentAgent::with(&memory().await);
    agent.run("pay", &1, |_: Op| ready(Err::<u32, _>(Failed::new("declined", "no")))).await.unwrap_err();
    let hangs = |_: Op| std::future::pending::<Result<u32, Failed>>();
    assert!(tokio::time::timeout(std::time::Duration::from_millis(20), agent.run("pay", &1, hangs)).await.is_err());
    let error = agent.run("pay", &1, |_: Op| ready(Ok::<u32, Failed>(7))).await.unwrap_err();
    assert!(matches!(error, AgentError::Run(RunError::Blocked { .. })), "the error was of another attempt: {error}");
}

#[tokio::test]
async fn what_was_reset_runs_again_and_nothing_that_is_open_is_reset() {
    let journal = memory().await;
    let agent = IdempotentAgent::with(&journal).keep_errors();
    let calls = AtomicU32::new(0);
    let insert = |_: Op| ready(Ok::<_, Failed>(calls.fetch_add(1, Ordering::Relaxed)));
    assert_eq!(agent.reset("insert", &json!({ "a": 1, "b": 2 })).await, Ok(false), "nothing is there");
    assert_eq!(agent.run("insert", &json!({ "a": 1, "b": 2 }), insert).await, Ok(0));
    assert_eq!(agent.run("insert", &json!({ "a": 2 }), insert).await, Ok(1));

    assert_eq!(agent.reset("insert", &json!({ "b": 2, "a": 1 })).await, Ok(true), "the order of keys does not matter");

    assert_eq!(agent.run("insert", &json!({ "a": 1, "b": 2 }), insert).await, Ok(2));
    assert_eq!(agent.run("insert", &json!({ "a": 2 }), insert).await, Ok(1), "another action is left alone");
    let fails = |_: Op| ready(Err::<u32, _>(Failed::new("declined", "no")));
    agent.run("pay", &1, fails).await.unwrap_err();
    assert_eq!(agent.reset("pay", &1).await, Ok(true), "an error that was kept, too");
    let hangs = |_: Op| std::future::pending::<Result<u32, Failed>>();
    assert!(tokio::time::timeout(std::time::Duration::from_millis(20), agent.run("pay", &1, hangs)).await.is_err());
    agent.run("pay", &1, fails).await.unwrap_err();
    let blocked = agent.reset("pay", &1).await.unwrap_err().to_string();
    assert!(
        blocked.ends_with(" is blocked: only a run that has ended can be forgotten: resume or cancel it first"),
        "{blocked}"
    );
    for error in [agent.reset("a/b", &1).await.unwrap_err(), agent.run("a/b", &1, insert).await.unwrap_err()] {
        assert!(error.to_string().starts_with("action \"a/b\" is not valid: "), "{error}");
    }
}

#[tokio::test]
async fn an_id_that_was_begun_with_other_steps_says_which() {
    let journal = memory().await;
    let agent = |names: &[&str]| {
        let agent = CheckpointedAgent::with(&journal).named("incident");
        names.iter().fold(agent, |agent, name| agent.step(*name, |n: u32| ready(Ok::<_, Failed>(n))))
    };
    assert_eq!(agent(&["collect", "tell"]).run("7", 1).await, Ok(1));
    let error = agent(&["collect", "conclude", "tell"]).run("7", 1).await.unwrap_err().to_string();
    assert!(error.starts_with("incident/7 was started with version collect, tell #"), "{error}");
    assert!(error.contains(", not collect, conclude, tell #"), "{error}");
    assert!(agent(&["collect, tell"]).run("7", 1).await.is_err(), "one step of that name is another version");
    let error = agent(&[]).run("", 1).await.unwrap_err().to_string();
    assert!(error.starts_with("id \"\" is not valid: "), "{error}");
    let long = "ä\n".repeat(100);
    assert_eq!(agent(&[&long]).run("8", 1).await, Ok(1), "whatever steps are called");
    assert_eq!(agent(&[]).run("9", 1).await, Ok(1));
}

/// An agent of three steps that writes down what it does; the second fails the first time.
fn three(journal: &Journal, log: &'static Mutex<Vec<String>>, fail: &'static AtomicU32) -> CheckpointedAgent<Vec<u32>> {
    let step = |number: u32| {
        move |mut state: Vec<u32>| async move {
            log.lock().unwrap().push(format!("{number}{state:?}"));
            if number == 2 && fail.fetch_add(1, Ordering::Relaxed) == 0 {
                return Err(Failed::new("crash", "in step 2"));
            }
            state.push(number);
            Ok(state)
        }
    };
    CheckpointedAgent::with(journal).step("one", step(1)).step("two", step(2)).step("three", step(3))
}

#[tokio::test]
async fn t80_x26_after_a_failure_in_step_2_it_goes_on_at_step_2() {
    static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());
    static FAIL: AtomicU32 = AtomicU32::new(0);
    let journal = memory().await;
    let failed = three(&journal, &LOG, &FAIL).run("incident-7", vec![0]).await.unwrap_err();
    assert!(matches!(&failed, AgentError::Run(RunError::Failed { kind, .. }) if &**kind == "crash"), "{failed}");
    // The next process makes its agent anew.
    assert_eq!(three(&journal, &LOG, &FAIL).run("incident-7", vec![0]).await, Ok(vec![0, 1, 2, 3]));
    assert_eq!(*LOG.lock().unwrap(), ["1[0]", "2[0, 1]", "2[0, 1]", "3[0, 1, 2]"]);
    assert_eq!(three(&journal, &LOG, &FAIL).run("incident-7", vec![0]).await, Ok(vec![0, 1, 2, 3]));
    assert_eq!(LOG.lock().unwrap().len(), 4, "what has ended is not done again");
    let history = journal.show(&RunId::new("checkpointed", "incident-7")).await.unwrap();
    assert_eq!((history.run.state, history.steps.len()), (State::Ok, 3));
    let reused = three(&journal, &LOG, &FAIL).run("incident-7", vec![1]).await.unwrap_err();
    assert!(matches!(reused, AgentError::Run(RunError::KeyReused { .. })), "{reused}");
}

#[tokio::test]
async fn t80_x26_cut_off_in_step_2_it_goes_on_at_step_2() {
    static LOG: Mutex<Vec<u32>> = Mutex::new(Vec::new());
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("agent.db").display());
    for round in 0..2 {
        let journal = Journal::open(&url).await.unwrap();
        let step = |number: u32| {
            move |state: u32| async move {
                LOG.lock().unwrap().push(number);
                if number == 2 && round == 0 {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Failed>(state + number)
            }
        };
        let agent = CheckpointedAgent::with(&journal).step("one", step(1)).step("two", step(2)).step("three", step(3));
        let limit = std::time::Duration::from_millis(if round == 0 { 300 } else { 60_000 });
        let answer = tokio::time::timeout(limit, agent.run("incident-7", 0)).await;
        assert_eq!(answer.ok(), (round == 1).then_some(Ok(6)));
    }
    assert_eq!(*LOG.lock().unwrap(), [1, 2, 2, 3]);
}

#[tokio::test]
async fn an_agent_without_arguments_opens_its_journal_at_the_first_call() {
    let _ = (IdempotentAgent::new(), CheckpointedAgent::<u32>::new());
    assert!(!std::path::Path::new("stormproof.db").exists());
}
