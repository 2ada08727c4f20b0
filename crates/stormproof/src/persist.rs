//! The circuit breakers of a registry outlive their process: in one file, which is always whole.
//!
//! Owns when state is read and written, and what is kept of breakers that nobody has asked for yet. The file is in
//! `file.rs`, what stands in it in `document.rs`.

mod document;
mod file;
mod saver;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use stormproof_core::breaker::Change;
use stormproof_core::{self as core, Name};

use crate::registry::Registry;
use document::{Document, Kept};
use file::StateFile;
pub use saver::Saver;

/// Where the state is kept, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file, or a link to it. Beside it stand `<file>.lock` and, while it is written, `<file>.tmp`.
    pub path: PathBuf,
    /// What is older is not taken over, by the time of day. Default: 72 h.
    pub stale_after: Duration,
}

impl Config {
    /// The file at `path`, kept for 72 hours.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), stale_after: Duration::from_secs(72 * 3_600) }
    }
}

/// Why the state could not be read or written. Whatever it is, the file is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused.
    #[error("cannot {doing} {}: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// The kind of refusal.
        kind: std::io::ErrorKind,
        /// What the system said.
        error: String,
    },
    /// Another registry, here or in another process, keeps its state there.
    #[error("{} is in use by another registry or process: give each a file of its own", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// This registry keeps its state already.
    #[error("this registry already keeps its state in {}", path.display())]
    Already {
        /// Where.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error(
        "{} is not a readable state file: {what}; delete it or move it away to start without it, it was left as it is",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        what: String,
    },
    /// The file was written by a later version of this library.
    #[error(
        "{} has the format version {found}, this program knows {known}: run the version that wrote it, or delete it or \
         move it away to start without it, it was left as it is",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The latest version that is known.
        known: u64,
    },
}

/// What a registry knows of its file.
#[derive(Debug, Default)]
pub(crate) struct Persistence {
    file: Mutex<Option<Open>>,
    /// Breakers of a former process that nobody has asked for yet.
    left: Mutex<BTreeMap<Name, Kept>>,
}

#[derive(Debug)]
struct Open {
    file: StateFile,
    config: Config,
}

impl Persistence {
    fn lock_left(&self) -> MutexGuard<'_, BTreeMap<Name, Kept>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Keeps the circuit breakers in a file from now on: takes over what a former process left there, and writes at each
    /// [`save`](Self::save). Returns how many breakers were taken over. Until this is called nothing is read or written.
    ///
    /// What is left of an open wait goes on from where it was: time between the processes is not taken off. A circuit
    /// that was half-open, or whose wait was over, lets probes through at once. Counts of failures stay. A breaker that
    /// is not there yet gets its state when it is first asked for. Blocks while it reads.
    ///
    /// ```
    /// use stormproof::{Registry, persist};
    ///
    /// # let folder = std::env::temp_dir().join(format!("stormproof-doc-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// let registry = Registry::new();
    /// registry.breaker("openai");
    /// assert_eq!(registry.save()?, 0, "there is no file yet");
    /// registry.persist(persist::Config::new(folder.join("breakers.json")))?;
    /// assert_eq!(registry.save()?, 1);
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok::<(), persist::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be read, is in use, damaged, or of a later version: then it is left as it is, and nothing will
    /// be written.
    pub fn persist(&self, config: Config) -> Result<usize, Error> {
        let persistence = self.persistence();
        let mut open = persistence.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*open {
            return Err(Error::Already { path: open.config.path.clone() });
        }
        let file = StateFile::open(&config.path)?;
        let mut document = file.read()?;
        document.drop_older(unix_now(), config.stale_after);
        let taken = document.breakers.len();
        *open = Some(Open { file, config });
        drop(open);
        let changes = self.while_no_name_changes(|| {
            *persistence.lock_left() = document.breakers;
            let breakers = self.list().into_iter().map(|(_, breaker)| breaker);
            breakers.map(|breaker| (self.take_over(breaker.core()), breaker)).collect::<Vec<_>>()
        });
        for (change, breaker) in changes {
            breaker.tell(change);
        }
        Ok(taken)
    }

    /// Writes the state of all circuit breakers to the file, and returns how many; does nothing and returns 0 before
    /// [`persist`](Self::persist). Blocks until the disk has it.
    ///
    /// The file is replaced as a whole: a crash at any moment leaves the former one or the new one.
    pub fn save(&self) -> Result<usize, Error> {
        let persistence = self.persistence();
        let open = persistence.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = &*open else { return Ok(0) };
        let now = unix_now();
        let document = self.while_no_name_changes(|| {
            let mut document = Document::new(persistence.lock_left().clone());
            document.drop_older(now, open.config.stale_after);
            for (_, breaker) in self.list() {
                document.breakers.insert(breaker.name().clone(), Kept { saved_at: now, breaker: breaker.export() });
            }
            document
        });
        open.file.write(&document)?;
        Ok(document.breakers.len())
    }

    /// Gives `breaker` what a former process left of it, while it is being put among the registry's.
    pub(crate) fn take_over(&self, breaker: &core::CircuitBreaker) -> Option<Change> {
        let kept = self.persistence().lock_left().remove(breaker.name())?;
        breaker.import(self.clock().now(), &kept.breaker)
    }
}

/// Seconds since 1970.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
