//! Calls that come again, and what each of them gave.

use super::config::Config;
use super::mask::{Prints, both};
use super::recent::Recent;
use super::rounds::{Novelty, Rounds};
use super::rule::Rule;
use super::since;
use crate::text;

/// Longest part of a result that is kept, in bytes.
const LONGEST_RESULT: usize = 4_096;

/// What is remembered of calls.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub(super) struct Calls {
    /// By what was called, ids and times masked.
    asked_for: Recent<Call>,
    /// Calls together with their results.
    seen: Recent<()>,
    /// Number of those there ever were: it does not grow while nothing new is learned.
    pub(super) learned: u64,
    rounds: Rounds,
    /// The same without results.
    asked: Rounds,
    novelty: Novelty,
    /// Bytes of results that are kept.
    kept: usize,
}

/// What is remembered of one call.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(from = "Written", into = "Written"))]
struct Call {
    exact: u64,
    /// How often in a row, in halves.
    halves: u32,
    /// How often in a row whatever the result.
    changing: u32,
    /// When it last began.
    at: u64,
    /// What had been learned by then.
    learned: u64,
    result: Option<u64>,
    kept: Option<Box<str>>,
}

/// A call as it is written: without names, as there are many.
#[cfg(feature = "serde")]
type Written = (u64, u32, u32, u64, u64, Option<u64>, Option<Box<str>>);

#[cfg(feature = "serde")]
impl From<Call> for Written {
    fn from(call: Call) -> Self {
        let Call { exact, halves, changing, at, learned, result, kept } = call;
        (exact, halves, changing, at, learned, result, kept)
    }
}

#[cfg(feature = "serde")]
impl From<Written> for Call {
    fn from((exact, halves, changing, at, learned, result, kept): Written) -> Self {
        Self { exact, halves, changing, at, learned, result, kept }
    }
}

impl Calls {
    pub(super) fn new(config: &Config) -> Self {
        let history = history(config);
        Self { asked_for: Recent::new(history), seen: Recent::new(history), ..Self::default() }
    }

    /// The same under another configuration.
    pub(super) fn resized(self, config: &Config) -> Self {
        let history = history(config);
        let mut resized = Self { asked_for: self.asked_for.resized(history), seen: self.seen.resized(history), ..self };
        resized.rounds.cut();
        resized.asked.cut();
        // What was not written by this program may be of any length.
        for call in resized.asked_for.values_mut() {
            call.kept = call.kept.take().map(|kept| text::start(&kept, LONGEST_RESULT).into());
        }
        resized.kept = usize::MAX;
        resized.forget_results(most_kept(config));
        resized
    }

    /// Takes notice of a call that is about to be made.
    pub(super) fn before(&mut self, at: u64, prints: Prints, config: &Config) -> Option<Rule> {
        let learned = self.learned;
        let (call, fresh) = self.asked_for.touch(prints.masked, Call::default);
        let stale = since(at, call.at) > config.repetition_window;
        if fresh || stale || call.learned != learned {
            (call.halves, call.changing) = (0, 0);
        }
        let same = call.exact == prints.exact;
        let next = if call.halves == 0 || same { 2 } else { 1 };
        let halves = call.halves.saturating_add(next);
        let changing = if same { call.changing.saturating_add(1) } else { 1 };
        let found = if halves > config.allowed().saturating_mul(2) {
            Some(Rule::Repetition(halves.div_ceil(2)))
        } else {
            (changing > config.max_changing_repetitions).then_some(Rule::Changing(changing))
        };
        (call.at, call.learned) = (at, learned);
        // What is found is not counted: it is found again if it comes again.
        if found.is_none() {
            (call.halves, call.changing, call.exact) = (halves, changing, prints.exact);
        }
        found
    }

    /// What the same call gave before.
    pub(super) fn earlier(&self, prints: Prints) -> Option<Box<str>> {
        self.asked_for.get(prints.masked).and_then(|call| call.kept.clone())
    }

    /// Takes notice of a result. Returns its fingerprint together with the call's, and what was found.
    pub(super) fn after(
        &mut self,
        at: u64,
        prints: Prints,
        result: u64,
        text: &str,
        config: &Config,
    ) -> (u64, Option<Rule>) {
        let pair = both(prints.masked, result);
        let new = self.seen.touch(pair, || ()).1;
        self.learned = self.learned.saturating_add(u64::from(new));
        let learned = self.learned;
        let (call, unannounced) = self.asked_for.touch(prints.masked, Call::default);
        if unannounced {
            (call.exact, call.halves, call.changing, call.at) = (prints.exact, 2, 1, at);
        }
        if new && call.result.is_some() {
            call.halves = call.halves.min(2);
        }
        if new {
            // What this call has shown itself is nothing else that was done.
            call.learned = learned;
        }
        call.result = Some(result);
        self.keep(prints, text, config);
        let novelty = self.novelty.push(new, config);
        let round = self.rounds.push(pair, config.max_cycle_repetitions);
        let asked = self.asked.push(prints.exact, config.max_changing_repetitions);
        let found = round.or_else(|| {
            asked.map(|rule| if let Rule::Cycle { rounds, .. } = rule { Rule::Changing(rounds) } else { rule })
        });
        (pair, found.or(novelty))
    }

    /// Keeps a result for a call that is blocked later; the oldest ones go first.
    pub(super) fn keep(&mut self, prints: Prints, text: &str, config: &Config) {
        let most = most_kept(config);
        let text = text::start(text, LONGEST_RESULT.min(most));
        let (call, _) = self.asked_for.touch(prints.masked, Call::default);
        let before = call.kept.as_deref().map_or(0, str::len);
        if call.kept.as_deref() != Some(text) {
            call.kept = Some(text.into());
        }
        self.kept = self.kept.saturating_sub(before).saturating_add(text.len());
        self.forget_results(most);
    }

    /// Without the results of calls that were not repeated: those are not needed soon.
    pub(super) fn without_results(mut self) -> Self {
        for call in self.asked_for.values_mut().filter(|call| call.halves < 4) {
            call.kept = None;
        }
        self
    }

    /// Bytes of results that are kept.
    #[cfg(all(test, not(loom)))]
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    /// Forgets all evidence, but not what was seen: after somebody has looked at the run.
    pub(super) fn forgive(&mut self) {
        for call in self.asked_for.values_mut() {
            (call.halves, call.changing) = (0, 0);
        }
        (self.rounds, self.asked, self.novelty) = Default::default();
    }

    fn forget_results(&mut self, most: usize) {
        if self.kept <= most {
            return;
        }
        // Calls that are forgotten take their results along, so that the sum is counted anew here.
        self.kept = self.asked_for.in_order().map(|(_, call)| call.kept.as_deref().map_or(0, str::len)).sum();
        let order: Vec<u64> = self.asked_for.in_order().map(|(key, _)| key).collect();
        // A quarter at once: this is not to be done for each result.
        let target = most / 4 * 3;
        for key in order {
            if self.kept <= target {
                return;
            }
            self.kept = self
                .kept
                .saturating_sub(self.asked_for.change(key, |call| call.kept.take().map_or(0, |text| text.len())));
        }
    }
}

fn most_kept(config: &Config) -> usize {
    usize::try_from(config.result_bytes).unwrap_or(usize::MAX)
}

fn history(config: &Config) -> usize {
    usize::try_from(config.history).unwrap_or(usize::MAX)
}
