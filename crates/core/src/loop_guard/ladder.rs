//! What follows from a detection: a word to the model, then a block, then the end of the run.

use super::config::Config;
use super::rule::{LoopType, Rule};
use super::verdict::{Detection, Step};
use crate::decision::Name;

/// How far a run has come.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub(super) struct Ladder {
    /// Detections so far: the first is a nudge, and none after it.
    found: u32,
    /// Blocks since the last time they were forgiven.
    blocks: u32,
    /// What had been learned at the last detection.
    learned: u64,
    pub(super) stopped: Option<Detection>,
    /// By [`LoopType`] and by [`Step`].
    pub(super) types: [u32; 6],
    pub(super) steps: [u32; 3],
}

impl Ladder {
    pub(super) fn climb(&mut self, rule: Rule, subject: Option<&str>, learned: u64, config: &Config) -> Detection {
        if learned.saturating_sub(self.learned) >= u64::from(config.forgive_after) {
            self.blocks = 0;
        }
        self.learned = learned;
        self.found = self.found.saturating_add(1);
        let step = match rule {
            Rule::Limit(_) => Step::Stop,
            // Going on would wait for ever, or be one too many.
            _ if self.found == 1 && !matches!(rule, Rule::Circle | Rule::Crowd(_)) => Step::Nudge,
            _ if self.blocks < config.max_blocks => Step::Block,
            _ => Step::Stop,
        };
        self.blocks = self.blocks.saturating_add(u32::from(step == Step::Block));
        let detection = Detection { seq: self.found, rule, subject: subject.map(|name| Name::from(short(name))), step };
        if step == Step::Stop {
            self.stopped = Some(detection.clone());
        }
        count(&mut self.types, LoopType::ALL.iter().position(|known| *known == rule.loop_type()));
        count(&mut self.steps, Some(step as usize));
        detection
    }

    /// Goes on after a stop. What was found is not forgotten: there is no nudge any more.
    pub(super) fn resume(&mut self) {
        (self.stopped, self.blocks) = (None, 0);
    }
}

fn count(counts: &mut [u32], at: Option<usize>) {
    if let Some(count) = at.and_then(|at| counts.get_mut(at)) {
        *count = count.saturating_add(1);
    }
}

/// A name that may come from a model is not kept longer than this.
fn short(name: &str) -> &str {
    super::calls::cut(name, 200)
}
