//! What takes the place of an answer that did not come: whether it may, and how it is told.
//!
//! Owns when a fallback is due and the words for its use. Does not own the chain itself, whose parts are code of the
//! caller's: it is at the edge.

use std::fmt;
use std::time::Duration;

use crate::time::Instant;

/// Whether a failed call may fall back.
///
/// A fallback stands outside the call's own deadline, and inside that of the calls around it: once theirs is over, nobody
/// waits for an answer any more.
///
/// ```
/// use stormproof_core::{fallback, Instant};
///
/// let (now, later) = (Instant::from_nanos(5), Instant::from_nanos(6));
/// assert!(fallback::is_due(now, later));
/// assert!(!fallback::is_due(now, now), "the deadline around the call is over");
/// assert!(fallback::is_due(now, Instant::FAR_FUTURE));
/// ```
pub fn is_due(now: Instant, around: Instant) -> bool {
    now < around
}

/// What kind of thing took the place of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A value given beforehand.
    Value,
    /// A function, another callee.
    Function,
    /// An earlier answer that was kept.
    Cache,
}

impl Kind {
    /// The kind in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Function => "function",
            Self::Cache => "cache",
        }
    }
}

/// The use of a fallback, as it is told.
///
/// It names the kind of the error and never its text: that may hold what was asked, and secrets.
///
/// ```
/// use stormproof_core::fallback::{Kind, Used};
///
/// let used = Used::new(Kind::Value, 1, "TimeoutError");
/// assert_eq!(used.to_string(), "Primary function failed, using fallback: TimeoutError");
/// let used = Used::new(Kind::Cache, 1, "TimeoutError").age(std::time::Duration::from_secs(90));
/// assert_eq!(used.to_string(), "Using cached result due to error: TimeoutError");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Used {
    /// What was used.
    pub kind: Kind,
    /// Its place in the chain, from 1.
    pub position: u32,
    /// How old the answer was, if it was kept.
    pub age: Option<Duration>,
    /// The kind of failure that made it necessary.
    pub error: Box<str>,
}

impl Used {
    /// The `position`-th fallback is used because of a failure of this kind.
    pub fn new(kind: Kind, position: u32, error: impl Into<Box<str>>) -> Self {
        Self { kind, position, age: None, error: error.into() }
    }

    /// Adds the age of what was kept.
    #[must_use]
    pub fn age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.kind {
            Kind::Cache => "Using cached result due to error",
            Kind::Value | Kind::Function => "Primary function failed, using fallback",
        };
        write!(f, "{text}: {}", self.error)
    }
}
