//! A day in half a minute: the world in one process, the agent in another, which is killed now and then.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;

use crate::addresses::Addresses;
use crate::services::Services;
use crate::world::Log;

/// How the day goes.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Args {
    /// So many faults
    #[arg(long, default_value_t = 6)]
    faults: u32,
    /// So often the agent is killed
    #[arg(long, default_value_t = 6)]
    kills: u32,
    /// Determines the faults and the kills
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// A kill comes so long after the start of the agent, and up to three times that.
const LIFE: Duration = Duration::from_millis(900);

/// The story takes no longer.
const LONGEST: Duration = Duration::from_secs(60);

pub(crate) async fn tell(args: &Args) -> crate::Result<()> {
    let dir = std::env::temp_dir().join(format!("incident-agent-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let told = tell_in(&dir, args).await;
    std::fs::remove_dir_all(&dir)?;
    told
}

async fn tell_in(dir: &Path, args: &Args) -> crate::Result<()> {
    println!(
        "Four components, {} faults to come; the agent is killed {} times (seed {}).\n",
        args.faults, args.kills, args.seed
    );
    let (faults, seed) = (args.faults.to_string(), args.seed.to_string());
    let mut world = process("world", dir).args(["--faults", &faults, "--seed", &seed]).stdin(Stdio::piped()).spawn()?;
    let _held = world.stdin.take();
    let at = loop {
        if let Ok(addresses) = Addresses::read(dir) {
            break addresses;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    tokio::time::timeout(LONGEST, live(dir, args)).await.map_err(|_| "the day did not end")??;
    let log = Services::new(at, &stormproof::EventBus::new())?.log().await?;
    println!("\n{}", table(&log));
    world.kill().await?;
    Ok(())
}

/// The agent, from process to process.
async fn live(dir: &Path, args: &Args) -> crate::Result<()> {
    let chance = stormproof_core::Rng::new(args.seed);
    for kill in 1..=args.kills {
        let mut agent = process("agent", dir).spawn()?;
        let until = Instant::now() + LIFE.mul_f64(1.0 + 2.0 * chance.unit());
        tokio::select! {
            ended = agent.wait() => return finished(ended?),
            () = tokio::time::sleep_until(until) => agent.kill().await?,
        }
        println!("\n        kill -9, the {kill}. time\n");
    }
    finished(process("agent", dir).spawn()?.wait().await?)
}

fn finished(status: std::process::ExitStatus) -> crate::Result<()> {
    if status.success() { Ok(()) } else { Err(format!("the agent ended with {status}").into()) }
}

/// Another process of this program.
fn process(part: &str, dir: &Path) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| "incident_agent".into());
    let mut command = Command::new(program);
    command.arg(part).arg("--dir").arg(dir).kill_on_drop(true);
    command
}

/// What happened, by the world's own log.
fn table(log: &Log) -> String {
    let mut text = format!("{:<28} {:<12} {:<16} {:<9} pages\n", "incident", "fault", "ended by", "actions");
    for fault in &log.faults {
        let id = format!("{}@{}", fault.component, fault.since);
        let kind = format!("{:?}", fault.kind);
        let by = fault.cured_by.as_deref().unwrap_or("-");
        let actions = log.actions.iter().filter(|action| action.incident == id).count();
        let pages = log.messages.iter().filter(|message| message.incident == id && message.kind.starts_with("page"));
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{id:<28} {kind:<12} {by:<16} {actions:<9} {}", pages.count());
    }
    let again: u32 = log.messages.iter().map(|message| message.received - 1).sum();
    let keys: std::collections::BTreeSet<_> = log.actions.iter().map(|action| &action.key).collect();
    let _ = writeln!(
        text,
        "\nactions done twice: {}; messages sent again and recognised: {again}",
        log.actions.len() - keys.len()
    );
    text
}
