//! What fallbacks need to know of the call they are attached to.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use stormproof_core::{Instant, Outcome};

use super::{Answer, Served, Source};
use crate::call::{Calling, Cx};
use crate::classify::Classify;
use crate::error::Error;
use crate::policy::Policy;

/// A call that may be followed by fallbacks: one through a policy, with or without a cache.
pub trait Fallible: Sized {
    /// What it answers.
    type Value;
    /// The operation's own error.
    type Error;

    /// Polls the call.
    fn poll_served(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer<Self>>;

    /// The policy it goes through.
    fn policy(&self) -> &Policy;

    /// The kind of a failure, for an event.
    fn kind(&self, error: &Error<Self::Error>) -> Box<str>;

    /// An earlier answer that may be served after a failure, its age, and whether it is stale.
    fn kept(&self) -> Option<(Self::Value, Duration, bool)> {
        None
    }

    /// Whether a value is one to keep.
    fn is_success(&self, value: &Self::Value) -> bool;

    /// When the call would be given up if it began at `now`, by its own deadline.
    fn limit(&self, now: Instant) -> Instant;

    /// Gives a call that has not begun so long in all.
    fn shorten(self: Pin<&mut Self>, limit: Duration);
}

/// One that is awaited, and does not block.
pub trait Awaited: Fallible {}

/// The kind of a failure, for an event.
pub(super) fn kind<T, E>(classifier: &impl Classify<T, E>, error: &Error<E>) -> Box<str> {
    match error {
        Error::Failed { error, .. } => classifier.classify(Err(error)).kind.into(),
        Error::Refused { refused, .. } => {
            format!("{}.{}", refused.stage.as_str(), refused.reason.as_str()).into_boxed_str()
        }
        Error::TimedOut { .. } => "TimeoutError".into(),
        Error::AllFailed { causes } => causes.first().map(|cause| kind(classifier, cause)).unwrap_or_default(),
    }
}

impl<'p, F, Fut, T, E, C> Awaited for Calling<'p, F, Fut, C>
where
    F: FnMut(Cx<'p>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
}

impl<'p, F, Fut, T, E, C> Fallible for Calling<'p, F, Fut, C>
where
    F: FnMut(Cx<'p>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    type Value = T;
    type Error = E;

    #[inline]
    fn poll_served(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Served<T>, Error<E>>> {
        self.poll(cx).map(|result| result.map(|value| Served::new(value, Source::Call)))
    }

    fn policy(&self) -> &Policy {
        self.policy_of()
    }

    fn kind(&self, error: &Error<E>) -> Box<str> {
        kind(self.classifier(), error)
    }

    fn is_success(&self, value: &T) -> bool {
        self.classifier().classify(Ok(value)).outcome == Outcome::Success
    }

    fn limit(&self, now: Instant) -> Instant {
        self.policy_of().deadline_at(now, self.own_deadline())
    }

    fn shorten(self: Pin<&mut Self>, limit: Duration) {
        self.set_deadline(limit);
    }
}
