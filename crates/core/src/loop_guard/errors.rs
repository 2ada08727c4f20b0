//! Errors that come again, whatever is tried in between.

use super::config::Config;
use super::mask::both;
use super::recent::Recent;
use super::verdict::Rule;
use super::watch::since;

/// So many tools, and so many errors, are told apart.
const MOST: usize = 256;

/// What is remembered of errors.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Errors {
    /// By tool: its last error, and how often in a row.
    in_a_row: Recent<(u64, u32)>,
    /// By tool and error: since when, and how often.
    in_window: Recent<(u64, u32)>,
}

impl Default for Errors {
    fn default() -> Self {
        Self { in_a_row: Recent::new(MOST), in_window: Recent::new(MOST) }
    }
}

impl Errors {
    pub(super) fn resized(self) -> Self {
        Self { in_a_row: self.in_a_row.resized(MOST), in_window: self.in_window.resized(MOST) }
    }

    /// The tool gave a result.
    pub(super) fn none(&mut self, tool: u64) {
        self.in_a_row.change(tool, |row| *row = (0, 0));
    }

    /// The tool gave an error.
    pub(super) fn push(&mut self, at: u64, tool: u64, error: u64, config: &Config) -> Option<Rule> {
        let row = self.in_a_row.touch(tool, || (error, 0)).0;
        *row = if row.0 == error { (error, row.1.saturating_add(1)) } else { (error, 1) };
        let times = row.1;
        let seen = self.in_window.touch(both(tool, error), || (at, 0)).0;
        if since(at, seen.0) > config.repetition_window {
            *seen = (at, 0);
        }
        seen.1 = seen.1.saturating_add(1);
        if times > config.max_error_repetitions {
            return Some(Rule::Error(times));
        }
        (seen.1 > config.max_errors_in_window).then_some(Rule::Error(seen.1))
    }
}
