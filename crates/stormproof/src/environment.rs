//! What the environment says about configuration: our own variables, and those of the systems that presets come from.
//!
//! Reads no process's environment unless asked to. Values are kept only of variables that are settings; of one that may
//! hold a secret, only that it is there.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use stormproof_core::Backoff;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::document::tree;

/// The variables that configuration looks at.
///
/// - `STORMPROOF_A__B__C=value` sets `a.b.c` in a document, over what the file says: for example
///   `STORMPROOF_POLICIES__OPENAI__BREAKER__TRIP=3`. The value is TOML; what is no TOML is text. Names fit whatever
///   their case, and `_` fits `-`. One that cannot be read, or is not allowed, is a mistake in the document. Variables
///   without `__` mean other things.
/// - `ARAGORA_…` go on top of everything in policies with a preset of that family, `A2A_…` below what is written. A value
///   that is not valid is ignored and told as a [`Warning`].
///
/// ```
/// use stormproof::environment::Environment;
///
/// let environment = Environment::of([("ARAGORA_CB_FAILURE_THRESHOLD", "many"), ("A2A_RETRY_ATTEMPTS", "2")]);
/// assert_eq!(environment.known().retry_attempts, Some(2));
/// assert_eq!(
///     environment.warnings()[0].to_string(),
///     "ARAGORA_CB_FAILURE_THRESHOLD is not valid and ignored, allowed is 1 to 4294967295"
/// );
/// ```
#[derive(Clone, Default)]
pub struct Environment {
    /// Name, path and value.
    settings: Vec<(String, Vec<String>, String)>,
    known: Known,
    /// What is known, as policies.
    aragora: String,
    a2a: String,
    warnings: Vec<Warning>,
    /// What did not fit a policy that it speaks to: found where policies are read.
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

/// The variables of the systems that presets come from; `None` where one is absent or not valid.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Known {
    /// `ARAGORA_CB_FAILURE_THRESHOLD`: `breaker.trip`.
    pub failure_threshold: Option<u32>,
    /// `ARAGORA_CB_SUCCESS_THRESHOLD`: `breaker.success_threshold`.
    pub success_threshold: Option<u32>,
    /// `ARAGORA_CB_TIMEOUT_SECONDS`: `breaker.open_duration`.
    pub open_duration: Option<Duration>,
    /// `ARAGORA_CB_HALF_OPEN_MAX_CALLS`: `breaker.half_open_max_calls`.
    pub half_open_max_calls: Option<u32>,
    /// `ARAGORA_RETRY_MAX_ATTEMPTS`: `retry.max_retries`, in spite of its name.
    pub max_retries: Option<u32>,
    /// `ARAGORA_RETRY_INITIAL_DELAY`: `retry.backoff.base_delay`.
    pub base_delay: Option<Duration>,
    /// `ARAGORA_RETRY_MAX_DELAY`: `retry.backoff.max_delay`.
    pub max_delay: Option<Duration>,
    /// `ARAGORA_HEALTH_WINDOW_SIZE`: calls that a health tracker looks back on.
    pub health_window: Option<u32>,
    /// `ARAGORA_HEALTH_UNHEALTHY_THRESHOLD`: the share of failures at which a tracker says unhealthy.
    pub unhealthy_threshold: Option<f64>,
    /// Whether `OPENROUTER_API_KEY` is set and not empty, which enables the fallback to that provider.
    pub openrouter: bool,
    /// `A2A_CIRCUIT_BREAKER_THRESHOLD`: `breaker.trip`.
    pub a2a_threshold: Option<u32>,
    /// `A2A_CIRCUIT_BREAKER_TIMEOUT`: `breaker.open_duration`.
    pub a2a_open_duration: Option<Duration>,
    /// `A2A_RETRY_ATTEMPTS`: `retry.max_attempts`, the first call counted.
    pub retry_attempts: Option<u32>,
    /// `A2A_CONNECTION_POOL_SIZE`: connections of a pool.
    pub pool_size: Option<u32>,
}

/// Presets that variables of their own speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Aragora,
    A2a,
}

impl Family {
    pub(crate) fn has(self, preset: &str) -> bool {
        let family = preset.split('.').next();
        family
            == Some(match self {
                Self::Aragora => "aragora",
                Self::A2a => "a2a",
            })
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
            } else {
                environment.warnings.extend(environment.known.read(name, value));
            }
        }
        environment.aragora = environment.known.policy(Family::Aragora);
        environment.a2a = environment.known.policy(Family::A2a);
        environment.settings.sort();
        environment.warnings.sort_by_key(|warning| warning.variable);
        environment
    }

    /// What variables of other systems say.
    pub fn known(&self) -> &Known {
        &self.known
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
    pub(crate) fn speak_to<'t>(&'t self, family: Family, policy: &mut DeTable<'t>, span: &Range<usize>) {
        let text = if family == Family::Aragora { &self.aragora } else { &self.a2a };
        let (said, _) = DeTable::parse_recoverable(text);
        let to_stages =
            said.into_inner().into_iter().filter(|(stage, _)| policy.contains_key(stage.get_ref().as_ref()));
        let mut said = tree::placed_table(to_stages.collect(), span);
        for (name, variable, allowed) in DELAYS {
            if family == Family::Aragora && takes_delay(&mut said, name, |said| contradicts(policy, said)) {
                let mut misfits = self.misfits.lock().unwrap_or_else(PoisonError::into_inner);
                misfits.insert(Warning { variable, allowed });
            }
        }
        tree::lay_over(policy, said, "policy");
    }

    /// The variable with an offset from the base.
    pub(crate) fn variable(&self, offset: usize) -> Option<&str> {
        self.settings.get(offset / 2).map(|(name, ..)| name.as_str())
    }
}

/// The waits that variables set, and what a policy asks of them.
const DELAYS: [(&str, &str, &str); 2] = [
    ("max_delay", "ARAGORA_RETRY_MAX_DELAY", "at least the first delay of each policy that it speaks to"),
    ("base_delay", "ARAGORA_RETRY_INITIAL_DELAY", "at most the longest delay of each policy that it speaks to"),
];

/// Takes a wait out of what is said, if that is wrong with it; whether it did.
fn takes_delay<'t>(said: &mut DeTable<'t>, name: &str, wrong: impl Fn(&DeTable<'t>) -> bool) -> bool {
    if !wrong(said) {
        return false;
    }
    let backoff = said.get_mut("retry").and_then(|retry| match retry.get_mut() {
        DeValue::Table(retry) => retry.get_mut("backoff"),
        _ => None,
    });
    match backoff.map(Spanned::get_mut) {
        Some(DeValue::Table(backoff)) => backoff.remove(name).is_some(),
        _ => false,
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

/// Ranges, as they are told.
const COUNT: &str = "1 to 4294967295";
const COUNT_OR_ZERO: &str = "0 to 4294967295";
const SECONDS: &str = "a number of seconds above 0";
const SHARE: &str = "a number above 0 and at most 1";

impl Known {
    /// Takes note of a variable, or says that it is not valid.
    fn read(&mut self, name: &str, value: &str) -> Option<Warning> {
        let least = |least: u32| move |n: &u32| *n >= least;
        match name {
            "ARAGORA_CB_FAILURE_THRESHOLD" => note(&mut self.failure_threshold, name, value, COUNT, least(1)),
            "ARAGORA_CB_SUCCESS_THRESHOLD" => note(&mut self.success_threshold, name, value, COUNT, least(1)),
            "ARAGORA_CB_TIMEOUT_SECONDS" => seconds(&mut self.open_duration, name, value),
            "ARAGORA_CB_HALF_OPEN_MAX_CALLS" => note(&mut self.half_open_max_calls, name, value, COUNT, least(1)),
            "ARAGORA_RETRY_MAX_ATTEMPTS" => note(&mut self.max_retries, name, value, COUNT_OR_ZERO, least(0)),
            "ARAGORA_RETRY_INITIAL_DELAY" => seconds(&mut self.base_delay, name, value),
            "ARAGORA_RETRY_MAX_DELAY" => seconds(&mut self.max_delay, name, value),
            "ARAGORA_HEALTH_WINDOW_SIZE" => note(&mut self.health_window, name, value, COUNT, least(1)),
            "ARAGORA_HEALTH_UNHEALTHY_THRESHOLD" => {
                note(&mut self.unhealthy_threshold, name, value, SHARE, |share: &f64| *share > 0.0 && *share <= 1.0)
            }
            "OPENROUTER_API_KEY" => {
                self.openrouter = !value.is_empty();
                None
            }
            "A2A_CIRCUIT_BREAKER_THRESHOLD" => note(&mut self.a2a_threshold, name, value, COUNT, least(1)),
            "A2A_CIRCUIT_BREAKER_TIMEOUT" => seconds(&mut self.a2a_open_duration, name, value),
            "A2A_RETRY_ATTEMPTS" => note(&mut self.retry_attempts, name, value, COUNT, least(1)),
            "A2A_CONNECTION_POOL_SIZE" => note(&mut self.pool_size, name, value, COUNT, least(1)),
            _ => None,
        }
    }

    /// What is said to policies of the family, as TOML.
    fn policy(&self, family: Family) -> String {
        let (trip, open, retries) = match family {
            Family::Aragora => (self.failure_threshold, self.open_duration, ("retry.max_retries", self.max_retries)),
            Family::A2a => (self.a2a_threshold, self.a2a_open_duration, ("retry.max_attempts", self.retry_attempts)),
        };
        let only = |value: Option<u32>| value.filter(|_| family == Family::Aragora);
        let delay = |value: Option<Duration>| value.filter(|_| family == Family::Aragora);
        let counts = [
            ("breaker.trip", trip),
            ("breaker.success_threshold", only(self.success_threshold)),
            ("breaker.half_open_max_calls", only(self.half_open_max_calls)),
            (retries.0, retries.1),
        ];
        let times = [
            ("breaker.open_duration", open),
            ("retry.backoff.base_delay", delay(self.base_delay)),
            ("retry.backoff.max_delay", delay(self.max_delay)),
        ];
        let counts = counts.into_iter().filter_map(|(name, value)| Some(format!("{name} = {}\n", value?)));
        let seconds = |time: Duration| format!("{:?}", time.as_secs_f64());
        let times = times.into_iter().filter_map(|(name, value)| Some(format!("{name} = {}\n", seconds(value?))));
        counts.chain(times).collect()
    }
}

fn note<T: FromStr>(
    place: &mut Option<T>,
    name: &str,
    value: &str,
    allowed: &'static str,
    valid: impl FnOnce(&T) -> bool,
) -> Option<Warning> {
    *place = value.parse().ok().filter(valid);
    let variable = VARIABLES.iter().find(|variable| **variable == name)?;
    place.is_none().then_some(Warning { variable, allowed })
}

fn seconds(place: &mut Option<Duration>, name: &str, value: &str) -> Option<Warning> {
    let mut number = None;
    let duration = |seconds: &f64| Duration::try_from_secs_f64(*seconds).ok().filter(|time| !time.is_zero());
    let warning = note(&mut number, name, value, SECONDS, |seconds| duration(seconds).is_some());
    *place = number.as_ref().and_then(duration);
    warning
}

/// The variables of other systems that configuration looks at.
pub const VARIABLES: [&str; 14] = [
    "ARAGORA_CB_FAILURE_THRESHOLD",
    "ARAGORA_CB_SUCCESS_THRESHOLD",
    "ARAGORA_CB_TIMEOUT_SECONDS",
    "ARAGORA_CB_HALF_OPEN_MAX_CALLS",
    "ARAGORA_RETRY_MAX_ATTEMPTS",
    "ARAGORA_RETRY_INITIAL_DELAY",
    "ARAGORA_RETRY_MAX_DELAY",
    "ARAGORA_HEALTH_WINDOW_SIZE",
    "ARAGORA_HEALTH_UNHEALTHY_THRESHOLD",
    "OPENROUTER_API_KEY",
    "A2A_CIRCUIT_BREAKER_THRESHOLD",
    "A2A_CIRCUIT_BREAKER_TIMEOUT",
    "A2A_RETRY_ATTEMPTS",
    "A2A_CONNECTION_POOL_SIZE",
];

#[cfg(test)]
mod tests;
