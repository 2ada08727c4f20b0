//! A call that failed and goes through its fallbacks.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use stormproof_core::event;
use stormproof_core::fallback::{Kind, Used, is_due};
use stormproof_core::retry::Stop;
use stormproof_core::{Edge, Instant};

use super::chain::{Cause, Chain, Given, Running, Step};
use crate::call::answer::{Served, Source};
use crate::call::classify::Classify;
use crate::call::error::Error;
use crate::call::inherited;
use crate::policy::{DoorEdge, Policy};

/// A call that failed, and how far it has come in its chain.
pub(crate) struct Falling<'p, T, E> {
    steps: std::vec::IntoIter<Step<'p, T, E>>,
    /// The call's own error, then those of the fallbacks.
    causes: Vec<Error<E>>,
    /// The kind of the call's own error, if anybody listens.
    kind: Option<Box<str>>,
    /// The place in the chain of the one tried last.
    position: u32,
    /// The one that is under way, and when it began.
    running: Option<(Running<'p, T, E>, Instant)>,
}

impl<'p, T, E> Falling<'p, T, E> {
    /// The way through `chain`; the error itself if the chain is not meant for it.
    #[cold]
    pub(crate) fn of(
        chain: Chain<'p, T, E>,
        error: Error<E>,
        policy: &Policy,
        classifier: &impl Classify<T, E>,
    ) -> Result<Self, Error<E>> {
        let Some(steps) = chain.steps_for(&error) else { return Err(error) };
        let kind = DoorEdge(&policy.0).listens().then(|| kind(classifier, &error));
        Ok(Self { steps: steps.into_iter(), causes: vec![error], kind, position: 0, running: None })
    }

    /// Goes on with the chain. `kept` looks for an earlier answer of the call's cache.
    pub(crate) fn poll(
        &mut self,
        policy: &Policy,
        kept: impl Fn() -> Option<Served<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Served<T>, Error<E>>> {
        loop {
            if let Some((running, began)) = &mut self.running {
                let result = ready!(running.as_mut().poll(cx));
                let elapsed = policy.clock().now().since(*began);
                self.running = None;
                if let Some(value) = self.note(result, elapsed) {
                    return Poll::Ready(Ok(self.served(value)));
                }
            }
            match self.steps.next() {
                None => return Poll::Ready(Err(self.error())),
                Some(Step::Only(_)) => {}
                Some(step) => {
                    self.position = self.position.saturating_add(1);
                    if let Some(served) = self.start(step, policy, &kept) {
                        return Poll::Ready(Ok(served));
                    }
                }
            }
        }
    }

    /// Begins one fallback; its answer if it has one at once.
    fn start(
        &mut self,
        step: Step<'p, T, E>,
        policy: &Policy,
        kept: impl Fn() -> Option<Served<T>>,
    ) -> Option<Served<T>> {
        let clock = policy.clock();
        let began = clock.now();
        let cause = self.causes.first().filter(|_| is_due(began, inherited::deadline(clock)))?;
        let told = step.kind();
        let given = match step {
            Step::Value(value) => {
                self.tell(policy, told, None);
                return Some(self.served(value));
            }
            Step::Kept => {
                let served = kept()?;
                let age = if let Source::Cache { age, .. } = served.source { Some(age) } else { None };
                self.tell(policy, told, age);
                return Some(served);
            }
            Step::Function(make) => {
                self.tell(policy, told, None);
                make(cause)
            }
            Step::Shared(step) => {
                if step.wants.as_ref().is_some_and(|wants| !wants(cause)) {
                    return None;
                }
                self.tell(policy, told, None);
                (step.make)(cause)
            }
            Step::Only(_) => return None,
        };
        match given {
            Given::Now(result) => {
                let value = self.note(result, clock.now().since(began))?;
                Some(self.served(value))
            }
            Given::Later(running) => {
                self.running = Some((running, began));
                None
            }
        }
    }

    /// What a fallback came to: an answer, or one cause more.
    fn note(&mut self, result: Result<T, Cause<E>>, elapsed: Duration) -> Option<T> {
        let cause = match result {
            Ok(value) => return Some(value),
            Err(Cause::Own(error)) => Error::Failed { error, stop: Stop::NoRetry, attempts: 1, elapsed },
            Err(Cause::OfCall(error)) => error,
        };
        self.causes.push(cause);
        None
    }

    fn served(&self, value: T) -> Served<T> {
        Served::new(value, Source::Fallback { position: self.position })
    }

    fn tell(&self, policy: &Policy, told: Kind, age: Option<Duration>) {
        if let Some(kind) = &self.kind {
            let mut used = Used::new(told, self.position, kind.clone());
            used.age = age;
            policy.tell(event::Kind::FallbackUsed(used));
        }
    }

    /// The call's own error if no fallback had one, else all of them.
    fn error(&mut self) -> Error<E> {
        let mut causes = std::mem::take(&mut self.causes);
        match causes.pop() {
            Some(only) if causes.is_empty() => only,
            last => {
                causes.extend(last);
                // Why the call itself failed is what counts around it.
                causes.iter_mut().skip(1).for_each(Error::unwatch);
                Error::AllFailed { causes }
            }
        }
    }
}

/// The kind of a failure, for an event.
pub(crate) fn kind<T, E>(classifier: &impl Classify<T, E>, error: &Error<E>) -> Box<str> {
    match error {
        Error::Failed { error, .. } => classifier.classify(Err(error)).kind.into(),
        Error::Refused { refused, .. } => {
            format!("{}.{}", refused.stage.as_str(), refused.reason.as_str()).into_boxed_str()
        }
        Error::TimedOut { .. } => "TimeoutError".into(),
        Error::AllFailed { causes } => causes.first().map(|cause| kind(classifier, cause)).unwrap_or_default(),
    }
}
