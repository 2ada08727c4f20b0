//! What a policy is told of the errors of a step: what its classifier says, and that what is final is not tried again.

use std::marker::PhantomData;
use std::sync::Arc;

use stormproof::{Classify, ErrIsFailure, Verdict};

use crate::failed::Failed;

/// How a step's results are judged.
pub(crate) type Classifier<T, E> = Arc<dyn Classify<T, E> + Send + Sync>;

/// An error of an operation, and the judgement of it. The kind that the verdict names stands beside it, so that the error
/// itself need not be kept.
pub(crate) struct Judged<E> {
    failed: Failed,
    verdict: Verdict<'static>,
    kind: String,
    of: PhantomData<fn() -> E>,
}

impl<E: Into<Failed>> Judged<E> {
    pub(crate) fn new<T>(classifier: Option<&Classifier<T, E>>, error: E) -> Self {
        let result = Err::<&T, _>(&error);
        let verdict =
            classifier.map_or_else(|| ErrIsFailure.classify(result), |classifier| classifier.classify(result));
        let Verdict { outcome, retry, retry_after, open_for, used, kind } = verdict;
        let kind = kind.to_owned();
        let failed: Failed = error.into();
        let retry = retry.or(failed.is_kept().then_some(false));
        let verdict = Verdict { outcome, retry, retry_after, open_for, used, kind: "" };
        Self { failed, verdict, kind, of: PhantomData }
    }
}

impl<E> From<Judged<E>> for Failed {
    fn from(judged: Judged<E>) -> Self {
        judged.failed
    }
}

/// Tells a policy of the judgements.
pub(crate) struct Judge<'a, T, E>(pub(crate) Option<&'a Classifier<T, E>>);

impl<T, E> Classify<T, Judged<E>> for Judge<'_, T, E> {
    fn classify<'a>(&self, result: Result<&'a T, &'a Judged<E>>) -> Verdict<'a> {
        match (result, self.0) {
            (Err(Judged { verdict, kind, .. }), _) => Verdict { kind, ..*verdict },
            (Ok(value), Some(classifier)) => classifier.classify(Ok(value)),
            (Ok(_), None) => Verdict::success(),
        }
    }
}
