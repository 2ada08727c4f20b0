//! A comparison as a picture: one SVG that needs nothing else, and is readable on light and on dark.

use std::fmt::Write as _;
use std::time::Duration;

use super::Comparison;
use super::outcome::{Bin, Circuit, Outcome};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const HEIGHT: f64 = 84.0;
const GAP: f64 = 34.0;
const TOP: f64 = 62.0;
/// Points of a line, at the most.
const POINTS: usize = 240;

const STYLE: &str = "\
.p{fill:#fff}text{fill:#222;font:12px system-ui,sans-serif}.s{fill:#666;font-size:11px}.t{font-size:15px;font-weight:600}\
.g{stroke:#ddd}.f{fill:#d33;opacity:.09}path{fill:none;stroke-width:1.6;stroke-linejoin:round}.a{stroke:#c2571a}\
.b{stroke:#1769aa}.fa{fill:#c2571a}.fb{fill:#1769aa}\
@media(prefers-color-scheme:dark){.p{fill:#16181c}text{fill:#e6e6e6}.s{fill:#9aa}.g{stroke:#333}.f{fill:#f66;opacity:.14}\
.a{stroke:#ff9a5c}.b{stroke:#6cb6ff}.fa{fill:#ff9a5c}.fb{fill:#6cb6ff}}";

/// What a panel shows of some parts of a run; `None`: nothing to show there.
type Reading = fn(&[Bin], Duration) -> Option<f64>;

struct Panel {
    title: &'static str,
    /// The scale reaches up to this at least.
    at_least: f64,
    reading: Reading,
    /// The heights are states, not numbers: no labels, and no panel if all stay at the lowest.
    states: bool,
}

const PANELS: [Panel; 7] = [
    Panel {
        title: "calls that clients make, a second",
        at_least: 1.0,
        states: false,
        reading: |bins, width| Some(a_second(bins, width, |bin| bin.calls)),
    },
    Panel {
        title: "requests at the server, a second",
        at_least: 1.0,
        states: false,
        reading: |bins, width| Some(a_second(bins, width, |bin| bin.attempts)),
    },
    Panel {
        title: "calls that succeed, %",
        at_least: 100.0,
        states: false,
        reading: |bins, _| {
            let (ended, succeeded) =
                bins.iter().fold((0, 0), |(ended, succeeded), bin| (ended + bin.ended, succeeded + bin.succeeded));
            (ended > 0).then(|| 100.0 * f64::from(succeeded) / f64::from(ended))
        },
    },
    Panel {
        title: "time to a success, 95 of 100, s",
        at_least: 0.1,
        states: false,
        reading: |bins, _| bins.iter().filter_map(|bin| bin.p95).max().map(|time| time.as_secs_f64()),
    },
    Panel {
        title: "requests in the server, at work and waiting",
        at_least: 1.0,
        states: false,
        reading: |bins, _| mean(bins, |bin| Some(bin.busy.saturating_add(bin.waiting))),
    },
    Panel {
        title: "circuit: closed, half-open, open",
        at_least: 2.0,
        states: true,
        reading: |bins, _| {
            bins.iter()
                .map(|bin| match bin.circuit {
                    Circuit::Closed => 0.0,
                    Circuit::HalfOpen => 1.0,
                    Circuit::Open => 2.0,
                })
                .reduce(f64::max)
        },
    },
    Panel {
        title: "slots of the bulkhead",
        at_least: 1.0,
        states: false,
        reading: |bins, _| mean(bins, |bin| bin.limit),
    },
];

fn a_second(bins: &[Bin], width: Duration, count: impl Fn(&Bin) -> u32) -> f64 {
    f64::from(bins.iter().map(count).fold(0, u32::saturating_add)) / (width.as_secs_f64() * bins.len() as f64)
}

fn mean(bins: &[Bin], value: impl Fn(&Bin) -> Option<u32>) -> Option<f64> {
    let values: Vec<f64> = bins.iter().filter_map(value).map(f64::from).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The course of both runs, one below the other: calls, load, successes, latency, the server's queue, circuit and slots. What
/// neither has is left out.
pub fn svg(comparison: &Comparison) -> String {
    let Comparison { setup, sides } = comparison;
    let panels: Vec<_> = PANELS
        .iter()
        .map(|panel| (panel, [&sides[0].1, &sides[1].1].map(|side| series(side, panel.reading))))
        .filter(|(panel, lines)| is_worth_showing(panel, lines))
        .collect();
    let height = TOP + panels.len() as f64 * (HEIGHT + GAP) + 10.0;
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{title}\"><style>{STYLE}</style><rect class=\"p\" width=\"{WIDTH}\" height=\"{height}\"/>\
         <text class=\"t\" x=\"{LEFT}\" y=\"22\">{title}</text>",
        title = escaped(&format!("{}: {}", setup.fault.name(), setup.fault.about())),
    );
    let mut x = LEFT;
    for ((name, _), class) in sides.iter().zip(["fa", "fb"]) {
        let _ = write!(out, "<rect class=\"{class}\" x=\"{x}\" y=\"34\" width=\"18\" height=\"4\"/>");
        let _ = write!(out, "<text x=\"{}\" y=\"40\">{}</text>", x + 24.0, escaped(name));
        x += 60.0 + 7.0 * name.chars().count() as f64;
    }
    let scale = |time: Duration| {
        LEFT + (WIDTH - LEFT - RIGHT) * (time.as_secs_f64() / setup.duration.as_secs_f64().max(1e-9)).min(1.0)
    };
    for (at, (panel, lines)) in panels.iter().enumerate() {
        let top = TOP + at as f64 * (HEIGHT + GAP) + 14.0;
        if let Some((start, end)) = setup.fault.span(setup) {
            let (from, to) = (scale(start), scale(end));
            let _ = write!(
                out,
                "<rect class=\"f\" x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{HEIGHT}\"/>",
                to - from
            );
        }
        draw(&mut out, panel, lines, top);
    }
    let bottom = height - 8.0;
    for part in 0..=4_u32 {
        let time = setup.duration * part / 4;
        let anchor = ["start", "middle", "middle", "middle", "end"][part as usize];
        let _ = write!(
            out,
            "<text class=\"s\" text-anchor=\"{anchor}\" x=\"{:.1}\" y=\"{bottom}\">{}</text>",
            scale(time),
            clock(time)
        );
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, panel: &Panel, lines: &[Vec<Option<f64>>; 2], top: f64) {
    let highest = lines.iter().flatten().flatten().copied().fold(panel.at_least, f64::max);
    let _ = write!(out, "<text class=\"s\" x=\"{LEFT}\" y=\"{:.1}\">{}</text>", top - 4.0, panel.title);
    for (share, value) in [(0.0, highest), (0.5, highest / 2.0), (1.0, 0.0)] {
        let y = top + HEIGHT * share;
        let right = WIDTH - RIGHT;
        let _ = write!(out, "<line class=\"g\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>");
        let label = if panel.states { String::new() } else { number(value) };
        let _ = write!(
            out,
            "<text class=\"s\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    for (line, class) in lines.iter().zip(["a", "b"]) {
        let step = (WIDTH - LEFT - RIGHT) / line.len().max(1) as f64;
        let mut path = String::new();
        let mut pen = 'M';
        for (at, value) in line.iter().enumerate() {
            let Some(value) = value else {
                pen = 'M';
                continue;
            };
            let x = LEFT + step * (at as f64 + 0.5);
            let _ = write!(path, "{pen}{x:.0} {:.1}", top + HEIGHT * (1.0 - value / highest));
            pen = 'L';
        }
        if !path.is_empty() {
            let _ = write!(out, "<path class=\"{class}\" d=\"{path}\"/>");
        }
    }
}

/// The course of one number, thinned out.
fn series(outcome: &Outcome, reading: Reading) -> Vec<Option<f64>> {
    let each = outcome.bins.len().div_ceil(POINTS).max(1);
    outcome.bins.chunks(each).map(|bins| reading(bins, outcome.width)).collect()
}

/// Load and successes always; a circuit only if it moved, slots only if there are any.
fn is_worth_showing(panel: &Panel, lines: &[Vec<Option<f64>>; 2]) -> bool {
    let mut values = lines.iter().flatten().flatten();
    if panel.states { values.any(|&value| value > 0.0) } else { values.next().is_some() }
}

fn number(value: f64) -> String {
    if value >= 10.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds >= 3600 {
        format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60)
    } else {
        format!("{}:{:02}", seconds / 60, seconds % 60)
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
