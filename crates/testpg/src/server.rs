//! One server: made, started, stopped, killed and started again.

use std::{
    env, fs,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio, id},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    Programs, Wanted, install,
    keeper::{Keeper, Order, become_user},
};

const USER: &str = "stormproof";
/// How long a server may take until it answers; a crashed one has to recover first.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Connections are cut, what runs is rolled back, and the server ends in order.
    Fast,
    /// As if it had crashed: the next start recovers from the log.
    Crash,
}

/// A PostgreSQL server of one's own. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct Server {
    programs: Programs,
    sockets: PathBuf,
    log: PathBuf,
    keeper: Mutex<Keeper>,
}

impl Server {
    /// A server with PostgreSQL's own settings, but for 500 connections. It flushes to disk.
    pub fn start() -> Result<Self, String> {
        Self::start_with(&[])
    }

    /// One that leaves flushing to the system: what a killed process loses is the same, and tests take half the time. Not
    /// for measurements.
    pub fn unflushed() -> Result<Self, String> {
        Self::start_with(&[("fsync", "off"), ("full_page_writes", "off")])
    }

    /// The same as [`start`](Self::start) with further settings, as in `postgresql.conf`.
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self, String> {
        let programs = Programs::find(Wanted::Server)?;
        let (folder, user) = folder()?;
        let sockets = private(&socket_root().join(unique("sp")), user)?;
        let (data, log) = (folder.join("data"), folder.join("log"));

        let mut all = vec![("listen_addresses".to_owned(), String::new()), ("max_connections".into(), "500".into())];
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let postgres = programs.path("postgres");
        let order = Order {
            postgres: &postgres,
            data: &data,
            log: &log,
            sockets: &sockets,
            folder: &folder,
            settings: &all,
            user,
        };
        // First of all who cleans up, so that being killed in what follows leaves nothing behind either.
        let keeper = Mutex::new(Keeper::spawn(&order)?);
        make(&programs, &data, user)?;
        let server = Self { programs, sockets, log, keeper };
        server.resume()?;
        Ok(server)
    }

    /// The address of a database of this server, as libpq and tokio-postgres understand it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&user={USER}", self.sockets.display())
    }

    /// Ends the server and starts it again.
    pub fn restart(&self, stop: Stop) -> Result<(), String> {
        self.stop(stop)?;
        self.resume()
    }

    /// Ends the server; its data stays for [`resume`](Self::resume).
    pub fn stop(&self, stop: Stop) -> Result<(), String> {
        self.tell(match stop {
            Stop::Fast => "stop INT",
            Stop::Crash => "stop QUIT",
        })
    }

    /// Starts the server after a stop and waits until it answers.
    pub fn resume(&self) -> Result<(), String> {
        self.tell("start")?;
        let start = Instant::now();
        loop {
            match self.programs.query(&self.url("postgres"), "select 1") {
                Ok(_) => return Ok(()),
                Err(error) if start.elapsed() > PATIENCE => {
                    let log = fs::read_to_string(&self.log).unwrap_or_default();
                    return Err(format!("the server does not answer: {error}\n{log}"));
                }
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn tell(&self, command: &str) -> Result<(), String> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner).tell(command)
    }
}

/// A folder for a server that its user can enter, and that user, if it is not ours.
fn folder() -> Result<(PathBuf, Option<(u32, u32)>), String> {
    let name = unique("server");
    let near = target().map(|target| target.join("postgres"));
    // `/tmp` may be memory, where flushing costs nothing; `/var/tmp` is a disk.
    for root in near.into_iter().chain([PathBuf::from("/var/tmp"), env::temp_dir()]) {
        if fs::create_dir_all(&root).is_err() {
            continue;
        }
        let Ok(folder) = private(&root.join(&name), None) else { continue };
        let root_owns_it = fs::metadata(&folder).is_ok_and(|folder| folder.uid() == 0);
        if !root_owns_it {
            return Ok((folder, None));
        }
        let user = Some(install::unprivileged()?);
        let _ = own(&folder, user);
        if enters(&folder, user) {
            return Ok((folder, user));
        }
        let _ = fs::remove_dir(&folder);
    }
    Err("no folder for a PostgreSQL server: neither target/postgres nor /var/tmp is writable".to_owned())
}

/// The `target` folder this program was built in.
fn target() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists()).map(Path::to_path_buf)
}

/// Where sockets go: their paths may have 107 bytes only.
fn socket_root() -> PathBuf {
    Some(env::temp_dir()).filter(|folder| folder.as_os_str().len() < 60).unwrap_or_else(|| "/tmp".into())
}

fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().subsec_nanos();
    format!("{prefix}-{}-{}-{since:08x}", id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn private(path: &Path, user: Option<(u32, u32)>) -> Result<PathBuf, String> {
    fs::DirBuilder::new().mode(0o700).create(path).map_err(|error| format!("{}: {error}", path.display()))?;
    own(path, user)?;
    Ok(path.to_path_buf())
}

fn own(path: &Path, user: Option<(u32, u32)>) -> Result<(), String> {
    let Some((user, group)) = user else { return Ok(()) };
    chown(path, Some(user), Some(group)).map_err(|error| format!("{}: {error}", path.display()))
}

fn enters(folder: &Path, user: Option<(u32, u32)>) -> bool {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", r#"cd "$1" && test -w ."#, "enters"]).arg(folder).current_dir("/").stderr(Stdio::null());
    become_user(&mut command, user);
    command.status().is_ok_and(|status| status.success())
}

fn make(programs: &Programs, data: &Path, user: Option<(u32, u32)>) -> Result<(), String> {
    let mut command = programs.command("initdb");
    command.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username", USER, "-D"]);
    command.arg(data).current_dir("/");
    become_user(&mut command, user);
    let output = command.output().map_err(|error| format!("initdb: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("initdb: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}
