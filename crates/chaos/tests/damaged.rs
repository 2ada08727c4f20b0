//! Files that are no journal, or were one: a clear error, and not a byte of them is changed.
#![cfg(unix)]
#![cfg(test)]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use stormproof_journal::{Ctx, Failed, Journal};

/// What happens to the file and its log.
type Harm = fn(&mut Vec<u8>, &mut Vec<u8>);

const RUNS: u64 = 40;
const PAGE: usize = 4096;

const HARMS: [(&str, Harm); 11] = [
    ("the header is overwritten", |file, _| file[..64].fill(b'x')),
    ("one bit of the magic is flipped", |file, _| file[3] ^= 1),
    ("a page in the middle is overwritten", |file, log| middle(file, log).fill(0xa5)),
    ("a page in the middle is zero", |file, log| middle(file, log).fill(0)),
    ("all pages but the first are overwritten", |file, _| file[PAGE..].fill(0x5a)),
    ("cut in the middle of a page, without a log", |file, log| {
        file.truncate(file.len() / 2 + 100);
        log.clear();
    }),
    ("cut after some pages", |file, _| file.truncate(4 * PAGE)),
    ("only the start of the header is there", |file, _| file.truncate(50)),
    ("it is a text", |file, _| *file = b"Dear journal, today nothing happened.\n".repeat(300)),
    ("the log is of noise", |_, log| *log = noise(40_000)),
    ("the log's header is overwritten", |_, log| log[..32].fill(0xff)),
];

/// A page with runs that is read as it is in the file, for the log has no newer one. (What is in a page that only continues
/// a long value, nobody can tell to be wrong.)
fn middle<'a>(file: &'a mut [u8], log: &[u8]) -> &'a mut [u8] {
    // Frames of an earlier round have another salt.
    let frames = log[32..].chunks(24 + PAGE).take_while(|frame| frame[8..16] == log[16..24]);
    let in_log: Vec<u32> = frames.map(|frame| u32::from_be_bytes(frame[..4].try_into().unwrap())).collect();
    let half = file.len() / PAGE / 2;
    let pages = (1..).zip(file.chunks_exact_mut(PAGE)).skip(half);
    let has_runs = |page: &[u8]| page[0] == 0x0d && page.windows(5).any(|text| text == b"flow/");
    let mut found = pages.filter(|(number, page)| has_runs(page) && !in_log.contains(number));
    found.next().unwrap_or_else(|| panic!("no page with runs; {} in the log", in_log.len())).1
}

fn noise(bytes: u32) -> Vec<u8> {
    let mut state = 1_u32;
    (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_refused_with_a_clear_error_and_stays_as_it_is() {
    let (_folder, sound) = journal().await;
    for (name, harm) in HARMS {
        let folder = tempfile::tempdir().unwrap();
        let copy = Copy::of(&sound, folder.path());
        let (mut file, mut log) = copy.read();
        assert!(file.len() > 20 * PAGE && log.len() > 20 * PAGE, "there is too little to damage");
        harm(&mut file, &mut log);
        copy.write(&file, &log);

        let said = use_it(&copy.file).await;

        let said = said.unwrap_or_else(|| panic!("{name}: nobody noticed"));
        println!("{name}: {said}");
        assert!(said.contains(copy.file.to_str().unwrap()), "{name}: which one? {said}");
        assert!(copy.read() == (file, log), "{name}: the file or its log was changed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_the_user_stay_and_a_folder_is_no_journal() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.db");
    let rows = "create table customer (name text); insert into customer values ('x');";
    rusqlite::Connection::open(&file).unwrap().execute_batch(rows).unwrap();

    // Rows and journal have to be in one database for commits.
    let journal = Journal::open(format!("sqlite:{}", file.display())).await.unwrap();
    let of_folder = Journal::open(format!("sqlite:{}", folder.path().display())).await.map(drop);

    drop(journal);
    let connection = rusqlite::Connection::open(&file).unwrap();
    let name: String = connection.query_row("select name from customer", [], |row| row.get(0)).unwrap();
    assert_eq!(name, "x");
    assert!(of_folder.unwrap_err().to_string().contains(folder.path().to_str().unwrap()));
}

/// A journal in use, copied as a crash leaves it: with a log that is not yet part of the file.
async fn journal() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let live = folder.path().join("live.db");
    {
        let first = open(&live).await.unwrap();
        fill(&first, 0..RUNS).await;
        // Carried over into the file when it is closed.
    }
    let second = open(&live).await.unwrap();
    fill(&second, RUNS..2 * RUNS).await;
    let target = folder.path().join("copy");
    fs::create_dir(&target).unwrap();
    let copy = Copy::of(&live, &target);
    drop(second);
    (folder, copy.file)
}

async fn open(file: &Path) -> Result<Journal, String> {
    let journal = Journal::builder(format!("sqlite:{}", file.display()))
        .poll(Duration::from_millis(20))
        .open()
        .await
        .map_err(|error| error.to_string())?;
    journal.workflow("flow", "1", |cx: Ctx, text: String| async move {
        let copied: String = cx.step("copy", |_| async { Ok::<_, Failed>(text.clone()) }).await?;
        Ok(copied)
    });
    Ok(journal)
}

async fn fill(journal: &Journal, runs: std::ops::Range<u64>) {
    let serving = tokio::spawn({
        let journal = journal.clone();
        async move { journal.serve(4).await }
    });
    for number in runs {
        let handle = journal.start("flow", &number.to_string(), &"x".repeat(3_000)).await.unwrap();
        handle.result::<String>().await.unwrap();
    }
    journal.shutdown(Duration::from_secs(5)).await;
    serving.await.unwrap().unwrap();
}

/// Opens it and reads all that should be there. What was said if that does not work.
async fn use_it(file: &Path) -> Option<String> {
    let journal = match open(file).await {
        Ok(journal) => journal,
        Err(error) => return Some(error),
    };
    for number in 0..2 * RUNS {
        let handle = journal.handle(&stormproof_journal::RunId::new("flow", &number.to_string()));
        if let Err(error) = handle.look().await {
            return Some(error.to_string());
        }
        let result = handle.result_within::<String>(Duration::from_secs(1)).await;
        if let Err(error) = result {
            return Some(error.to_string());
        }
    }
    None
}

struct Copy {
    file: PathBuf,
    log: PathBuf,
}

impl Copy {
    fn of(source: &Path, folder: &Path) -> Self {
        let log = |file: &Path| PathBuf::from(format!("{}-wal", file.display()));
        let file = folder.join("journal.db");
        fs::copy(source, &file).unwrap();
        fs::copy(log(source), log(&file)).unwrap();
        Self { log: log(&file), file }
    }

    fn read(&self) -> (Vec<u8>, Vec<u8>) {
        (fs::read(&self.file).unwrap(), fs::read(&self.log).unwrap_or_default())
    }

    fn write(&self, file: &[u8], log: &[u8]) {
        fs::write(&self.file, file).unwrap();
        fs::write(&self.log, log).unwrap();
    }
}
