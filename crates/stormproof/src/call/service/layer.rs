//! The layer, and the service that it makes.

use std::marker::PhantomData;
use std::task::{Context, Poll};
use std::time::Duration;

use stormproof_core::{Caller, Verdict};
use tower_layer::Layer;
use tower_service::Service;

use super::describe::{Cloned, Describe, IfSafe, Once};
use super::future::ResponseFuture;
use crate::call::answer::{Give, Plain};
use crate::call::classify::{ByFn, Classify, ErrIsFailure};
use crate::call::error::Error;
use crate::call::fallback::Fallback;
use crate::call::{After, Hear, Options, Said};
use crate::policy::Policy;

/// Puts a policy around services.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct PolicyLayer<D = IfSafe, C = ErrIsFailure, N = (), B = NoFallback, G = Plain> {
    policy: Policy,
    /// The same without retry, for requests that cannot be copied.
    once: Policy,
    describe: D,
    classifier: C,
    note: N,
    fallback: B,
    give: PhantomData<fn() -> G>,
}

/// A layer without a fallback: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFallback;

impl<T, E> From<NoFallback> for Option<Fallback<T, E>> {
    fn from(_: NoFallback) -> Self {
        None
    }
}

impl PolicyLayer {
    /// Requests that may be sent again are copied for retries and hedges ([`Repeat`](super::Repeat)), every `Err` is a
    /// failure, and what was taken is given back with the response.
    pub fn new(policy: &Policy) -> Self {
        let (policy, once) = (policy.clone(), policy.once());
        let (describe, classifier, fallback) = (IfSafe, ErrIsFailure, NoFallback);
        Self { policy, once, describe, classifier, note: (), fallback, give: PhantomData }
    }
}

impl<D, C, N, B, G> PolicyLayer<D, C, N, B, G> {
    /// Knows of requests by `describe`: how to copy one, what it costs, how long it may take.
    pub fn describe<F>(self, describe: F) -> PolicyLayer<F, C, N, B, G> {
        let Self { policy, once, classifier, note, fallback, give, .. } = self;
        PolicyLayer { policy, once, describe, classifier, note, fallback, give }
    }

    /// Clones each request for another attempt, whatever it asks for: a request over HTTP that is not idempotent, too.
    pub fn cloned(self) -> PolicyLayer<Cloned, C, N, B, G> {
        self.describe(Cloned)
    }

    /// Sends each request once, whatever the policy says of retries: then it need not be `Clone`.
    pub fn once(self) -> PolicyLayer<Once, C, N, B, G> {
        self.describe(Once)
    }

    /// Judges responses by `classifier`. Default: every `Err` is a failure.
    pub fn classify<F>(self, classifier: F) -> PolicyLayer<D, F, N, B, G> {
        let Self { policy, once, describe, note, fallback, give, .. } = self;
        PolicyLayer { policy, once, describe, classifier, note, fallback, give }
    }

    /// Judges responses by a closure.
    pub fn classify_with<T, E, J>(self, judge: J) -> PolicyLayer<D, ByFn<J>, N, B, G>
    where
        J: for<'a> Fn(Result<&'a T, &'a E>) -> Verdict<'a>,
    {
        self.classify(ByFn(judge))
    }

    /// Calls a clone of `note` before each wait for another attempt, see [`Calling::on_retry`](crate::Calling::on_retry).
    pub fn on_retry<T, E, M>(self, note: M) -> PolicyLayer<D, C, M, B, G>
    where
        M: FnMut(u32, Option<Result<&T, &E>>, Duration) + Clone,
    {
        let Self { policy, once, describe, classifier, fallback, give, .. } = self;
        PolicyLayer { policy, once, describe, classifier, note, fallback, give }
    }

    /// Answers with `fallback` if a request fails.
    pub fn fallback<T, E>(self, fallback: Fallback<T, E>) -> PolicyLayer<D, C, N, Fallback<T, E>, G> {
        let Self { policy, once, describe, classifier, note, give, .. } = self;
        PolicyLayer { policy, once, describe, classifier, note, fallback, give }
    }

    /// The body of a response keeps what was taken, until its end: slots count streams that are still coming.
    #[cfg(feature = "http")]
    pub fn hold_in_body(self) -> PolicyLayer<D, C, N, B, super::InBody> {
        let Self { policy, once, describe, classifier, note, fallback, .. } = self;
        PolicyLayer { policy, once, describe, classifier, note, fallback, give: PhantomData }
    }
}

impl<S, D: Clone, C: Clone, N: Clone, B: Clone, G: Clone> Layer<S> for PolicyLayer<D, C, N, B, G> {
    type Service = PolicyService<S, D, C, N, B, G>;

    fn layer(&self, inner: S) -> Self::Service {
        PolicyService { inner, layer: self.clone() }
    }
}

/// A service behind a policy. Made by [`PolicyLayer`].
#[derive(Clone, Debug)]
pub struct PolicyService<S, D = IfSafe, C = ErrIsFailure, N = (), B = NoFallback, G = Plain> {
    inner: S,
    layer: PolicyLayer<D, C, N, B, G>,
}

impl<S> PolicyService<S> {
    /// `inner` behind `policy`, as [`PolicyLayer::new`] says.
    pub fn new(inner: S, policy: &Policy) -> Self {
        PolicyLayer::new(policy).layer(inner)
    }
}

impl<S, Req, D, C, N, B, G> Service<Req> for PolicyService<S, D, C, N, B, G>
where
    S: Service<Req> + Clone,
    D: Describe<Req>,
    C: Classify<S::Response, S::Error> + Clone,
    N: Hear<S::Response, S::Error> + Clone,
    B: Into<Option<Fallback<S::Response, S::Error>>> + Clone,
    G: Give<S::Response>,
{
    type Response = G::Output;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<S, Req, C, N, G>;

    /// Always ready: the inner service becomes ready within the response, when the policy has admitted it.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let PolicyLayer { policy, once, describe, classifier, note, fallback, .. } = &self.layer;
        let copier = describe.copier(&request);
        let policy = if copier.is_some() { policy } else { once };
        let (deadline, tokens) = (describe.deadline(&request), describe.cost(&request));
        let Caller { priority, flow } = describe.caller(&request);
        let options = Options { deadline, flow, tokens, priority, ..Options::default() };
        let said = Said { classifier: classifier.clone(), note: note.clone(), options };
        let after = After::falling_back_to(fallback.clone().into());
        ResponseFuture::new(policy.clone(), said, after, self.inner.clone(), (request, copier))
    }
}
