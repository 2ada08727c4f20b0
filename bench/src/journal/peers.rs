//! The peers from the Python index: scripts that do the same steps and say how long they took.
//!
//! Each runs in the way that was the quickest for it where several were tried: plain threads, a queue, `asyncio`, with
//! few or many connections.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::turns::{AT_ONCE, Contender, Effort, Engine, Turn, What};

struct Peer {
    name: &'static str,
    script: &'static str,
    engine: Engine,
    at_once: u32,
    mode: &'static str,
    /// Connections; 0 leaves its default.
    pool: u32,
}

const DBOS: Peer = Peer {
    name: "DBOS Transact",
    script: "dbos_steps.py",
    engine: Engine::Sqlite,
    at_once: 1,
    mode: "threads",
    pool: 0,
};
const LANGGRAPH: Peer = Peer { name: "LangGraph", script: "langgraph_steps.py", ..DBOS };

const PEERS: [Peer; 6] = [
    DBOS,
    Peer { at_once: AT_ONCE, mode: "queue", pool: 2, ..DBOS },
    Peer { engine: Engine::Postgres, ..DBOS },
    Peer { engine: Engine::Postgres, at_once: AT_ONCE, pool: 4, ..DBOS },
    LANGGRAPH,
    Peer { at_once: AT_ONCE, ..LANGGRAPH },
];

/// All of them, run by this interpreter.
pub fn contenders(python: &Path, scripts: &Path, effort: Effort) -> Vec<Contender> {
    let contender = |peer: &'static Peer| {
        let (python, script) = (python.to_path_buf(), scripts.join(peer.script));
        Contender {
            name: peer.name,
            engine: peer.engine,
            at_once: peer.at_once,
            what: What::Steps,
            work: Box::new(move |place| turn(peer, &python, &script, place, effort.steps(peer.at_once))),
        }
    };
    PEERS.iter().map(contender).collect()
}

#[derive(Deserialize)]
struct Line {
    steps: u32,
    seconds: f64,
    settings: BTreeMap<String, serde_json::Value>,
}

fn turn(peer: &Peer, python: &PathBuf, script: &PathBuf, place: &str, steps: u32) -> Result<Turn, String> {
    let url = match peer.engine {
        Engine::Sqlite => format!("sqlite:///{place}"),
        Engine::Postgres => place.replacen("postgres:", "postgresql:", 1),
    };
    let mut command = Command::new(python);
    command.arg(script).arg(url).args(["--mode", peer.mode]);
    for (name, value) in [("--at-once", peer.at_once), ("--steps", steps), ("--pool", peer.pool)] {
        command.arg(name).arg(value.to_string());
    }
    let output = command.output().map_err(|error| format!("{}: {error}", python.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().filter(|_| output.status.success());
    let line = line.ok_or_else(|| format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))?;
    let Line { steps, seconds, settings } = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
    let plain = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let settings = settings.into_iter().map(|(name, value)| (name, plain(value))).collect();
    Ok(Turn { done: steps, seconds, of_floor: Vec::new(), settings })
}
