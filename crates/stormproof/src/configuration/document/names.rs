//! What a document calls its settings, and what they are called here.
//!
//! Other names of settings become ours before a type is read, so that types know one vocabulary. What was written is kept:
//! mistakes name it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use stormproof_compat::aliases::{elsewhere, excluded_by, is_of_backoff, names_of, value_of};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::tree::{Key, NOWHERE, Value, place_of, within};

/// What was written in place of our names, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// By the place of the name.
    written: HashMap<usize, String>,
    /// The places of settings of a backoff that stand beside it.
    beside: HashSet<usize>,
    /// Values from here on are those of the environment, which win over the text.
    environment: usize,
    /// Place, path and message.
    pub(super) mistakes: Vec<(usize, String, String)>,
}

impl Names {
    /// For a document whose environment has the places from there on.
    pub(super) fn new(environment: usize) -> Self {
        Self { environment, ..Self::default() }
    }

    /// Gives the settings of `table` our names: a policy, or what is called `name` in one.
    pub(super) fn translate(&mut self, table: &mut DeTable<'_>, name: &str, path: &str) {
        self.translate_with(table, &NOWHERE, name, path, Vec::new());
    }

    /// The same for a table with this span, and for settings of it that stand beside it.
    fn translate_with<'t>(
        &mut self,
        table: &mut DeTable<'t>,
        span: &Range<usize>,
        name: &str,
        path: &str,
        beside: Vec<(Key<'t>, Value<'t>)>,
    ) {
        let mut settings: Vec<_> = std::mem::take(table).into_iter().chain(beside).collect();
        settings.sort_by_key(|(key, value)| place(key, value));
        let mut of_backoff = Vec::new();
        let any_jitter = settings.iter().find(|(key, _)| name == "backoff" && key.get_ref() == "jitter");
        let any_jitter = any_jitter.and_then(|(_, value)| value.get_ref().as_bool());
        let how_much = settings.iter().any(|(key, _)| key.get_ref() == "jitter_factor");
        for (key, value) in settings {
            // Whether there is any jitter, and how much, may be said side by side.
            let unsaid = match any_jitter {
                Some(any) if how_much => key.get_ref() == if any { "jitter" } else { "jitter_factor" },
                _ => false,
            };
            if name == "retry" && is_of_backoff(key.get_ref()) {
                if key.span() != NOWHERE {
                    self.beside.insert(key.span().start);
                }
                of_backoff.push((key, value));
            } else if !unsaid {
                self.take(table, name, path, &key, value);
            }
        }
        if !of_backoff.is_empty() {
            let made = || Spanned::new(span.clone(), DeValue::Table(DeTable::new()));
            table.entry(Spanned::new(NOWHERE, "backoff".into())).or_insert_with(made);
        }
        for (key, value) in table.iter_mut() {
            let span = value.span();
            if let DeValue::Table(inner) = value.get_mut() {
                let name = key.get_ref().as_ref();
                let beside = if name == "backoff" { std::mem::take(&mut of_backoff) } else { Vec::new() };
                self.translate_with(inner, &span, name, &within(path, name), beside);
            }
        }
    }

    /// Puts one setting into `table` under our name, unless it is there already.
    fn take<'t>(&mut self, table: &mut DeTable<'t>, name: &str, path: &str, key: &Key<'t>, value: Value<'t>) {
        let word = key.get_ref().to_string();
        let at = if key.span() == NOWHERE { value.span().start } else { key.span().start };
        let is_beside = self.beside.contains(&key.span().start);
        let stands_in = if is_beside { path.rsplit_once('.').map_or("", |(table, _)| table) } else { path };
        if let Some(advice) = elsewhere(name, &word) {
            self.mistakes.push((at, within(stands_in, &word), format!("is unknown: {advice}")));
            return;
        }
        let ours = names_of(name, &word).first().map_or_else(|| key.get_ref().clone(), |ours| Cow::Borrowed(*ours));
        let excluded = excluded_by(name, &ours).iter().find_map(|rival| table.get_key_value(*rival));
        let verb = if excluded.is_some() { "excludes" } else { "says the same as" };
        let rival = excluded.or_else(|| table.get_key_value(ours.as_ref()));
        if let Some((rival, there)) = rival.map(|(rival, there)| (rival.clone(), place(rival, there))) {
            if place(key, &value) < self.environment || there >= self.environment {
                let mut other = self.word(&rival);
                if is_beside && !self.beside.contains(&rival.span().start) {
                    other.insert_str(0, "backoff.");
                }
                let message = format!("{verb} `{other}`: set one of them");
                self.mistakes.push((at, within(stands_in, &word), message));
                return;
            }
            table.remove(rival.get_ref().as_ref());
        }
        let span = value.span();
        let value = match value.into_inner() {
            DeValue::String(text) => match value_of(name, &ours, &text) {
                Some(word) => DeValue::String(word.into()),
                None => DeValue::String(text),
            },
            other => other,
        };
        if ours != word && key.span() != NOWHERE {
            self.written.insert(at, word);
        }
        table.insert(Spanned::new(key.span(), ours), Spanned::new(span, value));
    }

    /// The name of a setting as it was written.
    fn word(&self, key: &Key<'_>) -> String {
        self.written.get(&key.span().start).map_or_else(|| key.get_ref().to_string(), Clone::clone)
    }

    /// A path as it was written.
    pub(super) fn path<'k>(&self, keys: impl IntoIterator<Item = &'k Key<'k>>) -> String {
        let mut path: Vec<String> = Vec::new();
        for key in keys {
            if self.beside.contains(&key.span().start) {
                path.pop();
            }
            path.push(self.word(key));
        }
        path.join(".")
    }
}

/// The place of a setting: that of its value, or of its name if the value has none.
fn place(key: &Key<'_>, value: &Value<'_>) -> usize {
    let at = value.span().start;
    if at == NOWHERE.start { place_of(key, value) } else { at }
}
