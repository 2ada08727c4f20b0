//! What SQLite says, as the store's errors.

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

/// The error of the journal `at`.
pub(super) fn fault(at: &str, error: &Error) -> StoreError {
    let Error::SqliteFailure(code, said) = error else {
        return Fault::Refused(error.to_string()).at(at);
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
