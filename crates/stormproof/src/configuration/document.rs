//! Configuration files in TOML: a value, or everything that is wrong with the text, each with its place.
//!
//! Knows no configuration type, but where policies stand in one: there presets are laid beneath, and the environment over
//! it. What a type cannot be read from is taken out of the tree, and reading is tried again, so
//! that one slip does not hide the next; what can be read is then judged by its own rules. Mistakes name settings as they
//! are written.

mod names;
pub(crate) mod tree;
mod tried;
mod wording;

use std::fmt;

use serde::de::DeserializeOwned;
use stormproof_compat::aliases::{BACKOFF, SETTINGS};
use stormproof_core::{Invalid, text};
use toml::de::DeTable;

use self::names::Names;
use self::tree::{Culprit, What, locate, take_out, within};
use self::wording::{Found, told};
use crate::configuration::environment::Environment;
use crate::configuration::preset;

/// A longer text is not read.
pub const LONGEST: usize = 1 << 20;
/// No more mistakes than this are named.
pub const MOST: usize = 100;

/// Something wrong in a text or in the environment, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mistake {
    /// The line, from 1; 0 for a mistake in the environment.
    pub line: usize,
    /// The column, from 1, in characters; 0 for a mistake in the environment.
    pub column: usize,
    /// The variable of the environment that says so, if it is not the text.
    pub variable: Option<String>,
    /// The path of the value, parts joined by dots. Empty for the document, and where the text is not TOML.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, variable, path, message } = self;
        let separator = if path.is_empty() { "" } else { ": " };
        match variable {
            Some(variable) => write!(f, "{variable}: {path}{separator}{message}"),
            None => write!(f, "{line}:{column}: {path}{separator}{message}"),
        }
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
/// assert!(shown[0].starts_with("1:12: deadline: is 'soon', allowed is a duration such as "));
/// assert_eq!(shown[1], "4:21: breaker.success_threshold: is 0, allowed is 1 or more");
/// ```
///
/// # Errors
/// All mistakes in the order of the text, at most [`MOST`].
pub fn read<T: DeserializeOwned>(text: &str, validate: impl Fn(&T) -> Vec<Invalid>) -> Result<T, Vec<Mistake>> {
    Reader::new().read(text, validate)
}

/// Reads documents that hold policies, with what the environment says.
///
/// ```
/// use std::collections::BTreeMap;
/// use stormproof::config::Config;
/// use stormproof::{document, environment::Environment};
///
/// let environment = Environment::of([("STORMPROOF_SEARCH__BREAKER__TRIP", "3")]);
/// let reader = document::Reader::new().policies("*").environment(&environment);
/// let read: BTreeMap<String, Config> = reader.read("search.preset = 'khive'", |_| Vec::new()).unwrap();
/// assert_eq!(read["search"].breaker.as_ref().unwrap().trip, [stormproof::Trip::consecutive(3)]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "a reader does nothing until it reads"]
pub struct Reader<'a> {
    policies: Option<&'a str>,
    table: Option<&'a str>,
    environment: Option<&'a Environment>,
}

impl<'a> Reader<'a> {
    /// A reader of documents without policies, and without an environment.
    pub fn new() -> Self {
        Self::default()
    }

    /// Policies stand at this path, such as `policies.*`, or are the document itself (the empty path): there `preset`
    /// names a preset, and two names that mean the same are a mistake.
    pub fn policies(mut self, path: &'a str) -> Self {
        self.policies = Some(path);
        self
    }

    /// The document is a table that other systems have as well, such as `queue` or `loop_guard`: their names of its settings
    /// are read, too.
    ///
    /// ```
    /// use stormproof::{document, queue};
    ///
    /// let reader = document::Reader::new().settings_of("queue");
    /// let config: queue::Config = reader.read("maxsize = 20", queue::Config::validate).unwrap();
    /// assert_eq!(config.queue_capacity, 20);
    /// ```
    pub fn settings_of(mut self, table: &'a str) -> Self {
        self.table = Some(table);
        self
    }

    /// Lays the environment's settings over those of the text.
    pub fn environment(mut self, environment: &'a Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Reads `text`, then judges the value by `validate`, whose fields are dotted paths in the document.
    ///
    /// # Errors
    /// All mistakes in the order of the text, then those of the environment, at most [`MOST`].
    pub fn read<T: DeserializeOwned>(
        &self,
        text: &str,
        validate: impl Fn(&T) -> Vec<Invalid>,
    ) -> Result<T, Vec<Mistake>> {
        let places = Places { text, environment: self.environment };
        if text.len() > LONGEST {
            return Err(in_order(vec![places.mistake(0, String::new(), format!("longer than {LONGEST} bytes"))]));
        }
        let (tree, unreadable) = DeTable::parse_recoverable(text);
        if !unreadable.is_empty() {
            let found = unreadable.iter().map(|error| {
                let at = error.span().map_or(0, |span| span.start);
                places.mistake(at, String::new(), error.message().to_owned())
            });
            return Err(in_order(found.collect()));
        }
        let span = tree.span();
        let mut tree = tree.into_inner();
        let (names, mut found) = self.prepare(&mut tree, &places);
        let whole = tree.clone();
        let read = deserialize::<T>(tree, span, &places, &names, &mut found);
        for (at, path) in &read.unread {
            read.say_what_is_allowed(&mut found[*at].1.message, path, &validate);
        }
        if self.policies.is_some() {
            for (_, mistake) in &mut found {
                name_all(&mut mistake.message);
            }
        }
        for (_, mistake) in &mut found {
            suggest(mistake);
        }
        let Read { value, dropped, .. } = read;
        if let Some(value) = &value {
            let about_what_was_read = |mistake: &Invalid| !dropped.iter().any(|path| depends_on(mistake, path));
            found.extend(validate(value).into_iter().filter(about_what_was_read).map(|mistake| {
                let message = said(&mistake.value, mistake.allowed);
                let Some(place) = locate(&whole, &mistake.field) else {
                    return places.mistake(0, mistake.field, message);
                };
                places.mistake(place.at, within(&names.path(&place.path), place.rest), message)
            }));
        }
        match value {
            Some(value) if found.is_empty() => Ok(value),
            _ => Err(in_order(found)),
        }
    }

    /// Lays the environment over the tree, gives settings our names, and lays the presets beneath policies.
    fn prepare<'t>(&self, tree: &mut DeTable<'t>, places: &Places<'_>) -> (Names, Vec<(usize, Mistake)>)
    where
        'a: 't,
    {
        let mut found = Vec::new();
        let mut names = Names::new(places.text.len() + 1);
        if let Some(environment) = self.environment {
            for (at, message) in environment.lay_over(tree, places.text.len() + 1) {
                found.push(places.mistake(at, String::new(), message));
            }
        }
        if let Some(table) = self.table {
            names.translate(tree, table, "");
        }
        let policies = self.policies.map_or_else(Vec::new, |path| tree::at_path(tree, path));
        for (path, policy) in policies {
            names.translate(policy, "policy", &path);
            if let Err((at, message)) = preset::expand(policy, self.environment) {
                found.push(places.mistake(at, within(&path, "preset"), message));
            }
        }
        let mistakes = std::mem::take(&mut names.mistakes);
        found.extend(mistakes.into_iter().map(|(at, path, message)| places.mistake(at, path, message)));
        (names, found)
    }
}

/// What came of reading a tree.
struct Read<'t, T> {
    value: Option<T>,
    /// The tree that it was read from, and its span.
    tree: DeTable<'t>,
    span: std::ops::Range<usize>,
    /// The paths of what had to be taken out, or was missing.
    dropped: Vec<String>,
    /// The mistakes by their numbers, and the names that lead to the values that could not be read.
    unread: Vec<(usize, Vec<String>)>,
}

impl<T: DeserializeOwned> Read<'_, T> {
    /// What the judge allows says more than what the parser of a number wants, but for a number that is too large for any.
    fn say_what_is_allowed(&self, message: &mut String, path: &[String], validate: &impl Fn(&T) -> Vec<Invalid>) {
        const ALLOWED: &str = "allowed is ";
        if self.value.is_some()
            && let Some(from) = message.find(ALLOWED).map(|at| at + ALLOWED.len())
            && let Some(allowed) = tried::allowed(&self.tree, path, &message[from..], validate)
        {
            let is_large =
                message.strip_prefix("is ").is_some_and(|value| value.starts_with(|c: char| c.is_ascii_digit()));
            if !(is_large && allowed.ends_with("or more")) {
                message.replace_range(from.., allowed);
            }
        }
    }
}

/// Reads a tree, without what cannot be read and with something in place of what is missing.
fn deserialize<'t, T: DeserializeOwned>(
    tree: DeTable<'t>,
    span: std::ops::Range<usize>,
    places: &Places<'_>,
    names: &Names,
    found: &mut Vec<(usize, Mistake)>,
) -> Read<'t, T> {
    let mut read = Read { value: None, tree, span, dropped: Vec::new(), unread: Vec::new() };
    while found.len() < MOST {
        let error = match tried::read(&read.tree, &read.span) {
            Ok(value) => {
                read.value = Some(value);
                break;
            }
            Err(error) => error,
        };
        let before = read.tree.clone();
        let culprit = error.span().and_then(|span| take_out(&mut read.tree, &span));
        let Some(Culprit { path, at, what, emptied }) = culprit else {
            found.push(places.mistake(0, String::new(), told(error.message(), Found::Several("a table"))));
            break;
        };
        // A table that holds nothing since its contents were taken out is no mistake of its own.
        if !(emptied && error.span().is_some_and(|span| found.iter().any(|(at, _)| span.contains(at)))) {
            read.unread.push((found.len(), path.iter().map(|key| key.get_ref().to_string()).collect()));
            found.push(places.mistake(at, names.path(&path), told(error.message(), places.found(what))));
        }
        let mut dropped = path.iter().map(|key| key.get_ref().as_ref()).collect::<Vec<_>>().join(".");
        if let Some(name) = tried::missing(error.message())
            && let Some(filled) = error.span().and_then(|table| tried::filled::<T>(&before, &table, name))
        {
            read.tree = filled;
            dropped = within(&dropped, name);
        }
        read.dropped.push(dropped);
    }
    read
}

fn said(value: &str, allowed: &str) -> String {
    format!("is {value}, allowed is {allowed}")
}

/// Names among the settings of a policy and of its retries those that are replaced before the types, which do not know
/// them there, are read.
fn name_all(message: &mut String) {
    const POLICY: &str = "allowed is one of `deadline`, ";
    if message.contains(POLICY) {
        *message = message.replace(POLICY, "allowed is one of `preset`, `deadline`, ");
    }
    if message.contains("allowed is one of `max_retries`, ") {
        for name in BACKOFF {
            message.extend([", `", name, "`"]);
        }
    }
}

/// Adds the allowed word that is most like the one that was written, if one is.
fn suggest(mistake: &mut Mistake) {
    let Some((is, allowed)) = mistake.message.split_once(", allowed is ") else { return };
    let word = match is.strip_prefix("is ") {
        Some("unknown") => mistake.path.rsplit('.').next().unwrap_or_default(),
        Some(value) => value.trim_matches(['"', '\'']),
        None => return,
    };
    let ours: Vec<_> = allowed.split('`').skip(1).step_by(2).collect();
    let others = SETTINGS.iter().filter(|setting| setting.names.first().is_some_and(|name| ours.contains(name)));
    let others = others.flat_map(|setting| setting.names.iter().copied());
    if let Some(meant) = wording::most_like(word, ours.iter().copied().chain(others)) {
        mistake.message = format!("{}. Did you mean `{meant}`?", mistake.message);
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
    // What was taken out is not missing.
    mistake.field == unreadable || neighbours && (words(&mistake.value) || words(mistake.allowed))
}

/// Turns offsets into lines and columns; offsets behind the text are the environment's variables.
struct Places<'t> {
    text: &'t str,
    environment: Option<&'t Environment>,
}

impl<'t> Places<'t> {
    /// What was taken out of the tree, as far as it may be told.
    fn found(&self, what: What) -> Found<'t> {
        match what {
            What::Name => Found::Name,
            What::Table => Found::Several("a table"),
            What::List => Found::Several("a list"),
            // A variable has no place in the text.
            What::Single(span) => self.text.get(span).map_or(Found::Secret, Found::Written),
        }
    }

    fn mistake(&self, at: usize, path: String, message: String) -> (usize, Mistake) {
        let at = tree::offset(at);
        let variable = at.checked_sub(self.text.len() + 1).and_then(|at| self.environment?.variable(at));
        if let Some(variable) = variable {
            // A variable may hold a secret: its value is not repeated.
            let message = match message.find("allowed is") {
                Some(from) if !path.is_empty() => format!("is not valid, {}", &message[from..]),
                _ => message,
            };
            return (at, Mistake { line: 0, column: 0, variable: Some(variable.to_owned()), path, message });
        }
        let before = text::start(self.text, at);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (at, Mistake { line, column, variable: None, path, message })
    }
}

#[cfg(test)]
mod tests;
