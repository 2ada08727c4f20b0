//! The studies of the simulator's page: its commands, drawn.

use std::time::Duration;

use stormproof_sim::simulation::{ServerModel, Setup, compare, preset, svg};

fn study(name: &str, fault: &str, setup: &Setup) -> String {
    let [(one, first), (other, second)] = preset(name).unwrap().sides;
    let setup = Setup { fault: fault.parse().unwrap(), ..setup.clone() };
    svg(&compare(&setup, [(one, &first), (other, &second)]).unwrap())
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

pub(crate) fn hedge() -> String {
    study("hedge", "slow-tail@0s+5m", &Setup { rate: 30.0, ..Setup::default() })
}
