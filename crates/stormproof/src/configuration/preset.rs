//! Presets: policies with the numbers of systems that are in use, by name.
//!
//! The numbers stand in `stormproof-compat`. In a policy's table `preset = "victor.anthropic"` starts from one of them; what
//! is written beside it wins, setting by setting, by whatever name.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use serde::de::DeserializeOwned;
use stormproof_compat::environment::stands_above;
use stormproof_compat::presets::{FOLLOWS, HEALTH, POLICIES, family};
use stormproof_core::{health, policy::Config};
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::configuration::document::tree::{lay_over, placed_table};
use crate::configuration::environment::Environment;

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

/// The policy of that name. Reads no environment: that is [`get_with`].
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
/// let environment = Environment::of([("ARAGORA_RETRY_MAX_ATTEMPTS", "7")]); // or of_process()
/// assert_eq!(preset::get_with("aragora", &environment)?.retry.unwrap().max_retries, 7);
/// # Ok::<(), preset::Unknown>(())
/// ```
///
/// # Errors
/// [`Unknown`], which names those there are.
pub fn get_with(name: &str, environment: &Environment) -> Result<Config, Unknown> {
    let unknown = || Unknown { name: name.to_owned() };
    let preset = PRESETS.get(name).ok_or_else(unknown)?;
    read(preset.with(name, DeTable::new(), Some(environment), &(0..0))).ok_or_else(unknown)
}

/// How a [`HealthTracker`](crate::HealthTracker) of that preset judges, with what the environment says to its family. The
/// default, if the system of the preset says nothing of it.
///
/// ```
/// use stormproof::{Clock, HealthTracker, environment::Environment, health::Strategy, preset};
///
/// let environment = Environment::of([("ARAGORA_HEALTH_WINDOW_SIZE", "20")]); // or of_process()
/// let config = preset::health_with("aragora.openai", &environment)?;
/// assert_eq!(config.strategy, Strategy::ratio_of(20, 0.5));
/// let tracker = HealthTracker::with_clock("openai", config, &Clock::system())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Unknown`], which names those there are.
pub fn health_with(name: &str, environment: &Environment) -> Result<health::Config, Unknown> {
    static TRACKERS: LazyLock<DeTable<'static>> = LazyLock::new(|| DeTable::parse_recoverable(HEALTH).0.into_inner());
    if !PRESETS.contains_key(name) {
        return Err(Unknown { name: name.to_owned() });
    }
    let family = family(name);
    let Some(DeValue::Table(tracker)) = TRACKERS.get(family).map(Spanned::get_ref) else {
        return Ok(health::Config::default());
    };
    let nowhere = 0..0;
    let mut tree = DeTable::from_iter([(
        Spanned::new(nowhere.clone(), "health".into()),
        Spanned::new(nowhere.clone(), DeValue::Table(tracker.clone())),
    )]);
    environment.speak_to(family, &mut tree, &nowhere);
    let tracker = tree.remove("health").map(Spanned::into_inner);
    Ok(tracker.and_then(|value| value.as_table().cloned()).and_then(read).unwrap_or_default())
}

fn read<T: DeserializeOwned>(tree: DeTable<'_>) -> Option<T> {
    T::deserialize(Deserializer::from(Spanned::new(0..0, tree))).ok()
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
    *policy = preset.with(name, std::mem::take(policy), environment, &span);
    Ok(())
}

/// A preset as it is written.
struct Preset {
    /// What holds for its whole family: what it extends, or all that it is if it is the family's own.
    base: DeTable<'static>,
    /// The numbers of one service.
    own: DeTable<'static>,
}

impl Preset {
    /// The preset called `name` beneath what is written, with the environment between them or above all.
    fn with<'t>(
        &self,
        name: &str,
        written: DeTable<'t>,
        environment: Option<&'t Environment>,
        span: &Range<usize>,
    ) -> DeTable<'t> {
        let family = family(name);
        let mut whole = placed_table(self.base.clone(), span);
        if let Some(environment) = environment.filter(|_| !stands_above(family)) {
            environment.speak_to(family, &mut whole, span);
        }
        lay_over(&mut whole, placed_table(self.own.clone(), span), "policy");
        follow(&written, &mut whole, family);
        lay_over(&mut whole, written, "policy");
        if let Some(environment) = environment.filter(|_| stands_above(family)) {
            environment.speak_to(family, &mut whole, span);
        }
        whole
    }
}

/// Gives settings of a preset the values that are written for those they follow.
fn follow<'t>(written: &DeTable<'t>, preset: &mut DeTable<'t>, family: &str) {
    for (_, table, setting, followed) in FOLLOWS.iter().filter(|(of, ..)| *of == family) {
        let written = written.get(*table).and_then(|table| table.get_ref().get(*followed));
        if let (Some(written), Some(DeValue::Table(table))) = (written, preset.get_mut(*table).map(Spanned::get_mut))
            && let Some(value) = table.get_mut(*setting)
        {
            *value.get_mut() = written.get_ref().clone();
        }
    }
}

/// All presets.
static PRESETS: LazyLock<BTreeMap<String, Preset>> = LazyLock::new(|| {
    let (written, _) = DeTable::parse_recoverable(POLICIES);
    let names: Vec<String> = written.get_ref().keys().map(|name| name.get_ref().to_string()).collect();
    names.into_iter().map(|name| (name.clone(), split(written.get_ref(), &name, DEEPEST))).collect()
});

/// Maximum number of presets that one extends, one through another.
const DEEPEST: usize = 4;

/// What a preset extends, as a whole, and what it says itself.
fn split(written: &DeTable<'static>, name: &str, depth: usize) -> Preset {
    let table = written.get(name).and_then(|table| table.get_ref().as_table());
    let mut own = table.cloned().unwrap_or_default();
    match own.remove("extends").filter(|_| depth > 0) {
        Some(base) => {
            let Preset { mut base, own: between } =
                split(written, base.get_ref().as_str().unwrap_or_default(), depth - 1);
            lay_over(&mut base, between, "policy");
            Preset { base, own }
        }
        None if name == family(name) => Preset { base: own, own: DeTable::new() },
        None => Preset { base: DeTable::new(), own },
    }
}

#[cfg(test)]
mod tests;
