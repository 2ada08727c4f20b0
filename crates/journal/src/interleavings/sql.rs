//! Statements of the test's own, past the stores.

use std::time::Duration;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

/// A connection of the test's own.
pub(super) enum Sql {
    Sqlite(Connection),
    #[cfg(feature = "postgres")]
    Postgres(tokio_postgres::Client),
}

impl Sql {
    pub(super) async fn open(url: &str) -> Self {
        if let Some(file) = url.strip_prefix("sqlite:") {
            let connection = Connection::open(file).unwrap();
            connection.busy_timeout(Duration::from_secs(10)).unwrap();
            return Self::Sqlite(connection);
        }
        #[cfg(feature = "postgres")]
        {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute("set search_path = public, stormproof").await.unwrap();
            Self::Postgres(client)
        }
        #[cfg(not(feature = "postgres"))]
        panic!("{url}")
    }

    /// Runs statements that have no result.
    pub(super) async fn run(&self, sql: &str) {
        match self {
            Self::Sqlite(connection) => {
                connection.execute_batch(&prefixed(sql)).unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(client) => {
                client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            }
        }
    }

    /// The rows of a query, a line each, columns by bars.
    pub(super) async fn lines(&self, sql: &str) -> Vec<String> {
        match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare(&prefixed(sql)).unwrap_or_else(|error| panic!("{sql}: {error}"));
                let columns = statement.column_count();
                let line = |row: &rusqlite::Row<'_>| {
                    let column = |column| {
                        Ok(match row.get_ref(column)? {
                            ValueRef::Null => String::new(),
                            ValueRef::Integer(value) => value.to_string(),
                            ValueRef::Real(value) => value.to_string(),
                            ValueRef::Text(value) | ValueRef::Blob(value) => {
                                String::from_utf8_lossy(value).into_owned()
                            }
                        })
                    };
                    (0..columns).map(column).collect::<rusqlite::Result<Vec<_>>>().map(|columns| columns.join("|"))
                };
                statement.query_map([], line).unwrap().map(Result::unwrap).collect()
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(client) => {
                use tokio_postgres::SimpleQueryMessage::Row;
                let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
                let line = |message| match message {
                    Row(row) => {
                        let columns = (0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned());
                        Some(columns.collect::<Vec<_>>().join("|"))
                    }
                    _ => None,
                };
                messages.into_iter().filter_map(line).collect()
            }
        }
    }
}

/// With the names that the tables have in a file, where PostgreSQL has a schema of ours.
fn prefixed(sql: &str) -> String {
    let mut sql = format!("{sql} ");
    for keyword in ["from", "into", "update"] {
        for table in ["inbox", "run", "step", "worker"] {
            sql = sql.replace(&format!("{keyword} {table} "), &format!("{keyword} stormproof_{table} "));
        }
    }
    sql
}
