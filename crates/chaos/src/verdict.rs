//! What must hold in the end, of what the tables, the bank and the workers say.

use std::collections::{HashMap, HashSet};

use crate::{
    bank::{Answer, Entry},
    plan::{Act, STEPS},
    tables::{Row, Tables},
};

/// All that is compared.
#[derive(Debug, Default)]
pub struct Facts {
    /// Runs whose start was acknowledged, by number.
    pub started: Vec<u64>,
    /// id, state, result, epoch, attempts.
    pub runs: Vec<Row>,
    /// run, seq, name, kind, state, value, epoch.
    pub steps: Vec<Row>,
    /// run, seq, mark: what commits wrote.
    pub rows: Vec<Row>,
    /// What the bank wrote down.
    pub calls: Vec<Entry>,
    /// Steps whose value a workflow was given: run, seq, value.
    pub told: Vec<(String, u32, i64)>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What must not be.
    pub wrong: Vec<String>,
    /// Calls of plain steps beyond the first.
    pub repeated_notes: u64,
    /// Calls of keyed effects beyond the first.
    pub repeated_keys: u64,
    /// Calls of replaced workers that the bank refused by their fence.
    pub refused: u64,
    /// Calls of replaced workers that landed where no fence is compared.
    pub late: u64,
    /// Questions of probes that were answered with what there was: a call that was not made a second time.
    pub recovered: u64,
}

impl Facts {
    /// Reads the tables of the journal and what commits wrote.
    pub fn read(&mut self, tables: &mut Tables) -> Result<(), String> {
        self.runs = tables.rows("select id, state, result, epoch, attempts from run")?;
        self.steps =
            tables.rows("select run_id, seq, name, kind, state, value, epoch from step order by run_id, seq")?;
        self.rows = tables.rows("select run, seq, mark from chaos_row")?;
        Ok(())
    }

    /// Compares all.
    pub fn judge(&self) -> Verdict {
        let mut verdict = Verdict::default();
        self.judge_runs(&mut verdict);
        self.judge_told(&mut verdict);
        let mut calls: HashMap<(&str, u32), Vec<&Entry>> = HashMap::new();
        for entry in &self.calls {
            calls.entry((&entry.call.run, entry.call.seq)).or_default().push(entry);
        }
        let mut rows: HashMap<(&str, u32), Vec<&str>> = HashMap::new();
        for row in &self.rows {
            rows.entry((&row[0], number(&row[1]))).or_default().push(&row[2]);
        }
        let mut keys = HashSet::new();
        for step in &self.steps {
            let (run, seq, name, value) = (step[0].as_str(), number(&step[1]), step[2].as_str(), step[5].as_str());
            let place = (run, seq);
            let calls = calls.remove(&place).unwrap_or_default();
            let rows = rows.remove(&place).unwrap_or_default();
            if name == Act::Row.name() {
                verdict
                    .must(rows == [value], || format!("{run}: step {seq} is done as {value}, its rows are {rows:?}"));
            } else {
                verdict.judge_calls(place, name, value, &calls);
                let key = calls.first().map_or("", |entry| entry.call.key.as_str());
                verdict.must(keys.insert(key), || format!("{run}: step {seq} has a key of another: {key}"));
            }
        }
        verdict.wrong.extend(rows.into_keys().map(|place| format!("{place:?}: a row of a step that is not recorded")));
        verdict
            .wrong
            .extend(calls.into_keys().map(|place| format!("{place:?}: a call of a step that is not recorded")));
        verdict
    }

    fn judge_runs(&self, verdict: &mut Verdict) {
        let mut steps: HashMap<&str, Vec<&Row>> = HashMap::new();
        for step in &self.steps {
            steps.entry(&step[0]).or_default().push(step);
        }
        let runs: HashMap<&str, &Row> = self.runs.iter().map(|run| (run[0].as_str(), run)).collect();
        for number in &self.started {
            let id = run_id(*number);
            let Some(run) = runs.get(id.as_str()) else {
                verdict.wrong.push(format!("{id}: its start was acknowledged, it is not there"));
                continue;
            };
            verdict.must(run[1] == "ok", || format!("{id}: ended as {}", run[1]));
            let steps = steps.remove(id.as_str()).unwrap_or_default();
            let complete = steps.len() == STEPS as usize
                && (1..=STEPS).zip(&steps).all(|(seq, step)| {
                    self::number(&step[1]) == seq && step[2] == Act::of(*number, seq).name() && step[4] == "done"
                });
            verdict.must(complete, || format!("{id}: its steps are {steps:?}"));
            let values: Vec<_> = steps.iter().map(|step| step[5].as_str()).collect();
            verdict.must(run[2] == format!("[{}]", values.join(",")), || {
                format!("{id}: its result is {}, the values of its steps {values:?}", run[2])
            });
            let epoch = signed(&run[3]);
            let newer: Vec<_> = steps.iter().filter(|step| signed(&step[6]) > epoch).collect();
            verdict.must(newer.is_empty(), || format!("{id}: its epoch is {epoch}, but there is {newer:?}"));
        }
        verdict.must(runs.len() == self.started.len(), || {
            format!("{} runs were started, {} are there", self.started.len(), runs.len())
        });
    }

    /// What a workflow was told is what is recorded, whoever told it when.
    fn judge_told(&self, verdict: &mut Verdict) {
        let stored: HashMap<(&str, u32), &str> =
            self.steps.iter().map(|step| ((step[0].as_str(), number(&step[1])), step[5].as_str())).collect();
        for (run, seq, value) in &self.told {
            let stored = stored.get(&(run.as_str(), *seq)).copied();
            verdict.must(stored == Some(value.to_string().as_str()), || {
                format!("{run}: step {seq} was acknowledged with {value}, recorded is {stored:?}")
            });
        }
    }
}

impl Verdict {
    fn must(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(otherwise());
        }
    }

    /// The calls that one step made, in order.
    fn judge_calls(&mut self, (run, seq): (&str, u32), name: &str, value: &str, calls: &[&Entry]) {
        let (mut newest, mut late, mut refused, mut paid) = (i64::MIN, 0, 0, Vec::new());
        for entry in calls {
            let fence = entry.call.fence;
            match entry.answer {
                Answer::Done(serial) if !entry.call.find => {
                    paid.push(serial);
                    late += u64::from(fence < newest);
                }
                Answer::Done(_) => self.recovered += 1,
                Answer::Stale(_) => refused += 1,
                Answer::Nothing => {}
            }
            newest = newest.max(fence);
        }
        let beyond = (paid.len() as u64).saturating_sub(1);
        let story = || format!("{run}: step {seq} ({name}) is done as {value}; the bank: {calls:?}");
        self.must(paid.iter().any(|serial| serial.to_string() == value), story);
        let first = calls.first().map(|entry| &entry.call.key);
        self.must(calls.iter().all(|entry| Some(&entry.call.key) == first), story);
        if name == Act::Fenced.name() {
            self.must(beyond == 0, story);
            self.refused += refused;
        } else if name == Act::Probed.name() {
            self.must(beyond <= late, story);
            self.late += late;
        } else if name == Act::Keyed.name() {
            self.repeated_keys += beyond;
        } else {
            self.repeated_notes += beyond;
        }
    }
}

/// The id of run `number`.
pub fn run_id(number: u64) -> String {
    format!("chaos/{number}")
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or_default()
}

fn signed(text: &str) -> i64 {
    text.parse().unwrap_or(-1)
}

#[cfg(test)]
mod tests;
