//! Asking a store again that does not answer, for as long as whoever asks is there.

use std::time::Duration;

use stormproof::Backoff;

use crate::error::StoreError;
use crate::journal::Shared;

/// Waits between one question and the next.
pub(crate) struct Patience<'a> {
    shared: &'a Shared,
    waits: u32,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        Self { shared, waits: 0 }
    }

    /// Waits, if it makes sense to ask again: the store did not answer, or had no room.
    pub(crate) async fn again(&mut self, error: &StoreError) -> bool {
        self.shared.store_failed(error);
        if !matches!(error, StoreError::Unavailable { .. } | StoreError::Full { .. }) {
            return false;
        }
        self.pause().await;
        true
    }

    /// Waits, longer each time.
    pub(crate) async fn pause(&mut self) {
        let backoff = Backoff::exponential(Duration::from_millis(20)).max_delay(Duration::from_secs(2));
        let wait = backoff.delay(self.waits, Duration::ZERO, &self.shared.rng);
        self.waits = self.waits.saturating_add(1);
        self.shared.settings.clock.wait(wait).await;
    }

    /// The store has answered.
    pub(crate) fn answered(&mut self) {
        if std::mem::take(&mut self.waits) > 0 {
            self.shared.store_answered();
        }
    }
}

/// Evaluates a call of the store until it is answered by something else than that it cannot be reached or has no room.
macro_rules! insist {
    ($shared:expr, $call:expr) => {{
        let mut patience = $crate::patience::Patience::new($shared);
        loop {
            match $call.await {
                Ok(answer) => {
                    patience.answered();
                    break Ok(answer);
                }
                Err(error) => {
                    if !patience.again(&error).await {
                        break Err(error);
                    }
                }
            }
        }
    }};
}
pub(crate) use insist;
