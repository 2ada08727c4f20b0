//! T77: health from outcomes. T78: health checks and the health of a whole.

use std::future::{pending, ready};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stormproof::event::Kind;
use stormproof::health::{Checks, Config, Registration, Status, Strategy};
use stormproof::{Clock, HealthAggregator, HealthChecker, HealthTracker, Policy, Verdict};

use crate::given::{ms, s};

/// The transitions of a tracker as they are told.
fn told(tracker: &HealthTracker) -> Arc<Mutex<Vec<&'static str>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = told.clone();
    tracker.on_change(move |change| listener.lock().unwrap().push(change.as_str()));
    told
}

#[test]
fn t_77_three_failures_in_a_row_and_back_after_two_successes_each_told_once() {
    let config = Config { strategy: Strategy::consecutive(), ..Default::default() };
    let tracker = HealthTracker::with_clock("db", config, &Clock::manual()).unwrap();
    let told = told(&tracker);
    let fails = |n| (0..n).for_each(|_| tracker.record_failure("connection reset"));
    fails(2);
    assert!(tracker.is_healthy());
    fails(3);
    let report = tracker.status();
    assert_eq!((report.status, report.consecutive_failures), (Status::Unhealthy, 5));
    tracker.record_success(ms(3));
    fails(1);
    tracker.record_success(ms(3));
    assert!(!tracker.is_healthy(), "one success is not enough");
    tracker.record_success(ms(3));
    assert!(tracker.is_healthy());
    assert_eq!(*told.lock().unwrap(), ["degraded", "recovered"]);
}

#[test]
fn t_77_half_of_the_last_hundred_is_unhealthy() {
    let tracker = HealthTracker::new("openai");
    let told = told(&tracker);
    (0..100).for_each(|_| tracker.record_success(ms(150)));
    (0..49).for_each(|_| tracker.record_failure("timeout"));
    assert!(tracker.is_healthy(), "49 of the last 100");
    tracker.record_failure("timeout");
    let report = tracker.status();
    assert_eq!((report.healthy, report.success_rate, report.average_latency), (false, 0.5, Some(ms(150))));
    assert_eq!(*told.lock().unwrap(), ["degraded"]);
}

#[test]
fn t_77_a_tracker_that_heard_nothing_is_healthy() {
    let report = HealthTracker::new("new").status();
    assert_eq!((report.healthy, report.success_rate), (true, 1.0));
}

#[tokio::test(start_paused = true)]
async fn t_77_a_tracker_follows_attempts_also_those_that_run_out_of_time() {
    let clock = Clock::tokio();
    let policy = Policy::builder("p").attempt_timeout(s(1)).clock(&clock).build().unwrap();
    let tracker = HealthTracker::with_clock("p", Config::default(), &clock).unwrap();
    let slow = |_: stormproof::Cx<'_>| async {
        tokio::time::sleep(ms(20)).await;
        Ok::<_, &str>(())
    };
    policy.call(tracker.follow(slow)).await.unwrap();
    policy.call(tracker.follow(|_| pending::<Result<(), &str>>())).await.unwrap_err();
    // Given up by its caller: counts neither way.
    let given_up = policy.call(tracker.follow(|_| pending::<Result<(), &str>>()));
    assert!(tokio::time::timeout(ms(10), given_up).await.is_err());
    let mine = |_: Result<&(), &&'static str>| Verdict::ignored("ClientError");
    let _ = policy.call(tracker.follow_with(|_| ready(Err::<(), _>("400")), Judge(mine))).await;
    let report = tracker.status();
    assert_eq!((report.calls, report.failures, report.average_latency), (2, 1, Some(ms(20))));
    assert_eq!(&*report.recent_errors[0].error, "TimeoutError");
}

#[tokio::test]
async fn t_77_an_attempt_that_ends_as_its_time_does_is_counted_once() {
    let clock = Clock::manual();
    let policy = Policy::builder("p").attempt_timeout(s(1)).clock(&clock).build().unwrap();
    let tracker = HealthTracker::with_clock("p", Config::default(), &clock).unwrap();
    let just_in_time = |_: stormproof::Cx<'_>| {
        let clock = clock.clone();
        async move {
            clock.advance(s(1));
            Ok::<_, &str>(())
        }
    };
    policy.call(tracker.follow(just_in_time)).await.unwrap();
    let report = tracker.status();
    assert_eq!((report.calls, report.failures, report.average_latency), (1, 0, Some(s(1))));
}

#[derive(Clone)]
struct Judge<F>(F);

impl<T, E, F: Fn(Result<&T, &E>) -> Verdict<'static>> stormproof::Classify<T, E> for Judge<F> {
    fn classify<'a>(&self, result: Result<&'a T, &'a E>) -> Verdict<'a> {
        (self.0)(result)
    }
}

fn checker(config: Checks) -> HealthChecker {
    HealthChecker::with_clock("health", config, &Clock::tokio()).unwrap()
}

const OPTIONAL: Registration = Registration { critical: false, timeout: None };

fn well() -> std::future::Ready<Result<(), &'static str>> {
    ready(Ok(()))
}

fn ill() -> std::future::Ready<Result<(), &'static str>> {
    ready(Err("no route"))
}

#[tokio::test(start_paused = true)]
async fn t_78_the_whole_follows_critical_and_other_parts() {
    let overall = async |critical: Status, other: Status| {
        let checker = checker(Checks::default());
        checker.register("critical", move || ready(critical)).unwrap();
        checker.register_with("other", OPTIONAL, move || ready(other)).unwrap();
        checker.check_all().await;
        (checker.overall_status(), checker.is_ready(), checker.is_alive())
    };
    assert_eq!(overall(Status::Healthy, Status::Healthy).await, (Status::Healthy, true, true));
    assert_eq!(overall(Status::Healthy, Status::Unhealthy).await, (Status::Degraded, true, true));
    assert_eq!(overall(Status::Unhealthy, Status::Healthy).await, (Status::Unhealthy, false, true));
    assert_eq!(overall(Status::CircuitOpen, Status::Critical).await, (Status::Unhealthy, false, true));
}

#[tokio::test(start_paused = true)]
async fn t_78_slow_failing_and_panicking_checks_are_unhealthy_and_run_together() {
    let checker = checker(Checks::default());
    checker.register("ok", || async { tokio::time::sleep(s(4)).await }.then_well()).unwrap();
    checker.register("slow", pending::<Result<(), &str>>).unwrap();
    let short = Registration { timeout: Some(s(1)), ..OPTIONAL };
    checker.register_with("slower", short, pending::<Result<(), &str>>).unwrap();
    checker.register("failing", ill).unwrap();
    checker.register("panicking", || async { panic!("secret") as Result<(), &str> }).unwrap();
    checker.register("panicking-at-once", || -> std::future::Ready<Status> { panic!("secret") }).unwrap();
    let began = tokio::time::Instant::now();
    let found = checker.check_all().await;
    assert_eq!(began.elapsed(), s(5), "together, and no longer than the longest limit");
    let seen: Vec<_> = found.iter().map(|(name, r)| (name.as_str(), r.status, r.message.as_deref())).collect();
    let down = Status::Unhealthy;
    let expected = [
        ("failing", down, Some("no route")),
        ("ok", Status::Healthy, None),
        ("panicking", down, Some("the check panicked")),
        ("panicking-at-once", down, Some("the check panicked")),
        ("slow", down, Some("timed out")),
        ("slower", down, Some("timed out")),
    ];
    assert_eq!(seen, expected);
    assert_eq!((found["ok"].latency, found["slower"].latency, found["failing"].consecutive_failures), (s(4), s(1), 1));
}

/// An answer after a wait.
trait ThenWell: Future<Output = ()> + Sized {
    async fn then_well(self) -> Result<(), &'static str> {
        self.await;
        Ok(())
    }
}

impl<F: Future<Output = ()>> ThenWell for F {}

#[tokio::test(start_paused = true)]
async fn t_78_results_are_kept_for_their_time_and_shared_by_who_comes_meanwhile() {
    let checker = checker(Checks::default());
    let ran = Arc::new(AtomicU32::new(0));
    let count = ran.clone();
    let check = move || {
        count.fetch_add(1, Ordering::Relaxed);
        async {
            tokio::time::sleep(s(1)).await;
            Ok::<(), &str>(())
        }
    };
    checker.register("db", check).unwrap();
    tokio::join!(checker.check_all(), checker.check_all(), checker.check_all());
    assert_eq!(ran.load(Ordering::Relaxed), 1);
    tokio::time::advance(ms(4_999)).await;
    checker.check_all().await;
    assert_eq!(ran.load(Ordering::Relaxed), 1);
    tokio::time::advance(ms(1)).await;
    checker.check_all().await;
    assert_eq!(ran.load(Ordering::Relaxed), 2);
    checker.register("cache", well).unwrap();
    let found = checker.check_all().await;
    assert_eq!(
        (ran.load(Ordering::Relaxed), found["cache"].status),
        (3, Status::Healthy),
        "a new check is not skipped"
    );
}

#[tokio::test(start_paused = true)]
async fn t_78_changes_are_told_once() {
    let checker = checker(Checks { cache_ttl: s(0), ..Default::default() });
    let (whole, parts) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (overall, events) = (whole.clone(), parts.clone());
    checker.on_status_change(move |old, new| overall.lock().unwrap().push((old, new)));
    checker.on_status_change(|_, _| panic!("a listener that breaks nothing"));
    checker.on_event(move |event| {
        let Kind::Health { component, transition } = &event.kind else { return };
        events.lock().unwrap().push((component.to_string(), transition.as_str(), transition.error.clone()));
    });
    let up = Arc::new(Mutex::new(Ok(())));
    let db = up.clone();
    checker.register("db", move || ready(*db.lock().unwrap())).unwrap();
    for state in [Ok(()), Ok(()), Err("gone"), Err("gone"), Ok(())] {
        *up.lock().unwrap() = state;
        checker.check_all().await;
    }
    let (healthy, unhealthy) = (Status::Healthy, Status::Unhealthy);
    let changes = [(Status::Unknown, healthy), (healthy, unhealthy), (unhealthy, healthy)];
    assert_eq!(*whole.lock().unwrap(), changes);
    let parts: Vec<_> = parts.lock().unwrap().iter().filter(|(name, ..)| name == "db").cloned().collect();
    assert_eq!(parts, [("db".into(), "degraded", Some("gone".into())), ("db".into(), "recovered", None)]);
}

#[tokio::test]
async fn t_78_a_name_is_registered_once_and_the_first_stays() {
    let checker = HealthChecker::new();
    assert_eq!((checker.overall_status(), checker.is_ready()), (Status::Healthy, true), "nothing to check");
    checker.register("db", ill).unwrap();
    assert_eq!((checker.overall_status(), checker.is_ready()), (Status::Unknown, false), "not checked yet");
    assert_eq!(checker.register("db", well).unwrap_err().name.as_str(), "db");
    assert!(checker.register("health", well).is_err(), "the checker's own");
    assert_eq!(checker.check_all().await["db"].status, Status::Unhealthy);
    assert!(checker.unregister("db") && !checker.unregister("db"));
    assert!(checker.check_all().await.is_empty());
}

#[test]
fn t_78_trackers_and_breakers_together() {
    let clock = Clock::manual();
    let tracker = HealthTracker::with_clock("openai", Config::default(), &clock).unwrap();
    let config = stormproof::breaker::Config { trip: vec![stormproof::Trip::consecutive(2)], ..Default::default() };
    let breaker = stormproof::CircuitBreaker::with_clock("search", config, &clock).unwrap();
    let health = HealthAggregator::new();
    health.add(&tracker);
    health.add_critical(&breaker);
    assert_eq!(health.overall().status, Status::Healthy);
    let fail = || {
        breaker.allow_request().unwrap();
        breaker.record_failure("ServerError");
    };
    fail();
    assert_eq!(health.overall().services["search"].health_score, Some(0.5));
    (0..10).for_each(|_| tracker.record_failure("timeout"));
    assert_eq!(health.overall().status, Status::Degraded);
    fail();
    let overall = health.overall();
    assert_eq!((overall.status, overall.services["search"].status), (Status::Unhealthy, Status::CircuitOpen));
    clock.advance(s(60));
    assert_eq!(health.overall().services["search"].status, Status::Degraded, "half-open");
    assert!(health.remove("search") && !health.remove("search"));
    assert_eq!(health.overall().status, Status::Unhealthy, "all that are left");
}

#[test]
fn a_tracker_and_a_breaker_of_one_name_are_two_parts() {
    let tracker = HealthTracker::new("openai");
    let breaker = stormproof::CircuitBreaker::new("openai");
    for order in 0..2 {
        let health = HealthAggregator::new();
        if order == 0 {
            health.add_critical(&tracker);
            health.add(&breaker);
        } else {
            health.add(&breaker);
            health.add_critical(&tracker);
        }
        tracker.reset();
        assert_eq!(health.overall().status, Status::Healthy);
        (0..10).for_each(|_| tracker.record_failure("timeout"));
        let overall = health.overall();
        let openai = &overall.services["openai"];
        assert_eq!((overall.status, openai.status, openai.critical), (Status::Unhealthy, Status::Unhealthy, true));
        assert!(openai.report.is_some() && openai.health_score == Some(1.0), "both are shown");
        assert!(health.remove("openai") && health.overall().services.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_asks_its_checker_gets_the_last_results() {
    let checker = HealthChecker::with_clock("health", Checks::default(), &Clock::tokio()).unwrap();
    let same = checker.clone();
    let check = move || {
        let same = same.clone();
        async move { if same.check_all().await.is_empty() { Err("none") } else { Ok(()) } }
    };
    checker.register("all", check).unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(checker.check_all().await["all"].status, Status::Healthy);
    assert_eq!(began.elapsed(), Duration::ZERO);
}
