//! What may grow without breaking its users: `#[non_exhaustive]` where it belongs, see `docs/decisions` and CONTRIBUTING.

use std::{
    fs,
    path::{Path, PathBuf},
};

use syn::{Attribute, Fields, Item, Visibility};

/// Crates that keep the rule.
const CRATES: [&str; 1] = ["crates/core/src"];

/// Structs that users fill in, with `..Default::default()` or from a constructor, beside every `Config`. One that is
/// non-exhaustive could not be built so in another crate.
const FILLED_IN: [&str; 10] = [
    "backoff.rs: Backoff",
    "caller.rs: Caller",
    "degrade/level.rs: Parts",
    "health.rs: Checks",
    "loop_guard.rs: Turn",
    "loop_guard/config.rs: Poll",
    "loop_guard/config.rs: Tool",
    "outcome.rs: Verdict",
    "timeout.rs: Timeouts",
    "window.rs: Tally",
];

/// Enums of which there will be no other variant, and the ones by which core and door ask and answer each other: a door
/// that does not know a step cannot go on, so the compiler shall say so.
const CLOSED: [&str; 13] = [
    "breaker/saved.rs: Loss",
    "breaker/transition.rs: State",
    "cache.rs: Decision",
    "call.rs: End",
    "call.rs: Input",
    "call.rs: Step",
    "caller.rs: Priority",
    "decision.rs: Admission",
    "decision.rs: Progress",
    "degrade/level.rs: Level",
    "flight.rs: Place",
    "outcome.rs: Outcome",
    "retry.rs: Decision",
];

fn mistakes(root: &Path) -> Vec<String> {
    let (mut found, mut asked) = (Vec::new(), Vec::new());
    for (folder, file) in
        CRATES.iter().flat_map(|folder| files(&root.join(folder)).into_iter().map(move |file| (folder, file)))
    {
        let parsed = fs::read_to_string(&file).map_err(drop).and_then(|text| syn::parse_file(&text).map_err(drop));
        let within = file.strip_prefix(root.join(folder)).unwrap_or(&file).display().to_string();
        for item in parsed.into_iter().flat_map(|parsed| parsed.items) {
            let (name, attributes, exceptions) = match &item {
                Item::Enum(item) if public(&item.vis) => (&item.ident, &item.attrs, &CLOSED[..]),
                Item::Struct(item) if public(&item.vis) && all_public(&item.fields) => {
                    (&item.ident, &item.attrs, &FILLED_IN[..])
                }
                _ => continue,
            };
            let place = format!("{within}: {name}");
            let must = name != "Config" && !exceptions.contains(&place.as_str());
            if grows(attributes) != must {
                found.push(format!("{place} {} `#[non_exhaustive]`", if must { "is not" } else { "shall not be" }));
            }
            asked.push(place);
        }
    }
    let gone = CLOSED.iter().chain(&FILLED_IN).filter(|place| !asked.iter().any(|asked| asked == *place));
    found.extend(gone.map(|place| format!("{place} is no longer there")));
    found
}

fn public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn grows(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("non_exhaustive"))
}

/// Whether others could build it: a private field keeps them from that as well.
fn all_public(fields: &Fields) -> bool {
    matches!(fields, Fields::Named(named) if named.named.iter().all(|field| public(&field.vis)) && !named.named.is_empty())
}

/// Source files, without tests.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_tests = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() && !is_tests {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_tests {
            found.push(path);
        }
    }
    found
}

#[test]
fn what_may_grow_is_non_exhaustive_and_what_is_filled_in_is_not() {
    let mistakes = mistakes(&crate::step::root().unwrap());
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}
