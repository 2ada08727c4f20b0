//! Rounds of several calls, and calls that show nothing new.

use std::collections::VecDeque;

use super::config::Config;
use super::rule::Rule;

/// The longest round that is recognised.
const LONGEST: usize = 12;

/// Rounds of 1 to 12 in a row of fingerprints: of each length, how many in a row were what they were a round ago.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub(super) struct Rounds {
    last: VecDeque<u64>,
    matched: [u32; LONGEST],
}

impl Rounds {
    /// As short as it is kept, whatever was read.
    pub(super) fn cut(&mut self) {
        let over = self.last.len().saturating_sub(LONGEST);
        self.last.drain(..over);
    }

    /// The shortest round of 2 or more that begins for more than the `most`-th time.
    pub(super) fn push(&mut self, print: u64, most: u32) -> Option<Rule> {
        for (at, matched) in self.matched.iter_mut().enumerate() {
            let same = self.last.len().checked_sub(at + 1).and_then(|at| self.last.get(at)) == Some(&print);
            *matched = if same { matched.saturating_add(1) } else { 0 };
        }
        if self.last.len() >= LONGEST {
            self.last.pop_front();
        }
        self.last.push_back(print);
        let once = self.matched[0];
        for period in 2..=LONGEST {
            let length = u32::try_from(period).unwrap_or(u32::MAX);
            let matched = &mut self.matched[period - 1];
            let full = length.saturating_mul(most.saturating_sub(1)).saturating_add(1);
            // What is the same from one to the next is no round.
            if *matched >= full && once < length {
                // The next detection is a round away.
                *matched = full.saturating_sub(length);
                return Some(Rule::Cycle { period: length, rounds: most.saturating_add(1) });
            }
        }
        None
    }
}

/// Which of the last calls have shown something new.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub(super) struct Novelty {
    bits: u64,
    filled: u32,
}

impl Novelty {
    pub(super) fn push(&mut self, new: bool, config: &Config) -> Option<Rule> {
        let window = config.novelty_window.clamp(1, 64);
        self.bits = (self.bits << 1 | u64::from(new)) & (u64::MAX >> (64 - window));
        self.filled = self.filled.saturating_add(1).min(window);
        let count = self.bits.count_ones();
        if self.filled < window || f64::from(count) >= config.min_novelty * f64::from(window) {
            return None;
        }
        // Half a window of grace.
        self.filled = window / 2;
        Some(Rule::Novelty { new: count, calls: window })
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
