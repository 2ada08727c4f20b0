//! What has become of a policy's calls.

use crate::decision::{Name, Stage};
use crate::outcome::Outcome;
use crate::snapshot::{Sample, Snapshot};
use crate::sync::{AtomicU64, Ordering, Padded};

/// Number of calls by outcome. A call that was dropped is in none of them.
#[derive(Debug, Default)]
pub struct Calls(Padded<[AtomicU64; 4]>);

impl Calls {
    const LABELS: [&str; 4] = ["success", "failure", "ignored", "refused"];

    #[inline]
    fn add(&self, at: usize) {
        if let Some(count) = self.0.0.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a call that ended with a result.
    #[inline]
    pub(crate) fn count(&self, outcome: Outcome) {
        self.add(match outcome {
            Outcome::Success => 0,
            Outcome::Failure => 1,
            Outcome::Ignored => 2,
        });
    }

    /// Counts a call of which no attempt was made, because a stage refused it.
    pub(crate) fn count_refused(&self) {
        self.add(3);
    }

    /// The same as data, for metrics and pages.
    pub fn snapshot(&self, name: &Name) -> Snapshot {
        let counts = Self::LABELS.into_iter().zip(&self.0.0);
        let sample = |(label, count): (&'static str, &AtomicU64)| {
            let help = "Calls by outcome, retries not counted; refused are those of which no attempt was made.";
            Sample::counter("calls", help, count.load(Ordering::Relaxed)).label("outcome", label)
        };
        Snapshot { stage: Stage::Policy, name: name.clone(), samples: counts.map(sample).collect() }
    }
}
