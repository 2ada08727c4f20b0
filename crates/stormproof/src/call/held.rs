//! What a call has taken and still holds, as a guard.

use stormproof_core::{Permits, Verdict};

use crate::policy::{DoorEdge, Policy};

/// What was taken for a call that is not over yet: a response whose body is still coming, work that runs elsewhere.
///
/// [`settle`](Self::settle) gives it back with a result. Dropping it frees the slot and counts neither
/// way for the breaker; requests and tokens stay spent, which only [`release`](Self::release) undoes.
#[derive(Debug)]
#[must_use = "dropping it frees the slot at once"]
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
        self.permits.settle(&policy.core, policy.clock.now(), verdict, &mut DoorEdge(policy));
    }

    /// Gives everything back as if it had never been taken, requests and tokens included: nothing was called.
    pub fn release(mut self) {
        let policy = &self.policy.0;
        self.permits.release(&policy.core, &mut DoorEdge(policy));
    }

    /// The policy it was taken from.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let policy = &self.policy.0;
        self.permits.abandon(&policy.core, &mut DoorEdge(policy));
    }
}

#[cfg(test)]
mod tests {
    use stormproof_core::{Verdict, bulkhead};

    use crate::{Bulkhead, CircuitBreaker, Policy};

    #[tokio::test]
    async fn an_error_that_counts_neither_way_is_not_held() {
        let bulkhead = Bulkhead::with_config("b", bulkhead::Config::default()).unwrap();
        let policy = Policy::builder("p").bulkhead(&bulkhead).breaker(CircuitBreaker::new("c")).build().unwrap();
        let call = policy.call(|_| async { Err::<(), _>("the caller's fault") });
        let result = call.classify_with(|_| Verdict::ignored("ClientError")).hold().await;
        assert_eq!(result.unwrap_err().into_last(), Some("the caller's fault"));
        assert_eq!(bulkhead.stats().active, 0);
    }
}
