//! Why fallbacks run, and what each of them came to.

use std::time::Duration;

use stormproof_core::event::Kind;
use stormproof_core::fallback::{Kind as Told, Used, is_due};
use stormproof_core::retry::Stop;
use stormproof_core::{Edge, Instant};

use super::{Fallible, Served, Source};
use crate::error::Error;
use crate::inherited;
use crate::policy::{DoorEdge, Policy};

/// Why fallbacks run, and how far they have come.
#[derive(Debug)]
pub struct Failure<E> {
    /// The call's own error, then those of the fallbacks.
    causes: Vec<Error<E>>,
    /// The kind of the call's own error, if anybody listens.
    kind: Option<Box<str>>,
    /// The place in the chain of the one tried last.
    position: u32,
}

impl<E> Failure<E> {
    pub(super) fn of<Call: Fallible<Error = E>>(call: &Call, error: Error<E>) -> Self {
        let listens = DoorEdge(&call.policy().0).listens();
        Self { kind: listens.then(|| call.kind(&error)), causes: vec![error], position: 0 }
    }

    /// The call's own error, for a fallback that may begin now: not once the deadline around the call is over.
    pub(super) fn begin(&mut self, policy: &Policy) -> Option<&Error<E>> {
        self.position = self.position.saturating_add(1);
        let clock = policy.clock();
        self.causes.first().filter(|_| is_due(clock.now(), inherited::deadline(clock)))
    }

    /// The call's own error.
    pub(super) fn cause(&self) -> Option<&Error<E>> {
        self.causes.first()
    }

    pub(super) fn tell(&self, policy: &Policy, source: Told, age: Option<Duration>) {
        if let Some(kind) = &self.kind {
            let mut used = Used::new(source, self.position, kind.clone());
            used.age = age;
            policy.tell(Kind::FallbackUsed(used));
        }
    }

    pub(super) fn served<T>(&self, value: T) -> Served<T> {
        Served::new(value, Source::Fallback { position: self.position })
    }

    /// What a fallback that began at `started` came to: an answer, or one cause more.
    pub(super) fn or_served<T, X: IntoCause<E>>(
        &mut self,
        result: Result<T, X>,
        policy: &Policy,
        started: Instant,
    ) -> Option<Served<T>> {
        let cause = match result {
            Ok(value) => return Some(self.served(value)),
            Err(error) => error.into_cause(policy.clock().now().since(started)),
        };
        self.causes.push(cause);
        None
    }

    /// The call's own error if no fallback had one.
    pub(super) fn into_error(mut self) -> Error<E> {
        match self.causes.pop() {
            Some(only) if self.causes.is_empty() => only,
            Some(last) => {
                self.causes.push(last);
                Error::AllFailed { causes: self.causes }
            }
            None => Error::AllFailed { causes: Vec::new() },
        }
    }
}

/// An error of a fallback as one of the causes.
pub trait IntoCause<E> {
    /// The cause.
    fn into_cause(self, elapsed: Duration) -> Error<E>;
}

impl<E> IntoCause<E> for E {
    fn into_cause(self, elapsed: Duration) -> Error<E> {
        Error::Failed { error: self, stop: Stop::NoRetry, attempts: 1, elapsed }
    }
}

impl<E> IntoCause<E> for Error<E> {
    fn into_cause(self, _: Duration) -> Self {
        self
    }
}
