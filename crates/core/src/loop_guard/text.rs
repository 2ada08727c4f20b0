//! What the model says again: the same text in several turns, the same sentence again and again in one.
//!
//! Only prose counts. Code, tables, logs and lists of data repeat their lines by nature, and are left out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::config::Config;
use super::mask::{Mask, Print, Text};
use super::rule::Rule;
use crate::text;

/// Number of turns that are compared with the present one.
const TURNS: usize = 16;
/// Number of sequences of words by which a text is compared.
const SAMPLE: u32 = 48;
/// Words in a sequence.
const WORDS: usize = 2;
/// Shorter texts say nothing.
const SHORTEST: usize = 8;
/// Shorter sentences may stand anywhere.
const SENTENCE: usize = 6;
/// Of a longer text the end is looked at, where a model that repeats itself does so.
const LONGEST: usize = 65_536;

/// What is remembered of texts.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub(super) struct Texts {
    last: VecDeque<Said>,
}

/// One text: the smallest fingerprints of its sequences of words.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Said {
    sample: Vec<u64>,
    learned: u64,
}

impl Texts {
    pub(super) fn resized(mut self) -> Self {
        let over = self.last.len().saturating_sub(TURNS);
        self.last.drain(..over);
        self.last.iter_mut().for_each(|said| said.sample.truncate(SAMPLE as usize));
        self
    }

    /// Takes notice of what was said when so much had been learned, and waited for.
    pub(super) fn push(&mut self, text: &str, learned: u64, mask: Mask<'_>, config: &Config) -> Option<Rule> {
        let last = text::end(text, LONGEST);
        let before = &text[..text.len() - last.len()];
        let fenced = before.lines().filter(|line| is_fence(line)).count() % 2 == 1;
        let prose = Prose::of(last, fenced, mask, config.max_sentence_repetitions);
        if let Some(times) = prose.most_often.filter(|times| *times > config.max_sentence_repetitions) {
            return Some(Rule::Text(times));
        }
        let sample = prose.sample?;
        let same = |said: &&Said| said.learned == learned && alike(&said.sample, &sample) >= config.text_similarity;
        let times = u32::try_from(self.last.iter().filter(same).count()).unwrap_or(u32::MAX).saturating_add(1);
        if self.last.len() >= TURNS {
            self.last.pop_front();
        }
        self.last.push_back(Said { sample, learned });
        (times > config.max_text_repetitions).then_some(Rule::Text(times))
    }
}

/// The share of sequences two texts have in common, estimated from the smallest ones. Both are sorted.
fn alike(one: &[u64], other: &[u64]) -> f64 {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let (mut common, mut all) = (0_u32, 0_u32);
    while all < SAMPLE {
        let smallest = match (one.peek(), other.peek()) {
            (Some(one), Some(other)) => **one.min(other),
            (Some(rest), None) | (None, Some(rest)) => **rest,
            (None, None) => break,
        };
        let (here, there) = (one.next_if_eq(&&smallest), other.next_if_eq(&&smallest));
        all += 1;
        common += u32::from(here.is_some() && there.is_some());
    }
    if all == 0 { 0.0 } else { f64::from(common) / f64::from(all) }
}

/// What is prose in a text.
struct Prose {
    /// Sorted. `None` if there is too little.
    sample: Option<Vec<u64>>,
    /// How often the sentence stands there that does so most often.
    most_often: Option<u32>,
}

impl Prose {
    /// `fenced`: it begins in the middle of code.
    fn of(text: &str, mut fenced: bool, mask: Mask<'_>, most: u32) -> Self {
        let (mut words, mut sentences) = (Vec::new(), BTreeMap::<u64, (u32, usize)>::new());
        for line in text.lines() {
            let line = line.trim_end();
            if is_fence(line) {
                fenced = !fenced;
                continue;
            }
            if fenced || !is_prose(line) {
                continue;
            }
            for sentence in line.split_inclusive(['.', '!', '?', '。', '！', '？']) {
                let before = words.len();
                add_words(&mut words, sentence, mask);
                let own = &words[before..];
                if own.len() >= SENTENCE {
                    let print = own.iter().fold(Print::new(), |print, word| print.number(*word)).done();
                    let seen = sentences.entry(print).or_default();
                    *seen = (seen.0.saturating_add(1), own.len());
                }
            }
        }
        // What stands there often is a loop if it is most of the text, and a list of findings if not.
        let often = |seen: &&(u32, usize)| seen.0 > most;
        let repeated: usize = sentences.values().filter(often).map(|seen| seen.1.saturating_mul(seen.0 as usize)).sum();
        let most_often = sentences.values().map(|seen| seen.0).max().filter(|_| repeated * 2 >= words.len());
        let sample = (words.len() >= SHORTEST).then(|| {
            let sequences = words
                .windows(WORDS)
                .map(|words| words.iter().fold(Print::new(), |print, word| print.number(*word)).done());
            // Not all at once: a text may be long.
            let mut sample = BTreeSet::new();
            for sequence in sequences {
                sample.insert(sequence);
                if sample.len() > SAMPLE as usize {
                    sample.pop_last();
                }
            }
            sample.into_iter().collect()
        });
        Self { sample, most_often }
    }
}

/// The words of a sentence. In scripts that set no blanks each sign is one.
fn add_words(words: &mut Vec<u64>, sentence: &str, mask: Mask<'_>) {
    for word in sentence.split_whitespace() {
        // East Asia, and Thai to Burmese and Khmer.
        let no_blanks = |letter| matches!(letter, '\u{e00}'..'\u{f00}' | '\u{1000}'..'\u{10a0}' | '\u{1780}'..'\u{1800}' | '\u{2e80}'..'\u{ac00}');
        if word.chars().any(no_blanks) {
            words.extend(word.chars().map(|letter| u64::from(u32::from(letter))));
        } else {
            words.push(print_of(word, mask));
        }
    }
}

/// A word without case and punctuation around it, ids and times masked.
fn print_of(word: &str, mask: Mask<'_>) -> u64 {
    let word = word.trim_matches(|letter: char| !letter.is_alphanumeric());
    if word.bytes().any(|byte| byte.is_ascii_digit()) {
        return mask.prints(word, Text::Output, |_| None).masked;
    }
    word.chars().flat_map(char::to_lowercase).fold(Print::new(), |print, letter| print.number(letter.into())).done()
}

/// Whether code begins or ends with this line.
fn is_fence(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("```") || line.starts_with("~~~")
}

/// Whether a line is made of sentences: not indented, no table, no comment, no statement, no data.
fn is_prose(line: &str) -> bool {
    if line.starts_with("    ") || line.starts_with('\t') {
        return false;
    }
    let line = line.trim_start();
    let marks = ["|", "//", "#", "/*", "*/", "--", "$", ">", "<", "[", "{", "}", "+", "@", "\""];
    if marks.iter().any(|mark| line.starts_with(mark)) || line.starts_with(|first: char| first.is_ascii_digit()) {
        return false;
    }
    if line.ends_with(['{', '}', ';', '|', '>']) || line.contains("   ") || line.contains('\t') {
        return false;
    }
    let (mut letters, mut blanks, mut others, mut tight) = (0_usize, 0_usize, 0_usize, 0_usize);
    let mut before = ' ';
    for letter in line.chars() {
        if before == ',' && letter != ' ' {
            tight += 1;
        }
        match letter {
            ' ' => blanks += 1,
            _ if letter.is_alphabetic() => letters += 1,
            _ => others += 1,
        }
        before = letter;
    }
    // Words and few signs. Scripts that set no blanks are judged by their letters alone.
    letters > 4 * others && tight < 2 && (blanks >= 3 || !line.is_ascii())
}

#[cfg(test)]
mod tests;
