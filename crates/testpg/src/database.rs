//! A database of one's own on a server that is there already.

use std::{
    env,
    process::id,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{Programs, SHARED, Server, Wanted};

/// An empty database. Dropping it removes it, whoever is still connected.
#[derive(Debug)]
pub struct Database {
    programs: Programs,
    server: String,
    name: String,
    url: String,
}

impl Database {
    /// Makes one on the server that [`SHARED`] names, or on one that this process starts when it first needs it,
    /// which does not flush to disk.
    pub fn create() -> Result<Self, String> {
        Self::on(&shared()?)
    }

    /// Makes one on the server of this URL, whose user may create databases.
    pub fn on(server: &str) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let programs = Programs::find(Wanted::Client)?;
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos() & 0xffff_ffff;
        let name = format!("t{}_{}_{since:08x}", id(), NEXT.fetch_add(1, Ordering::Relaxed));
        programs.query(server, &format!("create database {name}"))?;
        let url = with_database(server, &name).ok_or_else(|| format!("not the URL of a server: {server}"))?;
        Ok(Self { programs, server: server.to_owned(), name, url })
    }

    /// A fresh one on a server of one's own.
    pub fn of(server: &Server) -> Result<Self, String> {
        Self::on(&server.url("postgres"))
    }

    /// Its address: `postgres://…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What `psql` answers: a line a row, columns parted by `|`.
    pub fn query(&self, sql: &str) -> Result<String, String> {
        self.programs.query(&self.url, sql)
    }

    /// Cuts all connections to it; they see a broken one at their next use. How many there were.
    pub fn cut(&self) -> Result<usize, String> {
        let all = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = ";
        let answer = self.programs.query(&self.server, &format!("{all}'{}'", self.name))?;
        answer.parse().map_err(|_| format!("not a number: {answer}"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = self.programs.query(&self.server, &format!("drop database if exists {} with (force)", self.name));
    }
}

/// The server for whoever needs no own one. A static is never dropped; its keeper ends it when this process has ended.
fn shared() -> Result<String, String> {
    static OWN: Mutex<Option<Server>> = Mutex::new(None);
    if let Ok(url) = env::var(SHARED)
        && !url.is_empty()
    {
        return Ok(url);
    }
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    let server = match own.take() {
        Some(server) => server,
        None => Server::unflushed()?,
    };
    Ok(own.insert(server).url("postgres"))
}

/// The same URL with another database.
fn with_database(url: &str, name: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (address, parameters) = rest.split_once('?').map_or((rest, ""), |(address, rest)| (address, rest));
    let host = address.split('/').next()?;
    let mark = if parameters.is_empty() { "" } else { "?" };
    Some(format!("{scheme}://{host}/{name}{mark}{parameters}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gets_another_database() {
        let with = |url| with_database(url, "new");
        assert_eq!(with("postgres:///old?host=/tmp/x&user=y").unwrap(), "postgres:///new?host=/tmp/x&user=y");
        assert_eq!(with("postgres://me:secret@localhost:5433/old").unwrap(), "postgres://me:secret@localhost:5433/new");
        assert_eq!(with("postgres://localhost").unwrap(), "postgres://localhost/new");
        assert_eq!(with("host=localhost"), None);
    }
}
