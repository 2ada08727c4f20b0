//! T29, T30, T87, and the rows A28, C16, C29, I1 to I12: events, buses, traces and metrics as users of the inherited
//! systems know them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stormproof::breaker::{self, Mode};
use stormproof::event::Category;
use stormproof::metrics::{Exposition, Names, Text};
use stormproof::{
    Bulkhead, CircuitBreaker, Clock, Degradation, Event, EventBus, Jitter, Policy, RateLimiter, Retry, Trip, bulkhead,
    rate,
};

use crate::given::ms;

type Heard = Arc<Mutex<Vec<String>>>;

fn note(heard: &Heard) -> impl Fn(&Event) + Send + Sync + 'static {
    let heard = heard.clone();
    move |event| heard.lock().unwrap().push(event.event_type().to_owned())
}

fn taken(heard: &Heard) -> Vec<String> {
    std::mem::take(&mut *heard.lock().unwrap())
}

fn trips_at_once(name: &str, clock: &Clock) -> CircuitBreaker {
    let config = breaker::Config {
        trip: vec![Trip::consecutive(1)],
        open_duration: ms(1000),
        success_threshold: 1,
        ..Default::default()
    };
    CircuitBreaker::with_clock(name, config, clock).unwrap()
}

async fn fail(policy: &Policy) {
    let _ = policy.call(|_| async { Err::<(), _>("TimeoutError") }).await;
}

/// I4, I6: requests, not attempts, with and without a breaker; and a latency summary in the preset.
#[cfg(feature = "toml")]
#[tokio::test(start_paused = true)]
async fn i_4_i_6_requests_are_calls_however_many_attempts_they_had() {
    let text = |policy: &Policy| Text::new(Exposition::Prometheus).names([Names::Aragora]).write(&policy.snapshots());
    let requests = |policy: &Policy, outcome: &str| {
        let text = text(policy);
        let start = format!("aragora_resilience_requests_total{{name=\"p\",outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)?.parse::<u32>().ok())
    };
    let policy = Policy::from_config("p", stormproof::preset::get("aragora").unwrap()).unwrap();
    policy.call(|_| async { Ok::<_, &str>(()) }).await.unwrap();
    let failed = policy.call(|_| async { Err::<(), _>("TimeoutError") }).await.unwrap_err();
    assert_eq!(failed.attempts(), 4);
    assert_eq!((requests(&policy, "success"), requests(&policy, "failure")), (Some(1), Some(1)));
    fail(&policy).await; // opens after its first attempt
    fail(&policy).await; // is refused
    assert_eq!((requests(&policy, "success"), requests(&policy, "failure")), (Some(1), Some(3)));
    let text = text(&policy);
    assert!(text.contains("aragora_resilience_latency_seconds{name=\"p\",quantile=\"0.99\"} "), "{text}");
    assert!(text.contains("aragora_resilience_latency_seconds_count{name=\"p\"} 1\n"), "{text}");

    let retry = Retry::constant(ms(1)).max_retries(3);
    for policy in [Policy::builder("p").build().unwrap(), Policy::builder("p").retry(retry).build().unwrap()] {
        fail(&policy).await;
        policy.call(|_| async { Ok::<_, &str>(()) }).await.unwrap();
        policy.call_sync(|_| Ok::<_, &str>(())).run().unwrap();
        assert_eq!((requests(&policy, "success"), requests(&policy, "failure")), (Some(2), Some(1)));
    }
}

#[tokio::test]
async fn t_29_a_28_listeners_are_added_after_the_fact_any_number_of_them_and_one_that_panics_breaks_nothing() {
    let clock = Clock::manual();
    let breaker = trips_at_once("b", &clock);
    let changes = [(); 2].map(|()| Arc::new(Mutex::new(Vec::new())));
    breaker.on_state_change(|_, _| panic!("as the case says"));
    for changes in &changes {
        let changes = changes.clone();
        breaker.on_state_change(move |old, new| changes.lock().unwrap().push((old.as_str(), new.as_str())));
    }
    fail(breaker.policy()).await;
    clock.advance(ms(1000));
    breaker.call(|_| async { Ok::<_, &str>(()) }).await.unwrap();
    for changes in &changes {
        let expected = [("closed", "open"), ("open", "half_open"), ("half_open", "closed")];
        assert_eq!(*changes.lock().unwrap(), expected);
    }
}

#[test]
fn t_30_a_transition_to_the_same_state_is_not_told() {
    let heard = Heard::default();
    let breaker = CircuitBreaker::new("b");
    breaker.policy().on_event(note(&heard));
    breaker.reset();
    assert_eq!(taken(&heard), Vec::<String>::new());
    breaker.set_mode(Mode::ForcedOpen);
    breaker.set_mode(Mode::ForcedOpen);
    assert_eq!(taken(&heard), ["circuit_opened"]);
}

#[tokio::test]
async fn t_87_the_six_events_fire_once_each() {
    let (bus, heard, clock) = (EventBus::new(), Heard::default(), Clock::manual());
    let _all = bus.subscribe(Category::All, note(&heard));

    // A circuit that opens, lets a probe through and closes, shared by a policy that retries; both are on the bus.
    let breaker = trips_at_once("openai", &clock);
    bus.attach(&breaker);
    let once = Retry::constant(Duration::ZERO).jitter(Jitter::None).max_retries(1);
    let retrying = Policy::builder("chat").clock(&clock).bus(&bus).retry(once).build().unwrap();
    let guarded = Policy::builder("guarded").breaker(&breaker).bus(&bus).build().unwrap();
    fail(&guarded).await;
    clock.advance(ms(1000));
    guarded.call(|_| async { Ok::<_, &str>(()) }).await.unwrap();
    fail(&retrying).await;

    let slots = bulkhead::Config { max_concurrent: 1, max_queue: 0, ..Default::default() };
    let bulkhead = Bulkhead::with_clock("slots", slots, &clock).unwrap();
    bus.attach(&bulkhead);
    let _taken = bulkhead.acquire().await.unwrap();
    bulkhead.acquire().await.unwrap_err();

    let slow = rate::Config { rate: 1, max_wait: Duration::ZERO, ..Default::default() };
    let limiter = RateLimiter::with_clock("rate", slow, &clock).unwrap();
    bus.attach(&limiter);
    limiter.acquire(1).await.unwrap();
    limiter.acquire(1).await.unwrap_err();

    let heard = taken(&heard);
    for event in [
        "circuit_opened",
        "circuit_half_open",
        "circuit_closed",
        "retry_attempted",
        "rate_limited",
        "bulkhead_rejected",
    ] {
        assert_eq!(heard.iter().filter(|name| *name == event).count(), 1, "{event}: {heard:?}");
    }
}

#[test]
fn t_87_the_metrics_stand_under_every_name_as_soon_as_a_stage_has_the_number() {
    use stormproof::Stage;
    use stormproof::snapshot::{Sample, Snapshot};

    let breaker = CircuitBreaker::new("openai");
    let system = Degradation::new("system");
    let of = |stage, samples| Snapshot::new(stage, "openai".into(), samples);
    let retries = of(Stage::Retry, vec![Sample::counter("retries", "Retries.", 45)]);
    let mut latency = Sample::summary("seconds", "Time.", &[("0.99", 0.5)], 9.0, 20);
    latency.extend(Sample::histogram("buckets_seconds", "Time.", &[("1.0", 20)], 9.0, 20));
    let latency = of(Stage::Latency, latency);
    for (mode, code) in [(Mode::Normal, 0), (Mode::ForcedOpen, 1)] {
        breaker.set_mode(mode);
        let mut snapshots = breaker.policy().snapshots();
        snapshots.extend([retries.clone(), latency.clone(), system.snapshot()]);
        let text = Text::new(Exposition::Prometheus).names(Names::ALL).write(&snapshots);
        for line in [
            format!("\naragora_circuit_breaker_state{{name=\"openai\"}} {code}\n"),
            "\naragora_resilience_requests_total{name=\"openai\",outcome=\"success\"} 0\n".into(),
            "\naragora_resilience_requests_total{name=\"openai\",outcome=\"failure\"} 0\n".into(),
            "\naragora_resilience_retries_total{name=\"openai\"} 45\n".into(),
            "\n# TYPE aragora_resilience_latency_seconds summary\n".into(),
            "\naragora_resilience_latency_seconds{name=\"openai\",quantile=\"0.99\"} 0.5\n".into(),
            "\naragora_resilience_duration_seconds_bucket{name=\"openai\",le=\"1.0\"} 20\n".into(),
            format!("\ncircuit_breaker_state{{name=\"openai\"}} {code}\n"),
            "\nretry_attempts_total{name=\"openai\"} 45\n".into(),
            "\nsystem_degradation_level{name=\"system\"} 0\n".into(),
            format!("\nstormproof_breaker_state_code{{name=\"openai\"}} {code}\n"),
            format!("\nstormproof_breaker_state{{name=\"openai\",state=\"open\"}} {code}\n"),
        ] {
            assert!(text.contains(&line), "{line} is not in {text}");
        }
    }
}

#[test]
fn i_1_who_subscribes_to_errors_hears_of_a_circuit_that_opens_and_not_that_it_closes() {
    let (bus, breaker) = (EventBus::new(), CircuitBreaker::new("openai"));
    bus.attach(&breaker);
    let (errors, infos) = (Heard::default(), Heard::default());
    let noted = errors.clone();
    let subscription = bus.subscribe(Category::Error, move |e| {
        if e.event_type() == "circuit_opened" {
            noted.lock().unwrap().push(e.data()["breaker_name"].to_string());
        }
    });
    bus.subscribe(Category::Info, note(&infos)).detach();
    breaker.set_mode(Mode::ForcedOpen);
    breaker.reset();
    assert_eq!((taken(&errors), taken(&infos)), (vec!["openai".into()], vec!["circuit_closed".into()]));

    drop(subscription);
    breaker.set_mode(Mode::ForcedOpen);
    assert_eq!(taken(&errors), Vec::<String>::new(), "a dropped subscription hears nothing");
    bus.detach(&breaker);
    breaker.reset();
    assert_eq!(taken(&infos), Vec::<String>::new(), "neither does a bus that was detached");
}

#[test]
fn the_bus_of_the_process_is_one() {
    let (heard, breaker) = (Heard::default(), CircuitBreaker::new("global"));
    EventBus::global().attach(&breaker);
    let _subscription = EventBus::global().subscribe(Category::All, note(&heard));
    breaker.set_mode(Mode::ForcedOpen);
    assert_eq!(taken(&heard), ["circuit_opened"]);
}

#[test]
fn a_slow_reader_of_a_bus_loses_the_oldest_and_knows_how_many() {
    let (bus, breaker) = (EventBus::new(), CircuitBreaker::new("b"));
    bus.attach(&breaker);
    let mut queue = bus.queue(Category::Error, 4);
    for _ in 0..10 {
        breaker.set_mode(Mode::ForcedOpen);
        breaker.reset();
    }
    let read = std::iter::from_fn(|| queue.try_recv()).filter(|event| event.event_type() == "circuit_opened").count();
    assert_eq!((read, queue.lost()), (4, 6));
}

#[tokio::test]
async fn a_queue_ends_with_its_bus() {
    let (bus, breaker) = (EventBus::new(), CircuitBreaker::new("b"));
    bus.attach(&breaker);
    let mut queue = bus.queue(Category::All, 0);
    breaker.set_mode(Mode::ForcedOpen);
    drop((bus, breaker));
    assert_eq!(queue.recv().await.map(|event| event.event_type()), Some("circuit_opened"));
    assert_eq!(queue.recv().await, None);
}

#[test]
fn a_listener_that_ended_hears_nothing_and_lets_go_what_it_held() {
    let (heard, breaker) = (Heard::default(), CircuitBreaker::new("b"));
    let stays = breaker.policy().on_event(note(&heard));
    drop(stays);
    let ends = breaker.policy().on_event(note(&heard));
    let while_alive = breaker.on_state_change({
        let heard = heard.clone();
        move |_, _| heard.lock().unwrap().push("changed".into())
    });
    let while_alive = while_alive.until_dropped();
    breaker.set_mode(Mode::ForcedOpen);
    assert_eq!(taken(&heard), ["circuit_opened", "circuit_opened", "changed"]);
    ends.end();
    drop(while_alive);
    assert_eq!(Arc::strong_count(&heard), 2, "the one that stays, and this test");
    breaker.reset();
    assert_eq!(taken(&heard), ["circuit_closed"]);
}

#[test]
fn a_listener_may_end_itself_and_add_others() {
    let (heard, breaker) = (Heard::default(), CircuitBreaker::new("b"));
    let own = Arc::new(Mutex::new(None::<stormproof::events::Listener>));
    let (this, noted, policy) = (own.clone(), heard.clone(), breaker.policy().clone());
    *own.lock().unwrap() = Some(breaker.policy().on_event(move |_| {
        if let Some(own) = this.lock().unwrap().take() {
            own.end();
            policy.on_event(note(&noted));
        }
    }));
    breaker.set_mode(Mode::ForcedOpen);
    breaker.reset();
    assert_eq!(taken(&heard), ["circuit_closed"]);
}

#[tokio::test(start_paused = true)]
async fn c_16_c_29_each_retry_is_told_with_its_number_error_and_wait() {
    let clock = Clock::tokio();
    let retry = Retry::linear(ms(100)).jitter(Jitter::None).max_retries(2);
    let policy = Policy::builder("p").clock(&clock).retry(retry).build().unwrap();
    let heard = Heard::default();
    let noted = heard.clone();
    policy.on_event(move |event| {
        let data = event.data();
        if event.event_type() == "retry_attempted" {
            noted.lock().unwrap().push(format!("{} {} {}", data["attempt"], data["error"], data["delay"]));
        }
    });
    let call = policy.call(|_| async { Err::<(), _>("no") });
    call.classify_with(|_| stormproof::Verdict::failure("TimeoutError")).await.unwrap_err();
    assert_eq!(taken(&heard), ["1 TimeoutError 0.1", "2 TimeoutError 0.2"]);
}

#[tokio::test]
async fn a_storm_is_told_once_an_interval_and_at_its_end() {
    use stormproof::events::{Damped, Said};

    let clock = Clock::manual();
    let slots = bulkhead::Config { max_concurrent: 1, max_queue: 0, ..Default::default() };
    let bulkhead = Bulkhead::with_clock("slots", slots, &clock).unwrap();
    let heard = Heard::default();
    let noted = heard.clone();
    let damped = Arc::new(Damped::new(ms(1000), &clock, move |said| {
        noted.lock().unwrap().push(match said {
            Said::Event(event) => event.event_type().to_owned(),
            Said::Suppressed(more) => format!("{} x {}", more.event_type, more.count),
        });
    }));
    let listener = bulkhead.policy().on_event({
        let damped = damped.clone();
        move |event| damped.tell(event)
    });
    let _taken = bulkhead.acquire().await.unwrap();
    for _ in 0..5 {
        bulkhead.acquire().await.unwrap_err();
    }
    damped.flush();
    assert_eq!(taken(&heard), ["bulkhead_rejected"]);
    clock.advance(ms(1000));
    damped.flush();
    bulkhead.acquire().await.unwrap_err();
    assert_eq!(taken(&heard), ["bulkhead_rejected x 4"]);
    listener.end();
    drop(damped);
    assert_eq!(taken(&heard), ["bulkhead_rejected x 1"]);
}

#[test]
fn i_2_the_page_lists_every_event_and_every_metric_of_other_systems() {
    let page = include_str!("../../../../docs/src/observability.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let listed: Vec<&str> = rows.map(|(name, _)| name).collect();
    let names = include_str!("../../../core/src/event.rs").split("pub fn as_str(&self)").nth(1).unwrap();
    let names = names.split("pub fn ").next().unwrap().lines().filter_map(|line| line.split('"').nth(1));
    let names: Vec<&str> = names.chain(["degraded", "healed"]).collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(listed.contains(&name), "{name} is not in the table of events");
    }
    for metric in Names::ALL.into_iter().flat_map(Names::metrics) {
        assert!(page.contains(&format!("`{metric}`")), "{metric} is not on the page");
    }
}
