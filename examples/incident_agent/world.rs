//! The world the agent works in: a process of its own, so that it goes on when the agent is killed.
//!
//! Each service listens on a port of its own and misbehaves in its own way; what really happened is in one log, for
//! whoever wants to compare. The process ends when its standard input does.

mod director;
mod log;
mod metrics;
mod model;
mod pager;
mod platform;
mod shop;
mod state;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::AsyncReadExt;

use crate::addresses::Addresses;
use director::Plan;
pub(crate) use log::Log;
use state::World;
use wire::{Answer, Call, listen};

/// What the world does to the agent.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Args {
    /// So many faults; 0 until told that it is enough
    #[arg(long, default_value_t = 6)]
    faults: u32,
    /// So many of them at once
    #[arg(long, default_value_t = 2)]
    at_once: usize,
    /// At least so many milliseconds between two
    #[arg(long, default_value_t = 2_500)]
    gap: u64,
    /// Determines the faults and the services' moods
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Say nothing
    #[arg(long)]
    quiet: bool,
}

/// Serves until the standard input ends; where, is in a file in `dir`.
pub(crate) async fn run(dir: &Path, args: Args) -> io::Result<()> {
    let world = Arc::new(World::new(args.seed, args.quiet));
    start(&world).await?.write(dir)?;
    let plan = Plan { faults: args.faults, at_once: args.at_once, gap: args.gap };
    tokio::spawn(director::direct(world, plan));
    tokio::io::stdin().read_to_end(&mut Vec::new()).await.map(|_| ())
}

/// Starts all services.
async fn start(world: &Arc<World>) -> io::Result<Addresses> {
    macro_rules! service {
        ($answer:path) => {{
            let world = world.clone();
            listen(move |call| {
                let world = world.clone();
                async move { $answer(&world, call).await }
            })
            .await?
        }};
    }
    Ok(Addresses {
        shop: service!(shop::answer),
        metrics: service!(metrics::answer),
        platform: service!(platform::answer),
        pager: service!(pager::answer),
        model: service!(model::answer),
        control: service!(control),
    })
}

/// What is outside of the story: for tests and for whoever started the world.
async fn control(world: &Arc<World>, call: Call) -> Answer {
    match (call.method.as_str(), call.path.as_str()) {
        ("GET", "/log") => Answer::json(&world.state().log),
        ("GET", "/day") => Answer::json(&serde_json::json!({ "over": world.state().is_over() })),
        ("POST", "/enough") => {
            world.state().enough = true;
            Answer::json(&true)
        }
        _ => Answer::status(404),
    }
}
