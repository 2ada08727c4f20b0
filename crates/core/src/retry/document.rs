//! How retries are written in a configuration file.

use std::num::NonZeroU32;
use std::time::Duration;

use super::Config;
use crate::backoff::Backoff;

/// A configuration as it is written: how often, in one of two ways.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename = "retry")]
pub(super) struct Document {
    max_retries: Option<u32>,
    /// Counts the first call.
    max_attempts: Option<NonZeroU32>,
    backoff: Backoff,
    retry_on: Vec<String>,
    never_on: Vec<String>,
    #[serde(with = "crate::time::duration::option")]
    retry_after_cap: Option<Duration>,
    #[serde(with = "crate::time::duration::option")]
    max_retry_after: Option<Duration>,
    wait_for_half_open: bool,
}

impl TryFrom<Document> for Config {
    type Error = &'static str;

    fn try_from(read: Document) -> Result<Self, Self::Error> {
        let max_retries = match (read.max_retries, read.max_attempts) {
            (Some(_), Some(_)) => return Err("`max_retries` and `max_attempts` say the same thing: set one of them"),
            (None, Some(attempts)) => attempts.get() - 1,
            (Some(retries), None) => retries,
            (None, None) => Self::DEFAULT_RETRIES,
        };
        let Document { backoff, retry_on, never_on, retry_after_cap, max_retry_after, wait_for_half_open, .. } = read;
        Ok(Self { max_retries, backoff, retry_on, never_on, retry_after_cap, max_retry_after, wait_for_half_open })
    }
}
