//! What a scripted operation answers.

use std::time::Duration;

use stormproof_core::{Outcome, Verdict};

/// An answer, and what a classifier makes of it.
///
/// ```
/// use std::time::Duration;
/// use stormproof_sim::Reply;
///
/// let throttled = Reply::fail("RateLimitError").after(Duration::from_millis(20)).retry_after(Duration::from_secs(3));
/// assert_eq!(throttled.verdict().retry_after, Some(Duration::from_secs(3)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Reply {
    /// How long the operation takes; [`Duration::MAX`]: it hangs.
    pub after: Duration,
    /// Whether the caller gets an `Ok`.
    pub is_ok: bool,
    /// Whether the operation panics in place of an answer.
    pub panics: bool,
    verdict: Verdict<'static>,
}

impl Reply {
    const fn new(is_ok: bool, verdict: Verdict<'static>) -> Self {
        Self { after: Duration::ZERO, is_ok, panics: false, verdict }
    }

    /// An `Ok` that is a success.
    pub const fn ok() -> Self {
        Self::new(true, Verdict::success())
    }

    /// An error that is a failure.
    pub const fn fail(kind: &'static str) -> Self {
        Self::new(false, Verdict::failure(kind))
    }

    /// An `Ok` that counts as a failure.
    pub const fn ok_but_failed(kind: &'static str) -> Self {
        Self::new(true, Verdict::failure(kind))
    }

    /// An error that counts neither way.
    pub const fn ignored(kind: &'static str) -> Self {
        Self::new(false, Verdict::ignored(kind))
    }

    /// No answer, ever.
    pub const fn hang() -> Self {
        Self::ok().after(Duration::MAX)
    }

    /// A panic.
    pub const fn panic() -> Self {
        Self { panics: true, ..Self::ok() }
    }

    /// Sets the time that the operation takes.
    pub const fn after(mut self, time: Duration) -> Self {
        self.after = time;
        self
    }

    /// Another attempt would not help.
    pub const fn permanent(mut self) -> Self {
        self.verdict = self.verdict.retry(false);
        self
    }

    /// The server's hint.
    pub const fn retry_after(mut self, wait: Duration) -> Self {
        self.verdict = self.verdict.retry_after(wait);
        self
    }

    /// Sets how long the circuit opens.
    pub const fn open_for(mut self, wait: Duration) -> Self {
        self.verdict = self.verdict.open_for(wait);
        self
    }

    /// What was used of the tokens reserved.
    pub const fn used(mut self, tokens: u32) -> Self {
        self.verdict = self.verdict.used(tokens);
        self
    }

    /// The classifier's judgement.
    pub const fn verdict(&self) -> Verdict<'static> {
        self.verdict
    }

    /// The kind of failure.
    pub const fn kind(&self) -> &'static str {
        self.verdict.kind
    }

    /// Whether it is an error for the caller.
    pub const fn is_error(&self) -> bool {
        !self.is_ok
    }

    /// How it counts.
    pub const fn outcome(&self) -> Outcome {
        self.verdict.outcome
    }
}
