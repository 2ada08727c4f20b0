//! The figures as a table for people and as a file for programs.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::ours::{DONE, OURS};
use crate::turns::{AT_ONCE, Engine, Pair, Quartiles, Row, Table, What};

/// The figures and the targets as Markdown.
pub fn text(table: &Table) -> String {
    let Pair { append, in_place } = table.floor;
    let (append, in_place) = (spread(append), spread(in_place));
    let mut text = format!("The disk alone, records a second: {append} appended, {in_place} in place.\n\n");
    text.push_str("| who | engine | what | at once | a second: median (quartiles) | of the disk: appending, in place | durability |\n");
    text.push_str("|---|---|---|---|---|---|---|\n");
    for row in table.rows.iter().filter(|row| row.what != What::Recovery) {
        let settings: Vec<_> = row.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.2}, {:.2} | {} |",
            row.name,
            row.engine.name(),
            row.what.name(),
            row.at_once,
            spread(row.per_second),
            row.of_floor.append.median,
            row.of_floor.in_place.median,
            settings.join(", "),
        );
    }
    text.push('\n');
    for row in table.rows.iter().filter(|row| row.what == What::Recovery) {
        let Quartiles { low, median, high } = row.seconds;
        let (low, median, high) = (low * 1e3, median * 1e3, high * 1e3);
        let engine = row.engine.name();
        let _ = writeln!(text, "- {engine}, taking over a run of {DONE} steps, ms: {median:.1} ({low:.1} – {high:.1})");
    }
    for (target, value, least) in targets(table) {
        let word = if value >= least { "met" } else { "MISSED" };
        let _ = writeln!(text, "- {target}: {value:.2}, wanted {least:.2}: {word}");
    }
    text
}

fn spread(Quartiles { low, median, high }: Quartiles) -> String {
    let digits = usize::from(high < 100.0);
    format!("{median:.digits$} ({low:.digits$} – {high:.digits$})")
}

/// What is to be reached: in words, what it came to, and the least that it should.
fn targets(table: &Table) -> Vec<(String, f64, f64)> {
    let rows = |at_once| table.rows.iter().filter(move |row| row.what == What::Steps && row.at_once == at_once);
    let ours = |at_once, engine| rows(at_once).find(|row| row.name == OURS && row.engine == engine);
    let mut targets = Vec::new();
    if let Some(row) = ours(1, Engine::Sqlite) {
        let Pair { append, in_place } = row.of_floor;
        targets.push(("SQLite, one at a time, of the disk that appends".to_owned(), append.median, 0.8));
        targets.push(("SQLite, one at a time, of the disk that writes in place".to_owned(), in_place.median, 0.8));
    }
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let Some(row) = ours(AT_ONCE, engine) else { continue };
        let rate = row.per_second.median;
        let what = format!("{}, {AT_ONCE} at once", engine.name());
        if engine == Engine::Sqlite {
            targets.push((format!("{what}, a second"), rate, 10_000.0));
        }
        let theirs = rows(AT_ONCE).filter(|row| row.engine == engine && row.name != OURS);
        targets.extend(theirs.map(|peer| (format!("{what}, times {}", peer.name), rate / peer.per_second.median, 5.0)));
    }
    targets
}

/// Writes the same for programs.
pub fn write(table: &Table, path: &Path) -> std::io::Result<()> {
    let file = json!({
        "floor_per_second": pair(table.floor),
        "rows": table.rows.iter().map(line).collect::<Vec<_>>(),
        "targets": targets(table)
            .into_iter()
            .map(|(target, value, least)| json!({ "target": target, "value": value, "least": least }))
            .collect::<Vec<_>>(),
    });
    std::fs::write(path, serde_json::to_string_pretty(&file)? + "\n")
}

fn line(row: &Row) -> Value {
    json!({
        "name": row.name,
        "engine": row.engine.name(),
        "what": row.what.name(),
        "at_once": row.at_once,
        "per_second": quartiles(row.per_second),
        "seconds": quartiles(row.seconds),
        "of_floor": pair(row.of_floor),
        "settings": row.settings,
    })
}

fn quartiles(Quartiles { low, median, high }: Quartiles) -> Value {
    json!({ "low": low, "median": median, "high": high })
}

fn pair(Pair { append, in_place }: Pair) -> Value {
    json!({ "append": quartiles(append), "in_place": quartiles(in_place) })
}
