//! Reads the tables all along and sees what must never happen on the way, even if it is right again in the end: an epoch
//! that goes back, a step that was done and is not or is another, an ended run that goes on, a run that is gone.

use std::collections::HashMap;

use crate::tables::{Row, Tables};

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Auditor {
    runs: HashMap<String, Seen>,
    done: HashMap<(String, String), (String, String)>,
    /// What must not be.
    pub wrong: Vec<String>,
    /// How often the tables were read.
    pub looks: u64,
    /// How often an epoch grew: claims that came after another.
    pub claims: u64,
    /// Runs that have ended.
    pub ended: u64,
    /// Steps that are done.
    pub steps: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Seen {
    epoch: i64,
    state: String,
    result: String,
}

const ENDED: [&str; 3] = ["ok", "err", "cancelled"];

impl Auditor {
    /// Reads once. An error says that the tables could not be read: nothing is known to be wrong.
    pub fn look(&mut self, tables: &mut Tables) -> Result<(), String> {
        // Runs last: a step that is seen belongs to a run that is seen.
        let steps = tables.rows("select run_id, seq, attempt_id, value from step where state = 'done'")?;
        let runs = tables.rows("select id, epoch, state, result from run")?;
        self.looks += 1;
        self.see_steps(&steps);
        self.see_runs(&runs);
        Ok(())
    }

    fn see_runs(&mut self, rows: &[Row]) {
        let mut gone = self.runs.clone();
        for row in rows {
            let [id, epoch, state, result] = row.as_slice() else { continue };
            let now = Seen { epoch: epoch.parse().unwrap_or(-1), state: state.clone(), result: result.clone() };
            gone.remove(id);
            match self.runs.insert(id.clone(), now.clone()) {
                Some(before) if before.epoch > now.epoch => {
                    self.wrong.push(format!("{id}: its epoch went back from {} to {}", before.epoch, now.epoch));
                }
                Some(before) if ENDED.contains(&before.state.as_str()) && before != now => {
                    self.wrong.push(format!("{id}: had ended as {before:?}, and is {now:?}"));
                }
                Some(before) if before.epoch < now.epoch && before.epoch > 0 => self.claims += 1,
                _ => {}
            }
        }
        self.wrong.extend(gone.into_keys().map(|id| format!("{id}: is gone")));
        self.ended = self.runs.values().filter(|run| ENDED.contains(&run.state.as_str())).count() as u64;
    }

    fn see_steps(&mut self, rows: &[Row]) {
        let mut gone: HashMap<_, _> = self.done.clone();
        for row in rows {
            let [run, seq, attempt, value] = row.as_slice() else { continue };
            let (key, now) = ((run.clone(), seq.clone()), (attempt.clone(), value.clone()));
            gone.remove(&key);
            match self.done.get(&key) {
                Some(before) if *before != now => {
                    self.wrong.push(format!("{run}: step {seq} was done as {before:?}, and is {now:?}"));
                }
                Some(_) => {}
                None => drop(self.done.insert(key, now)),
            }
        }
        self.wrong.extend(gone.into_keys().map(|(run, seq)| format!("{run}: step {seq} was done and is not any more")));
        self.steps = self.done.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: [&str; 4]) -> Row {
        columns.map(str::to_owned).to_vec()
    }

    #[test]
    fn what_goes_back_changes_or_vanishes_is_seen() {
        let mut auditor = Auditor::default();
        auditor.see_runs(&[
            row(["a", "5", "running", ""]),
            row(["b", "5", "ok", "[1]"]),
            row(["c", "5", "queued", ""]),
        ]);
        auditor.see_steps(&[row(["a", "1", "x", "7"]), row(["a", "2", "x", "7"])]);
        assert_eq!(auditor.wrong, Vec::<String>::new());

        auditor.see_runs(&[row(["a", "4", "running", ""]), row(["b", "6", "running", ""])]);
        auditor.see_steps(&[row(["a", "1", "y", "8"])]);

        let wrong = auditor.wrong.join("\n");
        for expected in [
            "a: its epoch went back from 5 to 4",
            "b: had ended as",
            "c: is gone",
            "a: step 1 was done as (\"x\", \"7\"), and is (\"y\", \"8\")",
            "a: step 2 was done and is not any more",
        ] {
            assert!(wrong.contains(expected), "{expected} is not in\n{wrong}");
        }
        assert_eq!(auditor.wrong.len(), 5);
    }

    #[test]
    fn claims_and_ends_are_no_fault() {
        let mut auditor = Auditor::default();
        auditor.see_runs(&[row(["a", "0", "queued", ""])]);
        auditor.see_runs(&[row(["a", "5", "running", ""])]);
        auditor.see_runs(&[row(["a", "6", "running", ""])]);
        auditor.see_runs(&[row(["a", "6", "ok", "1"])]);
        auditor.see_runs(&[row(["a", "6", "ok", "1"])]);

        assert_eq!((auditor.wrong.len(), auditor.claims, auditor.ended), (0, 1, 1));
    }
}
