//! What was acknowledged is on the disk, not only with the system: a process is killed in the middle of its work, and with it
//! goes what it had written and not flushed, as in a power cut. `unsynced.c` keeps the books of that.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test may stop at the first surprise")]

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use stormproof_core::Rng;
use stormproof_journal::{Ctx, Failed, Filter, Journal, Probe, rusqlite};

const ROLE: &str = "STORMPROOF_TEST_ROLE";
const UNSYNCED: &str = "STORMPROOF_TEST_UNSYNCED";

/// Long enough for the log to be carried over into the file now and then.
const PADDING: usize = 2_000;
const STEPS: u32 = 12;

struct Place {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("unsynced.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/unsynced.c");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let built = Command::new(compiler)
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .args([source, "-ldl"])
            .status();
        assert!(built.unwrap().success(), "the library could not be built");
        Self { folder, library }
    }

    fn journal(&self) -> PathBuf {
        // As the system names it, whatever links lead there.
        self.folder.path().canonicalize().unwrap().join("agent.db")
    }

    fn start(&self, role: &str) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_process_whose_power_is_cut", "--ignored", "--nocapture"]);
        command.env(ROLE, role).env("STORMPROOF_JOURNAL", self.journal());
        if role.starts_with("work") {
            command.env("LD_PRELOAD", &self.library).env(UNSYNCED, self.journal());
        }
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Takes back what was not flushed: all of it, or a part by chance, since a disk writes in any order. So many writes.
    fn cut_power(&self, rng: Option<&Rng>) -> usize {
        let mut lost = 0;
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let notes = entry.unwrap().path();
            if notes.extension().is_none_or(|extension| extension != "undo") {
                continue;
            }
            let file = OpenOptions::new().write(true).open(notes.with_extension("").as_path());
            let bytes = fs::read(&notes).unwrap();
            fs::remove_file(&notes).unwrap();
            // A log that was deleted is gone.
            let Ok(file) = file else { continue };
            for Record { file_length, offset, length, stood } in records(&bytes).into_iter().rev() {
                match rng {
                    None => {
                        file.write_all_at(stood, offset).unwrap();
                        file.set_len(file_length).unwrap();
                    }
                    Some(rng) if rng.unit() < 0.5 => continue,
                    // A file that grew has nothing where a write is lost.
                    Some(_) => {
                        let mut before = stood.to_vec();
                        before.resize(length, 0);
                        file.write_all_at(&before, offset).unwrap();
                    }
                }
                lost += 1;
            }
        }
        let _ = fs::remove_file(format!("{}-shm", self.journal().display()));
        lost
    }
}

/// A write as it was noted before it was made.
struct Record<'a> {
    file_length: u64,
    offset: u64,
    length: usize,
    stood: &'a [u8],
}

fn records(mut bytes: &[u8]) -> Vec<Record<'_>> {
    let mut records = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(32) {
        let word = |at: usize| u64::from_ne_bytes(head[at..at + 8].try_into().unwrap());
        let size = |at| usize::try_from(word(at)).unwrap();
        // One that was being noted: its write has not begun.
        let Some((stood, rest)) = rest.split_at_checked(size(24)) else { break };
        records.push(Record { file_length: word(0), offset: word(8), length: size(16), stood });
        bytes = rest;
    }
    records
}

/// Lines that begin with a word of ours.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.filter(|line| ["step ", "once ", "row ", "defect "].iter().any(|word| line.starts_with(word)))
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let (place, rng) = (Place::new(), Rng::new(7));
    let (mut acknowledged, mut lost) = (BTreeSet::new(), 0);
    for round in 0..8 {
        let mut worker = place.start(&format!("work {round}"));
        let told = lines(&mut worker);
        let listener = std::thread::spawn(move || told.collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(400) + Duration::from_millis(400).mul_f64(rng.unit()));
        worker.kill().unwrap();
        worker.wait().unwrap();
        acknowledged.extend(listener.join().unwrap());

        lost += place.cut_power((round % 2 == 1).then_some(&rng));

        let mut reader = place.start("look");
        let there: BTreeSet<_> = lines(&mut reader).collect();
        assert!(reader.wait().unwrap().success(), "round {round}: it does not open");
        let missing: Vec<_> = acknowledged.difference(&there).take(5).collect();
        assert!(missing.is_empty(), "round {round}: acknowledged, and not there: {missing:?}");
        let defects: Vec<_> = there.iter().filter(|line| line.starts_with("defect")).collect();
        assert!(defects.is_empty(), "round {round}: {defects:?}");
    }
    println!("{} things acknowledged, {lost} writes lost", acknowledged.len());
    assert!(acknowledged.len() > 500 && lost > 0, "{} acknowledged, {lost} lost", acknowledged.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part that the other test starts"]
async fn a_process_whose_power_is_cut() {
    let (Ok(role), Ok(path)) = (std::env::var(ROLE), std::env::var("STORMPROOF_JOURNAL")) else { return };
    match role.split_once(' ') {
        Some((_, round)) => work(Path::new(&path), round).await,
        None => look(Path::new(&path)).await,
    }
}

/// One write of less than a page: whole, or not at all.
fn tell(line: &str) {
    std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()).unwrap();
}

async fn work(path: &Path, round: &str) {
    let journal = Journal::open(format!("sqlite:{}", path.display())).await.unwrap();
    let rows = rusqlite::Connection::open(path).unwrap();
    rows.busy_timeout(Duration::from_secs(5)).unwrap();
    rows.execute_batch("create table if not exists row (run text, mark integer)").unwrap();
    journal.workflow("steps", "1", |cx: Ctx, (): ()| async move {
        let run = cx.run_id().to_string();
        for seq in 1..STEPS {
            let mark = std::process::id() * 100 + seq;
            let padded = move |_| async move { Ok::<_, Failed>((mark, "x".repeat(PADDING))) };
            let (mark, _): (u32, String) = cx.step("step", padded).await?;
            tell(&format!("step {run} {seq} {mark}"));
        }
        let of = run.clone();
        let insert =
            move |tx: &rusqlite::Transaction<'_>| tx.execute("insert into row values (?1, 1)", [&of]).map(drop);
        cx.commit("row", insert).await?;
        tell(&format!("row {run} 1"));
        Ok(())
    });
    let serving = journal.clone();
    tokio::spawn(async move { serving.serve(6).await });
    for number in 0.. {
        let key = format!("{round}-{number}");
        journal.start("steps", &key, &()).await.unwrap();
        let rerun = |_| async { Ok::<Probe<u32>, Failed>(Probe::Rerun) };
        let answer = journal.once("once", &key).run(rerun, |_| async { Ok::<_, Failed>(number) }).await.unwrap();
        tell(&format!("once {key} {answer}"));
    }
}

async fn look(path: &Path) {
    let journal = Journal::builder(format!("sqlite:{}", path.display())).create(false).open().await.unwrap();
    for defect in journal.check().await.unwrap() {
        tell(&format!("defect {defect}"));
    }
    for run in journal.list(&Filter::new().limit(u32::MAX)).await.unwrap() {
        for step in journal.show(&run.id).await.unwrap().steps {
            let Some(value) = step.value else { continue };
            if let Ok((mark, _)) = serde_json::from_str::<(u32, String)>(&value) {
                tell(&format!("step {} {} {mark}", run.id, step.seq));
            }
        }
        if let (Some(key), Some(answer)) = (run.id.as_str().strip_prefix("once/"), &run.result) {
            tell(&format!("once {key} {answer}"));
        }
    }
    let rows = rusqlite::Connection::open(path).unwrap();
    let mut rows = rows.prepare("select run, count(*) from row group by run").unwrap();
    for row in rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?))).unwrap() {
        let (run, count) = row.unwrap();
        tell(&format!("row {run} {count}"));
    }
}
