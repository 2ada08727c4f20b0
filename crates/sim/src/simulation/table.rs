//! A comparison as text: one column a policy.

use std::fmt::Write as _;
use std::time::Duration;

use super::outcome::Outcome;
use super::{Comparison, Setup};

/// The setup in a few lines, then what came of both policies side by side.
pub fn table(comparison: &Comparison) -> String {
    let Comparison { setup, sides: [(one, first), (other, second)] } = comparison;
    let mut text = about(setup);
    let mut line = |name: &str, values: [String; 2]| {
        let _ = writeln!(text, "{name:34} {:>20} {:>20}", values[0], values[1]);
    };
    line("", [one.clone(), other.clone()]);
    let mut row = |name: &str, value: &dyn Fn(&Outcome) -> String| line(name, [value(first), value(second)]);
    row("calls", &|side| side.calls.to_string());
    row("succeeded", &|side| counted(side.succeeded, side.calls));
    for why in reasons([first, second]) {
        let name = format!("  {} ({})", why.0, why.1);
        row(&name, &|side| {
            let count = side.failures.iter().find(|(other, _)| *other == why).map_or(0, |(_, count)| *count);
            counted(count, side.calls)
        });
    }
    row("requests at the server", &|side| side.attempts.to_string());
    row("  for each call", &|side| format!("{:.2}", side.amplification()));
    row("server work, busy workers' time", &|side| span(Some(side.work)));
    row("  of it for nobody", &|side| format!("{:.1} %", 100.0 * side.wasted_share()));
    for (at, name) in ["time to a success, median", "  95 of 100", "  99 of 100"].into_iter().enumerate() {
        row(name, &|side| span(side.latency[at]));
    }
    for (at, name) in [(0, "time to a failure, median"), (2, "  99 of 100")] {
        row(name, &|side| span(side.failure_latency[at]));
    }
    let opened = [first, second].iter().any(|side| side.transitions[0] > 0);
    if opened {
        row("circuit opened after", &|side| span(side.detected));
    }
    if setup.fault.span(setup).is_some_and(|(_, end)| end < setup.duration) {
        row("as before, after the fault", &|side| match side.recovered {
            Some(Duration::ZERO) => "at once".into(),
            Some(time) => span(Some(time)),
            None => "never".into(),
        });
    }
    if opened {
        row("circuit opened / half-open / closed", &|side| {
            let [opened, half_open, closed] = side.transitions;
            format!("{opened} / {half_open} / {closed}")
        });
    }
    if setup.clients.is_some() {
        row("fairness between clients (Jain)", &|side| {
            side.fairness.map_or_else(|| "-".into(), |index| format!("{index:.3}"))
        });
        let tenants = [("eager clients", 0), ("other clients", 1)];
        for (name, at) in tenants.into_iter().filter(|_| setup.eager > 0.0 && setup.eager < 1.0) {
            let of = |side: &Outcome| side.tenants[at];
            row(&format!("{name}, succeeded"), &|side| counted(of(side).succeeded, of(side).calls));
            row("  time to a success, 95 of 100", &|side| span(of(side).p95));
        }
    }
    text
}

fn about(setup: &Setup) -> String {
    let shown = |time: Duration| humantime::format_duration(time).to_string();
    let who = setup.clients.map_or_else(|| "clients".to_owned(), |count| format!("{count} clients"));
    let server = setup.server;
    let fault = setup
        .fault
        .span(setup)
        .map_or_else(String::new, |(start, end)| format!(" from {} to {}", shown(start), shown(end)));
    format!(
        "{who} make {} calls a second for {} and wait for up to {}; seed {}\n\
         {} workers, {} a call, a queue of {}\n\
         {}{fault}: {}\n\n",
        setup.rate,
        shown(setup.duration),
        shown(setup.patience),
        setup.seed,
        server.workers,
        shown(server.service),
        server.queue,
        setup.fault.name(),
        setup.fault.about(),
    )
}

/// Why calls failed on either side, the most frequent first.
fn reasons(sides: [&Outcome; 2]) -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    for (why, _) in sides.iter().flat_map(|side| &side.failures) {
        if !found.contains(why) {
            found.push(*why);
        }
    }
    found
}

fn counted(count: u64, of: u64) -> String {
    format!("{count} ({:.1} %)", 100.0 * count as f64 / of.max(1) as f64)
}

fn span(time: Option<Duration>) -> String {
    let Some(time) = time else { return "-".to_owned() };
    let seconds = time.as_secs_f64();
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 600.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{:.1} min", seconds / 60.0)
    }
}
