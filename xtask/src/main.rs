//! The chores of the workspace, as `cargo xtask <chore>`.
//!
//! A chore is a list of [steps](step::Step), written as data in the file that carries its name; `step` alone knows how
//! to run one.

mod api;
mod chaos;
#[cfg(test)]
mod circles;
mod deep;
mod docs;
mod features;
#[cfg(test)]
mod growth;
mod journal;
mod postgres;
#[cfg(test)]
mod seeds;
mod step;
mod test;

use std::{env, process::ExitCode};

use step::Step;

const USAGE: &str = "\
usage: cargo xtask <chore>

  test            all that must hold before a merge: format, lints, tests, documentation,
                  each feature alone, quick loom, the core's dependencies, licenses
  deep            the slow searches: deeper loom, Miri, many cases for each property
  generate        write the tables of defaults and the pictures in the book
  bench [ARGS]    compare with peers, side by side; writes target/bench.json
  chaos [ARGS]    kill, stop and restart processes on one journal, and see that it keeps its promises;
                  --engine sqlite|postgres|both, --runs N, --minutes M, --seed S
  bench journal   the journal beside its peers in Python and the disk alone; --quick for
                  a minute; writes target/bench-journal.json
  docs [--open]   the book and the reference as a site, in target/book
  api [--write]   compare the libraries' public items with docs/api, or write them there
";

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let chore = args.next();
    let rest: Vec<String> = args.collect();

    let result = match (chore.as_deref(), rest.as_slice()) {
        (None | Some("help" | "--help" | "-h"), _) => {
            print!("{USAGE}");
            Ok(())
        }
        (Some("test"), []) => test::steps().and_then(postgres::run_all),
        (Some("deep"), []) => postgres::run_all(deep::steps()),
        (Some("generate"), []) => step::run_all(generate()),
        (Some("chaos"), _) => chaos::run(rest),
        (Some("bench"), [subject, args @ ..]) if subject == "journal" => journal::run(args),
        (Some("bench"), _) => step::run_all(vec![bench(rest)]),
        (Some("docs"), [] | [_]) => flag(&rest, "--open").and_then(docs::run),
        (Some("api"), [] | [_]) => flag(&rest, "--write").and_then(api::run),
        (Some("test" | "deep" | "generate"), [extra, ..]) | (Some("docs" | "api"), [_, extra, ..]) => {
            Err(format!("unexpected argument `{extra}`\n\n{USAGE}"))
        }
        (Some(unknown), _) => Err(format!("no chore is called `{unknown}`\n\n{USAGE}")),
    };

    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the only flag there may be is there.
fn flag(args: &[String], known: &str) -> Result<bool, String> {
    match args {
        [] => Ok(false),
        [one] if one == known => Ok(true),
        _ => Err(format!("unexpected argument `{}`\n\n{USAGE}", args.join(" "))),
    }
}

fn bench(args: Vec<String>) -> Step {
    Step::new("bench", "cargo run --release --manifest-path bench/Cargo.toml --").args(args)
}

/// The tests that compare tables and pictures write them. The demo's picture is of one run and is compared with nothing.
fn generate() -> Vec<Step> {
    const WRITE: &[(&str, &str)] = &[("STORMPROOF_WRITE_PAGES", "1")];
    let demo = "cargo run --release --no-default-features --locked -- demo --once --chart docs/src/pictures/demo.svg";
    vec![
        Step::new("tables of defaults", "cargo test -p stormproof-gateway --all-features --locked --test pages")
            .env(WRITE),
        Step::new("pictures", "cargo test -p stormproof-sim --locked --test pictures").env(WRITE),
        Step::new("picture of the demo", demo),
    ]
}
