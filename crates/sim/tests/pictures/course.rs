//! One stage over time, before a server that has a bad time.

use std::time::Duration;

use stormproof_core::policy;
use stormproof_sim::plot::{Figure, Line, Panel, Shape};
use stormproof_sim::simulation::{Bin, Circuit, Outcome, Setup, preset, run};

/// What a panel shows of a part of a run.
type Reading = fn(&Bin) -> Option<f64>;

struct Course {
    title: &'static str,
    at_least: f64,
    labels: bool,
    shape: Shape,
    reading: Reading,
}

/// A circuit that opens, tries and closes.
pub(crate) fn breaker() -> String {
    let setup = Setup {
        fault: "outage@30s+40s".parse().unwrap(),
        rate: 140.0,
        duration: Duration::from_secs(120),
        ..Setup::default()
    };
    draw(
        &setup,
        &with("breaker"),
        "A circuit and an outage of 40 seconds",
        &[
            Course {
                title: "failures, % of the calls that ended",
                at_least: 100.0,
                labels: true,
                shape: Shape::Straight,
                reading: |bin| (bin.ended > 0).then(|| 100.0 * (1.0 - f64::from(bin.succeeded) / f64::from(bin.ended))),
            },
            Course {
                title: "circuit: closed, half-open, open",
                at_least: 2.0,
                labels: false,
                shape: Shape::Steps,
                reading: |bin| {
                    Some(match bin.circuit {
                        Circuit::Closed => 0.0,
                        Circuit::HalfOpen => 1.0,
                        Circuit::Open => 2.0,
                    })
                },
            },
            Course {
                title: "requests that reach the server, a second",
                at_least: 1.0,
                labels: true,
                shape: Shape::Straight,
                reading: |bin| Some(f64::from(bin.attempts)),
            },
        ],
    )
}

/// A limit that follows what the server can take.
pub(crate) fn adaptive() -> String {
    let setup = Setup {
        fault: "fewer-workers@100s+100s".parse().unwrap(),
        clients: Some(200),
        rate: 2000.0,
        ..Setup::default()
    };
    draw(
        &setup,
        &with("adaptive"),
        "A limit that follows the number of workers",
        &[
            Course {
                title: "slots of the bulkhead",
                at_least: 1.0,
                labels: true,
                shape: Shape::Steps,
                reading: |bin| bin.limit.map(f64::from),
            },
            Course {
                title: "requests that wait in the server's queue",
                at_least: 1.0,
                labels: true,
                shape: Shape::Straight,
                reading: |bin| Some(f64::from(bin.waiting)),
            },
        ],
    )
}

/// The second policy of a built-in comparison: the one with what it is about.
fn with(name: &str) -> policy::Config {
    let [_, (_, with)] = preset(name).unwrap().sides;
    with
}

fn draw(setup: &Setup, policy: &policy::Config, title: &str, courses: &[Course]) -> String {
    let outcome = run(setup, policy).unwrap();
    let end = setup.duration.as_secs_f64();
    let shaded = setup.fault.span(setup).map(|(start, end)| (start.as_secs_f64(), end.as_secs_f64()));
    let panels = courses.iter().map(|course| Panel {
        title: course.title.to_owned(),
        at_least: course.at_least,
        labels: course.labels,
        lines: vec![Line { shape: course.shape, points: points(&outcome, course.reading) }],
    });
    let ticks = (0..=4).map(|part| end * f64::from(part) / 4.0).map(|time| (time, format!("{time:.0} s")));
    let title = format!("{title} (shaded: {})", setup.fault.name());
    Figure {
        title,
        names: Vec::new(),
        end,
        ticks: ticks.collect(),
        shaded: shaded.into_iter().collect(),
        height: 90.0,
        panels: panels.collect(),
    }
    .svg()
}

fn points(outcome: &Outcome, reading: Reading) -> Vec<Option<(f64, f64)>> {
    let place = |at: usize| outcome.width.as_secs_f64() * (at as f64 + 0.5);
    outcome.bins.iter().enumerate().map(|(at, bin)| reading(bin).map(|value| (place(at), value))).collect()
}
