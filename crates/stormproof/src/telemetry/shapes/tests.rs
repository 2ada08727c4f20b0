//! The shapes, literally.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json, to_value};
use stormproof_core::{Trip, breaker, bulkhead, policy, rate};

use super::{Facts, Template, a2a, aragora, book, khive, victor};
use crate::{CircuitBreaker, Clock, Policy, Registry, registry::Config};

const START: Duration = Duration::from_secs(1_700_000_000);

struct Given {
    clock: Clock,
    registry: Registry,
}

impl Given {
    fn new() -> Self {
        let clock = Clock::manual();
        Self { registry: Registry::with_clock(Config::default(), &clock).unwrap(), clock }
    }

    fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + START + self.clock.now().since(crate::Instant::ZERO)
    }

    fn all(&self) -> Facts<'static> {
        Facts::of_registry(&self.registry).at(self.time())
    }

    fn facts(&self, name: &str) -> Facts<'static> {
        Facts::of_breaker(&self.registry.get(name).unwrap()).at(self.time())
    }
}

fn call(breaker: &CircuitBreaker, succeeded: bool) {
    breaker.allow_request().unwrap();
    if succeeded {
        breaker.record_success();
    } else {
        breaker.record_failure("TimeoutError");
    }
}

/// 10 successes, then 5 failures at 10 s, which open it; a refusal; now it is 28 s.
fn opened() -> (Given, Facts<'static>) {
    let given = Given::new();
    let breaker = given.registry.breaker("openai");
    (0..10).for_each(|_| call(&breaker, true));
    given.clock.advance(Duration::from_secs(10));
    (0..5).for_each(|_| call(&breaker, false));
    breaker.allow_request().unwrap_err();
    given.clock.advance(Duration::from_secs(18));
    let facts = given.facts("openai");
    (given, facts)
}

#[track_caller]
#[allow(clippy::needless_pass_by_value, reason = "the calls read better")]
fn same(facts: &Facts<'_>, shape: &Template, expected: Value) {
    assert_eq!(to_value(facts.shown_as(shape)).unwrap(), expected);
}

#[test]
fn aragoras_statistics_of_an_open_breaker() {
    let (given, facts) = opened();
    let expected = json!({
        "state": "open", "failure_count": 5, "success_count": 10, "last_failure_time": 1_700_000_010.0,
        "last_success_time": 1_700_000_000.0, "consecutive_failures": 5, "consecutive_successes": 0,
        "total_requests": 15, "total_failures": 5, "cooldown_remaining": 42.0
    });
    same(&facts, &aragora::BREAKER, expected.clone());
    given.registry.breaker("anthropic");
    let all = given.all();
    let idle = json!({
        "state": "closed", "failure_count": 0, "success_count": 0, "last_failure_time": null,
        "last_success_time": null, "consecutive_failures": 0, "consecutive_successes": 0,
        "total_requests": 0, "total_failures": 0, "cooldown_remaining": null
    });
    let circuits = json!({"anthropic": idle, "openai": expected});
    same(
        &all,
        &aragora::STATUS,
        json!({"healthy": false, "total_circuits": 2, "open_circuits": 1, "half_open_circuits": 0, "closed_circuits": 1, "circuits": circuits}),
    );
    same(&all, &aragora::SUMMARY, json!({"healthy": false, "total": 2, "open": ["openai"], "half_open": []}));
    let brief = |state, failures, successes, rate, last: Option<f64>| json!({"state": state, "failures": failures, "failure_count": failures, "successes": successes, "success_rate": rate, "last_failure_time": last});
    let (none, open) = (brief("closed", 0, 0, 1.0, None), brief("open", 5, 10, 10.0 / 15.0, Some(1_700_000_010.0)));
    same(&all, &aragora::STATS, json!({"anthropic": none, "openai": open}));
}

#[test]
fn t_45_aragoras_metrics() {
    let (given, _) = opened();
    let before = given.clock.clone();
    given.registry.get("openai").unwrap();
    before.advance(Duration::from_secs(2));
    let circuit = json!({
        "status": "open", "failures": 5, "failure_threshold": 5, "cooldown_seconds": 60.0, "cooldown_remaining": 40.0,
        "open_duration": 20.0, "last_accessed_seconds_ago": 2.0,
        "entity_mode": {"tracked_entities": 0, "open_entities": []}
    });
    let high = json!([{"name": "openai", "failures": 5, "threshold": 5, "percentage": 100.0}]);
    same(
        &given.all(),
        &aragora::METRICS,
        json!({
            "timestamp": 1_700_000_030.0, "registry_size": 1,
            "summary": {"total": 1, "open": 1, "closed": 0, "half_open": 0, "total_failures": 5, "circuits_with_failures": 1},
            "circuit_breakers": {"openai": circuit},
            "health": {"status": "degraded", "open_circuits": ["openai"], "high_failure_circuits": high}
        }),
    );
}

#[test]
fn t_45_health_by_the_number_of_open_circuits() {
    let given = Given::new();
    let health = || to_value(given.all().shown_as(&aragora::METRICS)).unwrap()["health"].clone();
    assert_eq!(health(), json!({"status": "healthy", "open_circuits": [], "high_failure_circuits": []}));
    let near = given.registry.breaker("near");
    (0..2).for_each(|_| call(&near, false));
    assert_eq!(health()["high_failure_circuits"], json!([]));
    call(&near, false);
    let high = json!([{"name": "near", "failures": 3, "threshold": 5, "percentage": 60.0}]);
    assert_eq!(health()["high_failure_circuits"], high);
    for (name, status) in [("a", "degraded"), ("b", "degraded"), ("c", "critical")] {
        given.registry.breaker(name).set_mode(breaker::Mode::ForcedOpen);
        assert_eq!(health()["status"], status);
    }
}

#[test]
fn victors_statistics() {
    let (_, facts) = opened();
    same(
        &facts,
        &victor::BREAKER,
        json!({
            "name": "openai", "state": "open", "total_calls": 15, "total_failures": 5, "total_rejected": 1,
            "failure_count": 5, "success_count": 0, "success_rate": 10.0 / 15.0,
            "last_failure_time": 1_700_000_010.0, "state_changes": 1
        }),
    );
    same(
        &facts,
        &victor::METRICS,
        json!({
            "name": "openai", "state": "open", "failure_count": 5, "success_count": 0,
            "last_failure_time": 1_700_000_010.0, "failure_threshold": 5, "timeout_seconds": 60.0,
            "recovery_timeout": 60.0, "half_open_calls": 0
        }),
    );
    same(
        &facts,
        &victor::PROVIDER,
        json!({
            "name": "openai", "state": "open", "failure_count": 5, "success_count": 0, "is_available": false,
            "time_until_retry": 42.0, "last_failure_time": "2023-11-14T22:13:30.000Z"
        }),
    );
    let config = policy::Config {
        bulkhead: Some(bulkhead::Config::default()),
        rate: Some(rate::Config { rate: 30, per: Duration::from_secs(60), ..Default::default() }),
        ..Default::default()
    };
    let policy = Policy::builder("api").config(config).clock(&Clock::manual()).build().unwrap();
    same(
        &Facts::of_policy(&policy),
        &victor::POLICY,
        json!({
            "name": "api",
            "bulkhead": {"name": "api", "max_concurrent": 10, "active_count": 0, "waiting_count": 0, "queue_size": 0,
                         "rejected_count": 0, "available": 10},
            "rate_limiter": {"name": "api", "rate": 0.5, "capacity": 30, "tokens_available": 30}
        }),
    );
}

#[test]
fn the_shapes_of_a2a_khive_and_the_book() {
    let (given, facts) = opened();
    same(
        &facts,
        &a2a::BREAKER,
        json!({
            "name": "openai", "state": "open", "failure_count": 5, "success_count": 0,
            "last_failure_time": 1_700_000_010.0, "half_open_calls": 0
        }),
    );
    same(
        &facts,
        &khive::METRICS,
        json!({
            "success_count": 10, "failure_count": 5, "rejected_count": 1,
            "state_changes": [{"time": 1_700_000_010.0, "from": "closed", "to": "open"}]
        }),
    );
    same(
        &facts,
        &book::TOTALS,
        json!({
            "state": "open", "total_calls": 15, "total_successes": 10, "total_failures": 5, "total_rejected": 1,
            "success_rate": 10.0 / 15.0, "recent_failures": 5, "time_until_retry": 42.0
        }),
    );
    given.clock.advance(Duration::from_secs(42));
    let breaker = given.registry.breaker("openai");
    call(&breaker, true);
    breaker.allow_request().unwrap();
    let facts = given.facts("openai");
    same(
        &facts,
        &book::BREAKER,
        json!({
            "state": "half_open", "failure_count": 5, "success_count": 1,
            "last_failure_time": "2023-11-14T22:13:30.000Z", "last_state_change": "2023-11-14T22:14:30.000Z",
            "time_until_retry": 0.0
        }),
    );
    assert_eq!(to_value(facts.shown_as(&a2a::BREAKER)).unwrap()["half_open_calls"], 1);
}

#[test]
fn the_resilience_status_and_its_score() {
    let given = Given::new();
    let config = breaker::Config { trip: vec![Trip::consecutive(4)], ..Default::default() };
    call(&given.registry.breaker_with("a", config).unwrap(), false);
    given.registry.breaker("b").set_mode(breaker::Mode::ForcedOpen);
    let breaker = given.registry.breaker("c");
    (0..5).for_each(|_| call(&breaker, false));
    given.clock.advance(Duration::from_secs(60));
    call(&breaker, true);
    same(
        &given.all().pool("https://agent-1_timeout_30", 5, 20).pool("unlimited", 1, 0),
        &a2a::RESILIENCE,
        json!({
            "circuit_breakers": {
                "a": {"state": "closed", "failure_count": 1, "health_score": 0.75},
                "b": {"state": "open", "failure_count": 0, "health_score": 0.0},
                "c": {"state": "half_open", "failure_count": 5, "health_score": 0.25}
            },
            "connection_pools": {
                "https://agent-1_timeout_30": {"active": 5, "limit": 20, "usage_percent": 25.0},
                "unlimited": {"active": 1, "limit": 0, "usage_percent": 0.0}
            }
        }),
    );
}
