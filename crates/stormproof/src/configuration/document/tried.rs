//! What is found out by trying: which values a setting allows whose value cannot be read, and what is wrong beside one that
//! is missing.
//!
//! The type and its judge are the only ones that know. So a document is read once more with a value that is never right,
//! or with one in place of what is missing.

use std::ops::Range;

use serde::de::DeserializeOwned;
use stormproof_core::Invalid;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::tree::{self, MADE};

/// Values that hardly any setting allows, for types of which the parsers say this.
const NEVER: [(&str, [&str; 3]); 2] = [
    ("a whole number", ["x = 0", "x = 4294967295", "x = 9223372036854775807"]),
    ("a number", ["x = -1.0", "x = nan", "x = inf"]),
];

/// Values in place of a missing one: the first that its type reads is taken.
const INSTEAD: [&str; 8] =
    ["x = 1", "x = 0.5", "x = '1s'", "x = true", "x = { calls = 100 }", "x = []", "x = {}", "x = ''"];

/// The value in one of these.
fn value(document: &'static str) -> Option<DeValue<'static>> {
    let table = DeTable::parse(document).ok()?.into_inner();
    table.into_iter().next().map(|(_, value)| tree::placed(value.into_inner(), &MADE))
}

/// Reads a type from a tree.
pub(super) fn read<T: DeserializeOwned>(tree: &DeTable<'_>, span: &Range<usize>) -> Result<T, toml::de::Error> {
    T::deserialize(Deserializer::from(Spanned::new(span.clone(), tree.clone())))
}

/// What the judge of the type allows at a path, where a parser said `allowed`.
pub(super) fn allowed<T: DeserializeOwned>(
    tree: &DeTable<'_>,
    path: &[String],
    allowed: &str,
    validate: &impl Fn(&T) -> Vec<Invalid>,
) -> Option<&'static str> {
    let (_, never) = NEVER.iter().find(|(kind, _)| allowed.starts_with(kind))?;
    never.iter().find_map(|text| {
        let mut tree = tree.clone();
        tree::put(&mut tree, path, value(text)?, &MADE).ok()?;
        let judged = validate(&read(&tree, &MADE).ok()?);
        judged.into_iter().find(|mistake| mistake.field == path.join(".")).map(|mistake| mistake.allowed)
    })
}

/// The tree with something in place of the setting that the table with this span lacks.
pub(super) fn filled<'t, T: DeserializeOwned>(
    tree: &DeTable<'t>,
    table: &Range<usize>,
    name: &str,
) -> Option<DeTable<'t>> {
    INSTEAD.iter().find_map(|text| {
        let mut tree = tree.clone();
        tree::add(&mut tree, table, name, &value(text)?).then_some(())?;
        let error = read::<T>(&tree, &MADE).err();
        let refused = |error: &toml::de::Error| {
            let of_made = error.span().is_some_and(|span| span.start >= MADE.start && span.end <= MADE.end);
            of_made || missing(error.message()) == Some(name)
        };
        (!error.is_some_and(|error| refused(&error))).then_some(tree)
    })
}

/// The setting that is missing, by what a parser said.
pub(super) fn missing(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}
