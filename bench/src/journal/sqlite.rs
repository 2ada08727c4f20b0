//! SQLite itself, on the calling thread: one row a transaction. What is between this and the journal is the journal's.

use std::error::Error;
use std::path::Path;

use rusqlite::{Connection, params};

use crate::floor::Slices;
use crate::turns::{Contender, Effort, Engine, Turn, What};

/// SQLite, one at a time.
pub fn contender(effort: Effort) -> Contender {
    Contender {
        name: "SQLite itself",
        engine: Engine::Sqlite,
        at_once: 1,
        what: What::Rows,
        work: Box::new(move |path| turn(Path::new(path), effort.steps(1)).map_err(|error| error.to_string())),
    }
}

fn turn(path: &Path, rows: u32) -> Result<Turn, Box<dyn Error>> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE step (run TEXT, seq INT, value TEXT, PRIMARY KEY (run, seq)) WITHOUT ROWID;",
    )?;
    let mut insert = connection.prepare("INSERT INTO step VALUES (?1, ?2, ?3)")?;
    let value = "x".repeat(200);
    let mut slices = Slices::new(path.parent().unwrap_or(path))?;
    slices.start();
    for seq in 0..rows {
        insert.execute(params!["bench/0", seq, value])?;
        if slices.count() {
            slices.ask()?;
        }
    }
    let mode = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    let synchronous: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
    let settings = [("journal_mode".to_owned(), mode), ("synchronous".to_owned(), synchronous.to_string())].into();
    Ok(Turn { done: slices.timed(), seconds: slices.took.as_secs_f64(), of_floor: slices.of_floor, settings })
}
