//! `cargo xtask docs`: the book and the reference, as one site.

use std::{fs, io, path::Path};

use crate::step::{self, Step, Tool};

const MDBOOK: Tool = Tool {
    probe: "mdbook --version",
    install: "cargo install mdbook --version ^0.5 --locked --debug --no-default-features --features search --config profile.dev.debug=0",
};

/// Builds the site into `target/book` and says where it is; with `open`, shows it in a browser.
pub(crate) fn run(open: bool) -> Result<(), String> {
    step::run_all(vec![
        Step::new("book", "mdbook build docs").needs(&MDBOOK),
        Step::new("reference", "cargo doc --workspace --no-deps --all-features --locked --target-dir target"),
    ])?;
    let target = step::root()?.join("target");
    copy(&target.join("doc"), &target.join("book/reference"))
        .map_err(|error| format!("copying the reference: {error}"))?;
    let first = target.join("book/index.html");
    println!("{}", first.display());
    if open {
        step::run_all(vec![Step::new("open", "mdbook build docs --open")])?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() { copy(&entry.path(), &to)? } else { fs::copy(entry.path(), to).map(drop)? }
    }
    Ok(())
}
