//! Fingerprints: the same for what is the same, however its keys are ordered.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::run::RunId;

/// So many hexadecimal digits of a SHA-256 are kept: 128 bits.
const DIGITS: usize = 32;

/// The fingerprint of a value: 32 hexadecimal digits of the SHA-256 of its JSON, the keys of objects sorted.
///
/// ```
/// use serde_json::json;
/// use stormproof_journal::fingerprint;
///
/// let one = fingerprint(&json!({ "b": [1, 2], "a": "x" }))?;
/// assert_eq!(one, fingerprint(&json!({ "a": "x", "b": [1, 2] }))?);
/// assert_ne!(one, fingerprint(&json!({ "a": "x", "b": [2, 1] }))?);
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// # Errors
/// If the value cannot be written as JSON, such as a map whose keys are no strings.
pub fn fingerprint(value: &(impl Serialize + ?Sized)) -> Result<String, serde_json::Error> {
    let mut text = Vec::with_capacity(128);
    write(&serde_json::to_value(value)?, &mut text)?;
    Ok(hex(Sha256::digest(&text).as_slice()))
}

/// The key of a step for its callee.
pub(crate) fn key(run: &RunId, seq: u32, name: &str) -> String {
    let mut hash = Sha256::new();
    // A name can hold anything but what ends it here.
    hash.update(run.as_str());
    hash.update([0]);
    hash.update(seq.to_be_bytes());
    hash.update(name);
    hex(hash.finalize().as_slice())
}

fn write(value: &Value, text: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    match value {
        Value::Array(items) => {
            text.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(b',');
                }
                write(item, text)?;
            }
            text.push(b']');
            Ok(())
        }
        Value::Object(map) => {
            // Sorted here: the map keeps the order of insertion if another crate asks serde_json for that.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|entry| entry.0);
            text.push(b'{');
            for (at, (key, item)) in entries.into_iter().enumerate() {
                if at > 0 {
                    text.push(b',');
                }
                serde_json::to_writer(&mut *text, key)?;
                text.push(b':');
                write(item, text)?;
            }
            text.push(b'}');
            Ok(())
        }
        plain => serde_json::to_writer(text, plain),
    }
}

fn hex(bytes: &[u8]) -> String {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).take(DIGITS);
    digits.map(|digit| char::from(HEX[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    /// The same with the keys of all objects put in the other way round.
    fn turned(value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(turned).collect(),
            Value::Object(map) => {
                map.iter().rev().map(|(key, item)| (key.clone(), turned(item))).collect::<Map<_, _>>().into()
            }
            plain => plain.clone(),
        }
    }

    proptest! {
        #[test]
        fn any_value_has_one_whatever_the_order_of_its_keys(value in any_json()) {
            let one = fingerprint(&value).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(one.len(), DIGITS);
            prop_assert!(one.bytes().all(|digit| digit.is_ascii_hexdigit()));
            prop_assert_eq!(fingerprint(&turned(&value)).ok(), Some(one));
        }

        #[test]
        fn different_values_have_different_ones(one in any_json(), other in any_json()) {
            // As text: 0.0 and -0.0 are equal numbers.
            let (text, others) = (one.to_string(), other.to_string());
            prop_assert_eq!(text == others, fingerprint(&one).ok() == fingerprint(&other).ok());
        }
    }

    #[test]
    fn it_stays_the_same_from_release_to_release() {
        // Journals keep it: another one here makes every run that is under way diverge.
        let value = json!({ "b": [1, -2, 2.5, null], "a": { "ü": "x\n", "": true } });
        assert_eq!(fingerprint(&value).ok().as_deref(), Some("4c01cb5771a8fda635fa31d5524c20cf"));
        assert_eq!(key(&RunId::new("pay", "order-18"), 2, "charge"), "33831c380e29ca46ddc896fb15d46a95");
    }
}
