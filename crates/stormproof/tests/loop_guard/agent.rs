//! A small agent: its model, its tools, and the loop between them.

use std::collections::BTreeMap;
use std::time::Duration;

use stormproof::loop_guard::{Config, Detection, Step, Turn, Verdict};
use stormproof::{Clock, LoopGuard};

/// What the model does in a turn.
pub(crate) enum Move {
    Call(String, String),
    /// Only words.
    Say(String),
    Done,
}

pub(crate) fn call(tool: &str, arguments: impl Into<String>) -> Move {
    Move::Call(tool.to_owned(), arguments.into())
}

/// A workspace in memory with tools that work on it.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    pub(crate) files: BTreeMap<String, String>,
    /// Counts whatever happens: ids and times are made of it.
    ticks: u64,
    jobs: BTreeMap<String, u64>,
    pub(crate) steps_of_a_job: u64,
}

impl Workspace {
    fn id(&mut self) -> String {
        self.ticks += 1;
        format!(
            "{:08x}-1b2c-4d3e-8f90-{:012x}",
            self.ticks.wrapping_mul(2_654_435_761) & 0xffff_ffff,
            self.ticks * 7_919
        )
    }

    pub(crate) fn run(&mut self, tool: &str, arguments: &str) -> Result<String, String> {
        self.ticks += 1;
        match tool {
            "read" => self.files.get(arguments).cloned().ok_or_else(|| format!("no such file: {arguments}")),
            "write" => {
                let (name, text) = arguments.split_once('\n').unwrap_or((arguments, ""));
                self.files.insert(name.to_owned(), text.to_owned());
                Ok("written".to_owned())
            }
            // Broken where a file says so, with a time that is never the same.
            "build" => {
                let broken: Vec<_> =
                    self.files.iter().filter(|(_, text)| text.contains("todo!")).map(|(name, _)| name).collect();
                let ending = format!("in {}.{:02}s", self.ticks % 7, self.ticks % 100);
                match broken.as_slice() {
                    [] => Ok(format!("Finished {ending}")),
                    broken => Err(format!("error: not yet implemented in {broken:?}, failed {ending}")),
                }
            }
            "submit" => {
                let id = self.id();
                self.jobs.insert(id.clone(), 0);
                Ok(format!(r#"{{"job":"{id}","at":"2026-01-01T00:00:{:02}Z"}}"#, self.ticks % 60))
            }
            "status" => {
                let done = self.jobs.entry(arguments.to_owned()).or_default();
                *done += 1;
                if *done < self.steps_of_a_job {
                    Ok(format!("{done} of {}", self.steps_of_a_job))
                } else {
                    Ok("failed".to_owned())
                }
            }
            "fetch" => Err(format!("HTTP 503, request {}, retry in {} ms", self.id(), 100 + self.ticks)),
            "flaky" => {
                let tries = self.jobs.entry(arguments.to_owned()).or_default();
                *tries += 1;
                if tries.is_multiple_of(3) {
                    Ok(format!("content of {arguments}"))
                } else {
                    Err("connection reset".to_owned())
                }
            }
            "list" => {
                let ids: Vec<_> = (0..200).map(|_| self.id()).collect();
                self.files.extend(ids.iter().map(|id| (id.clone(), "document".to_owned())));
                Ok(ids.join("\n"))
            }
            "delete" => {
                self.files.remove(arguments).map(|_| "deleted".to_owned()).ok_or_else(|| "not found".to_owned())
            }
            "page" => {
                let page: u64 = arguments.parse().map_err(|_| "no page".to_owned())?;
                let rows: Vec<_> = (0..50).map(|row| format!("| {} | row |", page * 50 + row)).collect();
                Ok(rows.join("\n"))
            }
            _ => Err(format!("no such tool: {tool}")),
        }
    }
}

/// A run and what came of it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) guard: LoopGuard,
    pub(crate) clock: Clock,
    pub(crate) workspace: Workspace,
    /// What the model reads last.
    pub(crate) told: String,
    /// What the guard wants it to read as well.
    note: String,
    /// Turns so far, and calls that were carried out.
    pub(crate) turns: usize,
    pub(crate) carried_out: usize,
    /// In which turn, what.
    pub(crate) found: Vec<(usize, Detection)>,
}

impl Run {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let clock = Clock::manual();
        let guard = LoopGuard::with_clock("run", config, &clock).unwrap();
        Self::of(guard, clock)
    }

    pub(crate) fn of(guard: LoopGuard, clock: Clock) -> Self {
        let (workspace, told, note) = (Workspace::default(), String::new(), String::new());
        Self { guard, clock, workspace, told, note, turns: 0, carried_out: 0, found: Vec::new() }
    }

    /// Lets the model act for at most `turns`. Whether the run was stopped.
    pub(crate) fn drive(&mut self, turns: usize, mut model: impl FnMut(usize, &Self) -> Move) -> bool {
        for turn in 0..turns {
            let next = model(turn, self);
            self.turns += 1;
            self.clock.advance(Duration::from_secs(5));
            let text = if let Move::Say(text) = &next { text } else { "" };
            let verdict = self.guard.turn(Turn { text, tokens: 1_000, cost: 0.0 });
            if !self.obey(verdict) {
                return true;
            }
            let (tool, arguments) = match next {
                Move::Call(tool, arguments) => (tool, arguments),
                Move::Say(_) => continue,
                Move::Done => return false,
            };
            let verdict = self.guard.before_call(&tool, &arguments);
            let blocked = matches!(verdict, Verdict::Block { .. });
            if !self.obey(verdict) {
                return true;
            }
            if blocked {
                continue;
            }
            self.carried_out += 1;
            let outcome = self.workspace.run(&tool, &arguments);
            let (Ok(text) | Err(text)) = &outcome;
            self.told = format!("{text}{}", std::mem::take(&mut self.note));
            let outcome = outcome.as_deref().map_err(String::as_str);
            let verdict = self.guard.after_call(&tool, &arguments, outcome);
            if !self.obey(verdict) {
                return true;
            }
        }
        false
    }

    fn obey(&mut self, verdict: Verdict) -> bool {
        if let Some(found) = verdict.detection() {
            self.found.push((self.turns, found.clone()));
        }
        match verdict {
            Verdict::Stop { .. } => return false,
            Verdict::Nudge { text, .. } => self.note = format!("\n{text}"),
            Verdict::Block { text, earlier, .. } => self.told = format!("{}\n{text}", earlier.unwrap_or_default()),
            _ => {}
        }
        true
    }

    /// In which turns what followed.
    pub(crate) fn steps(&self) -> Vec<(usize, Step)> {
        self.found.iter().map(|(turn, found)| (*turn, found.step)).collect()
    }

    #[track_caller]
    pub(crate) fn nothing_found(&self) {
        let found: Vec<_> = self.found.iter().map(|(turn, found)| format!("turn {turn}: {found}")).collect();
        assert!(found.is_empty(), "{found:#?}");
    }
}
