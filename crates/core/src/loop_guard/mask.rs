//! Fingerprints of texts in which ids and times may differ.
//!
//! What is taken for an id or a time must look like one: a UUID, a ULID, a long hexadecimal or random number, a date, a
//! time, seconds since 1970; in results a length of time, too. Short numbers stay: `file_001` is not `file_002`, and page 2
//! is not page 1. An id in arguments that an earlier result has shown names a thing: it is told apart by where it was shown.
//! In arguments a date without a time, or a time at the full minute, was chosen, and stays, too.

mod json;
mod shapes;

use shapes::{Shape, is_word};

/// A hash that is the same on every machine and in every version: each eight bytes are multiplied in, and the halves of
/// the product folded (after wyhash). Texts are added in parts, and the same parts give the same hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Print(u64);

impl Print {
    pub(super) fn new() -> Self {
        Self(0xa076_1d64_78bd_642f)
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.add(bytes);
        self
    }

    pub(super) fn number(mut self, number: u64) -> Self {
        self.fold(number);
        self
    }

    fn add(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        // The last byte says how many of the others are there.
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        last[7] = 0x80 | u8::try_from(rest.len()).unwrap_or(0);
        self.fold(u64::from_le_bytes(last));
    }

    #[allow(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0xe703_7ed1_a0b4_28db_u128;
        self.0 = ((product as u64) ^ ((product >> 64) as u64)).wrapping_add(0x8ebc_6af0_9c88_c6e3);
    }

    pub(super) fn done(self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^ (hash >> 33)
    }
}

/// The fingerprint of a text as it is.
pub(super) fn print(text: &str) -> u64 {
    Print::new().bytes(text.as_bytes()).done()
}

/// The fingerprint of two.
pub(super) fn both(first: u64, second: u64) -> u64 {
    Print::new().number(first).number(second).done()
}

/// What kind of text it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// What a tool is asked.
    Arguments,
    /// What it answers: lengths of time in it say nothing, either.
    Output,
}

/// A text's fingerprints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prints {
    /// With everything but the fields that say nothing; of arguments only.
    pub(super) exact: u64,
    /// Without ids and times.
    pub(super) masked: u64,
}

/// How texts are masked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask<'a> {
    pub(super) on: bool,
    /// Fields that say nothing: everywhere, and in what this tool is asked and answers.
    pub(super) ignored: [&'a [String]; 2],
    /// Whether fields that only say where to look are left out, too.
    pub(super) places: bool,
}

/// Fields that say which part of a thing is asked for; in lower case, without `_` and `-`.
const PLACES: [&str; 22] = [
    "offset",
    "start",
    "end",
    "line",
    "lines",
    "startline",
    "endline",
    "linestart",
    "lineend",
    "limit",
    "count",
    "skip",
    "page",
    "pagenumber",
    "pagesize",
    "pagetoken",
    "position",
    "cursor",
    "index",
    "range",
    "linerange",
    "viewrange",
];

/// Fields whose values tell one request from the next and nothing else; in lower case, without `_` and `-`.
const NONCES: [&str; 11] = [
    "requestid",
    "reqid",
    "xrequestid",
    "traceid",
    "spanid",
    "correlationid",
    "idempotencykey",
    "nonce",
    "callid",
    "toolcallid",
    "invocationid",
];

/// The same in results.
const MOMENTS: [&str; 15] = [
    "timestamp",
    "ts",
    "time",
    "elapsed",
    "elapsedms",
    "duration",
    "durationms",
    "durationseconds",
    "took",
    "tookms",
    "latency",
    "latencyms",
    "uptime",
    "servertime",
    "pid",
];

/// Words before a number that only counts how often something was tried.
const COUNTED: [&str; 5] = ["attempt", "retry", "try", "pid", "iteration"];

/// In place of what is masked. No text holds it but one that wants to.
const MASKED: &[u8] = b"\0?";

impl Mask<'_> {
    /// The fingerprints of `text`. `meaning` is asked for each id or time in it, by its own fingerprint: what it returns
    /// takes the place of the id.
    pub(super) fn prints(self, text: &str, kind: Text, mut meaning: impl FnMut(u64) -> Option<u64>) -> Prints {
        if !self.on {
            let exact = print(text);
            return Prints { exact, masked: exact };
        }
        json::prints(text, self, kind, &mut meaning).unwrap_or_else(|| self.plain(text, kind, &mut meaning))
    }

    /// The same of what is not JSON, or is a part of it.
    fn plain(self, text: &str, kind: Text, meaning: &mut impl FnMut(u64) -> Option<u64>) -> Prints {
        let bytes = text.as_bytes();
        let (mut exact, mut masked) = (Print::new(), Print::new());
        // Bytes up to `told` are in the fingerprints.
        let (mut told, mut at, mut counted) = (0, 0, false);
        while at < bytes.len() {
            if !bytes[at].is_ascii_alphanumeric() {
                at += 1;
                continue;
            }
            let shape = shapes::shape(bytes, at, kind).or_else(|| {
                let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                (counted && digits > 0).then_some(Shape { end: at + digits, known: false })
            });
            counted = false;
            if shape.is_none()
                && let Some(end) = shapes::decimal(bytes, at)
            {
                // Apart from the rest, so that it is the same written with more digits.
                let rounded = rounded(&text[at..end]);
                let number = rounded.as_deref().unwrap_or(&text[at..end]).as_bytes();
                for print in [&mut exact, &mut masked] {
                    print.add(&bytes[told..at]);
                    print.add(number);
                }
                (told, at) = (end, end);
                continue;
            }
            if let Some(Shape { end, known }) = shape {
                if kind == Text::Arguments {
                    exact.add(&bytes[told..end]);
                }
                masked.add(&bytes[told..at]);
                let own = Print::new().bytes(&bytes[at..end]).done();
                match known.then(|| meaning(own)).flatten() {
                    Some(meaning) => masked.add(&meaning.to_le_bytes()),
                    None => masked.add(MASKED),
                }
                (told, at) = (end, end);
                continue;
            }
            let part = at + bytes[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            // A part of a word may be an id, as in `call_01h…`; only a whole one is a name.
            if at > 0 && is_word(bytes[at - 1]) {
                at = part;
                continue;
            }
            let end = at + bytes[at..].iter().take_while(|byte| is_word(**byte)).count();
            let word = &bytes[at..end];
            counted = kind == Text::Output && COUNTED.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()));
            let value = if self.ignores(word, kind) { value_after(bytes, end) } else { None };
            if let Some((from, to)) = value {
                for print in [&mut exact, &mut masked].into_iter().skip(usize::from(kind == Text::Output)) {
                    print.add(&bytes[told..from]);
                    print.add(MASKED);
                }
                (told, at) = (to, to);
                continue;
            }
            at = part;
        }
        if kind == Text::Arguments {
            exact.add(&bytes[told..]);
        }
        masked.add(&bytes[told..]);
        Prints { exact: exact.done(), masked: masked.done() }
    }

    fn ignores(self, word: &[u8], kind: Text) -> bool {
        let is = |name: &str| {
            let letters = word.iter().filter(|byte| !matches!(byte, b'_' | b'-')).map(u8::to_ascii_lowercase);
            letters.eq(name.bytes().filter(|byte| !matches!(byte, b'_' | b'-')).map(|byte| byte.to_ascii_lowercase()))
        };
        NONCES.iter().any(|name| is(name))
            || kind == Text::Output && MOMENTS.iter().any(|name| is(name))
            || self.places && PLACES.iter().any(|name| is(name))
            || self.ignored.iter().copied().flatten().any(|name| is(name))
    }
}

/// A number without the digits in which it only wobbles: those after the sixth behind the point. `None` if it has none.
fn rounded(number: &str) -> Option<String> {
    let (_, fraction) = number.split_once('.')?;
    if fraction.len() <= 6 {
        return None;
    }
    let rounded = format!("{:.6}", number.parse::<f64>().ok()?);
    Some(rounded.trim_end_matches('0').trim_end_matches('.').to_owned())
}

/// Where the value of a field stands whose name ends at `end`: after `":` or `=`, in quotes or up to what ends it.
fn value_after(bytes: &[u8], end: usize) -> Option<(usize, usize)> {
    let skip = |at: usize, what: &dyn Fn(u8) -> bool| {
        at + bytes[at.min(bytes.len())..].iter().take_while(|byte| what(**byte)).count()
    };
    let blank = |byte: u8| byte == b' ';
    let at = skip(end + usize::from(bytes.get(end) == Some(&b'"')), &blank);
    if !matches!(bytes.get(at), Some(b':' | b'=')) {
        return None;
    }
    let from = skip(at + 1, &blank);
    if bytes.get(from) != Some(&b'"') {
        let to = skip(from, &|byte| !matches!(byte, b',' | b'}' | b']' | b')' | b'&' | b';' | b' ' | b'\n'));
        return Some((from, to));
    }
    let mut to = from + 1;
    while let Some(byte) = bytes.get(to) {
        match byte {
            b'"' => return Some((from, to + 1)),
            b'\\' => to += 2,
            _ => to += 1,
        }
    }
    Some((from, bytes.len()))
}

#[cfg(test)]
mod tests;
