//! What an operation inside a step may know about itself.

use std::sync::Arc;
use std::time::Duration;

use stormproof::{Clock, Instant};

use crate::fingerprint;
use crate::run::{Epoch, RunId};

/// What an operation needs to be told apart from others, at its callee above all.
///
/// ```
/// # use stormproof_journal::Op;
/// # async fn post(url: &str, header: (&str, &str)) -> Result<(), std::io::Error> { Ok(()) }
/// async fn pay(op: Op) -> Result<(), std::io::Error> {
///     post("https://bank/payments", ("Idempotency-Key", op.key())).await
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Op {
    key: Arc<str>,
    fence: Epoch,
    attempt: u32,
    until: Option<(Clock, Instant)>,
}

impl Op {
    /// Step `seq`, called `name`, of `run`.
    pub(crate) fn new(run: &RunId, seq: u32, name: &str, fence: Epoch) -> Self {
        Self { key: fingerprint::key(run, seq, name).into(), fence, attempt: 1, until: None }
    }

    /// The same in another attempt, which is given up after `remaining`.
    #[must_use]
    pub(crate) fn attempt_of(&self, attempt: u32, remaining: Option<Duration>, clock: &Clock) -> Self {
        let until = remaining.map(|time| (clock.clone(), clock.now() + time));
        Self { key: self.key.clone(), fence: self.fence, attempt, until }
    }

    /// A key for the callee: 32 hexadecimal digits. The same in every attempt and after every crash, another one in every
    /// other step, run and fork: what an `Idempotency-Key` has to be.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A number that only grows with the workers that have the run: a callee that refuses what is lower than the highest
    /// it has seen is safe from a worker that was paused and does not know that it was replaced.
    pub fn fence(&self) -> i64 {
        self.fence
    }

    /// The attempt's number in this process, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The time left until this attempt is given up by its policy; `None` for no limit.
    pub fn remaining(&self) -> Option<Duration> {
        self.until.as_ref().map(|(clock, until)| until.since(clock.now()))
    }
}
