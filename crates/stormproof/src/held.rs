//! What a call has taken and still holds, as a guard.

use stormproof_core::{Permits, Verdict};

use crate::policy::{AsyncEdge, Policy};

/// What was taken for a call that is not over yet: a response whose body is still coming, work that runs elsewhere.
///
/// [`settle`](Self::settle) gives it back with a result. Dropping it gives it back too, and counts neither way.
#[derive(Debug)]
#[must_use = "dropping it gives everything back at once"]
pub struct Held {
    policy: Policy,
    permits: Permits,
}

impl Held {
    pub(crate) fn new(policy: Policy, permits: Permits) -> Self {
        Self { policy, permits }
    }

    /// Gives everything back with a result: the breaker counts it, the tokens are corrected to what was really used.
    pub fn settle(mut self, verdict: &Verdict<'_>) {
        let policy = &self.policy.0;
        self.permits.settle(&policy.core, policy.clock.now(), verdict, &mut AsyncEdge(policy));
    }

    /// Gives everything back as if it had never been taken, requests and tokens included: nothing was called.
    pub fn release(mut self) {
        let policy = &self.policy.0;
        self.permits.release(&policy.core, &mut AsyncEdge(policy));
    }

    /// The policy it was taken from.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let policy = &self.policy.0;
        self.permits.abandon(&policy.core, &mut AsyncEdge(policy));
    }
}
