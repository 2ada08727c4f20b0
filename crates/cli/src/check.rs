//! `stormproof check FILE`: names every mistake in a configuration file, or says what it means in numbers.

use std::path::PathBuf;
use std::process::ExitCode;

use stormproof::config;

use crate::{Unloaded, policies};

/// Check a configuration file: name each mistake with its line and column, or explain each policy in numbers
///
/// A file with tables [upstreams.NAME] is one of the gateway, one with [policies.NAME] of the library; any other holds one
/// policy.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration file
    file: PathBuf,
    /// Say only whether the file is valid
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match policies::read(&args.file) {
        Ok((kind, policies)) => {
            let mut text = format!("{}: ok ({})\n", args.file.display(), kind.count(policies.len()));
            if !args.quiet {
                text.extend(policies.iter().map(explain));
            }
            crate::print(&text);
            ExitCode::SUCCESS
        }
        Err(wrong @ Unloaded::Unreadable(_)) => {
            eprintln!("{wrong}");
            wrong.code()
        }
        Err(wrong) => {
            crate::print(&format!("{wrong}\n"));
            wrong.code()
        }
    }
}

fn explain((name, policy): &(String, config::Config)) -> String {
    let explained = policy.explain().to_string();
    let lines = explained.lines().map(|line| format!("  {line}\n"));
    format!("\n{name}\n{}", lines.collect::<String>())
}
