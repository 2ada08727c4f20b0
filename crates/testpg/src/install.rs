//! Where PostgreSQL's programs are, and as whom they run.

use std::{env, fs, path::PathBuf, process::Command};

/// What to do about PostgreSQL when it is not there.
pub(crate) const HINT: &str = "PostgreSQL is not installed: `cargo xtask test` installs it, or \
    `apt-get install --no-install-recommends postgresql` does; \
    or set STORMPROOF_TEST_POSTGRES to the URL of a server where databases may be created";

/// The folder that holds `initdb`, `postgres` and `psql`.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
}

/// Whether [`Programs::find`] needs a server or only the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// `initdb`, `postgres` and `psql`.
    Server,
    /// `psql`.
    Client,
}

impl Programs {
    /// The newest that are installed: where Debian puts them, else in `PATH`.
    pub fn find(wanted: Wanted) -> Result<Self, String> {
        let needed: &[&str] = match wanted {
            Wanted::Server => &["initdb", "postgres", "psql"],
            Wanted::Client => &["psql"],
        };
        let mut folders: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
            .collect();
        folders.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
        let path = env::var_os("PATH").unwrap_or_default();
        folders
            .into_iter()
            .map(|(_, folder)| folder)
            .chain(env::split_paths(&path))
            .find(|folder| needed.iter().all(|program| folder.join(program).is_file()))
            .map(|folder| Self { folder })
            .ok_or_else(|| HINT.to_owned())
    }

    /// Asks through `psql`, which every server is installed with, so that this crate needs no client.
    pub(crate) fn query(&self, url: &str, sql: &str) -> Result<String, String> {
        let mut command = self.command("psql");
        command.args(["--no-psqlrc", "--no-password", "-qtA", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]);
        let output = command.current_dir("/").output().map_err(|error| format!("psql: {error}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
        }
        Err(format!("psql: {}", String::from_utf8_lossy(&output.stderr).trim_end()))
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.folder.join(program));
        // What a developer's shell says of other servers must not reach this one.
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command
    }

    pub(crate) fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }
}

/// User and group of a server that root starts, as PostgreSQL refuses to run as root: `postgres`, else `nobody`.
pub(crate) fn unprivileged() -> Result<(u32, u32), String> {
    let users = fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
    ["postgres", "nobody"].iter().find_map(|wanted| users.lines().find_map(|line| ids(line, wanted))).ok_or_else(|| {
        "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`".to_owned()
    })
}

fn ids(line: &str, wanted: &str) -> Option<(u32, u32)> {
    let mut fields = line.split(':');
    if fields.next() != Some(wanted) {
        return None;
    }
    Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_passwd_gives_user_and_group() {
        assert_eq!(ids("postgres:x:101:104:PostgreSQL:/var/lib/postgresql:/bin/bash", "postgres"), Some((101, 104)));
        assert_eq!(ids("postgresql:x:101:104::/:/bin/sh", "postgres"), None);
        assert_eq!(ids("postgres:x", "postgres"), None);
    }
}
