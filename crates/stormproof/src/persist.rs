//! The circuit breakers of a registry outlive their process: in one file, which is always whole.
//!
//! Owns when state is read and written, and what is kept of breakers that nobody has asked for yet. The file is in
//! `file.rs`, what stands in it in `document.rs`.

mod document;
mod error;
mod file;
mod saver;
mod state;

use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use stormproof_core as core;
use stormproof_core::breaker::Change;

use crate::registry::Registry;
use document::{Document, Kept};
pub use error::Error;
use file::StateFile;
pub use saver::Saver;
pub use state::Config;
use state::Open;
pub(crate) use state::Persistence;

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
        let mut kept = self.persistence().lock_left().remove(breaker.name())?;
        if let Some(ago) = &mut kept.breaker.last_failure_ago {
            *ago = ago.saturating_add(Duration::from_secs(unix_now().saturating_sub(kept.saved_at)));
        }
        breaker.import(self.clock().now(), &kept.breaker)
    }
}

/// Seconds since 1970.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
