//! `stormproof`, the program: one file a subcommand.

mod check;
mod demo;
#[cfg_attr(not(feature = "journal"), path = "journal/left_out.rs")]
mod journal;
mod policies;
mod schema;
mod serve;
mod simulate;
mod values;

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stormproof::document::Mistake;
use stormproof::environment::Environment;
use stormproof_gateway::Config;

/// Resilience for AI agents.
#[derive(Debug, Parser)]
#[command(name = "stormproof", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Check(check::Args),
    Schema(schema::Args),
    Demo(demo::Args),
    Journal(journal::Args),
    Simulate(simulate::Args),
    #[command(hide = true)]
    DemoUpstream(demo::UpstreamArgs),
}

/// The environment variable that holds the token of the admin API.
const TOKEN: &str = "STORMPROOF_ADMIN_TOKEN";
/// The file is not valid, or the gateway could not run.
const FAILED: u8 = 1;
/// The file could not be read, or the command line is not valid (as clap has it).
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Journal(args) => journal::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::DemoUpstream(args) => demo::run_upstream(&args),
    }
}

/// Runs `main` on a runtime of its own. What it leaves behind is not waited for.
fn block_on<T>(main: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())?;
    let result = runtime.block_on(main);
    runtime.shutdown_background();
    result
}

/// Prints to the standard output. Whoever reads it may stop: `stormproof schema | head` is no failure.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Why there is no configuration, as it is told.
#[derive(Debug)]
enum Unloaded {
    Unreadable(String),
    Invalid(String),
}

impl Unloaded {
    fn code(&self) -> ExitCode {
        match self {
            Self::Unreadable(_) => ExitCode::from(UNUSABLE),
            Self::Invalid(_) => ExitCode::from(FAILED),
        }
    }
}

impl fmt::Display for Unloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(text) | Self::Invalid(text) => f.write_str(text),
        }
    }
}

/// Reads a configuration file of the gateway. Of one that is not valid, each mistake is a line.
fn load(path: &Path) -> Result<Config, Unloaded> {
    let has_token = std::env::var_os(TOKEN).is_some();
    let text = text(path)?;
    read_with(|environment| Config::parse_with(&text, has_token, environment))
        .map_err(|mistakes| invalid(path, &mistakes))
}

/// The text of a configuration file.
fn text(path: &Path) -> Result<String, Unloaded> {
    let shown = path.display();
    let bytes = std::fs::read(path)
        .map_err(|error| Unloaded::Unreadable(format!("stormproof: cannot read {shown}: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
        Unloaded::Invalid(format!("{shown}:{line}:1: the file is not UTF-8"))
    })
}

/// Reads with what the environment says; of what is not valid there, tells a line each.
fn read_with<T>(read: impl FnOnce(&Environment) -> T) -> T {
    let environment = Environment::of_process();
    let read = read(&environment);
    for warning in environment.warnings() {
        eprintln!("stormproof: {warning}");
    }
    read
}

/// Each mistake on a line, with the file it is in.
fn invalid(path: &Path, mistakes: &[Mistake]) -> Unloaded {
    let line = |mistake: &Mistake| match mistake.variable {
        Some(_) => mistake.to_string(),
        None => format!("{}:{mistake}", path.display()),
    };
    Unloaded::Invalid(mistakes.iter().map(line).collect::<Vec<_>>().join("\n"))
}
