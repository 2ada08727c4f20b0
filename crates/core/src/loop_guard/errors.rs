//! Errors that come again, whatever is tried in between.

use super::config::Config;
use super::mask::both;
use super::recent::Recent;
use super::rule::Rule;
use super::watch::since;

/// So many tools, and so many errors, are told apart.
const MOST: usize = 256;

/// What is remembered of errors.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Errors {
    tools: Recent<Tool>,
    /// By tool and error.
    errors: Recent<Error>,
}

/// The last error of a tool.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
struct Tool {
    error: u64,
    in_a_row: u32,
    /// How often the tool gave something new.
    useful: u64,
}

/// How often a tool gave an error, since when, and how useful the tool was by then.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
struct Error {
    since: u64,
    times: u32,
    useful: u64,
}

/// How a result begins that is an error, where a loop has no other way to say so.
const BEGINNINGS: [&str; 9] = [
    "error:",
    "error executing",
    "error calling",
    "exception:",
    "fatal:",
    "traceback (",
    "<error>",
    "<tool_use_error>",
    "{\"error\":\"",
];

/// Words of which an error is made that does not say what went wrong.
const EMPTY: [&str; 14] = [
    "a", "code", "command", "error", "exit", "exited", "failed", "non", "process", "returned", "status", "the", "with",
    "zero",
];

/// Whether a result is an error that tells what went wrong. One that does not may have as many causes as calls: that a
/// search found nothing, that a file is not there.
pub(super) fn is_error(outcome: Result<&str, &str>) -> bool {
    match outcome {
        Ok(text) => {
            let text = text.trim_start().as_bytes();
            BEGINNINGS
                .iter()
                .any(|known| text.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known.as_bytes())))
        }
        Err(text) => text
            .split(|letter: char| !letter.is_alphabetic())
            .any(|word| !word.is_empty() && !EMPTY.iter().any(|known| word.eq_ignore_ascii_case(known))),
    }
}

impl Default for Errors {
    fn default() -> Self {
        Self { tools: Recent::new(MOST), errors: Recent::new(MOST) }
    }
}

impl Errors {
    pub(super) fn resized(self) -> Self {
        Self { tools: self.tools.resized(MOST), errors: self.errors.resized(MOST) }
    }

    /// The tool gave a result. A new one shows that it is of use.
    pub(super) fn none(&mut self, tool: u64, new: bool) {
        let (tool, _) = self.tools.touch(tool, Tool::default);
        tool.in_a_row = 0;
        tool.useful = tool.useful.saturating_add(u64::from(new));
    }

    /// The tool gave an error.
    pub(super) fn push(&mut self, at: u64, tool: u64, error: u64, config: &Config) -> Option<Rule> {
        let key = both(tool, error);
        let (tool, _) = self.tools.touch(tool, Tool::default);
        tool.in_a_row = if tool.error == error { tool.in_a_row.saturating_add(1) } else { 1 };
        tool.error = error;
        let (in_a_row, useful) = (tool.in_a_row, tool.useful);
        let (seen, _) = self.errors.touch(key, || Error { since: at, times: 0, useful });
        if since(at, seen.since) > config.repetition_window || seen.useful != useful {
            *seen = Error { since: at, times: 0, useful };
        }
        seen.times = seen.times.saturating_add(1);
        if in_a_row > config.max_error_repetitions {
            return Some(Rule::Error(in_a_row));
        }
        (seen.times > config.max_errors_in_window).then_some(Rule::Error(seen.times))
    }
}
