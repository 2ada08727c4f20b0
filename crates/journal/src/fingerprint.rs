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
