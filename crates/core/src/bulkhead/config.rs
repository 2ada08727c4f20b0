//! What a bulkhead can be set to.

use std::time::Duration;

use crate::adaptive;
use crate::invalid::{Check, Invalid};

/// What the upper half of a word can hold without its highest bit.
const MOST_SLOTS: u64 = (1 << 31) - 1;

/// How many calls at a time, how many may wait, and how long.
///
/// ```
/// use stormproof_core::bulkhead;
///
/// let config = bulkhead::Config { max_concurrent: 0, ..Default::default() };
/// assert_eq!(config.validate()[0].to_string(), "max_concurrent is 0, allowed is 1 to 2147483647");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Config {
    /// Calls at a time: 1 to 2,147,483,647. Default 10.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 2_147_483_647)))]
    pub max_concurrent: u32,
    /// Callers that may wait while all slots are taken. Zero: nobody waits, but a free slot is given. Default 50.
    pub max_queue: u32,
    /// The longest time in the queue. Default 5 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub queue_timeout: Duration,
    /// Moves the number of slots by itself, starting at `max_concurrent`. Default: it stays.
    pub adaptive: Option<adaptive::Config>,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_concurrent: 10, max_queue: 50, queue_timeout: Duration::from_secs(5), adaptive: None }
    }
}

impl Config {
    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        let fits = self.max_concurrent >= 1 && u64::from(self.max_concurrent) <= MOST_SLOTS;
        check.that(fits, "max_concurrent", self.max_concurrent, "1 to 2147483647");
        if let Some(adaptive) = &self.adaptive {
            let mistakes = adaptive.validate();
            let starts = !mistakes.is_empty() || (adaptive.min..=adaptive.max).contains(&self.max_concurrent);
            check.that(starts, "max_concurrent", self.max_concurrent, "`adaptive.min` to `adaptive.max`");
            check.part("adaptive", mistakes);
        }
        check.done()
    }
}
