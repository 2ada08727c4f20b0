//! The body of a request on its way to the upstream: received first if it is small, streamed if it is not.
//!
//! A body that is kept whole can be sent again. It is also received before anything is taken for the call, so that a
//! client that sends slowly holds no slot, and its slowness is not taken for the upstream's.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use stormproof_http::BrokenRequest;
use tokio::time::{Sleep, timeout};

/// The body of a request: what has been received, then what is still to come.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    received: VecDeque<Bytes>,
    rest: Option<Rest>,
}

#[derive(Debug)]
struct Rest {
    incoming: Incoming,
    patience: Duration,
    /// Armed while the client sends nothing.
    timer: Option<Pin<Box<Sleep>>>,
}

/// Why a body could not be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreceived {
    /// The client broke off.
    Broken,
    /// The client sent nothing for too long.
    Slow,
}

impl Upload {
    /// Receives the body if it has at most `limit` bytes; else what has come so far, the rest to be streamed. A body
    /// that does not say its length is received only if `keep` is set.
    pub(crate) async fn receive(
        mut incoming: Incoming,
        limit: usize,
        keep: bool,
        patience: Duration,
    ) -> Result<Self, Unreceived> {
        let mut received = VecDeque::new();
        let hint = incoming.size_hint();
        let known = hint.upper();
        let worth_it = known.map_or(keep, |size| size <= limit as u64);
        let mut room = limit;
        while worth_it && !incoming.is_end_stream() {
            let frame = timeout(patience, incoming.frame()).await.map_err(|_| Unreceived::Slow)?;
            let Some(frame) = frame else { return Ok(Self { received, rest: None }) };
            let Ok(data) = frame.map_err(|_| Unreceived::Broken)?.into_data() else { continue };
            let fits = data.len() <= room;
            room = room.saturating_sub(data.len());
            received.push_back(data);
            if !fits {
                break;
            }
        }
        let rest = (!incoming.is_end_stream()).then_some(Rest { incoming, patience, timer: None });
        Ok(Self { received, rest })
    }

    /// The same body once more, if it is kept whole.
    pub(crate) fn again(&self) -> Option<Self> {
        self.is_whole().then(|| Self { received: self.received.clone(), rest: None })
    }

    /// Whether all of it is kept.
    pub(crate) fn is_whole(&self) -> bool {
        self.rest.is_none()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BrokenRequest;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenRequest>>> {
        if let Some(data) = self.received.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        match Pin::new(&mut rest.incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                rest.timer = None;
                Poll::Ready(frame.map(|frame| frame.map_err(|_| BrokenRequest)))
            }
            Poll::Pending => {
                let patience = rest.patience;
                let timer = rest.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Some(Err(BrokenRequest)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.received.is_empty() && self.rest.as_ref().is_none_or(|rest| rest.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let received: u64 = self.received.iter().map(|data| data.len() as u64).sum();
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |rest| rest.incoming.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(received));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(received));
        }
        hint
    }
}
