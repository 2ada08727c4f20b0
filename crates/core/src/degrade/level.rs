//! The five levels, and the rule that makes one of what became of the parts.

use std::fmt;
use std::str::FromStr;

use crate::invalid::Invalid;

/// How much is missing.
///
/// ```
/// use stormproof_core::degrade::{Level, Parts};
///
/// assert_eq!(Level::of(Parts { total: 5, successful: 4, cached: 1, degraded: 0 }), Level::Slight);
/// assert_eq!("moderate".parse(), Ok(Level::Moderate));
/// assert!(Level::Failed > Level::Minimal);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Level {
    /// 0: nothing; every part answered, and freshly.
    #[default]
    Full,
    /// 1: little; four in five parts answered or more, and fewer than three in ten from a cache.
    Slight,
    /// 2: some; three in five answered or more, or three in ten or more came from a cache.
    Moderate,
    /// 3: most; three in ten answered or more.
    Minimal,
    /// 4: fewer.
    Failed,
}

impl Level {
    /// All of them, from 0 to 4.
    pub const ALL: [Self; 5] = [Self::Full, Self::Slight, Self::Moderate, Self::Minimal, Self::Failed];

    /// The level of an answer made of `parts`. The first line that holds decides:
    ///
    /// | level | answered | of all from a cache |
    /// |---|---|---|
    /// | full | all | none, and none by a substitute |
    /// | slight | 80 % or more | fewer than 30 % |
    /// | moderate | 60 % or more | or 30 % or more |
    /// | minimal | 30 % or more | |
    /// | failed | fewer | |
    ///
    /// Without parts nothing is missing: full.
    pub const fn of(parts: Parts) -> Self {
        // In wide whole numbers: 4 of 5 is 80 %, which a division need not say.
        let Parts { total, successful, cached, degraded } = parts;
        let (total, successful, cached) = (total as u64, successful as u64, cached as u64);
        if successful >= total && cached == 0 && degraded == 0 {
            Self::Full
        } else if successful * 10 >= total * 8 && cached * 10 < total * 3 {
            Self::Slight
        } else if successful * 10 >= total * 6 || cached * 10 >= total * 3 {
            Self::Moderate
        } else if successful * 10 >= total * 3 {
            Self::Minimal
        } else {
            Self::Failed
        }
    }

    /// The level as a number, 0 to 4.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The level in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Slight => "slight",
            Self::Moderate => "moderate",
            Self::Minimal => "minimal",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Level {
    type Err = Invalid;

    /// Reads lower or upper case.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| {
            let text = crate::text::start(text, crate::health::ERROR_BYTES);
            Invalid::new("level", text, "full, slight, moderate, minimal or failed")
        })
    }
}

/// What became of the parts of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// All parts.
    pub total: u32,
    /// Those that answered, be it from a cache or by a substitute.
    pub successful: u32,
    /// Those of them whose answer was a cached one.
    pub cached: u32,
    /// Those of them whose answer was another substitute.
    pub degraded: u32,
}

/// What may stand in for a part that failed, by name: for configuration, events and pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Strategy {
    /// The last good answer.
    CacheFallback,
    /// A fixed answer.
    StaticFallback,
    /// The answer without the part.
    PartialResponse,
    /// Somebody else's answer.
    AlternateSource,
    /// Nothing: the answer fails with the part.
    FailFast,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::CacheFallback, Self::StaticFallback, Self::PartialResponse, Self::AlternateSource, Self::FailFast];

    /// The name in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CacheFallback => "cache_fallback",
            Self::StaticFallback => "static_fallback",
            Self::PartialResponse => "partial_response",
            Self::AlternateSource => "alternate_source",
            Self::FailFast => "fail_fast",
        }
    }
}
