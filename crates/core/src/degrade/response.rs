//! An answer made of several parts that says of itself what is missing.

use std::collections::BTreeMap;

use super::{Level, Parts, TooDegraded};
use crate::decision::Name;

/// An answer made of several parts, and how much of it is missing.
///
/// With the feature `serde` it is written as `{"degradation_level", "components": {…}, "metadata": {…}}`.
///
/// ```
/// use stormproof_core::degrade::{Component, Level, Response};
///
/// let response = Response::new([
///     ("orders", Component::fresh("3 open")),
///     ("prices", Component::cached("as of noon")),
///     ("reviews", Component::failed("timed out")),
/// ]);
/// assert_eq!(response.degradation_level, Level::Moderate);
/// assert_eq!(response.warning().as_deref(), Some("cached data: prices; missing: reviews"));
/// assert!(response.within(&"shop".into(), Level::Slight).is_err());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Response<T> {
    /// How much is missing.
    pub degradation_level: Level,
    /// The parts by name.
    pub components: BTreeMap<String, Component<T>>,
    /// What became of them in numbers.
    pub metadata: Metadata,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Component<T> {
    /// Whether it answered, in whatever way.
    pub success: bool,
    /// What it answered.
    pub data: Option<T>,
    /// Whether that is an earlier answer.
    pub cached: bool,
    /// Whether that is another substitute.
    pub degraded: bool,
    /// Why there is no answer, or only a substitute.
    pub error: Option<String>,
}

/// What became of the parts in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Metadata {
    /// All parts.
    pub total_components: u32,
    /// Those that answered.
    pub successful_components: u32,
    /// Those of them with a cached answer.
    pub cached_responses: u32,
    /// Those of them with another substitute.
    pub degraded_components: u32,
}

impl From<Metadata> for Parts {
    fn from(metadata: Metadata) -> Self {
        Self {
            total: metadata.total_components,
            successful: metadata.successful_components,
            cached: metadata.cached_responses,
            degraded: metadata.degraded_components,
        }
    }
}

impl<T> Component<T> {
    const fn with(data: Option<T>) -> Self {
        Self { success: data.is_some(), data, cached: false, degraded: false, error: None }
    }

    /// It answered.
    pub const fn fresh(data: T) -> Self {
        Self::with(Some(data))
    }

    /// An earlier answer of it.
    pub const fn cached(data: T) -> Self {
        let mut component = Self::with(Some(data));
        component.cached = true;
        component
    }

    /// Something else in its place.
    pub const fn substitute(data: T) -> Self {
        let mut component = Self::with(Some(data));
        component.degraded = true;
        component
    }

    /// It did not answer.
    pub fn failed(error: impl Into<String>) -> Self {
        Self::with(None).because(error)
    }

    /// Says why.
    #[must_use]
    pub fn because(mut self, error: impl Into<String>) -> Self {
        self.error = Some(error.into());
        self
    }
}

impl<T> Response<T> {
    /// An answer of these parts.
    pub fn new<N: Into<String>>(components: impl IntoIterator<Item = (N, Component<T>)>) -> Self {
        let components: BTreeMap<_, _> = components.into_iter().map(|(name, part)| (name.into(), part)).collect();
        let count = |is: fn(&Component<T>) -> bool| {
            u32::try_from(components.values().filter(|part| is(part)).count()).unwrap_or(u32::MAX)
        };
        let metadata = Metadata {
            total_components: count(|_| true),
            successful_components: count(|part| part.success),
            cached_responses: count(|part| part.success && part.cached),
            degraded_components: count(|part| part.success && part.degraded),
        };
        Self { degradation_level: Level::of(metadata.into()), components, metadata }
    }

    /// What became of the parts, for [`Degradation::evaluate`](super::Degradation::evaluate).
    pub fn parts(&self) -> Parts {
        self.metadata.into()
    }

    /// The answer, unless more is missing than `limit` allows.
    ///
    /// # Errors
    /// [`TooDegraded`] with the name of the `system`.
    pub fn within(self, system: &Name, limit: Level) -> Result<Self, TooDegraded> {
        TooDegraded::check(system, self.degradation_level, limit).map(|_| self)
    }

    /// What whoever reads the answer should be told; `None` if nothing is missing.
    pub fn warning(&self) -> Option<String> {
        let names = |is: fn(&Component<T>) -> bool| -> Vec<&str> {
            self.components.iter().filter(|(_, part)| is(part)).map(|(name, _)| name.as_str()).collect()
        };
        let told = [
            ("cached data", names(|part| part.success && part.cached)),
            ("substituted", names(|part| part.success && part.degraded)),
            ("missing", names(|part| !part.success)),
        ];
        let told: Vec<_> = told
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {}", names.join(", ")))
            .collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}
