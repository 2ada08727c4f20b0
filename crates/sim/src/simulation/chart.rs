//! A comparison as a picture: one SVG that needs nothing else, and is readable on light and on dark.

use std::time::Duration;

use super::Comparison;
use super::outcome::{Bin, Circuit, Outcome};
use crate::plot::{Figure, Line, Panel, Shape};

/// Height of each panel.
const HEIGHT: f64 = 84.0;
/// Maximum number of points of a line.
const POINTS: usize = 240;

/// What a panel shows of some parts of a run; `None`: nothing to show there.
type Reading = fn(&[Bin], Duration) -> Option<f64>;

struct Course {
    title: &'static str,
    /// Least value of the top of the scale.
    at_least: f64,
    reading: Reading,
    /// The heights are states, not numbers: no labels, and no panel if all stay at the lowest.
    states: bool,
}

const COURSES: [Course; 7] = [
    Course {
        title: "calls that clients make, a second",
        at_least: 1.0,
        states: false,
        reading: |bins, width| Some(a_second(bins, width, |bin| bin.calls)),
    },
    Course {
        title: "requests at the server, a second",
        at_least: 1.0,
        states: false,
        reading: |bins, width| Some(a_second(bins, width, |bin| bin.attempts)),
    },
    Course {
        title: "calls that succeed, %",
        at_least: 100.0,
        states: false,
        reading: |bins, _| {
            let (ended, succeeded) =
                bins.iter().fold((0, 0), |(ended, succeeded), bin| (ended + bin.ended, succeeded + bin.succeeded));
            (ended > 0).then(|| 100.0 * f64::from(succeeded) / f64::from(ended))
        },
    },
    Course {
        title: "time to a success, 95 of 100, s",
        at_least: 0.1,
        states: false,
        reading: |bins, _| bins.iter().filter_map(|bin| bin.p95).max().map(|time| time.as_secs_f64()),
    },
    Course {
        title: "requests in the server, at work and waiting",
        at_least: 1.0,
        states: false,
        reading: |bins, _| mean(bins, |bin| Some(bin.busy.saturating_add(bin.waiting))),
    },
    Course {
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
    Course {
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
    let end = setup.duration.as_secs_f64();
    let panels = COURSES.iter().filter_map(|course| {
        let lines = sides.each_ref().map(|(_, side)| series(side, course.reading, end));
        course.is_worth_showing(&lines).then(|| Panel {
            title: course.title.to_owned(),
            at_least: course.at_least,
            labels: !course.states,
            lines: lines.into(),
        })
    });
    let shaded = setup.fault.span(setup);
    let figure = Figure {
        title: format!("{}: {}", setup.fault.name(), setup.fault.about()),
        names: sides.iter().map(|(name, _)| name.clone()).collect(),
        end,
        ticks: (0..=4_u32)
            .map(|part| setup.duration * part / 4)
            .map(|time| (time.as_secs_f64(), clock(time)))
            .collect(),
        shaded: shaded.map(|(start, end)| (start.as_secs_f64(), end.as_secs_f64())).into_iter().collect(),
        height: HEIGHT,
        panels: panels.collect(),
    };
    figure.svg()
}

/// The course of one number, thinned out.
fn series(outcome: &Outcome, reading: Reading, end: f64) -> Line {
    let each = outcome.bins.len().div_ceil(POINTS).max(1);
    let values: Vec<_> = outcome.bins.chunks(each).map(|bins| reading(bins, outcome.width)).collect();
    let step = end / values.len().max(1) as f64;
    let place = |at: usize| step * (at as f64 + 0.5);
    let points = values.into_iter().enumerate().map(|(at, value)| value.map(|value| (place(at), value)));
    Line { shape: Shape::Straight, points: points.collect() }
}

impl Course {
    /// Whether any run has something to show: a circuit only if it moved, slots only if there are any.
    fn is_worth_showing(&self, lines: &[Line; 2]) -> bool {
        let mut values = lines.iter().flat_map(|line| &line.points).flatten();
        if self.states { values.any(|&(_, value)| value > 0.0) } else { values.next().is_some() }
    }
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds >= 3600 {
        format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60)
    } else {
        format!("{}:{:02}", seconds / 60, seconds % 60)
    }
}
