//! What a call returns when it did not succeed.

use std::time::Duration;

use stormproof_core::retry::Stop;
use stormproof_core::{Limit, Refused};

/// Why a call did not succeed. In every case the operation's own last error is kept, if it got so far as to have one.
///
/// ```
/// # async fn f(policy: stormproof::Policy) {
/// use stormproof::Error;
///
/// match policy.call(|_| async { Err::<(), _>("no") }).await {
///     Ok(()) => {}
///     Err(Error::Failed { error, attempts, .. }) => println!("{error} after {attempts} attempts"),
///     Err(Error::Refused { refused, .. }) => println!("not tried, wait {:?}", refused.retry_after),
///     Err(other) => println!("{other}"),
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E> {
    /// The operation failed, and no further attempt was made.
    #[error("{error} ({}, attempts: {attempts})", stop.as_str())]
    Failed {
        /// The operation's own error, of the last attempt.
        #[source]
        error: E,
        /// Why there was no further attempt.
        stop: Stop,
        /// Attempts made.
        attempts: u32,
        /// From the start of the call to the end of the last attempt.
        elapsed: Duration,
    },
    /// A stage did not let the call, or its next attempt, through.
    #[error("{refused}")]
    Refused {
        /// Which stage, why, and when to come back.
        refused: Refused,
        /// The last attempt's error, if there was an attempt.
        last: Option<E>,
        /// Attempts made.
        attempts: u32,
    },
    /// Time ran out.
    #[error("{policy} timed out after {:.3} s (limit of the {}, attempts: {attempts})", elapsed.as_secs_f64(), whose(*limit))]
    TimedOut {
        /// The policy's name.
        policy: String,
        /// Which limit.
        limit: Limit,
        /// Why there was no further attempt.
        stop: Stop,
        /// The last error of an attempt that ended by itself, if there was one.
        last: Option<E>,
        /// Attempts made.
        attempts: u32,
        /// From the start of the call.
        elapsed: Duration,
    },
}

/// What a limit is a limit of.
const fn whose(limit: Limit) -> &'static str {
    match limit {
        Limit::Attempt => "attempt",
        Limit::Call => "call",
        Limit::Inherited => "call around it",
    }
}

impl<E> Error<E> {
    /// The operation's own last error.
    pub fn last(&self) -> Option<&E> {
        match self {
            Self::Failed { error, .. } => Some(error),
            Self::Refused { last, .. } | Self::TimedOut { last, .. } => last.as_ref(),
        }
    }

    /// The operation's own last error, taken out.
    pub fn into_last(self) -> Option<E> {
        match self {
            Self::Failed { error, .. } => Some(error),
            Self::Refused { last, .. } | Self::TimedOut { last, .. } => last,
        }
    }

    /// The refusal, if a stage refused.
    pub fn refused(&self) -> Option<&Refused> {
        if let Self::Refused { refused, .. } = self { Some(refused) } else { None }
    }

    /// Whether time ran out.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }

    /// Attempts made.
    pub fn attempts(&self) -> u32 {
        match self {
            Self::Failed { attempts, .. } | Self::Refused { attempts, .. } | Self::TimedOut { attempts, .. } => {
                *attempts
            }
        }
    }
}
