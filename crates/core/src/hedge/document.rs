//! How a delay is written in a configuration file: a duration, or a table.

use std::fmt;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Delay;
use crate::time::duration;

/// The table.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename = "delay")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Document {
    /// The share of attempts that are over by then. Default: 0.95.
    #[cfg_attr(feature = "schema", schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1)))]
    percentile: f64,
    /// With fewer successes in the window than this, the delay is `otherwise`. Default: 100.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    minimum_samples: u32,
    /// Never sooner than this. Default: 10 ms.
    #[serde(with = "duration")]
    #[cfg_attr(feature = "schema", schemars(with = "duration::Written"))]
    at_least: Duration,
    /// The delay while there are too few samples. Default: 2 s.
    #[serde(with = "duration")]
    #[cfg_attr(feature = "schema", schemars(with = "duration::Written"))]
    otherwise: Duration,
}

/// A delay as it is written, for the schema.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is wanted")]
enum Written {
    /// A fixed time.
    After(duration::Written),
    /// By what was measured.
    Percentile(Document),
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Delay {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Delay".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Written::json_schema(generator)
    }
}

impl Default for Document {
    fn default() -> Self {
        let Delay::Percentile { percentile, minimum_samples, at_least, otherwise } = Delay::default() else {
            return Self { percentile: 0.0, minimum_samples: 0, at_least: Duration::ZERO, otherwise: Duration::ZERO };
        };
        Self { percentile, minimum_samples, at_least, otherwise }
    }
}

impl Serialize for Delay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::After(delay) => duration::serialize(&delay, serializer),
            Self::Percentile { percentile, minimum_samples, at_least, otherwise } => {
                Document { percentile, minimum_samples, at_least, otherwise }.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Delay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Delay;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"800ms\", or a table such as { percentile = 0.95 }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Delay, E> {
                duration::deserialize(text.into_deserializer()).map(Delay::After)
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<Delay, E> {
                duration::deserialize(seconds.into_deserializer()).map(Delay::After)
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<Delay, E> {
                duration::deserialize(seconds.into_deserializer()).map(Delay::After)
            }

            fn visit_f64<E: Error>(self, seconds: f64) -> Result<Delay, E> {
                duration::deserialize(seconds.into_deserializer()).map(Delay::After)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Delay, A::Error> {
                let read = Document::deserialize(MapAccessDeserializer::new(map))?;
                let Document { percentile, minimum_samples, at_least, otherwise } = read;
                Ok(Delay::Percentile { percentile, minimum_samples, at_least, otherwise })
            }
        }

        deserializer.deserialize_any(Either)
    }
}
