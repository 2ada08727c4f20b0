//! Reads a journal's tables as they are, past the library: whoever checks must not ask the one who is checked.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, types::ValueRef};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Which database a journal is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// One file.
    Sqlite,
    /// A server.
    Postgres,
}

/// A row, every column as text; null is empty.
pub type Row = Vec<String>;

/// A connection that reads and, in tests, writes.
pub enum Tables {
    /// To a file.
    Sqlite(Box<Connection>),
    /// To a server, made anew when it was lost.
    Postgres {
        /// Where.
        url: String,
        /// What drives the connection.
        runtime: Box<Runtime>,
        /// The connection, if there is one.
        client: Option<Client>,
    },
}

impl Tables {
    /// The tables of the journal at `url`.
    pub fn open(url: &str) -> Result<Self, String> {
        match url.strip_prefix("sqlite:") {
            Some(file) => Self::file(Path::new(file)),
            None => Ok(Self::Postgres {
                url: url.into(),
                runtime: Box::new(Builder::new_current_thread().enable_all().build().map_err(text)?),
                client: None,
            }),
        }
    }

    fn file(file: &Path) -> Result<Self, String> {
        let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(text)?;
        connection.busy_timeout(Duration::from_secs(10)).map_err(text)?;
        // The names that the tables have in PostgreSQL's schema.
        for table in ["run", "step", "worker"] {
            let view = format!("create temp view {table} as select * from stormproof_{table}");
            connection.execute_batch(&view).map_err(text)?;
        }
        Ok(Self::Sqlite(Box::new(connection)))
    }

    /// The rows that one statement gives.
    pub fn rows(&mut self, sql: &str) -> Result<Vec<Row>, String> {
        match self {
            Self::Sqlite(connection) => from_file(connection, sql).map_err(text),
            Self::Postgres { url, runtime, client } => {
                let patience = Duration::from_secs(10);
                let mut ask = || {
                    let asked = async { tokio::time::timeout(patience, from_server(url, client, sql)).await };
                    runtime.block_on(asked).map_err(text)?
                };
                // That the connection was cut meanwhile is seen only now.
                ask().or_else(|error| if error.contains("closed") { ask() } else { Err(error) })
            }
        }
    }

    /// The first column of the first row, as a number.
    pub fn number(&mut self, sql: &str) -> Result<i64, String> {
        let rows = self.rows(sql)?;
        let value = rows.first().and_then(|row| row.first()).ok_or("no row")?;
        value.parse().map_err(|error| format!("{value}: {error}"))
    }

    /// What is not sound in the database itself.
    pub fn defects(&mut self) -> Result<Vec<String>, String> {
        match self {
            Self::Sqlite(_) => {
                let mut rows = self.rows("pragma integrity_check")?;
                rows.retain(|row| row.first().is_none_or(|word| word != "ok"));
                rows.extend(self.rows("pragma foreign_key_check")?);
                Ok(rows.into_iter().map(|row| row.join(" ")).collect())
            }
            // Every row of every table and index is read; the server compares page headers, tuples and index entries.
            Self::Postgres { .. } => {
                let amcheck = "select bt_index_check(c.oid, true) from pg_class c join pg_index i on i.indexrelid = c.oid \
                    join pg_am a on a.oid = c.relam join pg_namespace n on n.oid = c.relnamespace \
                    where a.amname = 'btree' and n.nspname = 'stormproof'";
                let checked = self.rows("create extension if not exists amcheck").and_then(|_| self.rows(amcheck));
                Ok(checked.err().filter(|error| !error.contains("amcheck")).into_iter().collect())
            }
        }
    }
}

fn from_file(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        (0..columns)
            .map(|column| {
                Ok(match row.get_ref(column)? {
                    ValueRef::Null => String::new(),
                    ValueRef::Integer(value) => value.to_string(),
                    ValueRef::Real(value) => value.to_string(),
                    ValueRef::Text(value) | ValueRef::Blob(value) => String::from_utf8_lossy(value).into_owned(),
                })
            })
            .collect()
    })?;
    rows.collect()
}

async fn from_server(url: &str, client: &mut Option<Client>, sql: &str) -> Result<Vec<Row>, String> {
    if client.as_ref().is_none_or(Client::is_closed) {
        let (new, connection) = tokio_postgres::connect(url, NoTls).await.map_err(text)?;
        tokio::spawn(connection);
        new.batch_execute("set search_path = public, stormproof").await.map_err(|error| said(&error))?;
        *client = Some(new);
    }
    let Some(client) = client else { return Err("no connection".into()) };
    let messages = client.simple_query(sql).await.map_err(|error| said(&error))?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned()).collect())
        }
        _ => None,
    });
    Ok(rows.collect())
}

fn said(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
