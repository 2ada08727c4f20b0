//! Why state cannot be kept.

use std::path::PathBuf;

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
