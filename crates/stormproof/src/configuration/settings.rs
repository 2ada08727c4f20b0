//! The settings file of the library: policies by name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use stormproof_core::{Invalid, Mistakes, policy};

use crate::configuration::document::{LONGEST, Mistake, Reader};
use crate::configuration::environment::Environment;

/// Policies by name, as they stand in a file under `[policies.NAME]`.
///
/// ```
/// use stormproof::Policy;
/// use stormproof::settings::Settings;
///
/// let settings = Settings::parse(r#"
///     [policies.anthropic]
///     preset = "victor.anthropic"
///     deadline = "2m"
///     breaker.failure_threshold = 3
/// "#).unwrap();
/// let config = settings.policies["anthropic"].clone();
/// assert_eq!(config.retry.as_ref().unwrap().max_retries, 3);
/// let policy = Policy::from_config("anthropic", config)?;
/// # Ok::<(), stormproof::Mistakes>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The application's own tables, which are kept as they are.
    #[serde(skip_serializing_if = "toml::Table::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<String, serde_json::Value>"))]
    pub app: toml::Table,
    /// The policies. Names are of letters, digits, `-`, `_` and `.`, at most 64 of them.
    pub policies: BTreeMap<String, policy::Config>,
}

/// Why a file gave no settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It could not be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// All that is wrong in it.
    #[error("{}", lines(path, mistakes))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All mistakes, in order.
        mistakes: Vec<Mistake>,
    },
    /// They are valid, but could not be put in force.
    #[error("not put in force: {mistakes}")]
    Refused {
        /// Why not.
        mistakes: Mistakes,
    },
}

fn lines(path: &Path, mistakes: &[Mistake]) -> String {
    let line = |mistake: &Mistake| match mistake.variable {
        Some(_) => mistake.to_string(),
        None => format!("{}:{mistake}", path.display()),
    };
    mistakes.iter().map(line).collect::<Vec<_>>().join("\n")
}

impl Settings {
    /// Reads a file's text.
    ///
    /// # Errors
    /// All mistakes, with line and column.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        Self::parse_with(text, &Environment::none())
    }

    /// The same with what the environment says.
    ///
    /// # Errors
    /// All mistakes, with line and column, or with the variable.
    pub fn parse_with(text: &str, environment: &Environment) -> Result<Self, Vec<Mistake>> {
        Reader::new().policies("policies.*").environment(environment).read(text, Self::validate)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// That it cannot be read, or all mistakes.
    pub fn read(path: impl Into<PathBuf>, environment: &Environment) -> Result<Self, Error> {
        let path = path.into();
        match text_of(&path).and_then(|text| String::from_utf8(text).map_err(io::Error::other)) {
            Ok(text) => Self::parse_with(&text, environment).map_err(|mistakes| Error::Invalid { path, mistakes }),
            Err(error) => Err(Error::Unreadable { path, error }),
        }
    }

    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut found = Vec::new();
        for (name, policy) in &self.policies {
            let path = format!("policies.{name}");
            if !is_name(name) {
                let allowed = "a name of at most 64 letters, digits, `-`, `_` and `.`";
                found.push(Invalid::new(&*path, format!("{name:?}"), allowed));
            }
            found.extend(policy.validate().into_iter().map(|mistake| mistake.under(&path)));
        }
        found
    }
}

/// What stands in a file, unless it is longer than a document may be: of a device that never ends no more is read.
pub(crate) fn text_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(LONGEST as u64 + 1).read_to_end(&mut text)?;
    if text.len() > LONGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {LONGEST} bytes")));
    }
    Ok(text)
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= 64 && name.bytes().all(fits)
}

#[cfg(test)]
mod tests;
