//! The demo as a picture: the course of both loads, second by second.

use std::time::Duration;

use stormproof_sim::plot::{Figure, Line, Panel, Shape};

use super::load::Call;
use super::report::Side;
use super::script::{Behaviour, SCRIPT};

/// What a panel shows of the calls that began in a second.
type Reading = fn(&[Call]) -> f64;

/// Both loads over the script's time.
pub(super) fn svg(straight: &Side, through: &Side) -> String {
    let lasts: Duration = SCRIPT.iter().map(|phase| phase.lasts).sum();
    let panel = |title: &str, at_least, reading| Panel {
        title: title.to_owned(),
        at_least,
        labels: true,
        lines: [straight, through].map(|side| course(side, lasts, reading)).into(),
    };
    let mut begins = Duration::ZERO;
    let ticks = SCRIPT.iter().map(|phase| {
        let tick = (begins.as_secs_f64(), phase.word().to_owned());
        begins += phase.lasts;
        tick
    });
    Figure {
        title: "The same calls to an upstream that goes wrong".to_owned(),
        names: vec!["without".to_owned(), "with stormproof".to_owned()],
        end: lasts.as_secs_f64(),
        ticks: ticks.collect(),
        shaded: phases_that_go_wrong(),
        height: 110.0,
        panels: vec![
            panel("calls answered, %", 100.0, |calls| {
                100.0 * calls.iter().filter(|call| call.answered).count() as f64 / calls.len().max(1) as f64
            }),
            panel("time an agent lost in a call that failed, mean in seconds", 1.0, |calls| {
                let lost: Duration = calls.iter().filter(|call| !call.answered).map(|call| call.took).sum();
                lost.as_secs_f64() / calls.len().max(1) as f64
            }),
        ],
    }
    .svg()
}

/// The stretches of time in which the upstream is not well.
fn phases_that_go_wrong() -> Vec<(f64, f64)> {
    let mut begins = Duration::ZERO;
    let mut wrong = Vec::new();
    for phase in SCRIPT {
        let ends = begins + phase.lasts;
        if phase.behaviour != Behaviour::Healthy {
            wrong.push((begins.as_secs_f64(), ends.as_secs_f64()));
        }
        begins = ends;
    }
    wrong
}

fn course(side: &Side, lasts: Duration, reading: Reading) -> Line {
    let points = (0..lasts.as_secs()).map(|second| {
        let calls: Vec<Call> = side.calls.iter().filter(|call| call.at.as_secs() == second).copied().collect();
        (!calls.is_empty()).then(|| (second as f64 + 0.5, reading(&calls)))
    });
    Line { shape: Shape::Straight, points: points.collect() }
}
