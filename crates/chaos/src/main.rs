//! `stormproof-chaos [OPTIONS]`: chaos, and with a first word the parts of it that are processes.

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match roles::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("processes can only be stopped and killed like this on Unix");
    ExitCode::FAILURE
}

#[cfg(unix)]
mod roles {
    use std::{path::Path, time::Duration};

    use stormproof_chaos::{bank, conductor::conduct, options::Options, tables::Engine, worker::Task};

    const USAGE: &str = "\
usage: stormproof-chaos [--engine sqlite|postgres|both] [--runs N] [--minutes M] [--seed S]

  --engine   which database (both)
  --runs     at least so many runs of 20 steps (200)
  --minutes  at least so long (0)
  --seed     decides which faults there are (the time)";

    pub(super) fn run(args: &[String]) -> Result<(), String> {
        match args.split_first().map(|(role, rest)| (role.as_str(), rest)) {
            Some(("worker", rest)) => {
                let task = Task::parse(rest).ok_or(USAGE)?;
                let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
                runtime.block_on(task.work()).map_err(|error| error.to_string())
            }
            Some(("bank", [folder, lag, seed])) => {
                let (lag, seed) = (number(lag)?, number(seed)?);
                bank::serve(Path::new(folder), Duration::from_millis(lag), seed).map_err(|error| error.to_string())
            }
            Some(("--help" | "-h", _)) => {
                println!("{USAGE}");
                Ok(())
            }
            _ => chaos(args),
        }
    }

    fn chaos(args: &[String]) -> Result<(), String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mut options = Options::new(program, Engine::Sqlite, u64::from(now.subsec_nanos()));
        let mut engines = vec![Engine::Sqlite, Engine::Postgres];
        for pair in args.chunks(2) {
            let [name, value] = pair else { return Err(USAGE.into()) };
            match (name.as_str(), value.as_str()) {
                ("--engine", "sqlite") => engines = vec![Engine::Sqlite],
                ("--engine", "postgres") => engines = vec![Engine::Postgres],
                ("--engine", "both") => {}
                ("--runs", value) => options.runs = number(value)?,
                ("--minutes", value) => options.least = Duration::from_secs(60 * number(value)?),
                ("--seed", value) => options.seed = number(value)?,
                _ => return Err(USAGE.into()),
            }
        }
        let mut failed = false;
        for engine in engines {
            let options = Options {
                runs: options.runs,
                least: options.least,
                ..Options::new(options.program.clone(), engine, options.seed)
            };
            println!("{engine:?}, seed {}", options.seed);
            let report = conduct(&options).map_err(|error| format!("{engine:?}, seed {}: {error}", options.seed))?;
            println!("{report}");
            failed |= !report.verdict.wrong.is_empty();
        }
        if failed { Err(format!("repeat with --seed {}", options.seed)) } else { Ok(()) }
    }

    fn number(text: &str) -> Result<u64, String> {
        text.parse().map_err(|error| format!("{text}: {error}\n\n{USAGE}"))
    }
}
