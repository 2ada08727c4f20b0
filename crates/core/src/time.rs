//! Time as the core sees it: a number handed in, never read.
//!
//! Owns [`Instant`] and the saturating arithmetic on it, and (with the feature `serde`) how durations are written in a
//! configuration file. Does not own a clock: clocks live at the edge.

use std::ops::Add;
use std::time::Duration;

/// A point in monotonic time: nanoseconds since an origin that the edge chooses once.
///
/// All arithmetic saturates: adding [`Duration::MAX`] gives [`Instant::FAR_FUTURE`], and the time since a later instant
/// is zero. The range is 584 years.
///
/// ```
/// use std::time::Duration;
/// use stormproof_core::Instant;
///
/// let start = Instant::from_nanos(5);
/// assert_eq!((start + Duration::from_nanos(7)).since(start), Duration::from_nanos(7));
/// assert_eq!(start + Duration::MAX, Instant::FAR_FUTURE);
/// assert_eq!(start.since(Instant::FAR_FUTURE), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// Later than anything that happens: "no deadline", "never by itself".
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the origin.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is the later one.
    #[inline]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::FAR_FUTURE`].
    #[inline]
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

/// `duration` in nanoseconds, at most `u64::MAX`.
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Durations in configuration: `"250ms"`, `"1m 30s"`, or a number of seconds such as `0.25`.
#[cfg(feature = "serde")]
pub mod duration {
    use std::fmt;
    use std::time::Duration;

    use serde::de::{self, Deserializer, Visitor};
    use serde::ser::Serializer;

    /// Reads a duration from text with units or from a number of seconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"250ms\" or \"1m 30s\", or a number of seconds")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                humantime::parse_duration(text).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
                Ok(Duration::from_secs(seconds))
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
                u64::try_from(seconds)
                    .map(Duration::from_secs)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(seconds), &self))
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Duration, E> {
                Duration::try_from_secs_f64(seconds)
                    .map_err(|_| E::invalid_value(de::Unexpected::Float(seconds), &self))
            }
        }

        deserializer.deserialize_any(Text)
    }

    /// How a duration is written, for the schema.
    #[cfg(feature = "schema")]
    #[derive(Debug)]
    pub struct Written;

    #[cfg(feature = "schema")]
    impl schemars::JsonSchema for Written {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> std::borrow::Cow<'static, str> {
            "Duration".into()
        }

        fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
            schemars::json_schema!({
                "anyOf": [
                    { "type": "string", "pattern": "^\\s*[0-9]", "examples": ["250ms", "1m 30s"] },
                    { "type": "number", "minimum": 0, "description": "Seconds." },
                ]
            })
        }
    }

    /// Writes a duration as text with units.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    /// The same for a duration that may be absent.
    pub mod option {
        use super::{Deserializer, Duration, Serializer};

        /// Reads a duration, or nothing (`null`, where the format has that).
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            #[derive(serde::Deserialize)]
            #[serde(transparent)]
            struct There(#[serde(with = "crate::time::duration")] Duration);

            Ok(<Option<There> as serde::Deserialize>::deserialize(deserializer)?.map(|There(duration)| duration))
        }

        /// Writes the duration, or nothing.
        pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => super::serialize(duration, serializer),
                None => serializer.serialize_none(),
            }
        }
    }
}
