//! Whatever is written for a setting, the mistake says what it is and what is allowed.

use serde_json::Value;
use stormproof::document::Mistake;
use stormproof::settings::Settings;

/// Values of every kind, most of which are wrong for most settings.
const VALUES: [&str; 16] = [
    "'x'",
    "''",
    "-1",
    "0",
    "7",
    "99999999999",
    "9223372036854775807",
    "1.5",
    "-0.5",
    "nan",
    "1e300",
    "true",
    "[]",
    "['x']",
    "{}",
    "1979-05-27",
];

/// What mistakes are made of in Rust, and in no file.
const FOREIGN: [&str; 8] = ["invalid", "expected", "struct", "enum", "u32", "usize", "f64", "variant"];

/// The paths of all settings in a schema, and of the tables that hold them.
fn paths(schema: &Value, at: &str, found: &mut Vec<String>) {
    let child = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    if !at.is_empty() && !found.contains(&at.to_owned()) {
        found.push(at.to_owned());
    }
    for (name, setting) in schema["properties"].as_object().into_iter().flatten() {
        paths(setting, &child(name), found);
    }
    if schema["additionalProperties"].is_object() {
        paths(&schema["additionalProperties"], &child("a"), found);
    }
    for form in ["anyOf", "oneOf"].iter().flat_map(|key| schema[key].as_array().into_iter().flatten()) {
        paths(form, at, found);
    }
}

fn every_mistake_says_what_is_allowed(schema: &Value, base: &str, read: impl Fn(&str) -> Vec<Mistake>) {
    let mut all = Vec::new();
    paths(schema, "", &mut all);
    assert!(all.len() > 100, "{all:?}");
    let (mut seen, mut wrong) = (0, Vec::new());
    for path in &all {
        for value in VALUES {
            let text = format!("{path} = {value}\n");
            let text = if base.starts_with(path) { text } else { format!("{base}\n{text}") };
            for mistake in read(&text) {
                let message = &mistake.message;
                let is_told = message.contains("is ") && message.contains(", allowed is ");
                let of_two = message.contains("belongs to the kind")
                    || message.contains("says the same as")
                    || message.contains("excludes");
                let preset = message.starts_with("no preset is called");
                if !(is_told || of_two || preset) || FOREIGN.iter().any(|word| message.contains(word)) {
                    wrong.push(format!("{path} = {value}: {mistake}"));
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 500, "{seen}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_mistake_in_a_file_of_the_gateway_says_what_is_allowed() {
    let read = |text: &str| stormproof_gateway::Config::parse(text).err().unwrap_or_default();
    every_mistake_says_what_is_allowed(&stormproof_gateway::schema(), "upstreams.a.url = 'http://h'", read);
}

#[test]
fn every_mistake_in_a_file_of_the_library_says_what_is_allowed() {
    let read = |text: &str| Settings::parse(text).err().unwrap_or_default();
    every_mistake_says_what_is_allowed(&stormproof::schema::settings(), "policies.b = {}", read);
}
