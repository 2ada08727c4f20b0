//! Steps a second of the journal, beside the machine's floor and its peers, all at the same durability.
//!
//! `cargo xtask bench journal` runs this with an interpreter that has the peers. The disk's speed drifts, so the floor is
//! taken before and after each contender's turn, contenders take turns for some rounds, and what is compared are ratios
//! of neighbours. [`floor`] is the disk alone, [`sqlite`] what SQLite makes of it,
//! [`ours`] the journal, [`peers`] theirs; [`turns`] lets them take turns and [`report`] writes it down.

mod floor;
mod ours;
mod peers;
mod report;
mod sqlite;
mod turns;

use std::path::{Path, PathBuf};

use turns::{Effort, Place};

fn main() {
    if let Err(error) = run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run(args: &[String]) -> Result<(), String> {
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    if let Some(url) = value(ours::CRASH) {
        return ours::crash(url);
    }
    let effort = if args.iter().any(|arg| arg == "--quick") { Effort::QUICK } else { Effort::FULL };
    let only = value("--only");
    let root = root();
    let place = Place::new(&root.join("target/bench-journal"))?;

    let mut contenders = ours::contenders(effort);
    contenders.push(sqlite::contender(effort));
    if let Some(python) = value("--python") {
        contenders.extend(peers::contenders(Path::new(python), &root.join("bench/journal"), effort));
    }
    contenders.retain(|contender| only.is_none_or(|text| contender.label().contains(text.as_str())));
    let table = turns::run(&mut contenders, &place, effort)?;

    print!("{}", report::text(&table));
    if only.is_none() {
        report::write(&table, &root.join("target/bench-journal.json")).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The root of the repository.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}
