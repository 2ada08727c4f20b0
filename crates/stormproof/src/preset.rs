//! Presets: policies with the numbers of systems that are in use, by name.
//!
//! The numbers stand in `preset/presets.toml`. In a policy's table `preset = "victor.anthropic"` starts from one of them;
//! what is written beside it wins, setting by setting, by whatever name.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use stormproof_core::policy::Config;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::document::tree::{lay_over, placed_table};
use crate::environment::{Environment, Family};

/// There is no preset of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no preset is called {name:?}, there are {}", names().collect::<Vec<_>>().join(", "))]
#[non_exhaustive]
pub struct Unknown {
    /// The name that was asked for.
    pub name: String,
}

/// The names of all presets, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.keys().map(String::as_str)
}

/// The policy of that name.
///
/// ```
/// use std::time::Duration;
/// use stormproof::{Policy, Trip, preset};
///
/// let config = preset::get("victor.ollama")?;
/// let breaker = config.breaker.as_ref().unwrap();
/// assert_eq!((breaker.trip[0], breaker.open_duration), (Trip::consecutive(10), Duration::from_secs(10)));
/// let policy = Policy::from_config("ollama", config)?;
/// assert!(preset::get("victory").unwrap_err().to_string().starts_with("no preset is called \"victory\", there are a2a,"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Unknown`], which names those there are.
pub fn get(name: &str) -> Result<Config, Unknown> {
    get_with(name, &Environment::none())
}

/// The policy of that name, with what the environment says to presets of its family.
///
/// ```
/// use stormproof::{environment::Environment, preset};
///
/// let environment = Environment::of([("ARAGORA_RETRY_MAX_ATTEMPTS", "7")]);
/// assert_eq!(preset::get_with("aragora", &environment)?.retry.unwrap().max_retries, 7);
/// # Ok::<(), preset::Unknown>(())
/// ```
///
/// # Errors
/// [`Unknown`], which names those there are.
pub fn get_with(name: &str, environment: &Environment) -> Result<Config, Unknown> {
    let unknown = || Unknown { name: name.to_owned() };
    let mut tree = PRESETS.get(name).ok_or_else(unknown)?.clone();
    for family in [Family::Aragora, Family::A2a].into_iter().filter(|family| family.has(name)) {
        environment.speak_to(family, &mut tree, &(0..0));
    }
    Config::deserialize(Deserializer::from(Spanned::new(0..0, tree))).map_err(|_| unknown())
}

/// Replaces `preset` in the table of a policy by what it stands for. If there is no such preset: where, and which there
/// are.
pub(crate) fn expand<'t>(
    policy: &mut DeTable<'t>,
    environment: Option<&'t Environment>,
) -> Result<(), (usize, String)> {
    let Some((key, name)) = policy.remove_entry("preset") else { return Ok(()) };
    let span = if name.span().start == usize::MAX { key.span() } else { name.span() };
    let DeValue::String(name) = name.get_ref() else {
        return Err((span.start, "is no text, allowed is the name of a preset".to_owned()));
    };
    let Some(preset) = PRESETS.get(name.as_ref()) else {
        return Err((span.start, Unknown { name: name.to_string() }.to_string()));
    };
    let mut whole = placed_table(preset.clone(), &span);
    let environment = |family: Family| environment.filter(|_| family.has(name));
    if let Some(environment) = environment(Family::A2a) {
        environment.speak_to(Family::A2a, &mut whole, &span);
    }
    follow_half_open(policy, &mut whole, name);
    lay_over(&mut whole, std::mem::take(policy), "policy");
    if let Some(environment) = environment(Family::Aragora) {
        environment.speak_to(Family::Aragora, &mut whole, &span);
    }
    *policy = whole;
    Ok(())
}

/// In the A2A presets as many successes close the circuit as there may be probes, unless it is written otherwise.
fn follow_half_open<'t>(written: &DeTable<'t>, preset: &mut DeTable<'t>, name: &str) {
    let written = written.get("breaker").and_then(|breaker| breaker.get_ref().get("half_open_max_calls"));
    if let (Some(probes), true) = (written, Family::A2a.has(name))
        && let Some(DeValue::Table(breaker)) = preset.get_mut("breaker").map(Spanned::get_mut)
        && let Some(successes) = breaker.get_mut("success_threshold")
    {
        *successes.get_mut() = probes.get_ref().clone();
    }
}

/// All presets as they would be written without `extends`.
static PRESETS: LazyLock<BTreeMap<String, DeTable<'static>>> = LazyLock::new(|| {
    let (written, _) = DeTable::parse_recoverable(include_str!("preset/presets.toml"));
    let names: Vec<String> = written.get_ref().keys().map(|name| name.get_ref().to_string()).collect();
    names.into_iter().map(|name| (name.clone(), whole(written.get_ref(), &name, DEEPEST))).collect()
});

/// No preset extends another through more than so many.
const DEEPEST: usize = 4;

fn whole(written: &DeTable<'static>, name: &str, depth: usize) -> DeTable<'static> {
    let Some(DeValue::Table(own)) = written.get(name).map(Spanned::get_ref) else { return DeTable::new() };
    let mut own = own.clone();
    let Some(base) = own.remove("extends").filter(|_| depth > 0) else { return own };
    let mut tree = whole(written, base.get_ref().as_str().unwrap_or_default(), depth - 1);
    lay_over(&mut tree, own, "policy");
    tree
}

#[cfg(test)]
mod tests;
