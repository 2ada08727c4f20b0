//! The same work under other circumstances than three processes that are killed and stopped: without any fault, with one
//! process that is killed again and again, and with processes that are forked.
#![cfg(unix)]
#![cfg(test)]

use std::{path::PathBuf, process::Command, time::Duration};

use stormproof_chaos::{
    conductor::{Report, conduct},
    faults::Mix,
    options::Options,
    tables::Engine,
};

fn options(mix: Mix) -> Options {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_stormproof-chaos"));
    Options { mix, ..Options::new(program, Engine::Sqlite, 11) }
}

fn run(options: &Options) -> Report {
    let report = conduct(options).unwrap();
    println!("{report}");
    assert!(report.verdict.wrong.is_empty(), "{report}");
    report
}

#[test]
fn two_processes_share_one_file_and_do_nothing_twice() {
    // A lease that a busy machine does not lose: then nothing at all happens twice.
    let lease = Duration::from_secs(20);
    let report = run(&Options { workers: 2, slots: 32, open: 64, runs: 100, lease, ..options(Mix::QUIET) });

    let verdict = &report.verdict;
    let twice = [report.claims, verdict.repeated_notes, verdict.repeated_keys, verdict.refused, verdict.late];
    assert_eq!(twice, [0; 5], "{report}");
    assert_eq!(report.told, 100 * 20);
}

/// What was acknowledged stands after `kill -9`. That says nothing of a power cut: what a killed process has written is
/// with the system already, on the disk or not.
#[test]
fn one_process_is_killed_again_and_again_amid_sixty_four_runs() {
    let report = run(&Options {
        workers: 1,
        slots: 64,
        open: 64,
        runs: 130,
        least: Duration::from_secs(8),
        ..options(Mix::KILLS)
    });

    assert!(report.kills > 10, "{report}");
}

/// Who leaves gives back what it has, also what it was just about to claim: nothing is lost, and nobody waits for a lease.
fn leaving(engine: Engine) {
    let lease = Duration::from_secs(45);
    let small = Options { engine, lease, runs: 80, least: Duration::from_secs(4), slots: 4, ..options(Mix::LEAVES) };
    let report = run(&small);

    assert!(report.leaves > 15 && report.took < lease, "{report}");
}

#[test]
fn whoever_leaves_a_file_takes_nothing_along() {
    leaving(Engine::Sqlite);
}

#[test]
fn whoever_leaves_a_server_takes_nothing_along() {
    leaving(Engine::Postgres);
}

/// A process that is forked has a twin with the same open files and locks, for half a second here. Neither the twin's end
/// nor the original's must free what the other needs, and a lock that the twin still holds must not keep a dead process's
/// runs from being taken over.
#[test]
fn forks_in_the_middle_of_everything_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("forking.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/forking.c");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let built = Command::new(compiler).args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
    assert!(built.unwrap().success(), "the library that forks could not be built");

    let report =
        run(&Options { forking: Some(library), runs: 80, least: Duration::from_secs(4), ..options(Mix::FORKS) });

    assert!(report.forks > 10 && report.kills > 3, "{report}");
}
