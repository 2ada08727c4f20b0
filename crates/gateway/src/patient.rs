//! A connection that does not wait for ever for a client that takes nothing.
//!
//! An answer holds its slot until its body has ended. A client that stops reading must not be able to hold it longer
//! than a client that reads.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::patience::Patience;

/// Breaks off when nothing could be written for the whole of `patience`.
#[derive(Debug)]
pub(crate) struct Patient<S> {
    stream: S,
    patience: Patience,
    pressed: Arc<AtomicBool>,
}

impl<S> Patient<S> {
    /// The connection, and whether something is to be written that the client does not take at the moment.
    pub(crate) fn new(stream: S, patience: Duration) -> (Self, Arc<AtomicBool>) {
        let pressed = Arc::new(AtomicBool::new(false));
        (Self { stream, patience: Patience::new(patience), pressed: pressed.clone() }, pressed)
    }

    fn limit<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.pressed.store(written.is_pending(), Ordering::Relaxed);
        if written.is_ready() {
            self.patience.reset();
            return written;
        }
        self.patience.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, data);
        self.limit(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.limit(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.limit(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
