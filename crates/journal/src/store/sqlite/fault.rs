//! What SQLite says, as the store's errors.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Error, ErrorCode, ffi};

use crate::error::StoreError;

/// What went wrong, without the place.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    Unavailable(String),
    Full(String),
    Damaged(String),
    Refused(String),
}

impl Fault {
    pub(super) fn at(self, at: &str) -> StoreError {
        let at = at.into();
        match self {
            Self::Unavailable(why) => StoreError::Unavailable { at, why: why.into() },
            Self::Full(why) => StoreError::Full { at, why: why.into() },
            Self::Damaged(why) => StoreError::Damaged { at, why: why.into() },
            Self::Refused(why) => StoreError::Refused { at, why: why.into() },
        }
    }
}

/// Where a journal is, and whether it was found to be damaged: from then on nothing is written to it, so that what is left
/// can be saved.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) at: Arc<str>,
    path: PathBuf,
    /// Which file was there when it was opened.
    file: Option<Identity>,
    damaged: AtomicBool,
}

/// What tells one file from another under the same name: its device and its number there.
type Identity = (u64, u64);

fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|about| (about.dev(), about.ino()))
}

impl Place {
    pub(super) fn new(at: Arc<str>, path: PathBuf) -> Self {
        let file = identity(&path);
        Self { at, path, file, damaged: AtomicBool::new(false) }
    }

    /// The error as the store's.
    pub(super) fn fault(&self, error: &Error) -> StoreError {
        let fault = fault(&self.at, error);
        if matches!(fault, StoreError::Damaged { .. }) {
            self.damaged.store(true, Ordering::Relaxed);
        }
        fault
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Nothing may be written to what is damaged, or to a file that nobody will find again.
    pub(super) fn writable(&self) -> Result<(), StoreError> {
        let why = if self.is_damaged() {
            "damage was found before, and nothing is written since"
        } else if identity(&self.path) != self.file {
            "the file was taken away or replaced while it was open; stop all that have it open before you move it"
        } else {
            return Ok(());
        };
        self.damaged.store(true, Ordering::Relaxed);
        Err(Fault::Damaged(why.into()).at(&self.at))
    }
}

/// The error of the journal `at`.
pub(super) fn fault(at: &str, error: &Error) -> StoreError {
    let (code, said) = match error {
        Error::SqliteFailure(code, said) => (code, said),
        // The schema's version is known, so somebody else or the disk wrote what is there.
        Error::FromSqlConversionFailure(..)
        | Error::InvalidColumnType(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::Utf8Error(..) => return Fault::Damaged(error.to_string()).at(at),
        // The statement is ours, so it is the tables that are not.
        Error::SqlInputError { msg, .. } => {
            let why = format!("{msg}; the file has tables of somebody else under our names: use another file");
            return Fault::Refused(why).at(at);
        }
        _ => return Fault::Refused(error.to_string()).at(at),
    };
    let why = said.clone().unwrap_or_else(|| code.to_string());
    match code.code {
        ErrorCode::DiskFull => Fault::Full(why),
        // These come of a full quota, too, or of a limit on the size of files.
        ErrorCode::SystemIoFailure
            if matches!(
                code.extended_code,
                ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_TRUNCATE
            ) =>
        {
            Fault::Full(why)
        }
        // The file ends where it must not.
        ErrorCode::SystemIoFailure
            if matches!(code.extended_code, ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_CORRUPTFS) =>
        {
            Fault::Damaged(why)
        }
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::SystemIoFailure
        | ErrorCode::ReadOnly
        | ErrorCode::CannotOpen
        | ErrorCode::OutOfMemory
        | ErrorCode::OperationInterrupted
        | ErrorCode::FileLockingProtocolFailed => Fault::Unavailable(why),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Fault::Damaged(why),
        _ => Fault::Refused(why),
    }
    .at(at)
}

/// The error of a file that does not open: what will not be otherwise in a moment is refused.
pub(super) fn when_opening(at: &str, error: &Error) -> StoreError {
    let refused = error
        .sqlite_error_code()
        .is_some_and(|code| matches!(code, ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied));
    if refused { Fault::Refused(error.to_string()).at(at) } else { fault(at, error) }
}
