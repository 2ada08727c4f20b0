//! What can go wrong with a question, and whether it is worth asking again.

use std::time::{Duration, Instant};

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use crate::error::StoreError;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// Cut off, too busy, or in each other's way: ask again. What was asked for may have happened.
    Away { why: Box<str>, broken: bool },
    /// No room.
    Full(Box<str>),
    /// Damaged.
    Damaged(Box<str>),
    /// Asking again does not help.
    Refused(Box<str>),
}

impl Trouble {
    pub(crate) fn refused(why: impl Into<Box<str>>) -> Self {
        Self::Refused(why.into())
    }

    pub(crate) fn late(limit: Duration) -> Self {
        Self::Away { why: format!("no answer in {limit:?}").into(), broken: true }
    }

    /// Whether the connection is of no more use.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self, Self::Away { broken: true, .. })
    }

    pub(crate) fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }

    pub(crate) fn into_error(self, at: &str) -> StoreError {
        let at = at.into();
        match self {
            Self::Away { why, .. } => StoreError::Unavailable { at, why },
            Self::Full(why) => StoreError::Full { at, why },
            Self::Damaged(why) => StoreError::Damaged { at, why },
            Self::Refused(why) => StoreError::Refused { at, why },
        }
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        let why = described(&error).into_boxed_str();
        let Some(said) = error.as_db_error() else {
            // The server did not say it: the connection did, or what it sent could not be read.
            let lasting = ["error deserializing column", "invalid peer certificate", "server does not support TLS"];
            let lasts = lasting.iter().any(|words| why.contains(words));
            return if lasts { Self::Refused(why) } else { Self::Away { why, broken: true } };
        };
        let code = said.code();
        let class = code.code().get(..2).unwrap_or_default();
        if *code == SqlState::DISK_FULL {
            Self::Full(why)
        } else if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED {
            Self::Damaged(why)
        } else if class == "08"
            || class == "57"
            || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
            || *code == SqlState::READ_ONLY_SQL_TRANSACTION
        {
            // Cut off, on the way down or up, or a standby by now: another connection may find the new primary. A
            // cancelled statement (57014) leaves a connection that works.
            Self::Away { why, broken: *code != SqlState::QUERY_CANCELED }
        } else if class == "40" || class == "53" || class == "55" {
            // Deadlocks, conflicts, no memory or connections for now, a lock that is held too long.
            Self::Away { why, broken: false }
        } else {
            Self::Refused(why)
        }
    }
}

impl From<PoolError> for Trouble {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Timeout(_) => Self::Away { why: "no connection is free".into(), broken: false },
            other => Self::Away { why: other.to_string().into(), broken: false },
        }
    }
}

/// An error with its sources, as the outermost says next to nothing.
fn described(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        let detail = said.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        return format!("{}{detail} [{}]", said.message(), said.code().code());
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// How long is left for a question and how long to wait before it is asked again.
#[derive(Debug)]
pub(crate) struct Patience {
    until: Instant,
    wait: Duration,
    tries: u32,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { until: Instant::now() + limit, wait: Duration::from_millis(10), tries: 0 }
    }

    /// Whether this is not the first try: what is asked for may stand already.
    pub(crate) fn again(&self) -> bool {
        self.tries > 0
    }

    /// Waits, longer each time; or gives the trouble back as there is no more time, or no use.
    pub(crate) async fn after(&mut self, trouble: Trouble) -> Result<(), Trouble> {
        // A connection that has rested may be dead without anybody's knowing: the first time costs no wait.
        let wait = if self.tries == 0 { Duration::ZERO } else { jittered(self.wait) };
        if !trouble.is_away() || Instant::now() + wait >= self.until {
            return Err(trouble);
        }
        if self.tries > 0 {
            self.wait = (self.wait * 2).min(Duration::from_millis(500));
        }
        self.tries += 1;
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// Between half of it and all of it, so that many processes do not come back at once.
fn jittered(wait: Duration) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    let share = RandomState::new().hash_one(0) % 512;
    wait / 2 + wait * u32::try_from(share).unwrap_or_default() / 1024
}
