//! The studies of the simulator's page: its commands, drawn.

use std::time::Duration;

use stormproof_sim::plot::{Figure, Line, Panel, Shape};
use stormproof_sim::simulation::{Bin, Outcome, ServerModel, Setup, preset, svg};

fn study(name: &str, fault: &str, setup: &Setup) -> String {
    let setup = Setup { fault: fault.parse().unwrap(), ..setup.clone() };
    svg(&preset(name).unwrap().compare(&setup).unwrap())
}

pub(crate) fn retry_storm() -> String {
    study("retry-budget", "outage", &Setup { rate: 140.0, ..Setup::default() })
}

pub(crate) fn breaker() -> String {
    study("breaker", "outage", &Setup { rate: 140.0, ..Setup::default() })
}

pub(crate) fn fairness() -> String {
    study("rate-queue", "none", &Setup { rate: 200.0, clients: Some(20), eager: 0.5, ..Setup::default() })
}

pub(crate) fn adaptive() -> String {
    study("adaptive", "fewer-workers", &Setup { rate: 2000.0, clients: Some(200), ..Setup::default() })
}

pub(crate) fn adaptive_outage() -> String {
    let server = ServerModel { service: Duration::from_secs(1), ..ServerModel::default() };
    let duration = Duration::from_secs(20 * 60);
    let setup = Setup { rate: 200.0, clients: Some(200), server, duration, ..Setup::default() };
    study("adaptive-outage", "unavailable@5m+10m", &setup)
}

pub(crate) fn throttle() -> String {
    study("throttle", "surge", &Setup { rate: 140.0, ..Setup::default() })
}

/// Successes of the eager tenant and of the other in the same surge, under each of three queues.
pub(crate) fn tenants() -> String {
    let setup =
        Setup { fault: "surge".parse().unwrap(), rate: 60.0, clients: Some(200), eager: 0.2, ..Setup::default() };
    let compared = |name| preset(name).unwrap().compare(&setup).unwrap().sides;
    let ([one_line, by_tenant], [_, by_class]) = (compared("tenants"), compared("priority"));
    let panel = |(name, outcome): (String, Outcome)| {
        let course = |of: fn(&Bin) -> u32| {
            let points = outcome.bins.iter().zip(0_u32..);
            let points = points.map(|(bin, second)| Some((f64::from(second) + 0.5, f64::from(of(bin)))));
            Line { shape: Shape::Straight, points: points.collect() }
        };
        let lines = vec![course(|bin| bin.succeeded - bin.of_others), course(|bin| bin.of_others)];
        Panel { title: format!("successes a second, {name}"), at_least: 200.0, labels: true, lines }
    };
    Figure {
        title: "Two tenants behind one bulkhead (shaded: surge)".to_owned(),
        names: ["eager tenant, low", "other tenant, critical"].map(str::to_owned).into(),
        end: 300.0,
        ticks: [0_u32, 60, 120, 180, 240, 300].map(|time| (f64::from(time), format!("{time} s"))).into(),
        shaded: vec![(60.0, 120.0)],
        height: 90.0,
        panels: [one_line, by_tenant, by_class].map(panel).into(),
    }
    .svg()
}

pub(crate) fn hedge() -> String {
    study("hedge", "slow-tail@0s+5m", &Setup { rate: 30.0, ..Setup::default() })
}
