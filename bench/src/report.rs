//! The figures as a table for people and as a file for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::harness::{Figure, Row};

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

/// The rows as Markdown. A ratio above 1 says how many times longer the peer takes.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from("| case | target | ours | peers: ratio (ns) | allocations a call: ours / peers |\n");
    text.push_str("|---|---|---|---|---|\n");
    for row in rows {
        let target = row.target.map_or_else(String::new, |nanos| format!("≤ {nanos:.0} ns"));
        let ratio = |peer: &Figure| format!("{} {:.1}× ({:.1})", peer.name, peer.nanos / row.ours.nanos, peer.nanos);
        let peers = list(&row.peers, ratio, " · ");
        let allocations = list(&row.peers, |peer| peer.allocations.to_string(), " · ");
        let (case, Figure { nanos, allocations: ours, .. }) = (row.case, &row.ours);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {case} | {target} | {nanos:.1} ns | {peers} | {ours} / {allocations} |");
    }
    text
}

fn list(peers: &[Figure], say: impl Fn(&Figure) -> String, between: &str) -> String {
    peers.iter().map(say).collect::<Vec<_>>().join(between)
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
