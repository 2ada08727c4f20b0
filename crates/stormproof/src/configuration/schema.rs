//! The JSON Schema of configuration files, from the configuration types: for editors, and for whoever writes such files by
//! program.
//!
//! It describes the tree of a TOML file. What it rejects, the reader rejects; the reader also judges what a schema cannot
//! say, such as that one setting must not pass another.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use stormproof_compat::aliases::{BACKOFF, EXCLUSIVE, SETTINGS, VALUES, names_of};

use crate::configuration::preset;

/// The schema of a [settings file](crate::configuration::settings::Settings).
///
/// ```
/// let schema = stormproof::schema::settings();
/// let breaker = &schema["properties"]["policies"]["additionalProperties"]["properties"]["breaker"];
/// assert_eq!(breaker["properties"]["success_threshold"]["default"], 2);
/// ```
pub fn settings() -> Value {
    of::<crate::configuration::settings::Settings>(Some("policies.*"), "Settings of stormproof")
}

/// The schema of one policy.
pub fn policy() -> Value {
    of::<stormproof_core::policy::Config>(Some(""), "A policy of stormproof")
}

/// The schema of a document with policies at a path such as `policies.*`; the empty path is the document itself.
pub fn of<T: JsonSchema>(policies: Option<&str>, title: &str) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value();
    tidy(&mut schema, "");
    if let Some(policy) = policies.and_then(|path| at(&mut schema, path)) {
        let names: Vec<_> = preset::names().collect();
        let meaning = "The preset to start from; what is written beside it wins. Default: none.";
        policy.insert("preset".to_owned(), json!({ "type": "string", "enum": names, "description": meaning }));
    }
    if let Value::Object(root) = &mut schema {
        root.insert("title".to_owned(), title.into());
    }
    schema
}

/// The settings of the tables at a path.
fn at<'s>(schema: &'s mut Value, path: &str) -> Option<&'s mut Map<String, Value>> {
    let tables = path.split('.').filter(|name| !name.is_empty()).try_fold(schema, |schema, name| match name {
        "*" => schema.get_mut("additionalProperties"),
        name => schema.get_mut("properties")?.get_mut(name),
    });
    tables?.get_mut("properties")?.as_object_mut()
}

/// Makes of a schema of Rust types one of TOML: no null, no formats of Rust, plain words, and every name that is read.
fn tidy(schema: &mut Value, name: &str) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| tidy(item, name)),
        Value::Object(object) => {
            without_null(object);
            if let Some(Value::String(text)) = object.get_mut("description") {
                *text = plain(text);
            }
            if let Some(Value::String(format)) = object.remove("format")
                && format == "uint32"
            {
                object.entry("maximum").or_insert_with(|| u32::MAX.into());
            }
            // The name of the type, which means nothing in a file.
            object.remove("title");
            for (key, value) in object.iter_mut() {
                match (key.as_str(), value) {
                    ("properties", Value::Object(settings)) => {
                        settings.iter_mut().for_each(|(name, setting)| tidy(setting, name));
                        add_aliases(settings, name);
                    }
                    ("default" | "enum" | "const" | "examples", _) => {}
                    (_, value) => tidy(value, name),
                }
            }
        }
        _ => {}
    }
}

/// TOML has no null: what is absent is not written.
fn without_null(object: &mut Map<String, Value>) {
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(forms)) = object.get_mut("anyOf") {
        forms.retain(|form| form != &json!({ "type": "null" }));
        if let [Value::Object(only)] = forms.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
}

/// Adds the other names of settings to those of a table.
fn add_aliases(settings: &mut Map<String, Value>, table: &str) {
    for (_, name, word, _) in VALUES.iter().filter(|(of, ..)| *of == table) {
        let words = settings.get_mut(*name).and_then(|setting| setting.get_mut("enum"));
        if let Some(Value::Array(words)) = words {
            words.push((*word).into());
        }
    }
    let all = SETTINGS.iter().map(|setting| (setting.table, setting.names)).chain(EXCLUSIVE.iter().copied());
    for (_, names) in all.filter(|(of, _)| *of == table) {
        let Some(setting) = names.first().and_then(|first| settings.get(*first)).cloned() else { continue };
        for (name, first) in names.iter().skip(1).zip(std::iter::repeat(names[0])) {
            // One of its own that excludes the first.
            if settings.contains_key(*name) {
                continue;
            }
            let mut setting = setting.clone();
            let meaning = format!("The same as `{first}`, of which it takes the place.");
            if let Value::Object(setting) = &mut setting {
                setting.insert("description".to_owned(), meaning.into());
                setting.remove("default");
                if *name == "max_attempts" {
                    setting.insert("minimum".to_owned(), 1.into());
                    let meaning = "`max_retries` and the first call: takes its place.";
                    setting.insert("description".to_owned(), meaning.into());
                }
            }
            settings.insert((*name).to_owned(), setting);
        }
    }
    if table == "retry" {
        add_backoff(settings);
    }
}

/// Adds the settings of a retry's backoff beside it.
fn add_backoff(retry: &mut Map<String, Value>) {
    let Some(Value::Object(backoff)) = retry.get("backoff").and_then(|backoff| backoff.get("properties")).cloned()
    else {
        return;
    };
    let names = BACKOFF.iter().flat_map(|name| std::iter::once(name).chain(names_of("backoff", name)));
    for name in names {
        let Some(Value::Object(mut setting)) = backoff.get(*name).cloned() else { continue };
        let meaning = format!("The same as `backoff.{name}`, of which it takes the place.");
        setting.insert("description".to_owned(), meaning.into());
        setting.remove("default");
        retry.insert((*name).to_owned(), setting.into());
    }
}

/// The first paragraph of a comment without links: `[text](target)` is its text, `[Type::field]` the last of the names.
fn plain(comment: &str) -> String {
    let mut text = String::new();
    let mut rest = comment.split("\n\n").next().unwrap_or_default();
    while let Some((before, after)) = rest.split_once('[') {
        text.push_str(before);
        // Values such as `[low, high)` are no links.
        let Some((inner, after)) = after.split_once(']').filter(|(inner, _)| inner.starts_with('`')) else {
            text.push('[');
            rest = after;
            continue;
        };
        let name = inner.trim_matches('`');
        text.push('`');
        text.push_str(name.rsplit("::").next().unwrap_or(name));
        text.push('`');
        rest = match after.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
    }
    text.push_str(rest);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_plain_words() {
        assert_eq!(plain("Permits per [`per`](Self::per): 1\nor more."), "Permits per `per`: 1 or more.");
        assert_eq!(plain("see [`crate::outcome::is_one_of`]."), "see `is_one_of`.");
        assert_eq!(plain("Within d · `[low, high)`."), "Within d · `[low, high)`.");
    }

    #[test]
    fn no_null_no_format_and_no_title_but_that_of_the_document() {
        let text = settings().to_string();
        for word in ["null", "\"format\"", "Self::", "::"] {
            assert!(!text.contains(word), "{word}");
        }
        assert_eq!(text.matches("\"title\"").count(), 1);
    }

    #[test]
    fn every_name_and_preset_is_in_it() {
        let policy = policy();
        let settings = |table: &str| match table {
            "backoff" => &policy["properties"]["retry"]["properties"]["backoff"]["properties"],
            table => &policy["properties"][table]["properties"],
        };
        for setting in SETTINGS.iter().filter(|setting| !matches!(setting.table, "queue" | "loop_guard")) {
            for name in setting.names {
                assert!(settings(setting.table)[name].is_object(), "{}.{name}", setting.table);
            }
        }
        let presets = policy["properties"]["preset"]["enum"].as_array().unwrap();
        assert_eq!(presets.len(), preset::names().count());
    }
}
