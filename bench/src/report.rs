//! The figures as a table for people and as a file for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::harness::{Figure, Row};
use crate::instructions::Count;

#[derive(Serialize)]
struct File<'a> {
    rows: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    case: &'a str,
    ours_ns: f64,
    peers_ns: BTreeMap<&'a str, f64>,
    /// Ours, per call.
    allocs: f64,
}

/// The rows as Markdown. A ratio says how many times as long as ours the peer takes.
pub fn table(rows: &[Row]) -> String {
    let mut text =
        String::from("| case | peers: ratio to ours (ns) | ours, ns | target | allocations: ours / peers |\n");
    text.push_str("|---|---|---|---|---|\n");
    for row in rows {
        let Figure { nanos: ours, allocations, .. } = row.ours;
        let peers = list(&row.peers, |peer| format!("{} {:.1} × ({:.1})", peer.name, peer.nanos / ours, peer.nanos));
        let theirs = list(&row.peers, |peer| peer.allocations.to_string());
        let target = row.target.map_or_else(String::new, |nanos| format!("≤ {nanos:.0}"));
        let doubt = if row.doubtful { " (machine busy: do not quote)" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {}{doubt} | {peers} | {ours:.1} | {target} | {allocations} / {theirs} |", row.case);
    }
    text
}

fn list(peers: &[Figure], say: impl Fn(&Figure) -> String) -> String {
    peers.iter().map(say).collect::<Vec<_>>().join(" · ")
}

/// The instructions of one case, as a line of Markdown.
pub fn instructions(case: &str, counts: &[Count]) -> String {
    let say = |count: &Count| match &count.instructions {
        Ok(instructions) => format!("{} {instructions}", count.name),
        Err(reason) => format!("{} ({reason})", count.name),
    };
    format!("| {case} | {} |", counts.iter().map(say).collect::<Vec<_>>().join(" · "))
}

/// Writes `target/bench.json` at the root of the repository.
pub fn write(rows: &[Row]) -> std::io::Result<()> {
    let tenths = |nanos: f64| (nanos * 10.0).round() / 10.0;
    let line = |row: &'_ Row| Line {
        case: row.case,
        ours_ns: tenths(row.ours.nanos),
        peers_ns: row.peers.iter().map(|peer| (peer.name, tenths(peer.nanos))).collect(),
        allocs: row.ours.allocations,
    };
    let file = File { rows: rows.iter().map(line).collect() };
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target");
    std::fs::create_dir_all(&target)?;
    std::fs::write(target.join("bench.json"), serde_json::to_string_pretty(&file)? + "\n")
}
