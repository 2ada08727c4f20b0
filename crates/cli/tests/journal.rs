//! `stormproof journal`, as an operator runs it, beside a program that uses the journal.
#![cfg(test)]

use std::future::ready;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use stormproof_journal::{Ctx, Failed, Journal, Op, Probe, RunId, State};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stormproof");

/// A journal in a folder of its own, and the program beside it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("agent.db")
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    async fn open(&self) -> Journal {
        Journal::open(self.url()).await.unwrap()
    }

    /// What the program answers: its exit code, output and errors.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(PROGRAM);
        command.arg("journal").args(args).env("STORMPROOF_JOURNAL", self.url()).current_dir(self.folder.path());
        said(&mut command)
    }

    fn ok(&self, args: &[&str]) -> String {
        let (code, out, err) = self.run(args);
        assert_eq!(code, 0, "{args:?}: {out}{err}");
        out
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }
}

fn said(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn refuse(_: Op) -> std::future::Ready<Result<Probe<u32>, Failed>> {
    ready(Ok(Probe::Refuse("the bank does not say".into())))
}

/// `pay/KEY`, blocked: the call failed, and its probe cannot tell whether it happened.
async fn block(journal: &Journal, key: &str) {
    let secret = json!({ "token": "s3cret" });
    let once = || journal.once("pay", key).input(&secret);
    let lost = |_: Op| ready(Err::<u32, _>(Failed::new("lost", "no answer")));
    once().run(refuse, lost).await.unwrap_err();
    once().run(refuse, lost).await.unwrap_err();
}

async fn done(journal: &Journal, key: &str) {
    let value = |_: Op| ready(Ok::<_, Failed>("s3cret".to_owned()));
    let probe = |_: Op| ready(Ok::<Probe<String>, Failed>(Probe::Rerun));
    journal.once("ask", key).run(probe, value).await.unwrap();
}

#[test]
fn a_command_without_a_journal_says_how_to_give_one() {
    let mut command = Command::new(PROGRAM);
    let (code, out, err) = said(command.args(["journal", "list"]).env_remove("STORMPROOF_JOURNAL"));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("--journal URL") && err.contains("STORMPROOF_JOURNAL") && err.contains("sqlite:"), "{err}");
}

#[test]
fn a_typo_makes_no_journal() {
    let place = Place::new();
    for args in [&["list"][..], &["show", "a/b"], &["gc"], &["cancel", "a/b"]] {
        let (code, out, err) = place.run(args);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains("agent.db"), "{err}");
    }
    assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 0, "nothing was made");
    for url in ["agent.db", "mysql://host/x", "", "sqlite:"] {
        let (code, _, err) = place.run(&["list", "--journal", url]);
        assert!(code == 2 && !err.is_empty(), "{url}: {err}");
    }
    assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 0, "nothing was made");
}

#[tokio::test]
async fn a_file_that_is_no_journal_is_told_and_left_alone() {
    let place = Place::new();
    let refused = |file: &Path, hint: &str| {
        let before = std::fs::read(file).unwrap();
        let (code, out, err) = place.run(&["list"]);
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains(hint) && err.contains("agent.db"), "{err}");
        assert_eq!(std::fs::read(file).unwrap(), before);
    };
    std::fs::write(place.path(), "notes about agents\n".repeat(20)).unwrap();
    refused(&place.path(), "damaged");
    std::fs::remove_file(place.path()).unwrap();
    std::fs::write(place.path(), "").unwrap();
    refused(&place.path(), "journal");
    std::fs::remove_file(place.path()).unwrap();

    done(&place.open().await, "1").await;
    let connection = stormproof_journal::rusqlite::Connection::open(place.path()).unwrap();
    connection.execute("update stormproof_meta set version = 99", []).unwrap();
    drop(connection);
    let (code, _, err) = place.run(&["list"]);
    assert!(code == 2 && err.contains("schema 99") && err.contains("use a newer stormproof"), "{err}");
}

#[test]
fn a_command_line_that_is_not_valid_is_told() {
    let place = Place::new();
    for (args, hint) in [
        (&["list", "--state", "stuck"][..], "queued, running, blocked, ok, err, cancelled"),
        (&["show", "order-18"], "WORKFLOW/KEY"),
        (&["resume"], "RUNS"),
        (&["resume", "a/b", "--rerun", "--done", "1"], "cannot be used with"),
        (&["resume", "a/b", "--done", "{"], "EOF"),
        (&["resume", "a/b", "--kind", "diverged"], "cannot be used with"),
        (&["fork", "a/b"], "--before"),
        (&["list", "--values"], "--json"),
        (&["gc", "--older-than", "long"], "older-than"),
    ] {
        let (code, _, err) = place.run(args);
        assert!(code == 2 && err.contains(hint), "{args:?}: {err}");
    }
}

#[tokio::test]
async fn runs_are_listed_and_chosen() {
    let place = Place::new();
    let journal = place.open().await;
    done(&journal, "1").await;
    block(&journal, "order-18").await;
    let table = place.ok(&["list"]);
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("RUN") && lines[1].starts_with("pay/order-18  blocked"), "{table}");
    assert!(lines[1].contains("refused: ") && lines[2].starts_with("ask/1         ok"), "{table}");

    let ids = |args: &[&str]| -> Vec<String> {
        let runs = place.json(&[&["list"], args].concat());
        runs.as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&[]), ["pay/order-18", "ask/1"]);
    assert_eq!(ids(&["--state", "ok,err"]), ["ask/1"]);
    assert_eq!(ids(&["--workflow", "pay"]), ["pay/order-18"]);
    assert_eq!(ids(&["--contains", "order"]), ["pay/order-18"]);
    assert_eq!(ids(&["--limit", "1"]), ["pay/order-18"]);
    assert_eq!(ids(&["--older-than", "1h"]), Vec::<String>::new());
    assert_eq!(place.ok(&["list", "--state", "running"]), "no runs match\n");
    let (_, _, err) = place.run(&["list", "--limit", "1"]);
    assert!(err.contains("the newest 1"), "{err}");
}

#[tokio::test]
async fn a_run_is_shown_without_its_secrets() {
    let place = Place::new();
    let journal = place.open().await;
    block(&journal, "order-18").await;
    done(&journal, "1").await;
    let page = place.ok(&["show", "pay/order-18"]);
    for line in [
        "pay/order-18: blocked\n",
        "the bank does not say",
        "Nobody knows whether step 1 `pay` happened. Ask whoever it calls, by the key ",
        "stormproof journal resume pay/order-18 --rerun\n",
        "1     pay   effect  begun",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    let all = [
        place.ok(&["list"]),
        place.ok(&["list", "--json"]),
        page,
        place.ok(&["show", "ask/1"]),
        place.ok(&["show", "ask/1", "--json"]),
    ];
    assert!(!all.concat().contains("s3cret"), "{}", all.concat());

    assert!(place.ok(&["show", "ask/1", "--values"]).contains("\"s3cret\""));
    let shown = place.json(&["show", "pay/order-18", "--values"]);
    assert_eq!(shown["input"], json!({ "token": "s3cret" }));
    assert_eq!((&shown["state"], &shown["error"]["kind"]), (&json!("blocked"), &json!("refused")));
    assert_eq!((&shown["steps"][0]["number"], &shown["steps"][0]["state"]), (&json!(1), &json!("begun")));
    assert_eq!(shown["advice"]["ways"][2]["command"], "stormproof journal resume pay/order-18");
    assert!(shown["created_at"].as_str().unwrap().ends_with('Z'), "{shown}");

    let (code, out, err) = place.run(&["show", "pay/none"]);
    assert_eq!((code, out.as_str(), err.as_str()), (1, "", "stormproof: there is no run pay/none\n"));
}

#[tokio::test]
async fn an_operator_decides_what_became_of_an_effect() {
    let place = Place::new();
    let journal = place.open().await;
    for key in ["done", "rerun", "ask"] {
        block(&journal, key).await;
    }
    let secret = json!({ "token": "s3cret" });
    let call = |_: Op| ready(Ok::<u32, Failed>(2));
    assert_eq!(place.ok(&["resume", "pay/done", "--done", "41"]), "pay/done: queued again\n");
    assert_eq!(journal.once("pay", "done").input(&secret).run(refuse, call).await, Ok(41));
    assert_eq!(place.ok(&["resume", "pay/rerun", "--rerun"]), "pay/rerun: queued again\n");
    assert_eq!(journal.once("pay", "rerun").input(&secret).run(refuse, call).await, Ok(2));
    assert_eq!(place.ok(&["resume", "pay/ask"]), "pay/ask: queued again\n");
    journal.once("pay", "ask").input(&secret).run(refuse, call).await.unwrap_err();

    let (code, out, err) = place.run(&["resume", "pay/done", "pay/ask", "pay/none"]);
    assert_eq!((code, out.as_str()), (1, "pay/ask: queued again\n"), "the others are resumed all the same");
    assert!(
        err.contains("pay/done is ok: only a run that is blocked") && err.contains("there is no run pay/none"),
        "{err}"
    );
}

#[tokio::test]
async fn all_that_is_blocked_for_one_reason_is_resumed() {
    let place = Place::new();
    let journal = place.open().await;
    for key in ["1", "2"] {
        block(&journal, key).await;
    }
    assert_eq!(place.ok(&["resume", "--all-blocked", "--kind", "diverged"]), "no runs match\n");
    let resumed = place.json(&["resume", "--all-blocked", "--kind", "refused"]);
    assert_eq!(resumed.as_array().unwrap().len(), 2);
    assert!(resumed[0]["state"] == "queued" && resumed[1]["error"].is_null(), "{resumed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_work_while_a_worker_runs() {
    let place = Place::new();
    let journal = Journal::builder(place.url()).poll(Duration::from_millis(50)).open().await.unwrap();
    journal.workflow("count", "1", |cx: Ctx, fail: bool| async move {
        let one = cx.step("one", |_| ready(Ok::<_, Failed>(1))).await?;
        let two =
            cx.step("two", |_| ready(if fail { Err(Failed::new("lost", "no answer").keep()) } else { Ok(2) })).await?;
        cx.wait::<u32>("more").await.map(|more| one + two + more)
    });
    let serving = journal.clone();
    tokio::spawn(async move { serving.serve(4).await });
    let waits = journal.start("count", "waits", &false).await.unwrap();
    let fails = journal.start("count", "fails", &true).await.unwrap();
    fails.result::<u32>().await.unwrap_err();

    let page = place.ok(&["show", "count/fails"]);
    assert!(page.contains("This error is the answer") && page.contains("lost: no answer"), "{page}");
    let (code, _, err) = place.run(&["fork", "count/fails", "--before", "three"]);
    assert!(code == 1 && err.contains("has no step `three`"), "{err}");

    let until = async |id: &str, state: State| {
        let run = RunId::parse(id);
        while journal.show(&run).await.unwrap().run.state != state {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Put away: it waits for a message, as does a copy of it.
    until("count/waits", State::Queued).await;
    for command in [&["show", "count/waits"][..], &["list"]] {
        assert!(place.ok(command).contains("waits for `more`"), "{command:?}");
    }
    assert_eq!(
        place.ok(&["fork", "count/waits", "--before", "two"]),
        "count/waits-fork-1: queued, goes on before step 2 of count/waits\n"
    );
    let copy = place.json(&["fork", "count/waits", "--before", "2", "--as", "again"]);
    assert_eq!((&copy["id"], &copy["forked_from"]), (&json!("count/again"), &json!("count/waits")));
    let (code, _, err) = place.run(&["fork", "count/waits", "--before", "2", "--as", "fails"]);
    assert!(code == 1 && err.contains("give the copy another key"), "{err}");
    assert!(place.ok(&["fork", "count/waits", "--before", "2"]).starts_with("count/waits-fork-2: "));

    journal.signal(&RunId::parse("count/again"), "more", "1", &3).await.unwrap();
    assert_eq!(journal.handle(&RunId::parse("count/again")).result::<u32>().await, Ok(6));

    assert_eq!(
        place.ok(&["cancel", "count/waits", "count/waits-fork-1"]),
        "count/waits: cancelled\ncount/waits-fork-1: cancelled\n"
    );
    assert!(waits.result::<u32>().await.unwrap_err().to_string().contains("was cancelled"));
    let (code, _, err) = place.run(&["cancel", "count/again"]);
    assert!(code == 1 && err.contains("count/again is ok: only a run that has not ended"), "{err}");
}

#[tokio::test]
async fn old_runs_are_forgotten() {
    let place = Place::new();
    let journal = place.open().await;
    for key in ["1", "2", "3"] {
        done(&journal, key).await;
    }
    block(&journal, "order-18").await;
    assert!(place.ok(&["gc"]).starts_with("forgot 0 runs, 0 steps, "), "they are young");
    assert!(place.ok(&["gc", "--keep", "1", "--dry-run"]).starts_with("would forget 2 runs, 2 steps, "));
    assert_eq!(place.json(&["list"]).as_array().unwrap().len(), 4, "only counted");
    assert_eq!(place.json(&["gc", "--keep", "1"])["runs"], 2);
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(place.json(&["gc", "--older-than", "1ms"])["runs"], 1);
    let left = place.json(&["list"]);
    assert_eq!((left.as_array().unwrap().len(), &left[0]["id"]), (1, &json!("pay/order-18")), "what is blocked stays");
}

#[tokio::test]
async fn a_locked_journal_can_be_read_and_is_told_on_writes() {
    let place = Place::new();
    let journal = place.open().await;
    block(&journal, "order-18").await;
    drop(journal);
    let other = stormproof_journal::rusqlite::Connection::open(place.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(place.ok(&["show", "pay/order-18"]).contains("blocked"));
    let (code, _, err) = place.run(&["cancel", "pay/order-18"]);
    assert!(code == 1 && err.contains("agent.db") && err.contains("lock"), "{err}");
}

#[tokio::test]
async fn a_journal_on_postgres_is_read_and_never_made() {
    let place = Place::new();
    let database = stormproof_testpg::Database::create().unwrap();
    let (code, out, err) = place.run(&["list", "--journal", database.url()]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("no tables of a journal"), "{err}");
    assert_eq!(database.query("select count(*) from pg_namespace where nspname = 'stormproof'").unwrap(), "0");

    let journal = Journal::open(database.url()).await.unwrap();
    block(&journal, "order-18").await;
    assert!(place.ok(&["list", "--journal", database.url()]).contains("pay/order-18  blocked"));
    assert_eq!(place.ok(&["cancel", "pay/order-18", "--journal", database.url()]), "pay/order-18: cancelled\n");

    let (code, _, err) =
        place.run(&["list", "--journal", "postgres://operator:s3cret@127.0.0.1:9/agents?connect_timeout=1"]);
    assert!(code == 2 && err.contains("127.0.0.1") && !err.contains("s3cret"), "{err}");
}
