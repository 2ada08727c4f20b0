//! Who takes part, and how they take turns.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stormproof_testpg::{Database, Server};

use crate::floor::{Floor, Floors};

/// How much is done.
#[derive(Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    /// Steps of a run that is alone.
    pub alone: u32,
    /// Steps of each of [`AT_ONCE`] runs.
    pub each: u32,
    floor: Duration,
}

impl Effort {
    pub const FULL: Self = Self { rounds: 7, alone: 2000, each: 100, floor: Duration::from_millis(500) };
    pub const QUICK: Self = Self { rounds: 1, alone: 500, each: 50, floor: Duration::from_millis(300) };

    /// The steps of each run.
    pub fn steps(self, at_once: u32) -> u32 {
        if at_once == 1 { self.alone } else { self.each }
    }
}

/// Runs at once, if it is not one.
pub const AT_ONCE: u32 = 64;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Steps of workflows.
    Steps,
    /// Calls of `once`.
    Once,
    /// Rows, each in a transaction of its own.
    Rows,
    /// Runs taken over from a process that died: how long, not how many.
    Recovery,
}

impl What {
    pub fn name(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Once => "once",
            Self::Rows => "rows",
            Self::Recovery => "recovery",
        }
    }
}

/// Where the databases are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// What one turn came to.
pub struct Turn {
    /// How many things were done.
    pub done: u32,
    pub seconds: f64,
    /// How many times as quick as the disk it was, if it asked by itself.
    pub of_floor: Vec<Floors>,
    /// What the database says of its durability.
    pub settings: BTreeMap<String, String>,
}

impl Turn {
    fn rate(&self) -> f64 {
        f64::from(self.done) / self.seconds
    }
}

/// The work of a contender, on an empty database of this URL.
pub type Work = Box<dyn FnMut(&str) -> Result<Turn, String>>;

/// Who takes turns.
pub struct Contender {
    pub name: &'static str,
    pub engine: Engine,
    pub at_once: u32,
    pub what: What,
    pub work: Work,
}

impl Contender {
    pub fn label(&self) -> String {
        format!("{} {} {} {}", self.name, self.engine.name(), self.what.name(), self.at_once)
    }
}

/// What all turns of a contender came to.
pub struct Row {
    pub name: &'static str,
    pub engine: Engine,
    pub at_once: u32,
    pub what: What,
    pub per_second: Quartiles,
    /// Seconds that a turn took.
    pub seconds: Quartiles,
    /// Of the floors around each turn, or of those that it took between its steps.
    pub of_floor: Pair,
    pub settings: BTreeMap<String, String>,
}

/// Of all turns.
#[derive(Clone, Copy)]
pub struct Quartiles {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Quartiles {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = part * values.len().saturating_sub(1) as f64;
            let (below, above) = (value(&values, place.floor()), value(&values, place.ceil()));
            below + (above - below) * place.fract()
        };
        Self { low: at(0.25), median: at(0.5), high: at(0.75) }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number below the length")]
fn value(values: &[f64], place: f64) -> f64 {
    values.get(place as usize).copied().unwrap_or(f64::NAN)
}

/// Beside the disk that appends, and beside the disk that writes in place.
#[derive(Clone, Copy)]
pub struct Pair {
    pub append: Quartiles,
    pub in_place: Quartiles,
}

impl Pair {
    fn of(values: &[Floors]) -> Self {
        let each = |of: fn(&Floors) -> f64| Quartiles::of(values.iter().map(of).collect());
        Self { append: each(|floors| floors.append), in_place: each(|floors| floors.in_place) }
    }
}

/// All that was measured.
pub struct Table {
    pub floor: Pair,
    pub rows: Vec<Row>,
}

/// Where databases are made, all on one disk.
pub struct Place {
    folder: PathBuf,
    server: Server,
}

impl Place {
    pub fn new(folder: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self { folder: folder.to_path_buf(), server: Server::start()? })
    }

    /// Lets `work` have an empty database, which is removed afterwards.
    fn with_database<T>(&self, engine: Engine, work: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
        match engine {
            Engine::Sqlite => {
                let folder = self.folder.join("sqlite");
                let _ = std::fs::remove_dir_all(&folder);
                std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
                let result = work(&folder.join("bench.db").display().to_string());
                let _ = std::fs::remove_dir_all(&folder);
                result
            }
            Engine::Postgres => {
                let database = Database::of(&self.server)?;
                work(database.url())
            }
        }
    }
}

/// Lets all take turns.
pub fn run(contenders: &mut [Contender], place: &Place, effort: Effort) -> Result<Table, String> {
    let mut floor = Floor::new(&place.folder).map_err(|error| error.to_string())?;
    let mut measure = || floor.per_second(effort.floor).map_err(|error| error.to_string());
    let mut turns: Vec<Vec<(Turn, Floors)>> = contenders.iter().map(|_| Vec::new()).collect();
    let mut before = measure()?;
    let mut floors = vec![before];
    for round in 1..=effort.rounds {
        for (contender, turns) in contenders.iter_mut().zip(&mut turns) {
            let turn = place
                .with_database(contender.engine, |url| (contender.work)(url))
                .map_err(|error| format!("{}: {error}", contender.label()))?;
            let after = measure()?;
            let around = Floors {
                append: f64::midpoint(before.append, after.append),
                in_place: f64::midpoint(before.in_place, after.in_place),
            };
            let Floors { append, in_place } = around;
            let label = contender.label();
            eprintln!("{round}/{}: {label} {:.0}/s, disk {append:.0} and {in_place:.0}", effort.rounds, turn.rate());
            turns.push((turn, around));
            floors.push(after);
            before = after;
        }
    }
    let rows = contenders.iter().zip(turns).map(|(contender, turns)| row(contender, turns)).collect();
    Ok(Table { floor: Pair::of(&floors), rows })
}

fn row(contender: &Contender, mut turns: Vec<(Turn, Floors)>) -> Row {
    let ratios = |(turn, floors): &(Turn, Floors)| {
        if turn.of_floor.is_empty() {
            let (append, in_place) = (turn.rate() / floors.append, turn.rate() / floors.in_place);
            return vec![Floors { append, in_place }];
        }
        turn.of_floor.clone()
    };
    Row {
        name: contender.name,
        engine: contender.engine,
        at_once: contender.at_once,
        what: contender.what,
        per_second: Quartiles::of(turns.iter().map(|(turn, _)| turn.rate()).collect()),
        seconds: Quartiles::of(turns.iter().map(|(turn, _)| turn.seconds).collect()),
        of_floor: Pair::of(&turns.iter().flat_map(ratios).collect::<Vec<_>>()),
        settings: turns.pop().map(|(turn, _)| turn.settings).unwrap_or_default(),
    }
}
