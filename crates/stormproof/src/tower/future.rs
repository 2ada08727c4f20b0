//! The future of a response: the async door, with a service for its operation.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::body::Keep;
use crate::call::Options;
use crate::classify::Classify;
use crate::error::Error;
use crate::policy::Policy;
use crate::run::Run;

/// How a request is copied, if it can be.
type Copier<Req> = Option<fn(&Req) -> Req>;

pin_project! {
    /// The response of a [`PolicyService`](super::PolicyService).
    #[must_use = "a call does nothing until it is awaited"]
    pub struct ResponseFuture<S: Service<Req>, Req, C, K> {
        options: Options,
        classifier: C,
        source: Source<S, Req>,
        #[pin]
        run: Run<Policy, Attempt<S, Req>>,
        keep: PhantomData<fn() -> K>,
    }
}

impl<S: Service<Req> + Clone, Req, C, K> ResponseFuture<S, Req, C, K> {
    pub(super) fn new(
        policy: Policy,
        options: Options,
        classifier: C,
        service: S,
        (request, copier): (Req, Copier<Req>),
    ) -> Self {
        let source = Source { service, request: Some(request), copier };
        Self { options, classifier, source, run: Run::new(policy), keep: PhantomData }
    }
}

impl<S, Req, C, K> Future for ResponseFuture<S, Req, C, K>
where
    S: Service<Req> + Clone,
    C: Classify<S::Response, S::Error>,
    K: Keep<S::Response>,
{
    type Output = Result<K::Output, Error<S::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (source, classifier) = (this.source, &*this.classifier);
        let begin = |policy: &Policy, number, _| source.attempt(policy, number);
        let response = ready!(this.run.as_mut().poll(*this.options, begin, classifier, K::HOLDS, cx))?;
        Poll::Ready(Ok(K::keep(response, classifier, || this.run.take_held())))
    }
}

/// What attempts are made of: the service, ready for the first one, and the request.
struct Source<S, Req> {
    service: S,
    request: Option<Req>,
    copier: Copier<Req>,
}

impl<S: Service<Req> + Clone, Req> Source<S, Req> {
    fn attempt(&mut self, policy: &Policy, number: u32) -> Attempt<S, Req> {
        let another = policy.stages().may_repeat_after(number);
        let copy = self.request.as_ref().zip(self.copier.filter(|_| another)).map(|(request, copier)| copier(request));
        // Not lost: who would need it again has been given a copy.
        let request = copy.or_else(|| self.request.take());
        if number > 1 {
            return Attempt::Readying { service: self.service.clone(), request };
        }
        request.map_or(Attempt::Lost, |request| Attempt::Called { response: self.service.call(request) })
    }
}

pin_project! {
    /// One attempt: the service becomes ready, if it is not the one that was, and then it is called.
    #[project = AttemptProjection]
    pub(super) enum Attempt<S: Service<Req>, Req> {
        Readying { service: S, request: Option<Req> },
        Called { #[pin] response: S::Future },
        /// Not reached: an attempt that had no request.
        Lost,
    }
}

impl<S: Service<Req>, Req> Future for Attempt<S, Req> {
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let called = match self.as_mut().project() {
                AttemptProjection::Called { response } => return response.poll(cx),
                AttemptProjection::Lost => return Poll::Pending,
                AttemptProjection::Readying { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    request.take().map_or(Self::Lost, |request| Self::Called { response: service.call(request) })
                }
            };
            self.set(called);
        }
    }
}
