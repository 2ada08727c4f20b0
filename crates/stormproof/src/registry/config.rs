//! What a registry can be told, and how it refuses.

use std::time::Duration;

use stormproof_core::{Invalid, Mistakes, Name, policy};

/// How many names a registry keeps, and what it makes of a contradiction.
///
/// ```
/// use stormproof::{Clock, Registry, registry};
///
/// let config = registry::Config { strict: true, ..Default::default() };
/// let registry = Registry::with_clock(config, &Clock::system())?;
/// # Ok::<(), stormproof::Mistakes>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Config {
    /// Number of names above which those are forgotten that were not used for `stale_after`, are not open and owe
    /// nothing, and of which nobody has a handle. If there are none, new names are still made. Default: 1000.
    pub max_entries: usize,
    /// Time without use after which a name may be forgotten. Default: 24 h.
    #[cfg_attr(feature = "serde", serde(with = "stormproof_core::time::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "stormproof_core::time::duration::Written"))]
    pub stale_after: Duration,
    /// Whether other settings for a name that exists are an error. Default: no, the first ones stay and an event says so.
    pub strict: bool,
    /// The policy of a name without settings of its own. Default: no stage. A breaker that is asked for by name then has
    /// its own defaults.
    pub defaults: policy::Config,
}

impl Default for Config {
    fn default() -> Self {
        let day = Duration::from_secs(86_400);
        Self { max_entries: 1000, stale_after: day, strict: false, defaults: policy::Config::default() }
    }
}

impl Config {
    /// All mistakes; empty if there is none.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut found = Vec::new();
        if self.max_entries == 0 {
            found.push(Invalid::new("max_entries", "0", "1 or more"));
        }
        found.extend(self.defaults.validate().into_iter().map(|mistake| mistake.under("defaults")));
        found
    }
}

/// What a reload came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// Names that are new.
    pub added: Vec<Name>,
    /// Names whose settings changed, and what of them.
    pub changed: Vec<(Name, String)>,
    /// Names whose settings are as before.
    pub unchanged: Vec<Name>,
    /// Names that had settings before and have none now. They go on as they are until the registry forgets them.
    pub missing: Vec<Name>,
}

/// Why a registry did not give what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings are not allowed.
    #[error("{name:?}: {mistakes}")]
    Invalid {
        /// The name.
        name: Name,
        /// All that is wrong.
        mistakes: Mistakes,
    },
    /// The name exists with other settings, and the registry is strict.
    #[error("{name:?} is registered with other settings: {differs}")]
    Differs {
        /// The name.
        name: Name,
        /// What differs.
        differs: Box<str>,
    },
    /// What was to be inserted runs on another clock than the registry.
    #[error("{name:?} runs on another clock than the registry")]
    OtherClock {
        /// The name.
        name: Name,
    },
}
