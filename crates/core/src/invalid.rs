//! What a configuration mistake looks like.

use std::fmt;

/// A configuration value that is not allowed: which field, what it holds, what it may hold.
///
/// ```
/// use stormproof_core::{breaker, Trip};
///
/// let config = breaker::Config { trip: vec![Trip::consecutive(0)], ..Default::default() };
/// let mistake = &config.validate()[0];
/// assert_eq!(mistake.to_string(), "trip.consecutive is 0, allowed is 1 or more");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, allowed is {allowed}")]
#[non_exhaustive]
pub struct Invalid {
    /// The field's path, parts joined by dots.
    pub field: String,
    /// The value found there.
    pub value: String,
    /// The values that are allowed.
    pub allowed: &'static str,
}

impl Invalid {
    /// A mistake.
    pub fn new(field: impl Into<String>, value: impl Into<String>, allowed: &'static str) -> Self {
        Self { field: field.into(), value: value.into(), allowed }
    }

    /// The same mistake as one of the part `name` of a whole, before whose fields it stands.
    ///
    /// ```
    /// use stormproof_core::Invalid;
    ///
    /// let mistake = Invalid::new("rate", "0", "1 or more").under("tokens");
    /// assert_eq!(mistake.to_string(), "tokens.rate is 0, allowed is 1 or more");
    /// ```
    #[must_use]
    pub fn under(mut self, name: &str) -> Self {
        self.field = if self.field.is_empty() { name.to_owned() } else { format!("{name}.{}", self.field) };
        self
    }
}

/// Everything that is wrong with a configuration.
///
/// ```
/// use stormproof_core::{bulkhead, Bulkhead};
///
/// let config = bulkhead::Config { max_concurrent: 0, ..Default::default() };
/// let mistakes = Bulkhead::with_config("tools", config).unwrap_err();
/// assert_eq!(mistakes.len(), 1);
/// assert!(mistakes.to_string().starts_with("max_concurrent is 0"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(Vec<Invalid>);

impl Mistakes {
    /// An error, unless there are none.
    pub fn none(mistakes: Vec<Invalid>) -> Result<(), Self> {
        if mistakes.is_empty() { Ok(()) } else { Err(Self(mistakes)) }
    }
}

impl std::ops::Deref for Mistakes {
    type Target = [Invalid];

    fn deref(&self) -> &[Invalid] {
        &self.0
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.0.iter().enumerate() {
            write!(f, "{}{mistake}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

impl From<Vec<Invalid>> for Mistakes {
    fn from(mistakes: Vec<Invalid>) -> Self {
        Self(mistakes)
    }
}

/// Collects the mistakes of one configuration, so that all of them are named at once.
#[derive(Debug, Default)]
pub(crate) struct Check(Vec<Invalid>);

impl Check {
    /// Notes a mistake unless `valid`.
    pub(crate) fn that(&mut self, valid: bool, field: &str, value: impl fmt::Debug, allowed: &'static str) {
        if !valid {
            self.0.push(Invalid::new(field, format!("{value:?}"), allowed));
        }
    }

    /// Takes over the mistakes of a part, its name before each field.
    pub(crate) fn part(&mut self, name: &str, mistakes: Vec<Invalid>) {
        self.0.extend(mistakes.into_iter().map(|mistake| mistake.under(name)));
    }

    pub(crate) fn done(self) -> Vec<Invalid> {
        self.0
    }
}
