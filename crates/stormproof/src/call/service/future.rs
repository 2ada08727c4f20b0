//! The future of a response: the async door, with a service for its operation.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use stormproof_core::Instant;
use tower_service::Service;

use crate::call::answer::Give;
use crate::call::classify::Classify;
use crate::call::error::Error;
use crate::call::{After, Begin, Called, Hear, Nth, Said};
use crate::policy::Policy;

/// How a request is copied, if it can be.
type Copier<Req> = Option<fn(&Req) -> Req>;

type Inner<S, Req, C, N, G> = Called<
    'static,
    Policy,
    Source<S, Req>,
    Attempt<S, Req>,
    <S as Service<Req>>::Response,
    <S as Service<Req>>::Error,
    C,
    N,
    G,
>;

pin_project! {
    /// The response of a [`PolicyService`](super::PolicyService).
    #[must_use = "a call does nothing until it is awaited"]
    pub struct ResponseFuture<S: Service<Req>, Req, C, N, G> {
        #[pin]
        called: Inner<S, Req, C, N, G>,
    }
}

impl<S: Service<Req>, Req, C, N, G> ResponseFuture<S, Req, C, N, G> {
    pub(super) fn new(
        policy: Policy,
        said: Said<C, N>,
        after: After<'static, S::Response, S::Error>,
        service: S,
        (request, copier): (Req, Copier<Req>),
    ) -> Self {
        let source = Source { service, asked: false, request: Some(request), copier, unready: None };
        Self { called: Called::new(policy, source, said, after) }
    }
}

impl<S, Req, C, N, G> Future for ResponseFuture<S, Req, C, N, G>
where
    S: Service<Req> + Clone,
    C: Classify<S::Response, S::Error>,
    N: Hear<S::Response, S::Error>,
    G: Give<S::Response>,
{
    type Output = Result<G::Output, Error<S::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().called.poll(cx)
    }
}

/// What attempts are made of: a service of the request's own, and the request.
struct Source<S, Req> {
    service: S,
    /// Whether the service was asked to become ready and has not been called since.
    asked: bool,
    request: Option<Req>,
    copier: Copier<Req>,
    /// The number of the attempt whose service could not become ready within it: a hedge.
    unready: Option<Arc<AtomicU32>>,
}

impl<S: Service<Req> + Clone, Req> Begin<Policy> for Source<S, Req> {
    type Value = S::Response;
    type Error = S::Error;
    type Attempt = Attempt<S, Req>;

    const READIES: bool = true;

    fn begin(&mut self, policy: &Policy, Nth { number, .. }: Nth, _: Instant) -> Attempt<S, Req> {
        let another = policy.stages().may_repeat_after(number);
        let copy = self.request.as_ref().zip(self.copier.filter(|_| another)).map(|(request, copier)| copier(request));
        // Not lost: who would need it again has been given a copy.
        let request = copy.or_else(|| self.request.take());
        if std::mem::take(&mut self.asked) {
            return request.map_or(Attempt::Lost, |request| Attempt::Called { response: self.service.call(request) });
        }
        Attempt::Readying {
            service: self.service.clone(),
            request,
            number,
            unready: self.unready.get_or_insert_default().clone(),
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.asked = true;
        self.service.poll_ready(cx)
    }

    fn give_back(&mut self) {
        // What a service has reserved goes with it; a clone has reserved nothing.
        if std::mem::take(&mut self.asked) {
            self.service = self.service.clone();
        }
    }

    fn is_unready(&self, number: u32) -> bool {
        self.unready.as_ref().is_some_and(|unready| unready.load(Ordering::Relaxed) == number)
    }
}

pin_project! {
    /// One attempt. The service of a hedge becomes ready first: nobody waits for that before the hedge begins.
    #[project = AttemptProjection]
    pub(super) enum Attempt<S: Service<Req>, Req> {
        Readying { service: S, request: Option<Req>, number: u32, unready: Arc<AtomicU32> },
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
                AttemptProjection::Readying { service, request, number, unready } => {
                    ready!(service.poll_ready(cx)).inspect_err(|_| unready.store(*number, Ordering::Relaxed))?;
                    request.take().map_or(Self::Lost, |request| Self::Called { response: service.call(request) })
                }
            };
            self.set(called);
        }
    }
}
