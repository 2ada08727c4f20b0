//! Panics of somebody else's code, as values.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use stormproof_core::health::ERROR_BYTES;
use stormproof_core::text;

pin_project! {
    /// A future whose panic is a value. After one it must not be polled again.
    pub(crate) struct Caught<F> {
        #[pin]
        inner: F,
    }
}

/// Catches the panic of `inner`.
pub(crate) fn caught<F: Future>(inner: F) -> Caught<F> {
    Caught { inner }
}

impl<F: Future> Future for Caught<F> {
    type Output = std::thread::Result<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = self.project().inner;
        // What it leaves half done is dropped, and seen by nobody but itself.
        match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

/// What a panic says, up to 200 bytes of it.
pub(crate) fn text(panic: &(dyn Any + Send)) -> Box<str> {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text::start(text.unwrap_or("no text"), ERROR_BYTES).into()
}
