//! Every block of TOML in the book is read by what would read it, and is valid.
#![cfg(feature = "schema")]
#![cfg(test)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use stormproof::document::{Mistake, Reader};
use stormproof::{Invalid, config, degrade, environment::Environment, health, loop_guard, queue, settings::Settings};
use stormproof_core::cache;

#[test]
fn every_toml_block_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec![root.join("README.md")];
    collect(&root.join("docs/src"), &mut pages);
    let mut blocks = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for block in text.split("\n```toml\n").skip(1).filter_map(|rest| rest.split("\n```").next()) {
            blocks += 1;
            let included = block.trim().strip_prefix("{{#include ").and_then(|rest| rest.strip_suffix("}}"));
            let file = included.map(|path| std::fs::read_to_string(page.with_file_name(path)).unwrap());
            let block = file.as_deref().unwrap_or(block);
            read(block).unwrap_or_else(|wrong| panic!("{}:\n{block}\n\n{wrong}", page.display()));
        }
    }
    assert!(blocks > 10, "{blocks} blocks");
}

#[test]
fn a_mistake_in_a_block_is_found() {
    for wrong in [
        "[policy.retry]\nretries = 1",
        "[policies.a.breaker]\ntrip = 0",
        "[upstreams.a]\nurl = 'nowhere'",
        "[hedge]\ndelay = 'soon'",
        "[queue]\nqueue_capacity = 0",
        "[cache]\nfresh = '1s'",
        "[something]",
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

fn collect(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
}

fn read(block: &str) -> Result<(), String> {
    let file: toml::Table = block.parse().map_err(|wrong: toml::de::Error| wrong.to_string())?;
    if file.contains_key("policies") {
        return told(Settings::parse_with(block, &Environment::none()).map(drop));
    }
    if file.contains_key("upstreams") || file.contains_key("gateway") {
        return told(stormproof_gateway::Config::parse(block).map(drop));
    }
    let whole = file.clone();
    file.into_iter().try_for_each(|(name, value)| match name.as_str() {
        "policy" => policy(value),
        "cache" => alone(value, cache::Config::validate),
        "checks" => alone(value, health::Checks::validate),
        "degradation" => alone(value, degrade::Config::validate),
        "health" => alone(value, health::Config::validate),
        "loop_guard" => alone(value, loop_guard::Config::validate),
        "queue" => alone(value, queue::Config::validate),
        // A line of Cargo.toml.
        "stormproof" => Ok(()),
        // A policy's own keys, at the top as the simulator reads them.
        _ => policy(toml::Value::Table(whole.clone())),
    })
}

fn policy(value: toml::Value) -> Result<(), String> {
    type Policies = BTreeMap<String, config::Config>;
    let text = toml::to_string(&BTreeMap::from([("policy", value)])).map_err(|wrong| wrong.to_string())?;
    let validate = |policies: &Policies| policies.values().flat_map(config::Config::validate).collect();
    told(Reader::new().policies("*").read(&text, validate).map(drop))
}

fn alone<T: DeserializeOwned>(value: toml::Value, validate: impl Fn(&T) -> Vec<Invalid>) -> Result<(), String> {
    let config: T = value.try_into().map_err(|wrong: toml::de::Error| wrong.to_string())?;
    let wrong = validate(&config);
    if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?}")) }
}

fn told(found: Result<(), Vec<Mistake>>) -> Result<(), String> {
    found.map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}
