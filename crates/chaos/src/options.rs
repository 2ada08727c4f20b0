//! How much chaos, and of which kind.

use std::{path::PathBuf, time::Duration};

use crate::{faults::Mix, tables::Engine};

/// How much chaos.
#[derive(Clone, Debug)]
pub struct Options {
    /// This program, for its parts that are processes.
    pub program: PathBuf,
    /// Which database.
    pub engine: Engine,
    /// At least so many runs.
    pub runs: u64,
    /// At least so long.
    pub least: Duration,
    /// Decides the faults.
    pub seed: u64,
    /// Processes that work.
    pub workers: usize,
    /// Runs at a time in each.
    pub slots: u32,
    /// Runs that are open at a time.
    pub open: u64,
    /// The workers' lease.
    pub lease: Duration,
    /// How long the bank takes, at most, before and after a call takes effect.
    pub lag: Duration,
    /// Which faults.
    pub mix: Mix,
    /// A library that is loaded into the workers: it makes SIGUSR1 a fork.
    pub forking: Option<PathBuf>,
}

impl Options {
    /// Three workers, two hundred runs, a lease of 150 ms.
    pub fn new(program: PathBuf, engine: Engine, seed: u64) -> Self {
        Self {
            program,
            engine,
            runs: 200,
            least: Duration::ZERO,
            seed,
            workers: 3,
            slots: 16,
            open: 40,
            lease: Duration::from_millis(150),
            lag: Duration::from_millis(8),
            mix: if engine == Engine::Sqlite { Mix::SQLITE } else { Mix::POSTGRES },
            forking: None,
        }
    }
}
