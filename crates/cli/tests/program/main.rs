//! The built program, as a user runs it.
#![cfg(test)]

mod check;
mod log;
mod serve;
mod signals;
mod simulate;

use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stormproof");

pub(crate) fn run(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")).output().unwrap()
}

pub(crate) fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}
