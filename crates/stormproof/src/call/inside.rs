//! What runs inside what: who would wait there for the end of what it is part of would wait for itself.
//!
//! A thread-local list, set around every poll. What is spawned is outside.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

thread_local! {
    static AROUND: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Whether this runs inside the work of `of`.
pub(crate) fn is_inside(of: usize) -> bool {
    AROUND.with_borrow(|around| around.contains(&of))
}

/// What tells one shared thing from another.
pub(crate) fn id<T: ?Sized>(shared: &Arc<T>) -> usize {
    Arc::as_ptr(shared).addr()
}

/// Runs `work` once inside the work of `of`.
pub(crate) fn scope<R>(of: usize, work: impl FnOnce() -> R) -> R {
    struct Leave;

    impl Drop for Leave {
        fn drop(&mut self) {
            AROUND.with_borrow_mut(Vec::pop);
        }
    }

    AROUND.with_borrow_mut(|around| around.push(of));
    let _leave = Leave;
    work()
}

pin_project! {
    /// A future that runs inside the work of something.
    pub(crate) struct Inside<F> {
        of: usize,
        #[pin]
        work: F,
    }
}

/// Lets `work` run inside the work of `of`.
pub(crate) fn inside<F: Future>(of: usize, work: F) -> Inside<F> {
    Inside { of, work }
}

impl<F: Future> Future for Inside<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        scope(*this.of, || this.work.poll(cx))
    }
}
