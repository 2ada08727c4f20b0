//! Calls that are written from the operation's side: `fetch.with(&policy)`.

use std::future::IntoFuture;

use crate::call::{Calling, Cx};
use crate::policy::Policy;
use crate::policy::stages::{Bulkhead, CircuitBreaker, RateLimiter};

/// Anything that makes a future of a result may be called through a policy: a closure or function without arguments.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use stormproof::{CircuitBreaker, Resilient, Retry};
///
/// async fn fetch() -> std::io::Result<u32> {
///     Ok(42)
/// }
/// # async fn fetch_from(_url: &str) -> std::io::Result<u32> { Ok(7) }
///
/// let policy = Retry::exponential(Duration::from_millis(200)).max_retries(3).build("fetch")?;
/// assert_eq!(fetch.with(&policy).await?, 42);
///
/// let (url, breaker) = ("https://example.org", CircuitBreaker::new("example.org"));
/// let answer = (|| fetch_from(url)).with(&breaker).deadline(Duration::from_secs(5)).fallback(0).await?;
/// assert_eq!(answer, 7);
/// # Ok(())
/// # }
/// ```
///
/// [`Policy::call`] gives the operation its context, too: the attempt's number and the time that is left.
pub trait Resilient<R, T, E>: FnMut() -> R + Sized
where
    R: IntoFuture<Output = Result<T, E>>,
{
    /// The call through `policy`: a policy, or a stage alone.
    fn with<'p, P>(self, policy: &'p P) -> Calling<'p, impl FnMut(Cx<'p>) -> R, T, E>
    where
        P: AsRef<Policy>;
}

impl<Op, R, T, E> Resilient<R, T, E> for Op
where
    Op: FnMut() -> R,
    R: IntoFuture<Output = Result<T, E>>,
{
    fn with<'p, P>(mut self, policy: &'p P) -> Calling<'p, impl FnMut(Cx<'p>) -> R, T, E>
    where
        P: AsRef<Policy>,
    {
        policy.as_ref().call(move |_| self())
    }
}

impl AsRef<Self> for Policy {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl AsRef<Policy> for CircuitBreaker {
    fn as_ref(&self) -> &Policy {
        self.policy()
    }
}

impl AsRef<Policy> for Bulkhead {
    fn as_ref(&self) -> &Policy {
        self.policy()
    }
}

impl AsRef<Policy> for RateLimiter {
    fn as_ref(&self) -> &Policy {
        self.policy()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::{Retry, Verdict};

    /// As acceptance C11 and C12: names say which failures are called again.
    #[tokio::test]
    async fn kinds_say_what_is_called_again() {
        let listed = Retry::constant(Duration::from_millis(1)).retry_on(["RateLimitError", "TimeoutError"]);
        let denied = Retry::constant(Duration::from_millis(1)).never_on(["AuthenticationError", "InvalidRequestError"]);
        for retry in [listed, denied] {
            let policy = retry.max_retries(2).build("p").unwrap();
            for (kind, attempts) in [("RateLimitError", 3), ("TimeoutError", 3), ("AuthenticationError", 1)] {
                let calls = AtomicU32::new(0);
                let op = || {
                    calls.fetch_add(1, Ordering::Relaxed);
                    std::future::ready(Err::<(), _>(kind))
                };
                let call = op.with(&policy).classify_with(|result| match result {
                    Ok(()) => Verdict::success(),
                    Err(kind) => Verdict::failure(kind),
                });
                assert_eq!(call.await.unwrap_err().into_last(), Some(kind));
                assert_eq!(calls.into_inner(), attempts, "{kind}");
            }
        }
    }

    #[tokio::test]
    async fn such_a_call_can_be_spawned() {
        let policy = Policy::builder("p").build().unwrap();
        let call = tokio::spawn(async move { (|| async { Ok::<_, &'static str>(7) }).with(&policy).await });
        assert_eq!(call.await.unwrap(), Ok(7));
    }

    #[derive(Debug)]
    struct RateLimitError;

    /// Without a classifier the kind of an error is the name of its type.
    #[tokio::test]
    async fn an_error_types_name_is_its_kind() {
        let retry = Retry::constant(Duration::from_millis(1)).max_retries(2);
        for (retry, attempts) in [(retry.clone().retry_on(["RateLimitError"]), 3), (retry.retry_on(["Other"]), 1)] {
            let policy = retry.build("p").unwrap();
            let error = (|| std::future::ready(Err::<(), _>(RateLimitError))).with(&policy).await.unwrap_err();
            assert_eq!(error.attempts(), attempts);
        }
    }
}
