//! What became of an attempt, as the stages see it.

use std::time::Duration;

/// How an attempt counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It did what was asked.
    Success,
    /// The callee failed: counts against its health, may be retried.
    Failure,
    /// Says nothing about the callee (caller's fault, cancelled): gives back what was taken and counts nowhere.
    Ignored,
}

/// A classifier's judgement of one result: everything a stage may want to know about it.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::{Outcome, Verdict};
///
/// let throttled = Verdict::failure("RateLimitError").retry_after(Duration::from_secs(3));
/// assert_eq!(throttled.outcome, Outcome::Failure);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Verdict<'a> {
    /// How it counts.
    pub outcome: Outcome,
    /// Whether another attempt may help: `None` leaves it to the retry's lists, and to "yes" for a failure.
    pub retry: Option<bool>,
    /// The server's hint: the shortest wait before another attempt.
    pub retry_after: Option<Duration>,
    /// If it failed: opens the circuit now, for this time, whatever the trip rules say (a ban).
    pub open_for: Option<Duration>,
    /// What was really used of the tokens that were reserved; `None`: as reserved.
    pub used: Option<u32>,
    /// Whether the callee has too much to do; `None` leaves it to the lists of kinds, and to a hint when to come back.
    pub overload: Option<bool>,
    /// The kind of failure, for lists, events and refusals: a word such as `TimeoutError`, or words joined by dots from
    /// the general to the particular (`ConnectionError.ConnectionReset`). Empty for a success.
    pub kind: &'a str,
}

impl<'a> Verdict<'a> {
    const fn new(outcome: Outcome, kind: &'a str) -> Self {
        Self { outcome, retry: None, retry_after: None, open_for: None, used: None, overload: None, kind }
    }

    /// A success.
    pub const fn success() -> Self {
        Self::new(Outcome::Success, "")
    }

    /// A failure that may be retried.
    pub const fn failure(kind: &'a str) -> Self {
        Self::new(Outcome::Failure, kind)
    }

    /// Neither success nor failure, and not retried.
    pub const fn ignored(kind: &'a str) -> Self {
        Self::new(Outcome::Ignored, kind)
    }

    /// Sets whether another attempt may help.
    pub const fn retry(mut self, retry: bool) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Sets the server's hint.
    pub const fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Opens the circuit now and for this time.
    pub const fn open_for(mut self, wait: Duration) -> Self {
        self.open_for = Some(wait);
        self
    }

    /// Sets what was really used of the tokens that were reserved.
    pub const fn used(mut self, tokens: u32) -> Self {
        self.used = Some(tokens);
        self
    }

    /// Sets whether the callee has too much to do.
    pub const fn overload(mut self, overload: bool) -> Self {
        self.overload = Some(overload);
        self
    }

    /// Whether the callee has too much to do: as it says itself, or a failure with a hint or of one of these `kinds`.
    pub fn is_overload(&self, kinds: &[String]) -> bool {
        self.overload.unwrap_or_else(|| {
            self.outcome == Outcome::Failure && (self.retry_after.is_some() || is_one_of(self.kind, kinds))
        })
    }
}

/// The kinds of failure that mean overload unless others are configured.
pub(crate) const OVERLOAD: [&str; 4] = ["TimeoutError", "RateLimitError", "ServerError.503", "ServerError.529"];

/// Whether `kind` is, or is a particular case of, one of `names`.
///
/// ```
/// use stormproof_core::outcome::is_one_of;
///
/// let names = ["ConnectionError".to_owned(), "TimeoutError.Stalled".to_owned()];
/// assert!(is_one_of("ConnectionError.ConnectionReset", &names));
/// assert!(is_one_of("TimeoutError.Stalled.Body", &names));
/// assert!(!is_one_of("TimeoutError", &names));
/// ```
pub fn is_one_of(kind: &str, names: &[String]) -> bool {
    names.iter().any(|name| {
        let general = kind.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        general || kind.split('.').any(|part| part == name)
    })
}
