//! How waits are spread.

use crate::invalid::{Check, Invalid};

/// How a wait d is spread, so that callers who failed together do not come back together.
///
/// Where a range passes the longest wait, waits are spread evenly over the part of it that does not. If there is no such
/// part, because d is the longest wait and is only lengthened, the range is scaled to end at the longest wait: d is then
/// less than that. So callers do not meet at the longest wait.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Jitter {
    /// Exactly d.
    None,
    /// Within d · (1 ± f), f from 0 to 1. The default, with 0.2.
    Symmetric(#[cfg_attr(feature = "schema", schemars(range(min = 0.0, max = 1.0)))] f64),
    /// Within d · `[low, high)`.
    Range(f64, f64),
    /// Within `[0, d)`.
    Full,
    /// Within `[d/2, d)`.
    Equal,
    /// Within d · `[1, 1 + f)`.
    Additive(#[cfg_attr(feature = "schema", schemars(range(min = 0.0)))] f64),
}

impl Default for Jitter {
    fn default() -> Self {
        Self::Symmetric(0.2)
    }
}

impl Jitter {
    /// What is wrong with the fractions; empty if nothing is.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        match *self {
            Self::None | Self::Full | Self::Equal => {}
            Self::Symmetric(f) => check.that((0.0..=1.0).contains(&f), "symmetric", f, "from 0 to 1"),
            Self::Additive(f) => check.that(f.is_finite() && f >= 0.0, "additive", f, "a finite number, 0 or more"),
            Self::Range(low, high) => check.that(
                0.0 <= low && low <= high && high.is_finite(),
                "range",
                (low, high),
                "two finite numbers, 0 or more, the lower one first",
            ),
        }
        check.done()
    }

    /// What a wait is multiplied by, for a `unit` in `[0, 1)`.
    pub(super) fn multiplier(self, unit: f64) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Symmetric(f) => 1.0 - f + 2.0 * f * unit,
            Self::Range(low, high) => low + (high - low) * unit,
            Self::Full => unit,
            Self::Equal => 0.5 + 0.5 * unit,
            Self::Additive(f) => 1.0 + f * unit,
        }
    }

    /// How much this adds at most to a wait that must not be shorter, as a fraction of it.
    pub(super) fn upward(self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Symmetric(f) | Self::Additive(f) => f,
            Self::Range(_, high) => (high - 1.0).max(0.0),
            Self::Full => 1.0,
            Self::Equal => 0.5,
        }
    }
}
