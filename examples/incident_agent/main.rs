//! An agent that detects incidents, finds their cause, acts, and verifies that it helped; and that can be killed at any
//! moment without doing anything twice or forgetting an incident.
//!
//! Run it with `cargo run -p stormproof-examples --bin incident_agent`. What to watch is in the `README.md` beside this
//! file.

mod act;
mod addresses;
mod agent;
mod detect;
mod diagnose;
mod incident;
mod people;
mod services;
mod story;
mod tell;
mod verify;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// What goes wrong here ends the process: the message is all that is left to do.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Debug, Parser)]
#[command(about = "An incident agent that survives being killed, and the world it works in")]
#[command(args_conflicts_with_subcommands = true)]
struct Program {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    story: story::Args,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// The services, until the standard input ends
    World {
        /// Where the services' addresses are written
        #[arg(long)]
        dir: PathBuf,
        #[command(flatten)]
        args: world::Args,
    },
    /// The agent, until the world's day is over
    Agent {
        /// Where the services' addresses are, and the journal
        #[arg(long)]
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Program::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("incident_agent: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(program: Program) -> Result<()> {
    match program.part {
        None => story::tell(&program.story).await,
        Some(Part::World { dir, args }) => Ok(world::run(&dir, args).await?),
        Some(Part::Agent { dir }) => agent::run(&dir).await,
    }
}
