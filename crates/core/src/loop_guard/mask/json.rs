//! Fingerprints of JSON in which neither blanks nor the order of fields count: models write the same arguments now this
//! way, now that.

use super::{Mask, Print, Prints, Text, both, print};

/// Deeper than this it is text like any other.
const DEEPEST: usize = 64;

/// A walk through JSON that gives each name and each plain value to `leaf`, unless it is to look only.
struct Walk<'a, F> {
    text: &'a str,
    at: usize,
    mask: Mask<'a>,
    kind: Text,
    looks: bool,
    leaf: F,
}

/// The fingerprints of `text`, if it is an object or an array and well formed as far as matters here.
pub(super) fn prints(
    text: &str,
    mask: Mask<'_>,
    kind: Text,
    meaning: &mut impl FnMut(u64) -> Option<u64>,
) -> Option<Prints> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let leaf = |leaf: &str| mask.plain(leaf, kind, meaning);
    let mut walk = Walk { text, at: 0, mask, kind, looks: true, leaf };
    // Looked through first: nobody is to be told of ids in what turns out to be none.
    walk.whole()?;
    (walk.at, walk.looks) = (0, false);
    walk.whole()
}

impl<'a, F: FnMut(&str) -> Prints> Walk<'a, F> {
    fn whole(&mut self) -> Option<Prints> {
        let prints = self.value(0)?;
        self.skip_blanks();
        (self.at == self.text.len()).then_some(prints)
    }

    fn value(&mut self, depth: usize) -> Option<Prints> {
        self.skip_blanks();
        match self.peek()? {
            b'{' if depth < DEEPEST => self.object(depth),
            b'[' if depth < DEEPEST => self.array(depth),
            b'{' | b'[' => None,
            _ => {
                let leaf = self.scalar()?;
                Some(self.leaf(leaf))
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Prints> {
        // A sum, as the order of the fields does not count.
        let mut sum = Prints { exact: print("{"), masked: print("{") };
        let mut first = true;
        while let Some(()) = self.next_in(b'}', &mut first)? {
            let name = self.scalar().filter(|name| name.starts_with('"'))?;
            self.take(b':')?;
            let field = if self.mask.ignores(name.trim_matches('"').as_bytes(), self.kind) {
                let looks = std::mem::replace(&mut self.looks, true);
                self.value(depth + 1)?;
                self.looks = looks;
                let own = print(name);
                Prints { exact: own, masked: own }
            } else {
                let (name, value) = (self.leaf(name), self.value(depth + 1)?);
                Prints { exact: both(name.exact, value.exact), masked: both(name.masked, value.masked) }
            };
            sum.exact = sum.exact.wrapping_add(field.exact);
            sum.masked = sum.masked.wrapping_add(field.masked);
        }
        Some(sum)
    }

    fn array(&mut self, depth: usize) -> Option<Prints> {
        let (mut exact, mut masked) = (Print::new(), Print::new());
        let mut first = true;
        while let Some(()) = self.next_in(b']', &mut first)? {
            let value = self.value(depth + 1)?;
            (exact, masked) = (exact.number(value.exact), masked.number(value.masked));
        }
        Some(Prints { exact: exact.done(), masked: masked.done() })
    }

    /// Whether another member follows before `end`; the bracket that opens, the commas and `end` are passed.
    #[allow(clippy::option_option, reason = "no JSON, no other member, another member")]
    fn next_in(&mut self, end: u8, first: &mut bool) -> Option<Option<()>> {
        if *first {
            self.at += 1;
        }
        self.skip_blanks();
        if self.peek()? == end {
            self.at += 1;
            return Some(None);
        }
        if !std::mem::take(first) {
            self.take(b',')?;
        }
        self.skip_blanks();
        Some(Some(()))
    }

    fn leaf(&mut self, text: &str) -> Prints {
        if self.looks { Prints { exact: 0, masked: 0 } } else { (self.leaf)(text) }
    }

    /// A string with its quotes, a number, or a word.
    fn scalar(&mut self) -> Option<&'a str> {
        let (start, bytes) = (self.at, self.text.as_bytes());
        if self.peek()? == b'"' {
            self.at += 1;
            while *bytes.get(self.at)? != b'"' {
                self.at += if bytes[self.at] == b'\\' { 2 } else { 1 };
            }
            self.at += 1;
        } else {
            let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
            self.at += bytes[start..].iter().take_while(is_part).count();
        }
        (self.at > start).then(|| self.text.get(start..self.at)).flatten()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.skip_blanks();
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn skip_blanks(&mut self) {
        self.at += self.text.as_bytes()[self.at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    }
}
