//! Retries in words: a builder for [`Config`].

use std::time::Duration;

use stormproof_core as core;
use stormproof_core::{Backoff, Jitter, Mistakes};

pub use stormproof_core::retry::{Config, Stats, Stop};

use crate::policy::Policy;

/// What is retried, how often and how fast. For a policy ([`Builder::retry`](crate::Builder::retry)), or alone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use stormproof::Retry;
///
/// let retry = Retry::exponential(Duration::from_millis(1)).max_retries(2).never_on(["AuthenticationError"]);
/// let retry = retry.build("flaky")?;
/// let mut calls = 0;
/// let answer = retry.call(|cx| {
///     calls += 1;
///     async move { if cx.attempt() < 3 { Err("not yet") } else { Ok("at last") } }
/// });
/// assert_eq!(answer.await, Ok("at last"));
/// assert_eq!(calls, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Retry(core::retry::Config);

impl Retry {
    /// Waits that double, from `base`, ±20 %, up to 60 s.
    pub fn exponential(base: Duration) -> Self {
        Self::with_backoff(Backoff::exponential(base))
    }

    /// Waits of `base`, twice `base`, and so on.
    pub fn linear(base: Duration) -> Self {
        Self::with_backoff(Backoff::linear(base))
    }

    /// Waits of `delay`.
    pub fn constant(delay: Duration) -> Self {
        Self::with_backoff(Backoff::constant(delay))
    }

    /// Waits as `backoff` says.
    pub fn with_backoff(backoff: Backoff) -> Self {
        Self(core::retry::Config { backoff, ..Default::default() })
    }

    /// Sets the maximum number of retries, the first attempt not counted. Default: 3.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.0.max_retries = retries;
        self
    }

    /// How waits are spread. Default: ±20 %.
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.0.backoff.jitter = jitter;
        self
    }

    /// The longest wait, jitter included; a server's hint may be longer. Default: 60 s.
    pub fn max_delay(mut self, longest: Duration) -> Self {
        self.0.backoff.max_delay = longest;
        self
    }

    /// Only failures of these kinds are retried. Default: all.
    pub fn retry_on(mut self, kinds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.0.retry_on = kinds.into_iter().map(Into::into).collect();
        self
    }

    /// Failures of these kinds are never retried, whatever else says so. Default: none.
    pub fn never_on(mut self, kinds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.0.never_on = kinds.into_iter().map(Into::into).collect();
        self
    }

    /// A call that an open circuit refuses waits until it is half-open, if that is before the deadline; each wait uses
    /// up a retry. Default: it is refused.
    pub fn wait_for_half_open(mut self) -> Self {
        self.0.wait_for_half_open = true;
        self
    }

    /// The longest hint of a server that is honoured; a longer one is cut to this. Default: none.
    pub fn retry_after_cap(mut self, longest: Duration) -> Self {
        self.0.retry_after_cap = Some(longest);
        self
    }

    /// Longest hint of a server that is waited for: a longer one ends the call at once, with
    /// [`Stop::RetryAfter`]. Not together with [`retry_after_cap`](Self::retry_after_cap). Default: none.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use stormproof::{Retry, Verdict};
    ///
    /// let minutes = |n: u64| Duration::from_secs(60 * n);
    /// let policy = Retry::default().max_retry_after(minutes(1)).build("quota")?;
    /// let call = policy.call(|_| async { Err::<(), _>("quota used up") });
    /// let error = call.classify_with(|_| Verdict::failure("RateLimitError").retry_after(minutes(60))).await.unwrap_err();
    /// assert_eq!((error.attempts(), error.retry_after()), (1, Some(minutes(60))));
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_retry_after(mut self, longest: Duration) -> Self {
        self.0.max_retry_after = Some(longest);
        self
    }

    /// A policy that only retries, or all that is wrong.
    pub fn build(self, name: impl Into<core::Name>) -> Result<Policy, Mistakes> {
        Policy::builder(name).retry(self).build()
    }
}

impl From<Retry> for core::retry::Config {
    fn from(retry: Retry) -> Self {
        retry.0
    }
}
