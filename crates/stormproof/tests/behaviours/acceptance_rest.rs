//! Rows D to H of the acceptance table that no case T or X shows: bulkheads, limiters, fallbacks, timeouts, health.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stormproof::health::{self, Finding, Registration, Status};
use stormproof::{
    Bulkhead, CircuitBreaker, Clock, Error, Fallback, HealthAggregator, HealthChecker, HealthTracker, Policy,
    RateLimiter, Reason, Timeouts, Trip, bulkhead, rate,
};

use crate::acceptance::fail;
use crate::given::{each_second, ms, per_second, s, slots, trips};

#[tokio::test]
async fn d_1_d_2_d_3_a_bulkheads_defaults_slots_and_numbers() {
    let bulkhead::Config { max_concurrent, max_queue, queue_timeout, .. } = Bulkhead::new("api").config();
    assert_eq!((max_concurrent, max_queue, queue_timeout), (10, 50, s(5)));
    let bulkhead = Bulkhead::with_config("api_calls", slots(1, 0)).unwrap();
    {
        let _slot = bulkhead.acquire().await.unwrap();
        assert!(bulkhead.acquire().await.is_err());
        let stats = bulkhead.stats();
        assert_eq!((stats.active, stats.queued, stats.refused), (1, 0, 1));
    }
    assert_eq!(bulkhead.stats().active, 0);
}

#[tokio::test(start_paused = true)]
async fn e_1_e_2_e_3_a_limiter_lets_a_burst_through_then_waits_or_says_no() {
    let limiter = RateLimiter::with_clock("anthropic", per_second(10, 20), &Clock::tokio()).unwrap();
    let began = tokio::time::Instant::now();
    for _ in 0..20 {
        limiter.acquire(1).await.unwrap();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(limiter.try_acquire(1).is_err());
    limiter.acquire(1).await.unwrap();
    assert_eq!(began.elapsed(), ms(100));
    assert_eq!(rate::Config::default().burst, None, "as many as the rate");
}

#[tokio::test]
async fn f_3_f_7_f_8_a_shared_chain_stands_in_for_a_provider_that_is_not_called() {
    let primary = CircuitBreaker::with_config("openai", trips(Trip::consecutive(1))).unwrap();
    let local = Policy::builder("ollama").build().unwrap();
    let secondary = Fallback::to(move |_| {
        let local = local.clone();
        async move { local.call(|_| async { Err("down, too") }).await }
    });
    let chain = Fallback::chain([secondary, Fallback::value("Sorry, not now.")]);
    fail(&primary).await;
    let refused = primary.call(|_| async { Ok("never called") }).fallback_shared(&chain);
    assert_eq!(refused.await, Ok("Sorry, not now."));
    // F7: only if the circuit is open.
    let open_only = |error: &Error<&str>| error.unavailable().is_some();
    primary.reset();
    let failed = primary.call(|_| async { Err("down") }).fallback("cached").fallback_when(open_only).await;
    assert_eq!(failed.unwrap_err().into_last(), Some("down"));
    let refused = primary.call(|_| async { Err("down") }).fallback("cached").fallback_when(open_only).await;
    assert_eq!(refused, Ok("cached"));
}

#[tokio::test]
async fn f_13_an_agent_behind_an_open_circuit_is_unavailable_and_only_then() {
    let breaker = CircuitBreaker::with_clock("http://agent", trips(Trip::consecutive(1)), &Clock::manual()).unwrap();
    let policy = Policy::builder("call").breaker(&breaker).bulkhead(slots(1, 0)).build().unwrap();
    assert_eq!(fail(&breaker).await.unavailable(), None, "it failed");
    let error = policy.call(|_| async { Ok::<_, &str>(()) }).await.unwrap_err();
    let unavailable = error.unavailable().unwrap();
    assert_eq!(unavailable.to_string(), "http://agent temporarily unavailable");
    assert_eq!(unavailable.retry_after, s(60));
    breaker.reset();
    let _busy = policy.admit().await.unwrap();
    let error = policy.call(|_| async { Ok::<_, &str>(()) }).await.unwrap_err();
    assert_eq!((error.refused().map(|refused| refused.reason), error.unavailable()), (Some(Reason::QueueFull), None));
}

#[tokio::test(start_paused = true)]
async fn g_3_g_5_g_6_a_call_has_its_own_time_or_that_of_its_class() {
    let policy = Policy::builder("chat").deadline(s(120)).clock(&Clock::tokio()).build().unwrap();
    let never = || policy.call(|_| std::future::pending::<Result<(), &str>>());
    let began = tokio::time::Instant::now();
    assert!(never().deadline(s(15)).await.unwrap_err().is_timeout());
    assert_eq!(began.elapsed(), s(15));
    let table = Timeouts::default();
    for (class, limit) in
        [("health_check", 10), ("standard_request", 30), ("long_operation", 120), ("batch_operation", 300)]
    {
        assert_eq!(table.get(class, None), s(limit));
    }
    assert_eq!((table.get("poem", None), table.get("poem", Some(s(7)))), (s(30), s(7)));
    assert!(never().deadline(table.get("health_check", None)).await.unwrap_err().is_timeout());
    assert_eq!(began.elapsed(), s(25));
}

#[test]
fn h_1_to_h_4_trackers_and_their_whole() {
    let (openai, search) = (HealthTracker::new("openai"), HealthTracker::new("search"));
    let health = HealthAggregator::new();
    health.add(&openai);
    health.add(&search);
    assert_eq!(health.overall().status, Status::Healthy);
    for _ in 0..3 {
        openai.record_success(ms(150));
        openai.record_success(ms(250));
    }
    openai.record_failure("timeout");
    let report = openai.status();
    assert!(report.healthy && report.success_rate > 0.85);
    assert_eq!(report.average_latency, Some(ms(200)));
    assert_eq!(report.recent_errors.iter().map(|recent| &*recent.error).collect::<Vec<_>>(), ["timeout"]);
    search.record_failure("refused");
    assert_eq!(health.overall().status, Status::Healthy, "one call says nothing");
    (0..9).for_each(|_| search.record_failure("refused"));
    let overall = health.overall();
    assert_eq!((overall.status, overall.services["search"].status), (Status::Degraded, Status::Unhealthy));
    (0..5).for_each(|_| openai.record_failure("timeout"));
    assert_eq!(health.overall().status, Status::Unhealthy, "half of the calls: all are down");
}

#[tokio::test(start_paused = true)]
async fn h_5_to_h_9_a_guarded_check_says_unhealthy_and_then_circuit_open() {
    let clock = Clock::tokio();
    let policy = Policy::builder("agent").config(health::check_policy()).clock(&clock).build().unwrap();
    let checks = health::Checks { cache_ttl: Duration::ZERO, ..Default::default() };
    let checker = HealthChecker::with_clock("health", checks, &clock).unwrap();
    let guard = policy.clone();
    let longer = Registration { timeout: Some(s(15)), ..Default::default() };
    let register = checker.register_with("agent", longer, move || {
        let guard = guard.clone();
        async move { Finding::of_call(&guard.call(|_| std::future::pending::<Result<(), &str>>()).await) }
    });
    register.unwrap();
    let began = tokio::time::Instant::now();
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(checker.check_all().await["agent"].status);
    }
    assert_eq!(seen, [Status::Unhealthy, Status::Unhealthy, Status::Unhealthy, Status::CircuitOpen]);
    assert_eq!(began.elapsed(), s(30), "three checks of 10 s, and one that was not made");
    assert_eq!(checker.overall_status(), Status::Unhealthy);
    assert!(checker.results()["agent"].message.as_deref().unwrap().contains("the circuit is open"));

    // A check that our own limits do not let through says nothing of the agent.
    let busy = Policy::builder("busy").bulkhead(slots(1, 0)).clock(&clock).build().unwrap();
    let _slot = busy.admit().await.unwrap();
    let finding = Finding::of_call(&busy.call(|_| async { Ok::<_, &str>(()) }).await);
    assert_eq!(finding.status, Status::Unknown);
    assert_eq!(Finding::of_call(&Ok::<_, Error<&str>>(())), Finding::from(Status::Healthy));
}

#[tokio::test(start_paused = true)]
async fn h_5_and_h_9_a_check_that_the_checker_gives_up_counts_for_its_breaker() {
    // The checker's 5 s are shorter than the policy's 10 s, and than those of any policy without a limit.
    for policy in
        [health::check_policy(), stormproof::config::Config { attempt_timeout: None, ..health::check_policy() }]
    {
        let clock = Clock::tokio();
        let policy = Policy::builder("agent").config(policy).clock(&clock).build().unwrap();
        let checks = health::Checks { cache_ttl: Duration::ZERO, ..Default::default() };
        let checker = HealthChecker::with_clock("health", checks, &clock).unwrap();
        let asked = Arc::new(AtomicU32::new(0));
        let register = checker.register("agent", {
            let asked = asked.clone();
            move || {
                let (policy, asked) = (policy.clone(), asked.clone());
                async move {
                    let hangs = |_| {
                        asked.fetch_add(1, Ordering::Relaxed);
                        std::future::pending::<Result<(), &str>>()
                    };
                    Finding::of_call(&policy.call(hangs).await)
                }
            }
        });
        register.unwrap();
        let began = tokio::time::Instant::now();
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(checker.check_all().await["agent"].status);
        }
        assert_eq!(seen[..3], [Status::Unhealthy; 3]);
        assert_eq!(seen[3..], [Status::CircuitOpen; 2]);
        assert_eq!((asked.load(Ordering::Relaxed), began.elapsed()), (3, s(15)), "then the agent is left alone");
    }
}

#[tokio::test]
async fn row_25_a_fallback_of_any_form_and_every_cause_of_a_chain_that_fails() {
    let policy = Policy::builder("p").retry(each_second(0)).build().unwrap();
    let call = || policy.call(|_| async { Err::<u32, _>("down") });
    assert_eq!(call().fallback(1).await, Ok(1));
    assert_eq!(call().fallback_sync(|_| Ok(2)).await, Ok(2));
    assert_eq!(call().fallback_with(|_| async { Ok(3) }).await, Ok(3));
    let failed = call().fallback_with(|_| async { Err("first") }).fallback_sync(|_| Err("second")).await.unwrap_err();
    let causes: Vec<_> = failed.causes().iter().map(|cause| *cause.last().unwrap()).collect();
    assert_eq!(causes, ["down", "first", "second"]);
}
