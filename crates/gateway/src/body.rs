//! The body of an answer on its way to the client: it owns what its call has taken, and gives it back at its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use stormproof::event::Kind;
use stormproof::{Event, Held, Outcome, Stop, Verdict};
use stormproof_http::client;

use crate::feed::Feed;
use crate::patience::Patience;

/// The kind of a long silence in an answer.
pub(crate) const STALLED: &str = "TimeoutError.Stalled";

/// What the gateway sends: an upstream's body, or words of its own.
#[derive(Debug)]
pub(crate) enum Reply {
    Upstream(Box<Stream>),
    Own(Full<Bytes>),
}

/// The answer cannot be completed; the connection to the client is broken off, so that what came cannot be taken for
/// the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the upstream's answer broke off")]
pub(crate) struct Broken;

impl Body for Reply {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Upstream(stream) => Pin::new(&mut **stream).poll_frame(cx),
            Self::Own(text) => Pin::new(text).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Upstream(stream) => stream.is_end_stream(),
            Self::Own(text) => text.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Upstream(stream) => stream.size_hint(),
            Self::Own(text) => text.size_hint(),
        }
    }
}

/// An upstream's body. Its end settles the call as its status was judged, a break or a long silence as a failure; if the
/// client hangs up it is dropped, and the call counts neither way.
#[derive(Debug)]
pub(crate) struct Stream {
    incoming: Incoming,
    held: Option<Held>,
    verdict: Verdict<'static>,
    patience: Patience,
    feed: Feed,
    attempts: u32,
}

impl Stream {
    /// The body of an answer that was judged as `verdict`, to the last of so many attempts.
    pub(crate) fn new(
        incoming: Incoming,
        (held, attempts): (Held, u32),
        verdict: Verdict<'static>,
        patience: Duration,
        feed: Feed,
    ) -> Self {
        let patience = Patience::new(patience);
        let mut stream = Self { incoming, held: Some(held), verdict, patience, feed, attempts };
        // Nobody asks for the frames of an empty body.
        stream.settle_at_end();
        stream
    }

    fn settle(&mut self, verdict: &Verdict<'_>) {
        if let Some(held) = self.held.take() {
            held.settle(verdict);
        }
    }

    /// The answer broke off. Told before it counts, so that no circuit opens for a cause that the log does not have; a
    /// failed answer was told of at its header.
    fn fail(&mut self, kind: &'static str) {
        if let Some(held) = &self.held
            && self.verdict.outcome != Outcome::Failure
        {
            let (policy, attempts) = (held.policy(), self.attempts);
            let gave_up = Kind::GaveUp { stop: Stop::NotRetryable, attempts, error: kind.into() };
            self.feed.tell(&Event::new(policy.clock().now(), policy.name().clone(), gave_up), policy.clock());
        }
        self.settle(&Verdict::failure(kind));
    }

    /// With the last byte, not with the poll after it, which may never come.
    fn settle_at_end(&mut self) {
        if self.incoming.is_end_stream() {
            let verdict = self.verdict;
            self.settle(&verdict);
        }
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.patience.reset();
                this.settle_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.fail(client::body_error(&error).kind());
                Poll::Ready(Some(Err(Broken)))
            }
            Poll::Ready(None) => {
                let verdict = this.verdict;
                this.settle(&verdict);
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(this.patience.poll(cx));
                this.fail(STALLED);
                Poll::Ready(Some(Err(Broken)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
