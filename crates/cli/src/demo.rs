//! `stormproof demo`: an upstream that goes wrong on a script, the gateway in front of it, and the same load once
//! straight and once through the gateway. No key and no network is needed: everything is on loopback.

mod chart;
mod load;
mod report;
mod script;
mod tell;
mod upstream;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use hyper::Uri;
use stormproof_gateway::{Config, Ended, Server, signals};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::FAILED;
use load::Call;
use report::Side;
use script::{Behaviour, SCRIPT};
use tell::Teller;
use upstream::Upstream;

/// See the gateway at work on an upstream that fails, stalls, dies, throttles and returns (44 s)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// End after the closing table instead of serving on
    #[arg(long)]
    once: bool,
    /// The same faults and arrivals for the same number
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = crate::values::whole::<u64>)]
    seed: u64,
    /// Draw the course of both loads into this file
    #[arg(long, value_name = "FILE.svg")]
    chart: Option<PathBuf>,
}

/// Behave as the demo's upstream does; the demo starts this by itself
#[derive(Debug, clap::Args)]
pub(crate) struct UpstreamArgs {
    /// The port to listen on; 0 for any
    #[arg(long)]
    port: u16,
    /// Determines which calls are unlucky
    #[arg(long)]
    seed: u64,
}

/// The gateway's configuration, but for the upstream's port.
const CONFIG: &str = include_str!("demo/demo.toml");

pub(crate) fn run(args: &Args) -> ExitCode {
    match crate::block_on(show(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("stormproof: {message}");
            ExitCode::from(FAILED)
        }
    }
}

pub(crate) fn run_upstream(args: &UpstreamArgs) -> ExitCode {
    let served = crate::block_on(async {
        upstream::serve(args.port, args.seed).await.map_err(|error| format!("the demo's upstream: {error}"))
    });
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

async fn show(args: &Args) -> Result<(), String> {
    let broken = |error: io::Error| format!("the demo's upstream: {error}");
    let mut straight = Upstream::start(args.seed).await.map_err(broken)?;
    let mut behind = Upstream::start(args.seed).await.map_err(broken)?;
    let server = gateway(behind.port()).await?;
    let (address, admin) = (server.address(), server.admin_address());
    let teller = Teller::new(&server);
    let (drain, abort) = signals().map_err(|error| format!("cannot listen to signals: {error}"))?;
    let mut serving = tokio::spawn(server.serve(drain, abort));
    println!("The same load, straight to an upstream and to one behind the gateway (seed {}).", args.seed);
    println!("  gateway http://{address}/  metrics http://{admin}/metrics  events http://{admin}/api/events\n");

    let lasts = SCRIPT.iter().map(|phase| phase.lasts).sum();
    let without = tokio::spawn(load::run(uri(straight.port())?, load::arrivals(args.seed, lasts)));
    let with = tokio::spawn(load::run(uri(address.port())?, load::arrivals(args.seed, lasts)));
    let in_outage = tokio::select! {
        played = play(&mut straight, &mut behind, &teller) => played.map_err(broken)?,
        _ = &mut serving => return Err("interrupted".into()),
    };
    let (without, with) = (finished(without).await?, finished(with).await?);
    let without = Side { calls: without, received: straight.received(), received_in_outage: in_outage.0 };
    let with = Side { calls: with, received: behind.received(), received_in_outage: in_outage.1 };
    println!("\n{}", report::table(&without, &with));
    if let Some(path) = &args.chart {
        let written = std::fs::write(path, chart::svg(&without, &with));
        written.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }

    if !teller.went_through_all_states() {
        return Err("the circuit did not go through closed, open, half-open and closed".into());
    }
    if !args.once {
        println!("The gateway and its upstream go on; Ctrl-C ends them.");
        let _ended: Result<Ended, _> = serving.await;
    }
    Ok(())
}

async fn gateway(upstream: u16) -> Result<Server, String> {
    let text = CONFIG.replace("PORT", &upstream.to_string());
    let config = Config::parse(&text).map_err(|mistakes| format!("the demo's configuration: {mistakes:?}"))?;
    Server::bind(config, None).await.map_err(|error| error.to_string())
}

fn uri(port: u16) -> Result<Uri, String> {
    format!("http://127.0.0.1:{port}/").parse().map_err(|error| format!("{error}"))
}

async fn finished(load: JoinHandle<Vec<Call>>) -> Result<Vec<Call>, String> {
    load.await.map_err(|error| error.to_string())
}

/// Plays the script on both upstreams alike. Returns how many calls each received while it had no chance to answer.
async fn play(straight: &mut Upstream, behind: &mut Upstream, teller: &Teller) -> io::Result<(u64, u64)> {
    let mut in_outage = (0, 0);
    let mut until = Instant::now();
    for phase in SCRIPT {
        let before = (straight.received(), behind.received());
        teller.say(phase.says);
        straight.behave(phase.behaviour).await?;
        behind.behave(phase.behaviour).await?;
        until += phase.lasts;
        tokio::time::sleep_until(until).await;
        if phase.behaviour == Behaviour::Stalls {
            in_outage.0 += straight.received() - before.0;
            in_outage.1 += behind.received() - before.1;
        }
    }
    // What is still under way may end.
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(in_outage)
}

/// A number in `[0, 1)` that `seed` and `number` determine.
fn unit(seed: u64, number: u64) -> f64 {
    stormproof_core::Rng::new(seed.wrapping_add(number.wrapping_mul(0xd134_2543_de82_ef95))).unit()
}
