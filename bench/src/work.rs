//! What is protected in the cases, and how it is polled.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};

use tokio::runtime::{Builder, Runtime};

/// How an operation fails.
#[derive(Clone, Copy, Debug)]
pub struct Broken;

/// An operation that is pending when it is polled first, and done the second time.
pub struct PendingOnce {
    answer: u64,
    polled: bool,
}

impl PendingOnce {
    pub fn new(answer: u64) -> Self {
        Self { answer, polled: false }
    }
}

impl Future for PendingOnce {
    type Output = Result<u64, Broken>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::replace(&mut self.polled, true) {
            return Poll::Ready(Ok(self.answer));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Polls `future` in place until it is done, with tokio's timers at hand but without an executor: nobody is charged for
/// scheduling, and tokio's cooperative budget, which would now and then send its own primitives round once more, does
/// not apply. The waker is counted, as a task's is, so that keeping one costs what it costs there.
pub fn drive<F: Future>(future: F) -> F::Output {
    static TIMERS: LazyLock<Runtime> =
        LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_time().build().expect("a runtime"));

    struct PolledAnyway;

    impl Wake for PolledAnyway {
        fn wake(self: Arc<Self>) {}
        fn wake_by_ref(self: &Arc<Self>) {}
    }

    let _timers = TIMERS.enter();
    let waker = Waker::from(Arc::new(PolledAnyway));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}
