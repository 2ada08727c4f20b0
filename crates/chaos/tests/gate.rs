//! The chaos run at the size of a gate; `cargo xtask chaos` is the larger one.
#![cfg(unix)]
#![cfg(test)]

use std::{path::PathBuf, time::Duration};

use stormproof_chaos::{
    conductor::{Report, conduct},
    options::Options,
    tables::Engine,
};

fn options(engine: Engine) -> Options {
    let seed = std::env::var("STORMPROOF_CHAOS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let program = PathBuf::from(env!("CARGO_BIN_EXE_stormproof-chaos"));
    // On a quick machine the runs are over before there was much chaos: then there are more.
    Options { runs: 120, least: Duration::from_secs(6), ..Options::new(program, engine, seed) }
}

fn run(options: &Options) -> Report {
    let report = conduct(options).unwrap_or_else(|error| panic!("seed {}: {error}", options.seed));
    println!("{report}");
    assert!(report.verdict.wrong.is_empty(), "STORMPROOF_CHAOS_SEED={}\n{report}", options.seed);
    assert!(report.runs >= options.runs);
    report
}

#[test]
fn three_processes_on_one_file_keep_every_promise() {
    let report = run(&options(Engine::Sqlite));

    assert!(report.kills > 5 && report.stops > 5 && report.claims > 20, "there was not much chaos: {report}");
}

#[test]
fn three_processes_on_one_server_keep_every_promise() {
    let report = run(&Options { runs: 80, ..options(Engine::Postgres) });

    assert!(report.kills > 5 && report.stops > 5 && report.claims > 20, "there was not much chaos: {report}");
    assert!(report.cuts + report.restarts > 1, "the server was left alone: {report}");
}
