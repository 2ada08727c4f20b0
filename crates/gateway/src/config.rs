//! The configuration file of the gateway: what may stand in it, and what is wrong with it.

mod settings;
#[cfg(test)]
mod tests;
mod upstream;

use std::collections::BTreeMap;

use serde::Deserialize;
use stormproof::Invalid;
use stormproof::document::{Mistake, Reader};
use stormproof::environment::Environment;

pub use settings::Settings;
pub use upstream::Upstream;

/// Where policies stand in the file: there they may have a `preset`.
pub(crate) const POLICIES: &str = "upstreams.*.policy";

/// Everything that the file says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The gateway itself.
    pub gateway: Settings,
    /// Where calls go, by name.
    pub upstreams: BTreeMap<String, Upstream>,
}

impl Config {
    /// Reads a file's text.
    ///
    /// # Errors
    /// All mistakes, with line and column.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        Reader::new().policies(POLICIES).read(text, Self::validate)
    }

    /// The same with what the environment says, for a gateway whose admin API has a token or has none, which is a mistake
    /// where others can reach it.
    ///
    /// # Errors
    /// All mistakes, with line and column, or with the variable.
    pub fn parse_with(text: &str, has_token: bool, environment: &Environment) -> Result<Self, Vec<Mistake>> {
        Reader::new().policies(POLICIES).environment(environment).read(text, |config: &Self| {
            let mut found = config.validate();
            let admin = config.gateway.admin;
            if !has_token && !admin.ip().is_loopback() {
                let allowed = "a loopback address, or any with the environment variable STORMPROOF_ADMIN_TOKEN set";
                found.push(Invalid::new(
                    "gateway.admin",
                    format!("{admin}, open to everybody who reaches it"),
                    allowed,
                ));
            }
            found
        })
    }

    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut found = self.gateway.validate();
        if self.upstreams.is_empty() {
            found.push(Invalid::new("upstreams", "empty", "at least one table [upstreams.NAME]"));
        }
        for (name, upstream) in &self.upstreams {
            let path = format!("upstreams.{name}");
            if !is_name(name) {
                found.push(Invalid::new(&*path, format!("{name:?}"), "a name of letters, digits, `-` and `_`"));
            }
            found.extend(upstream.validate().into_iter().map(|mut mistake| {
                mistake.field = format!("{path}.{}", mistake.field);
                mistake
            }));
        }
        found
    }
}

/// The JSON Schema of the configuration file.
#[cfg(feature = "schema")]
pub fn schema() -> serde_json::Value {
    stormproof::schema::of::<Config>(Some(POLICIES), "The gateway of stormproof")
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !name.is_empty() && name.len() <= 64 && name.bytes().all(fits)
}
