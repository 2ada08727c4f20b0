//! The tree of a TOML text: finding, taking out, laying over, and the names that mean the same.
//!
//! Knows of policies only which names stand for which, and which of their tables are merged.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

type Key<'t> = Spanned<Cow<'t, str>>;
type Value<'t> = Spanned<DeValue<'t>>;

/// Names that mean the same in the table of that name, the one that is written by default first.
pub(crate) const SAME: &[(&str, &[&str])] = &[
    ("breaker", &["trip", "failure_threshold"]),
    (
        "breaker",
        &[
            "open_duration",
            "timeout",
            "timeout_seconds",
            "recovery_timeout",
            "recovery_time",
            "cooldown_seconds",
            "reset_timeout",
        ],
    ),
    ("breaker", &["ignore", "excluded_exceptions"]),
    ("retry", &["max_retries", "max_attempts"]),
    ("retry", &["retry_on", "retry_exceptions"]),
    ("retry", &["never_on", "dont_retry_on", "exclude", "exclude_exceptions"]),
    ("backoff", &["kind", "backoff_strategy"]),
    ("backoff", &["base_delay", "initial_delay", "base", "initial", "delay"]),
    ("backoff", &["factor", "backoff_multiplier", "multiplier", "exponential_base", "backoff_factor"]),
    ("backoff", &["jitter", "jitter_factor"]),
    ("bulkhead", &["max_queue", "max_waiting"]),
    ("bulkhead", &["queue_timeout", "timeout"]),
    ("rate", &["rate", "requests_per_second"]),
    ("rate", &["per", "period"]),
    ("rate", &["burst", "burst_size", "capacity", "max_tokens"]),
    ("tokens", &["rate", "requests_per_second"]),
    ("tokens", &["per", "period"]),
    ("tokens", &["burst", "burst_size", "capacity", "max_tokens"]),
];

/// All names of `name` in a table called `table`; none if it has but the one.
pub(crate) fn names_of(table: &str, name: &str) -> &'static [&'static str] {
    SAME.iter().find(|(of, names)| *of == table && names.contains(&name)).map_or(&[], |(_, names)| names)
}

/// The span of what stands in no text.
pub(crate) const NOWHERE: Range<usize> = usize::MAX..usize::MAX;

/// Tables that are made for a value have names that differ in their spans from the value and from each other, so that a
/// span finds one of them. Offsets are below this: a text is no longer than [`LONGEST`](super::LONGEST).
const OFFSETS: usize = 1 << 24;

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

/// A name that stands beside another that means the same: the path of its table, both names, and where it stands. It is
/// taken out, so that it is not complained of again.
pub(crate) struct Twice {
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) other: String,
    pub(crate) at: usize,
}

/// The settings of a backoff, which may also stand beside it in `retry`, by any of their names.
pub(crate) const BACKOFF: [&str; 6] = ["kind", "base_delay", "factor", "increment", "max_delay", "jitter"];

fn is_of_backoff(name: &str) -> bool {
    BACKOFF.iter().any(|of| *of == name || names_of("backoff", of).contains(&name))
}

/// Puts the settings of a backoff that stand in a policy's `retry` where they belong. Finds those that stand there already.
pub(crate) fn gather_backoff(policy: &mut DeTable<'_>, path: &str, found: &mut Vec<Twice>) {
    let Some(retry) = policy.get_mut("retry") else { return };
    let span = retry.span();
    let DeValue::Table(retry) = retry.get_mut() else { return };
    let beside: Vec<Key<'_>> = retry.keys().filter(|key| is_of_backoff(key.get_ref())).cloned().collect();
    let beside: Vec<_> = beside.iter().filter_map(|key| retry.remove_entry(key.get_ref().as_ref())).collect();
    if beside.is_empty() {
        return;
    }
    let made = || Spanned::new(span, DeValue::Table(DeTable::new()));
    let backoff = retry.entry(Spanned::new(NOWHERE, "backoff".into())).or_insert_with(made);
    let DeValue::Table(backoff) = backoff.get_mut() else { return };
    for (key, value) in beside {
        let name = key.get_ref().to_string();
        if backoff.contains_key(name.as_str()) {
            let (path, other) = (within(path, "retry"), format!("backoff.{name}"));
            found.push(Twice { path, name, other, at: key.span().start });
        } else {
            backoff.insert(key, value);
        }
    }
}

/// Finds the names that mean the same in the tables of a policy.
pub(crate) fn take_out_twice(policy: &mut DeTable<'_>, table: &str, path: &str, found: &mut Vec<Twice>) {
    // Whether there is any jitter, and how much, may be said side by side.
    let any = policy.get("jitter").and_then(|jitter| jitter.get_ref().as_bool()).filter(|_| table == "backoff");
    if let Some(any) = any
        && policy.contains_key("jitter_factor")
    {
        policy.remove(if any { "jitter" } else { "jitter_factor" });
    }
    for (_, names) in SAME.iter().filter(|(of, _)| *of == table) {
        let mut there: Vec<Key<'_>> =
            policy.keys().filter(|key| names.contains(&key.get_ref().as_ref())).cloned().collect();
        there.sort_by_key(|key| key.span().start);
        let Some((first, others)) = there.split_first() else { continue };
        for other in others {
            policy.remove(other.get_ref().as_ref());
            found.push(Twice {
                path: path.to_owned(),
                name: other.get_ref().to_string(),
                other: first.get_ref().to_string(),
                at: other.span().start,
            });
        }
    }
    for (key, value) in policy.iter_mut() {
        if let DeValue::Table(inner) = value.get_mut() {
            let name = key.get_ref().as_ref();
            take_out_twice(inner, name, &within(path, name), found);
        }
    }
}

/// Lays a policy, or a stage called `table`, over another: what stands in `upper` wins, by whatever name.
pub(crate) fn lay_over<'t>(lower: &mut DeTable<'t>, upper: DeTable<'t>, table: &str) {
    // Which settings a backoff has depends on its kind.
    if table == "backoff" && upper.keys().any(|key| names_of(table, "kind").contains(&key.get_ref().as_ref())) {
        for name in ["kind", "factor", "increment"] {
            lower.remove(name);
        }
    }
    for (key, value) in upper {
        let name = key.get_ref().as_ref();
        let merged = table == "policy" || name == "backoff";
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
                for other in names_of(table, name) {
                    lower.remove(*other);
                }
                lower.insert(key, value);
            }
        }
    }
}

/// Puts a value at a path of names, in place of what was there by any name. Tables on the way are made. A name fits one
/// that is there whatever its case, and `_` fits `-`.
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
    let mut parent = String::new();
    let Some((last, way)) = path.split_last() else { return Ok(()) };
    let beside = way.last().is_some_and(|table| plain(table) == "retry") && is_of_backoff(&plain(last));
    let backoff = beside.then(|| "backoff".to_owned());
    for (depth, name) in way.iter().chain(&backoff).enumerate() {
        let there = table.keys().find(|key| plain(key.get_ref()) == plain(name)).map(|key| key.get_ref().to_string());
        let name = there.unwrap_or_else(|| plain(name));
        let next = table
            .entry(Spanned::new(shadow(span, depth), Cow::Owned(name.clone())))
            .or_insert_with(|| Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
        let DeValue::Table(inner) = next.get_mut() else { return Err(name) };
        (table, parent) = (inner, name);
    }
    let name = plain(last);
    for other in names_of(&parent, &name) {
        table.remove(*other);
    }
    table.remove(name.as_str());
    table.insert(Spanned::new(span.clone(), Cow::Owned(name)), Spanned::new(span.clone(), placed(value, span)));
    Ok(())
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
fn place_of(key: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) -> usize {
    let (key, value, table) = (key.span().start, value.span().start, value.get_ref().is_table());
    if table && key != NOWHERE.start || value == NOWHERE.start { key } else { value }
}

/// What was taken out of the tree.
pub(crate) struct Culprit {
    pub(crate) path: String,
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
        return Some(Culprit {
            path: key.get_ref().to_string(),
            at: key.span().start,
            what: What::Name,
            emptied: false,
        });
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
    let (at, emptied) = (place_of(&key, &value), is_empty(value.get_ref()));
    Some(Culprit { path: key.get_ref().to_string(), at, what: What::of(&value), emptied })
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
                let (at, emptied) = (item.span().start, is_empty(item.get_ref()));
                let culprit = Culprit { path: String::new(), at, what: What::of(item), emptied };
                *items = items.iter().enumerate().filter(|(n, _)| *n != index).map(|(_, item)| item.clone()).collect();
                Some(culprit)
            })
        }
        _ => None,
    }
}

/// The place of a dotted path, or of as much of it as the text has.
pub(crate) fn locate(table: &DeTable<'_>, path: &str) -> Option<usize> {
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
    Some(inner.unwrap_or_else(|| place_of(key, value)))
}
