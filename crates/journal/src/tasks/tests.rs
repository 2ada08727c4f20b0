#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use stormproof::loop_guard::Verdict;

use super::*;

const CALL: (&str, &str) = ("build", "{}");

async fn call(task: &TaskGuard) -> Result<Verdict, TaskError> {
    task.observe(|guard| guard.before_call(CALL.0, CALL.1)).await
}

/// A journal in a file, and the folder it is in.
fn file() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("agent.db").display());
    (folder, url)
}

#[tokio::test]
async fn a_loop_that_begins_again_in_each_process_is_found() {
    let (_folder, url) = file();
    for process in 1..=3 {
        let journal = Journal::open(&url).await.unwrap();
        let task = journal.guard("task-7", Config::default()).await.unwrap();
        assert!(call(&task).await.unwrap().is_allow(), "process {process}");
    }
    let journal = Journal::open(&url).await.unwrap();
    let task = journal.guard("task-7", Config::default()).await.unwrap();
    assert!(matches!(call(&task).await.unwrap(), Verdict::Nudge { .. }));
    drop(task);
    let task = journal.guard("task-7", Config::default()).await.unwrap();
    assert!(matches!(call(&task).await.unwrap(), Verdict::Block { .. }), "after a restart it is not nudged again");
    let other = journal.guard("task-8", Config::default()).await.unwrap();
    assert!(call(&other).await.unwrap().is_allow(), "another task has a memory of its own");
}

#[tokio::test]
async fn the_last_process_to_ask_has_the_task() {
    let (_folder, url) = file();
    let journals = [Journal::open(&url).await.unwrap(), Journal::open(&url).await.unwrap()];
    let first = journals[0].guard("task-7", Config::default()).await.unwrap();
    assert!(call(&first).await.unwrap().is_allow());
    let second = journals[1].guard("task-7", Config::default()).await.unwrap();
    assert!(call(&second).await.unwrap().is_allow());
    let taken = call(&first).await.unwrap_err();
    assert_eq!(taken.to_string(), "task task-7 was taken over by another process: this one must end");
    assert_eq!(call(&first).await.unwrap_err(), taken, "for good");
    assert!(call(&second).await.unwrap().is_allow());
    assert!(!call(&second).await.unwrap().is_allow(), "what the first saw before is counted, what it saw after is not");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_ask_at_once_one_has_it() {
    let (_folder, url) = file();
    let journals = [Journal::open(&url).await.unwrap(), Journal::open(&url).await.unwrap()];
    let asking: Vec<_> = (0..16)
        .map(|at| {
            let journal = journals[at % 2].clone();
            tokio::spawn(async move { journal.guard("task-7", Config::default()).await })
        })
        .collect();
    let mut guards = Vec::new();
    for asked in asking {
        guards.extend(asked.await.unwrap());
    }
    let mut alive = 0;
    for guard in &guards {
        alive += u32::from(call(guard).await.is_ok());
    }
    assert_eq!(alive, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn observations_side_by_side_are_all_kept() {
    let journal = Journal::open("memory:").await.unwrap();
    let task = journal.guard("task-7", Config::default()).await.unwrap();
    let observing: Vec<_> = (0..20)
        .map(|file| {
            let task = task.clone();
            tokio::spawn(
                async move { task.observe(|guard| guard.before_call("read", &format!("file_{file}.rs"))).await },
            )
        })
        .collect();
    for observed in observing {
        assert!(observed.await.unwrap().unwrap().is_allow());
    }
    let kept = journal.0.store.task("task-7").await.unwrap().unwrap();
    assert_eq!(kept.rev, 21);
    assert!(kept.state.contains("\"made\":20,"), "{}", kept.state);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observation_nobody_waited_for_does_not_look_like_another_process() {
    let (_folder, url) = file();
    let journal = Journal::open(&url).await.unwrap();
    let task = journal.guard("task-7", Config::default()).await.unwrap();
    for file in 0..60 {
        let name = format!("file_{file}.rs");
        // Given up before it has begun, on the way, or when it is done.
        let observed = task.observe(|guard| guard.before_call("read", &name));
        let _ =
            tokio::time::timeout(Duration::from_micros(60 * (file % 7)), observed).await.is_ok_and(|kept| kept.is_ok());
        if file % 5 == 4 {
            assert!(task.observe(|guard| guard.before_call("read", &name)).await.unwrap().is_allow(), "{file}");
        }
    }
    let second = journal.guard("task-7", Config::default()).await.unwrap();
    assert!(matches!(call(&task).await, Err(TaskError::Taken { .. })));
    assert!(call(&second).await.unwrap().is_allow());
}

#[tokio::test]
async fn a_task_that_is_done_or_old_is_forgotten() {
    static NOW: AtomicU64 = AtomicU64::new(1_700_000_000);
    let clock = || SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.load(Ordering::Relaxed));
    let journal =
        Journal::builder("memory:").wall_clock(clock).retention(Duration::from_secs(60)).open().await.unwrap();
    let restarts = async |task: &str| {
        let task = journal.guard(task, Config::default()).await.unwrap();
        task.guard().snapshot().get("restarts", "")
    };
    journal.guard("done", Config::default()).await.unwrap().done().await.unwrap();
    assert_eq!(restarts("done").await, Some(0.0));
    assert_eq!(restarts("old").await, Some(0.0));
    assert_eq!(restarts("old").await, Some(1.0));
    NOW.fetch_add(61, Ordering::Relaxed);
    assert_eq!(restarts("old").await, Some(0.0));
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_left() {
    let journal = Journal::open("memory:").await.unwrap();
    let task = Task { rev: 1, state: "{\"version\":99}".into() };
    journal.0.store.keep_task("task-7", &task, Duration::from_secs(60)).await.unwrap();
    let newer = journal.guard("task-7", Config::default()).await.unwrap_err();
    assert!(matches!(newer, TaskError::Restore { why: RestoreError::Version { found: 99 }, .. }), "{newer}");
    let task = Task { rev: 2, state: "rubbish".into() };
    journal.0.store.keep_task("task-7", &task, Duration::from_secs(60)).await.unwrap();
    let rubbish = journal.guard("task-7", Config::default()).await.unwrap_err();
    assert!(rubbish.to_string().contains("task task-7 cannot be read: expected value"), "{rubbish}");
    assert_eq!(journal.0.store.task("task-7").await.unwrap(), Some(task));
}

#[tokio::test]
async fn a_task_without_an_id_and_a_wrong_configuration_are_refused() {
    let journal = Journal::open("memory:").await.unwrap();
    for id in ["", " ", "a\nb", &"x".repeat(401)] {
        assert!(matches!(journal.guard(id, Config::default()).await, Err(TaskError::Id { .. })), "{id}");
    }
    let config = Config { max_tokens: Some(0), ..Config::default() };
    let wrong = journal.guard("task-7", config).await.unwrap_err();
    assert!(wrong.to_string().contains("max_tokens"), "{wrong}");
}
