//! Progress as the caller sees it: a fingerprint of the work that should change, and not back and forth.

use super::config::Config;
use super::recent::Recent;
use super::rule::Rule;
use super::since;

/// Maximum number of states of the work that are remembered.
const MOST: usize = 64;

/// What is remembered of the work.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Progress {
    pub(super) last: Option<u64>,
    since: u64,
    turns: u32,
    /// A poller was asked since the last turn, and nothing else.
    #[cfg_attr(feature = "serde", serde(default))]
    pub(super) waits: bool,
    /// By state: how often the work came to it.
    visits: Recent<u32>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { last: None, since: 0, turns: 0, waits: false, visits: Recent::new(MOST) }
    }
}

impl Progress {
    pub(super) fn resized(self) -> Self {
        Self { visits: self.visits.resized(MOST), ..self }
    }

    /// How the work is. Says whether that is a state it never was in, as far as is remembered.
    pub(super) fn report(&mut self, at: u64, print: u64, config: &Config) -> (bool, Option<Rule>) {
        if self.last == Some(print) {
            return (false, None);
        }
        (self.last, self.since, self.turns) = (Some(print), at, 0);
        let (visits, new) = self.visits.touch(print, || 0);
        *visits = visits.saturating_add(1);
        // The first visit is no return.
        let returns = visits.saturating_sub(1);
        (new, (returns > config.max_state_revisits).then_some(Rule::Revisit(*visits)))
    }

    /// A turn is over.
    pub(super) fn turn(&mut self, at: u64, config: &Config) -> Option<Rule> {
        self.last?;
        // Whoever waits gets no further, and has a limit of its own.
        self.turns = self.turns.saturating_add(u32::from(!std::mem::take(&mut self.waits)));
        let long = config.max_time_without_progress.is_some_and(|most| since(at, self.since) > most);
        if self.turns <= config.max_turns_without_progress && !long {
            return None;
        }
        let turns = self.turns;
        // A quarter of grace.
        (self.turns, self.since) = (turns.min(config.max_turns_without_progress) / 4 * 3, at);
        Some(Rule::NoProgress(turns))
    }

    pub(super) fn forgive(&mut self, at: u64) {
        *self = Self { last: self.last, since: at, ..Self::default() };
    }
}
