//! `stormproof journal` of a program that was built without it: says so.

use std::process::ExitCode;

use crate::UNUSABLE;

/// Not in this program: it was built without the feature `journal`
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn run(_: &Args) -> ExitCode {
    eprintln!(
        "stormproof: this program was built without the journal: build it with the feature `journal`, which is on unless \
         `--no-default-features` is given"
    );
    ExitCode::from(UNUSABLE)
}
