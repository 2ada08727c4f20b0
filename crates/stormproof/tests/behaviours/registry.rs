//! T34 to T42, and what they leave open: the registry, the maps by key, reloading. T43 and T44 are in `tests/persist.rs`,
//! T45 is beside the shapes of the statistics.

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use stormproof::breaker::{Mode, Scope, State};
use stormproof::event::Kind;
use stormproof::registry::{self, KeyedBreakers, KeyedLimiters, KeyedPolicies, Limits};
use stormproof::{CircuitBreaker, Clock, Event, Policy, Registry, Trip, Verdict, breaker, config};

use crate::given::{each_second, per_second, policy, s, slots, trips};

const DAY: Duration = Duration::from_secs(86_400);

fn registry(clock: &Clock, change: impl FnOnce(&mut registry::Config)) -> Registry {
    let mut config = registry::Config::default();
    change(&mut config);
    Registry::with_clock(config, clock).unwrap()
}

fn open(breaker: &CircuitBreaker) {
    while breaker.allow_request().is_ok() {
        breaker.record_failure("TimeoutError");
    }
    assert_eq!(breaker.state(), State::Open);
}

fn fail(breaker: &CircuitBreaker, times: u32) {
    for _ in 0..times {
        breaker.allow_request().unwrap();
        breaker.record_failure("TimeoutError");
    }
}

/// What the registry tells of itself.
fn listen(registry: &Registry) -> Arc<Mutex<Vec<Event>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let events = heard.clone();
    registry.on_event(move |event| {
        if !matches!(event.kind, Kind::Circuit { .. }) {
            events.lock().unwrap().push(event.clone());
        }
    });
    heard
}

fn names(heard: &Mutex<Vec<Event>>) -> Vec<&'static str> {
    heard.lock().unwrap().iter().map(|event| event.kind.as_str()).collect()
}

#[test]
fn t_34_hundreds_of_breakers_are_independent() {
    let registry = Registry::new();
    for n in 0..500 {
        let breaker = registry.breaker(&format!("agent-{n}"));
        if n % 5 == 0 {
            open(&breaker);
        }
    }
    let open = registry.list().into_iter().filter(|(_, breaker)| breaker.state() == State::Open).count();
    assert_eq!((registry.list().len(), open), (500, 100));
}

#[test]
fn t_35_keys_are_independent_and_one_can_be_reset() {
    let agents =
        KeyedBreakers::with_clock("agents", trips(Trip::consecutive(3)), Limits::default(), &Clock::manual()).unwrap();
    open(&agents.get("a"));
    fail(&agents.get("b"), 2);
    assert_eq!(agents.filter_available(["a", "b", "never seen"]), ["b", "never seen"]);
    assert_eq!(agents.remaining("a"), s(60));
    assert_eq!(agents.len(), 2, "a question makes no key");
    assert!(agents.reset("a") && !agents.reset("never seen"));
    assert_eq!(agents.filter_available(["a", "b"]), ["a", "b"]);
    assert_eq!(agents.get("b").stats().consecutive_failures, 2);
    open(&agents.get("b"));
    assert_eq!(agents.reset_all().iter().map(ToString::to_string).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn t_36_a_name_is_one_instance() {
    let registry = Registry::new();
    open(&registry.breaker("anthropic_api"));
    assert_eq!(registry.breaker("anthropic_api").state(), State::Open);
    assert_eq!(registry.breaker("openai_api").state(), State::Closed);
    open(&Registry::global().breaker("of the process"));
    assert_eq!(Registry::global().breaker("of the process").state(), State::Open);
}

#[test]
fn t_36_a_target_is_one_instance_whatever_the_path_and_the_password() {
    let registry = Registry::new();
    open(&registry.breaker_for_url("https://Agent-1:443/a2a?key=secret").unwrap());
    let same = registry.breaker_for_url("https://user:secret@agent-1/").unwrap();
    assert_eq!((same.state(), same.name().as_str()), (State::Open, "https://agent-1"));
    let other = registry.breaker_for_method("https://agent-1", "message/send").unwrap();
    assert_eq!((other.state(), other.name().as_str()), (State::Closed, "https://agent-1 message/send"));
    assert!(registry.breaker_for_url("agent-1").is_err());
}

#[test]
fn t_37_many_threads_get_one_instance() {
    for _ in 0..50 {
        let (registry, together) = (Registry::new(), Barrier::new(8));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    together.wait();
                    let breaker = registry.breaker("x");
                    breaker.allow_request().unwrap();
                    breaker.record_success();
                });
            }
        });
        assert_eq!(registry.breaker("x").stats().successes, 8);
    }
}

#[test]
fn t_38_other_settings_for_a_name_are_told_and_not_taken() {
    let registry = Registry::new();
    let heard = listen(&registry);
    let first = registry.breaker_with("x", trips(Trip::consecutive(3))).unwrap();
    let at_the_stage = Arc::new(Mutex::new(0));
    let count = at_the_stage.clone();
    first.policy().on_event(move |_| *count.lock().unwrap() += 1);

    registry.breaker_with("x", trips(Trip::consecutive(3))).unwrap();
    registry.breaker("x");
    assert_eq!(names(&heard), [""; 0], "the same settings, and none");
    let second = registry.breaker_with("x", trips(Trip::consecutive(9))).unwrap();
    fail(&second, 3);
    assert_eq!(second.state(), State::Open, "the first ones stay");
    registry.breaker_with("x", trips(Trip::consecutive(9))).unwrap();
    let kind = heard.lock().unwrap()[0].kind.clone();
    let differs = "breaker.trip is [Consecutive(3)], given [Consecutive(9)]".into();
    assert_eq!(kind, Kind::RegisteredTwice { name: "x".into(), differs });
    assert_eq!((names(&heard).len(), *at_the_stage.lock().unwrap()), (1, 2), "said once; the stage also opened");

    first.update(trips(Trip::consecutive(7))).unwrap();
    registry.breaker_with("x", trips(Trip::consecutive(3))).unwrap();
    registry.breaker_with("x", trips(Trip::consecutive(7))).unwrap();
    assert_eq!(names(&heard).len(), 1, "what was given first and what holds now are both no contradiction");
}

#[test]
fn t_38_a_strict_registry_refuses_other_settings() {
    let registry = registry(&Clock::manual(), |c| c.strict = true);
    registry.breaker_with("x", trips(Trip::consecutive(3))).unwrap();
    for _ in 0..2 {
        let error = registry.breaker_with("x", trips(Trip::consecutive(9))).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#""x" is registered with other settings: breaker.trip is [Consecutive(3)], given [Consecutive(9)]"#
        );
    }
    registry.strict(false);
    assert!(registry.breaker_with("x", trips(Trip::consecutive(9))).is_ok());
}

#[test]
fn t_39_reset_all_closes_everything_and_keeps_the_names() {
    let registry = Registry::new();
    for name in ["a", "b", "c"] {
        registry.breaker(name);
    }
    open(&registry.breaker("c"));
    registry.breaker("a").set_mode(Mode::ForcedOpen);
    assert_eq!(registry.reset_all(), ["a".into(), "c".into()]);
    let all: Vec<_> = registry.list().into_iter().map(|(name, breaker)| (name.to_string(), breaker.state())).collect();
    assert_eq!(all, ["a", "b", "c"].map(|name| (name.to_owned(), State::Closed)));
    open(&registry.breaker("b"));
    assert!(registry.reset("b") && !registry.reset("z"));
    assert_eq!(registry.breaker("b").state(), State::Closed);
}

#[test]
fn t_40_lists_are_copies() {
    let registry = Registry::new();
    registry.breaker("a");
    let mut list = registry.list();
    list.clear();
    assert_eq!(registry.list().len(), 1);
    let listed = registry.list().remove(0).1;
    open(&listed);
    assert_eq!(registry.breaker("a").state(), State::Open, "a copy of the list, not of the breaker");
    assert!(registry.remove("a").is_some() && registry.get("a").is_none());
    assert_eq!(registry.breaker("a").state(), State::Closed);
}

#[test]
fn t_41_past_the_bound_the_stale_go_and_the_recent_stay() {
    let clock = Clock::manual();
    let registry = registry(&clock, |c| c.max_entries = 4);
    let heard = listen(&registry);
    for name in ["old", "open", "held", "used"] {
        registry.breaker(name);
    }
    open(&registry.breaker_with("open", trips(Trip::consecutive(5))).unwrap());
    registry.get("open").unwrap().set_mode(Mode::ForcedOpen);
    let held = registry.breaker("held");
    clock.advance(DAY);
    registry.breaker("used");
    registry.breaker("new");
    let names_of = |registry: &Registry| registry.list().iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
    assert_eq!(names_of(&registry), ["held", "new", "open", "used"]);
    assert_eq!(names(&heard), [""; 0]);

    registry.breaker("one more");
    registry.breaker("and another");
    assert_eq!(registry.list().len(), 6, "nobody could go: it grows");
    assert_eq!(names(&heard), ["too_many_names"], "said once");

    drop(held);
    clock.advance(DAY);
    registry.breaker("last");
    assert_eq!(names_of(&registry), ["last", "open"]);
    assert_eq!(names(&heard).len(), 1);
}

#[test]
fn t_42_what_is_given_wins_over_the_settings_of_the_name_and_these_over_the_defaults() {
    let failing_after = |n| policy(|p| p.breaker = Some(trips(Trip::consecutive(n))));
    let registry = registry(&Clock::manual(), |c| c.defaults = failing_after(7));
    registry.apply([("openai".to_owned(), failing_after(2))].into()).unwrap();
    let explicit = registry.breaker_with("explicit", trips(Trip::consecutive(3))).unwrap();
    let rules = [registry.breaker("other"), registry.breaker("openai"), explicit].map(|b| b.config().trip);
    assert_eq!(rules, [7, 2, 3].map(|n| vec![Trip::consecutive(n)]));
}

#[test]
fn a_name_without_one_is_not_registered() {
    let registry = Registry::new();
    let [a, b] = [(); 2].map(|()| CircuitBreaker::anonymous(breaker::Config::default()).unwrap());
    assert_ne!(a.name(), b.name());
    registry.insert(&a).unwrap();
    assert!(registry.list().is_empty());
    registry.insert(&CircuitBreaker::new("named")).unwrap();
    assert_eq!(registry.list().len(), 1);
    let elsewhere = CircuitBreaker::with_clock("x", breaker::Config::default(), &Clock::manual()).unwrap();
    assert_eq!(registry.insert(&elsewhere).unwrap_err().to_string(), r#""x" runs on another clock than the registry"#);
}

#[tokio::test]
async fn the_registry_hears_of_all_that_it_has_made_once() {
    let registry = Registry::new();
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let events = heard.clone();
    let bus = stormproof::EventBus::new();
    let on_the_bus: Arc<Mutex<u32>> = Arc::default();
    let count = on_the_bus.clone();
    let _alerts = bus.subscribe(stormproof::event::Category::Error, move |_| *count.lock().unwrap() += 1);
    bus.attach(&registry);
    let listener = registry
        .on_event(move |event| events.lock().unwrap().push(format!("{} {}", event.policy, event.kind.as_str())));
    registry.breaker("a").set_mode(Mode::ForcedOpen);
    let config = policy(|p| p.breaker = Some(trips(Trip::consecutive(1))));
    let policy = registry.policy_with("b", config).unwrap();
    policy.call(|_| async { Err::<(), _>("down") }).await.unwrap_err();
    registry.insert(&CircuitBreaker::new("c")).unwrap().set_mode(Mode::ForcedOpen);
    listener.end();
    registry.reset_all();
    let heard = heard.lock().unwrap();
    assert_eq!(heard[..], ["a circuit_opened", "b circuit_opened", "b call_failed", "c circuit_opened"]);
    assert!(*on_the_bus.lock().unwrap() >= 3, "a bus that the registry is attached to hears them, too");
}

#[tokio::test]
async fn a_policy_of_the_registry_has_the_registrys_stages() {
    let registry = Registry::new();
    let config = policy(|p| {
        p.breaker = Some(trips(Trip::consecutive(1)));
        p.tokens = Some(per_second(10, 10));
    });
    let policy = registry.policy_with("openai", config).unwrap();
    policy.call(|_| async { Err::<(), _>("down") }).await.unwrap_err();
    assert_eq!(registry.breaker("openai").state(), State::Open);
    assert_eq!(policy.tokens().unwrap().stats().available, 9);
    let stages: Vec<_> = registry.snapshots().into_iter().map(|snapshot| snapshot.stage).collect();
    let expected = [stormproof::Stage::Breaker, stormproof::Stage::Rate, stormproof::Stage::Policy];
    assert_eq!(stages, expected, "what is shared stands there once");
    assert!(registry.policy("openai").call(|_| async { Ok::<_, &str>(()) }).await.unwrap_err().refused().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_state_and_counts_and_reports_what_changed() {
    let clock = Clock::tokio();
    let registry = registry(&clock, |_| ());
    let with = |failures, retries, deadline| {
        policy(|p| {
            p.breaker = Some(trips(Trip::consecutive(failures)));
            p.retry = Some(each_second(retries));
            p.bulkhead = Some(slots(3, 3));
            p.deadline = Some(s(deadline));
        })
    };
    let configs = |failures, retries| -> BTreeMap<String, config::Config> {
        ["a", "b"].map(|name| (name.to_owned(), with(failures, retries, 100))).into()
    };
    let changes = registry.apply(configs(5, 0)).unwrap();
    assert_eq!(changes.added, ["a".into(), "b".into()]);
    let policy = registry.policy("a");
    for _ in 0..3 {
        policy.call(|_| async { Err::<(), _>("down") }).await.unwrap_err();
    }
    let held = policy.admit().await.unwrap();

    let mut new = configs(4, 2);
    new.remove("b");
    new.insert("c".into(), with(1, 0, 1));
    let changes = registry.apply(new.clone()).unwrap();
    assert_eq!((changes.added, changes.missing), (vec!["c".into()], vec!["b".into()]));
    let (name, differs) = &changes.changed[0];
    assert_eq!(
        (name.as_str(), differs.as_str()),
        ("a", "retry.max_retries is 0, given 2; breaker.trip is [Consecutive(5)], given [Consecutive(4)]")
    );
    assert_eq!(registry.apply(new).unwrap().unchanged, ["a".into(), "c".into()]);
    let stages = registry.policy("a").snapshots();
    assert_eq!(stages[0].get("window_failures", ""), Some(3.0), "counts stay");
    assert_eq!(stages[1].get("active", ""), Some(1.0), "slots stay");
    drop(held);
    policy.call(|_| async { Err::<(), _>("down") }).await.unwrap_err();
    assert_eq!(registry.breaker("a").state(), State::Open, "an older handle has the same breaker, under the new rule");
    registry.reset("a");
    let error = registry.policy("a").call(|_| async { Err::<(), _>("down") }).await.unwrap_err();
    assert_eq!(error.attempts(), 3, "and the registry's policy retries as it says now");

    let wrong = [("a".to_owned(), with(0, 0, 1)), ("z".to_owned(), with(1, 0, 0))].into();
    let mistakes = registry.apply(wrong).unwrap_err();
    let fields: Vec<_> = mistakes.iter().map(|mistake| mistake.field.as_str()).collect();
    assert_eq!(fields, ["a.breaker.trip.consecutive", "z.deadline"]);
    assert!(registry.find::<Policy>("z").is_none(), "nothing has changed");
}

#[tokio::test]
async fn an_update_of_the_scope_reaches_policies_that_are_there() {
    let breaker = CircuitBreaker::new("b");
    let policy = Policy::builder("p").breaker(&breaker).retry(each_second_at_once(2)).build().unwrap();
    let fail = || policy.call(|_| async { Err::<(), _>("down") });
    fail().await.unwrap_err();
    assert_eq!(breaker.stats().failures, 3);
    breaker.update(breaker::Config { scope: Scope::Operation, ..Default::default() }).unwrap();
    fail().await.unwrap_err();
    assert_eq!(breaker.stats().failures, 4);

    // A call keeps to what it began with, and leaks nothing by the change.
    breaker
        .update(breaker::Config {
            scope: Scope::Operation,
            trip: vec![Trip::consecutive(1)],
            open_duration: Duration::from_nanos(1),
            ..Default::default()
        })
        .unwrap();
    fail().await.unwrap_err();
    assert_eq!(breaker.state(), State::HalfOpen);
    let change = |_| {
        breaker.update(breaker::Config { success_threshold: 9, ..Default::default() }).unwrap();
        async { Ok::<_, &str>(()) }
    };
    policy.call(change).await.unwrap();
    assert_eq!((breaker.stats().half_open_calls, breaker.stats().half_open_successes), (0, 1));
}

fn each_second_at_once(retries: u32) -> stormproof_core::retry::Config {
    let backoff = stormproof::Backoff::constant(Duration::ZERO);
    stormproof_core::retry::Config { max_retries: retries, backoff, ..Default::default() }
}

#[test]
fn past_the_bound_keys_share_one_breaker_until_there_is_room() {
    let clock = Clock::manual();
    let limits = Limits { max_keys: 2, ..Default::default() };
    let agents = KeyedBreakers::with_clock("agents", trips(Trip::consecutive(1)), limits, &clock).unwrap();
    let told = Arc::new(Mutex::new(0));
    let count = told.clone();
    agents.on_event(move |event| *count.lock().unwrap() += u32::from(event.kind.as_str() == "too_many_names"));
    open(&agents.get("a"));
    open(&agents.get("b"));
    for key in ["c", "d", "c"] {
        assert_eq!(agents.get(key).name().as_str(), "agents/(others)");
    }
    assert_eq!(*told.lock().unwrap(), 1);
    open(&agents.others());
    assert_eq!(agents.filter_available(["c", "d"]), [""; 0]);

    clock.advance(s(3_600));
    assert_eq!(agents.get("c").name().as_str(), "agents/c", "the wait of the idle ones is over");
    assert_eq!((agents.len(), *told.lock().unwrap()), (1, 1));
}

#[test]
fn room_is_made_by_what_loses_nothing_the_longest_unused_first() {
    let clock = Clock::manual();
    let limits = Limits { max_keys: 3, ..Default::default() };
    let agents = KeyedBreakers::with_clock("agents", trips(Trip::consecutive(5)), limits, &clock).unwrap();
    for key in ["failed once", "older", "newer"] {
        clock.advance(s(1));
        agents.get(key);
    }
    fail(&agents.get("failed once"), 1);
    clock.advance(s(10));
    agents.get("fresh");
    let keys: Vec<_> = agents.list().into_iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(keys, ["failed once", "fresh", "newer"]);
    let held = ["fresh", "newer"].map(|key| agents.get(key));
    assert_eq!(agents.get("no room").name(), agents.others().name());
    drop(held);
}

#[test]
fn what_a_listener_does_when_it_is_dropped_may_use_the_map() {
    struct Asks(KeyedBreakers);
    impl Drop for Asks {
        fn drop(&mut self) {
            self.0.get("asked for while another is forgotten");
        }
    }
    let limits = Limits { max_keys: 1, ..Default::default() };
    let agents = KeyedBreakers::with_clock("agents", breaker::Config::default(), limits, &Clock::manual()).unwrap();
    let asks = Asks(agents.clone());
    agents.get("a").policy().on_event(move |_| {
        let _ = &asks;
    });
    agents.get("b");
    assert!(agents.peek("a").is_none());
}

#[test]
fn a_limiter_that_is_not_full_again_is_not_forgotten() {
    let clock = Clock::manual();
    let limits = Limits { max_keys: 1, ..Default::default() };
    let models = KeyedLimiters::with_clock("models", per_second(1, 2), limits, &clock).unwrap();
    assert!(models.get("opus").try_acquire(2).is_ok());
    assert_eq!(models.get("haiku").name(), models.others().name());
    assert!(models.get("opus").try_acquire(1).is_err());
    clock.advance(s(2));
    assert_eq!(models.get("haiku").name().as_str(), "models/haiku");
}

#[tokio::test]
async fn a_policy_in_use_is_not_forgotten_and_all_get_new_settings() {
    let clock = Clock::manual();
    let limits = Limits { max_keys: 1, ..Default::default() };
    let config = |n| policy(|p| p.bulkhead = Some(slots(n, 0)));
    let agents = KeyedPolicies::with_clock("agents", config(1), limits, &clock).unwrap();
    let held = agents.get("a").admit().await.unwrap();
    assert_eq!(agents.get("b").name(), agents.others().name());
    assert_eq!(agents.filter_available(["a"]), [""; 0]);
    agents.update(&config(2)).unwrap();
    assert_eq!(agents.filter_available(["a"]), ["a"], "a slot more, and the one in use still is");
    assert_eq!(agents.snapshots(9)[0].get("active", ""), Some(1.0));
    held.settle(&Verdict::success());
    clock.advance(s(1));
    let once = agents.get("a").once();
    assert_eq!(agents.get("b").name(), agents.others().name(), "who has its twin has a handle of it");
    drop(once);
    clock.advance(s(1));
    assert_eq!(agents.get("b").name().as_str(), "agents/b");
}
