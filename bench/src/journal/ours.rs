//! The journal: steps of workflows, `once`, and taking over a run whose process died.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use stormproof_journal::{Ctx, Failed, Journal, Probe};
use tokio::sync::mpsc;

use crate::floor::Slices;
use crate::turns::{AT_ONCE, Contender, Effort, Engine, Turn, What};

/// The name under which ours take part.
pub const OURS: &str = "stormproof";

/// The argument that makes this program one that dies.
pub const CRASH: &str = "--crash";

/// Number of steps that are done when it does.
pub const DONE: u32 = 1000;

const DIED: i32 = 86;
const LEASE: Duration = Duration::from_secs(1);
const STOPPED: &str = "the workers have stopped";

/// What becomes of a process after [`DONE`] steps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lives,
    Dies,
}

/// 200 bytes as JSON, as the peers return from each step.
#[derive(Clone, Serialize, Deserialize)]
struct Text {
    text: String,
}

impl Text {
    fn new() -> Self {
        Self { text: "x".repeat(188) }
    }
}

/// Ours on both engines.
pub fn contenders(effort: Effort) -> Vec<Contender> {
    let mut contenders = Vec::new();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let mut add = |what, at_once, work| {
            contenders.push(Contender { name: OURS, engine, at_once, what, work });
        };
        for at_once in [1, AT_ONCE] {
            let each = effort.steps(at_once);
            add(
                What::Steps,
                at_once,
                Box::new(move |place| {
                    let folder = Path::new(place).parent().filter(|_| engine == Engine::Sqlite && at_once == 1);
                    let slices = folder.map(Slices::new).transpose().map_err(say)?;
                    block_on(steps(url(engine, place), at_once, each, slices))
                }),
            );
            add(What::Once, at_once, Box::new(move |place| block_on(onces(url(engine, place), at_once, each))));
        }
        add(What::Recovery, 1, Box::new(move |place| recovery(&url(engine, place))));
    }
    contenders
}

fn url(engine: Engine, place: &str) -> String {
    match engine {
        Engine::Sqlite => format!("sqlite:{place}"),
        Engine::Postgres => place.to_owned(),
    }
}

/// As `#[tokio::main]` would have it.
fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::runtime::Runtime::new().map_err(say)?.block_on(work)
}

#[allow(clippy::needless_pass_by_value, reason = "what `map_err` gives")]
fn say(error: impl Display) -> String {
    error.to_string()
}

/// A journal that knows a workflow of so many steps as its input says. Each run that is done says so.
async fn open(url: &str, fate: Fate, slices: Option<Shared>) -> Result<(Journal, mpsc::UnboundedReceiver<()>), String> {
    let journal = Journal::builder(url).lease(LEASE).open().await.map_err(say)?;
    let (done, all_done) = mpsc::unbounded_channel();
    journal.workflow("bench", "1", move |cx: Ctx, steps: u32| {
        let (done, slices) = (done.clone(), slices.clone());
        async move {
            for number in 0..steps {
                if fate == Fate::Dies && number == DONE {
                    std::process::exit(DIED);
                }
                cx.step("step", |_| async { Ok::<_, Failed>(Text::new()) }).await?;
                if let Some(slices) = slices.as_deref().filter(|slices| lock(slices).count()) {
                    tokio::task::block_in_place(|| lock(slices).ask())?;
                }
            }
            let _ = done.send(());
            Ok(())
        }
    });
    Ok((journal, all_done))
}

async fn steps(url: String, at_once: u32, each: u32, slices: Option<Slices>) -> Result<Turn, String> {
    let slices = slices.map(|slices| Arc::new(Mutex::new(slices)));
    let (journal, mut all_done) = open(&url, Fate::Lives, slices.clone()).await?;
    let server = journal.clone();
    tokio::spawn(async move { server.serve(at_once).await });
    let mut began = Instant::now();
    // The first lap opens what is opened once.
    for (lap, steps) in [("warm", if slices.is_some() { 0 } else { 2 }), ("run", each)] {
        began = Instant::now();
        if let Some(slices) = &slices {
            lock(slices).start();
        }
        let starts = (0..at_once).map(|number| {
            let journal = journal.clone();
            tokio::spawn(async move { journal.start("bench", &format!("{lap}-{number}"), &steps).await.map_err(say) })
        });
        for start in starts.collect::<Vec<_>>() {
            start.await.map_err(say)??;
        }
        for _ in 0..at_once {
            all_done.recv().await.ok_or(STOPPED)?;
        }
    }
    let mut turn = turn(at_once * each, began);
    if let Some(slices) = slices {
        let slices = lock(&slices);
        (turn.done, turn.seconds) = (slices.timed(), slices.took.as_secs_f64());
        turn.of_floor.clone_from(&slices.of_floor);
    }
    Ok(turn)
}

type Shared = Arc<Mutex<Slices>>;

fn lock(slices: &Mutex<Slices>) -> MutexGuard<'_, Slices> {
    slices.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn onces(url: String, at_once: u32, each: u32) -> Result<Turn, String> {
    let (journal, _) = open(&url, Fate::Lives, None).await?;
    let began = Instant::now();
    let callers = (0..at_once).map(|caller| {
        let journal = journal.clone();
        tokio::spawn(async move {
            for number in 0..each {
                let once = journal.once("bench", format!("{caller}-{number}"));
                once.run(|_| async { Ok::<_, Failed>(Probe::Rerun) }, |_| async { Ok::<_, Failed>(Text::new()) })
                    .await
                    .map_err(say)?;
            }
            Ok::<_, String>(())
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.map_err(say)??;
    }
    Ok(turn(at_once * each, began))
}

fn turn(done: u32, began: Instant) -> Turn {
    let seconds = began.elapsed().as_secs_f64();
    Turn { done, seconds, of_floor: Vec::new(), settings: BTreeMap::new() }
}

/// From opening a journal to the next step of a run that another process left behind after [`DONE`].
fn recovery(url: &str) -> Result<Turn, String> {
    let program = std::env::current_exe().map_err(say)?;
    let status = Command::new(program).args([CRASH, url]).status().map_err(say)?;
    if status.code() != Some(DIED) {
        return Err(format!("the process that should have died: {status}"));
    }
    // The lease is a setting, not a figure.
    std::thread::sleep(LEASE * 2);
    block_on(async {
        let began = Instant::now();
        let (journal, mut all_done) = open(url, Fate::Lives, None).await?;
        tokio::spawn(async move { journal.serve(1).await });
        all_done.recv().await.ok_or(STOPPED)?;
        Ok(turn(1, began))
    })
}

/// Dies after [`DONE`] steps.
pub fn crash(url: &str) -> Result<(), String> {
    block_on(async {
        let (journal, _) = open(url, Fate::Dies, None).await?;
        journal.start("bench", "left", &(DONE + 1)).await.map_err(say)?;
        journal.serve(1).await.map_err(say)
    })
}
