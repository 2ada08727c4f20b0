//! Seeds of properties that once failed: each committed file of them must lie where proptest looks for it, or it is never
//! replayed, and nobody is told.
//!
//! Proptest writes the file there by itself. It stays behind when its property moves to another file.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// What is wrong with the seeds below `root`: files that are never read, and files that several sources share.
fn mistakes(root: &Path) -> Vec<String> {
    let mut sources = Vec::new();
    let mut seeds = Vec::new();
    for file in files(&root.join("crates")) {
        let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let is_source = file.extension().is_some_and(|extension| extension == "rs");
        if is_source && text(&file).contains("proptest! {") {
            sources.push(file);
        } else if !is_source && text(&file).lines().any(|line| line.starts_with("cc ")) {
            seeds.push(file);
        }
    }
    let mut read: BTreeMap<PathBuf, Vec<&PathBuf>> = BTreeMap::new();
    for source in &sources {
        read.entry(place(source)).or_default().push(source);
    }
    let stray = seeds.iter().filter(|file| !read.contains_key(*file));
    let stray = stray.map(|file| format!("{}: no property reads these seeds", file.display()));
    let shared = read.iter().filter(|(_, sources)| sources.len() > 1);
    let shared =
        shared.map(|(place, sources)| format!("{} would hold the seeds of all of {sources:?}", place.display()));
    stray.chain(shared).collect()
}

/// Where proptest looks for the seeds of the properties in `source`: in the folder `proptest-regressions` beside the next
/// folder above with a `main.rs` or `lib.rs`, or beside the source if there is none.
fn place(source: &Path) -> PathBuf {
    let is_root = |folder: &&Path| folder.join("lib.rs").is_file() || folder.join("main.rs").is_file();
    let parallel = source.ancestors().skip(1).find(is_root).and_then(|folder| {
        let within = source.strip_prefix(folder).ok()?;
        Some(folder.parent()?.join("proptest-regressions").join(within).with_extension("txt"))
    });
    parallel.unwrap_or_else(|| source.with_extension("proptest-regressions"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match (path.is_dir(), path.extension().and_then(|extension| extension.to_str())) {
            (true, _) => found.extend(files(&path)),
            (false, Some("rs" | "txt" | "proptest-regressions")) => found.push(path),
            (false, _) => {}
        }
    }
    found
}

#[test]
fn committed_seeds_lie_where_proptest_looks() {
    let root = crate::step::root().unwrap();
    let mistakes = mistakes(&root);
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}
