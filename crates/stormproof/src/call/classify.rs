//! What a result means: the classifier belongs to the call, not to the policy.

use stormproof_core::{Reason, Verdict};

use crate::call::error::Error;
use crate::call::kind;

/// Judges results. See [`Verdict`] for what a judgement can say.
///
/// ```
/// use stormproof::{Classify, Verdict};
///
/// struct Http {
///     busy: String,
/// }
///
/// impl Classify<u16, std::io::Error> for Http {
///     fn classify<'a>(&'a self, result: Result<&'a u16, &'a std::io::Error>) -> Verdict<'a> {
///         match result {
///             Ok(503) => Verdict::failure(&self.busy),      // a kind may be borrowed from the classifier
///             Ok(500..) => Verdict::failure("ServerError"), // an `Ok` can be a failure
///             Ok(400..) => Verdict::ignored("ClientError"), // the caller's fault
///             Ok(_) => Verdict::success(),
///             Err(_) => Verdict::failure("ConnectionError"),
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not judge a `Result<{T}, {E}>`",
    label = "no classifier for these results",
    note = "a closure belongs into `classify_with(|result| …)`, written in place",
    note = "a type implements `Classify<{T}, {E}>`, for exactly the types that the operation gives"
)]
pub trait Classify<T, E> {
    /// The judgement of one result.
    fn classify<'a>(&'a self, result: Result<&'a T, &'a E>) -> Verdict<'a>;

    /// The judgement of an attempt that failed because a policy inside it refused: what that policy protects was not
    /// called. Default: as any other error. [`ErrIsFailure`] ignores it, so that it is neither counted nor retried.
    fn classify_refused<'a>(&'a self, result: Result<&'a T, &'a E>, reason: Reason) -> Verdict<'a> {
        let _ = reason;
        self.classify(result)
    }
}

impl<T, E, C: Classify<T, E> + ?Sized> Classify<T, E> for &C {
    #[inline]
    fn classify<'a>(&'a self, result: Result<&'a T, &'a E>) -> Verdict<'a> {
        (**self).classify(result)
    }

    fn classify_refused<'a>(&'a self, result: Result<&'a T, &'a E>, reason: Reason) -> Verdict<'a> {
        (**self).classify_refused(result, reason)
    }
}

/// The default: every `Ok` is a success, every `Err` a failure that may be retried.
///
/// The kind of an [`io::Error`](std::io::Error) is told by its `ErrorKind`: `ConnectionError.ConnectionReset`,
/// `TimeoutError`, `IoError.NotFound`. That of a boxed error is the first that is known in the chain of its causes, else
/// `Error`. That of any other error is the name of its type, which must not borrow: errors with a lifetime need a classifier
/// of their own.
///
/// An attempt that failed because a policy inside it refused says nothing about the callee: it is ignored and not retried,
/// whatever type its error has by then, as long as the refusal is in it (and not its text alone).
#[derive(Clone, Copy, Debug, Default)]
pub struct ErrIsFailure;

impl<T, E: 'static> Classify<T, E> for ErrIsFailure {
    #[inline]
    fn classify<'a>(&'a self, result: Result<&'a T, &'a E>) -> Verdict<'a> {
        match result {
            Ok(_) => Verdict::success(),
            Err(error) => Verdict::failure(kind::of(error)),
        }
    }

    fn classify_refused<'a>(&'a self, _: Result<&'a T, &'a E>, reason: Reason) -> Verdict<'a> {
        Verdict::ignored(reason.as_str())
    }
}

/// Judges the errors of a policy inside another one: what its stages refused was not tried, so it is ignored by the outer
/// breaker and not retried. The operation's own errors go to the classifier in it, and a timeout is a failure.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use stormproof::{CircuitBreaker, ErrIsFailure, Nested, Retry, breaker::Mode};
///
/// let retry = Retry::constant(Duration::from_millis(1)).build("retry")?;
/// let breaker = CircuitBreaker::new("openai");
/// breaker.set_mode(Mode::ForcedOpen);
/// let call = retry.call(|_| breaker.call(|_| async { Ok::<_, &str>(42) })).classify(Nested(ErrIsFailure));
/// assert_eq!(call.await.unwrap_err().attempts(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Nested<C>(pub C);

impl<C> Nested<C> {
    fn error<'a, T: 'a, E>(&'a self, error: &'a Error<E>) -> Verdict<'a>
    where
        C: Classify<T, E>,
    {
        match error {
            Error::Failed { error, .. } => self.0.classify(Err(error)),
            Error::Refused { refused, .. } => Verdict::ignored(refused.reason.as_str()),
            Error::TimedOut { .. } => Verdict::failure("TimeoutError"),
            Error::AllFailed { causes } => {
                causes.first().map_or(Verdict::failure(""), |cause| self.error::<T, E>(cause))
            }
        }
    }
}

impl<T, E, C: Classify<T, E>> Classify<T, Error<E>> for Nested<C> {
    fn classify<'a>(&'a self, result: Result<&'a T, &'a Error<E>>) -> Verdict<'a> {
        match result {
            Ok(value) => self.0.classify(Ok(value)),
            Err(error) => self.error::<T, E>(error),
        }
    }
}

/// What [`Calling::classify_with`](crate::Calling::classify_with) takes: a closure, or a function
/// `fn judge<'a>(result: Result<&'a T, &'a E>) -> Verdict<'a>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no function that judges a `Result<&{T}, &{E}>`",
    label = "not a closure that gives a `Verdict`",
    note = "a type that implements `Classify` belongs into `.classify(…)`"
)]
pub trait Judge<T, E>: for<'a> Fn(Result<&'a T, &'a E>) -> Verdict<'a> {}

impl<T, E, F: for<'a> Fn(Result<&'a T, &'a E>) -> Verdict<'a>> Judge<T, E> for F {}

/// A closure as a classifier, see [`Calling::classify_with`](crate::Calling::classify_with).
#[derive(Clone, Copy, Debug)]
pub struct ByFn<F>(pub(crate) F);

impl<T, E, F: Judge<T, E>> Classify<T, E> for ByFn<F> {
    #[inline]
    fn classify<'a>(&'a self, result: Result<&'a T, &'a E>) -> Verdict<'a> {
        (self.0)(result)
    }
}
