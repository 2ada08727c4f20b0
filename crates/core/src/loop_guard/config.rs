//! The settings of a loop guard: what is still allowed, what counts as a loop, and what stops at once.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::invalid::{Check, Invalid};

/// What a loop guard allows. "At most N" means that the N-th is allowed and the next one is not.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::loop_guard::{Config, Poll};
///
/// let config = Config { max_turns: Some(300), ..Config::default() }
///     .poller("job_status", Poll::every(Duration::from_secs(5)))
///     .max_calls("web_search", 40);
/// assert!(config.validate().is_empty());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Config {
    /// Maximum number of the same call without anything new in between: the next one is a detection. Calls that differ
    /// only in an id or a time count half. Default: 3.
    pub max_action_repetitions: u32,
    /// The last of `max_action_repetitions` is a detection already. Default: false.
    pub strict: bool,
    /// A repetition counts only if it comes so soon after the last one. Default: 30 min.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub repetition_window: Duration,
    /// Maximum number of the same call, or the same round of calls, if its results do change, but nothing else is done.
    /// Default: 50.
    pub max_changing_repetitions: u32,
    /// Maximum number of times a round of 2 to 12 calls comes with the same results. Default: 3.
    pub max_cycle_repetitions: u32,
    /// Number of times that the same call may fail in the same way, whatever else is done in between. A changed result and
    /// a changed fingerprint of progress begin the count anew. Default: 5.
    pub max_error_repetitions: u32,
    /// Number of turns in which a tool may fail, whatever its errors say, before it gives something new. Default: 20.
    pub max_failures: u32,
    /// Number of equal results that a tool may give in a row, whatever its arguments, while no other tool gives anything
    /// new. Default: 240.
    pub max_equal_results: u32,
    /// Number of equal results in a row that are empty, where the calls differ only in the place they look at, such as `offset` or
    /// `page`. Default: 30.
    pub max_empty_results: u32,
    /// Number of calls over which novelty is judged, 8 to 64. Default: 40.
    pub novelty_window: u32,
    /// At least this share of the calls of `novelty_window` must have shown something new, 0 to 1; 0 switches it off.
    /// Default: 0.1.
    pub min_novelty: f64,
    /// Maximum number of times the model says the same while nothing new is learned. Default: 3.
    pub max_text_repetitions: u32,
    /// Maximum number of times one sentence stands in one text. Default: 6.
    pub max_sentence_repetitions: u32,
    /// Two texts are the same from this similarity on, above 0 and at most 1. Default: 0.75.
    pub text_similarity: f64,
    /// Maximum number of turns for which the caller's fingerprint of progress stays the same. Default: 20.
    pub max_turns_without_progress: u32,
    /// Maximum time for which the caller's fingerprint of progress stays the same. Default: no limit.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration::option"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::time::duration::Written>"))]
    pub max_time_without_progress: Option<Duration>,
    /// Maximum number of times the caller's fingerprint comes back to one it had before. Default: 3.
    pub max_state_revisits: u32,
    /// The same handoff may come so often while nothing new is learned; one for another reason each time
    /// `max_changing_repetitions`. Default: 3.
    pub max_handoff_repetitions: u32,
    /// Turns of the model. Default: 1,000.
    pub max_turns: Option<u32>,
    /// Tokens, all turns together. Default: 10,000,000.
    pub max_tokens: Option<u64>,
    /// Money, all turns together, in whatever unit turns are reported. Default: no limit.
    pub max_cost: Option<f64>,
    /// Time the run takes, without the time in which no process had it. Default: 24 h.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration::option"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::time::duration::Written>"))]
    pub max_time: Option<Duration>,
    /// Agents that wait for one another in a chain. Default: 10.
    pub max_depth: Option<u32>,
    /// Agents started, all together. Default: 100.
    pub max_spawns: Option<u32>,
    /// Agents alive at once. One more is held back; only one that is asked for again and again is a detection. Default: 10.
    pub max_agents: Option<u32>,
    /// Restarts of the run from a saved state, until there were `forgive_after` new results since the first of them.
    /// Default: 10.
    pub max_restarts: Option<u32>,
    /// A limit is near from this share of it on, above 0 and at most 1. Default: 0.8.
    pub warn_at: f64,
    /// Number of calls that are blocked before the run is stopped. Default: 2.
    pub max_blocks: u32,
    /// After so many new results since the last detection, blocks are counted from zero again; a nudge does not come
    /// back. Default: 50.
    pub forgive_after: u32,
    /// Maximum number of calls kept, 16 to 65,536. Default: 512.
    pub history: u32,
    /// Maximum size of all results kept together, in bytes, to answer a blocked call. Default: 65,536.
    pub result_bytes: u32,
    /// Whether ids and times that differ are taken for the same. Default: true.
    pub mask: bool,
    /// Fields of arguments and results, by name, whose values say nothing. Request ids and the like always are. Default:
    /// none.
    pub ignored_fields: Vec<String>,
    /// What holds for single tools, by name. Default: nothing.
    pub tools: BTreeMap<String, Tool>,
}

/// What holds for one tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tool {
    /// Calls of this tool that are asked for in the whole run. Default: no limit.
    pub max_calls: Option<u32>,
    /// Fields of its arguments and results, by name, whose values say nothing, such as a description that the model adds.
    /// Default: none.
    pub ignored_fields: Vec<String>,
    /// That it asks again and again by its nature, and how long it may. Default: it does not.
    pub poll: Option<Poll>,
}

/// How long and how often a tool may ask the same.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::loop_guard::Poll;
///
/// let poll = Poll { max_polls: 500, ..Poll::every(Duration::from_secs(10)) };
/// assert_eq!(poll.max_time, Duration::from_secs(3_600));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Poll {
    /// Maximum number of polls with the same arguments, those that came too soon included. Default: 1,000.
    pub max_polls: u32,
    /// Maximum time of polls with the same arguments. Default: 1 h.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub max_time: Duration,
    /// What comes sooner than this is answered with the earlier result. Default: 0, any time is right.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::time::duration::Written"))]
    pub min_interval: Duration,
}

impl Default for Poll {
    fn default() -> Self {
        Self { max_polls: 1_000, max_time: Duration::from_secs(3_600), min_interval: Duration::ZERO }
    }
}

impl Poll {
    /// At most one each `min_interval`.
    #[must_use]
    pub fn every(min_interval: Duration) -> Self {
        Self { min_interval, ..Self::default() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_action_repetitions: 3,
            strict: false,
            repetition_window: Duration::from_secs(30 * 60),
            max_changing_repetitions: 50,
            max_cycle_repetitions: 3,
            max_error_repetitions: 5,
            max_failures: 20,
            max_equal_results: 240,
            max_empty_results: 30,
            novelty_window: 40,
            min_novelty: 0.1,
            max_text_repetitions: 3,
            max_sentence_repetitions: 6,
            text_similarity: 0.75,
            max_turns_without_progress: 20,
            max_time_without_progress: None,
            max_state_revisits: 3,
            max_handoff_repetitions: 3,
            max_turns: Some(1_000),
            max_tokens: Some(10_000_000),
            max_cost: None,
            max_time: Some(Duration::from_secs(24 * 3_600)),
            max_depth: Some(10),
            max_spawns: Some(100),
            max_agents: Some(10),
            max_restarts: Some(10),
            warn_at: 0.8,
            max_blocks: 2,
            forgive_after: 50,
            history: 512,
            result_bytes: 65_536,
            mask: true,
            ignored_fields: Vec::new(),
            tools: BTreeMap::new(),
        }
    }
}

impl Config {
    /// The numbers that are usual for short tasks: 3 repetitions within 60 s, 20 turns, 200,000 tokens with a warning at
    /// 0.8, a chain of 10 agents and 10 alive at once.
    #[must_use]
    pub fn book() -> Self {
        Self {
            repetition_window: Duration::from_secs(60),
            max_turns: Some(20),
            max_tokens: Some(200_000),
            ..Self::default()
        }
    }

    /// Declares `tool` as one that asks the same again and again.
    #[must_use]
    pub fn poller(mut self, tool: impl Into<String>, poll: Poll) -> Self {
        self.tools.entry(tool.into()).or_default().poll = Some(poll);
        self
    }

    /// Limits the calls of `tool` in the whole run.
    #[must_use]
    pub fn max_calls(mut self, tool: impl Into<String>, most: u32) -> Self {
        self.tools.entry(tool.into()).or_default().max_calls = Some(most);
        self
    }

    /// Declares that the value of `field` says nothing in what `tool` is asked and answers.
    #[must_use]
    pub fn ignore(mut self, tool: impl Into<String>, field: impl Into<String>) -> Self {
        self.tools.entry(tool.into()).or_default().ignored_fields.push(field.into());
        self
    }

    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        let counts = [
            ("max_action_repetitions", self.max_action_repetitions),
            ("max_changing_repetitions", self.max_changing_repetitions),
            ("max_cycle_repetitions", self.max_cycle_repetitions),
            ("max_error_repetitions", self.max_error_repetitions),
            ("max_failures", self.max_failures),
            ("max_equal_results", self.max_equal_results),
            ("max_empty_results", self.max_empty_results),
            ("max_text_repetitions", self.max_text_repetitions),
            ("max_sentence_repetitions", self.max_sentence_repetitions),
            ("max_turns_without_progress", self.max_turns_without_progress),
            ("max_state_revisits", self.max_state_revisits),
            ("max_handoff_repetitions", self.max_handoff_repetitions),
            ("max_turns", self.max_turns.unwrap_or(1)),
            ("max_depth", self.max_depth.unwrap_or(1)),
            ("max_agents", self.max_agents.unwrap_or(1)),
            ("forgive_after", self.forgive_after),
        ];
        for (field, count) in counts {
            check.that(count >= 1, field, count, "1 or more");
        }
        check.that(self.max_tokens != Some(0), "max_tokens", 0, "1 or more");
        let cost = self.max_cost.unwrap_or(1.0);
        check.that(cost.is_finite() && cost > 0.0, "max_cost", cost, "more than 0");
        let over = "more than zero";
        check.that(!self.repetition_window.is_zero(), "repetition_window", self.repetition_window, over);
        check.that(self.max_time != Some(Duration::ZERO), "max_time", Duration::ZERO, over);
        let still = self.max_time_without_progress;
        check.that(still != Some(Duration::ZERO), "max_time_without_progress", Duration::ZERO, over);
        check.that((8..=64).contains(&self.novelty_window), "novelty_window", self.novelty_window, "8 to 64");
        check.that((0.0..=1.0).contains(&self.min_novelty), "min_novelty", self.min_novelty, "0 to 1");
        let share = |share: f64| share > 0.0 && share <= 1.0;
        check.that(share(self.text_similarity), "text_similarity", self.text_similarity, "above 0 and at most 1");
        check.that(share(self.warn_at), "warn_at", self.warn_at, "above 0 and at most 1");
        check.that((16..=65_536).contains(&self.history), "history", self.history, "16 to 65536");
        for (name, tool) in &self.tools {
            let mut part = Check::default();
            part.that(tool.max_calls != Some(0), "max_calls", 0, "1 or more");
            if let Some(poll) = tool.poll {
                part.that(poll.max_polls >= 1, "poll.max_polls", poll.max_polls, "1 or more");
                part.that(!poll.max_time.is_zero(), "poll.max_time", poll.max_time, over);
            }
            check.part(&format!("tools.{name}"), part.done());
        }
        check.done()
    }

    /// How many identical calls pass.
    pub(super) fn allowed(&self) -> u32 {
        self.max_action_repetitions.saturating_sub(u32::from(self.strict))
    }
}
