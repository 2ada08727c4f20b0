//! The order in which a bulkhead serves those who wait.

use stormproof_core::{Admission, Bulkhead, Caller, Flow, Instant, Priority, Progress, bulkhead};
use stormproof_sim::plot::{Figure, Line, Panel, Shape};

/// Who comes, in order: a greedy tenant twelve times, then another, and one call that is critical.
const CALLERS: [&str; 17] =
    ["a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "b", "b", "b", "b", "critical"];

/// One slot and all of them in the queue, whose calls say nothing, or flow and class.
pub(crate) fn turns() -> String {
    let who = |key: &str| match key {
        "critical" => Caller::from(Priority::Critical),
        key => Caller::from(Flow::of(key)),
    };
    let panel = |title: &str, caller: &dyn Fn(&str) -> Caller| {
        let served = served(caller);
        let line = |of: &str| {
            let mut count = 0.0;
            let counted = served.iter().zip(1_u8..).map(|(key, turn)| {
                count += f64::from(u8::from(*key == of));
                Some((f64::from(turn), count))
            });
            Line { shape: Shape::Steps, points: std::iter::once(Some((0.0, 0.0))).chain(counted).collect() }
        };
        let lines = ["a", "b", "critical"].map(line).into();
        Panel { title: format!("calls served, {title}"), at_least: 12.0, labels: true, lines }
    };
    Figure {
        title: "One slot, and 17 calls that wait: 12 of tenant a, then 4 of tenant b, then a critical one".to_owned(),
        names: ["tenant a", "tenant b", "critical"].map(str::to_owned).into(),
        end: 17.0,
        ticks: [0_u8, 4, 8, 12, 16].map(|turn| (f64::from(turn), format!("turn {turn}"))).into(),
        shaded: Vec::new(),
        height: 90.0,
        panels: vec![
            panel("where they say nothing of themselves", &|_| Caller::default()),
            panel("where they say flow and class", &who),
        ],
    }
    .svg()
}

/// Who is served, in order.
fn served(caller: &dyn Fn(&str) -> Caller) -> Vec<&'static str> {
    let (now, config) = (Instant::ZERO, bulkhead::Config { max_concurrent: 1, ..Default::default() });
    let bulkhead = Bulkhead::with_config("picture", config).unwrap();
    let mut slot = bulkhead.try_acquire().unwrap();
    let waiting = CALLERS.map(|key| match bulkhead.acquire_as(now, caller(key)) {
        Admission::Queued(ticket) => (ticket, key),
        other => unreachable!("{other:?}"),
    });
    let mut served = Vec::new();
    while let Some(&next) = bulkhead.release(&mut slot).first() {
        let (Progress::Granted(its), _) = bulkhead.poll(now, next) else { unreachable!() };
        slot = its;
        served.extend(waiting.iter().find(|(ticket, _)| *ticket == next).map(|(_, key)| *key));
    }
    served
}
