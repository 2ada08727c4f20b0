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
    #[error("{policy} timed out after {:.3} s (limit of the {}, attempts: {attempts})", elapsed.as_secs_f64(), limit.as_str())]
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

    /// As a boxed error, whether the operation's own errors are boxed ones or not. (One that is an
    /// [`Error`](std::error::Error) itself needs no more than `?` or `Box::from`.)
    ///
    /// ```
    /// type BoxError = Box<dyn std::error::Error + Send + Sync>;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let policy = stormproof::Policy::builder("p").build().unwrap();
    /// let error = policy.call(|_| async { Err::<(), BoxError>("broken".into()) }).await.unwrap_err();
    /// let error: BoxError = error.into_boxed();
    /// assert_eq!(error.source().unwrap().to_string(), "broken");
    /// # }
    /// ```
    pub fn into_boxed(self) -> Box<dyn std::error::Error + Send + Sync>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.map(|error| Boxed(error.into())).into()
    }

    /// The same with another form of the operation's own errors.
    pub fn map<F>(self, change: impl FnOnce(E) -> F) -> Error<F> {
        match self {
            Self::Failed { error, stop, attempts, elapsed } => {
                Error::Failed { error: change(error), stop, attempts, elapsed }
            }
            Self::Refused { refused, last, attempts } => Error::Refused { refused, last: last.map(change), attempts },
            Self::TimedOut { policy, limit, stop, last, attempts, elapsed } => {
                Error::TimedOut { policy, limit, stop, last: last.map(change), attempts, elapsed }
            }
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

/// A boxed error as one that has a type: a box has none.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Boxed(Box<dyn std::error::Error + Send + Sync>);
