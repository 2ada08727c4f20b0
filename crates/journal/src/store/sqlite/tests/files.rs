//! Files that are no journal, are damaged, or have no room: a clear error, and nothing is overwritten.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use tempfile::tempdir;

use super::*;

/// The error of opening `path`, whose bytes and neighbours are the same afterwards.
fn untouched(path: &Path) -> OpenError {
    let before = contents(path.parent().unwrap());
    let error = Sqlite::open(path, Options::default()).unwrap_err();
    assert!(contents(path.parent().unwrap()) == before, "something was written: {error}");
    error
}

fn contents(folder: &Path) -> Vec<(String, Option<Vec<u8>>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(&path).ok()))
        // What processes share while they have the file open is no content, and neither is an empty log.
        .filter(|(path, bytes)| !path.ends_with("-shm") && (!path.ends_with("-wal") || bytes != &Some(vec![])))
        .collect();
    files.sort();
    files
}

fn damaged(error: &OpenError) -> bool {
    matches!(error, OpenError::Store(StoreError::Damaged { .. }))
}

fn refused(error: &OpenError, because: &str) -> bool {
    matches!(error, OpenError::Store(StoreError::Refused { why, .. }) if why.contains(because))
}

/// A journal with a few pages, closed.
async fn filled(path: &Path) {
    let store = open(path);
    let me = worker("me");
    for n in 0..50 {
        let mine = held(&store, &n.to_string(), &me).await;
        let step = Step { value: Some("x".repeat(500).into()), ..done(2, "b") };
        assert_eq!(store.record(&mine, &step).await, Ok(Written::Done));
    }
}

#[test]
fn what_is_no_database_stays_as_it_is() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.db");
    for garbage in [&b"x"[..], &[0; 4096], &b"not a database, ".repeat(1000), b"SQLite format 3\0 and then nothing"] {
        fs::write(&path, garbage).unwrap();
        let error = untouched(&path);
        assert!(damaged(&error), "{error}");
    }
}

#[tokio::test]
async fn a_truncated_file_stays_as_it_is() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.db");
    filled(&path).await;
    let whole = fs::read(&path).unwrap();
    for length in [50, 100, 511, 4096, 5000, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = untouched(&path);
        assert!(damaged(&error), "cut to {length}: {error}");
    }
}

#[tokio::test]
async fn a_truncated_file_with_its_log_stays_as_it_is() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.db");
    filled(&path).await;
    let store = open(&path);
    held(&store, "more", &worker("me")).await;
    let copy = tempdir().unwrap();
    let torn = copy.path().join("a.db");
    let whole = fs::read(&path).unwrap();
    let log = fs::read(folder.path().join("a.db-wal")).unwrap();
    assert!(!log.is_empty());
    for length in [0, 50] {
        fs::write(&torn, &whole[..length]).unwrap();
        fs::write(copy.path().join("a.db-wal"), &log).unwrap();
        let error = untouched(&torn);
        assert!(damaged(&error), "cut to {length}: {error}");
    }
    fs::remove_file(&torn).unwrap();
    let error = untouched(&torn);
    assert!(damaged(&error), "gone: {error}");
}

#[tokio::test]
async fn pages_that_were_overwritten_are_found_by_the_check() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.db");
    filled(&path).await;
    let mut bytes = fs::read(&path).unwrap();
    let pages = bytes.len() / 4096;
    for page in 5..pages {
        bytes[page * 4096..page * 4096 + 200].fill(0xa5);
    }
    fs::write(&path, &bytes).unwrap();
    match Sqlite::open(&path, Options::default()) {
        Err(error) => assert!(damaged(&error), "{error}"),
        Ok(store) => {
            assert_ne!(store.check().await, Ok(vec![]));
            let all = Filter { limit: 1_000, ..Filter::default() };
            assert!(matches!(store.list(&all).await, Err(StoreError::Damaged { .. })));
        }
    }
}

#[test]
fn a_newer_schema_is_left_alone() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.db");
    drop(open(&path));
    Connection::open(&path).unwrap().execute_batch("UPDATE stormproof_meta SET version = 7").unwrap();
    let error = untouched(&path);
    assert!(matches!(error, OpenError::Newer { found: 7, known: 1, .. }), "{error}");
}

#[test]
fn tables_of_the_user_stay_beside_ours() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.db");
    let user = Connection::open(&path).unwrap();
    user.execute_batch(
        "PRAGMA application_id = 5; PRAGMA user_version = 3; CREATE TABLE run (id TEXT); INSERT INTO run VALUES ('i');",
    )
    .unwrap();
    drop(open(&path));
    assert_eq!(user.query_row("SELECT id FROM run", [], |row| row.get::<_, String>(0)).unwrap(), "i");
    for (pragma, theirs) in [("application_id", 5), ("user_version", 3)] {
        assert_eq!(user.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0)).unwrap(), theirs);
    }
}

#[test]
fn what_cannot_be_a_file_is_said() {
    let folder = tempdir().unwrap();
    let nowhere = folder.path().join("none").join("a.db");
    let error = |path: &Path| Sqlite::open(path, Options::default()).unwrap_err();
    assert!(refused(&error(&nowhere), "there is no folder"));
    assert!(refused(&error(folder.path()), "not a file"));
    assert!(refused(&error(Path::new(":memory:")), "keeps nothing"));
    assert!(refused(&error(Path::new("")), "no file is named"));
    let there = Options { create: false, ..Options::default() };
    assert!(Sqlite::open(folder.path().join("a.db"), there.clone()).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "looking makes nothing");
    drop(open(&folder.path().join("a.db")));
    assert!(Sqlite::open(folder.path().join("a.db"), there).is_ok());
}

#[cfg(unix)]
#[test]
fn a_file_that_may_only_be_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.db");
    drop(open(&path));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    if fs::OpenOptions::new().write(true).open(&path).is_ok() {
        return; // Whoever runs this may write anything.
    }
    assert!(refused(&untouched(&path), "read-only"));
}

#[tokio::test]
async fn without_room_nothing_is_lost_and_with_room_it_goes_on() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.db");
    let store = open(&path);
    let mine = held(&store, "a", &worker("me")).await;
    assert_eq!(store.record(&mine, &done(2, "b")).await, Ok(Written::Done));
    let limit = |pages: i64| {
        store.writer.ask(Single(move |tx: &Transaction<'_>, _| {
            tx.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get::<_, i64>(0))
        }))
    };
    limit(1).await.unwrap();
    let large = Step { value: Some("x".repeat(1 << 20).into()), ..done(3, "c") };

    let refused = store.record(&mine, &large).await;

    assert!(matches!(refused, Err(StoreError::Full { .. })), "{refused:?}");
    // Those who share a transaction with it hear the same or stand.
    let small = done(4, "d");
    let (ours, theirs) = tokio::join!(store.record(&mine, &large), store.record(&mine, &small));
    assert!(matches!(ours, Err(StoreError::Full { .. })), "{ours:?}");
    let seqs = async || store.read(&mine.run).await.unwrap().unwrap().steps.iter().map(|it| it.seq).collect::<Vec<_>>();
    assert_eq!(seqs().await.contains(&4), theirs.is_ok());
    limit(1 << 30).await.unwrap();
    assert_eq!(store.record(&mine, &large).await, Ok(Written::Done));
    assert!(seqs().await.starts_with(&[1, 2, 3]));
    assert_eq!(store.check().await, Ok(vec![]));
}

#[tokio::test]
async fn nothing_is_written_to_a_file_that_was_replaced() {
    type Change = fn(&Path);
    let changes: [Change; 3] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::rename(path, path.with_extension("old")).unwrap(),
        |path| {
            let copy = path.with_extension("copy");
            fs::copy(path, &copy).unwrap();
            fs::rename(copy, path).unwrap();
        },
    ];
    for change in changes {
        let folder = tempdir().unwrap();
        let path = folder.path().join("a.db");
        let store = open(&path);
        let mine = held(&store, "a", &worker("me")).await;
        change(&path);
        let written = store.record(&mine, &done(2, "b")).await;
        let Err(StoreError::Damaged { why, .. }) = written else { panic!("{written:?}") };
        assert!(why.contains("replaced while it was open"), "{why}");
    }
}

#[test]
fn tables_of_others_under_our_names_are_told_in_a_line() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE stormproof_run (mine TEXT)").unwrap();
    let error = Sqlite::open(&path, Options::default()).unwrap_err().to_string();
    assert!(error.contains("table stormproof_run already exists; ") && !error.contains("CREATE"), "{error}");
}
