//! A response whose body keeps what was taken for it, until its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use stormproof_core::Verdict;

use crate::call::answer::{Give, Served};
use crate::call::classify::Classify;
use crate::call::held::Held;

/// Responses whose body keeps what was taken, see [`HeldBody`].
#[derive(Clone, Copy, Debug, Default)]
pub struct InBody;

impl<B: Body> Give<Response<B>> for InBody {
    type Output = Response<HeldBody<B>>;

    const HOLDS: bool = true;

    fn give<E>(
        served: Served<Response<B>>,
        classifier: &impl Classify<Response<B>, E>,
        held: impl FnOnce() -> Held,
    ) -> Self::Output {
        let Verdict { outcome, retry, retry_after, open_for, used, overload, .. } =
            classifier.classify(Ok(&served.value));
        let verdict = Verdict { outcome, retry, retry_after, open_for, used, overload, kind: "" };
        served.value.map(|body| HeldBody::new(body, held(), verdict))
    }
}

pin_project! {
/// A body that keeps what was taken for its response. Its end counts as the response was judged, a break as a
/// failure of the kind `BodyError`; dropped before, it counts neither way.
#[derive(Debug)]
pub struct HeldBody<B> {
    #[pin]
    inner: B,
    held: Option<Held>,
    verdict: Verdict<'static>,
}
}

impl<B: Body> HeldBody<B> {
    /// `inner` with what was taken for it, to be settled with `verdict` at its end.
    pub fn new(inner: B, held: Held, verdict: Verdict<'static>) -> Self {
        let mut body = Self { inner, held: Some(held), verdict };
        // Nobody asks for the frames of an empty body.
        if body.inner.is_end_stream() {
            settle(&mut body.held, &verdict);
        }
        body
    }
}

fn settle(held: &mut Option<Held>, verdict: &Verdict<'_>) {
    if let Some(held) = held.take() {
        held.settle(verdict);
    }
}

impl<B: Body> Body for HeldBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        match &frame {
            Some(Err(_)) => settle(this.held, &Verdict::failure("BodyError")),
            // With the last byte, not with the poll after it, which may never come.
            Some(Ok(_)) if !this.inner.is_end_stream() => {}
            Some(Ok(_)) | None => settle(this.held, this.verdict),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
