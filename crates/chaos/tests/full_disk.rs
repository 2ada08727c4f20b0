//! A disk without room, a real one: a small file system in memory that only this test sees.
#![cfg(target_os = "linux")]
#![cfg(test)]

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use stormproof_chaos::tables::Tables;
use stormproof_journal::{Ctx, Failed, Journal, RunError, StoreError};

const DISK: &str = "STORMPROOF_SMALL_DISK";
const RUNS: usize = 12;
const STEPS: u32 = 10;
/// Per step.
const BYTES: usize = 6_000;

/// Runs `on_a_small_disk` in a mount namespace of its own, where it has a file system of 8 MiB. As root that needs
/// nothing; else the system has to allow user namespaces. If it does not, a limit on the size of files takes the place of
/// the disk.
#[test]
fn a_full_disk_stops_runs_without_loss_and_they_go_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=8m stormproof \"$1\" && touch \"$1/mounted\" && exec \"$0\" --exact on_a_small_disk --ignored --nocapture";
    let limit = "trap '' XFSZ; ulimit -f 700; exec \"$0\" --exact on_a_small_disk --ignored --nocapture";
    let ways: [(&[&str], &str); 3] = [
        (&["unshare", "--mount", "sh", "-c"], mount),
        (&["unshare", "--mount", "--user", "--map-root-user", "sh", "-c"], mount),
        (&["sh", "-c"], limit),
    ];
    for (way, script) in ways {
        let marker = folder.path().join("began");
        let output = Command::new(way[0])
            .args(&way[1..])
            .arg(script)
            .arg(env::current_exe().unwrap())
            .arg(folder.path())
            .env(DISK, folder.path())
            .env("STORMPROOF_BEGAN", &marker)
            .output();
        let Ok(output) = output else { continue };
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            println!("by {way:?}\n{said}");
            return;
        }
        // The test itself began, and failed.
        assert!(!said.contains("running 1 test"), "by {way:?}\n{said}");
    }
    panic!("there is no way to have a full disk here");
}

type Acknowledged = Arc<Mutex<HashMap<(String, u32), String>>>;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the other test, in a place of its own"]
async fn on_a_small_disk() {
    let disk = PathBuf::from(env::var_os(DISK).unwrap());
    let is_mounted = disk.join("mounted").exists();
    // The journal gets less than it needs, until this is taken away.
    let ballast = disk.join("ballast");
    if is_mounted {
        fs::write(&ballast, vec![1; 7_600 * 1024]).unwrap();
    }
    let url = format!("sqlite:{}", disk.join("journal.db").display());
    let journal = open(&url).await;
    let acknowledged = Acknowledged::default();
    work_on(&journal, &acknowledged);
    let serving = tokio::spawn({
        let journal = journal.clone();
        async move { journal.serve(4).await }
    });

    // Starts until there is no more room: the error says so.
    let (mut started, mut refused) = (0, None);
    let begin = Instant::now();
    while started < RUNS || refused.is_none() {
        match journal.start("large", &started.min(RUNS - 1).to_string(), &started.min(RUNS - 1)).await {
            Ok(_) => started = (started + 1).min(RUNS),
            Err(error) => {
                refused = Some(error);
                if started < RUNS {
                    break;
                }
            }
        }
        if started == RUNS && is_full(&url, &disk, is_mounted) {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "the disk does not get full");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let error = journal.start("large", "one more", &"x".repeat(400_000)).await.map(drop).unwrap_err();
    assert!(matches!(error, RunError::Store(StoreError::Full { .. })), "{error:?}");
    assert!(error.to_string().contains("is full"), "{error}");
    println!("full: {error}");

    // Nothing that was acknowledged is lost, and what is there can be read.
    stands(&url, &acknowledged);
    let before = acknowledged.lock().unwrap().len();
    assert!(before < RUNS * STEPS as usize, "the disk was large enough for all");

    if is_mounted {
        fs::remove_file(&ballast).unwrap();
    } else {
        // The limit is this process's: another one has none.
        return;
    }
    for number in 0..RUNS {
        let handle = loop {
            match journal.start("large", &number.to_string(), &number).await {
                Ok(handle) => break handle,
                Err(RunError::Store(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => panic!("{error}"),
            }
        };
        let result = tokio::time::timeout(Duration::from_secs(30), handle.result::<Vec<String>>()).await;
        let values = result.expect("the run goes on when there is room").unwrap();
        for (seq, value) in (1..).zip(&values) {
            let told = acknowledged.lock().unwrap().get(&(format!("large/{number}"), seq)).cloned();
            assert_eq!(told.as_deref(), Some(&value[..20]), "run {number}, step {seq}");
        }
    }
    journal.shutdown(Duration::from_secs(5)).await;
    serving.await.unwrap().unwrap();
    stands(&url, &acknowledged);
    assert_eq!(Tables::open(&url).unwrap().defects().unwrap(), Vec::<String>::new());
}

fn is_full(url: &str, disk: &Path, is_mounted: bool) -> bool {
    let _ = url;
    if !is_mounted {
        let length = |name: &str| fs::metadata(disk.join(name)).map_or(0, |it| it.len());
        return length("journal.db-wal").max(length("journal.db")) > 680 * 512;
    }
    fs::write(disk.join("probe"), vec![0; 8 * 1024]).is_err() | fs::remove_file(disk.join("probe")).is_err()
}

async fn open(url: &str) -> Journal {
    Journal::builder(url)
        .lease(Duration::from_millis(600))
        .poll(Duration::from_millis(20))
        .max_attempts(100_000)
        .open()
        .await
        .unwrap()
}

fn work_on(journal: &Journal, acknowledged: &Acknowledged) {
    let acknowledged = acknowledged.clone();
    journal.workflow("large", "1", move |cx: Ctx, number: usize| {
        let acknowledged = acknowledged.clone();
        async move {
            let mut values = Vec::new();
            for seq in 1..=STEPS {
                let begun = Instant::now();
                let value: String = cx
                    .step("fill", move |_| async move {
                        let mark = format!("{number:08}{seq:04}{:08}", begun.elapsed().subsec_nanos() % 100_000_000);
                        Ok::<_, Failed>(mark + &"x".repeat(BYTES))
                    })
                    .await?;
                let key = (cx.run_id().to_string(), seq);
                let old = acknowledged.lock().unwrap().insert(key, value[..20].to_owned());
                assert!(old.is_none_or(|old| old == value[..20]), "an acknowledged step has another value");
                values.push(value);
            }
            Ok::<_, Failed>(values)
        }
    });
}

fn stands(url: &str, acknowledged: &Acknowledged) {
    let told = acknowledged.lock().unwrap().clone();
    let rows =
        Tables::open(url).unwrap().rows("select run_id, seq, substr(value, 2, 20) from step where state = 'done'");
    let rows: HashMap<_, _> =
        rows.unwrap().into_iter().map(|row| ((row[0].clone(), row[1].parse().unwrap()), row[2].clone())).collect();
    for (key, value) in told {
        assert_eq!(rows.get(&key), Some(&value), "{key:?} was acknowledged");
    }
}
