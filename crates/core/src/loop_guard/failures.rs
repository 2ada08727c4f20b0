//! What does not get on: a call that fails in the same way again and again, a tool that only fails, and one whose results
//! never change.
//!
//! A tool that fails or answers the same for different arguments is only found late: such is much of the dull work there is.

use super::config::Config;
use super::recent::Recent;
use super::rule::Rule;
use super::since;
use crate::text;

/// Number of tools, and of calls that failed, which are told apart.
const MOST: usize = 256;

/// What is remembered of failures and of results that do not change.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Failures {
    tools: Recent<Tool>,
    /// By call.
    calls: Recent<Failed>,
}

/// The state of a tool.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
struct Tool {
    /// Number of turns in which it failed since it last gave something new.
    failures: u32,
    /// When it last failed, and in which turn.
    failed_at: u64,
    failed_in: u64,
    /// Number of its results that were new.
    new: u64,
    last: u64,
    /// Number of new results of other tools at its last result.
    others: u64,
    /// Number of equal results in a row.
    equal: u32,
    /// The last call apart from its place, and the number of empty results of such calls in a row.
    call: u64,
    empty: u32,
}

/// A call that failed: how, how often in a row, and what the caller's fingerprint of progress was.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
struct Failed {
    result: u64,
    progress: Option<u64>,
    times: u32,
    at: u64,
    turn: u64,
}

/// A result of a tool.
pub(super) struct Seen {
    pub(super) at: u64,
    pub(super) turn: u64,
    pub(super) tool: u64,
    pub(super) call: u64,
    pub(super) result: u64,
    pub(super) kind: Kind,
    /// Whether the call never gave this result before, and the number of results of which that was true.
    pub(super) new: bool,
    pub(super) learned: u64,
    pub(super) progress: Option<u64>,
    /// The call apart from the place it looks at, if the result is empty.
    pub(super) empty: Option<u64>,
}

/// What a result says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An error that says what went wrong.
    Error,
    /// A result that ends like a report of failures, or an error that does not say what went wrong. It may have as many
    /// causes as calls: that a search found nothing, that a file is not there.
    Failure,
    Success,
}

/// Beginnings of results that are errors, where a loop has no other way to say so.
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

/// Words for what failed, in the last lines of a report.
const FAILED: [&str; 9] = ["fail", "failed", "failing", "failure", "failures", "error", "errors", "fatal", "panicked"];

impl Kind {
    pub(super) fn of(outcome: Result<&str, &str>) -> Self {
        let words = |text: &str, known: &[&str]| {
            text.split(|letter: char| !letter.is_alphabetic())
                .any(|word| !word.is_empty() && !known.iter().any(|known| word.eq_ignore_ascii_case(known)))
        };
        match outcome {
            Err(text) if words(text, &EMPTY) => Self::Error,
            Err(_) => Self::Failure,
            Ok(text) => {
                let start = text.trim_start().as_bytes();
                let begins = |known: &&str| {
                    start.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known.as_bytes()))
                };
                if BEGINNINGS.iter().any(begins) {
                    Self::Error
                } else if text.lines().rev().filter(|line| !line.trim().is_empty()).take(3).any(reports_failure) {
                    Self::Failure
                } else {
                    Self::Success
                }
            }
        }
    }
}

/// Whether a line is the end of a report of failures: `FAILED tests/a.py`, `2 failed, 5 passed`, `AssertionError: 1 != 2`;
/// not `0 errors`.
fn reports_failure(line: &str) -> bool {
    let (mut counted, mut first, mut none) = (None, true, false);
    for word in text::start(line, 400).split_whitespace() {
        let bare = word.trim_matches(|letter: char| !letter.is_alphanumeric());
        if let Ok(count) = bare.parse::<u64>() {
            (counted, none, first) = (Some(count), false, false);
            continue;
        }
        let known = FAILED.iter().any(|known| bare.eq_ignore_ascii_case(known));
        let loud = known && bare.bytes().all(|byte| byte.is_ascii_uppercase());
        let named = word.ends_with(':') && ["Error", "Exception"].iter().any(|end| bare.ends_with(end));
        let code = bare.starts_with("error[");
        if known && counted == Some(0) || none {
            return false;
        }
        if known && (counted.is_some() || first && !word.ends_with("s:")) || loud || named || code {
            return true;
        }
        // "2 tests failed": a word may stand in between.
        none = bare.eq_ignore_ascii_case("no") || known && word.ends_with(':');
        counted = counted.filter(|_| bare.to_ascii_lowercase().starts_with("test"));
        first = bare.is_empty() && first;
    }
    false
}

/// Whether a result holds nothing: no text, or JSON of nothing but names, brackets, zeros and nulls.
pub(super) fn is_empty(text: &str) -> bool {
    let mut rest = text.trim();
    if !rest.starts_with(['{', '[']) && !matches!(rest, "null" | "None") {
        return rest.is_empty();
    }
    while let Some(first) = rest.chars().next() {
        let skipped = match first {
            '{' | '}' | '[' | ']' | ',' | '0' => Some(&rest[1..]),
            // A name.
            '"' => rest[1..].split_once('"').and_then(|(_, after)| after.trim_start().strip_prefix(':')),
            _ => ["null", "None", "false"].iter().find_map(|word| rest.strip_prefix(word)),
        };
        let Some(after) = skipped else { return false };
        rest = after.trim_start();
    }
    true
}

impl Default for Failures {
    fn default() -> Self {
        Self { tools: Recent::new(MOST), calls: Recent::new(MOST) }
    }
}

impl Failures {
    pub(super) fn resized(self) -> Self {
        Self { tools: self.tools.resized(MOST), calls: self.calls.resized(MOST) }
    }

    /// The run goes on in another process, which may well look at the same kind of thing again.
    pub(super) fn restarted(&mut self) {
        self.tools.values_mut().for_each(|tool| (tool.equal, tool.empty) = (0, 0));
    }

    pub(super) fn push(&mut self, seen: &Seen, config: &Config) -> Option<Rule> {
        let other = self.calls.get(seen.call).is_none();
        let again = self.again(seen, config);
        let (tool, _) = self.tools.touch(seen.tool, Tool::default);
        let only = tool.only_failures(seen, other, config);
        again.or(only).or_else(|| tool.unchanged(seen, config))
    }

    /// The same call that fails in the same way, whatever is done in between. One turn counts once.
    fn again(&mut self, seen: &Seen, config: &Config) -> Option<Rule> {
        if seen.kind == Kind::Success {
            self.calls.change(seen.call, |failed| failed.times = 0);
            return None;
        }
        let (failed, _) = self.calls.touch(seen.call, Failed::default);
        let same = failed.result == seen.result && failed.progress == seen.progress;
        if !same || since(seen.at, failed.at) > config.repetition_window {
            failed.times = 0;
        }
        if failed.times == 0 || failed.turn != seen.turn {
            failed.times = failed.times.saturating_add(1);
        }
        (failed.result, failed.progress, failed.at, failed.turn) = (seen.result, seen.progress, seen.at, seen.turn);
        (failed.times > config.max_error_repetitions).then_some(Rule::Error(failed.times))
    }
}

impl Tool {
    /// Errors of calls that did not fail before, whatever they say, and nothing new in between. One turn counts once.
    fn only_failures(&mut self, seen: &Seen, other: bool, config: &Config) -> Option<Rule> {
        if seen.kind != Kind::Error {
            self.failures = if seen.new { 0 } else { self.failures };
            return None;
        }
        if !other {
            return None;
        }
        if since(seen.at, self.failed_at) > config.repetition_window {
            self.failures = 0;
        }
        if self.failures == 0 || self.failed_in != seen.turn {
            self.failures = self.failures.saturating_add(1);
        }
        (self.failed_at, self.failed_in) = (seen.at, seen.turn);
        (self.failures > config.max_failures).then_some(Rule::Failing(self.failures))
    }

    /// The same result whatever the arguments, while no other tool gives anything new; sooner if it is empty and the
    /// arguments only differ in the place they look at.
    fn unchanged(&mut self, seen: &Seen, config: &Config) -> Option<Rule> {
        self.new = self.new.saturating_add(u64::from(seen.new));
        let others = seen.learned.saturating_sub(self.new);
        let same = self.equal > 0 && self.last == seen.result && self.others == others;
        self.equal = if same { self.equal.saturating_add(1) } else { 1 };
        let place = same && seen.empty == Some(self.call);
        self.empty = if place { self.empty.saturating_add(1) } else { u32::from(seen.empty.is_some()) };
        (self.last, self.others, self.call) = (seen.result, others, seen.empty.unwrap_or(0));
        let most = [(self.empty, config.max_empty_results), (self.equal, config.max_equal_results)];
        most.into_iter().find(|(times, most)| times > most).map(|(times, _)| Rule::Unchanged(times))
    }
}

#[cfg(test)]
mod tests;
