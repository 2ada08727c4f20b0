//! An attempt that a tracker follows.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use stormproof_core::{Instant, Outcome};

use super::HealthTracker;
use crate::call::Cx;
use crate::call::classify::{Classify, ErrIsFailure};

impl HealthTracker {
    /// Feeds the tracker from an operation that a policy calls: each attempt with its own time, also one that ran out of
    /// time. An attempt that is given up for another reason counts neither way.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use stormproof::{HealthTracker, Policy};
    ///
    /// let (policy, tracker) = (Policy::builder("openai").build()?, HealthTracker::new("openai"));
    /// policy.call(tracker.follow(|_| async { Ok::<_, std::io::Error>(42) })).await?;
    /// assert_eq!(tracker.status().calls, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow<'p, F, Fut, T, E>(
        &self,
        op: F,
    ) -> impl FnMut(Cx<'p>) -> Followed<'p, Fut, ErrIsFailure> + use<'p, F, Fut, T, E>
    where
        F: FnMut(Cx<'p>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: 'static,
    {
        self.follow_with(op, ErrIsFailure)
    }

    /// [`follow`](Self::follow) with the classifier that judges the call, so that both count alike. What it ignores
    /// counts neither way; a failure is noted by its kind, not by its text.
    pub fn follow_with<'p, F, Fut, T, E, C>(
        &self,
        mut op: F,
        classifier: C,
    ) -> impl FnMut(Cx<'p>) -> Followed<'p, Fut, C> + use<'p, F, Fut, T, E, C>
    where
        F: FnMut(Cx<'p>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E> + Clone,
    {
        let tracker = self.clone();
        move |cx| Followed::new(op(cx), cx, classifier.clone(), tracker.clone())
    }
}

pin_project! {
    /// An attempt whose end a tracker is told. Made by [`HealthTracker::follow`].
    #[must_use = "an attempt does nothing until it is awaited"]
    pub struct Followed<'p, Fut, C> {
        #[pin]
        attempt: Fut,
        cx: Cx<'p>,
        classifier: C,
        tracker: HealthTracker,
        // From the first poll to the end.
        started: Option<Instant>,
    }

    impl<Fut, C> PinnedDrop for Followed<'_, Fut, C> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // Under way and without a result: either its time is over, or nobody wants it any more.
            if this.started.is_some() && this.cx.remaining() == Some(Duration::ZERO) {
                this.tracker.record_failure("TimeoutError");
            }
        }
    }
}

impl<'p, Fut, C> Followed<'p, Fut, C> {
    pub(super) fn new(attempt: Fut, cx: Cx<'p>, classifier: C, tracker: HealthTracker) -> Self {
        Self { attempt, cx, classifier, tracker, started: None }
    }
}

impl<Fut, C, T, E> Future for Followed<'_, Fut, C>
where
    Fut: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    type Output = Fut::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let started = *this.started.get_or_insert_with(|| this.tracker.clock().now());
        let result = ready!(this.attempt.poll(cx));
        *this.started = None;
        let verdict = this.classifier.classify(result.as_ref());
        match verdict.outcome {
            Outcome::Success => this.tracker.record_success(this.tracker.clock().now().since(started)),
            Outcome::Failure => this.tracker.record_failure(verdict.kind),
            Outcome::Ignored => {}
        }
        Poll::Ready(result)
    }
}
