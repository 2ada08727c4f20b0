//! `stormproof simulate`: a policy against a server that has a bad time, in virtual time.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use stormproof::config;
use stormproof_sim::simulation::{
    Comparison, Fault, Outcome, PRESETS, Preset, ServerModel, Setup, Tenant, compare, preset, svg, table,
};

use crate::policies::{self, Kind};
use crate::{FAILED, UNUSABLE, Unloaded, values};

const EXAMPLE: &str = "\
Examples:
  stormproof simulate policy.toml --fault outage
  stormproof simulate stormproof.sample.toml --upstream openai --fault brown-out@1m+30s --report storm.svg
  stormproof simulate retry-budget --fault outage --rate 140 --json";

/// Try a policy on thousands of clients and a server that has a bad time, in seconds
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{}\n{}\n{EXAMPLE}", faults(), comparisons()))]
pub(crate) struct Args {
    /// A file with a policy, a configuration of the gateway, or the name of a built-in comparison
    policy: PathBuf,
    /// Whose policy, of a configuration with several upstreams or policies
    #[arg(long, visible_alias = "policy", value_name = "NAME")]
    upstream: Option<String>,
    /// What goes wrong: its name, or with its beginning and length, such as outage@1m+30s
    #[arg(long, value_name = "SCENARIO", default_value = "outage", value_parser = |text: &str| text.parse::<Fault>())]
    fault: Fault,
    /// So many clients, each making one call at a time [default: as many as it takes]
    #[arg(long, value_name = "N", value_parser = values::whole::<u32>)]
    clients: Option<u32>,
    /// Calls a second, by all clients together
    #[arg(long, value_name = "R", default_value_t = Setup::default().rate, value_parser = values::number)]
    rate: f64,
    /// This share of the clients calls again ten times as soon as the others
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = values::number)]
    eager: f64,
    /// How long clients call
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = values::duration)]
    duration: Duration,
    /// How long a client waits before it gives up
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = values::duration)]
    patience: Duration,
    /// What all chance comes from: the same seed, the same run
    #[arg(long, value_name = "N", default_value_t = Setup::default().seed, value_parser = values::whole::<u64>)]
    seed: u64,
    /// Calls that the server works on at a time
    #[arg(long, value_name = "N", default_value_t = ServerModel::default().workers, value_parser = values::whole::<u32>)]
    workers: u32,
    /// Calls that may wait at the server
    #[arg(long, value_name = "N", default_value_t = ServerModel::default().queue, value_parser = values::whole::<usize>)]
    queue: usize,
    /// What a call takes at the server, on the average
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = values::duration)]
    service: Duration,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
    /// Write a picture of the run, or a page with picture and table
    #[arg(long, value_name = "FILE.svg|FILE.html")]
    report: Option<PathBuf>,
}

fn faults() -> String {
    let lines: Vec<_> = Fault::kinds().map(|(name, about)| format!("  {name:14} {about}")).collect();
    format!("Scenarios:\n{}\n", lines.join("\n"))
}

fn comparisons() -> String {
    let lines: Vec<_> = PRESETS.iter().map(|(name, about)| format!("  {name:14} {about}")).collect();
    format!("Built-in comparisons:\n{}\n", lines.join("\n"))
}

/// Why there is no simulation, and the exit code for that.
struct Failed(u8, String);

impl Failed {
    fn command_line(message: impl fmt::Display) -> Self {
        Self(UNUSABLE, format!("stormproof: {message}"))
    }
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match simulate(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(code, message)) => {
            eprintln!("{message}");
            ExitCode::from(code)
        }
    }
}

fn simulate(args: &Args) -> Result<(), Failed> {
    let setup = setup(args);
    if let Some(mistake) = setup.validate().first() {
        return Err(Failed::command_line(format_args!("--{mistake}")));
    }
    let kind = args.report.as_deref().map(kind_of_report).transpose()?;
    let compared = match built_in(args) {
        Some(preset) => preset.compare(&setup),
        None => compare(&setup, [("without", &config::Config::default()), ("with", &policy(args)?)]),
    };
    let comparison = compared.map_err(|mistakes| Failed(FAILED, format!("stormproof: the policy: {mistakes}")))?;
    if args.json {
        crate::print(&format!("{:#}\n", as_json(&comparison)));
    } else {
        crate::print(&table(&comparison));
    }
    let (Some(path), Some(kind)) = (&args.report, kind) else { return Ok(()) };
    let text = match kind {
        Report::Picture => svg(&comparison),
        Report::Page => page(&comparison),
    };
    std::fs::write(path, text)
        .map_err(|error| Failed(FAILED, format!("stormproof: cannot write {}: {error}", path.display())))
}

fn setup(args: &Args) -> Setup {
    let Args { clients, rate, eager, duration, patience, seed, workers, queue, service, .. } = *args;
    let server = ServerModel { workers, queue, service, ..ServerModel::default() };
    let fault = args.fault.clone();
    Setup { fault, clients, rate, eager, duration, patience, seed, server, ..Setup::default() }
}

enum Report {
    Picture,
    Page,
}

fn kind_of_report(path: &Path) -> Result<Report, Failed> {
    match path.extension().and_then(OsStr::to_str) {
        Some("svg") => Ok(Report::Picture),
        Some("html") => Ok(Report::Page),
        _ => Err(Failed::command_line(format_args!(
            "--report is {}, allowed is a file that ends in .svg or .html",
            path.display()
        ))),
    }
}

/// The built-in comparison that is named, unless there is a file of that name.
fn built_in(args: &Args) -> Option<Preset> {
    args.policy.to_str().filter(|_| !args.policy.exists()).and_then(preset)
}

/// The policy of the file, which is compared with none.
fn policy(args: &Args) -> Result<config::Config, Failed> {
    let file = &args.policy;
    read(args).map_err(|Failed(code, message)| {
        let hint = if code == UNUSABLE && !file.exists() {
            let names: Vec<_> = PRESETS.iter().map(|(name, _)| *name).collect();
            format!("; built-in comparisons are {}", names.join(", "))
        } else {
            String::new()
        };
        Failed(code, message + &hint)
    })
}

/// The policy in a file: by itself, or one of several.
fn read(args: &Args) -> Result<config::Config, Failed> {
    let (kind, mut policies) = policies::read(&args.policy).map_err(unloaded)?;
    if let (Kind::Policy, Some(name)) = (kind, &args.upstream) {
        let message = format!("--upstream is {name}, allowed only with a file that has [upstreams] or [policies]");
        return Err(Failed::command_line(message));
    }
    let names: Vec<_> = policies.iter().map(|(name, _)| name.as_str()).collect();
    let allowed = names.join(", ");
    let at = match &args.upstream {
        Some(name) => names.iter().position(|other| other == name).ok_or_else(|| format!("is {name}")),
        None => (names.len() == 1).then_some(0).ok_or_else(|| "is not given".to_owned()),
    };
    match at {
        Ok(at) => Ok(policies.swap_remove(at).1),
        Err(what) => Err(Failed::command_line(format_args!("--upstream {what}, allowed is {allowed}"))),
    }
}

fn unloaded(wrong: Unloaded) -> Failed {
    match wrong {
        Unloaded::Unreadable(message) => Failed(UNUSABLE, message),
        Unloaded::Invalid(message) => Failed(FAILED, message),
    }
}

fn page(comparison: &Comparison) -> String {
    let text = table(comparison).replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>stormproof simulate</title>\
         <style>:root{{color-scheme:light dark}}body{{max-width:900px;margin:2em auto;font-family:system-ui}}\
         pre{{overflow-x:auto}}</style>\n{}<pre>{text}</pre></html>\n",
        svg(comparison)
    )
}

fn as_json(comparison: &Comparison) -> Value {
    let setup = &comparison.setup;
    let sides: Vec<Value> = comparison.sides.iter().map(|(name, outcome)| side(name, outcome)).collect();
    json!({
        "fault": setup.fault.to_string(),
        "clients": setup.clients,
        "rate": setup.rate,
        "duration": setup.duration.as_secs_f64(),
        "seed": setup.seed,
        "sides": sides,
    })
}

fn tenant(tenant: &Tenant) -> Value {
    let p95 = tenant.p95.map(|time| time.as_secs_f64());
    json!({ "calls": tenant.calls, "succeeded": tenant.succeeded, "p95_seconds": p95 })
}

fn side(name: &str, outcome: &Outcome) -> Value {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let times = |[median, p95, p99]: [Option<Duration>; 3]| json!({ "p50": seconds(median), "p95": seconds(p95), "p99": seconds(p99) });
    let failures: Vec<Value> =
        outcome.failures.iter().map(|((how, why), count)| json!({ "how": how, "why": why, "calls": count })).collect();
    let [opened, half_open, closed] = outcome.transitions;
    json!({
        "name": name,
        "calls": outcome.calls,
        "succeeded": outcome.succeeded,
        "failures": failures,
        "requests": outcome.attempts,
        "amplification": outcome.amplification(),
        "success_seconds": times(outcome.latency),
        "failure_seconds": times(outcome.failure_latency),
        "work_seconds": outcome.work.as_secs_f64(),
        "wasted_share": outcome.wasted_share(),
        "detected_after_seconds": seconds(outcome.detected),
        "recovered_after_seconds": seconds(outcome.recovered),
        "circuit": { "opened": opened, "half_open": half_open, "closed": closed },
        "fairness": outcome.fairness,
        "eager": tenant(&outcome.tenants[0]),
        "others": tenant(&outcome.tenants[1]),
    })
}
