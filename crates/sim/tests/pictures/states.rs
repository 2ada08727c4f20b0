//! States and what leads from one to another.

use stormproof_sim::plot::{Arrow, Diagram, State};

const ALARM: usize = 0;
const HALF: usize = 1;
const GOOD: usize = 2;

/// The states of a circuit.
pub(crate) fn breaker() -> String {
    let state = |name: &str, place, colour| State { name: name.to_owned(), place, colour };
    let arrow = |from, to, bend, labels: &[&str]| Arrow {
        from,
        to,
        bend,
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
    };
    Diagram {
        title: "The states of a circuit".to_owned(),
        height: 250.0,
        states: vec![
            state("closed", (0.12, 90.0), GOOD),
            state("open", (0.5, 90.0), ALARM),
            state("half-open", (0.88, 90.0), HALF),
        ],
        arrows: vec![
            arrow(0, 1, 0.0, &["a trip rule", "says so"]),
            arrow(1, 2, -34.0, &["the wait is over", "and a call comes"]),
            arrow(2, 1, 34.0, &["a probe fails"]),
            arrow(2, 0, 125.0, &["success_threshold probes succeed"]),
        ],
    }
    .svg()
}
