//! How trip rules are written in a configuration file.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Trip;

/// Form of the rules in a file, for the schema.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is wanted")]
pub(super) enum OneOrMany {
    /// Number of failures in a row.
    Consecutive(#[schemars(range(min = 1))] u32),
    /// One rule.
    One(Trip),
    /// Several, any one of which opens the circuit.
    Many(#[schemars(length(min = 1))] Vec<Trip>),
}

/// Reads `5` (that many in a row), one rule, or a list of rules.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Trip>, D::Error> {
    struct Rules;

    impl<'de> Visitor<'de> for Rules {
        type Value = Vec<Trip>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of consecutive failures, a trip rule, or a list of trip rules")
        }

        fn visit_u64<E: de::Error>(self, n: u64) -> Result<Self::Value, E> {
            let failures =
                u32::try_from(n).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(n), &"1 to 4294967295"))?;
            Ok(vec![Trip::Consecutive(failures)])
        }

        fn visit_i64<E: de::Error>(self, n: i64) -> Result<Self::Value, E> {
            let failures =
                u64::try_from(n).map_err(|_| E::invalid_value(de::Unexpected::Signed(n), &"1 to 4294967295"))?;
            self.visit_u64(failures)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let trip = Trip::deserialize(MapAccessDeserializer::new(&mut map))?;
            match map.next_key::<String>()? {
                None => Ok(vec![trip]),
                Some(other) => Err(de::Error::custom(format_args!(
                    "one rule to a table: put `{}` and `{other}` into a list",
                    trip.as_str()
                ))),
            }
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(seq))
        }
    }

    deserializer.deserialize_any(Rules)
}
