//! What a registry knows of its file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stormproof_core::Name;

use super::document::Kept;
use super::file::StateFile;

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

/// What a registry knows of its file.
#[derive(Debug, Default)]
pub(crate) struct Persistence {
    pub(super) file: Mutex<Option<Open>>,
    /// Breakers of a former process that nobody has asked for yet.
    left: Mutex<BTreeMap<Name, Kept>>,
}

#[derive(Debug)]
pub(super) struct Open {
    pub(super) file: StateFile,
    pub(super) config: Config,
}

impl Persistence {
    pub(super) fn lock_left(&self) -> MutexGuard<'_, BTreeMap<Name, Kept>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
