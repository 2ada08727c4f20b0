//! An operation and its attempts: through a policy that is told how to take its errors, begun only while the run is sure
//! to be this process's, and of an effect with the probe asked before each attempt that may repeat it.
//!
//! Below steps, effects and calls made [once](crate::Once), which record in their own ways what came of it.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stormproof::{Classify, ErrIsFailure, Policy, Verdict};

use crate::effect::Probe;
use crate::failed::Failed;
use crate::lease::Member;
use crate::op::Op;

/// How the results of an operation are judged.
pub(crate) type Classifier<'a, T, E> = dyn Classify<T, E> + Send + Sync + 'a;

/// An operation that gives `T` or fails with `E`.
pub(crate) struct Operation<'a, T, E> {
    /// What it is told about itself.
    pub(crate) op: Op,
    pub(crate) member: &'a Member,
    pub(crate) policy: Option<&'a Policy>,
    pub(crate) classifier: &'a Classifier<'a, T, E>,
}

/// Why an operation has no value.
#[derive(Debug)]
pub(crate) enum Why {
    /// It failed.
    Failed(Failed),
    /// Its policy refused it or gave up on it: an attempt that was cut off may have happened.
    GaveUp(Failed),
    /// It may have happened, and the probe cannot tell.
    Refused(String),
    /// It may have happened, and the probe failed.
    Unprobed(Failed),
    /// The run may be somebody else's by now: nothing was begun.
    Unsure,
}

impl Why {
    fn into_failed(self) -> Failed {
        match self {
            Self::Failed(failed) | Self::GaveUp(failed) | Self::Unprobed(failed) => failed,
            Self::Refused(why) => Failed::new("refused", why),
            Self::Unsure => Failed::new("fenced", "the lease is over"),
        }
    }
}

/// An attempt that gave no value, and how a policy is to take it. The verdict's kind stands beside it, so that the error
/// it is about need not be kept.
struct Judged<E> {
    why: Why,
    verdict: Verdict<'static>,
    kind: String,
    of: PhantomData<fn() -> E>,
}

impl<E> Judged<E> {
    /// What says nothing of the callee, and ends the attempts.
    fn beside(why: Why, kind: &str) -> Self {
        Self { why, verdict: Verdict::ignored(""), kind: kind.into(), of: PhantomData }
    }
}

impl<E> From<Judged<E>> for Failed {
    fn from(judged: Judged<E>) -> Self {
        judged.why.into_failed()
    }
}

impl<'a, T, E: Into<Failed> + 'static> Operation<'a, T, E> {
    /// An operation that its caller judges by `classifier`, or else as every error a failure.
    pub(crate) fn new(
        op: Op,
        member: &'a Member,
        policy: Option<&'a Policy>,
        by: Option<&'a Arc<Classifier<'static, T, E>>>,
    ) -> Self {
        let classifier: &Classifier<'a, T, E> = by.map_or(&ErrIsFailure, |classifier| &**classifier);
        Self { op, member, policy, classifier }
    }

    /// Runs it, at least once.
    pub(crate) async fn run<Fut>(self, mut run: impl FnMut(Op) -> Fut) -> Result<T, Why>
    where
        Fut: Future<Output = Result<T, E>>,
    {
        self.attempts(|op| {
            let running = self.sure().map(|()| run(op));
            async { running?.await.map_err(|error| self.judge(error)) }
        })
        .await
    }

    /// Runs it as an effect: what was begun once, by an attempt here or (`open`) before, may have happened, so that the probe
    /// is asked first. `asked` hears of that.
    pub(crate) async fn run_as_effect<P, PFut, PE, F, Fut>(
        self,
        open: bool,
        probe: P,
        run: F,
        asked: impl Fn(),
    ) -> Result<T, Why>
    where
        P: Fn(Op) -> PFut,
        PFut: Future<Output = Result<Probe<T>, PE>>,
        PE: Into<Failed>,
        F: Fn(Op) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let open = AtomicBool::new(open);
        self.attempts(async |op: Op| {
            if open.swap(true, Ordering::Relaxed) {
                asked();
                match probe(op.clone()).await {
                    Ok(Probe::Done(value)) => return Ok(value),
                    Ok(Probe::Rerun) => {}
                    Ok(Probe::Refuse(why)) => return Err(Judged::beside(Why::Refused(why), "probe")),
                    Err(error) => return Err(Judged::beside(Why::Unprobed(error.into()), "probe")),
                }
            }
            self.sure()?;
            run(op).await.map_err(|error| self.judge(error))
        })
        .await
    }

    /// The attempts that the policy makes of it; one without a policy.
    async fn attempts<Fut>(&self, mut attempt: impl FnMut(Op) -> Fut) -> Result<T, Why>
    where
        Fut: Future<Output = Result<T, Judged<E>>>,
    {
        let Some(policy) = self.policy else {
            return attempt(self.op.clone()).await.map_err(|judged| judged.why);
        };
        let made = policy.call(|cx| attempt(self.op.attempt_of(cx.attempt(), cx.remaining(), policy.clock())));
        made.classify(self).await.map_err(|error| match error {
            stormproof::Error::Failed { error, .. } => error.why,
            other => Why::GaveUp(Failed::of_policy(other)),
        })
    }

    /// A process that stood still must not call out as if nothing had happened.
    fn sure(&self) -> Result<(), Judged<E>> {
        if self.member.is_good() { Ok(()) } else { Err(Judged::beside(Why::Unsure, "lease")) }
    }

    fn judge(&self, error: E) -> Judged<E> {
        let Verdict { outcome, retry, retry_after, open_for, used, overload, kind } =
            self.classifier.classify(Err(&error));
        let kind = kind.to_owned();
        let failed: Failed = error.into();
        // What is final is not tried again.
        let retry = retry.or(failed.is_kept().then_some(false));
        let verdict = Verdict { outcome, retry, retry_after, open_for, used, overload, kind: "" };
        Judged { why: Why::Failed(failed), verdict, kind, of: PhantomData }
    }
}

impl<T, E> Classify<T, Judged<E>> for Operation<'_, T, E> {
    fn classify<'a>(&'a self, result: Result<&'a T, &'a Judged<E>>) -> Verdict<'a> {
        match result {
            Ok(value) => self.classifier.classify(Ok(value)),
            Err(Judged { verdict, kind, .. }) => Verdict { kind, ..*verdict },
        }
    }
}
