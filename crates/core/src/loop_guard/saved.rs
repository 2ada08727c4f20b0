//! What of a run outlives its process.

use super::config::Config;
use super::watch::Memory;
use crate::invalid::Mistakes;

/// The version of what is written.
pub const VERSION: u32 = 1;

/// All that is remembered of a run, for another process. With the feature `serde` it writes and reads itself; times in it
/// are lengths, as the clock of the next process has another origin.
///
/// ```
/// use stormproof_core::loop_guard::Config;
/// use stormproof_core::{Instant, LoopGuard};
///
/// let guard = LoopGuard::new("task-7");
/// for _ in 0..3 {
///     assert!(guard.before_call(Instant::ZERO, "search", "rust").verdict.is_allow());
/// }
/// let state = guard.state(Instant::ZERO);
/// let again = LoopGuard::restore("task-7", Config::default(), state)?;
/// assert!(!again.before_call(Instant::ZERO, "search", "rust").verdict.is_allow(), "it has not forgotten");
/// # Ok::<(), stormproof_core::loop_guard::RestoreError>(())
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[must_use]
pub struct State {
    version: u32,
    /// Under the name of its version, so that another version's is not mistaken for it.
    #[cfg_attr(feature = "serde", serde(default))]
    v1: Option<Box<Memory>>,
}

/// Why a run cannot go on from a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The configuration is invalid.
    #[error("the configuration of the loop guard is invalid: {0}")]
    Invalid(Mistakes),
    /// The state was written by another version of this library. It is not changed: use that version, or begin without it.
    #[error("the loop guard's state has version {found}, known is {VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// The state is not one that this library has written.
    #[error("the loop guard's state is corrupt: {what}")]
    Corrupt {
        /// What is wrong.
        what: &'static str,
    },
}

impl From<Mistakes> for RestoreError {
    fn from(mistakes: Mistakes) -> Self {
        Self::Invalid(mistakes)
    }
}

impl State {
    pub(super) fn of(mut memory: Memory) -> Self {
        memory.calls = memory.calls.without_results();
        Self { version: VERSION, v1: Some(Box::new(memory)) }
    }

    /// The version of what was written.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The run, one restart later.
    pub(super) fn open(self, config: &Config) -> Result<Memory, RestoreError> {
        if self.version != VERSION {
            return Err(RestoreError::Version { found: self.version });
        }
        let mut memory = self.v1.ok_or(RestoreError::Corrupt { what: "it is empty" })?.resized(config);
        if !memory.cost.is_finite() || memory.cost < 0.0 {
            return Err(RestoreError::Corrupt { what: "its cost is no amount of money" });
        }
        memory.restarted(config);
        // Judged anew, as the limit may be another one now.
        memory.ladder.stopped = memory.ladder.stopped.filter(|why| !why.rule.is_limit());
        Ok(memory)
    }
}
