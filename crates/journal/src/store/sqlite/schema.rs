//! Opens the file: finds out whether it is a journal and whole, before anything is written to it, and brings its tables
//! up to date.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::fault::{Fault, when_opening};
use super::log;
use super::writer::Patience;
use crate::error::{OpenError, StoreError};

/// What was changed in the tables, in order: the schema's version is how many of these a file has seen. It stands in a
/// table, as `user_version` and `application_id` belong to whoever else has tables in the file.
const MIGRATIONS: [&str; 1] = [include_str!("schema/1.sql")];

/// The newest schema that is known here.
pub(super) const KNOWN: i64 = 1;

/// Frames in the write-ahead log after which they are carried over into the file: 4 MiB. A log that grows costs more to
/// flush than one that is written over, so it is kept short.
const CHECKPOINT: u32 = 1_000;

/// A connection that writes, to a file that is a journal of the newest schema afterwards. If there is none, it is made
/// only with `create`.
pub(super) fn open(path: &Path, busy: Duration, create: bool) -> Result<Connection, OpenError> {
    let at = path.display().to_string();
    look(path, create).map_err(|why| OpenError::Store(why.at(&at)))?;
    let failed = |error: rusqlite::Error| OpenError::Store(when_opening(&at, &error));

    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    // Until the file is known to be whole, its log must not be carried over into it, not even when it is closed again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    connection.busy_timeout(busy).map_err(failed)?;
    if connection.is_readonly("main").map_err(failed)? {
        let why = "the file is read-only".into();
        return Err(StoreError::Refused { at: at.into(), why }.into());
    }
    let version = version(&connection).map_err(failed)?;
    if version == 0 && !create {
        return Err(StoreError::Refused { at: at.into(), why: "the file is no journal".into() }.into());
    }
    if version > KNOWN {
        return Err(OpenError::Newer { at: at.into(), found: version, known: KNOWN });
    }
    // SQLite itself does not wait for others who change the mode at this moment.
    let mut patience = Patience::new(busy);
    loop {
        match settings(&connection) {
            Err(error) if patience.waits(&error) => {}
            done => break done.map_err(failed)?,
        }
    }
    if version < KNOWN {
        migrate(&connection).map_err(failed)?;
    }
    for table in super::TABLES {
        connection
            .prepare(&format!("SELECT 1 FROM {table} LIMIT 1"))
            .and_then(|mut it| it.exists([]))
            .map_err(failed)?;
    }
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(failed)?;
    connection.busy_timeout(Duration::ZERO).map_err(failed)?;
    Ok(connection)
}

/// A connection that only reads, to a file that [`open`] found good.
pub(super) fn reader(path: &Path, busy: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(busy)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY;")?;
    // That is the writer's, who knows whether it may be done.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// What can be seen from outside: `SQLite` itself would take a log without its file for rubbish and empty it.
fn look(path: &Path, create: bool) -> Result<(), Fault> {
    let refused = |why: String| Fault::Refused(why);
    if path.as_os_str().is_empty() {
        return Err(refused("no file is named: write it behind `sqlite:`, as in sqlite:agent.db".into()));
    }
    if path.to_str().is_some_and(|path| path.starts_with(":memory:")) {
        return Err(refused("SQLite's own memory keeps nothing: name a file, or, for tests, `memory:`".into()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(refused(format!("there is no folder {}: make it first", folder.display())));
    }
    let mut head = Vec::with_capacity(100);
    match File::open(path) {
        Ok(file) => {
            if file.metadata().is_ok_and(|about| !about.is_file()) {
                return Err(refused("it is not a file".into()));
            }
            file.take(100).read_to_end(&mut head).map_err(|error| refused(error.to_string()))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && create => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(refused("there is no such file; an agent makes it when it opens its journal".into()));
        }
        Err(error) => return Err(refused(error.to_string())),
    }
    let log = log::Header::beside(path).map_err(|error| refused(error.to_string()))?;
    if log == log::Header::Damaged {
        return Err(Fault::Damaged("the header of its log (-wal) is not one".into()));
    }
    let has_log = log != log::Header::Nothing;
    if head.is_empty() {
        return if has_log {
            Err(Fault::Damaged("the file is empty or gone, but its log (-wal) is not".into()))
        } else {
            Ok(())
        };
    }
    if head.len() < 100 || !head.starts_with(b"SQLite format 3\0") {
        return Err(Fault::Damaged("it does not begin as an SQLite database does".into()));
    }
    // Another process may be at it: the length is asked for last, since the file only grows.
    let length = fs::metadata(path).map_or(0, |about| about.len());
    match says(&head) {
        // With a log, it may be the log that has the rest, and SQLite knows.
        Some(says) if log == log::Header::Nothing && says > length => {
            Err(Fault::Damaged(format!("it has {length} bytes, and says that they are {says}")))
        }
        _ => Ok(()),
    }
}

/// How long the file is by its own header, if that can be trusted: see "In-header database size" of the format.
fn says(head: &[u8]) -> Option<u64> {
    let word =
        |at: usize| head.get(at..at + 4).map(|word| word.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)));
    let page = match word(14)? & 0xffff {
        1 => 65_536,
        size => size,
    };
    (word(24)? == word(92)?).then_some(word(28)?.saturating_mul(page))
}

fn settings(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;
         PRAGMA wal_autocheckpoint = {CHECKPOINT};
         PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -16384;
         PRAGMA temp_store = MEMORY;"
    ))?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

/// Each step and its version in one transaction. Another process may have been quicker.
fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    let tx = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let version = usize::try_from(version(&tx)?).unwrap_or(usize::MAX);
    if version == 0 {
        tx.execute_batch(
            "CREATE TABLE stormproof_meta (version INTEGER NOT NULL) STRICT; INSERT INTO stormproof_meta VALUES (0)",
        )?;
    }
    for step in MIGRATIONS.iter().skip(version) {
        tx.execute_batch(step)?;
    }
    tx.execute("UPDATE stormproof_meta SET version = ?1 WHERE version < ?1", [KNOWN])?;
    tx.commit()
}

/// The version of the tables; 0 if there are none.
fn version(connection: &Connection) -> rusqlite::Result<i64> {
    // Asked of the file: the connection's own idea of the tables may be older than the transaction that it is in.
    let is_there = connection
        .prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'stormproof_meta'")
        .and_then(|mut tables| tables.exists([]))?;
    if !is_there {
        return Ok(0);
    }
    connection.query_row("SELECT max(version) FROM stormproof_meta", [], |row| row.get(0))
}
