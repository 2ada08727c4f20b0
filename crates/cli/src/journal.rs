//! `stormproof journal`: what operators ask a journal, and what they tell it.
//!
//! Each command works while workers run on the same journal. What is printed holds neither inputs nor values, unless
//! `--values` asks for them.

mod advice;
mod amount;
mod json;
mod list;
mod show;

use std::collections::HashMap;
use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};
use stormproof_journal::{
    Decision, Filter, Forgotten, History, Journal, Retention, Run, RunError, RunId, State, StoreError,
};

use crate::{FAILED, UNUSABLE};

/// The environment variable with the address of the journal.
const JOURNAL: &str = "STORMPROOF_JOURNAL";

const JOURNAL_HELP: &str =
    "The journal: sqlite:FILE or postgres://USER@HOST/DATABASE [default: the environment's STORMPROOF_JOURNAL]";

const ABOUT: &str = "\
A run is named WORKFLOW/KEY, such as research/order-18. Commands that change runs are safe while workers run: a worker \
that has the run writes nothing more to it.

Exit status: 0 done, 1 not done (no such run, not possible in its state, the store failed), 2 command line not valid or \
the journal cannot be opened.";

/// List, show, fork, resume and cancel the runs of a journal, and forget old ones
#[derive(Debug, clap::Args)]
#[command(after_help = ABOUT)]
pub(crate) struct Args {
    #[arg(long, global = true, value_name = "URL", help = JOURNAL_HELP)]
    journal: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(ListArgs),
    Show(ShowArgs),
    Fork(ForkArgs),
    Resume(ResumeArgs),
    Cancel(CancelArgs),
    Gc(GcArgs),
}

/// List runs, newest first
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only runs of this workflow
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Only runs in these states: queued, running, blocked, ok, err, cancelled
    #[arg(long, value_name = "STATE,..", value_delimiter = ',', value_parser = state)]
    state: Vec<State>,
    /// Only runs that were started, or are running without change, since longer than this
    #[arg(long, value_name = "TIME", value_parser = crate::values::duration)]
    older_than: Option<Duration>,
    /// Only runs whose name contains this
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// With inputs and results (only with --json)
    #[arg(long, requires = "json")]
    values: bool,
}

/// Show a run: its state, what stands in its way and what to do about it, and its steps
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The run
    #[arg(value_parser = run_id)]
    run: RunId,
    /// With inputs and values, shortened; whole with --json
    #[arg(long)]
    values: bool,
}

/// Copy a run up to a step, and queue the copy: it goes on from there
#[derive(Debug, clap::Args)]
struct ForkArgs {
    /// The run; it stays as it is
    #[arg(value_parser = run_id)]
    run: RunId,
    /// The first step that the copy does anew: its number or name
    #[arg(long, value_name = "STEP")]
    before: String,
    /// The key of the copy [default: the key of the run with -fork-1, -fork-2, …]
    #[arg(long = "as", value_name = "KEY")]
    key: Option<String>,
    /// The version of the workflow that the copy runs with [default: that of the run]
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
}

/// Queue runs again that are blocked, cancelled or ended with an error
///
/// Done steps are not repeated. Without --rerun or --done, an effect whose outcome is not known asks its probe again.
#[derive(Debug, clap::Args)]
struct ResumeArgs {
    /// The runs
    #[arg(value_parser = run_id, required_unless_present = "all_blocked", conflicts_with = "all_blocked")]
    runs: Vec<RunId>,
    /// The step in the way did not happen and may run again
    #[arg(long, conflicts_with_all = ["done", "all_blocked"])]
    rerun: bool,
    /// The step in the way happened, with this value
    #[arg(long, value_name = "JSON", value_parser = json_text, conflicts_with = "all_blocked")]
    done: Option<Box<str>>,
    /// All blocked runs
    #[arg(long)]
    all_blocked: bool,
    /// Only runs that are blocked for this reason, such as diverged
    #[arg(long, value_name = "KIND", requires = "all_blocked", conflicts_with = "runs")]
    kind: Option<String>,
}

/// Cancel runs that have not ended
#[derive(Debug, clap::Args)]
struct CancelArgs {
    /// The runs
    #[arg(value_parser = run_id, required = true)]
    runs: Vec<RunId>,
}

/// Forget runs that ended long ago, with their steps
///
/// The file of a SQLite journal keeps its size; the room is used again.
#[derive(Debug, clap::Args)]
struct GcArgs {
    /// Runs that ended so long ago and have no time of their own
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = crate::values::duration)]
    older_than: Duration,
    /// And those beyond the youngest so many
    #[arg(long, value_name = "N", value_parser = crate::values::whole::<u64>)]
    keep: Option<u64>,
    /// Only count
    #[arg(long)]
    dry_run: bool,
}

fn state(text: &str) -> Result<State, String> {
    let text = text.trim();
    State::parse(text).ok_or_else(|| format!("allowed is {}", State::ALL.map(State::as_str).join(", ")))
}

fn run_id(text: &str) -> Result<RunId, String> {
    match text.split_once('/') {
        Some((name, key)) if !name.is_empty() && !key.is_empty() => Ok(RunId::parse(text)),
        _ => Err("a run is named WORKFLOW/KEY".to_owned()),
    }
}

fn json_text(text: &str) -> Result<Box<str>, String> {
    serde_json::from_str::<Value>(text).map(|value| value.to_string().into()).map_err(|error| error.to_string())
}

/// Why something was not done, and the exit code for that.
#[derive(Debug, PartialEq)]
struct Failed(u8, String);

impl Failed {
    fn unusable(message: impl fmt::Display) -> Self {
        Self(UNUSABLE, message.to_string())
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self(FAILED, error.to_string())
    }
}

impl From<RunError> for Failed {
    fn from(error: RunError) -> Self {
        Self(FAILED, error.to_string())
    }
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match crate::block_on(async { Ok(answer(args).await) }).unwrap_or_else(|error| Err(Failed(FAILED, error))) {
        Ok(code) => code,
        Err(Failed(code, message)) => {
            eprintln!("stormproof: {message}");
            ExitCode::from(code)
        }
    }
}

async fn answer(args: &Args) -> Result<ExitCode, Failed> {
    let journal = open(args.journal.as_deref()).await?;
    let as_json = args.json;
    match &args.command {
        Command::List(list) => print_list(&journal, list, as_json).await,
        Command::Show(show) => print_show(&journal, show, as_json).await,
        Command::Fork(fork) => make_fork(&journal, fork, as_json).await,
        Command::Resume(resume) => {
            let decision = match &resume.done {
                Some(value) => Decision::Done(value.clone()),
                None if resume.rerun => Decision::Rerun,
                None => Decision::Ask,
            };
            let runs =
                if resume.all_blocked { blocked(&journal, resume.kind.as_deref()).await? } else { resume.runs.clone() };
            change(&runs, as_json, "queued again", async |run| journal.resume(run, decision.clone()).await).await
        }
        Command::Cancel(cancel) => {
            change(&cancel.runs, as_json, "cancelled", async |run| journal.cancel(run).await).await
        }
        Command::Gc(gc) => forget(&journal, gc, as_json).await,
    }
}

/// Opens a journal that is there. A mistake in its address must not make an empty one.
async fn open(given: Option<&str>) -> Result<Journal, Failed> {
    let from_environment = std::env::var(JOURNAL).ok().filter(|url| !url.is_empty());
    let Some(url) = given.map(str::to_owned).or(from_environment) else {
        return Err(Failed::unusable(format_args!(
            "no journal is given: use --journal URL or set {JOURNAL}, such as sqlite:agent.db or postgres://user@host/agents"
        )));
    };
    Journal::builder(&url).create(false).open().await.map_err(Failed::unusable)
}

async fn print_list(journal: &Journal, args: &ListArgs, as_json: bool) -> Result<ExitCode, Failed> {
    let mut filter = Filter::new().states(args.state.iter().copied()).limit(args.limit);
    filter.workflow.clone_from(&args.workflow);
    filter.older_than = args.older_than;
    filter.contains.clone_from(&args.contains);
    let runs = journal.list(&filter).await?;
    if as_json {
        let runs: Vec<Value> = runs.iter().map(|run| json::run(run, args.values)).collect();
        crate::print(&format!("{:#}\n", Value::from(runs)));
        return Ok(ExitCode::SUCCESS);
    }
    let now = journal.now().await?;
    let mut waits = HashMap::new();
    for run in runs.iter().filter(|run| list::is_put_away(run, now)) {
        // Forgotten meanwhile, it waits no more.
        if let Ok(history) = journal.show(&run.id).await {
            waits.insert(run.id.clone(), show::waits_for(&history, now));
        }
    }
    crate::print(&list::table(&runs, &waits, now));
    if u32::try_from(runs.len()).is_ok_and(|count| count == args.limit) {
        eprintln!("stormproof: these are the newest {}; --limit shows more", args.limit);
    }
    Ok(ExitCode::SUCCESS)
}

async fn print_show(journal: &Journal, args: &ShowArgs, as_json: bool) -> Result<ExitCode, Failed> {
    let history = journal.show(&args.run).await?;
    let now = journal.now().await?;
    if as_json {
        crate::print(&format!("{:#}\n", json::history(&history, now, args.values)));
    } else {
        crate::print(&show::page(&history, now, args.values));
    }
    Ok(ExitCode::SUCCESS)
}

async fn make_fork(journal: &Journal, args: &ForkArgs, as_json: bool) -> Result<ExitCode, Failed> {
    let history = journal.show(&args.run).await?;
    let before = match args.before.parse() {
        Ok(number) => number,
        Err(_) => step_named(&history, &args.before)?,
    };
    // One more than there are is a copy of everything.
    let steps = history.steps.len();
    if before == 0 || usize::try_from(before).is_ok_and(|before| before > steps + 1) {
        return Err(Failed(FAILED, format!("{} has {steps} steps, so there is no step {before}", args.run)));
    }
    let mut fork = journal.fork(&args.run, before);
    if let Some(key) = &args.key {
        fork = fork.key(key);
    }
    if let Some(version) = &args.version {
        fork = fork.version(version);
    }
    let run = fork.await?;
    if as_json {
        crate::print(&format!("{:#}\n", json::run(&run, false)));
    } else {
        crate::print(&format!("{}: queued, goes on before step {before} of {}\n", run.id, args.run));
    }
    Ok(ExitCode::SUCCESS)
}

/// The number of the step with this name.
fn step_named(history: &History, name: &str) -> Result<u32, Failed> {
    let numbers: Vec<_> = history.steps.iter().filter(|step| step.name == name).map(|step| step.seq).collect();
    match numbers[..] {
        [number] => Ok(number),
        [] => Err(Failed(FAILED, format!("{} has no step `{name}`: see `stormproof journal show`", history.run.id))),
        _ => {
            let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
            let numbers = numbers.join(", ");
            Err(Failed(FAILED, format!("{} has several steps `{name}`: say which of {numbers}", history.run.id)))
        }
    }
}

/// So many runs are asked for at a time.
const PAGE: u32 = 10_000;

/// The runs that are blocked, for this reason if one is given.
async fn blocked(journal: &Journal, kind: Option<&str>) -> Result<Vec<RunId>, Failed> {
    let runs = journal.list(&Filter::new().states([State::Blocked]).limit(PAGE)).await?;
    let is_of_kind = |run: &Run| kind.is_none_or(|kind| run.error.as_ref().is_some_and(|failure| failure.kind == kind));
    Ok(runs.into_iter().filter(is_of_kind).map(|run| run.id).collect())
}

/// Tells each run the same. Those that cannot do it do not keep the others from it.
async fn change(
    runs: &[RunId],
    as_json: bool,
    done: &str,
    tell: impl AsyncFn(&RunId) -> Result<Run, RunError>,
) -> Result<ExitCode, Failed> {
    let mut changed = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for id in runs {
        match tell(id).await {
            Ok(run) if as_json => changed.push(json::run(&run, false)),
            Ok(run) => crate::print(&format!("{}: {done}\n", run.id)),
            Err(error) => {
                eprintln!("stormproof: {error}");
                code = ExitCode::from(FAILED);
                if matches!(error, RunError::Store(_)) {
                    break;
                }
            }
        }
    }
    if as_json {
        crate::print(&format!("{:#}\n", Value::from(changed)));
    } else if runs.is_empty() {
        crate::print("no runs match\n");
    }
    Ok(code)
}

async fn forget(journal: &Journal, args: &GcArgs, as_json: bool) -> Result<ExitCode, Failed> {
    let mut retention = Retention::new().ended(args.older_than).dry_run(args.dry_run);
    retention.most = args.keep;
    let Forgotten { runs, steps, tasks, workers, .. } = journal.gc(&retention).await?;
    if as_json {
        let forgotten =
            json!({ "dry_run": args.dry_run, "runs": runs, "steps": steps, "tasks": tasks, "workers": workers });
        crate::print(&format!("{forgotten:#}\n"));
    } else {
        let would = if args.dry_run { "would forget" } else { "forgot" };
        let count = amount::count;
        crate::print(&format!(
            "{would} {}, {}, {} and {}\n",
            count(runs, "run", "runs"),
            count(steps, "step", "steps"),
            count(tasks, "task", "tasks"),
            count(workers, "worker", "workers")
        ));
    }
    Ok(ExitCode::SUCCESS)
}
