//! Values as JSON: what can be kept, and given back as what it was.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::ser::{self, Serialize, Serializer};

use crate::fingerprint::fingerprint;
use crate::journal::Shared;

/// Why a value cannot be kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    /// A word for programs.
    pub(crate) kind: &'static str,
    /// How a sentence goes on that begins with what it is: "the value of step 1 `plan`".
    pub(crate) why: String,
}

impl Shared {
    /// A value as JSON that can be given back in its place: to the workflow when it is replayed, to the next caller of a call
    /// made once. Reading it back costs about as much as writing it; a value that is another one after a crash costs more.
    pub(crate) fn keep<T: Serialize + DeserializeOwned>(&self, value: &T) -> Result<Box<str>, Unfit> {
        let json = self.encode(value)?;
        let back: Result<T, _> = serde_json::from_str(&json);
        // A type may take null for such a number; else it is lost, or cannot be read at all.
        if json.contains("null") && !is_finite(value) && back.as_ref().map_or(true, is_finite) {
            let why = "holds a number that JSON cannot hold (NaN or infinite)".into();
            return Err(Unfit { kind: "unencodable", why });
        }
        match back {
            Ok(_) => Ok(json),
            Err(error) => {
                let why = format!("cannot be read back from JSON as {}: {error}", type_name::<T>());
                Err(Unfit { kind: "undecodable", why })
            }
        }
    }

    /// A value as JSON of a size that is allowed.
    pub(crate) fn encode(&self, value: &impl Serialize) -> Result<Box<str>, Unfit> {
        let json = serde_json::to_string(value)
            .map_err(|error| Unfit { kind: "unencodable", why: format!("cannot be written as JSON: {error}") })?;
        let (bytes, limit) = (json.len(), self.settings.max_value);
        if bytes > limit {
            let why = format!(
                "has {bytes} bytes, at most {limit} are allowed (max_value): keep it elsewhere and its address here"
            );
            return Err(Unfit { kind: "too_large", why });
        }
        Ok(json.into())
    }
}

/// An input as it is kept, with its fingerprint.
pub(crate) fn input(value: &(impl Serialize + ?Sized)) -> Result<(Box<str>, String), String> {
    let both = || Ok((serde_json::to_string(value)?.into(), fingerprint(value)?));
    both().map_err(|error: serde_json::Error| error.to_string())
}

/// A type's name without its path.
pub(crate) fn type_name<T>() -> &'static str {
    let path = std::any::type_name::<T>();
    // Tuples, slices and references have no name of their own.
    if !path.starts_with(char::is_alphabetic) {
        return path;
    }
    // With parameters the path of the outermost type ends before them.
    let head = path.split('<').next().unwrap_or(path);
    head.rfind("::").map_or(path, |at| path.get(at + 2..).unwrap_or(path))
}

/// Whether no number in a value is NaN or infinite, which JSON writes as null.
fn is_finite(value: &impl Serialize) -> bool {
    value.serialize(Finite).is_ok()
}

/// Writes nothing, and fails at a number that is not finite.
#[derive(Clone, Copy)]
struct Finite;

macro_rules! fine {
    ($($method:ident($type:ty)),* $(,)?) => { $(fn $method(self, _: $type) -> fmt::Result { Ok(()) })* };
}

impl Serializer for Finite {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fine! {
        serialize_bool(bool), serialize_char(char), serialize_str(&str), serialize_bytes(&[u8]),
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64), serialize_i128(i128),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_u128(u128),
        serialize_unit_struct(&'static str),
    }

    fn serialize_f32(self, number: f32) -> fmt::Result {
        self.serialize_f64(number.into())
    }

    fn serialize_f64(self, number: f64) -> fmt::Result {
        if number.is_finite() { Ok(()) } else { Err(fmt::Error) }
    }

    fn serialize_none(self) -> fmt::Result {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> fmt::Result {
        value.serialize(self)
    }

    fn serialize_unit(self) -> fmt::Result {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> fmt::Result {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> fmt::Result {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> fmt::Result {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }
}

macro_rules! parts {
    ($($trait:ident: $method:ident($($key:ty)?)),* $(,)?) => { $(
        impl ser::$trait for Finite {
            type Ok = ();
            type Error = fmt::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $key,)? value: &T) -> fmt::Result {
                value.serialize(*self)
            }

            fn end(self) -> fmt::Result {
                Ok(())
            }
        }
    )* };
}

parts! {
    SerializeSeq: serialize_element(),
    SerializeTuple: serialize_element(),
    SerializeTupleStruct: serialize_field(),
    SerializeTupleVariant: serialize_field(),
    SerializeStruct: serialize_field(&'static str),
    SerializeStructVariant: serialize_field(&'static str),
}

impl ser::SerializeMap for Finite {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> fmt::Result {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> fmt::Result {
        value.serialize(*self)
    }

    fn end(self) -> fmt::Result {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::journal::Journal;
    use crate::run::Run;

    #[test]
    fn a_type_is_called_as_people_call_it() {
        assert_eq!(type_name::<Run>(), "Run");
        assert_eq!(type_name::<HashMap<String, u32>>(), "HashMap<alloc::string::String, u32>");
        assert_eq!(type_name::<(String, u32)>(), "(alloc::string::String, u32)");
        assert_eq!(type_name::<u32>(), "u32");
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Dot,
        Ring(f32),
        Box { sides: (f64, f64), label: Option<String> },
        Path(Vec<[f64; 2]>, bool),
    }

    #[test]
    fn a_number_that_is_not_finite_is_found_wherever_it_is() {
        let label = Some("null".to_owned());
        for (shape, finite) in [
            (Shape::Dot, true),
            (Shape::Ring(1.5), true),
            (Shape::Ring(f32::NEG_INFINITY), false),
            (Shape::Box { sides: (1.0, 2.0), label: label.clone() }, true),
            (Shape::Box { sides: (1.0, f64::NAN), label }, false),
            (Shape::Path(vec![[0.0, 1.0], [2.0, f64::INFINITY]], true), false),
        ] {
            assert_eq!(is_finite(&shape), finite, "{shape:?}");
            assert_eq!(is_finite(&BTreeMap::from([(7, Some(&shape))])), finite, "{shape:?}");
        }
    }

    /// A measurement for which null is the right word, and that takes it as such.
    #[derive(Serialize, Deserialize)]
    struct Gap(#[serde(deserialize_with = "null_is_nan")] f64);

    fn null_is_nan<'de, D: serde::Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        Option::deserialize(from).map(|number| number.unwrap_or(f64::NAN))
    }

    /// Written under one name, read under another.
    #[derive(Serialize, Deserialize)]
    struct Renamed {
        #[serde(rename(serialize = "was", deserialize = "is"))]
        _field: u32,
    }

    #[tokio::test]
    async fn only_what_is_read_back_as_what_it_was_is_kept() {
        let journal = Journal::open("memory:").await.expect("it opens");
        let keeps = |kept: Result<Box<str>, Unfit>| kept.map_err(|unfit| (unfit.kind, unfit.why));
        let nan = ("unencodable", "holds a number that JSON cannot hold (NaN or infinite)".to_owned());

        assert_eq!(keeps(journal.0.keep(&Some(1.5))), Ok("1.5".into()));
        assert_eq!(keeps(journal.0.keep(&None::<f64>)), Ok("null".into()));
        assert_eq!(keeps(journal.0.keep(&"null".to_owned())), Ok("\"null\"".into()));
        assert_eq!(keeps(journal.0.keep(&f64::NAN)), Err(nan.clone()), "it could not be replayed");
        assert_eq!(keeps(journal.0.keep(&Some(f64::NAN))), Err(nan), "it would be replayed as `None`");
        assert_eq!(keeps(journal.0.keep(&Gap(f64::NAN))), Ok("null".into()), "its type knows what null means");
        let deep = (0..200).fold(serde_json::Value::Null, |inner, _| vec![inner].into());
        let deep = keeps(journal.0.keep(&deep)).map_err(|(kind, why)| (kind, why.contains("recursion limit exceeded")));
        assert_eq!(deep, Err(("undecodable", true)));
        let renamed = "cannot be read back from JSON as Renamed: missing field `is` at line 1 column 9";
        assert_eq!(keeps(journal.0.keep(&Renamed { _field: 7 })), Err(("undecodable", renamed.into())));
    }
}
