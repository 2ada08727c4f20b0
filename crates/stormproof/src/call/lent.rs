//! A call whose operation lends what it has captured to its attempts, one after the other.

use std::future::Future;

use stormproof_core::Instant;
use tokio::sync::Mutex;

use super::Begin;
use super::future::Called;
use super::{Calling, Cx, Hear, Nth};
use crate::call::answer::Give;
use crate::call::classify::Classify;
use crate::call::error::Error;
use crate::policy::Policy;

/// An operation that lends what it has captured, see [`Policy::call_lent`].
#[derive(Debug)]
pub struct Lent<F>(F);

impl Policy {
    /// [`call`](Self::call) for an operation that changes what it has captured: each attempt has it for itself until it is
    /// over. So there is one attempt at a time, and no hedge whatever the policy says. The call is made by
    /// [`run`](Calling::run).
    ///
    /// In a task that is spawned the operation owns what it changes, as `async move |cx| …`: of a borrow that is held across
    /// an await the compiler does not see that it is `Send`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use stormproof::Retry;
    ///
    /// struct Connection { sent: Vec<u32> }
    ///
    /// impl Connection {
    ///     async fn send(&mut self, attempt: u32) -> Result<usize, &'static str> {
    ///         self.sent.push(attempt);
    ///         if attempt < 3 { Err("reset") } else { Ok(self.sent.len()) }
    ///     }
    /// }
    ///
    /// let policy = Retry::constant(Duration::from_millis(1)).build("mail")?;
    /// let mut connection = Connection { sent: Vec::new() };
    /// let sent = policy.call_lent(async |cx| connection.send(cx.attempt()).await).run().await;
    /// assert_eq!(sent, Ok(3));
    /// assert_eq!(connection.sent, [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn call_lent<F, T, E>(&self, op: F) -> Calling<'_, Lent<F>, T, E>
    where
        F: AsyncFnMut(Cx<'_>) -> Result<T, E>,
    {
        Calling::new(self, Lent(op))
    }
}

impl<F, T, E, C, N, G> Calling<'_, Lent<F>, T, E, C, N, G>
where
    F: AsyncFnMut(Cx<'_>) -> Result<T, E>,
    C: Classify<T, E>,
    N: Hear<T, E>,
    G: Give<T>,
{
    /// Makes the call. Dropping the future at any point gives back whatever was taken.
    pub async fn run(self) -> Result<G::Output, Error<E>> {
        let Self { policy, op: Lent(op), said, after, .. } = self;
        // Never waited for: an attempt is dropped before the next one begins.
        let lent = &Mutex::new(op);
        let op = One(|cx| async move { (*lent.lock().await)(cx).await });
        Called::<_, _, _, T, E, _, _, G>::new(policy, op, said, after).await
    }
}

/// A closure of the context begins the attempts, one at a time.
struct One<F>(F);

impl<'p, F, Fut, T, E> Begin<&'p Policy> for One<F>
where
    F: FnMut(Cx<'p>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Value = T;
    type Error = E;
    type Attempt = Fut;

    const ALONE: bool = true;

    fn begin(&mut self, policy: &&'p Policy, nth: Nth, until: Instant) -> Fut {
        (self.0)(Cx::new(policy, nth, until))
    }
}
