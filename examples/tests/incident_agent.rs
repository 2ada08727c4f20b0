//! The incident agent is killed fifty times, at random points; nothing is done twice, and no incident is lost.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use stormproof_core::Rng;
use stormproof_journal::rusqlite::Connection;
use stormproof_journal::{Filter, Journal, State};

const KILLS: u32 = 50;

/// A kill comes at a moment like one of these, as often as after a random time: the agent has said so just before it
/// does it, or just after it was done.
const MOMENTS: [&str; 9] =
    ["is at work", "detected", "stop [", "ticket", "to be tried", "restart [", "roll_back [", "page/", "close"];

/// If the day has not ended after so long, it does not end.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn n_5_killed_fifty_times_it_does_nothing_twice_and_loses_no_incident() {
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let world = World::start(dir.path());
    let chance = Rng::new(11);
    let mut told = Told::default();

    let mut kills = 0;
    while kills < KILLS {
        let mut agent = Agent::start(dir.path());
        agent.live(&chance, &mut told);
        agent.child.kill().unwrap();
        let status = agent.child.wait().unwrap();
        assert!(status.code().is_none(), "it ended by itself before it was killed: {status}\n{told}");
        kills += 1;
        told.drain(&agent.lines);
    }
    world.ask("POST", "/enough");
    let open = world.log()["faults"].as_array().unwrap().iter().filter(|fault| fault["closed"] == false).count();
    let mut last = Agent::start(dir.path());
    let status = last.finish(began + PATIENCE, &mut told);
    assert!(status.success(), "{status}\n{told}");

    let log = world.log();
    let incidents = incidents(&log);
    println!(
        "{} incidents, {open} of them open at the last kill; {} actions, {} of them by one process and recorded by another; \
         {} failures taken up again; {:.1} s",
        incidents.len(),
        log["actions"].as_array().unwrap().len(),
        told.survived(),
        told.taken_up(),
        began.elapsed().as_secs_f64()
    );
    assert!(incidents.len() >= 10, "only {} incidents in fifty lives\n{told}", incidents.len());
    nothing_is_done_twice(&log);
    each_is_told_once(&log, &incidents);
    the_journal_has_each_once(dir.path(), &incidents);
    assert!(told.taken_up() > 0, "no run had failed before it was resolved\n{told}");
    assert!(told.survived() > 0, "no kill hit an action: this has shown nothing\n{told}");
}

#[test]
fn n_3_the_story_shows_faults_that_heal_and_one_that_is_handed_over() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_incident_agent")).args(["--faults", "5", "--kills", "3"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.matches("kill -9, number").count(), 3, "{text}");
    for told in [
        "the model goes in circles",
        "restart did not help",
        "Self-heal successful: cleared caches",
        "handed over to the second on call",
        "Circuit opened after 3 failures",
        "actions done twice: 0",
    ] {
        assert!(text.contains(told), "{told} is missing in\n{text}");
    }
    let told = text.split_once("ended by").unwrap().1;
    for (fault, ended_by) in [("BadDeploy", "roll_back"), ("Runaway", "restart"), ("Hardware", "second on call")] {
        let row = told.lines().find(|row| row.contains(fault)).unwrap();
        assert!(row.contains(ended_by) || row.contains("on call"), "{row}");
    }
}

/// Every fault, by the name that the agent gives it. All of them are over.
fn incidents(log: &Value) -> BTreeSet<String> {
    let faults = log["faults"].as_array().unwrap();
    for fault in faults {
        assert!(fault["cured_by"].is_string() && fault["closed"] == true, "lost: {fault}");
    }
    faults.iter().map(|fault| format!("{}@{}", fault["component"].as_str().unwrap(), fault["since"])).collect()
}

/// The probed effects: the platform would have done each as often as it was asked.
fn nothing_is_done_twice(log: &Value) {
    let actions = log["actions"].as_array().unwrap();
    let mut keys = BTreeSet::new();
    let mut deeds = BTreeSet::new();
    for action in actions {
        assert!(keys.insert(action["key"].as_str().unwrap()), "twice with one key: {action}");
        let deed = format!("{} {} {}", action["incident"], action["what"], action["replicas"]);
        assert!(deeds.insert(deed), "twice with two keys: {action}");
    }
    assert!(keys.len() > 20, "{} actions", keys.len());
}

/// The keyed effects: sent as often as it takes, under one key.
fn each_is_told_once(log: &Value, incidents: &BTreeSet<String>) {
    let messages = log["messages"].as_array().unwrap();
    let mut told = BTreeMap::<(&str, &str), u32>::new();
    for message in messages {
        let (incident, kind) = (message["incident"].as_str().unwrap(), message["kind"].as_str().unwrap());
        *told.entry((incident, kind)).or_default() += 1;
    }
    assert!(told.values().all(|times| *times == 1), "{told:?}");
    for kind in ["ticket", "close"] {
        let of_kind: BTreeSet<_> =
            told.keys().filter(|(_, told)| *told == kind).map(|(incident, _)| (*incident).to_owned()).collect();
        assert_eq!(of_kind, *incidents, "{kind}");
    }
    let again = messages.iter().filter(|message| message["received"].as_u64().unwrap() > 1).count();
    assert!(again > 0, "no message had to be sent again: this has shown nothing");
}

/// Every incident is there, has ended with its outcome, and the outcome was written once.
#[tokio::main(flavor = "current_thread")]
async fn the_journal_has_each_once(dir: &Path, incidents: &BTreeSet<String>) {
    let file = dir.join("journal.db");
    let journal = Journal::open(&format!("sqlite:{}", file.display())).await.unwrap();
    let runs = journal.list(&Filter::new().limit(10_000)).await.unwrap();
    assert!(runs.iter().all(|run| run.state == State::Ok), "{runs:?}");
    let names: BTreeSet<_> =
        runs.iter().map(|run| run.id.as_str().trim_start_matches("incident/").to_owned()).collect();
    assert_eq!((names, runs.len()), (incidents.clone(), incidents.len()));
    drop(journal);

    let database = Connection::open(file).unwrap();
    let mut outcomes = database.prepare("SELECT incident FROM outcome ORDER BY incident").unwrap();
    let rows: Vec<String> = outcomes.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows, incidents.iter().cloned().collect::<Vec<_>>(), "each outcome is committed once");
    let sound: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
}

/// The world's process, which survives.
struct World {
    child: Child,
    control: String,
}

impl World {
    fn start(dir: &Path) -> Self {
        let mut child = program("world", dir)
            .args(["--faults", "0", "--at-once", "4", "--gap", "100", "--seed", "11", "--quiet"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while !dir.join("world.json").exists() {
            assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "the world did not begin");
            std::thread::sleep(Duration::from_millis(10));
        }
        let addresses: Value = serde_json::from_str(&std::fs::read_to_string(dir.join("world.json")).unwrap()).unwrap();
        Self { child, control: addresses["control"].as_str().unwrap().to_owned() }
    }

    fn log(&self) -> Value {
        self.ask("GET", "/log")
    }

    fn ask(&self, method: &str, path: &str) -> Value {
        let mut stream = TcpStream::connect(&self.control).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: world\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {answer}"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One life of the agent.
struct Agent {
    child: Child,
    lines: Receiver<String>,
}

impl Agent {
    fn start(dir: &Path) -> Self {
        let mut child = program("agent", dir).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// Until a random time, or until a moment and a little more.
    fn live(&mut self, chance: &Rng, told: &mut Told) {
        let moment = MOMENTS.get((chance.next_u64() % 18) as usize);
        let until = Instant::now()
            + Duration::from_millis(if moment.is_some() { 1_200 } else { 50 + chance.next_u64() % 1_500 });
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            let is_it = moment.is_some_and(|moment| line.contains(moment));
            told.0.push(line);
            if is_it {
                std::thread::sleep(Duration::from_millis(chance.next_u64() % 60));
                return;
            }
        }
    }

    fn finish(&mut self, until: Instant, told: &mut Told) -> std::process::ExitStatus {
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => told.0.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().unwrap(),
                Err(RecvTimeoutError::Timeout) => panic!("the day does not end\n{told}"),
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(part: &str, dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_incident_agent"));
    command.arg(part).arg("--dir").arg(dir);
    command
}

/// Stands between what two processes said.
const KILLED: &str = "        -- killed --";

/// What the agents said.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    fn drain(&mut self, lines: &Receiver<String>) {
        self.0.extend(lines.iter());
        self.0.push(KILLED.into());
    }

    fn taken_up(&self) -> usize {
        self.0.iter().filter(|line| line.contains("taken up again")).count()
    }

    /// So many actions were found done by a process that had not ordered them.
    fn survived(&self) -> usize {
        let (mut ordered, mut survived) = (BTreeSet::new(), 0);
        for line in &self.0 {
            match line.strip_suffix(" was done already") {
                Some(action) if !ordered.contains(action) => survived += 1,
                _ if line == KILLED => ordered.clear(),
                _ => drop(ordered.insert(line.as_str())),
            }
        }
        survived
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
