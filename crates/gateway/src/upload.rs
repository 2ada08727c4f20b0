//! The body of a request on its way to the upstream: received first if that is of use, streamed if not.
//!
//! A body that is kept whole can be sent again. It is also received before anything is taken for the call, so that a
//! client that sends slowly holds no slot. One that streams tells whom it waits for, so that a slow client is not taken
//! for a slow upstream.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use stormproof_http::BrokenRequest;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::patience::{Awaited, Patience};

/// A body of this length costs no more to keep than the connection that it comes on.
pub(crate) const SMALL: usize = 64 << 10;

/// The body of a request: what has been received, then what is still to come.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    received: Bytes,
    rest: Option<Rest>,
}

#[derive(Debug)]
struct Rest {
    incoming: Incoming,
    patience: Patience,
    progress: watch::Sender<Awaited>,
}

/// Why a body could not be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreceived {
    /// The client broke off.
    Broken,
    /// It took too long.
    Slow,
}

impl Upload {
    /// Receives the body, within `patience`, if it says that it has at most `limit` bytes; else it will be streamed, each
    /// silence of the client being at most `patience`. A body that does not say its length is received, as far as it has
    /// come to `limit`, only if `keep` is set.
    pub(crate) async fn receive(
        mut incoming: Incoming,
        limit: usize,
        keep: bool,
        patience: Duration,
    ) -> Result<Self, Unreceived> {
        let worth_it = incoming.size_hint().upper().map_or(keep, |size| size <= limit as u64);
        let mut received = Received::default();
        let whole = if worth_it {
            let receiving = received.fill(&mut incoming, limit);
            timeout(patience, receiving).await.map_err(|_| Unreceived::Slow)??
        } else {
            incoming.is_end_stream()
        };
        let rest = (!whole).then(|| {
            let progress = watch::Sender::new(Awaited::Upstream);
            Rest { incoming, patience: Patience::new(patience), progress }
        });
        Ok(Self { received: received.into_bytes(), rest })
    }

    /// The same body once more, if it is kept whole.
    pub(crate) fn again(&self) -> Option<Self> {
        self.is_whole().then(|| Self { received: self.received.clone(), rest: None })
    }

    /// Whether all of it is kept.
    pub(crate) fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    /// Whom it waits for, if it streams. Closed when it has ended.
    pub(crate) fn progress(&self) -> Option<watch::Receiver<Awaited>> {
        self.rest.as_ref().map(|rest| rest.progress.subscribe())
    }
}

/// What has come so far, in one piece: many small ones would each cost more than they hold.
#[derive(Debug, Default)]
struct Received {
    first: Bytes,
    joined: BytesMut,
}

impl Received {
    /// Takes in what comes, until it is more than `limit`. Whether that was all of it.
    async fn fill(&mut self, incoming: &mut Incoming, limit: usize) -> Result<bool, Unreceived> {
        let mut room = limit;
        while !incoming.is_end_stream() {
            let Some(frame) = incoming.frame().await else { return Ok(true) };
            let Ok(data) = frame.map_err(|_| Unreceived::Broken)?.into_data() else { continue };
            self.push(&data);
            let Some(left) = room.checked_sub(data.len()) else { return Ok(incoming.is_end_stream()) };
            room = left;
        }
        Ok(true)
    }

    fn push(&mut self, data: &Bytes) {
        if self.first.is_empty() && self.joined.is_empty() {
            self.first = data.clone();
            return;
        }
        if self.joined.is_empty() {
            self.joined.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.joined.extend_from_slice(data);
    }

    fn into_bytes(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }
}

impl Rest {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenRequest>>> {
        let (awaited, polled) = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.patience.reset();
                (Awaited::Upstream, Poll::Ready(frame.map(|frame| frame.map_err(|_| BrokenRequest))))
            }
            Poll::Pending if self.patience.poll(cx).is_ready() => {
                (Awaited::Nobody, Poll::Ready(Some(Err(BrokenRequest))))
            }
            Poll::Pending => (Awaited::Client, Poll::Pending),
        };
        self.progress.send_if_modified(|known| std::mem::replace(known, awaited) != awaited);
        polled
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BrokenRequest;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenRequest>>> {
        if !self.received.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.received)))));
        }
        self.rest.as_mut().map_or(Poll::Ready(None), |rest| rest.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.received.is_empty() && self.rest.as_ref().is_none_or(|rest| rest.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let received = self.received.len() as u64;
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |rest| rest.incoming.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(received));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(received));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_pieces_become_one() {
        let mut received = Received::default();
        let first = Bytes::from_static(b"one piece is kept as it is");
        received.push(&first);
        assert_eq!(received.first.as_ptr(), first.as_ptr());
        (0..1000).for_each(|_| received.push(&Bytes::from_static(b"x")));
        let upload = Upload { received: received.into_bytes(), rest: None };
        assert_eq!(upload.received.len(), first.len() + 1000);
        assert_eq!(upload.size_hint().exact(), Some(first.len() as u64 + 1000));
    }
}
