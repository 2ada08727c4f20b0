//! Agents that wait for one another, hand a task on and back, and start others.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::config::Config;
use super::mask::both;
use super::recent::Recent;
use super::rule::{Limit, Rule};
use super::since;

/// Maximum number of waits kept; the oldest are dropped first.
const MOST_WAITS: usize = 1_024;
/// Maximum number of distinct handoffs kept.
const MOST_HANDOFFS: usize = 256;
/// Agents that are wanted within this time are wanted at once.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What is remembered of agents. An agent is known by the fingerprint of its name.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Agents {
    /// Who waits for whom, and how deep that was when it began.
    waits: VecDeque<(u64, u64, u32)>,
    /// Handoffs by sender, receiver and reason, and the same without the reason.
    handoffs: Recent<Handoff>,
    pub(super) spawned: u32,
    pub(super) alive: u32,
    /// How often in a row agents could not be started because too many were alive.
    held: u32,
    /// Turn and time of the last one.
    #[cfg_attr(feature = "serde", serde(default))]
    held_at: (u32, u64),
}

/// How often a handoff came, when last, and what had been learned by then.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
struct Handoff {
    times: u32,
    at: u64,
    learned: u64,
}

impl Handoff {
    /// One more; how many there are now, if that are more than `most`.
    fn count(&mut self, at: u64, learned: u64, window: Duration, most: u32) -> Option<Rule> {
        if self.learned != learned || since(at, self.at) > window {
            self.times = 0;
        }
        let times = self.times.saturating_add(1);
        (self.at, self.learned, self.times) = (at, learned, times.min(most));
        (times > most).then_some(Rule::Handoff(times))
    }
}

impl Default for Agents {
    fn default() -> Self {
        Self {
            waits: VecDeque::new(),
            handoffs: Recent::new(MOST_HANDOFFS),
            spawned: 0,
            alive: 0,
            held: 0,
            held_at: (0, 0),
        }
    }
}

impl Agents {
    pub(super) fn resized(mut self) -> Self {
        let over = self.waits.len().saturating_sub(MOST_WAITS);
        self.waits.drain(..over);
        Self { handoffs: self.handoffs.resized(MOST_HANDOFFS), ..self }
    }

    /// `from` asks `to` and waits for the answer. Not remembered if that closes a circle.
    pub(super) fn ask(&mut self, from: u64, to: u64, config: &Config) -> (Option<Rule>, u32) {
        let (above, depth) = self.above(from);
        if from == to || above.contains(&to) {
            return (Some(Rule::Circle), depth);
        }
        let depth = depth.saturating_add(1);
        if config.max_depth.is_some_and(|most| depth > most) {
            return (Some(Rule::Limit(Limit::Depth)), depth);
        }
        if self.waits.len() >= MOST_WAITS {
            self.waits.pop_front();
        }
        self.waits.push_back((from, to, depth));
        (None, depth)
    }

    /// `to` has answered, or `from` waits no longer.
    pub(super) fn answered(&mut self, from: u64, to: u64) {
        if let Some(at) = self.waits.iter().rposition(|wait| (wait.0, wait.1) == (from, to)) {
            self.waits.remove(at);
        }
    }

    /// Returns the number of agents in the longest chain of waits.
    pub(super) fn depth(&self) -> u32 {
        self.waits.iter().map(|wait| wait.2).max().unwrap_or(0)
    }

    /// All that wait for `agent`, directly or not, and how many there are in the longest chain of them.
    fn above(&self, agent: u64) -> (BTreeSet<u64>, u32) {
        let (mut above, mut row, mut depth) = (BTreeSet::new(), BTreeSet::from([agent]), 0_u32);
        loop {
            let waiting = self.waits.iter().filter(|wait| row.contains(&wait.1)).map(|wait| wait.0);
            let next: BTreeSet<u64> = waiting.filter(|agent| above.insert(*agent)).collect();
            if next.is_empty() {
                return (above, depth);
            }
            (row, depth) = (next, depth.saturating_add(1));
        }
    }

    /// A task goes from one agent to another, who goes on with it.
    pub(super) fn handoff(&mut self, at: u64, pair: u64, reason: u64, learned: u64, config: &Config) -> Option<Rule> {
        let window = config.repetition_window;
        let same = self.handoffs.touch(both(pair, reason), Handoff::default).0;
        let found = same.count(at, learned, window, config.max_handoff_repetitions);
        let any = self.handoffs.touch(pair, Handoff::default).0;
        found.or(any.count(at, learned, window, config.max_changing_repetitions))
    }

    /// Whether there is room for another one; if not, how often in a row there was none. All that are wanted at once, in
    /// one turn or within a second, are one time.
    pub(super) fn room(&mut self, turn: u32, at: u64, config: &Config) -> Result<(), u32> {
        if config.max_agents.is_none_or(|most| self.alive < most) {
            self.held = 0;
            return Ok(());
        }
        let at_once = turn == self.held_at.0 && since(at, self.held_at.1) < AT_ONCE;
        if self.held == 0 || !at_once {
            (self.held, self.held_at) = (self.held.saturating_add(1), (turn, at));
        }
        Err(self.held)
    }

    pub(super) fn ended(&mut self) {
        (self.alive, self.held) = (self.alive.saturating_sub(1), 0);
    }

    pub(super) fn spawn(&mut self, config: &Config) -> Option<Rule> {
        let spawned = self.spawned.saturating_add(1);
        if config.max_spawns.is_some_and(|most| spawned > most) {
            return Some(Rule::Limit(Limit::Spawns));
        }
        (self.spawned, self.alive) = (spawned, self.alive.saturating_add(1));
        None
    }

    pub(super) fn forgive(&mut self) {
        (self.handoffs, self.held) = (Recent::new(MOST_HANDOFFS), 0);
    }

    /// Nobody is at work and nobody waits: the process is gone in which they did.
    pub(super) fn gone(&mut self) {
        self.waits.clear();
        (self.alive, self.held) = (0, 0);
    }
}
