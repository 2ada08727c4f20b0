//! A day in half a minute: the world in one process, the agent in another, which is killed now and then.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use stormproof::EventBus;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::addresses::Addresses;
use crate::services::Services;
use crate::world::Log;

/// How the day goes.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Args {
    /// So many faults
    #[arg(long, default_value_t = 10)]
    faults: u32,
    /// So often the agent is killed
    #[arg(long, default_value_t = 7)]
    kills: u32,
    /// Determines the faults and the kills
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// A kill comes so long after the start of the agent, and up to three times that.
const LIFE: Duration = Duration::from_millis(1_500);

/// The story takes no longer.
const LONGEST: Duration = Duration::from_secs(90);

pub(crate) async fn tell(args: &Args) -> crate::Result<()> {
    let dir = std::env::temp_dir().join(format!("incident-agent-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let told = tokio::time::timeout(LONGEST, tell_in(&dir, args)).await;
    std::fs::remove_dir_all(&dir)?;
    told.map_err(|_| "the day did not end")?
}

async fn tell_in(dir: &Path, args: &Args) -> crate::Result<()> {
    let Args { faults, kills, seed } = args;
    println!("Four components, {faults} faults to come; the agent is killed {kills} times (seed {seed}).\n");
    let stage = Stage { dir: dir.into(), began: Instant::now() };
    let of_world = ["--faults", &faults.to_string(), "--seed", &seed.to_string()].map(str::to_owned);
    let mut world = stage.enter("world", &of_world)?;
    let at = loop {
        if let Ok(addresses) = Addresses::read(dir) {
            break addresses;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    stage.live(args).await?;
    let log = Services::new(at, &EventBus::new())?.log().await?;
    println!("\n{}", table(&log));
    world.kill().await?;
    Ok(())
}

/// Where the processes play.
struct Stage {
    dir: PathBuf,
    began: Instant,
}

impl Stage {
    /// The agent, from process to process.
    async fn live(&self, args: &Args) -> crate::Result<()> {
        let chance = stormproof_core::Rng::new(args.seed);
        for kill in 1..=args.kills {
            let mut agent = self.enter("agent", &[])?;
            tokio::select! {
                ended = agent.wait() => return finished(ended?),
                () = tokio::time::sleep(LIFE.mul_f64(1.0 + 2.0 * chance.unit())) => agent.kill().await?,
            }
            println!("         kill -9, number {kill}");
        }
        finished(self.enter("agent", &[])?.wait().await?)
    }

    /// Another process of this program. What it says is told with the time.
    fn enter(&self, part: &str, args: &[String]) -> crate::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(part).arg("--dir").arg(&self.dir).args(args);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let began = self.began;
        if let Some(stdout) = process.stdout.take() {
            let mut lines = BufReader::new(stdout).lines();
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    println!("{:5.1} s  {line}", began.elapsed().as_secs_f64());
                }
            });
        }
        Ok(process)
    }
}

fn finished(status: std::process::ExitStatus) -> crate::Result<()> {
    if status.success() { Ok(()) } else { Err(format!("the agent ended with {status}").into()) }
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
