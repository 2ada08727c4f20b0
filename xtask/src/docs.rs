//! `cargo xtask docs`: the book and the reference, as one site.

use std::{fs, io, path::Path};

use crate::step::{self, Step, Tool};

const MDBOOK: Tool = Tool {
    probe: "mdbook --version",
    install: "cargo install mdbook --version ^0.5 --root target/tools --locked --debug --no-default-features --features search --config profile.dev.debug=0",
};

/// Builds the site into `target/book` and says where it is; with `open`, shows it in a browser.
pub(crate) fn run(open: bool) -> Result<(), String> {
    // The book comes last, as it empties its folder before it is written.
    let book = if open { "mdbook build docs --open" } else { "mdbook build docs" };
    step::run_all(vec![
        Step::new("reference", "cargo doc --workspace --no-deps --all-features --locked --target-dir target"),
        Step::new("book", book).needs(&MDBOOK),
    ])?;
    let target = step::root()?.join("target");
    copy(&target.join("doc"), &target.join("book/reference"))
        .map_err(|error| format!("copying the reference: {error}"))?;
    let first = target.join("book/index.html");
    println!("{}", first.display());
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;

    fn pages(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let nested = entries.map(|path| match path.extension() {
            _ if path.is_dir() => pages(&path),
            Some(extension) if extension == "md" => vec![path],
            _ => Vec::new(),
        });
        nested.flatten().collect()
    }

    /// The files that a page links to, and the headings in them; links into the web are left out.
    fn targets(page: &Path) -> Vec<(PathBuf, String)> {
        let text = fs::read_to_string(page).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let targets = targets.filter(|target| !target.is_empty() && !target.contains("://") && !target.contains(' '));
        let split = targets.map(|target| target.split_once('#').unwrap_or((target, "")));
        split
            .map(|(file, heading)| match file {
                "" => (page.to_owned(), heading.to_owned()),
                file => (page.parent().unwrap().join(file), heading.to_owned()),
            })
            .collect()
    }

    fn links(page: &Path) -> Vec<PathBuf> {
        targets(page).into_iter().map(|(file, _)| file).collect()
    }

    /// The names by which the headings of a page are linked to.
    fn headings(page: &Path) -> BTreeSet<String> {
        let text = fs::read_to_string(page).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix('#'));
        let titles = lines.map(|line| line.trim_start_matches('#').trim().to_lowercase());
        let kept = |letter: char| match letter {
            ' ' => Some('-'),
            letter => Some(letter).filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)),
        };
        titles.map(|title| title.chars().filter_map(kept).collect()).collect()
    }

    #[test]
    fn every_link_of_a_page_leads_to_a_file() {
        let root = step::root().unwrap();
        let mut all = pages(&root.join("docs"));
        all.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root.join(name)));
        let links = all.iter().flat_map(|page| links(page).into_iter().map(move |link| (page, link)));
        let broken: Vec<_> = links.filter(|(_, link)| !link.exists()).collect();
        assert!(broken.is_empty(), "{broken:#?}");
    }

    #[test]
    fn every_link_to_a_heading_leads_to_one() {
        let all = pages(&step::root().unwrap().join("docs"));
        let links =
            all.iter().flat_map(|page| targets(page).into_iter().map(move |(file, heading)| (page, file, heading)));
        let broken: Vec<_> = links
            .filter(|(_, file, heading)| !heading.is_empty() && file.exists() && !headings(file).contains(heading))
            .collect();
        assert!(broken.is_empty(), "{broken:#?}");
    }

    #[test]
    fn every_page_with_rust_is_compiled() {
        let root = step::root().unwrap();
        let crate_roots = ["stormproof", "http", "journal"]
            .map(|name| fs::read_to_string(root.join(format!("crates/{name}/src/lib.rs"))).unwrap())
            .concat();
        let with_rust = pages(&root.join("docs/src")).into_iter().filter(|page| {
            let text = fs::read_to_string(page).unwrap();
            let of_an_example = |line: &str| line.starts_with("{{#include");
            text.lines()
                .zip(text.lines().skip(1))
                .any(|(line, next)| line.starts_with("```rust") && !of_an_example(next))
        });
        let names = with_rust.map(|page| page.strip_prefix(&root).unwrap().display().to_string());
        let missing: Vec<_> = names.filter(|name| !crate_roots.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "in the `mod pages` of no crate: {missing:#?}");
    }

    #[test]
    fn what_a_page_includes_is_there() {
        for page in pages(&step::root().unwrap().join("docs/src")) {
            let text = fs::read_to_string(&page).unwrap();
            for include in text.lines().filter_map(|line| line.strip_prefix("{{#include ")?.strip_suffix("}}")) {
                let (file, anchor) = include.split_once(':').unwrap_or((include, ""));
                let file = fs::read_to_string(page.with_file_name(file)).unwrap();
                let marks = ["ANCHOR", "ANCHOR_END"].map(|mark| format!("{mark}: {anchor}\n"));
                assert!(
                    anchor.is_empty() || marks.iter().all(|mark| file.contains(mark)),
                    "{}: {include}",
                    page.display()
                );
            }
        }
    }

    #[test]
    fn pages_of_patterns_have_the_same_parts() {
        const PARTS: [&str; 6] = [
            "## About",
            "## Usage",
            "## Settings",
            "## Events and metrics",
            "## When to use it, and when not",
            "## Mistakes people make",
        ];
        for page in pages(&step::root().unwrap().join("docs/src/patterns")) {
            let text = fs::read_to_string(&page).unwrap();
            let parts: Vec<_> = text.lines().filter(|line| line.starts_with("## ")).collect();
            assert_eq!(parts, PARTS, "{}", page.display());
            assert!(text.contains("<!-- defaults:"), "{}", page.display());
        }
    }

    /// Width of the book's column, in characters of code.
    const COLUMN: usize = 100;

    #[test]
    fn code_fits_into_its_column() {
        let mut wide = Vec::new();
        for page in pages(&step::root().unwrap().join("docs/src")) {
            let mut block = None;
            for (number, line) in fs::read_to_string(&page).unwrap().lines().enumerate() {
                match (line.trim_start().strip_prefix("```"), block.is_some()) {
                    (Some(language), false) => block = Some(language == "text"),
                    (Some(_), true) => block = None,
                    (None, _) => {}
                }
                // What a program prints is as it is; what is hidden takes no room.
                let shown = block == Some(false) && !line.trim_start().starts_with("# ");
                if shown && line.chars().count() > COLUMN {
                    wide.push(format!("{}:{}: {line}", page.display(), number + 1));
                }
            }
        }
        assert!(wide.is_empty(), "{wide:#?}");
    }

    #[test]
    fn every_page_is_in_the_summary() {
        let book = step::root().unwrap().join("docs/src");
        let summary = book.join("SUMMARY.md");
        let listed: BTreeSet<_> = links(&summary).into_iter().collect();
        let missing: Vec<_> =
            pages(&book).into_iter().filter(|page| *page != summary && !listed.contains(page)).collect();
        assert!(missing.is_empty(), "{missing:#?}");
    }
}
