//! How a door begins the attempts of a call.

use std::future::Future;
use std::task::{Context, Poll};

use stormproof_core::Instant;

use super::Nth;

/// Begins the attempts of a call.
pub(crate) trait Begin<P> {
    type Value;
    type Error;
    type Attempt: Future<Output = Result<Self::Value, Self::Error>>;

    /// Whether what the attempts call has to become ready.
    const READIES: bool = false;

    /// Whether there is one attempt at a time.
    const ALONE: bool = false;

    /// This attempt, which is given up at `until`.
    fn begin(&mut self, policy: &P, nth: Nth, until: Instant) -> Self::Attempt;

    /// Makes ready what the next attempt calls.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    /// Gives back a readiness that is not used now.
    fn give_back(&mut self) {}

    /// Whether the attempt with this number ended because what it was to call cannot become ready.
    fn is_unready(&self, _number: u32) -> bool {
        false
    }
}
