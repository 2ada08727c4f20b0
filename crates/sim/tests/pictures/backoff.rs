//! Waits between attempts.

use std::time::Duration;

use stormproof_core::{Backoff, Jitter, Rng};
use stormproof_sim::plot::{Figure, Line, Panel, Shape};

const RETRIES: u32 = 8;
/// Number of callers whose waits are drawn.
const CALLERS: u64 = 60;

fn figure(title: &str, names: Vec<String>, height: f64, panels: Vec<Panel>) -> String {
    let end = f64::from(RETRIES) + 0.5;
    let ticks = (1..=RETRIES).map(|retry| (f64::from(retry), format!("retry {retry}"))).collect();
    Figure { title: title.to_owned(), names, end, ticks, shaded: Vec::new(), height, panels }.svg()
}

/// How each schedule grows.
pub(crate) fn schedules() -> String {
    let base = Duration::from_secs(1);
    let schedules = [
        ("exponential", Backoff::exponential(base)),
        ("fibonacci", Backoff::fibonacci(base)),
        ("linear", Backoff::linear(base)),
        ("constant", Backoff::constant(base)),
    ];
    let lines = schedules.iter().map(|(_, backoff)| {
        let backoff = backoff.clone().jitter(Jitter::None).max_delay(Duration::from_secs(60));
        let waits = (1..=RETRIES).zip(backoff.iter(0));
        Line {
            shape: Shape::Straight,
            points: waits.map(|(retry, wait)| Some((f64::from(retry), wait.as_secs_f64()))).collect(),
        }
    });
    let panel = Panel {
        title: "wait in seconds; base 1 s, longest 60 s".into(),
        at_least: 60.0,
        labels: true,
        lines: lines.collect(),
    };
    let names = schedules.iter().map(|(name, _)| (*name).to_owned()).collect();
    figure("Schedules, without jitter", names, 220.0, vec![panel])
}

/// How each jitter spreads the waits of callers that fail together.
pub(crate) fn jitters() -> String {
    let exponential = |jitter| Backoff::exponential(Duration::from_secs(1)).jitter(jitter);
    let spreads = [
        ("none: all callers come back together", exponential(Jitter::None)),
        ("symmetric, 0.2 (the default)", exponential(Jitter::Symmetric(0.2))),
        ("equal", exponential(Jitter::Equal)),
        ("full", exponential(Jitter::Full)),
        ("decorrelated, a schedule of its own", Backoff::decorrelated(Duration::from_secs(1))),
    ];
    let panels = spreads.map(|(title, backoff)| Panel {
        title: title.to_owned(),
        at_least: 60.0,
        labels: true,
        lines: vec![Line { shape: Shape::Dots, points: waits(&backoff) }],
    });
    let title = format!("Waits of {CALLERS} callers in seconds, base 1 s, longest 60 s");
    figure(&title, Vec::new(), 90.0, panels.into())
}

/// The waits of all callers, each a little beside the last one's.
fn waits(backoff: &Backoff) -> Vec<Option<(f64, f64)>> {
    let beside = |caller: u64| 0.6 * (caller as f64 / CALLERS as f64 - 0.5);
    let of_one = |caller: u64| {
        // Seeds of neighbours would give neighbouring first waits.
        let seed = Rng::new(caller).next_u64();
        (1..=RETRIES)
            .zip(backoff.iter(seed))
            .map(move |(retry, wait)| Some((f64::from(retry) + beside(caller), wait.as_secs_f64())))
    };
    (0..CALLERS).flat_map(of_one).collect()
}
