//! Starts all that takes part, starts the runs, does harm, and hands what came of it to the [verdict](crate::verdict).

use std::{
    fmt, fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use stormproof_journal::Journal;
use stormproof_testpg::{Database, Server, Stop};

use crate::{
    auditor::Auditor,
    bank,
    crew::{Counts, Crew, listen},
    faults::Fault,
    options::Options,
    process::Process,
    tables::{Engine, Tables},
    verdict::{Facts, Verdict, run_id},
    worker::Task,
    workflow::{Input, NAME, VERSION},
};

/// Without any progress for so long, something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How long it took.
    pub took: Duration,
    /// Runs that were started.
    pub runs: u64,
    /// Processes that were killed.
    pub kills: u64,
    /// Processes that were stopped.
    pub stops: u64,
    /// Processes that were forked.
    pub forks: u64,
    /// Processes that were told to end.
    pub leaves: u64,
    /// Times all connections were cut.
    pub cuts: u64,
    /// Times the server was ended and started.
    pub restarts: u64,
    /// Starts that had to be repeated.
    pub restarted: u64,
    /// Times the tables were read meanwhile.
    pub looks: u64,
    /// Claims of runs that had been claimed before, as far as they were seen.
    pub claims: u64,
    /// Steps whose value reached a workflow, replays included.
    pub told: u64,
    /// What was found.
    pub verdict: Verdict,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { wrong, repeated_notes, repeated_keys, refused, late, recovered } = &self.verdict;
        writeln!(
            f,
            "{} runs in {:.1} s; {} kills, {} stops, {} forks, {} leaves, {} cuts, {} restarts; {} runs claimed again; {} looks at the tables",
            self.runs,
            self.took.as_secs_f64(),
            self.kills,
            self.stops,
            self.forks,
            self.leaves,
            self.cuts,
            self.restarts,
            self.claims,
            self.looks,
        )?;
        writeln!(
            f,
            "{} values told and compared; {repeated_notes} plain steps and {repeated_keys} keyed effects repeated; \
             {recovered} effects found done by their probe; {refused} calls refused by their fence; \
             {late} late calls where no fence is compared; {} starts repeated",
            self.told, self.restarted,
        )?;
        wrong.iter().take(20).try_for_each(|line| writeln!(f, "WRONG: {line}"))?;
        if wrong.is_empty() { writeln!(f, "all as promised") } else { writeln!(f, "{} things are wrong", wrong.len()) }
    }
}

/// The database of one chaos run.
struct Place {
    url: String,
    postgres: Option<(Database, Server)>,
}

impl Place {
    fn make(engine: Engine, folder: &Path) -> Result<Self, String> {
        match engine {
            Engine::Sqlite => {
                Ok(Self { url: format!("sqlite:{}", folder.join("journal.db").display()), postgres: None })
            }
            Engine::Postgres => {
                // A server that is ended keeps what it has handed to the system: flushing shows nothing here, and makes each
                // restart wait for the disk.
                // A worker that is stopped between its connect and its first packet holds up the end of a server that is to
                // be restarted for as long as the server waits for the packet, a minute by default; and whoever cuts
                // connections waits for the server.
                let server = Server::start_with(&[("fsync", "off"), ("authentication_timeout", "1s")])?;
                let database = Database::of(&server)?;
                Ok(Self { url: database.url().into(), postgres: Some((database, server)) })
            }
        }
    }

    /// Cuts or restarts; a restart takes its time and happens beside the rest.
    fn harm(&self, fault: Fault) -> Result<(), String> {
        let Some((database, server)) = &self.postgres else { return Ok(()) };
        match fault {
            Fault::Restart => server.restart(Stop::Crash),
            // The server may be away at the moment.
            _ => database.cut().map(drop).or(Ok(())),
        }
    }
}

/// Runs it. An error says that it could not be run to its end; what is wrong with the outcome is in the report.
pub fn conduct(options: &Options) -> Result<Report, String> {
    let folder = tempfile::tempdir().map_err(text)?;
    let place = Place::make(options.engine, folder.path())?;
    let runtime = tokio::runtime::Runtime::new().map_err(text)?;
    let journal = runtime.block_on(Journal::open(&place.url)).map_err(text)?;
    let mut tables = Tables::open(&place.url)?;
    tables.rows("create table chaos_row (run text not null, seq bigint not null, mark bigint not null)")?;

    let lag = options.lag.as_millis().to_string();
    let bank_args = ["bank".into(), folder.path().to_string_lossy().into_owned(), lag, options.seed.to_string()];
    let mut bank = Process::start(&options.program, &bank_args).map_err(text)?;
    while !bank::is_open(folder.path()) {
        if let Some(status) = bank.ended() {
            return Err(format!("the bank did not start: {status}"));
        }
        thread::sleep(Duration::from_millis(5));
    }

    let start = Instant::now();
    let task = Task { url: place.url.clone(), bank: folder.path().into(), slots: options.slots, lease: options.lease };
    let scene = Scene::default();
    let (told, listener) = listen();
    let (mut report, auditor, crew, started) = thread::scope(|scope| {
        let auditor = scope.spawn(|| scene.audit(&place.url));
        let crew = scope.spawn(|| {
            let crew = Crew::gather(options, &task, told)?;
            crew.suffer(options, &scene.over, |fault| place.harm(fault))
        });
        let started = runtime.block_on(scene.start_runs(options, &journal, start));
        scene.over.store(true, Ordering::Relaxed);
        let report = Report { restarted: scene.repeats.load(Ordering::Relaxed), ..Report::default() };
        (report, auditor.join(), crew.join(), started)
    });
    let crew = crew.map_err(|_| "the thread that does harm panicked")??;
    let auditor = auditor.map_err(|_| "the auditor panicked")??;
    let Counts { kills, stops, forks, leaves, cuts, restarts } = crew.counts;
    report = Report { kills, stops, forks, leaves, cuts, restarts, ..report };
    let (stuck, started) = started;
    let unclean = crew.dismiss();
    let mut told = listener.join().map_err(|_| "the listener panicked")?;

    report.runs = started.len() as u64;
    report.told = told.len() as u64;
    report.took = start.elapsed();
    report.looks = auditor.looks;
    report.claims = auditor.claims;
    told.sort_unstable();
    told.dedup();
    let mut facts = Facts { started, calls: bank::entries(folder.path()).map_err(text)?, told, ..Facts::default() };
    facts.read(&mut tables)?;
    report.verdict = facts.judge();
    let wrong = &mut report.verdict.wrong;
    wrong.extend(auditor.wrong);
    wrong.extend(unclean);
    wrong.extend(tables.defects()?);
    wrong.extend(stuck);
    wrong.extend(runtime.block_on(answers(&journal, &facts)));
    if !wrong.is_empty() {
        keep(folder, &facts);
    }
    Ok(report)
}

/// What the public interface says of each run must be what the tables say.
async fn answers(journal: &Journal, facts: &Facts) -> Vec<String> {
    let mut wrong = Vec::new();
    for run in facts.runs.iter().filter(|run| run[1] == "ok") {
        let number: u64 = run[0].rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        let key = number.to_string();
        let answer = match journal.start(NAME, &key, &Input { number }).version(VERSION).await {
            Ok(handle) => handle.result::<Vec<i64>>().await.map_err(text),
            Err(error) => Err(text(error)),
        };
        let json = answer.map(|values| serde_json::to_string(&values).unwrap_or_default());
        if json.as_ref() != Ok(&run[2]) {
            wrong.push(format!("{}: answers {json:?}, recorded is {}", run[0], run[2]));
        }
    }
    wrong
}

/// Leaves what there is where somebody can look at it.
fn keep(folder: tempfile::TempDir, facts: &Facts) {
    let path = folder.keep();
    let _ = fs::write(path.join("facts.txt"), format!("{facts:#?}"));
    eprintln!("chaos: what there was is kept in {}", path.display());
}

/// What the threads know of each other.
#[derive(Default)]
struct Scene {
    over: AtomicBool,
    ended: AtomicU64,
    steps: AtomicU64,
    repeats: AtomicU64,
}

impl Scene {
    fn audit(&self, url: &str) -> Result<Auditor, String> {
        let mut auditor = Auditor::default();
        let mut tables = Tables::open(url)?;
        while !self.over.load(Ordering::Relaxed) {
            // A server may be away.
            let _ = auditor.look(&mut tables);
            self.ended.store(auditor.ended, Ordering::Relaxed);
            self.steps.store(auditor.steps, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(25));
        }
        let _ = auditor.look(&mut tables);
        Ok(auditor)
    }

    /// Starts runs until there were enough, waits until all have ended, and says which did not.
    async fn start_runs(&self, options: &Options, journal: &Journal, begin: Instant) -> (Vec<String>, Vec<u64>) {
        let mut started = Vec::new();
        let mut progress = (0, 0, Instant::now());
        let mut wrong = Vec::new();
        loop {
            let (ended, steps) = (self.ended.load(Ordering::Relaxed), self.steps.load(Ordering::Relaxed));
            if (ended, steps) != (progress.0, progress.1) {
                progress = (ended, steps, Instant::now());
            } else if progress.2.elapsed() > PATIENCE {
                wrong.push(format!("nothing happened for {PATIENCE:?}: {ended} of {} runs ended", started.len()));
                return (wrong, started);
            }
            let number = started.len() as u64;
            let enough = number >= options.runs && begin.elapsed() >= options.least;
            if enough && ended == number {
                return (wrong, started);
            }
            if enough || number - ended >= options.open {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            match journal.start(NAME, &number.to_string(), &Input { number }).version(VERSION).await {
                Ok(_) => started.push(number),
                Err(stormproof_journal::RunError::Store(_)) => {
                    self.repeats.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => {
                    wrong.push(format!("{} could not be started: {error}", run_id(number)));
                    return (wrong, started);
                }
            }
        }
    }
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}
