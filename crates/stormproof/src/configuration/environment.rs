//! What the environment says about configuration: our own variables, and those of the systems that presets come from.
//!
//! Reads no process's environment unless asked to. Values are kept only of variables that are settings; of one that may
//! hold a secret, only that it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use stormproof_compat::environment::{VARIABLES, Value, Variable, variable};
use stormproof_core::Backoff;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::configuration::document::tree;

/// The variables that configuration looks at.
///
/// - `STORMPROOF_A__B__C=value` sets `a.b.c` in a document, over what the file says: for example
///   `STORMPROOF_POLICIES__OPENAI__BREAKER__TRIP=3`. The value is TOML; what is no TOML is text. Names fit whatever
///   their case, and `_` fits `-`. One that cannot be read, or is not allowed, is a mistake in the document. Variables
///   without `__` mean other things.
/// - `ARAGORA_…` go on top of everything in policies with a preset of that family. `A2A_…` go below what is written, and
///   below the own numbers of a service's preset. A value that is not valid is ignored and told as a [`Warning`].
///
/// ```
/// use stormproof::environment::Environment;
///
/// let environment = Environment::of([("ARAGORA_CB_FAILURE_THRESHOLD", "many"), ("A2A_CONNECTION_POOL_SIZE", "20")]);
/// assert_eq!(environment.number("A2A_CONNECTION_POOL_SIZE"), Some(20.0));
/// assert_eq!(
///     environment.warnings()[0].to_string(),
///     "ARAGORA_CB_FAILURE_THRESHOLD is not valid and ignored, allowed is 1 to 4294967295"
/// );
/// ```
#[derive(Clone, Default)]
pub struct Environment {
    /// Name, path and value.
    settings: Vec<(String, Vec<String>, String)>,
    known: BTreeMap<&'static str, f64>,
    /// What is known, as policies by family.
    families: BTreeMap<&'static str, String>,
    warnings: Vec<Warning>,
    /// Values that did not fit a policy: found where policies are read.
    misfits: Arc<Mutex<BTreeSet<Warning>>>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.settings.iter().map(|(name, ..)| name).collect();
        let Self { known, warnings, .. } = self;
        f.debug_struct("Environment")
            .field("settings", &names)
            .field("known", known)
            .field("warnings", warnings)
            .finish_non_exhaustive()
    }
}

/// A variable that is not valid and therefore ignored. Its value is not told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Warning {
    /// The variable.
    pub variable: &'static str,
    /// The values that are allowed.
    pub allowed: &'static str,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not valid and ignored, allowed is {}", self.variable, self.allowed)
    }
}

impl Environment {
    /// Without any variable.
    pub fn none() -> Self {
        Self::default()
    }

    /// Of the present process. What is no Unicode is not looked at.
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::of(std::env::vars_os().filter_map(text))
    }

    /// Of these names and values.
    pub fn of<N: AsRef<str>, V: AsRef<str>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            let (name, value) = (name.as_ref(), value.as_ref().trim());
            if let Some(path) = name.strip_prefix("STORMPROOF_").filter(|rest| rest.contains("__")) {
                let path = path.split("__").map(str::to_owned).collect();
                environment.settings.push((name.to_owned(), path, value.to_owned()));
            } else if let Some(variable) = variable(name) {
                environment.note(variable, value);
            }
        }
        environment.settings.sort();
        environment.warnings.sort_by_key(|warning| warning.variable);
        environment
    }

    fn note(&mut self, variable: &'static Variable, value: &str) {
        let Some(number) = variable.value.read(value) else {
            self.warnings.push(Warning { variable: variable.name, allowed: variable.value.allowed() });
            return;
        };
        self.known.insert(variable.name, number);
        if !variable.sets.is_empty() {
            let toml = match variable.value {
                Value::Seconds | Value::Share => format!("{number:?}"),
                Value::Count | Value::CountOrZero | Value::Secret => format!("{number:.0}"),
            };
            let family = self.families.entry(variable.family).or_default();
            family.extend([variable.sets, " = ", &toml, "\n"]);
        }
    }

    /// The value of another system's variable, if it is set and valid. Of a secret only whether it is set: 1, or 0 if it is
    /// empty.
    pub fn number(&self, variable: &str) -> Option<f64> {
        self.known.get(variable).copied()
    }

    /// The variables that are not valid, or did not fit a policy that was read with this environment so far.
    pub fn warnings(&self) -> Vec<Warning> {
        let misfits = self.misfits.lock().unwrap_or_else(PoisonError::into_inner);
        self.warnings.iter().chain(&*misfits).cloned().collect()
    }

    /// Puts our own variables into a document's tree. The n-th has the span from `base + 2n`, of one byte. Returns
    /// what could not be put, and where.
    pub(crate) fn lay_over<'t>(&'t self, tree: &mut DeTable<'t>, base: usize) -> Vec<(usize, String)> {
        let mut wrong = Vec::new();
        for (nth, (_, path, value)) in self.settings.iter().enumerate() {
            let at = base + 2 * nth;
            if path.iter().any(String::is_empty) {
                wrong.push((at, "is not valid, allowed is names joined by `__`".to_owned()));
                continue;
            }
            let text = |_| DeValue::String(value.as_str().into());
            let value = DeValue::parse(value).map_or_else(text, toml::Spanned::into_inner);
            if let Err(name) = tree::put(tree, path, value, &(at..at + 1)) {
                wrong.push((at, format!("is not valid, `{name}` in the file is no table")));
            }
        }
        wrong
    }

    /// Lays what variables say to presets of the family over a policy: settings of stages that it has.
    pub(crate) fn speak_to<'t>(&'t self, family: &str, policy: &mut DeTable<'t>, span: &Range<usize>) {
        let Some(text) = self.families.get(family) else { return };
        let (said, _) = DeTable::parse_recoverable(text);
        let to_stages =
            said.into_inner().into_iter().filter(|(stage, _)| policy.contains_key(stage.get_ref().as_ref()));
        let mut said = tree::placed_table(to_stages.collect(), span);
        for row in VARIABLES.iter().filter(|row| row.family == family) {
            if let Some(allowed) = row.fits
                && contradicts(policy, &said)
                && remove(&mut said, row.sets)
            {
                let mut misfits = self.misfits.lock().unwrap_or_else(PoisonError::into_inner);
                misfits.insert(Warning { variable: row.name, allowed });
            }
        }
        tree::lay_over(policy, said, "policy");
    }

    /// The variable with an offset from the base.
    pub(crate) fn variable(&self, offset: usize) -> Option<&str> {
        self.settings.get(offset / 2).map(|(name, ..)| name.as_str())
    }
}

/// Removes what is at a dotted path; returns whether it was there.
fn remove(table: &mut DeTable<'_>, path: &str) -> bool {
    match path.split_once('.') {
        None => table.remove(path).is_some(),
        Some((first, rest)) => match table.get_mut(first).map(Spanned::get_mut) {
            Some(DeValue::Table(inner)) => remove(inner, rest),
            _ => false,
        },
    }
}

/// Whether the waits of a policy, with what is said laid over it, contradict each other.
fn contradicts<'t>(policy: &DeTable<'t>, said: &DeTable<'t>) -> bool {
    let mut whole = policy.clone();
    tree::lay_over(&mut whole, said.clone(), "policy");
    let Some(DeValue::Table(retry)) = whole.remove("retry").map(Spanned::into_inner) else { return false };
    let Some(DeValue::Table(backoff)) = retry.get("backoff").map(Spanned::get_ref) else { return false };
    let read = Backoff::deserialize(Deserializer::from(Spanned::new(0..0, backoff.clone())));
    read.is_ok_and(|backoff| backoff.base_delay > backoff.max_delay)
}

#[cfg(test)]
mod tests;
