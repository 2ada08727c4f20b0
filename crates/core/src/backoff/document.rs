//! How a backoff is written in a configuration file.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::{Backoff, Jitter, Schedule};

/// A backoff as it is written: one flat table, in which only `factor` and `increment` belong to one kind each.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "backoff")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Document {
    /// How the waits grow.
    #[serde(default)]
    kind: Kind,
    /// The wait before the first retry. Default: 1 s.
    #[serde(default, with = "crate::time::duration::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::time::duration::Written>"))]
    base_delay: Option<Duration>,
    /// What each wait is multiplied by; only `exponential` has it. Default: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1.0)))]
    factor: Option<f64>,
    /// What is added to each wait; only `linear` has it. Default: `base_delay`.
    #[serde(default, with = "crate::time::duration::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::time::duration::Written>"))]
    increment: Option<Duration>,
    /// The longest wait, jitter included. Default: 60 s, or `base_delay` if that is longer.
    #[serde(default, with = "crate::time::duration::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::time::duration::Written>"))]
    max_delay: Option<Duration>,
    /// How the waits are spread; a number is that much either way. Default: `{ symmetric = 0.2 }`, for `decorrelated`
    /// `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<jitter::Written>"))]
    #[serde(deserialize_with = "jitter::deserialize")]
    jitter: Option<Jitter>,
}

#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
enum Kind {
    #[default]
    Exponential,
    Linear,
    Constant,
    Fibonacci,
    Decorrelated,
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Backoff {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Backoff".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Document::json_schema(generator)
    }
}

impl Serialize for Backoff {
    /// Writes all fields. A custom schedule cannot be written and is an error.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (kind, factor, increment) = match &self.schedule {
            Schedule::Exponential { factor } => (Kind::Exponential, Some(*factor), None),
            Schedule::Linear { increment } => (Kind::Linear, None, Some(*increment)),
            Schedule::Constant => (Kind::Constant, None, None),
            Schedule::Fibonacci => (Kind::Fibonacci, None, None),
            Schedule::Decorrelated => (Kind::Decorrelated, None, None),
            Schedule::Custom(_) => return Err(ser::Error::custom("a custom backoff is a function, not data")),
        };
        let (base_delay, max_delay, jitter) = (Some(self.base_delay), Some(self.max_delay), Some(self.jitter));
        Document { kind, base_delay, factor, increment, max_delay, jitter }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Backoff {
    /// Reads the fields that stand there; the others have the defaults of their kind.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = Document::deserialize(deserializer)?;
        if read.factor.is_some() && read.kind != Kind::Exponential {
            return Err(de::Error::custom("`factor` belongs to the kind \"exponential\""));
        }
        if read.increment.is_some() && read.kind != Kind::Linear {
            return Err(de::Error::custom("`increment` belongs to the kind \"linear\""));
        }
        let base = read.base_delay.unwrap_or(Self::DEFAULT_BASE);
        let mut backoff = match read.kind {
            Kind::Exponential => Self::exponential(base).factor(read.factor.unwrap_or(Self::DEFAULT_FACTOR)),
            Kind::Linear => Self::linear(base).increment(read.increment.unwrap_or(base)),
            Kind::Constant => Self::constant(base),
            Kind::Fibonacci => Self::fibonacci(base),
            Kind::Decorrelated => Self::decorrelated(base),
        };
        backoff.max_delay = read.max_delay.unwrap_or(backoff.max_delay);
        backoff.jitter = read.jitter.unwrap_or(backoff.jitter);
        Ok(backoff)
    }
}

/// Reads a jitter by name or table, a number (that much either way), or whether there is to be any.
mod jitter {
    use std::fmt;

    use serde::de::value::{MapAccessDeserializer, StrDeserializer};
    use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

    use super::Jitter;

    /// How a jitter is written, for the schema.
    #[cfg(feature = "schema")]
    #[derive(schemars::JsonSchema)]
    #[schemars(untagged)]
    #[expect(dead_code, reason = "only its schema is wanted")]
    pub(super) enum Written {
        /// The one of the preset, or the default; or none.
        Any(bool),
        /// So much either way.
        Fraction(#[schemars(range(min = 0.0, max = 1.0))] f64),
        /// One of these.
        Jitter(Jitter),
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Jitter>, D::Error> {
        struct Written;

        impl<'de> Visitor<'de> for Written {
            type Value = Jitter;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a jitter such as \"full\" or { symmetric = 0.2 }, a number from 0 to 1, or true or false")
            }

            fn visit_bool<E: de::Error>(self, any: bool) -> Result<Jitter, E> {
                Ok(if any { Jitter::default() } else { Jitter::None })
            }

            fn visit_f64<E: de::Error>(self, fraction: f64) -> Result<Jitter, E> {
                Ok(Jitter::Symmetric(fraction))
            }

            fn visit_i64<E: de::Error>(self, fraction: i64) -> Result<Jitter, E> {
                self.visit_f64(fraction as f64)
            }

            fn visit_u64<E: de::Error>(self, fraction: u64) -> Result<Jitter, E> {
                self.visit_f64(fraction as f64)
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Jitter, E> {
                Jitter::deserialize(StrDeserializer::new(name))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Jitter, A::Error> {
                Jitter::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_any(Written).map(Some)
    }
}
