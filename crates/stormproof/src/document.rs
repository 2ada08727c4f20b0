//! Configuration files in TOML: a value, or everything that is wrong with the text, each with its place.
//!
//! Knows no configuration type. What a type cannot be read from is taken out of the tree, and reading is tried again, so
//! that one slip does not hide the next; what can be read is then judged by its own rules.

use std::fmt;
use std::ops::Range;

use serde::de::DeserializeOwned;
use stormproof_core::Invalid;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

/// A longer text is not read.
pub const LONGEST: usize = 1 << 20;
/// No more mistakes than this are named.
pub const MOST: usize = 100;

/// Something wrong in a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The path of the value, parts joined by dots. Empty for the document, and where the text is not TOML.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, path, message } = self;
        let separator = if path.is_empty() { "" } else { ": " };
        write!(f, "{line}:{column}: {path}{separator}{message}")
    }
}

impl std::error::Error for Mistake {}

/// Reads `text`, then judges the value by `validate`, whose fields are dotted paths in the document.
///
/// ```
/// use stormproof::{config, document};
///
/// let text = "deadline = 'soon'\n\n[breaker]\nsuccess_threshold = 0\n";
/// let mistakes = document::read(text, config::Config::validate).unwrap_err();
/// let shown: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
/// assert!(shown[0].starts_with("1:12: deadline: invalid value: string \"soon\""));
/// assert_eq!(shown[1], "4:21: breaker.success_threshold: is 0, allowed is 1 or more");
/// ```
///
/// # Errors
/// All mistakes in the order of the text, at most [`MOST`].
pub fn read<T: DeserializeOwned>(text: &str, validate: impl FnOnce(&T) -> Vec<Invalid>) -> Result<T, Vec<Mistake>> {
    let places = Places { text };
    if text.len() > LONGEST {
        return Err(in_order(vec![places.mistake(0, String::new(), format!("longer than {LONGEST} bytes"))]));
    }
    let (mut tree, unreadable) = DeTable::parse_recoverable(text);
    if !unreadable.is_empty() {
        let found = unreadable.iter().map(|error| {
            let at = error.span().map_or(0, |span| span.start);
            places.mistake(at, String::new(), error.message().to_owned())
        });
        return Err(in_order(found.collect()));
    }
    let whole = tree.clone();
    let mut found: Vec<(usize, Mistake)> = Vec::new();
    let mut dropped = Vec::new();
    let value = loop {
        let error = match T::deserialize(Deserializer::from(tree.clone())) {
            Ok(value) => break Some(value),
            Err(error) => error,
        };
        let culprit = error.span().and_then(|span| take_out(tree.get_mut(), &span));
        let Some(Culprit { path, at, emptied }) = culprit else {
            found.push(places.mistake(0, String::new(), plain(error.message())));
            break None;
        };
        // A table that holds nothing since its contents were taken out is no mistake of its own.
        if !(emptied && error.span().is_some_and(|span| found.iter().any(|(at, _)| span.contains(at)))) {
            found.push(places.mistake(at, path.clone(), plain(error.message())));
        }
        dropped.push(path);
        if found.len() >= MOST {
            break None;
        }
    };
    if let Some(value) = &value {
        let about_what_was_read = |mistake: &Invalid| !dropped.iter().any(|path| depends_on(mistake, path));
        found.extend(validate(value).into_iter().filter(about_what_was_read).map(|mistake| {
            let at = locate(whole.get_ref(), &mistake.field).unwrap_or(0);
            places.mistake(at, mistake.field, said(&mistake.value, mistake.allowed))
        }));
    }
    match value {
        Some(value) if found.is_empty() => Ok(value),
        _ => Err(in_order(found)),
    }
}

fn said(value: &str, allowed: &str) -> String {
    format!("is {value}, allowed is {allowed}")
}

/// A message without the names of Rust's types, which mean nothing in a file.
fn plain(message: &str) -> String {
    const WORDS: [(&str, &str); 5] = [
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("expected usize", "expected a whole number, 0 or more"),
        ("expected u16", "expected a whole number from 0 to 65535"),
        ("expected f64", "expected a number"),
        ("expected a sequence", "expected a list"),
    ];
    let message = WORDS.iter().fold(message.to_owned(), |text, (rust, words)| text.replace(rust, words));
    match message.split_once("expected struct ") {
        Some((before, name)) => {
            let after = name.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
            format!("{before}expected a table{after}")
        }
        None => message,
    }
}

fn in_order(mut found: Vec<(usize, Mistake)>) -> Vec<Mistake> {
    found.sort_by_key(|(at, _)| *at);
    found.truncate(MOST);
    found.into_iter().map(|(_, mistake)| mistake).collect()
}

/// Whether a judgement speaks of a neighbour that could not be read, so that it was made on a default.
fn depends_on(mistake: &Invalid, unreadable: &str) -> bool {
    let (table, key) = unreadable.rsplit_once('.').unwrap_or(("", unreadable));
    let neighbours = mistake.field.rsplit_once('.').map_or("", |(table, _)| table) == table;
    let words = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == key);
    neighbours && (words(&mistake.value) || words(mistake.allowed))
}

/// Turns offsets into lines and columns.
struct Places<'t> {
    text: &'t str,
}

impl Places<'_> {
    fn mistake(&self, at: usize, path: String, message: String) -> (usize, Mistake) {
        let mut end = at.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (at, Mistake { line, column, path, message })
    }
}

/// Where to point for a value: at a table's name, at any other value itself.
fn place_of(key: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>) -> usize {
    if value.get_ref().is_table() { key.span().start } else { value.span().start }
}

/// What was taken out of the tree.
struct Culprit {
    path: String,
    at: usize,
    /// It was a table without contents.
    emptied: bool,
}

fn is_empty(value: &DeValue<'_>) -> bool {
    value.as_table().is_some_and(DeTable::is_empty)
}

/// Removes the innermost thing that covers `span`.
fn take_out(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<Culprit> {
    let covers = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    let by_key = table.keys().find(|key| covers(key.span()));
    if let Some(key) = by_key.cloned() {
        table.remove(key.get_ref().as_ref());
        return Some(Culprit { path: key.get_ref().to_string(), at: key.span().start, emptied: false });
    }
    // A table's own span is that of its header or braces; what it holds may stand elsewhere, so look inside first.
    let names: Vec<_> = table.keys().cloned().collect();
    for key in &names {
        let Some(value) = table.get_mut(key.get_ref().as_ref()) else { continue };
        if let Some(inner) = take_out_of_value(value.get_mut(), span) {
            return Some(Culprit { path: format!("{}{}", key.get_ref(), inner.path), ..inner });
        }
    }
    let key = names.into_iter().find(|key| {
        let value = table.get(key.get_ref().as_ref());
        value.is_some_and(|value| covers(value.span()))
    })?;
    let value = table.remove(key.get_ref().as_ref())?;
    Some(Culprit { path: key.get_ref().to_string(), at: place_of(&key, &value), emptied: is_empty(value.get_ref()) })
}

fn take_out_of_value(value: &mut DeValue<'_>, span: &Range<usize>) -> Option<Culprit> {
    match value {
        DeValue::Table(table) => {
            take_out(table, span).map(|inner| Culprit { path: format!(".{}", inner.path), ..inner })
        }
        DeValue::Array(items) => {
            let inside = items.iter_mut().find_map(|item| take_out_of_value(item.get_mut(), span));
            inside.or_else(|| {
                let covers =
                    |item: &Spanned<DeValue<'_>>| item.span().start <= span.start && span.end <= item.span().end;
                let index = items.iter().position(covers)?;
                let item = items.get(index)?;
                let culprit = Culprit { path: String::new(), at: item.span().start, emptied: is_empty(item.get_ref()) };
                *items = items.iter().enumerate().filter(|(n, _)| *n != index).map(|(_, item)| item.clone()).collect();
                Some(culprit)
            })
        }
        _ => None,
    }
}

/// The place of a dotted path, or of as much of it as the text has.
fn locate(table: &DeTable<'_>, path: &str) -> Option<usize> {
    // A name may itself hold dots: the longest that fits is meant.
    let fits = |key: &&Spanned<std::borrow::Cow<'_, str>>| {
        let name: &str = key.get_ref();
        path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let key = table.keys().filter(fits).max_by_key(|key| key.get_ref().len())?;
    let value = table.get(key.get_ref().as_ref())?;
    let rest = path.get(key.get_ref().len() + 1..).unwrap_or_default();
    let inner = match value.get_ref() {
        DeValue::Table(inner) => locate(inner, rest),
        DeValue::Array(items) => items.iter().find_map(|item| locate(item.get_ref().as_table()?, rest)),
        _ => None,
    };
    Some(inner.unwrap_or_else(|| place_of(key, value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stormproof_core::policy::Config;

    use super::*;

    fn shown(text: &str) -> Vec<String> {
        read(text, Config::validate)
            .map_or_else(|found| found.iter().map(ToString::to_string).collect(), |_| Vec::new())
    }

    #[test]
    fn a_file_without_mistakes_is_a_value() {
        let config = read("deadline = 30\n[breaker]\ntrip = 3\n", Config::validate).unwrap();
        assert_eq!(config.deadline, Some(std::time::Duration::from_secs(30)));
    }

    #[test]
    fn each_mistake_is_named_in_the_order_of_the_text() {
        let text = "\
deadlin = 3
attempt_timeout = -1

[breaker]
trip = [{ consecutive = 0 }, { bogus = 1 }]
open_factor = nan
success_threshold = 'two'

[rate]
rate = 99999999999
per = '0s'
";
        let found = shown(text);
        let starts = [
            "1:1: deadlin: unknown field `deadlin`",
            "2:19: attempt_timeout: invalid value: integer `-1`",
            "5:",
            "5:",
            "6:15: breaker.open_factor: is NaN, allowed is 1 or more, finite",
            "7:21: breaker.success_threshold: invalid type: string \"two\"",
            "10:8: rate.rate: invalid value: integer `99999999999`",
            "11:7: rate.per: is 0ns, allowed is 1 ms to 1 day",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (found, start) in found.iter().zip(starts) {
            assert!(found.starts_with(start), "{found} should start with {start}");
        }
    }

    #[test]
    fn a_judgement_about_an_unreadable_neighbour_is_not_made() {
        let text = "[budget]\nratio = 0.1\n[retry]\nmax_retries = 'x'\n[breaker]\nopen_duration = 'x'\nmax_open_duration = 1\n";
        let found = shown(text);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert_eq!(shown("[budget]\n"), ["1:2: budget: is set without retry, allowed is only together with retry"]);
    }

    #[test]
    fn no_message_names_a_type_of_rust() {
        let found = shown("retry = 5\n[bulkhead]\nmax_queue = 'x'\n[breaker]\nignore = 'x'\nopen_factor = 'x'\n");
        let ends = ["expected a table", "from 0 to 4294967295", "expected a list", "expected a number"];
        assert_eq!(found.len(), ends.len(), "{found:#?}");
        for (found, end) in found.iter().zip(ends) {
            assert!(found.ends_with(end), "{found} should end with {end}");
        }
    }

    #[test]
    fn what_is_not_toml_says_where() {
        let found = shown("deadline = \n[breaker\n");
        assert!(found[0].starts_with("1:12: "), "{found:#?}");
        assert!(found.iter().any(|found| found.starts_with("2:")), "{found:#?}");
        assert_eq!(shown(&" ".repeat(LONGEST + 1)), ["1:1: longer than 1048576 bytes"]);
    }

    #[test]
    fn mistakes_are_bounded_and_columns_are_characters() {
        let many = (0..500).map(|n| format!("x{n} = 1")).collect::<Vec<_>>().join("\n");
        assert_eq!(shown(&many).len(), MOST);
        assert!(shown("'ä' = 1\nretry = { 'ö' = 1, nope = 2 }")[0].starts_with("1:1: "));
        assert!(shown("retry = { max_retries = 1, 'öö' = 1 }")[0].starts_with("1:28: retry.öö: "));
        assert!(shown("retry = { retry_on = ['ö'], nope = 1 }")[0].starts_with("1:29: retry.nope: "));
    }

    proptest! {
        #[test]
        fn any_text_is_a_value_or_mistakes_within_it(text in any_text()) {
            if let Err(found) = read(&text, Config::validate) {
                prop_assert!(!found.is_empty() && found.len() <= MOST);
                for mistake in found {
                    prop_assert!(mistake.line >= 1 && mistake.line <= text.split('\n').count(), "{mistake}");
                    prop_assert!(mistake.column >= 1 && mistake.column <= text.chars().count() + 1, "{mistake}");
                }
            }
        }
    }

    /// Arbitrary text, and text put together from what configuration files are made of.
    fn any_text() -> impl Strategy<Value = String> {
        let words = prop::sample::select(vec![
            "[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            "=",
            " = ",
            ",",
            ".",
            "\n",
            "\"",
            "'",
            "'''",
            "#",
            "retry",
            "breaker",
            "rate",
            "trip",
            "deadline",
            "budget",
            "backoff",
            "kind",
            "'linear'",
            "max_retries",
            "consecutive",
            "ratio",
            "window",
            "0",
            "-1",
            "1",
            "nan",
            "inf",
            "1e400",
            "99999999999999999999",
            "'5s'",
            "true",
            "1979-05-27",
            "ä",
            "\u{0}",
            "x",
        ]);
        prop_oneof![any::<String>(), prop::collection::vec(words, 0..40).prop_map(|words| words.concat())]
    }
}
