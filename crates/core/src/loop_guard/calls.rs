//! Calls that come again: the same one, the same round of several, and too many that show nothing new.

use super::config::Config;
use super::mask::{Prints, both};
use super::recent::Recent;
use super::verdict::Rule;
use super::watch::since;

/// The longest round that is recognised.
pub(super) const LONGEST: usize = 12;
/// A single result is kept up to so many bytes.
const LONGEST_RESULT: usize = 4_096;

/// What is remembered of calls.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub(super) struct Calls {
    /// By what was called, ids and times masked.
    calls: Recent<Call>,
    /// Calls together with their results.
    seen: Recent<()>,
    /// So many of those there ever were: it stands still while nothing new is learned.
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
        Self { calls: Recent::new(history), seen: Recent::new(history), ..Self::default() }
    }

    /// The same under another configuration.
    pub(super) fn resized(self, config: &Config) -> Self {
        let history = history(config);
        let mut resized = Self { calls: self.calls.resized(history), seen: self.seen.resized(history), ..self };
        resized.rounds.cut();
        resized.asked.cut();
        // What was not written by this program may be of any length.
        for call in resized.calls.values_mut() {
            call.kept = call.kept.take().map(|text| cut(&text, LONGEST_RESULT).into());
        }
        resized.kept = usize::MAX;
        resized.forget_results(most_kept(config));
        resized
    }

    /// Takes notice of a call that is about to be made.
    pub(super) fn before(&mut self, at: u64, prints: Prints, config: &Config) -> Option<Rule> {
        let learned = self.learned;
        let (call, fresh) = self.calls.touch(prints.masked, Call::default);
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
        self.calls.get(prints.masked).and_then(|call| call.kept.clone())
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
        let (_, new) = self.seen.touch(pair, || ());
        self.learned = self.learned.saturating_add(u64::from(new));
        let learned = self.learned;
        let (call, unannounced) = self.calls.touch(prints.masked, Call::default);
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
            asked.map(|rule| match rule {
                Rule::Cycle { rounds, .. } => Rule::Changing(rounds),
                other => other,
            })
        });
        (pair, found.or(novelty))
    }

    /// Keeps a result for a call that is blocked later; the oldest ones go first.
    pub(super) fn keep(&mut self, prints: Prints, text: &str, config: &Config) {
        let most = most_kept(config);
        let text = cut(text, LONGEST_RESULT.min(most));
        let (call, _) = self.calls.touch(prints.masked, Call::default);
        let before = call.kept.as_deref().map_or(0, str::len);
        if call.kept.as_deref() != Some(text) {
            call.kept = Some(text.into());
        }
        self.kept = self.kept.saturating_sub(before).saturating_add(text.len());
        self.forget_results(most);
    }

    /// Without the results of calls that were not repeated: those are not needed soon.
    pub(super) fn without_results(mut self) -> Self {
        for call in self.calls.values_mut().filter(|call| call.halves < 4) {
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
        for call in self.calls.values_mut() {
            (call.halves, call.changing) = (0, 0);
        }
        (self.rounds, self.asked, self.novelty) = Default::default();
    }

    fn forget_results(&mut self, most: usize) {
        if self.kept <= most {
            return;
        }
        // Calls that are forgotten take their results along, so that the sum is counted anew here.
        self.kept = self.calls.in_order().map(|(_, call)| call.kept.as_deref().map_or(0, str::len)).sum();
        let order: Vec<u64> = self.calls.in_order().map(|(key, _)| key).collect();
        // A quarter at once: this is not to be done for each result.
        let target = most / 4 * 3;
        for key in order {
            if self.kept <= target {
                return;
            }
            self.kept =
                self.kept.saturating_sub(self.calls.change(key, |call| call.kept.take().map_or(0, |text| text.len())));
        }
    }
}

fn most_kept(config: &Config) -> usize {
    usize::try_from(config.result_bytes).unwrap_or(usize::MAX)
}

fn history(config: &Config) -> usize {
    usize::try_from(config.history).unwrap_or(usize::MAX)
}

/// `text` up to so many bytes, at the end of a character.
pub(super) fn cut(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

/// Rounds of 1 to 12 in a row of fingerprints: of each length, how many in a row were what they were a round ago.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
struct Rounds {
    last: std::collections::VecDeque<u64>,
    matched: [u32; LONGEST],
}

impl Rounds {
    /// As short as it is kept, whatever was read.
    fn cut(&mut self) {
        let over = self.last.len().saturating_sub(LONGEST);
        self.last.drain(..over);
    }

    /// The shortest round of 2 or more that begins for more than the `most`-th time.
    fn push(&mut self, print: u64, most: u32) -> Option<Rule> {
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
struct Novelty {
    bits: u64,
    filled: u32,
}

impl Novelty {
    fn push(&mut self, new: bool, config: &Config) -> Option<Rule> {
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

#[cfg(all(test, not(loom)))]
mod tests;
