//! The tree of a TOML text: finding, taking out, putting in and laying over.
//!
//! Knows of policies only which of their tables are merged. Settings have our names here: see `names.rs`.

use std::borrow::Cow;
use std::ops::Range;

use stormproof_compat::aliases::excluded_by;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) type Key<'t> = Spanned<Cow<'t, str>>;
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// The span of what stands in no text.
pub(crate) const NOWHERE: Range<usize> = usize::MAX..usize::MAX;

/// Tables that are made for a value have names that differ in their spans from the value and from each other, so that a
/// span finds one of them. Offsets are below this: a text is no longer than [`LONGEST`](super::LONGEST).
const OFFSETS: usize = 1 << 24;

/// The span of what is only tried.
pub(crate) const MADE: Range<usize> = 200 * OFFSETS..200 * OFFSETS + 1;

/// The span of the name of a table that is made on the way to a value, at this depth.
fn shadow(span: &Range<usize>, depth: usize) -> Range<usize> {
    let start = (depth % 100 + 1) * OFFSETS + span.start % OFFSETS;
    start..start + 1
}

/// The offset that a span means.
pub(crate) fn offset(start: usize) -> usize {
    if start == NOWHERE.start { start } else { start % OFFSETS }
}

/// The tables at a path such as `policies.*`, each with its path. The empty path is the document itself.
pub(crate) fn at_path<'r, 't>(root: &'r mut DeTable<'t>, path: &str) -> Vec<(String, &'r mut DeTable<'t>)> {
    if path.is_empty() {
        return vec![(String::new(), root)];
    }
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let mut found = Vec::new();
    for (key, value) in root.iter_mut().filter(|(key, _)| first == "*" || first == key.get_ref().as_ref()) {
        let DeValue::Table(table) = value.get_mut() else { continue };
        found.extend(at_path(table, rest).into_iter().map(|(path, table)| (within(key.get_ref(), &path), table)));
    }
    found
}

/// The path of what is at `path` in a table.
pub(crate) fn within(table: &str, path: &str) -> String {
    let dot = if table.is_empty() || path.is_empty() { "" } else { "." };
    format!("{table}{dot}{path}")
}

/// Lays a policy, or a stage called `table`, over another: what stands in `upper` wins.
pub(crate) fn lay_over<'t>(lower: &mut DeTable<'t>, upper: DeTable<'t>, table: &str) {
    // The settings of a backoff depend on its kind.
    if table == "backoff" && upper.contains_key("kind") {
        for name in ["kind", "factor", "increment"] {
            lower.remove(name);
        }
    }
    for (key, value) in upper {
        let name = key.get_ref().as_ref();
        let merged = table == "policy" || matches!(name, "backoff" | "strategy" | "ratio");
        let below = lower.get_mut(name);
        match (value.get_ref(), below.map(Spanned::get_mut)) {
            (DeValue::Table(_), Some(DeValue::Table(_))) if merged => {
                let Some((_, below)) = lower.remove_entry(name) else { continue };
                let span = value.span();
                let (DeValue::Table(above), DeValue::Table(mut below)) = (value.into_inner(), below.into_inner())
                else {
                    continue;
                };
                let inner = key.get_ref().to_string();
                lay_over(&mut below, above, &inner);
                lower.insert(key, Spanned::new(span, DeValue::Table(below)));
            }
            // "With jitter" says nothing against the jitter that there is.
            (DeValue::Boolean(true), Some(_)) if table == "backoff" && name == "jitter" => {}
            _ => {
                for other in excluded_by(table, name) {
                    lower.remove(*other);
                }
                lower.insert(key, value);
            }
        }
    }
}

/// Puts a value at a path of names, in place of what was there under the same name. Tables on the way are made. A name
/// fits one that is there whatever its case, and `_` fits `-`.
pub(crate) fn put<'t>(
    root: &mut DeTable<'t>,
    path: &[String],
    value: DeValue<'t>,
    span: &Range<usize>,
) -> Result<(), String> {
    fn plain(name: &str) -> String {
        name.to_lowercase().replace('-', "_")
    }
    let mut table = root;
    let Some((last, way)) = path.split_last() else { return Ok(()) };
    for (depth, name) in way.iter().enumerate() {
        let there = table.keys().find(|key| plain(key.get_ref()) == plain(name)).map(|key| key.get_ref().to_string());
        let name = there.unwrap_or_else(|| plain(name));
        let next = table
            .entry(Spanned::new(shadow(span, depth), Cow::Owned(name.clone())))
            .or_insert_with(|| Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
        let DeValue::Table(inner) = next.get_mut() else { return Err(name) };
        table = inner;
    }
    let name = plain(last);
    table.remove(name.as_str());
    table.insert(Spanned::new(span.clone(), Cow::Owned(name)), Spanned::new(span.clone(), placed(value, span)));
    Ok(())
}

/// Puts a value into the table with this span, under a name; returns whether there is such a table.
pub(crate) fn add<'t>(table: &mut DeTable<'t>, span: &Range<usize>, name: &str, value: &DeValue<'t>) -> bool {
    table.iter_mut().any(|(_, inner)| add_to(inner, span, name, value))
}

fn add_to<'t>(inner: &mut Value<'t>, span: &Range<usize>, name: &str, value: &DeValue<'t>) -> bool {
    let own = inner.span();
    match inner.get_mut() {
        DeValue::Table(table) if own == *span => {
            table.insert(Spanned::new(MADE, Cow::Owned(name.to_owned())), Spanned::new(MADE, value.clone()));
            true
        }
        DeValue::Table(table) => add(table, span, name, value),
        DeValue::Array(items) => items.iter_mut().any(|item| add_to(item, span, name, value)),
        _ => false,
    }
}

/// The value with the span on all that is in it; names of settings get none, so that a span finds the values.
pub(crate) fn placed<'t>(value: DeValue<'t>, span: &Range<usize>) -> DeValue<'t> {
    match value {
        DeValue::Array(items) => {
            let placed = |item: Value<'t>| Spanned::new(span.clone(), placed(item.into_inner(), span));
            DeValue::Array(items.into_iter().map(placed).collect())
        }
        DeValue::Table(table) => DeValue::Table(placed_table(table, span)),
        other => other,
    }
}

/// The same for a table.
pub(crate) fn placed_table<'t>(table: DeTable<'t>, span: &Range<usize>) -> DeTable<'t> {
    let placed = |(key, value): (Key<'t>, Value<'t>)| {
        (Spanned::new(NOWHERE, key.into_inner()), Spanned::new(span.clone(), placed(value.into_inner(), span)))
    };
    table.into_iter().map(placed).collect()
}

/// Where to point for a value: at a table's name, at any other value itself.
pub(super) fn place_of(key: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) -> usize {
    let (key, value, table) = (key.span().start, value.span().start, value.get_ref().is_table());
    if table && key != NOWHERE.start || value == NOWHERE.start { key } else { value }
}

/// What was taken out of the tree.
pub(crate) struct Culprit {
    /// The names that lead to it.
    pub(crate) path: Vec<Key<'static>>,
    pub(crate) at: usize,
    pub(crate) what: What,
    /// It was a table without contents.
    pub(crate) emptied: bool,
}

/// What kind of thing that was.
pub(crate) enum What {
    /// A name, with its value.
    Name,
    Table,
    List,
    /// A value that holds no others, and where it is written.
    Single(Range<usize>),
}

impl What {
    fn of(value: &Value<'_>) -> Self {
        match value.get_ref() {
            DeValue::Table(_) => Self::Table,
            DeValue::Array(_) => Self::List,
            _ => Self::Single(value.span()),
        }
    }
}

fn is_empty(value: &DeValue<'_>) -> bool {
    value.as_table().is_some_and(DeTable::is_empty)
}

/// Removes the innermost thing that covers `span`.
pub(crate) fn take_out(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<Culprit> {
    let covers = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    let by_key = table.keys().find(|key| covers(key.span()));
    if let Some(key) = by_key.cloned() {
        table.remove(key.get_ref().as_ref());
        let at = key.span().start;
        return Some(Culprit { path: vec![owned(&key)], at, what: What::Name, emptied: false });
    }
    // A table's own span is that of its header or braces; what it holds may stand elsewhere, so look inside first.
    let names: Vec<_> = table.keys().cloned().collect();
    for key in &names {
        let Some(value) = table.get_mut(key.get_ref().as_ref()) else { continue };
        if let Some(inner) = take_out_of_value(value.get_mut(), span) {
            let path = std::iter::once(owned(key)).chain(inner.path).collect();
            return Some(Culprit { path, ..inner });
        }
    }
    let key = names.into_iter().find(|key| {
        let value = table.get(key.get_ref().as_ref());
        value.is_some_and(|value| covers(value.span()))
    })?;
    let value = table.remove(key.get_ref().as_ref())?;
    let (at, emptied) = (place_of(&key, &value), is_empty(value.get_ref()));
    Some(Culprit { path: vec![owned(&key)], at, what: What::of(&value), emptied })
}

fn take_out_of_value(value: &mut DeValue<'_>, span: &Range<usize>) -> Option<Culprit> {
    match value {
        DeValue::Table(table) => take_out(table, span),
        DeValue::Array(items) => {
            let inside = items.iter_mut().find_map(|item| take_out_of_value(item.get_mut(), span));
            inside.or_else(|| {
                let covers =
                    |item: &Spanned<DeValue<'_>>| item.span().start <= span.start && span.end <= item.span().end;
                let index = items.iter().position(covers)?;
                let item = items.get(index)?;
                let (at, emptied) = (item.span().start, is_empty(item.get_ref()));
                let culprit = Culprit { path: Vec::new(), at, what: What::of(item), emptied };
                *items = items.iter().enumerate().filter(|(n, _)| *n != index).map(|(_, item)| item.clone()).collect();
                Some(culprit)
            })
        }
        _ => None,
    }
}

/// Where a dotted path is in a text.
pub(crate) struct Place<'p> {
    pub(crate) at: usize,
    /// The names of it that the text has.
    pub(crate) path: Vec<Key<'static>>,
    /// What is left of it.
    pub(crate) rest: &'p str,
}

/// The place of a dotted path, or of as much of it as the text has.
pub(crate) fn locate<'p>(table: &DeTable<'_>, path: &'p str) -> Option<Place<'p>> {
    // A name may itself hold dots: the longest that fits is meant.
    let fits = |key: &&Spanned<Cow<'_, str>>| {
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
    let mut place = inner.unwrap_or_else(|| Place { at: place_of(key, value), path: Vec::new(), rest });
    place.path.insert(0, owned(key));
    Some(place)
}

fn owned(key: &Key<'_>) -> Key<'static> {
    Spanned::new(key.span(), Cow::Owned(key.get_ref().to_string()))
}
