//! The chores of the workspace, as `cargo xtask <chore>`.
//!
//! A chore is a list of [steps](step::Step), written as data in the file that carries its name; `step` alone knows how
//! to run one.

mod deep;
mod features;
mod step;
mod test;

use std::{env, process::ExitCode};

use step::Step;

const USAGE: &str = "\
usage: cargo xtask <chore>

  test            all that must hold before a merge: format, lints, tests, documentation,
                  each feature alone, quick loom, the core's dependencies, licenses
  deep            the slow searches: deeper loom, Miri, many cases for each property
  bench [ARGS]    compare with peers, side by side; writes target/bench.json
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
        (Some("test"), []) => test::steps().and_then(step::run_all),
        (Some("deep"), []) => step::run_all(deep::steps()),
        (Some("bench"), _) => step::run_all(vec![bench(rest)]),
        (Some("test" | "deep"), [extra, ..]) => Err(format!("unexpected argument `{extra}`\n\n{USAGE}")),
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

fn bench(args: Vec<String>) -> Step {
    Step::new("bench", "cargo run --release --manifest-path bench/Cargo.toml --").args(args)
}
