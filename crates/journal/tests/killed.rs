//! T80, X26 as it happens: a process is killed in the middle, and the next one goes on. The agents have no arguments, so
//! they keep what they know in the file `stormproof.db` of the folder they work in, or where the environment says.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test may stop at the first surprise")]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use stormproof_journal::{AgentError, CheckpointedAgent, Failed, IdempotentAgent, Op, Probe, RunError};

/// Says to a process what it is: `NAME` or `NAME hang`.
const ROLE: &str = "STORMPROOF_TEST_ROLE";

fn start(role: &str, folder: &Path, journal: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_process_that_may_be_killed", "--ignored"]).current_dir(folder).env(ROLE, role);
    command.env_remove("STORMPROOF_JOURNAL").envs(journal.map(|url| ("STORMPROOF_JOURNAL", url)));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// Writes down what this process does, so that it stays when the process does not.
fn note(line: &str) {
    let mut log: File = OpenOptions::new().create(true).append(true).open("log").unwrap();
    writeln!(log, "{line}").unwrap();
}

/// Kills a process of this role where it hangs, and lets another of its kind come to its end.
fn kill_and_go_on(role: &str, folder: &Path, journal: Option<&str>) {
    let mut first = start(&format!("{role} hang"), folder, journal);
    let began = Instant::now();
    while !log(folder).ends_with("hangs\n") {
        assert!(began.elapsed() < Duration::from_secs(30), "{}", log(folder));
        std::thread::sleep(Duration::from_millis(10));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(start(role, folder, journal).wait().unwrap().success(), "{}", log(folder));
}

#[test]
fn t80_x26_killed_in_step_2_the_next_process_goes_on_at_step_2() {
    let folder = tempfile::tempdir().unwrap();
    kill_and_go_on("checkpointed", folder.path(), None);
    assert_eq!(log(folder.path()), "one\ntwo\nhangs\ntwo\nthree\n6\n");
    assert!(folder.path().join("stormproof.db").exists());
}

#[test]
fn t80_killed_in_an_action_the_probe_decides() {
    let folder = tempfile::tempdir().unwrap();
    kill_and_go_on("idempotent", folder.path(), Some("sqlite:elsewhere.db"));
    assert_eq!(log(folder.path()), "pays\nhangs\nprobe\n7\n7\n");
    assert!(folder.path().join("elsewhere.db").exists() && !folder.path().join("stormproof.db").exists());
}

#[test]
fn t80_killed_in_an_action_without_a_probe_nothing_is_guessed() {
    let folder = tempfile::tempdir().unwrap();
    kill_and_go_on("unprobed", folder.path(), None);
    assert_eq!(log(folder.path()), "pays\nhangs\nblocked\n");
}

#[tokio::test]
#[ignore = "a part that the other tests start"]
async fn a_process_that_may_be_killed() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let hangs = role.ends_with(" hang");
    match role.split(' ').next() {
        Some("checkpointed") => checkpointed(hangs).await,
        Some("idempotent") => idempotent(hangs).await,
        _ => unprobed(hangs).await,
    }
}

async fn hang() {
    note("hangs");
    std::future::pending::<()>().await;
}

async fn checkpointed(hangs: bool) {
    let step = |name: &'static str, number: u32| {
        move |sum: u32| async move {
            note(name);
            if hangs && number == 2 {
                hang().await;
            }
            Ok::<_, Failed>(sum + number)
        }
    };
    let agent = CheckpointedAgent::new()
        .step("one", step("one", 1))
        .step("two", step("two", 2))
        .step("three", step("three", 3));
    note(&agent.run("incident-7", 0).await.unwrap().to_string());
}

async fn pay(hangs: bool) -> Result<u32, Failed> {
    note("pays");
    if hangs {
        hang().await;
    }
    Ok(7)
}

async fn idempotent(hangs: bool) {
    let agent = IdempotentAgent::new();
    let probe = |_: Op| async {
        note("probe");
        Ok::<_, Failed>(Probe::Done(7))
    };
    for _ in 0..2 {
        let receipt = agent.run_with("pay", &["order-18"], probe, |_| pay(hangs)).await.unwrap();
        note(&receipt.to_string());
    }
}

async fn unprobed(hangs: bool) {
    let answer = IdempotentAgent::new().run("pay", &["order-18"], |_| pay(hangs)).await;
    let Err(AgentError::Run(RunError::Blocked { .. })) = answer else { panic!("{answer:?}") };
    note("blocked");
}
