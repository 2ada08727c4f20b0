//! `cargo xtask api`: what the libraries offer, as text that a review can read.
//!
//! `docs/api/<crate>.txt` lists every public item with its signature. A change to it is a change that users see.

use std::{fs, path::PathBuf};

use crate::step;

const CRATES: &[&str] = &["stormproof-core", "stormproof", "stormproof-http", "stormproof-journal"];

/// Compares the lists with the code; with `write`, writes them anew.
pub(crate) fn run(write: bool) -> Result<(), String> {
    let folder = step::root()?.join("docs/api");
    let mut stale = Vec::new();
    for name in CRATES {
        let Some(now) = describe(name)? else { return Ok(()) };
        let file = folder.join(format!("{name}.txt"));
        if fs::read_to_string(&file).is_ok_and(|before| before == now) {
            continue;
        }
        if write {
            fs::create_dir_all(&folder)
                .and_then(|()| fs::write(&file, now))
                .map_err(|error| format!("{}: {error}", file.display()))?;
        }
        stale.push(file.display().to_string());
    }
    match (stale.as_slice(), write) {
        ([], _) => Ok(()),
        (written, true) => {
            println!("    written: {}", written.join(", "));
            Ok(())
        }
        (stale, false) => Err(format!(
            "{} differ from the code. If users shall see that: `cargo xtask api --write`, and say it in CHANGELOG.md",
            stale.join(", ")
        )),
    }
}

/// The public items of a crate; nothing if this toolchain writes them in a form that is not understood here.
fn describe(name: &str) -> Result<Option<String>, String> {
    // Rustdoc's JSON is unstable in its form, not in its content.
    step::output_with(
        &format!(
            "cargo rustdoc -p {name} --lib --all-features --locked --quiet -- -Z unstable-options --output-format json"
        ),
        &[("RUSTC_BOOTSTRAP", "1")],
    )?;
    let json = documented(name)?;
    let items = public_api::Builder::from_rustdoc_json(&json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build();
    match items {
        Ok(items) => Ok(Some(items.to_string())),
        Err(error) => {
            println!("    left out, as this toolchain's rustdoc is not the one expected: {error}");
            Ok(None)
        }
    }
}

fn documented(name: &str) -> Result<PathBuf, String> {
    let text = step::output("cargo metadata --no-deps --format-version 1 --locked")?;
    let metadata: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
    let target = metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
    Ok(PathBuf::from(target).join("doc").join(name.replace('-', "_")).with_extension("json"))
}
