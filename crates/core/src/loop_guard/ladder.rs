//! What follows from a detection: a word to the model, then a block, then the end of the run.

use super::config::Config;
use super::rule::{LoopType, Rule};
use super::verdict::{Detection, Step};
use crate::decision::Name;
use crate::text;

/// Longest part of a name that is kept, in bytes: it may come from a model.
const LONGEST_NAME: usize = 200;

/// What was found, about which tool or agent, in which turn, and what had been learned by then.
pub(super) struct Found<'a> {
    pub(super) rule: Rule,
    pub(super) subject: Option<&'a str>,
    pub(super) turn: u64,
    pub(super) learned: u64,
}

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
    /// The turn of the last detection, and what followed.
    last: Option<(u64, Step)>,
    pub(super) stopped: Option<Detection>,
    /// By [`LoopType`] and by [`Step`].
    pub(super) types: [u32; 6],
    pub(super) steps: [u32; 3],
}

impl Ladder {
    /// What follows from a detection. Further ones in the same turn take the same step, as the model has read nothing yet.
    pub(super) fn climb(&mut self, found: &Found<'_>, config: &Config) -> (Detection, bool) {
        let Found { rule, subject, turn, learned } = *found;
        let subject = subject.map(|name| Name::from(text::start(name, LONGEST_NAME)));
        // Going on would wait for ever, or be one too many.
        let never = matches!(rule, Rule::Circle | Rule::Crowd(_));
        if let Some((last, step)) = self.last
            && last == turn
            && !rule.is_limit()
            && !(never && step == Step::Nudge)
        {
            return (Detection { seq: self.found, rule, subject, step }, false);
        }
        if learned.saturating_sub(self.learned) >= u64::from(config.forgive_after) {
            self.blocks = 0;
        }
        self.learned = learned;
        self.found = self.found.saturating_add(1);
        let step = if !rule.is_limit() && self.found == 1 && !never {
            Step::Nudge
        } else if !rule.is_limit() && self.blocks < config.max_blocks {
            Step::Block
        } else {
            Step::Stop
        };
        self.blocks = self.blocks.saturating_add(u32::from(step == Step::Block));
        self.last = Some((turn, step));
        let detection = Detection { seq: self.found, rule, subject, step };
        if step == Step::Stop {
            self.stopped = Some(detection.clone());
        }
        count(&mut self.types, LoopType::ALL.iter().position(|known| *known == rule.loop_type()));
        count(&mut self.steps, Some(step as usize));
        (detection, true)
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
