//! Every setting of a policy, by its schema: what is said of a value of another type, of one out of range, and of a name
//! that is misspelt.
#![cfg(all(feature = "schema", feature = "toml"))]
#![cfg(test)]

use serde_json::Value;
use stormproof::document::Reader;
use stormproof::{config, schema};

/// A setting: its path in a file, and its schema.
struct Setting {
    path: String,
    schema: Value,
}

impl Setting {
    /// Whether a value of this kind is allowed.
    fn takes(&self, kind: &str) -> bool {
        fn takes(schema: &Value, kind: &str) -> bool {
            let of = |key: &str| schema[key].as_array().into_iter().flatten();
            schema["type"] == kind
                || schema["type"] == "number" && kind == "integer"
                || of("type").any(|known| known == kind)
                || of("enum").any(|word| word.is_string() && kind == "string")
                || schema["const"].is_string() && kind == "string"
                || of("anyOf").chain(of("oneOf")).any(|form| takes(form, kind))
        }
        takes(&self.schema, kind)
    }
}

/// All settings of a table, those of its tables included.
fn settings(schema: &Value, path: &str, found: &mut Vec<Setting>) {
    for (name, setting) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        // Presets are a list, not a rule.
        if name != "preset" {
            settings(setting, &path, found);
            found.push(Setting { path, schema: setting.clone() });
        }
    }
}

fn all() -> Vec<Setting> {
    let mut found = Vec::new();
    settings(&schema::policy(), "", &mut found);
    assert!(found.len() > 60, "{}", found.len());
    found
}

/// What is said of a policy, without line and column.
fn said(text: &str) -> Vec<String> {
    let read = Reader::new().policies("").read(text, config::Config::validate);
    let mistakes = read.err().unwrap_or_default();
    mistakes.iter().map(|mistake| format!("{}: {}", mistake.path, mistake.message)).collect()
}

/// The settings that others need beside them.
fn with_neighbours(path: &str, value: &str) -> String {
    let also = match path.split('.').next() {
        Some("budget") => "retry = {}\n",
        _ => "",
    };
    format!("{also}{path} = {value}\n")
}

#[track_caller]
fn speaks_plainly(message: &str) {
    for word in ["variant", "struct", "expected", "invalid type", "u32", "u64", "f64", "untagged", "newtype", "map"] {
        let words = message.split(|c: char| !c.is_alphanumeric() && c != '_');
        assert!(!words.clone().any(|known| known == word), "{message} says {word:?}");
    }
    assert!(message.contains("allowed is"), "{message} does not say what is allowed");
}

#[test]
fn a_value_of_another_type_is_told_with_what_is_allowed() {
    let values = [
        ("string", "'five'"),
        ("integer", "-7"),
        ("number", "-0.5"),
        ("boolean", "true"),
        ("array", "[[1]]"),
        ("object", "{ nonsense = 1 }"),
        ("date", "1979-05-27"),
    ];
    for setting in all() {
        for (kind, value) in values {
            // A list is read as the values of a table, one after the other.
            if setting.takes(kind) || kind == "array" && setting.takes("object") {
                continue;
            }
            let found = said(&with_neighbours(&setting.path, value));
            assert_eq!(found.len(), 1, "{} = {value}: {found:?}", setting.path);
            assert!(found[0].starts_with(&setting.path), "{found:?}");
            speaks_plainly(&found[0]);
        }
    }
}

#[test]
fn a_number_out_of_range_and_a_word_in_its_place_are_told_alike() {
    let allowed = |path: &str, value: &str| {
        let found = said(&with_neighbours(path, value));
        let own = found.iter().find(|said| said.starts_with(&format!("{path}: ")));
        let allowed = own.and_then(|said| said.split_once("allowed is ")).map(|(_, allowed)| allowed.to_owned());
        assert!(allowed.is_some(), "{path} = {value}: {found:?}");
        allowed
    };
    let mut tried = 0;
    for setting in all() {
        let (Some(least), false) = (setting.schema["minimum"].as_f64(), setting.takes("string")) else { continue };
        if least <= 0.0 {
            continue;
        }
        tried += 1;
        let word = allowed(&setting.path, "'five'");
        assert_eq!(allowed(&setting.path, "0"), word, "{}", setting.path);
        assert_eq!(allowed(&setting.path, "-1"), word, "{}", setting.path);
    }
    assert!(tried > 10, "{tried}");
    assert_eq!(
        said("rate.rate = 'five'"),
        said("rate.rate = 0").iter().map(|said| said.replace("is 0,", "is 'five',")).collect::<Vec<_>>()
    );
}

#[test]
fn a_name_that_is_misspelt_is_told_with_what_it_may_have_been() {
    for setting in all() {
        let (table, name) = setting.path.rsplit_once('.').map_or(("", &*setting.path), |(table, name)| (table, name));
        let before = if table.is_empty() { String::new() } else { format!("{table}.") };
        let letters: Vec<char> = name.chars().collect();
        if letters.len() < 5 {
            continue;
        }
        let exchanged = format!("{}{}{}", letters[1], letters[0], &name[2..]);
        for slip in [name[..name.len() - 1].to_owned(), format!("{name}s"), exchanged] {
            let other = if table == "budget" { "retry = {}\n" } else { "" };
            let found = said(&format!("{other}{before}{slip} = 1"));
            let meant = found.first().and_then(|found| found.split_once("Did you mean `")).map(|(_, meant)| meant);
            let meant = meant.and_then(|meant| meant.strip_suffix("`?"));
            assert!(meant.is_some(), "{before}{slip}: {found:?}");
            // Another name of the same setting may be as near.
            assert!(found.len() == 1 && found[0].starts_with(&format!("{before}{slip}: is unknown")), "{found:?}");
        }
    }
    assert!(said("deadlin = 3")[0].ends_with("Did you mean `deadline`?"));
    assert!(said("retry.backoff.kind = 'exponentail'")[0].ends_with("Did you mean `exponential`?"));
    assert!(!said("quite_another_thing = 3")[0].contains("Did you mean"));
    // Names of other systems, too.
    let others = [
        ("breaker.recovery_timout", "recovery_timeout"),
        ("breaker.failure_treshold", "failure_threshold"),
        ("retry.inital_delay", "initial_delay"),
        ("retry.backoff.backoff_multiplyer", "backoff_multiplier"),
        ("rate.requests_per_secnd", "requests_per_second"),
        ("retry.max_atempts", "max_attempts"),
    ];
    for (written, meant) in others {
        let found = said(&format!("{written} = 1"));
        assert!(found[0].ends_with(&format!("Did you mean `{meant}`?")), "{found:?}");
    }
}

#[test]
fn what_a_table_lacks_hides_nothing_that_is_wrong_in_it() {
    let found = said("breaker.trip = { ratio = { ratio = 1.5 } }");
    let of_missing = |name: &str| found.iter().any(|said| said.contains(&format!("is without `{name}`")));
    assert!(of_missing("minimum_calls") && of_missing("window"), "{found:#?}");
    assert!(found.iter().any(|said| said.contains("is 1.5, allowed is above 0")), "{found:#?}");
    assert_eq!(found.len(), 3, "{found:#?}");
}

#[test]
fn a_word_that_needs_a_value_is_told_how_it_is_written() {
    assert_eq!(
        said("retry.backoff.jitter = 'symmetric'"),
        ["retry.backoff.jitter: is 'symmetric', allowed is a table such as { symmetric = … }"]
    );
}
