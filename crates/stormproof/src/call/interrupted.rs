//! What a policy says when it ends a call itself, as an error without the operation's own.

use std::convert::Infallible;
use std::io;

use stormproof_core::Refused;

use crate::call::error::Error;

/// A call ended without a result of the operation's own: a stage refused it, or time ran out.
///
/// An error type that can be made from it can stand for everything that may happen to a call, so that a function goes
/// through a policy and keeps its own error. `anyhow::Error`, `Box<dyn Error>` and [`io::Error`] can.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use stormproof::{CircuitBreaker, Error, Interrupted, breaker::Mode};
///
/// #[derive(Debug)]
/// enum ApiError {
///     Status(u16),
///     Interrupted(Interrupted),
/// }
///
/// impl From<Interrupted> for ApiError {
///     fn from(interrupted: Interrupted) -> Self {
///         Self::Interrupted(interrupted)
///     }
/// }
///
/// let breaker = CircuitBreaker::new("api");
/// let call = || async { breaker.call(|_| async { Err::<(), _>(ApiError::Status(500)) }).await.map_err(Error::into_own) };
/// assert!(matches!(call().await, Err(ApiError::Status(500))));
/// breaker.set_mode(Mode::ForcedOpen);
/// assert!(matches!(call().await, Err(ApiError::Interrupted(cause)) if cause.refused().is_some()));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct Interrupted(Error<Infallible>);

impl Interrupted {
    /// The refusal, if a stage refused.
    pub fn refused(&self) -> Option<&Refused> {
        self.0.refused()
    }

    /// Whether time ran out.
    pub fn is_timeout(&self) -> bool {
        self.0.is_timeout()
    }

    /// Attempts made.
    pub fn attempts(&self) -> u32 {
        self.0.attempts()
    }
}

impl<E> Error<E> {
    /// The operation's own error where there is one to tell: if it failed, or if the attempt after its failure was
    /// refused. Else why the policy ended the call. If fallbacks failed too, the same of the call itself.
    pub fn into_own(self) -> E
    where
        E: From<Interrupted>,
    {
        match self {
            Self::Failed { error, .. } | Self::Refused { last: Some(error), timed_out: None, .. } => error,
            Self::Refused { refused, timed_out, attempts, .. } => {
                Interrupted(Error::Refused { refused, last: None, timed_out, attempts }).into()
            }
            Self::TimedOut { policy, limit, stop, attempts, elapsed, .. } => {
                Interrupted(Error::TimedOut { policy, limit, stop, last: None, attempts, elapsed }).into()
            }
            Self::AllFailed { causes } => match causes.into_iter().next() {
                Some(call) => call.into_own(),
                None => Interrupted(Error::AllFailed { causes: Vec::new() }).into(),
            },
        }
    }
}

impl<E> From<Interrupted> for Error<E> {
    fn from(interrupted: Interrupted) -> Self {
        match interrupted.0 {
            Error::Failed { error, .. } => match error {},
            Error::Refused { refused, timed_out, attempts, .. } => {
                Self::Refused { refused, last: None, timed_out, attempts }
            }
            Error::TimedOut { policy, limit, stop, attempts, elapsed, .. } => {
                Self::TimedOut { policy, limit, stop, last: None, attempts, elapsed }
            }
            Error::AllFailed { .. } => Self::AllFailed { causes: Vec::new() },
        }
    }
}

impl From<Interrupted> for io::Error {
    fn from(interrupted: Interrupted) -> Self {
        let kind = if interrupted.is_timeout() { io::ErrorKind::TimedOut } else { io::ErrorKind::Other };
        Self::new(kind, interrupted)
    }
}

impl From<Interrupted> for String {
    fn from(interrupted: Interrupted) -> Self {
        interrupted.to_string()
    }
}
