//! The simulator: a run can be repeated, and what the studies of the manual claim holds.
#![cfg(test)]

use std::time::Duration;

use stormproof_core::policy;
use stormproof_sim::simulation::{
    Comparison, Fault, Outcome, PRESETS, ServerModel, Setup, compare, preset, svg, table,
};

fn setup(fault: &str) -> Setup {
    Setup { fault: fault.parse().unwrap(), ..Setup::default() }
}

fn study(name: &str, setup: &Setup) -> Comparison {
    preset(name).unwrap().compare(setup).unwrap()
}

fn sides(comparison: &Comparison) -> [&Outcome; 2] {
    comparison.sides.each_ref().map(|(_, outcome)| outcome)
}

/// The limits of the parts of a run from one second to another.
fn limits(outcome: &Outcome, from: usize, to: usize) -> Vec<u32> {
    outcome.bins[from..to].iter().filter_map(|bin| bin.limit).collect()
}

#[test]
fn the_same_seed_gives_the_same_table_and_picture() {
    for (name, _) in PRESETS {
        let setup = Setup { duration: Duration::from_secs(30), clients: Some(50), ..setup("brown-out") };
        let (one, other) = (study(name, &setup), study(name, &setup));
        assert_eq!(table(&one), table(&other));
        assert_eq!(svg(&one), svg(&other));
        let different = study(name, &Setup { seed: 8, ..setup });
        assert_ne!(table(&one), table(&different));
    }
}

#[test]
fn every_call_ends_once_whatever_goes_wrong() {
    for (fault, _) in Fault::kinds() {
        let setup = Setup { duration: Duration::from_secs(30), clients: Some(30), ..setup(fault) };
        for (name, _) in PRESETS {
            for outcome in sides(&study(name, &setup)) {
                let failed: u64 = outcome.failures.iter().map(|(_, count)| count).sum();
                assert_eq!(outcome.succeeded + failed, outcome.calls, "{name} {fault}");
                assert!(outcome.wasted <= outcome.work, "{name} {fault}");
            }
        }
    }
}

#[test]
fn a_budget_ends_the_storm_that_retries_alone_keep_up() {
    let comparison = study("retry-budget", &Setup { rate: 140.0, ..setup("outage") });
    let [without, with] = sides(&comparison);
    assert!(without.amplification() > 3.0, "{}", without.amplification());
    assert_eq!(without.recovered, None);
    assert!(without.wasted_share() > 0.5);
    // A fifth more, and the floor of three in each of the windows of ten seconds.
    let floor = 3.0 * 30.0 / with.calls as f64;
    assert!(with.amplification() <= 1.2 + floor, "{}", with.amplification());
    assert!(with.recovered.unwrap() <= Duration::from_secs(5));
    let in_outage = |outcome: &Outcome| {
        let (calls, attempts) = outcome.bins[60..120]
            .iter()
            .fold((0, 0), |(calls, attempts), bin| (calls + bin.calls, attempts + bin.attempts));
        f64::from(attempts) / f64::from(calls)
    };
    assert!(in_outage(with) <= 1.2 + 0.05, "{}", in_outage(with));
    assert!(in_outage(without) > 2.5, "{}", in_outage(without));
}

#[test]
fn a_breaker_asks_a_server_that_is_down_by_a_few_probes_only() {
    let comparison = study("breaker", &Setup { rate: 140.0, ..setup("outage") });
    let [without, with] = sides(&comparison);
    assert_eq!(without.recovered, None);
    assert!(with.detected.unwrap() <= Duration::from_secs(2));
    assert!(with.recovered.unwrap() <= Duration::from_secs(6));
    // Three probes each time the wait of five seconds is over.
    let probes: u32 = with.bins[63..120].iter().map(|bin| bin.attempts).sum();
    assert!(probes <= 3 * 12, "{probes}");
}

#[test]
fn a_queue_shares_a_rate_that_refusals_leave_to_the_eager() {
    let setup = Setup { clients: Some(20), rate: 200.0, eager: 0.5, ..setup("none") };
    let comparison = study("rate-queue", &setup);
    let [refusing, queueing] = sides(&comparison);
    assert!(refusing.fairness.unwrap() < 0.75, "{:?}", refusing.fairness);
    assert!(queueing.fairness.unwrap() > 0.95, "{:?}", queueing.fairness);
    assert_eq!(queueing.succeeded, queueing.calls);
    // The rate of 50 is used and not passed: 300 s and the burst.
    for outcome in [refusing, queueing] {
        assert!((14_900..=15_020).contains(&outcome.succeeded), "{}", outcome.succeeded);
    }
}

#[test]
fn an_adaptive_limit_follows_the_number_of_workers() {
    let setup = Setup { clients: Some(200), rate: 2000.0, ..setup("fewer-workers") };
    let comparison = study("adaptive", &setup);
    let [fixed, adaptive] = sides(&comparison);
    let mean = |limits: &[u32]| f64::from(limits.iter().sum::<u32>()) / limits.len() as f64;
    for (from, to, best) in [(20, 60, 20.0), (80, 120, 5.0), (140, 300, 20.0)] {
        let seen = limits(adaptive, from, to);
        assert!((mean(&seen) / best - 1.0).abs() <= 0.2, "{from}..{to}: {seen:?}");
    }
    assert!(adaptive.latency[1].unwrap() < fixed.latency[1].unwrap() / 2);
    assert!(adaptive.work > fixed.work.mul_f64(0.85), "{:?} {:?}", adaptive.work, fixed.work);
}

#[test]
fn an_adaptive_limit_takes_a_slower_server_for_what_it_is() {
    let setup = Setup { clients: Some(200), rate: 2000.0, ..setup("slow") };
    let comparison = study("adaptive", &setup);
    let adaptive = sides(&comparison)[1];
    let seen = limits(adaptive, 80, 120);
    assert!(seen.iter().all(|limit| (16..=24).contains(limit)), "{seen:?}");
}

#[test]
fn an_adaptive_limit_is_back_within_twenty_windows_after_an_outage_however_long_a_call_takes() {
    // Calls of a second, then of half a minute; outages of 600 calls one after another, and of 20.
    for (service, fault, hours) in [(1, "unavailable@5m+10m", 1), (30, "unavailable@2h+10m", 4)] {
        let server = ServerModel { service: Duration::from_secs(service), ..ServerModel::default() };
        let duration = Duration::from_secs(hours * 3600);
        let rate = 200.0 / service as f64;
        let setup = Setup { clients: Some(200), rate, server, duration, patience: duration, ..setup(fault) };
        let comparison = study("adaptive-outage", &setup);
        let (_, end) = setup.fault.span(&setup).unwrap();
        let part = |time: Duration| (time.as_nanos() / sides(&comparison)[0].width.as_nanos()) as usize;
        // A window lasts as long as five calls.
        let windows = |number: u32| Duration::from_secs(5 * service) * number;
        let seen = limits(sides(&comparison)[0], part(end + windows(20)), part(end + windows(40)));
        let mean = f64::from(seen.iter().sum::<u32>()) / seen.len() as f64;
        assert!((mean / 20.0 - 1.0).abs() <= 0.2, "{service} s: {seen:?}");
    }
}

#[test]
fn an_outage_that_the_breaker_sees_does_not_move_the_limit() {
    let server = ServerModel { service: Duration::from_secs(1), ..ServerModel::default() };
    let setup = Setup {
        clients: Some(200),
        rate: 200.0,
        server,
        duration: Duration::from_secs(1200),
        ..setup("unavailable@5m+10m")
    };
    let seen = limits(sides(&study("adaptive-outage", &setup))[1], 301, 901);
    assert!(seen.iter().all(|limit| *limit == seen[0]), "{seen:?}");
}

#[test]
fn a_throttle_lets_through_what_the_server_can_do() {
    let comparison = study("throttle", &Setup { rate: 140.0, ..setup("surge") });
    let [without, with] = sides(&comparison);
    assert_eq!(without.recovered, None);
    assert!(with.recovered.unwrap() <= Duration::from_secs(35));
    assert!(with.success_rate() > 0.55 && without.success_rate() < 0.2);
    assert!(with.wasted_share() < 0.15, "{}", with.wasted_share());
    // At most nine in ten are refused.
    let least = with.bins[60..120].iter().map(|bin| f64::from(bin.attempts) / f64::from(bin.calls)).fold(1.0, f64::min);
    assert!(least > 0.03, "{least}");
}

/// Successes in the surge, those of the eager tenant and those of the other.
fn shares(outcome: &Outcome) -> [u32; 2] {
    let bins = &outcome.bins[65..115];
    let others: u32 = bins.iter().map(|bin| bin.of_others).sum();
    [bins.iter().map(|bin| bin.succeeded).sum::<u32>() - others, others]
}

#[test]
fn a_greedy_tenant_takes_no_more_than_its_share_and_leaves_critical_calls_alone() {
    let surge = Setup { rate: 60.0, clients: Some(200), eager: 0.2, ..setup("surge") };
    let (tenants, priority) = (study("tenants", &surge), study("priority", &surge));
    let ([one_line, by_tenant], [_, by_class]) = (sides(&tenants), sides(&priority));
    let [[greedy, other], [fair, also_fair], [low, critical]] = [one_line, by_tenant, by_class].map(shares);
    assert!(greedy > other * 5 / 4, "{greedy} {other}");
    assert!(fair.abs_diff(also_fair) < fair / 20, "{fair} {also_fair}");
    // Whoever is served, the server is not idle.
    assert!((greedy + other).abs_diff(fair + also_fair) < 100 && (greedy + other).abs_diff(low + critical) < 100);
    // Every critical call of the whole run, though clients want more than the server can do.
    let [_, tenant] = by_class.tenants;
    assert_eq!(tenant.succeeded, tenant.calls);
    assert!(tenant.p95 < one_line.tenants[1].p95, "{tenant:?}");
    assert!(critical > other * 4 / 3, "{critical} {other}");
}

#[test]
fn a_hedge_cuts_the_tail_for_a_few_requests_more() {
    let comparison = study("hedge", &Setup { rate: 30.0, ..setup("slow-tail@0s+5m") });
    let [alone, hedged] = sides(&comparison);
    assert!(hedged.latency[2].unwrap() < alone.latency[2].unwrap() / 5, "{:?} {:?}", hedged.latency, alone.latency);
    assert!(hedged.amplification() < 1.1, "{}", hedged.amplification());
}

#[test]
fn mistakes_are_named() {
    let server = ServerModel { workers: 0, service: Duration::ZERO, spread: f64::NAN, ..ServerModel::default() };
    let wrong = Setup {
        clients: Some(0),
        rate: f64::INFINITY,
        eager: -1.0,
        duration: Duration::ZERO,
        patience: Duration::MAX,
        server,
        ..setup("outage@1h")
    };
    let fields: Vec<_> = wrong.validate().into_iter().map(|mistake| mistake.field).collect();
    let all = ["clients", "rate", "eager", "duration", "patience", "workers", "service", "spread", "fault"];
    assert_eq!(fields, all);
    let policy = policy::Config::default();
    assert!(compare(&wrong, [("a", &policy), ("b", &policy)]).is_err());
}
