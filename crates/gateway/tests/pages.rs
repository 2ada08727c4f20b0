//! The tables of defaults in the book: written from the configuration types, so that they say what is so.
//!
//! Between `<!-- defaults:PATH -->` and `<!-- /defaults -->` stands the table of the settings at PATH; names behind the path
//! pick some of them.
//! Between `<!-- presets -->` and `<!-- /presets -->` stands that of the presets. `cargo xtask generate` writes them; as a test this fails when one is out of date.
#![cfg(feature = "schema")]
#![cfg(test)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use stormproof::schema::of;

const BEGIN: &str = "<!-- defaults:";
const END: &str = "<!-- /defaults -->";
const PRESETS: &str = "<!-- presets -->";
const END_OF_PRESETS: &str = "<!-- /presets -->";
/// Set by `cargo xtask generate`.
const WRITE: &str = "STORMPROOF_WRITE_PAGES";

#[test]
fn tables_of_defaults_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src");
    let mut stale = Vec::new();
    for path in pages(&root) {
        let page = std::fs::read_to_string(&path).unwrap();
        let filled = fill(&page).unwrap_or_else(|wrong| panic!("{}: {wrong}", path.display()));
        if filled == page {
            continue;
        }
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&path, filled).unwrap();
        } else {
            stale.push(path);
        }
    }
    assert!(stale.is_empty(), "out of date, `cargo xtask generate` writes them: {stale:#?}");
}

#[test]
fn a_table_has_each_setting_with_its_default_and_what_is_allowed() {
    let page = fill("x\n<!-- defaults:budget -->\nold\n<!-- /defaults -->\ny\n").unwrap();
    let lines: Vec<_> = page.lines().collect();
    assert_eq!(lines[2], "| setting | default | meaning | allowed |");
    assert_eq!(lines[4], "| `floor` | `3` | Retries allowed in a window however few the calls. | 0 or more |");
    assert_eq!((lines[0], *lines.last().unwrap()), ("x", "y"));
    assert_eq!(fill(&page).unwrap(), page);
    assert!(fill("<!-- defaults:nothing -->\n<!-- /defaults -->").is_err());
    assert!(fill("<!-- defaults:budget -->\n").is_err());
}

fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn fill(page: &str) -> Result<String, String> {
    let (mut filled, mut rest) = (String::new(), page);
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (path, after) = after.split_once(" -->").ok_or("a marker without its end")?;
        let (_, after) = after.split_once(END).ok_or_else(|| format!("{path}: no {END}"))?;
        write!(filled, "{before}{BEGIN}{path} -->\n{}{END}", table(path)?).unwrap();
        rest = after;
    }
    filled.push_str(rest);
    match filled.split_once(PRESETS).map(|(before, after)| (before, after.split_once(END_OF_PRESETS))) {
        None => Ok(filled),
        Some((_, None)) => Err(format!("no {END_OF_PRESETS}")),
        Some((before, Some((_, after)))) => Ok(format!("{before}{PRESETS}\n{}{END_OF_PRESETS}{after}", presets())),
    }
}

/// What each preset sets.
fn presets() -> String {
    let head =
        "| preset | opens after | open | closes after | probes | attempts | first wait | longest | jitter | counts |";
    let mut table = format!("{head}\n|---|---|---|---|---|---|---|---|---|---|\n");
    for name in stormproof::preset::names() {
        let policy = stormproof::preset::get(name).unwrap();
        let breaker = serde_json::to_value(policy.breaker.unwrap()).unwrap();
        let probes = breaker["half_open_max_calls"].as_u64().filter(|probes| *probes < u64::from(u32::MAX));
        let mut row = vec![
            format!("`{name}`"),
            breaker["trip"][0]["consecutive"].to_string(),
            text(&breaker["open_duration"]),
            breaker["success_threshold"].to_string(),
            probes.map_or("any".to_owned(), |probes| probes.to_string()),
        ];
        if let Some(retry) = policy.retry {
            let backoff = serde_json::to_value(retry.backoff).unwrap();
            row.push((retry.max_retries + 1).to_string());
            row.extend([text(&backoff["base_delay"]), text(&backoff["max_delay"]), toml(&backoff["jitter"])]);
        } else {
            row.extend(["1".to_owned(), String::new(), String::new(), String::new()]);
        }
        row.push(if breaker["scope"] == "attempt" { "attempts" } else { "operations" }.to_owned());
        writeln!(table, "| {} |", row.join(" | ")).unwrap();
    }
    table
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The schema of the settings at a path: those of a policy, and those of what stands alone.
fn schema(path: &str) -> Option<Value> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let alone = match path {
        "policy" => Some(stormproof::schema::policy()),
        "adaptive" => Some(of::<stormproof::adaptive::Config>(None, "")),
        "cache" => Some(of::<stormproof_core::cache::Config>(None, "")),
        "degradation" => Some(of::<stormproof_core::degrade::Config>(None, "")),
        "health" => Some(of::<stormproof_core::health::Config>(None, "")),
        "health.checks" => Some(of::<stormproof_core::health::Checks>(None, "")),
        "loop_guard" => Some(of::<stormproof::loop_guard::Config>(None, "")),
        "loop_guard.poll" => Some(of::<stormproof::loop_guard::Poll>(None, "")),
        "loop_guard.tool" => Some(of::<stormproof::loop_guard::Tool>(None, "")),
        "queue" => Some(of::<stormproof::queue::Config>(None, "")),
        "timeouts" => Some(of::<stormproof::Timeouts>(None, "")),
        "registry.limits" => Some(of::<stormproof::registry::Limits>(None, "")),
        "registry" => Some(of::<stormproof::registry::Config>(None, "")),
        _ => None,
    };
    alone.or_else(|| {
        let whole = if matches!(first, "gateway" | "upstreams") {
            stormproof_gateway::schema()
        } else {
            stormproof::schema::policy()
        };
        let names = std::iter::once(first).chain(rest.into_iter().flat_map(|rest| rest.split('.')));
        names.into_iter().try_fold(whole, |schema, name| match name {
            "NAME" => schema.get("additionalProperties").cloned(),
            _ => schema.get("properties").or_else(|| table_among(&schema))?.get(name).cloned(),
        })
    })
}

/// The settings of the table that is one of several forms.
fn table_among(schema: &Value) -> Option<&Value> {
    schema["anyOf"].as_array()?.iter().find_map(|form| form.get("properties"))
}

fn table(marker: &str) -> Result<String, String> {
    let (path, picked) = marker.split_once(' ').unwrap_or((marker, ""));
    let picked: Vec<_> = picked.split_whitespace().collect();
    let schema = schema(path).ok_or_else(|| format!("no settings are called {path}"))?;
    let settings = schema.get("properties").or_else(|| table_among(&schema));
    let settings = settings.and_then(Value::as_object).ok_or_else(|| format!("{path} is no table"))?;
    if let Some(unknown) = picked.iter().find(|name| !settings.contains_key(**name)) {
        return Err(format!("{path} has no setting {unknown}"));
    }
    let mut table = String::from("| setting | default | meaning | allowed |\n|---|---|---|---|\n");
    let wanted = |name: &String| picked.is_empty() || picked.contains(&name.as_str());
    for (name, setting) in settings.iter().filter(|(name, setting)| wanted(name) && !is_alias(setting)) {
        let (meaning, said) = split(setting["description"].as_str().unwrap_or_default());
        // Where a whole table has a default, its settings have theirs from it.
        let default = setting.get("default").or_else(|| schema["default"].get(name));
        let default = default.map_or(said, |value| short(value, setting));
        let row = [format!("`{name}`"), default, meaning, allowed(setting)];
        let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        writeln!(table, "| {} |", cells.join(" | ")).unwrap();
    }
    Ok(table)
}

fn is_alias(setting: &Value) -> bool {
    setting["description"]
        .as_str()
        .is_some_and(|text| text.contains("takes the place") || text.contains("takes its place"))
}

/// A comment without what it says of the default, and that.
fn split(comment: &str) -> (String, String) {
    let Some(at) = comment.find("Default").filter(|at| *at == 0 || comment[..*at].ends_with(". ")) else {
        return (comment.to_owned(), String::new());
    };
    let (before, after) = comment.split_at(at);
    let after = after.trim_start_matches("Default").trim_start_matches(':').trim_start();
    let end = after.find(". ").map_or(after.len(), |end| end + 1);
    let (default, rest) = after.split_at(end);
    (format!("{before}{}", rest.trim_start()).trim_end().to_owned(), default.trim_end_matches('.').to_owned())
}

/// A value as it is written in TOML.
fn short(value: &Value, setting: &Value) -> String {
    match value {
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        // One rule of so many failures in a row is written as their number.
        Value::Array(items) if items.len() == 1 && items[0]["consecutive"].is_u64() => {
            format!("`{}`", items[0]["consecutive"])
        }
        Value::Object(_) if setting["properties"].is_object() || table_among(setting).is_some() => {
            "see there".to_owned()
        }
        value => format!("`{}`", toml(value)),
    }
}

fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Object(table) => {
            let pairs = table.iter().map(|(name, value)| format!("{name} = {}", toml(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => format!("\"{text}\""),
        other => other.to_string(),
    }
}

fn allowed(setting: &Value) -> String {
    let bounds =
        |low: &str, high: &str| (setting.get(low).and_then(Value::as_f64), setting.get(high).and_then(Value::as_f64));
    let is_duration = |form: &Value| form["pattern"].is_string();
    match setting {
        _ if setting["enum"].as_array().is_some_and(|names| names.len() > 10) => "a name of one below".to_owned(),
        _ if setting["enum"].is_array() => list(setting["enum"].as_array().unwrap()),
        _ if setting["anyOf"].as_array().is_some_and(|forms| forms.iter().any(is_duration)) => "a duration".to_owned(),
        _ if setting["oneOf"].is_array() || setting["anyOf"].is_array() => forms(setting.as_object().unwrap()),
        _ if setting["properties"].is_object() => "a table".to_owned(),
        _ => match (setting["type"].as_str().unwrap_or_default(), bounds("minimum", "maximum")) {
            ("integer", (Some(low), Some(high))) if high >= f64::from(u32::MAX) => format!("{low} or more"),
            ("integer" | "number", (Some(low), Some(high))) => format!("{low} to {high}"),
            ("integer" | "number", (Some(low), None)) => format!("{low} or more"),
            ("integer" | "number", (None, Some(high))) => format!("at most {high}"),
            ("integer", _) => "a whole number".to_owned(),
            ("number", _) => "a number".to_owned(),
            ("array", _) => "a list".to_owned(),
            ("boolean", _) => "`true`, `false`".to_owned(),
            ("object", _) => "tables by name".to_owned(),
            _ => "text".to_owned(),
        },
    }
}

fn list(values: &[Value]) -> String {
    values.iter().map(|value| format!("`{}`", toml(value))).collect::<Vec<_>>().join(", ")
}

/// The names among several forms, and the first setting of each table.
fn forms(setting: &Map<String, Value>) -> String {
    let mut names = Vec::new();
    for form in ["oneOf", "anyOf"].iter().filter_map(|key| setting.get(*key)?.as_array()).flatten() {
        let shown = match form {
            _ if form["const"].is_string() => format!("`{}`", toml(&form["const"])),
            _ if form["enum"].is_array() => list(form["enum"].as_array().unwrap()),
            // Durations are themselves text or a number.
            _ if form["anyOf"].is_array() => "a duration".to_owned(),
            _ if form["oneOf"].is_array() => forms(form.as_object().unwrap()),
            _ if form["properties"].is_object() => {
                let name = form["properties"].as_object().unwrap().keys().next().cloned().unwrap_or_default();
                format!("`{{ {name} = … }}`")
            }
            _ => match form["type"].as_str().unwrap_or_default() {
                "integer" | "number" => "a number".to_owned(),
                "boolean" => "`true`, `false`".to_owned(),
                "array" => "a list of them".to_owned(),
                _ => "text".to_owned(),
            },
        };
        names.push(shown);
    }
    names.join(", ")
}
