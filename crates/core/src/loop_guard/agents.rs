//! Agents that wait for one another, hand a task on and back, and start others.

use std::collections::{BTreeSet, VecDeque};

use super::config::Config;
use super::recent::Recent;
use super::rule::{Limit, Rule};

/// So many waits are remembered; of more the oldest are forgotten.
const MOST_WAITS: usize = 1_024;
/// So many different handoffs are.
const MOST_HANDOFFS: usize = 256;

/// What is remembered of agents. An agent is known by the fingerprint of its name.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Agents {
    /// Who waits for whom, and how deep that was when it began.
    waits: VecDeque<(u64, u64, u32)>,
    /// By whom, to whom and why: how often, and what had been learned by then.
    handoffs: Recent<(u32, u64)>,
    pub(super) spawned: u32,
    pub(super) alive: u32,
    /// Agents in a row that could not be started because too many were alive.
    held: u32,
}

impl Default for Agents {
    fn default() -> Self {
        Self { waits: VecDeque::new(), handoffs: Recent::new(MOST_HANDOFFS), spawned: 0, alive: 0, held: 0 }
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

    /// So many wait in the longest chain.
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
    pub(super) fn handoff(&mut self, print: u64, learned: u64, config: &Config) -> Option<Rule> {
        let (handoff, _) = self.handoffs.touch(print, || (0, learned));
        if handoff.1 != learned {
            *handoff = (0, learned);
        }
        let times = handoff.0.saturating_add(1);
        if times > config.max_handoff_repetitions {
            return Some(Rule::Handoff(times));
        }
        handoff.0 = times;
        None
    }

    /// Whether there is room for another one; if not, how often in a row there was none.
    pub(super) fn room(&mut self, config: &Config) -> Result<(), u32> {
        let full = config.max_agents.is_some_and(|most| self.alive >= most);
        self.held = if full { self.held.saturating_add(1) } else { 0 };
        if full { Err(self.held) } else { Ok(()) }
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
}
