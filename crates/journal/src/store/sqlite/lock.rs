//! A file for each worker, locked for as long as its process lives: when the process is gone, the lock is free, and its
//! runs need not wait for the end of the lease. The files are in the folder `DATABASE-workers`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The locks that this store holds, and a view of those of others.
#[derive(Debug)]
pub(super) struct Locks {
    folder: PathBuf,
    held: Mutex<HashMap<String, File>>,
}

/// What a worker's lock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Somebody holds it.
    Alive,
    /// Nobody holds it.
    Dead,
    /// This file system has no locks, or somebody took the file away: only the lease tells.
    Unknown,
}

impl Locks {
    pub(super) fn beside(database: &Path) -> Self {
        let mut folder = database.as_os_str().to_owned();
        folder.push("-workers");
        Self { folder: folder.into(), held: Mutex::default() }
    }

    /// Makes and locks the file of `worker`. To hold it already is fine.
    pub(super) fn hold(&self, worker: &str) -> io::Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(worker);
        if held.contains_key(worker) && path.exists() {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        // Somebody who sweeps may take the file away between its making and its locking: then it is made again.
        for _ in 0..16 {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
            match file.try_lock() {
                // Without locks on this file system, the lease has to do.
                Ok(()) | Err(TryLockError::Error(_)) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::other(format!("another process is the worker {worker}")));
                }
            }
            if path.exists() {
                held.insert(worker.to_owned(), file);
                return Ok(());
            }
        }
        Err(io::Error::other(format!("the lock {} disappears", path.display())))
    }

    /// Gives the lock back and takes the file away.
    pub(super) fn release(&self, worker: &str) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(worker);
        if held.is_some() {
            // Before the lock is free, so that nobody can find a free lock that is about to go.
            let _ = fs::remove_file(self.path(worker));
        }
    }

    /// Whether the process of `worker` lives.
    pub(super) fn life(&self, worker: &str) -> Life {
        match File::open(self.path(worker)) {
            // A shared lock: those who only look do not hinder each other.
            Ok(file) => match file.try_lock_shared() {
                Ok(()) => Life::Dead,
                Err(TryLockError::WouldBlock) => Life::Alive,
                Err(TryLockError::Error(_)) => Life::Unknown,
            },
            Err(_) => Life::Unknown,
        }
    }

    /// Takes away the file of a worker that is dead.
    pub(super) fn sweep(&self, worker: &str) {
        if self.life(worker) == Life::Dead {
            let _ = fs::remove_file(self.path(worker));
        }
    }

    fn path(&self, worker: &str) -> PathBuf {
        let mut name = String::with_capacity(worker.len() + 5);
        for byte in worker.bytes() {
            if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
                name.push(char::from(byte));
            } else {
                let _ = write!(name, "%{byte:02x}");
            }
        }
        name.push_str(".lock");
        self.folder.join(name)
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        // Files of workers that did not leave stay, with nobody holding them: that says that they are dead. The folder goes
        // if it is empty.
        self.held.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        let _ = fs::remove_dir(&self.folder);
    }
}
