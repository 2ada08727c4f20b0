//! The layer, and the service that it makes.

use std::task::{Context, Poll};
use std::time::Duration;

use stormproof_core::Verdict;
use stormproof_core::retry::Stop;
use tower_layer::Layer;
use tower_service::Service;

use super::body::{AtOnce, Keep};
use super::describe::{Cloned, Describe, Once};
use super::future::ResponseFuture;
use crate::call::Options;
use crate::classify::{ByFn, Classify, ErrIsFailure};
use crate::error::Error;
use crate::policy::Policy;

/// Puts a policy around services.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct PolicyLayer<D = Cloned, C = ErrIsFailure, K = AtOnce> {
    policy: Policy,
    /// The same without retry, for requests that cannot be copied.
    once: Policy,
    describe: D,
    classifier: C,
    keep: K,
}

impl PolicyLayer {
    /// Requests are cloned for retries, every `Err` is a failure, and what was taken is given back with the response.
    pub fn new(policy: &Policy) -> Self {
        let (policy, once) = (policy.clone(), policy.once());
        Self { policy, once, describe: Cloned, classifier: ErrIsFailure, keep: AtOnce }
    }
}

impl<D, C, K> PolicyLayer<D, C, K> {
    /// Knows of requests by `describe`: how to copy one, what it costs, how long it may take.
    pub fn describe<E>(self, describe: E) -> PolicyLayer<E, C, K> {
        let Self { policy, once, classifier, keep, .. } = self;
        PolicyLayer { policy, once, describe, classifier, keep }
    }

    /// Sends each request once, whatever the policy says of retries: then it need not be `Clone`.
    pub fn once(self) -> PolicyLayer<Once, C, K> {
        self.describe(Once)
    }

    /// Judges responses by `classifier`. Default: every `Err` is a failure.
    pub fn classify<E>(self, classifier: E) -> PolicyLayer<D, E, K> {
        let Self { policy, once, describe, keep, .. } = self;
        PolicyLayer { policy, once, describe, classifier, keep }
    }

    /// Judges responses by a closure.
    pub fn classify_with<T, E, J>(self, judge: J) -> PolicyLayer<D, ByFn<J>, K>
    where
        J: for<'a> Fn(Result<&'a T, &'a E>) -> Verdict<'a>,
    {
        self.classify(ByFn(judge))
    }

    /// The body of a response keeps what was taken, until its end: slots count streams that are still coming.
    #[cfg(feature = "http")]
    pub fn hold_in_body(self) -> PolicyLayer<D, C, super::InBody> {
        let Self { policy, once, describe, classifier, .. } = self;
        PolicyLayer { policy, once, describe, classifier, keep: super::InBody }
    }
}

impl<S, D: Clone, C: Clone, K: Clone> Layer<S> for PolicyLayer<D, C, K> {
    type Service = PolicyService<S, D, C, K>;

    fn layer(&self, inner: S) -> Self::Service {
        PolicyService { inner, layer: self.clone() }
    }
}

/// A service behind a policy. Made by [`PolicyLayer`].
#[derive(Clone, Debug)]
pub struct PolicyService<S, D = Cloned, C = ErrIsFailure, K = AtOnce> {
    inner: S,
    layer: PolicyLayer<D, C, K>,
}

impl<S> PolicyService<S> {
    /// `inner` behind `policy`, as [`PolicyLayer::new`] says.
    pub fn new(inner: S, policy: &Policy) -> Self {
        PolicyLayer::new(policy).layer(inner)
    }
}

impl<S, Req, D, C, K> Service<Req> for PolicyService<S, D, C, K>
where
    S: Service<Req> + Clone,
    D: Describe<Req>,
    C: Classify<S::Response, S::Error> + Clone,
    K: Keep<S::Response>,
{
    type Response = K::Output;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<S, Req, C, K>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let broken = |error| Error::Failed { error, stop: Stop::NotRetryable, attempts: 0, elapsed: Duration::ZERO };
        self.inner.poll_ready(cx).map_err(broken)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let PolicyLayer { policy, once, describe, classifier, .. } = &self.layer;
        let copier = describe.copier(&request);
        let policy = if copier.is_some() { policy } else { once };
        let options = Options { deadline: describe.deadline(&request), tokens: Some(describe.cost(&request)) };
        // What was ready is what is called; the clone has to become ready first.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        ResponseFuture::new(policy.clone(), options, classifier.clone(), ready, (request, copier))
    }
}
