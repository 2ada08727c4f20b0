//! `stormproof check FILE`: names every mistake in a configuration file.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::Unloaded;

/// Check a configuration file and name each mistake with its line and column
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration file
    file: PathBuf,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match crate::load(&args.file) {
        Ok(config) => {
            let count = config.upstreams.len();
            println!("{}: ok ({count} upstream{})", args.file.display(), if count == 1 { "" } else { "s" });
            ExitCode::SUCCESS
        }
        Err(wrong @ Unloaded::Unreadable(_)) => {
            eprintln!("{wrong}");
            wrong.code()
        }
        Err(wrong) => {
            println!("{wrong}");
            wrong.code()
        }
    }
}
