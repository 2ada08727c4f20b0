//! What a call returns when it did not succeed.

use std::fmt;
use std::time::Duration;

use stormproof_core::retry::Stop;
use stormproof_core::{Limit, Name, Refused, Stage};

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
///
/// Its text is what its [`source`](std::error::Error::source) does not add: a reporter that writes both, one after the
/// other, writes nothing twice. That of a call that failed is its own error's, with the number of attempts if there was more
/// than one; the sources are that error's sources. A refusal and a time that ran out name themselves, and have the last
/// error as their source.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error<E> {
    /// The operation failed, and no further attempt was made.
    Failed {
        /// The operation's own error, of the last attempt.
        error: E,
        /// Why there was no further attempt.
        stop: Stop,
        /// Attempts made.
        attempts: u32,
        /// From the start of the call to the end of the last attempt.
        elapsed: Duration,
    },
    /// A stage did not let the call, or its next attempt, through.
    Refused {
        /// Which stage, why, and when to come back.
        refused: Refused,
        /// The last error of an attempt that ended by itself, if there was one.
        last: Option<E>,
        /// The limit that the last attempt ran out of, if it did: then `last` is of an attempt before it.
        timed_out: Option<Limit>,
        /// Attempts made.
        attempts: u32,
    },
    /// Time ran out.
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
    /// The call failed, and so did its fallbacks.
    AllFailed {
        /// Why the call itself failed, then why each fallback that was tried did, in their order.
        causes: Vec<Error<E>>,
    },
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A policy that added nothing says nothing, so that nested ones do not repeat each other.
            Self::Failed { error, stop: Stop::NoRetry | Stop::NotRetryable, attempts: 0..=1, .. } => error.fmt(f),
            Self::Failed { error, stop, attempts, .. } => {
                write!(f, "{error} ({stop}, attempts: {attempts})")
            }
            Self::Refused { refused, .. } => refused.fmt(f),
            Self::TimedOut { policy, limit, attempts, elapsed, .. } => {
                let (elapsed, whose) = (elapsed.as_secs_f64(), limit.whose());
                write!(f, "{policy} timed out after {elapsed:.3} s (limit of the {whose}, attempts: {attempts})")
            }
            Self::AllFailed { causes } => {
                f.write_str("all fallbacks failed: ")?;
                causes
                    .iter()
                    .enumerate()
                    .try_for_each(|(at, cause)| write!(f, "{}{cause}", if at == 0 { "" } else { "; " }))
            }
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed { error, .. } => error.source(),
            Self::Refused { last, .. } | Self::TimedOut { last, .. } => last.as_ref().map(|last| last as _),
            Self::AllFailed { causes } => causes.first()?.source(),
        }
    }
}

/// What is asked of [`Error::AllFailed`] is answered for the call itself, not for its fallbacks.
impl<E> Error<E> {
    /// The operation's own last error.
    pub fn last(&self) -> Option<&E> {
        match self {
            Self::Failed { error, .. } => Some(error),
            Self::Refused { last, .. } | Self::TimedOut { last, .. } => last.as_ref(),
            Self::AllFailed { causes } => causes.first()?.last(),
        }
    }

    /// The operation's own last error, taken out.
    pub fn into_last(self) -> Option<E> {
        match self {
            Self::Failed { error, .. } => Some(error),
            Self::Refused { last, .. } | Self::TimedOut { last, .. } => last,
            Self::AllFailed { causes } => causes.into_iter().next()?.into_last(),
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
    /// assert!(error.to_string().starts_with("broken"));
    /// # }
    /// ```
    pub fn into_boxed(self) -> Box<dyn std::error::Error + Send + Sync>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.map(|error| Boxed(error.into())).into()
    }

    /// The same with another form of the operation's own errors.
    pub fn map<F>(self, mut change: impl FnMut(E) -> F) -> Error<F> {
        self.map_by(&mut change)
    }

    fn map_by<F>(self, change: &mut dyn FnMut(E) -> F) -> Error<F> {
        match self {
            Self::Failed { error, stop, attempts, elapsed } => {
                Error::Failed { error: change(error), stop, attempts, elapsed }
            }
            Self::Refused { refused, last, timed_out, attempts } => {
                Error::Refused { refused, last: last.map(change), timed_out, attempts }
            }
            Self::TimedOut { policy, limit, stop, last, attempts, elapsed } => {
                Error::TimedOut { policy, limit, stop, last: last.map(change), attempts, elapsed }
            }
            Self::AllFailed { causes } => {
                Error::AllFailed { causes: causes.into_iter().map(|cause| cause.map_by(change)).collect() }
            }
        }
    }

    /// Ends the watch on a refusal: what it is told with is about something else.
    pub(crate) fn unwatch(&mut self) {
        match self {
            Self::Refused { refused, .. } => refused.unwatch(),
            Self::AllFailed { causes } => causes.iter_mut().for_each(Self::unwatch),
            Self::Failed { .. } | Self::TimedOut { .. } => {}
        }
    }

    /// The refusal, if a stage refused.
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused { refused, .. } => Some(refused),
            Self::AllFailed { causes } => causes.first()?.refused(),
            Self::Failed { .. } | Self::TimedOut { .. } => None,
        }
    }

    /// Whether time ran out: that of the call, or that of its last attempt.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::TimedOut { .. } => true,
            Self::Refused { timed_out, .. } => timed_out.is_some(),
            Self::AllFailed { causes } => causes.first().is_some_and(Self::is_timeout),
            Self::Failed { .. } => false,
        }
    }

    /// Attempts made.
    pub fn attempts(&self) -> u32 {
        match self {
            Self::Failed { attempts, .. } | Self::Refused { attempts, .. } | Self::TimedOut { attempts, .. } => {
                *attempts
            }
            Self::AllFailed { causes } => causes.first().map_or(0, Self::attempts),
        }
    }

    /// Time from the end of the call after which another could pass at the earliest, if that is known: from a refusal, or
    /// from a server's hint that was longer than [`max_retry_after`](crate::policy::retry::Config::max_retry_after).
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { refused, .. } => Some(refused.retry_after).filter(|wait| !wait.is_zero()),
            Self::Failed { stop: Stop::RetryAfter(wait), .. } | Self::TimedOut { stop: Stop::RetryAfter(wait), .. } => {
                Some(*wait)
            }
            Self::Failed { .. } | Self::TimedOut { .. } => None,
            Self::AllFailed { causes } => causes.first()?.retry_after(),
        }
    }

    /// Every cause: of [`AllFailed`](Self::AllFailed) all of them, else this error alone.
    pub fn causes(&self) -> &[Self] {
        match self {
            Self::AllFailed { causes } => causes,
            one => std::slice::from_ref(one),
        }
    }

    /// If a circuit did not let the call through: that its callee is unavailable, in words for whoever asked.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # use stormproof::{CircuitBreaker, breaker::Mode};
    /// let breaker = CircuitBreaker::new("billing agent");
    /// breaker.set_mode(Mode::ForcedOpen);
    /// let error = breaker.call(|_| async { Ok::<_, &str>(()) }).await.unwrap_err();
    /// assert_eq!(error.unavailable().unwrap().to_string(), "billing agent temporarily unavailable");
    /// # }
    /// ```
    pub fn unavailable(&self) -> Option<Unavailable> {
        let refused = self.refused().filter(|refused| refused.stage == Stage::Breaker)?;
        Some(Unavailable { name: refused.name.clone(), retry_after: refused.retry_after })
    }
}

/// A callee is not called at the moment, because its circuit is open. See [`Error::unavailable`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} temporarily unavailable")]
#[non_exhaustive]
pub struct Unavailable {
    /// The circuit's name: that of the callee.
    pub name: Name,
    /// When another try could pass at the earliest.
    pub retry_after: Duration,
}

/// A boxed error as one that has a type: a box has none.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Boxed(Box<dyn std::error::Error + Send + Sync>);
