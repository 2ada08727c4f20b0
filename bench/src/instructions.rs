//! Instructions a call, counted by callgrind: figures that other load on the machine does not touch.
//!
//! The program runs itself under valgrind, once for each contender and number of calls. What is counted happens between
//! entering and leaving [`counted`]; twice the calls, less the calls, is what the calls alone need.

use std::hint::black_box;
use std::process::Command;

use crate::harness::{Case, Contender};

/// What the program is told to run one contender and nothing else: the case, the contender, the number of calls.
pub const FLAG: &str = "--count";

const CALLS: u64 = 1000;

/// What one contender needs for a call, or why that is not known.
pub struct Count {
    pub name: &'static str,
    pub instructions: Result<u64, String>,
}

/// All contenders of a case, ours first.
pub fn count(case: &Case) -> Vec<Count> {
    let of = |contender: &Contender| {
        let under = |calls| under_callgrind(case.name, contender.name, calls);
        let instructions = under(CALLS).and_then(|once| Ok(under(2 * CALLS)?.saturating_sub(once) / CALLS));
        Count { name: contender.name, instructions }
    };
    std::iter::once(&case.ours).chain(&case.peers).map(of).collect()
}

/// Runs one contender: as the program does under valgrind.
pub fn run(cases: &[Case], arguments: &[String]) {
    let [case, contender, calls] = arguments else { return };
    let case = cases.iter().find(|known| known.name == case);
    let contender =
        case.and_then(|case| std::iter::once(&case.ours).chain(&case.peers).find(|known| known.name == contender));
    if let (Some(contender), Ok(calls)) = (contender, calls.parse()) {
        contender.run(CALLS); // what happens once in a process is over
        counted(contender, calls);
    }
}

#[inline(never)]
fn counted(contender: &Contender, calls: u64) {
    contender.run(black_box(calls));
}

fn under_callgrind(case: &str, contender: &str, calls: u64) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    // A file of its own: in place of a device, /dev/null as well, callgrind would put a new file.
    let profile = std::env::temp_dir().join(format!("stormproof-callgrind-{}", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*instructions*counted*"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .args([FLAG, case, contender, &calls.to_string()])
        .output();
    let _ = std::fs::remove_file(profile);
    let output = output.map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split("Collected :").nth(1));
    let counted = collected.and_then(|count| count.trim().parse().ok());
    counted.ok_or_else(|| format!("valgrind did not count: {}", said.lines().last().unwrap_or("it said nothing")))
}
