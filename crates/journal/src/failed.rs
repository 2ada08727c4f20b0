//! The error of a workflow and of its steps: anything, as text that can be kept.

use std::error::Error;
use std::fmt;

use stormproof_core::text;

use crate::run::Failure;

/// Why a step or a workflow has no result. Every error becomes one by `?`, with its sources; like `anyhow::Error` it is no
/// [`Error`] itself, so that this is possible.
///
/// What ends a run is not the answer for ever, unless [`keep`](Self::keep) says so: starting the run again with the same
/// key and input runs the step that failed again.
///
/// ```
/// use stormproof_journal::Failed;
///
/// fn read() -> Result<u32, Failed> {
///     let number = "seven".parse::<u32>()?;
///     if number == 0 {
///         return Err(Failed::new("empty", "there is nothing to do").keep());
///     }
///     Ok(number)
/// }
///
/// let failed = read().unwrap_err();
/// assert_eq!(failed.kind(), "ParseIntError");
/// assert_eq!(failed.message(), "invalid digit found in string");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Failed(Box<Failure>);

impl Failed {
    /// An error of some `kind` (a word for programs) with a `message` (a sentence for people). Neither should hold
    /// secrets: both are kept.
    ///
    /// Of a longer message the first 16 KiB are kept: what a callee answers may have any length.
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Box::new(Failure { kind: kind.into(), message: cut(message.into()), keep: false, seq: None }))
    }

    /// If the run ends with it, this is its answer from now on: the same key gives the same error, and nothing runs again.
    #[must_use]
    pub fn keep(mut self) -> Self {
        self.0.keep = true;
        self
    }

    /// A word for programs: for errors that came by `?` the name of their type.
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// A sentence for people: the error and its sources.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether it would be the run's answer from now on.
    pub fn is_kept(&self) -> bool {
        self.0.keep
    }

    /// Whether time ran out: that of a step's policy, or that of a [wait](crate::WaitCall::timeout).
    pub fn is_timeout(&self) -> bool {
        self.0.kind == TIMED_OUT
    }

    /// The number of the step that failed, if it was one.
    pub fn step(&self) -> Option<u32> {
        self.0.seq
    }

    pub(crate) fn from_failure(failure: Failure) -> Self {
        Self(Box::new(failure))
    }

    pub(crate) fn as_failure(&self) -> &Failure {
        &self.0
    }

    pub(crate) fn into_failure(self) -> Failure {
        *self.0
    }

    /// The same as the error of step `seq`.
    pub(crate) fn of_step(mut self, seq: u32) -> Self {
        self.0.seq = Some(seq);
        self
    }

    /// What a policy made of the errors of its attempts.
    pub(crate) fn of_policy<E: Into<Self>>(error: stormproof::Error<E>) -> Self {
        match error {
            stormproof::Error::Failed { error, .. } => error.into(),
            other => {
                let kind = if other.is_timeout() { TIMED_OUT } else { "refused" };
                let other = other.map(Into::into);
                let last = other.last().map(|last: &Self| format!("; the last error was: {}", last.message()));
                Self::new(kind, format!("{other}{}", last.unwrap_or_default()))
            }
        }
    }
}

/// The longest message, in bytes.
const LONGEST: usize = 16 * 1024;

/// A message without what is too much of it.
fn cut(message: String) -> String {
    // A message that was cut is not cut again for what was said of that.
    if message.len() <= LONGEST + 40 {
        return message;
    }
    let start = text::start(&message, LONGEST);
    format!("{start}… ({} bytes more)", message.len() - start.len())
}

/// The kind of an error for want of time.
pub(crate) const TIMED_OUT: &str = "timed_out";

impl<E: Error> From<E> for Failed {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Many errors write their source themselves.
            if !message.ends_with(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self::new(short_name(std::any::type_name::<E>()), message)
    }
}

/// The last part of a path, without parameters.
fn short_name(path: &str) -> &str {
    let path = path.split('<').next().unwrap_or(path);
    path.rsplit("::").next().unwrap_or(path)
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.message)
    }
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { kind, message, .. } = &*self.0;
        write!(f, "{kind}: {message}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the bank did not answer")]
    struct Bank(#[source] Line);

    #[derive(Debug, thiserror::Error)]
    #[error("the line is down: {0}")]
    struct Line(#[source] std::num::ParseIntError);

    fn number() -> std::num::ParseIntError {
        "x".parse::<u8>().unwrap_err()
    }

    #[test]
    fn an_error_comes_with_its_sources_and_each_is_said_once() {
        let failed = Failed::from(Bank(Line(number())));
        assert_eq!(failed.kind(), "Bank");
        let message = "the bank did not answer: the line is down: invalid digit found in string";
        assert_eq!((failed.message(), failed.is_kept(), failed.step()), (message, false, None));
        assert_eq!(format!("{failed} / {failed:?}"), format!("{message} / Bank: {message}"));
    }

    #[test]
    fn a_message_of_any_length_can_be_kept() {
        let long = Failed::new("http", format!("x{}", "ü".repeat(20_000)));
        assert!(long.message().ends_with("ü… (23618 bytes more)"));
        assert!(long.message().len() < LONGEST + 40);
        assert_eq!(Failed::new("http", long.message()).message().len(), long.message().len(), "cut once");
    }

    #[test]
    fn what_a_policy_gives_up_on_says_why_and_what_the_last_error_was() {
        let elapsed = Duration::from_secs(2);
        let error = stormproof::Error::TimedOut {
            policy: "bank".into(),
            limit: stormproof::Limit::Call,
            stop: stormproof::Stop::Exhausted,
            last: Some(number()),
            attempts: 2,
            elapsed,
        };
        let failed = Failed::of_policy(error);
        assert!(failed.is_timeout());
        assert_eq!(
            failed.message(),
            "bank timed out after 2.000 s (limit of the call, attempts: 2); the last error was: invalid digit found in string"
        );
    }
}
