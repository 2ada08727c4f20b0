//! Bad input: an error that says what, where and what to do, and the run stays resumable.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stormproof_journal::{Busy, Ctx, Decision, Failed, Journal, OpenError, RunError, RunId};

use crate::bench::{Bench, Calls, look, on_every_store, serve};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Plan {
    cost: u32,
}

on_every_store! {
    async fn empty_and_unsound_keys_are_refused(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("flow", "1", |_: Ctx, (): ()| async move { Ok(()) });
        let text = async |name: &str, key: &str| journal.start(name, key, &()).await.unwrap_err().to_string();
        let key = "1 to 500 bytes, not only blanks, without control characters";
        assert_eq!(text("flow", "").await, format!("key \"\" is not valid: {key}"));
        assert_eq!(text("flow", "  ").await, format!("key \"  \" is not valid: {key}"));
        assert_eq!(text("flow", "a\nb").await, format!("key \"a\\nb\" is not valid: {key}"));
        let name = "1 to 200 bytes, not only blanks, without slash and control characters";
        assert_eq!(text("", "k").await, format!("workflow \"\" is not valid: {name}"));
        assert_eq!(text("a/b", "k").await, format!("workflow \"a/b\" is not valid: {name}"));
    }

    async fn a_workflow_with_a_bad_name_is_not_served(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("a/b", "1", |_: Ctx, (): ()| async move { Ok(()) });
        assert_eq!(
            journal.serve(1).await.unwrap_err().to_string(),
            "workflow \"a/b\" is not valid: 1 to 200 bytes, not only blanks, without slash and control characters"
        );
        let journal = bench.open().await;
        journal.workflow("a", "", |_: Ctx, (): ()| async move { Ok(()) });
        assert_eq!(
            journal.serve(1).await.unwrap_err().to_string(),
            "version \"\" is not valid: 1 to 100 bytes without control characters"
        );
    }

    async fn a_key_with_another_input_or_version_is_refused(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("flow", "3", |_: Ctx, _: HashMap<String, u32>| async move { Ok(()) });
        let input = |pairs: &[(&str, u32)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect::<HashMap<_, _>>();
        journal.start("flow", "k", &input(&[("a", 1), ("b", 2)])).await.unwrap();
        journal.start("flow", "k", &input(&[("b", 2), ("a", 1)])).await.unwrap();
        let error = journal.start("flow", "k", &input(&[("a", 1)])).await.unwrap_err();
        assert_eq!(error, RunError::KeyReused { run: RunId::new("flow", "k"), differs: "another input".into() });
        assert_eq!(error.to_string(), "flow/k was started with another input: use another key, or what it was started with");
        let error = journal.start("flow", "k", &input(&[("a", 1), ("b", 2)])).version("4").await.unwrap_err();
        assert_eq!(error.to_string(), "flow/k was started with version 3, not 4: use another key, or what it was started with");
    }

    async fn a_workflow_that_nobody_registered_is_unknown(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("pay", "1", |_: Ctx, (): ()| async move { Ok(()) });
        journal.workflow("find", "1", |_: Ctx, (): ()| async move { Ok(()) });
        let error = journal.start("fund", "k", &()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "no workflow `fund` is registered in this process (registered: find, pay): register it, or say which version to start, `.version(\"1\")`, if another process serves it"
        );
    }

    async fn a_recorded_value_of_another_type_blocks_the_run_until_the_code_fits(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("flow", "1", |cx: Ctx, (): ()| async move {
            cx.step("plan", |_| async { Ok::<_, Failed>("cheap".to_owned()) }).await?;
            Err::<(), _>(Failed::new("down", ""))
        });
        let served = serve(&journal);
        journal.run::<()>("flow", "k", &()).await.unwrap_err();
        journal.workflow("flow", "1", |cx: Ctx, (): ()| async move {
            let plan: Plan = cx.step("plan", |_| async { Ok::<_, Failed>(Plan { cost: 1 }) }).await?;
            Ok(plan.cost)
        });
        let error = journal.run::<u32>("flow", "k", &()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "flow/k is blocked: the recorded value of step 1 `plan` is no Plan: invalid type: string \"cheap\", expected struct Plan at line 1 column 7"
        );
        let failure = look(&journal, &RunId::new("flow", "k")).await.error.unwrap();
        assert_eq!((failure.kind.as_str(), failure.seq), ("undecodable", Some(1)));
        journal.workflow("flow", "1", |cx: Ctx, (): ()| async move {
            cx.step("plan", |_| async { Ok::<String, Failed>("dear".to_owned()) }).await
        });
        journal.resume(&RunId::new("flow", "k"), Decision::Ask).await.unwrap();
        assert_eq!(journal.run::<String>("flow", "k", &()).await.unwrap(), "cheap");
        drop(served);
    }

    async fn an_input_and_a_result_of_another_type_say_so(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("flow", "1", |_: Ctx, plan: Plan| async move { Ok(plan.cost) });
        let _served = serve(&journal);
        let error = journal.run::<u32>("flow", "input", &"cheap").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "flow/input is blocked: the input: it is no Plan: invalid type: string \"cheap\", expected struct Plan at line 1 column 7"
        );
        let error = journal.run::<Plan>("flow", "result", &Plan { cost: 7 }).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the result of flow/result: it is no Plan: invalid type: integer `7`, expected struct Plan at line 1 column 1"
        );
    }

    async fn what_is_no_json_says_so(bench: &Bench) {
        let journal = bench.open().await;
        let no_json = || HashMap::from([((1_u8, 2_u8), 3_u8)]);
        journal.workflow("flow", "1", move |cx: Ctx, input: bool| async move {
            if input {
                cx.step("one", |_| async { Ok::<_, Failed>(1) }).input(&no_json()).await?;
            }
            Ok(no_json())
        });
        let _served = serve(&journal);
        let error = journal.start("flow", "k", &no_json()).await.unwrap_err();
        assert_eq!(error.to_string(), "the input of flow/k: it cannot be written as JSON: key must be a string");
        let error = journal.run::<()>("flow", "result", &false).await.unwrap_err();
        assert_eq!(error.to_string(), "flow/result is blocked: the result cannot be written as JSON: key must be a string");
        let error = journal.run::<()>("flow", "step", &true).await.unwrap_err();
        assert_eq!(error.to_string(), "flow/step is blocked: the input of step 1 `one` cannot be written as JSON: key must be a string");
    }

    async fn an_error_of_any_length_is_the_error_of_its_step(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("flow", "1", |cx: Ctx, (): ()| async move {
            let body = "x".repeat(2 << 20);
            cx.step("ask", |_| async { Err::<(), _>(Failed::new("http", body.as_str())) }).await
        });
        let _served = serve(&journal);
        let error = journal.run::<()>("flow", "k", &()).await.unwrap_err();
        assert!(matches!(&error, RunError::Failed { step: Some(1), .. }), "{error:.200}");
        assert!(error.to_string().ends_with("xxx… (2080768 bytes more)"));
    }

    async fn a_number_that_json_does_not_have_is_no_other_value_after_a_crash(bench: &Bench) {
        let (journal, calls) = (bench.open().await, Calls::default());
        let counted = calls.clone();
        journal.workflow("mean", "1", move |cx: Ctx, optional: bool| {
            let calls = counted.clone();
            async move {
                calls.call();
                if optional {
                    // Written as null, which would be read back as `None`.
                    let mean = cx.step("mean", |_| async { Ok::<_, Failed>(Some(f64::NAN)) }).await?;
                    return Ok(mean.is_some());
                }
                let mean = cx.step("mean", |_| async { Ok::<_, Failed>(vec![1.0, f32::INFINITY]) }).await?;
                Ok(mean.len() == 2)
            }
        });
        let _served = serve(&journal);
        for optional in [true, false] {
            let error = journal.run::<bool>("mean", &optional.to_string(), &optional).await.unwrap_err();
            let expected = "is blocked: the value of step 1 `mean` holds a number that JSON cannot hold (NaN or infinite)";
            assert_eq!(error.to_string(), format!("mean/{optional} {expected}"));
        }
        assert_eq!(calls.count(), 2);
    }

    async fn a_duplicate_in_flight_is_told_when_to_come_back(bench: &Bench) {
        let journal = bench.open().await;
        journal.workflow("flow", "1", |_: Ctx, (): ()| async move { Ok(5) });
        journal.start("flow", "k", &()).await.unwrap();
        let error = journal.run::<u32>("flow", "k", &()).busy(Busy::Refuse).await.unwrap_err();
        assert_eq!(error.to_string(), "flow/k is in flight; ask again in 20ms");
        let began = std::time::Instant::now();
        let error = journal.run::<u32>("flow", "k", &()).busy(Busy::Join(Duration::from_millis(50))).await.unwrap_err();
        assert!(matches!(error, RunError::InFlight { .. }) && began.elapsed() >= Duration::from_millis(50));
        let _served = serve(&journal);
        assert_eq!(journal.run::<u32>("flow", "k", &()).busy(Busy::Join(Duration::from_secs(10))).await.unwrap(), 5);
        assert_eq!(journal.run::<u32>("flow", "k", &()).busy(Busy::Refuse).await.unwrap(), 5);
    }

    async fn all_mistakes_in_the_settings_are_said_at_once(bench: &Bench) {
        let opened = bench.builder().lease(Duration::from_secs(1)).heartbeat(Duration::from_secs(5)).max_attempts(0).poll(Duration::ZERO).open().await;
        let error = opened.unwrap_err();
        assert!(matches!(error, OpenError::Settings(_)));
        assert_eq!(
            error.to_string(),
            "lease is 1s with a heartbeat of 5s, allowed is at least 3 times the heartbeat; max_attempts is 0, allowed is 1 or more; poll is 0ns, allowed is more than 0"
        );
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_without_its_password() {
    let error = Journal::open("mysql://user:secret@host/db").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`mysql://user@host/db` is no journal: write sqlite:FILE or postgres://USER@HOST/DATABASE"
    );
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let bench = Bench::sqlite();
    drop(bench.open().await);
    let path = bench.url.strip_prefix("sqlite:").unwrap();
    let connection = stormproof_journal::rusqlite::Connection::open(path).unwrap();
    let version: i64 = connection.query_row("select version from stormproof_meta", [], |row| row.get(0)).unwrap();
    connection.execute("update stormproof_meta set version = version + 1", []).unwrap();
    let error = bench.builder().open().await.unwrap_err();
    let expected = format!(
        "the journal at {path} has schema {}, this program knows {version}: use a newer stormproof",
        version + 1
    );
    assert_eq!(error.to_string(), expected);
    assert!(matches!(error, OpenError::Newer { .. }));
}
